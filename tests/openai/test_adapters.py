"""Adapters: models of their own to a client, in the same batches as their model."""

from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

PROMPTS = ["A dog is", "The river", "What is", "To build a house", "Water is a", "One day the"]


def said(one_ask, model, prompt):
    return one_ask.complete(model, prompt, max_tokens=12, temperature=0, extra_body={"ignore_eos": True}).choices[0].text


def test_an_adapter_is_listed_with_its_model(one_ask, model, adapter):
    card = one_ask("models.retrieve", model=adapter)
    assert (card.id, card.parent) == (adapter, model)
    assert getattr(one_ask("models.retrieve", model=model), "parent", None) is None


def test_it_has_a_fingerprint_of_its_own(one_ask, model, adapter):
    answers = [one_ask.chat(name, max_tokens=2) for name in (model, adapter)]
    assert answers[0].system_fingerprint != answers[1].system_fingerprint
    assert [answer.model for answer in answers] == [model, adapter]


def test_it_answers_otherwise_and_changes_nothing_for_its_model(one_ask, model, adapter):
    alone = {(name, prompt): said(one_ask, name, prompt) for name in (model, adapter) for prompt in PROMPTS}
    assert all(alone[model, prompt] != alone[adapter, prompt] for prompt in PROMPTS)
    # Both in one batch, with the same prompts, of which each has the pages of its own.
    with ThreadPoolExecutor(24) as pool:
        together = pool.map(lambda asked: (asked, said(one_ask, *asked)), [*alone, *reversed(alone)] * 2)
        for asked, text in together:
            assert text == alone[asked], asked


def test_embeddings_are_its_models(one_ask, model, adapter):
    with pytest.raises(openai.BadRequestError) as caught:
        one_ask("embeddings.create", model=adapter, input="a dog")
    assert caught.value.param == "model" and model in caught.value.body["message"]
