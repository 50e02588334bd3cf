"""`/v1/completions` by both clients: prompts of all kinds, echo, streams, usage, choices."""

import openai
import pytest
from conftest import check_error

LONG = {"ignore_eos": True}


def text_of(chunks, index=0):
    return "".join(c.text for chunk in chunks for c in chunk.choices if c.index == index)


def test_an_answer_has_its_form(ask, model):
    answer = ask.complete(model, max_tokens=5, extra_body=LONG)
    assert answer.object == "text_completion" and answer.id.startswith("cmpl-") and answer.model == model
    [choice] = answer.choices
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "length", None)
    assert answer.usage.completion_tokens == 5
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 5


def test_sixteen_tokens_are_the_default(ask, model):
    assert ask.complete(model, extra_body=LONG).usage.completion_tokens == 16


def test_a_stream_is_the_whole_answer(ask, model):
    arguments = {"max_tokens": 30, "seed": 4, "temperature": 1.3, "extra_body": LONG}
    whole = ask.complete(model, **arguments)
    *chunks, last = ask.complete(model, stream=True, stream_options={"include_usage": True}, **arguments)
    assert text_of(chunks) == whole.choices[0].text
    assert {c.object for c in chunks} == {"text_completion"} and len({c.id for c in chunks}) == 1
    assert [c.choices[0].finish_reason for c in chunks][-1] == "length"
    assert {c.choices[0].finish_reason for c in chunks[:-1]} == {None}
    assert last.choices == [] and last.usage.completion_tokens == 30
    assert last.usage.total_tokens == whole.usage.total_tokens


def test_tokens_are_prompts(ask, model, vocabulary):
    pairs = list(vocabulary.items())[40:45]
    tokens = [number for _, number in pairs]
    answer = ask.complete(model, tokens, max_tokens=1, echo=True)
    assert answer.choices[0].text.startswith("".join(text for text, _ in pairs))
    assert answer.usage.prompt_tokens == 5


@pytest.mark.parametrize("kind", ["texts", "tokens"])
def test_lists_of_prompts_are_answered_in_order(ask, model, vocabulary, kind):
    texts = ["A cat is", "A dog is", "A bird"]
    numbers = list(vocabulary.values())
    prompts = texts if kind == "texts" else [numbers[50:53], numbers[60:64], numbers[70:72]]
    arguments = {"max_tokens": 8, "temperature": 0, "extra_body": LONG}
    alone = [ask.complete(model, p, **arguments) for p in prompts]
    together = ask.complete(model, prompts, **arguments)
    assert [c.index for c in together.choices] == [0, 1, 2]
    assert [c.text for c in together.choices] == [a.choices[0].text for a in alone]
    assert together.usage.prompt_tokens == sum(a.usage.prompt_tokens for a in alone)
    chunks = ask.complete(model, prompts, stream=True, **arguments)
    assert [text_of(chunks, i) for i in range(3)] == [c.text for c in together.choices]


def test_several_choices_of_several_prompts_are_numbered_by_prompt(ask, model):
    arguments = {"max_tokens": 8, "temperature": 1.4, "seed": 3, "extra_body": LONG}
    answer = ask.complete(model, ["A cat is", "A dog is"], n=2, **arguments)
    assert [c.index for c in answer.choices] == [0, 1, 2, 3]
    alone = [ask.complete(model, p, n=2, **arguments) for p in ("A cat is", "A dog is")]
    assert [c.text for c in answer.choices] == [c.text for a in alone for c in a.choices]
    assert len({c.text for c in answer.choices}) == 4
    assert answer.usage.prompt_tokens == sum(a.usage.prompt_tokens for a in alone)


def test_an_echo_begins_with_the_prompt(ask, model):
    prompt = "A small caf\u00e9,  with two spaces \u2603\n"
    arguments = {"max_tokens": 6, "temperature": 0, "extra_body": LONG}
    plain = ask.complete(model, prompt, **arguments).choices[0].text
    assert ask.complete(model, prompt, echo=True, **arguments).choices[0].text == prompt + plain
    assert text_of(ask.complete(model, prompt, echo=True, stream=True, **arguments)) == prompt + plain


def test_an_echo_is_the_prompt_to_the_letter(one_ask, model):
    prompt = "A <|end|> b <|user|> c"
    assert one_ask.complete(model, prompt, echo=True, max_tokens=1).choices[0].text.startswith(prompt)


def test_an_echo_needs_no_tokens(one_ask, model):
    answer = one_ask.complete(model, "A dog is", echo=True, max_tokens=0)
    assert answer.choices[0].text == "A dog is" and answer.usage.completion_tokens == 0


def test_a_prompts_own_log_probabilities_are_refused(one_ask, model):
    """The API scores prompts by these; here that is not built, and said so."""
    with pytest.raises(openai.BadRequestError) as caught:
        one_ask.complete(model, "A dog is", echo=True, max_tokens=1, logprobs=1)
    check_error(caught.value, 400, param="echo")


def test_a_stop_string_ends_the_text_before_it(ask, model):
    arguments = {"max_tokens": 50, "temperature": 0, "extra_body": LONG}
    whole = ask.complete(model, **arguments).choices[0].text
    stop = whole[20:23]
    stopped = ask.complete(model, stop=[stop], **arguments)
    assert stopped.choices[0].text == whole[: whole.index(stop)] and stopped.choices[0].finish_reason == "stop"
    assert text_of(ask.complete(model, stop=stop, stream=True, **arguments)) == stopped.choices[0].text


def test_a_stop_string_in_the_echo_ends_nothing(one_ask, model):
    answer = one_ask.complete(model, "A dog is", echo=True, stop="dog", max_tokens=3, temperature=0, extra_body=LONG)
    assert answer.choices[0].text.startswith("A dog is")


def test_a_prompt_of_nothing_begins_a_text(ask, model):
    assert ask.complete(model, "", max_tokens=3).usage.completion_tokens > 0


def test_best_of_as_many_as_are_wanted_is_all_of_them(ask, model):
    assert len(ask.complete(model, n=2, best_of=2, max_tokens=2).choices) == 2


def test_a_full_list_of_prompts_is_served(one_ask, model):
    answer = one_ask.complete(model, ["A dog"] * 128, max_tokens=1)
    assert len(answer.choices) == 128


@pytest.mark.slow
def test_a_request_that_can_never_be_served_is_not_told_to_come_again(http, model):
    """400, or an answer; but an idle server that says 429 says so every time."""
    body = {"model": model, "prompt": ["A dog"] * 128, "n": 16, "max_tokens": 1}
    assert http.post("/completions", json=body).status_code != 429
