"""`/v1/embeddings` by both clients."""

import base64

import numpy as np
import openai
import pytest
from conftest import check_error


def embed(ask, encoder, text, **more):
    return ask("embeddings.create", model=encoder, input=text, **more)


def test_an_embedding_has_its_form(ask, encoder):
    answer = embed(ask, encoder, "a dog")
    assert answer.object == "list" and answer.model == encoder
    [item] = answer.data
    assert (item.object, item.index) == ("embedding", 0)
    assert len(item.embedding) > 8 and all(isinstance(x, float) for x in item.embedding)
    assert np.linalg.norm(item.embedding) == pytest.approx(1, abs=1e-4)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0


def test_what_the_client_decodes_is_what_is_written_as_numbers(ask, encoder):
    """Without a format the client asks for base 64, and decodes it."""
    decoded = embed(ask, encoder, "a dog").data[0].embedding
    plain = embed(ask, encoder, "a dog", encoding_format="float").data[0].embedding
    assert np.array_equal(np.float32(decoded), np.float32(plain))


def test_base_64_is_little_endian_single_precision(ask, encoder, http):
    coded = http.post("/embeddings", json={"model": encoder, "input": "a dog", "encoding_format": "base64"})
    coded = coded.raise_for_status().json()["data"][0]["embedding"]
    assert isinstance(coded, str)
    vector = np.frombuffer(base64.b64decode(coded, validate=True), dtype="<f4")
    assert np.array_equal(vector, np.float32(embed(ask, encoder, "a dog", encoding_format="float").data[0].embedding))
    asked = embed(ask, encoder, "a dog", encoding_format="base64").data[0].embedding
    assert asked == coded, "who asks for base 64 gets it"


def test_numbers_are_the_default_of_the_api(http, encoder):
    data = http.post("/embeddings", json={"model": encoder, "input": "a"}).raise_for_status().json()["data"]
    assert isinstance(data[0]["embedding"], list)


def test_lists_of_texts_are_in_order_and_alone_the_same(ask, encoder):
    texts = ["a dog", "a much longer text about a cat and its ways", "b", "a dog"]
    answer = embed(ask, encoder, texts)
    assert [item.index for item in answer.data] == [0, 1, 2, 3]
    alone = [embed(ask, encoder, text) for text in texts]
    assert [item.embedding for item in answer.data] == [one.data[0].embedding for one in alone]
    assert answer.data[0].embedding == answer.data[3].embedding != answer.data[1].embedding
    assert answer.usage.prompt_tokens == sum(one.usage.prompt_tokens for one in alone)


def test_tokens_are_inputs(ask, encoder):
    one = embed(ask, encoder, [5, 6, 7])
    assert len(one.data) == 1 and one.usage.prompt_tokens == 3
    many = embed(ask, encoder, [[5, 6, 7], [8, 9]])
    assert [item.index for item in many.data] == [0, 1] and many.usage.prompt_tokens == 5
    assert many.data[0].embedding == one.data[0].embedding != many.data[1].embedding


def test_lists_as_long_as_the_api_allows_are_served(one_ask, encoder):
    answer = embed(one_ask, encoder, ["a"] * 2048)
    assert len(answer.data) == 2048 and [item.index for item in answer.data] == list(range(2048))


def test_its_own_size_may_be_asked_for(ask, encoder):
    size = len(embed(ask, encoder, "a").data[0].embedding)
    assert len(embed(ask, encoder, "a", dimensions=size).data[0].embedding) == size


@pytest.mark.parametrize("text", ["caf\u00e9 \u2603 \U0001f600", "a\0b", " ", "\n\t", "\u202e\ufeff"])
def test_odd_texts_are_embedded(one_ask, encoder, text):
    assert len(embed(one_ask, encoder, text).data) == 1


REFUSED = [("", "input"), ([], "input"), (["a", ""], "input"), ([[]], "input"), ([[5], []], "input"), ([10**6], "input"),
           ([-1], "input"), ([1.5], "input"), ([["a"]], "input"), (["a", 1], "input"), (["a"] * 2049, "input"),
           ({"a": 1}, "input"), (5, "input"), ([None], "input")]


@pytest.mark.parametrize("value,param", REFUSED, ids=[str(v)[:20] for v, _ in REFUSED])
def test_inputs_that_make_no_sense_are_refused(one_ask, encoder, value, param):
    with pytest.raises(openai.BadRequestError) as caught:
        embed(one_ask, encoder, value)
    check_error(caught.value, 400, param=param, kind="invalid_request_error")


@pytest.mark.parametrize("more,param", [({"dimensions": 3}, "dimensions"), ({"dimensions": 0}, "dimensions"),
                                        ({"dimensions": -1}, "dimensions"), ({"encoding_format": "hex"}, "encoding_format")])
def test_parameters_that_make_no_sense_are_refused(one_ask, encoder, more, param):
    with pytest.raises(openai.BadRequestError) as caught:
        embed(one_ask, encoder, "a", **more)
    check_error(caught.value, 400, param=param)


def test_unknown_models_are_not_found(ask):
    with pytest.raises(openai.NotFoundError) as caught:
        embed(ask, "no-such", "a")
    check_error(caught.value, 404, param="model", code="model_not_found")


@pytest.mark.parametrize("kind", ["text", "tokens"])
def test_a_text_over_the_context_is_refused(one_ask, encoder, kind):
    with pytest.raises(openai.BadRequestError) as caught:
        embed(one_ask, encoder, "word " * 5000 if kind == "text" else [5] * 5000)
    check_error(caught.value, 400, param="input")
