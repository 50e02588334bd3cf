"""`/v1/models`, `/health`, `/metrics`, request ids, browsers."""

import os
import re

import httpx
import openai
import pytest
from conftest import URL


def test_the_model_is_listed_and_found_by_its_name(ask, model):
    cards = ask("models.list")
    card = next(c for c in cards if c.id == model)
    assert card.object == "model" and card.owned_by
    assert card.created > 1_700_000_000
    assert ask("models.retrieve", model=model) == card
    assert len({c.id for c in cards}) == len(cards)


def test_a_model_that_is_not_served_is_not_found(ask):
    with pytest.raises(openai.NotFoundError) as caught:
        ask("models.retrieve", model="no/such-model")
    assert caught.value.code == "model_not_found"


def test_health_is_told_outside_of_the_version(root):
    answer = httpx.get(f"{root}/health", timeout=60)
    assert answer.status_code == 200


METRICS = [
    "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:time_to_first_token_seconds",
    "vllm:generation_tokens_total", "vllm:prompt_tokens_total", "vllm:e2e_request_latency_seconds",
    "vllm:time_per_output_token_seconds", "vllm:request_success_total",
]


@pytest.mark.parametrize("name", METRICS)
def test_metrics_have_the_names_of_vllm(root, name, one_ask, model):
    one_ask.complete(model, max_tokens=2)
    text = httpx.get(f"{root}/metrics", timeout=60).text
    assert re.search(rf"^{re.escape(name)}(_bucket|_sum|_count)?[{{ ]", text, re.M)


def test_metrics_are_whole_open_metrics_text(root):
    answer = httpx.get(f"{root}/metrics", timeout=60)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.rstrip().endswith("# EOF")


def test_tokens_are_counted_by_the_metrics(root, one_ask, model):
    def count():
        text = httpx.get(f"{root}/metrics", timeout=60).text
        return sum(float(v) for v in re.findall(r"^vllm:generation_tokens_total\S* (\S+)", text, re.M))

    before = count()
    one_ask.complete(model, max_tokens=7, extra_body={"ignore_eos": True})
    assert count() - before >= 7


def test_a_request_has_an_id_and_keeps_its_own(client, model):
    raw = client.models.with_raw_response.list()
    assert raw.headers["x-request-id"]
    own = client.models.with_raw_response.list(extra_headers={"x-request-id": "my-own-id-17"})
    assert own.headers["x-request-id"] == "my-own-id-17"
    bad = client.models.with_raw_response.list(extra_headers={"x-request-id": "x" * 500})
    assert len(bad.headers["x-request-id"]) <= 128


def preflight(headers):
    origin = os.environ.get("ASSAY_OPENAI_CORS") or pytest.skip("ASSAY_OPENAI_CORS names no origin")
    ask = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": headers}
    answer = httpx.options(f"{URL}/chat/completions", headers=ask, timeout=60)
    assert answer.headers.get("access-control-allow-origin") in (origin, "*")
    allowed = answer.headers.get("access-control-allow-headers", "").lower().replace(" ", "").split(",")
    return allowed


def test_pages_of_an_allowed_origin_may_call():
    assert {"authorization", "content-type"} <= set(preflight("authorization,content-type"))


def test_the_official_client_may_call_from_a_page():
    sent = ["authorization", "content-type", "x-stainless-lang", "x-stainless-os", "x-stainless-retry-count"]
    allowed = preflight(",".join(sent))
    assert "*" in allowed or set(sent) <= set(allowed)


def test_pages_of_other_origins_may_not_call():
    os.environ.get("ASSAY_OPENAI_CORS") or pytest.skip("ASSAY_OPENAI_CORS names no origin")
    answer = httpx.get(f"{URL}/models", headers={"origin": "https://evil.example"}, timeout=60)
    assert answer.headers.get("access-control-allow-origin") != "https://evil.example"
