"""Every class of error of the client that the server can be brought to give, with its body."""

import os

import httpx
import openai
import pytest
from conftest import KEY, URL, USER, async_client, check_error, sync_client

INVALID = "invalid_request_error"

CHAT = [
    ({"temperature": -1}, "temperature"), ({"temperature": 2.5}, "temperature"), ({"temperature": 1e30}, "temperature"),
    ({"top_p": 0}, "top_p"), ({"top_p": -0.5}, "top_p"), ({"top_p": 1.01}, "top_p"),
    ({"n": 0}, "n"), ({"n": 10**6}, "n"),
    ({"presence_penalty": 2.1}, "presence_penalty"), ({"frequency_penalty": -2.1}, "frequency_penalty"),
    ({"max_tokens": 0}, "max_tokens"), ({"max_completion_tokens": -1}, "max_completion_tokens"),
    ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"logit_bias": {"cat": 1}}, "logit_bias"), ({"logit_bias": {"5": 101}}, "logit_bias"),
    ({"logit_bias": {"5": -1e9}}, "logit_bias"), ({"logit_bias": {"-5": 1}}, "logit_bias"),
    ({"logit_bias": {"99999999": 5}}, "logit_bias"),
    ({"top_logprobs": 3}, "top_logprobs"), ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"), ({"logprobs": 5}, "logprobs"),
    ({"stop": ["x"] * 17}, "stop"), ({"stop": ""}, "stop"), ({"stop": ["x" * 10_000]}, "stop"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"functions": [{"name": "a"}]}, "functions"), ({"function_call": "auto"}, "function_call"),
    ({"audio": {"voice": "a", "format": "mp3"}}, "audio"), ({"modalities": ["text", "audio"]}, "modalities"),
    ({"prediction": {"type": "content", "content": "a"}}, "prediction"), ({"web_search_options": {}}, "web_search_options"),
    ({"messages": []}, "messages"), ({"messages": "hi"}, "messages"), ({"messages": USER * 5000}, "messages"),
    ({"messages": [{"role": "alien", "content": "a"}]}, "messages"), ({"messages": [{"role": "user"}]}, "messages"),
    ({"messages": [{"role": "user", "content": None}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages"),
    ({"model": 5}, "model"),
    *(({name: value}, name) for name, value in [
        ("temperature", "hot"), ("n", -1), ("max_tokens", -1), ("max_tokens", 2.5), ("max_tokens", 1e300), ("seed", 2**70),
        ("seed", "x"), ("stop", 5), ("stream", "yes"), ("logit_bias", [1]), ("top_p", []), ("presence_penalty", "no"),
        ("user", 5), ("stream_options", 5)]),
]


@pytest.mark.parametrize("more,param", CHAT, ids=lambda v: str(v)[:36])
def test_a_chat_that_makes_no_sense_is_a_bad_request(one_ask, model, more, param):
    messages = more.pop("messages", USER) if "messages" in more else USER
    body = {"model": model, "messages": messages, "max_tokens": 4, **more}
    if "max_completion_tokens" in more:
        del body["max_tokens"]
    with pytest.raises(openai.BadRequestError) as caught:
        one_ask("chat.completions.create", model=model, messages=USER, extra_body=body)
    check_error(caught.value, 400, param=param, kind=INVALID)
    assert len(caught.value.body["message"]) < 1000


COMPLETIONS = [
    ({"prompt": []}, "prompt"), ({"prompt": [[]]}, "prompt"), ({"prompt": [-1]}, "prompt"), ({"prompt": [10**7]}, "prompt"),
    ({"prompt": ["a"] * 129}, "prompt"), ({"prompt": ["a", 5]}, "prompt"), ({"prompt": 5}, "prompt"),
    ({"best_of": 3}, "best_of"), ({"suffix": "x"}, "suffix"), ({"logprobs": -1}, "logprobs"),
    ({"logprobs": 21}, "logprobs"),
    ({"prompt": "word " * 20_000}, "prompt"),
    ({"temperature": -1}, "temperature"), ({"max_tokens": -1}, "max_tokens"),
]


@pytest.mark.parametrize("more,param", COMPLETIONS, ids=lambda v: str(v)[:36])
def test_a_completion_that_makes_no_sense_is_a_bad_request(one_ask, model, more, param):
    with pytest.raises(openai.BadRequestError) as caught:
        one_ask("completions.create", model=model, prompt="a", extra_body={"max_tokens": 4, **more})
    check_error(caught.value, 400, param=param, kind=INVALID)


def test_both_clients_raise_a_bad_request(ask, model):
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            ask.chat(model, temperature=-1, stream=stream)
        check_error(caught.value, 400, param="temperature", code=None, kind=INVALID)


@pytest.mark.parametrize("field", ["model", "messages"])
def test_a_missing_field_is_named(http, model, field):
    body = {"model": model, "messages": USER}
    del body[field]
    answer = http.post("/chat/completions", json=body)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == field


@pytest.mark.parametrize("asked", ["prompt", "length", "both"])
def test_more_than_the_context_is_a_bad_request(ask, model, context, asked):
    """Before any work: it takes no longer than the reading."""
    content = "word " * (2 * context if asked != "length" else 3)
    length = 2 if asked == "prompt" else context
    with pytest.raises(openai.BadRequestError) as caught:
        ask.chat(model, [{"role": "user", "content": content}], max_tokens=length)
    check_error(caught.value, 400, param="messages", code="context_length_exceeded", kind=INVALID)
    assert str(context) in caught.value.body["message"]


def test_the_rest_of_the_context_may_be_asked_for_to_the_last_token(one_ask, model, context):
    used = one_ask.chat(model, max_tokens=1).usage.prompt_tokens
    with pytest.raises(openai.BadRequestError):
        one_ask.chat(model, max_tokens=context - used + 1)
    full = one_ask.chat(model, max_tokens=context - used, extra_body={"ignore_eos": True})
    assert full.usage.total_tokens == context and full.choices[0].finish_reason == "length"


def test_an_unknown_model_is_not_found(ask):
    for method, more in [("chat.completions.create", {"messages": USER}), ("completions.create", {"prompt": "a"}),
                         ("embeddings.create", {"input": "a"})]:
        with pytest.raises(openai.NotFoundError) as caught:
            ask(method, model="no/such-model:\u2603", **more)
        check_error(caught.value, 404, param="model", code="model_not_found")


def test_a_model_of_another_kind_is_told_to_be_one(one_ask, model, encoder):
    if encoder == model:
        pytest.skip("texts and embeddings are of one model")
    with pytest.raises(openai.APIStatusError) as caught:
        one_ask("chat.completions.create", model=encoder, messages=USER)
    assert caught.value.status_code in (400, 404)
    assert "not served here" not in caught.value.body["message"]


def test_an_unknown_path_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.get("/nothing/here", cast_to=object)
    check_error(caught.value, 404)


def test_another_method_is_an_error_with_a_body(client):
    with pytest.raises(openai.APIStatusError) as caught:
        client.get("/chat/completions", cast_to=object)
    check_error(caught.value, 405)


def test_what_the_api_has_and_the_server_has_not_is_not_found(client, model):
    for call in (lambda: client.responses.create(model=model, input="a"), lambda: client.images.generate(prompt="a"),
                 lambda: client.moderations.create(input="a"), lambda: client.files.list()):
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        check_error(caught.value, 404)


def test_a_body_over_the_limit_is_an_error_with_a_body(client, model):
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x" * (5 << 20)}])
    check_error(caught.value, 413, kind=INVALID)


# Keys. `assay serve` asks for none; a gateway does.


def keyed():
    if os.environ.get("ASSAY_OPENAI_AUTH") != "1":
        pytest.skip("the server asks for no keys (ASSAY_OPENAI_AUTH)")


@pytest.mark.parametrize("key", ["sk-wrong", "x", KEY + "x", KEY[:-1], "a" * 4000])
def test_a_wrong_key_is_an_authentication_error(key, model):
    keyed()
    with pytest.raises(openai.AuthenticationError) as caught:
        sync_client(key).chat.completions.create(model=model, messages=USER)
    check_error(caught.value, 401, code="invalid_api_key")
    assert key not in caught.value.body["message"]


async def test_a_wrong_key_is_one_for_the_other_client_too():
    keyed()
    with pytest.raises(openai.AuthenticationError):
        await async_client("sk-wrong").models.list()


def test_no_key_is_an_authentication_error():
    keyed()
    for headers in ({}, {"authorization": "Basic YTpi"}, {"authorization": "Bearer"}, {"authorization": KEY}):
        answer = httpx.get(f"{URL}/models", headers=headers, timeout=60)
        assert answer.status_code == 401 and answer.json()["error"]["code"]


def test_a_key_is_asked_for_before_a_body_is_read():
    keyed()
    answer = httpx.post(f"{URL}/chat/completions", content=b"{", timeout=60)
    assert answer.status_code == 401


def test_a_key_that_may_not_is_denied(model):
    key = os.environ.get("ASSAY_OPENAI_FORBIDDEN_KEY") or pytest.skip("no ASSAY_OPENAI_FORBIDDEN_KEY")
    with pytest.raises(openai.PermissionDeniedError) as caught:
        sync_client(key).chat.completions.create(model=model, messages=USER)
    check_error(caught.value, 403)


def test_a_spent_quota_is_a_rate_limit_error(model):
    key = os.environ.get("ASSAY_OPENAI_SPENT_KEY") or pytest.skip("no ASSAY_OPENAI_SPENT_KEY")
    with pytest.raises(openai.RateLimitError) as caught:
        sync_client(key).chat.completions.create(model=model, messages=USER)
    check_error(caught.value, 429, code="insufficient_quota")


# 409 and 422 are never given: no call has a conflict, and what cannot be read is 400, as with OpenAI. 429 of a full
# queue, and what comes of it in the client, is in test_load.py.


@pytest.mark.parametrize("more", [
    {"logit_bias": {"x" * 10**6: 1}}, {"tools": [{"type": "x" * 10**6, "function": {"name": "a"}}]},
    {"tools": [{"type": "function", "function": {"name": "a"}}], "tool_choice": "x" * 10**6},
    {"response_format": {"type": "x" * 10**6}}, {"temperature": "x" * 10**6},
    {"messages": [{"role": "user", "content": [{"type": "x" * 10**6}]}]},
], ids=lambda m: "+".join(m))
def test_an_error_does_not_repeat_what_was_sent(http, model, more):
    answer = http.post("/chat/completions", json={"model": model, "messages": USER, "max_tokens": 2, **more})
    assert answer.status_code == 400 and len(answer.content) < 4000


@pytest.mark.parametrize("name", ["x" * 10**6, "\n\r\0", "../../etc/passwd", "'; drop", "<b>"])
def test_names_of_models_are_cut_short(http, name):
    answer = http.post("/chat/completions", json={"model": name, "messages": USER})
    assert answer.status_code == 404 and len(answer.content) < 1000
    assert "content-type" in answer.headers and answer.headers["content-type"].startswith("application/json")
