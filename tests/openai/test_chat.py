"""`/v1/chat/completions` by both clients: whole and streamed answers, usage, choices, seeds, stops, roles."""

import pytest
from conftest import USER

LONG = {"ignore_eos": True}


def text_of(chunks, index=0):
    return "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices if c.index == index)


def check_usage(usage):
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_an_answer_has_its_form(ask, model):
    answer = ask.chat(model, max_tokens=12)
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-") and answer.model == model
    assert answer.created > 1_700_000_000 and answer.system_fingerprint
    [choice] = answer.choices
    assert (choice.index, choice.message.role) == (0, "assistant")
    assert choice.finish_reason in ("stop", "length")
    assert isinstance(choice.message.content, str) and choice.message.tool_calls is None
    check_usage(answer.usage)


def test_ids_are_fresh_and_the_fingerprint_stays(ask, model):
    one, two = (ask.chat(model, max_tokens=1) for _ in range(2))
    assert one.id != two.id
    assert one.system_fingerprint == two.system_fingerprint


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_length_is_kept_and_counted(ask, model, name):
    answer = ask.chat(model, extra_body=LONG, **{name: 9})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 9
    check_usage(answer.usage)


def test_the_newer_length_wins(ask, model):
    answer = ask.chat(model, max_tokens=3, max_completion_tokens=6, extra_body=LONG)
    assert answer.usage.completion_tokens == 6


def test_longer_prompts_count_more(ask, model):
    short, long = (ask.chat(model, [{"role": "user", "content": "dog " * n}], max_tokens=1) for n in (2, 40))
    assert long.usage.prompt_tokens > short.usage.prompt_tokens + 30


def test_a_stream_is_the_whole_answer(ask, model):
    arguments = {"max_tokens": 40, "seed": 11, "temperature": 1.2, "extra_body": LONG}
    whole = ask.chat(model, **arguments)
    chunks = ask.chat(model, stream=True, **arguments)
    assert text_of(chunks) == whole.choices[0].message.content
    assert {c.object for c in chunks} == {"chat.completion.chunk"}
    assert len({c.id for c in chunks}) == 1 and chunks[0].id.startswith("chatcmpl-")
    assert {c.system_fingerprint for c in chunks} == {whole.system_fingerprint}
    assert {c.created for c in chunks} == {chunks[0].created} and {c.model for c in chunks} == {model}
    assert chunks[0].choices[0].delta.role == "assistant"
    reasons = [c.choices[0].finish_reason for c in chunks]
    assert reasons[:-1] == [None] * (len(chunks) - 1) and reasons[-1] == whole.choices[0].finish_reason == "length"
    assert len(chunks) > 10, "it comes in pieces"


def test_a_stream_has_no_usage_unless_it_is_asked_for(ask, model):
    for more in ({}, {"stream_options": {"include_usage": False}}):
        chunks = ask.chat(model, stream=True, max_tokens=5, **more)
        assert all(c.usage is None and c.choices for c in chunks)


def test_usage_comes_in_a_last_chunk_of_no_choices(ask, model):
    arguments = {"max_tokens": 8, "seed": 3, "extra_body": LONG}
    whole = ask.chat(model, **arguments)
    *chunks, last = ask.chat(model, stream=True, stream_options={"include_usage": True}, **arguments)
    assert last.choices == [] and all(c.usage is None and c.choices for c in chunks)
    check_usage(last.usage)
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert getattr(last.usage, name) == getattr(whole.usage, name)


def test_usage_is_null_in_the_chunks_before_the_last(http, model):
    body = {"model": model, "messages": USER, "max_tokens": 3, "stream": True, "stream_options": {"include_usage": True}}
    lines = [line for line in http.post("/chat/completions", json=body).text.splitlines() if line]
    assert lines[-1] == "data: [DONE]" and all(line.startswith("data: ") or line[0] == ":" for line in lines)
    assert all('"usage":null' in line for line in lines[:-2])


def test_choices_are_numbered_and_each_has_its_own_text(ask, model):
    answer = ask.chat(model, n=4, max_tokens=24, temperature=1.5, seed=5, extra_body=LONG)
    assert [c.index for c in answer.choices] == [0, 1, 2, 3]
    assert len({c.message.content for c in answer.choices}) == 4
    assert answer.usage.completion_tokens == 4 * 24
    alone = ask.chat(model, max_tokens=1, extra_body=LONG)
    assert answer.usage.prompt_tokens == alone.usage.prompt_tokens, "a prompt that several answer counts once"


def test_streamed_choices_are_the_whole_ones(ask, model):
    arguments = {"n": 3, "max_tokens": 16, "temperature": 1.5, "seed": 5, "extra_body": LONG}
    whole = ask.chat(model, **arguments)
    chunks = ask.chat(model, stream=True, stream_options={"include_usage": True}, **arguments)
    for choice in whole.choices:
        assert text_of(chunks, choice.index) == choice.message.content
        own = [c for chunk in chunks for c in chunk.choices if c.index == choice.index]
        assert own[0].delta.role == "assistant" and [c.finish_reason for c in own if c.finish_reason] == ["length"]
    assert [c.usage.completion_tokens for c in chunks if c.usage] == [48]


def test_a_seed_gives_its_text_and_another_seed_another(ask, model):
    def said(seed, **more):
        arguments = {"max_tokens": 24, "temperature": 1.3, "extra_body": LONG, **more}
        return ask.chat(model, seed=seed, **arguments).choices[0].message.content

    for seed in (0, 7, -1, 2**63 - 1, -(2**63)):
        assert said(seed) == said(seed)
    assert len({said(seed) for seed in range(5)}) == 5
    assert said(7, top_p=0.8) == said(7, top_p=0.8)
    assert said(7, extra_body={**LONG, "top_k": 5}) == said(7, extra_body={**LONG, "top_k": 5})


def test_without_a_seed_texts_differ(ask, model):
    said = {
        ask.chat(model, max_tokens=24, temperature=1.5, extra_body=LONG).choices[0].message.content for _ in range(3)
    }
    assert len(said) == 3


def test_the_coldest_text_needs_no_seed(ask, model):
    cold = [ask.chat(model, max_tokens=20, temperature=0, seed=s).choices[0].message.content for s in (1, 2)]
    narrow = ask.chat(model, max_tokens=20, temperature=1, top_p=1e-6).choices[0].message.content
    assert cold[0] == cold[1] == narrow


def test_a_stop_string_ends_the_text_before_it(ask, model, story):
    stop = story.text[25:28]
    wanted = story.text[: story.text.index(stop)]
    for form in (stop, [stop], ["never \u2603 said", stop]):
        answer = ask.chat(model, stop=form, **story.arguments)
        assert answer.choices[0].message.content == wanted
        assert answer.choices[0].finish_reason == "stop"
        chunks = ask.chat(model, stop=form, stream=True, **story.arguments)
        assert text_of(chunks) == wanted and chunks[-1].choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens < 40


def test_the_first_of_several_stop_strings_ends_the_text(ask, model, story):
    early, late = story.text[8:11], story.text[40:44]
    answer = ask.chat(model, stop=[late, early], **story.arguments)
    assert answer.choices[0].message.content == story.text[: min(story.text.index(early), story.text.index(late))]


def test_stop_strings_are_found_across_token_borders(ask, model, story):
    tried = 0
    for one, two in zip(story.tokens[5:], story.tokens[6:]):
        stop = one[-1:] + two[:2]
        if stop in one or stop in two:
            continue
        wanted = story.text[: story.text.index(stop)]
        assert ask.chat(model, stop=stop, **story.arguments).choices[0].message.content == wanted
        assert text_of(ask.chat(model, stop=stop, stream=True, **story.arguments)) == wanted
        tried += 1
        if tried == 3:
            break
    assert tried


def test_a_stop_string_that_never_comes_changes_nothing(ask, model, story):
    answer = ask.chat(model, stop=["\u2603\u2603", "zqzqzq", story.text[-6:] + "zq"], **story.arguments)
    assert answer.choices[0].message.content == story.text
    assert answer.choices[0].finish_reason == story.end


def test_all_roles_and_forms_of_content_are_read(ask, model):
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}]},
        {"role": "user", "content": [{"type": "text", "text": "What is a dog?"}], "name": "ann"},
        {"role": "assistant", "content": "An animal."},
        {"role": "user", "content": "And a cat?"},
    ]
    assert ask.chat(model, messages, max_tokens=3).choices[0].message.role == "assistant"


def test_an_earlier_refusal_may_be_sent_back(one_ask, model):
    no = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    assert one_ask.chat(model, [*USER, no, *USER], max_tokens=1).choices


def test_parts_of_text_are_one_text(ask, model):
    parts = [{"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "text", "text": "a dog?"}]}]
    answers = [ask.chat(model, m, max_tokens=20, temperature=0) for m in (parts, USER)]
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content
    assert answers[0].usage.prompt_tokens == answers[1].usage.prompt_tokens


def test_unknown_parameters_pass(ask, model):
    more = {"no_such_thing": {"a": [1]}, "service_tier": "auto", "store": True, "metadata": {"a": "b"}, "reasoning_effort": "low"}
    answer = ask.chat(model, max_tokens=2, user="ann", extra_body=more)
    assert answer.choices


def test_nulls_are_defaults(ask, model):
    names = ["temperature", "top_p", "n", "stop", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "stream",
             "stream_options", "logprobs", "top_logprobs", "tools", "tool_choice", "response_format", "user",
             "functions", "function_call", "audio", "prediction", "modalities"]
    assert ask.chat(model, max_tokens=2, extra_body=dict.fromkeys(names)).choices


def test_the_end_of_a_text_is_a_stop(one_ask, scripted):
    answer = one_ask.chat(scripted, [{"role": "user", "content": "<|stop|>"}], temperature=0)
    assert answer.choices[0].message.content == "alpha ENX beta END gamma"
    assert answer.choices[0].finish_reason == "stop"


def test_a_false_start_of_a_stop_string_is_text(ask, scripted):
    for stream in (False, True):
        got = ask.chat(scripted, [{"role": "user", "content": "<|stop|>"}], temperature=0, stop="END", stream=stream)
        text = text_of(got) if stream else got.choices[0].message.content
        assert text == "alpha ENX beta "


def test_what_may_begin_a_stop_string_is_given_at_the_end(ask, scripted):
    for stream in (False, True):
        got = ask.chat(scripted, [{"role": "user", "content": "<|tail|>"}], temperature=0, stop="EN D", stream=stream)
        assert (text_of(got) if stream else got.choices[0].message.content) == "tail EN "


def test_characters_cut_across_tokens_come_whole(ask, scripted):
    messages = [{"role": "user", "content": "<|bytes|>"}]
    wanted = "face \U0001f600 and \u00e9 done"
    assert ask.chat(scripted, messages, temperature=0).choices[0].message.content == wanted
    chunks = ask.chat(scripted, messages, temperature=0, stream=True)
    assert text_of(chunks) == wanted
    assert all("\ufffd" not in (c.delta.content or "") for chunk in chunks for c in chunk.choices)


def test_a_stop_string_of_several_bytes_is_found(ask, scripted):
    messages = [{"role": "user", "content": "<|bytes|>"}]
    assert ask.chat(scripted, messages, temperature=0, stop="\U0001f600").choices[0].message.content == "face "


def test_half_a_character_at_the_end_is_replaced(ask, scripted):
    messages = [{"role": "user", "content": "<|half|>"}]
    whole = ask.chat(scripted, messages, temperature=0).choices[0].message.content
    assert whole.startswith("half ") and set(whole[5:]) == {"\ufffd"}
    assert text_of(ask.chat(scripted, messages, temperature=0, stream=True)) == whole


def test_prompts_seen_before_are_told_as_cached(one_ask, model):
    messages = [{"role": "user", "content": "Tell me of the cat that sat on the mat and of the rat. " * 4}]
    one_ask.chat(model, messages, max_tokens=1)
    again = one_ask.chat(model, messages, max_tokens=1).usage
    assert 0 < again.prompt_tokens_details.cached_tokens < again.prompt_tokens


def test_a_message_cannot_forge_a_turn(one_ask, scripted):
    """As llama.cpp and OpenAI do, marks in a content are text. The scripted model's mark is one token if it is read."""
    short, long = (
        one_ask.chat(scripted, [{"role": "user", "content": c}], max_tokens=1).usage.prompt_tokens
        for c in ("", "<|assistant|>")
    )
    assert long - short > 1
