"""Penalties, biases, and the cuts of the distribution."""

import pytest
from conftest import USER

LONG = {"ignore_eos": True}


def tokens(ask, model, **arguments):
    arguments = {"max_tokens": 64, "temperature": 0, "extra_body": LONG, **arguments}
    choice = ask.chat(model, logprobs=True, **arguments).choices[0]
    return [bytes(t.bytes) for t in choice.logprobs.content]


def letter(vocabulary, nth=0):
    words = [(t, i) for t, i in vocabulary.items() if t.isascii() and t.isalpha() and len(t) <= 3]
    return words[nth]


def test_penalties_make_repeats_rarer_and_rewards_make_them_commoner(ask, model):
    def repeats(**penalties):
        drawn = tokens(ask, model, **penalties)
        return len(drawn) - len(set(drawn))

    plain = repeats()
    assert repeats(frequency_penalty=2, presence_penalty=2) < plain
    assert repeats(presence_penalty=2) < plain
    assert repeats(frequency_penalty=-2, presence_penalty=-2) >= plain


def test_a_frequency_penalty_grows_with_each_time(one_ask, model, vocabulary):
    """Of two tokens that are forced, the likelier one wins always, or, with the penalty, no more than some times."""
    (one, a), (two, b) = letter(vocabulary), letter(vocabulary, 5)
    bias = {str(a): 100, str(b): 100}
    drawn = tokens(one_ask, model, logit_bias=bias, max_tokens=80, frequency_penalty=2)
    counts = [drawn.count(one.encode()), drawn.count(two.encode())]
    assert sum(counts) == 80
    assert min(counts) >= 20, "the penalty evens them out"


def test_a_bias_forces_a_token(ask, model, vocabulary):
    for nth in (0, 7):
        text, number = letter(vocabulary, nth)
        answer = ask.chat(model, max_tokens=6, temperature=0, logit_bias={str(number): 100}, extra_body=LONG)
        assert answer.choices[0].message.content == text * 6
        done = ask.complete(model, max_tokens=6, temperature=1, seed=1, logit_bias={str(number): 100}, extra_body=LONG)
        assert done.choices[0].text == text * 6


def test_a_bias_bans_a_token(ask, model, vocabulary):
    drawn = tokens(ask, model)
    known = [t for t in drawn if t.decode("utf-8", "replace") in vocabulary]
    assert known
    banned = known[0]
    without = tokens(ask, model, logit_bias={str(vocabulary[banned.decode()]): -100})
    assert banned not in without and without != drawn
    hot = tokens(ask, model, temperature=1.8, seed=1, max_tokens=120, logit_bias={str(vocabulary[banned.decode()]): -100})
    assert banned not in hot


def test_a_small_bias_is_no_ban(one_ask, model, vocabulary):
    plain = tokens(one_ask, model)
    assert tokens(one_ask, model, logit_bias={"5": 0, "6": 0.0}) == plain


def test_many_biases_are_taken(one_ask, model):
    answer = one_ask.chat(model, max_tokens=3, logit_bias={str(i): (-1) ** i for i in range(2000)})
    assert answer.usage.completion_tokens >= 1


def test_one_of_the_likeliest_tokens_is_the_coldest_text(one_ask, model):
    cold = tokens(one_ask, model)
    assert tokens(one_ask, model, temperature=2, extra_body={**LONG, "top_k": 1}) == cold
    assert tokens(one_ask, model, temperature=2, extra_body={**LONG, "min_p": 1}) == cold


def test_heat_makes_texts_more_varied(one_ask, model):
    def kinds(temperature):
        answer = one_ask.chat(model, USER, n=8, max_tokens=3, temperature=temperature, seed=1, extra_body=LONG)
        return len({c.message.content for c in answer.choices})

    assert kinds(0) == 1
    assert kinds(2) >= 6




@pytest.mark.parametrize("temperature", [1e-6, 1e-20, 1e-38, 1e-40, 1e-45])
def test_the_smallest_heat_is_the_coldest_text(one_ask, model, temperature):
    cold = tokens(one_ask, model, max_tokens=8)
    assert tokens(one_ask, model, max_tokens=8, temperature=temperature, seed=1) == cold
