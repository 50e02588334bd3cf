"""Log-probabilities of both ways to ask."""

import math

import pytest
from conftest import USER

LONG = {"ignore_eos": True}


def check(tokens, text):
    """Of a chat: bytes make the text, and probabilities are some."""
    joined = b"".join(bytes(t.bytes) for t in tokens)
    assert joined.decode("utf-8", "replace") == text
    for token in tokens:
        assert token.logprob <= 1e-5
        assert token.token == bytes(token.bytes).decode("utf-8", "replace")
        listed = token.top_logprobs
        assert sum(math.exp(t.logprob) for t in listed) <= 1 + 1e-4
        assert [t.logprob for t in listed] == sorted((t.logprob for t in listed), reverse=True)
        assert all(t.logprob <= 1e-5 for t in listed)


@pytest.mark.parametrize("top", [None, 0, 1, 5, 20])
def test_the_coldest_text_is_the_likeliest_listed(ask, model, top):
    answer = ask.chat(model, max_tokens=12, temperature=0, logprobs=True, top_logprobs=top)
    choice = answer.choices[0]
    check(choice.logprobs.content, choice.message.content)
    assert len(choice.logprobs.content) in (answer.usage.completion_tokens, answer.usage.completion_tokens - 1)
    for token in choice.logprobs.content:
        assert len(token.top_logprobs) == (top or 0)
        if top:
            best = token.top_logprobs[0]
            assert (best.token, best.bytes) == (token.token, token.bytes)
            assert best.logprob == pytest.approx(token.logprob, abs=1e-5)


def test_a_drawn_token_has_the_probability_that_is_listed_for_it(ask, model):
    answer = ask.chat(model, max_tokens=40, temperature=1, seed=3, logprobs=True, top_logprobs=20, extra_body=LONG)
    content = answer.choices[0].logprobs.content
    found = 0
    for token in content:
        same = [t for t in token.top_logprobs if t.bytes == token.bytes]
        if same:
            assert same[0].logprob == pytest.approx(token.logprob, abs=1e-5)
            found += 1
        else:
            assert token.logprob <= token.top_logprobs[-1].logprob + 1e-5
    assert found > len(content) / 3


def test_without_being_asked_none_come(ask, model):
    assert ask.chat(model, max_tokens=2).choices[0].logprobs is None
    assert all(c.choices[0].logprobs is None for c in ask.chat(model, max_tokens=3, stream=True))


def test_streamed_ones_are_the_whole_ones(ask, model):
    arguments = {"max_tokens": 20, "temperature": 1, "seed": 9, "logprobs": True, "top_logprobs": 3, "extra_body": LONG}
    whole = ask.chat(model, **arguments).choices[0].logprobs.content
    chunks = ask.chat(model, stream=True, **arguments)
    parts = [t for c in chunks for t in (c.choices[0].logprobs.content if c.choices[0].logprobs else [])]
    assert [(t.token, t.bytes) for t in parts] == [(t.token, t.bytes) for t in whole]
    assert [t.logprob for t in parts] == pytest.approx([t.logprob for t in whole], abs=1e-4)
    assert len(whole) == 20


def test_temperature_and_bias_do_not_change_what_the_model_thinks(one_ask, model):
    """As with vLLM: of the model's own distribution, so that a drawn text can be scored."""
    cold = one_ask.chat(model, max_tokens=1, temperature=0, logprobs=True, top_logprobs=5)
    hot = one_ask.chat(model, max_tokens=1, temperature=2, seed=1, logprobs=True, top_logprobs=5)
    one, two = (a.choices[0].logprobs.content[0].top_logprobs for a in (cold, hot))
    assert [t.token for t in one] == [t.token for t in two]
    assert [t.logprob for t in one] == pytest.approx([t.logprob for t in two], abs=1e-4)


def test_choices_have_their_own(ask, model):
    answer = ask.chat(model, n=3, seed=2, temperature=1.3, max_tokens=8, logprobs=True, extra_body=LONG)
    for choice in answer.choices:
        check(choice.logprobs.content, choice.message.content)


def test_special_tokens_are_named_as_they_are(one_ask, model):
    answer = one_ask.chat(model, max_tokens=40, temperature=0, logprobs=True, top_logprobs=20, extra_body=LONG)
    listed = [t for token in answer.choices[0].logprobs.content for t in token.top_logprobs]
    assert listed
    assert not [t.token for t in listed if len(t.bytes) > 1 and t.bytes[0] == 255]


def test_a_stopped_text_has_its_own_tokens_only(one_ask, model, story):
    stop = next(t for t in story.tokens[5:] if len(t.strip()) > 1)
    stopped = one_ask.chat(model, logprobs=True, stop=stop, **story.arguments).choices[0]
    assert stopped.finish_reason == "stop"
    check(stopped.logprobs.content, stopped.message.content)


def test_bytes_of_cut_characters_make_them_whole(one_ask, scripted):
    messages = [{"role": "user", "content": "<|bytes|>"}]
    choice = one_ask.chat(scripted, messages, temperature=0, logprobs=True).choices[0]
    check(choice.logprobs.content, choice.message.content)
    assert choice.message.content == "face \U0001f600 and \u00e9 done"


# Completions.


@pytest.mark.parametrize("top", [0, 1, 5, 20])
def test_completions_list_tokens_with_their_places(ask, model, top):
    choice = ask.complete(model, max_tokens=12, temperature=0, logprobs=top, extra_body=LONG).choices[0]
    got = choice.logprobs
    assert len(got.tokens) == len(got.token_logprobs) == len(got.text_offset) == 12
    assert all(p <= 1e-5 for p in got.token_logprobs)
    if choice.text.isascii():
        # A special token, drawn past the model's own end, has a name and no text.
        words = ["" if t.startswith("<|") else t for t in got.tokens]
        assert "".join(words) == choice.text
        assert got.text_offset == [len("".join(words[:i])) for i in range(12)]
    if top:
        for token, own, listed in zip(got.tokens, got.token_logprobs, got.top_logprobs):
            assert len(listed) <= top
            assert listed[token] == pytest.approx(own, abs=1e-5)
            assert sum(math.exp(p) for p in listed.values()) <= 1 + 1e-4


def test_completions_always_list_the_drawn_token(one_ask, model):
    got = one_ask.complete(model, max_tokens=40, temperature=1.5, seed=1, logprobs=1, extra_body=LONG).choices[0].logprobs
    assert all(token in listed for token, listed in zip(got.tokens, got.top_logprobs))


def test_streamed_completions_list_the_same(ask, model):
    arguments = {"max_tokens": 15, "temperature": 1, "seed": 9, "logprobs": 2, "extra_body": LONG}
    whole = ask.complete(model, **arguments).choices[0].logprobs
    parts = [c.choices[0].logprobs for c in ask.complete(model, stream=True, **arguments) if c.choices[0].logprobs]
    for name in ("tokens", "text_offset", "top_logprobs"):
        joined = [x for p in parts for x in getattr(p, name)]
        assert len(joined) == 15
        if name != "top_logprobs":
            assert joined == getattr(whole, name)


def test_places_count_the_echo(one_ask, scripted, vocabulary):
    got = one_ask.complete(scripted, "<|stop|>", temperature=0, logprobs=0).choices[0]
    assert got.logprobs.tokens == ["alpha EN", "X beta ", "E", "ND", " gamma"]
    assert got.logprobs.text_offset == [0, 8, 15, 16, 18]


def test_places_do_not_move_with_what_is_held_back(one_ask, scripted):
    got = one_ask.complete(scripted, "<|stop|>", temperature=0, logprobs=0, stop="ENZ").choices[0]
    assert got.text == "alpha ENX beta END gamma"
    assert got.logprobs.text_offset == [0, 8, 15, 16, 18]


def test_log_probabilities_need_no_stream_of_text(http, model):
    """Each token's comes with it, even where a chunk's text is empty."""
    body = {"model": model, "messages": USER, "max_tokens": 6, "logprobs": True, "stream": True, "ignore_eos": True}
    text = http.post("/chat/completions", json=body).text
    assert text.count('"logprob":') == 6
