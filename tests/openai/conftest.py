"""What all tests of the API share: where it is, and the official client in strict validation.

Environment:
  ASSAY_OPENAI_URL       base URL, ending in /v1 [http://127.0.0.1:8765/v1]
  ASSAY_OPENAI_MODEL     a language model with a chat template [the first that answers a chat]
  ASSAY_OPENAI_KEY       a key that may do everything [none]
  ASSAY_OPENAI_EMBED     a sentence encoder [the first that embeds]; tests of embeddings are skipped without one
  ASSAY_OPENAI_SCRIPTED  the model that make_models.py writes as `scripted`, if it is served
  ASSAY_OPENAI_ADAPTER   an adapter of the language model, if one is served
  ASSAY_OPENAI_PID       the server's process, if it is on this machine: its memory and time are watched
  ASSAY_OPENAI_CORS      an origin whose pages may call the API
  ASSAY_OPENAI_AUTH      1 if the server asks for keys
  ASSAY_OPENAI_FORBIDDEN_KEY  a key that is known and may not use the model
  ASSAY_OPENAI_SPENT_KEY      a key whose quota is used up
"""

import asyncio
import base64
import os
from pathlib import Path

import httpx
import numpy as np
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import Completion, CreateEmbeddingResponse

URL = os.environ.get("ASSAY_OPENAI_URL", "http://127.0.0.1:8765/v1").rstrip("/")
KEY = os.environ.get("ASSAY_OPENAI_KEY", "none")
TIMEOUT = 120.0
USER = [{"role": "user", "content": "What is a dog?"}]


def sync_client(key=KEY, **options):
    options = {"max_retries": 0, "timeout": TIMEOUT, **options}
    return OpenAI(base_url=URL, api_key=key, _strict_response_validation=True, **options)


def async_client(key=KEY, **options):
    options = {"max_retries": 0, "timeout": TIMEOUT, **options}
    return AsyncOpenAI(base_url=URL, api_key=key, _strict_response_validation=True, **options)


def checked(answer, arguments):
    """Holds to the client's types what was read by a lenient client, but for what cannot be."""
    for item in answer if isinstance(answer, list) else []:
        if isinstance(item, Completion):
            value = item.to_dict()
            for choice in value["choices"]:
                assert "finish_reason" in choice
                choice["finish_reason"] = choice["finish_reason"] or "stop"
            Completion.model_validate(value)
    if isinstance(answer, CreateEmbeddingResponse):
        value = answer.to_dict()
        for item in value["data"] if arguments.get("encoding_format") == "base64" else []:
            item["embedding"] = np.frombuffer(base64.b64decode(item["embedding"]), dtype="<f4").tolist()
        CreateEmbeddingResponse.model_validate(value)
    return answer


class Ask:
    """One way of asking for both clients: a method's name and its arguments; a stream comes back as a list."""

    def __init__(self, kind):
        self.kind = kind
        self.client = sync_client() if kind == "sync" else async_client()
        self.loop = None if kind == "sync" else asyncio.new_event_loop()

    def close(self):
        if self.loop is None:
            self.client.close()
        else:
            self.loop.run_until_complete(self.client.close())
            self.loop.close()

    def __call__(self, method, **arguments):
        bound = self.client
        # Two things no honest server's answers pass in the client's strict validation, OpenAI's own included: the null
        # that a streamed completion has for `finish_reason` before its end (the client's type has none), and base 64
        # (validated as a list before it is decoded). There the rest of the answer is held to the client's types.
        streamed = method == "completions.create" and arguments.get("stream")
        coded = method == "embeddings.create" and arguments.get("encoding_format") != "float"
        if streamed or coded:
            bound = self.client.copy()
            bound._strict_response_validation = False
        for name in method.split("."):
            bound = getattr(bound, name)
        if self.loop is None:
            answer = bound(**arguments)
            if arguments.get("stream") or method == "models.list":
                answer = list(answer)
            return checked(answer, arguments)
        if method == "models.list":
            return self.loop.run_until_complete(self.listed(bound()))
        return checked(self.loop.run_until_complete(self.whole(bound(**arguments), arguments.get("stream"))), arguments)

    @staticmethod
    async def listed(page):
        return [item async for item in page]

    @staticmethod
    async def whole(answer, stream):
        answer = await answer
        return [item async for item in answer] if stream else answer

    def chat(self, model, messages=None, **arguments):
        return self("chat.completions.create", model=model, messages=messages or USER, **arguments)

    def complete(self, model, prompt="A dog is", **arguments):
        return self("completions.create", model=model, prompt=prompt, **arguments)


@pytest.fixture(scope="session", params=["sync", "async"])
def ask(request):
    """Both clients."""
    one = Ask(request.param)
    yield one
    one.close()


@pytest.fixture(scope="session")
def client():
    with sync_client() as one:
        yield one


@pytest.fixture(scope="session")
def one_ask():
    """The synchronous client in the form of `ask`, for what need not be asked twice."""
    one = Ask("sync")
    yield one
    one.close()


@pytest.fixture(scope="session")
def http():
    with httpx.Client(base_url=URL, headers={"authorization": f"Bearer {KEY}"}, timeout=TIMEOUT) as one:
        yield one


@pytest.fixture(scope="session")
def root():
    """The server's own root, where /health and /metrics are."""
    return URL.removesuffix("/v1")


def ids(http):
    return [card["id"] for card in http.get("/models").raise_for_status().json()["data"]]


@pytest.fixture(scope="session")
def model(http):
    if own := os.environ.get("ASSAY_OPENAI_MODEL"):
        return own
    for name in ids(http):
        body = {"model": name, "messages": USER, "max_tokens": 1}
        if name != os.environ.get("ASSAY_OPENAI_SCRIPTED") and http.post("/chat/completions", json=body).is_success:
            return name
    pytest.fail("no model answers a chat")


@pytest.fixture(scope="session")
def context(http, model):
    return http.get(f"/models/{model}").json()["max_model_len"]


@pytest.fixture(scope="session")
def encoder(http):
    if own := os.environ.get("ASSAY_OPENAI_EMBED"):
        return own
    for name in ids(http):
        if http.post("/embeddings", json={"model": name, "input": "a"}).is_success:
            return name
    pytest.skip("no model embeds")


@pytest.fixture(scope="session")
def scripted():
    name = os.environ.get("ASSAY_OPENAI_SCRIPTED")
    return name or pytest.skip("ASSAY_OPENAI_SCRIPTED names no model")


@pytest.fixture(scope="session")
def adapter():
    name = os.environ.get("ASSAY_OPENAI_ADAPTER")
    return name or pytest.skip("ASSAY_OPENAI_ADAPTER names no adapter")


class Process:
    """A process of this machine."""

    def __init__(self, pid):
        self.folder = Path(f"/proc/{pid}")

    def memory(self):
        """In MiB."""
        lines = (self.folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def seconds(self):
        """Of processors, so far."""
        fields = (self.folder / "stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def files(self):
        return len(list((self.folder / "fd").iterdir()))


@pytest.fixture(scope="session")
def process():
    pid = os.environ.get("ASSAY_OPENAI_PID")
    return Process(pid) if pid else pytest.skip("ASSAY_OPENAI_PID names no process")


class Story:
    """A text that comes again when it is asked for: what to ask, the text, its tokens' texts."""

    def __init__(self, arguments, text, tokens, end):
        self.arguments, self.text, self.tokens, self.end = arguments, text, tokens, end


@pytest.fixture(scope="session")
def story(one_ask, model):
    """One that is long and plain, for tests that cut it."""
    for seed in range(80):
        arguments = {"max_tokens": 40, "temperature": 1.2, "seed": seed}
        choice = one_ask.chat(model, logprobs=True, **arguments).choices[0]
        tokens, text = [t.token for t in choice.logprobs.content], choice.message.content
        if len(tokens) > 20 and len(text) > 50 and text.isascii() and "".join(tokens) == text:
            return Story(arguments, text, tokens, choice.finish_reason)
    pytest.fail("no seed tells a long and plain story")


@pytest.fixture(scope="session")
def vocabulary(http, model):
    """Texts of the model's first tokens to their numbers, found by asking for echoes."""
    found = {}
    for start in range(0, 512, 32):
        body = {"model": model, "prompt": [[i] for i in range(start, start + 32)], "echo": True, "max_tokens": 1,
                "temperature": 0, "logprobs": None}
        plain = {**body, "echo": False}
        echoes = http.post("/completions", json=body).raise_for_status().json()["choices"]
        plains = http.post("/completions", json=plain).raise_for_status().json()["choices"]
        for at, (whole, rest) in enumerate(zip(echoes, plains)):
            text = whole["text"].removesuffix(rest["text"])
            if text and "\ufffd" not in text:
                found.setdefault(text, start + at)
    assert len(found) > 100
    return found


def check_error(error, status, param=..., code=..., kind=...):
    """That an error of the client has the API's body."""
    assert error.status_code == status
    body = error.body
    assert isinstance(body, dict) and set(body) >= {"message", "type", "param", "code"}, body
    assert isinstance(body["message"], str) and body["message"]
    assert isinstance(body["type"], str) and body["type"]
    for name, wanted in [("param", param), ("code", code), ("type", kind)]:
        if wanted is not ...:
            assert body[name] == wanted, body
            assert getattr(error, name) == wanted
    assert error.request_id
