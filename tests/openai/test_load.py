"""Many at once, clients that vanish, and requests that are made to be slow."""

import asyncio
import json
import os
import socket
import threading
import time

import httpx
import openai
import pytest
from conftest import KEY, TIMEOUT, URL, USER, async_client, check_error
from test_raw import connect, head

pytestmark = pytest.mark.slow
HEADERS = {"authorization": f"Bearer {KEY}"}


def long(model, n=16, tokens=400, **more):
    return {"model": model, "messages": USER, "max_tokens": tokens, "n": n, "ignore_eos": True, "stream": True, **more}


def opened(body, path="/chat/completions"):
    """A connection with a request on it, of which the first of the answer has come."""
    one = connect()
    text = json.dumps(body).encode()
    one.sendall(head(len(text), path) + text)
    first = one.recv(4096)
    return one, first


def vanish(one):
    """As a client that dies: the kernel resets the connection."""
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    one.close()


def fill(body):
    """Asks until the server says that it is full; the connections, and its refusal."""
    held = []
    for _ in range(60):
        one, first = opened(body)
        if b" 429 " in first.split(b"\r\n")[0]:
            one.close()
            return held, first
        assert b" 200 " in first.split(b"\r\n")[0], first
        held.append(one)
    for one in held:
        vanish(one)
    pytest.skip("the server takes more than 960 texts at once")


def settled(model, within):
    """Seconds until a small request is answered, not refused."""
    started = time.monotonic()
    while time.monotonic() - started < within:
        body = {"model": model, "messages": USER, "max_tokens": 1}
        if httpx.post(f"{URL}/chat/completions", json=body, headers=HEADERS, timeout=TIMEOUT).status_code == 200:
            return time.monotonic() - started
        time.sleep(0.2)
    return float("inf")


def test_1000_requests_at_once_are_answered_or_told_to_come_again(model):
    async def all_of_them():
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx.AsyncClient(limits=limits, timeout=300, headers=HEADERS) as http:
            async def one(i):
                body = {"model": model, "messages": USER, "max_tokens": 2, "stream": i % 2 == 0}
                return await http.post(f"{URL}/chat/completions", json=body)

            return await asyncio.gather(*(one(i) for i in range(1000)), return_exceptions=True)

    answers = asyncio.run(all_of_them())
    assert [a for a in answers if isinstance(a, BaseException)] == []
    assert {a.status_code for a in answers} <= {200, 429}
    served = [a for a in answers if a.status_code == 200]
    assert len(served) >= 100
    for answer in answers:
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        else:
            assert '"error"' not in answer.text
    assert settled(model, 60) < 60


async def at_once(model, count, retries):
    """What comes of so many requests of 16 texts."""
    async with async_client(max_retries=retries) as client:
        async def one():
            return await client.chat.completions.create(
                model=model, messages=USER, n=16, max_tokens=30, extra_body={"ignore_eos": True}
            )

        return await asyncio.gather(*(one() for _ in range(count)), return_exceptions=True)


async def test_a_full_server_is_a_rate_limit_error(model):
    answers = await at_once(model, 40, retries=0)
    errors = [a for a in answers if isinstance(a, BaseException)]
    assert errors and len(errors) < 40
    for error in errors:
        assert isinstance(error, openai.RateLimitError), error
        check_error(error, 429, code="rate_limit_exceeded", kind="rate_limit_error")
        assert int(error.response.headers["retry-after"]) >= 1


async def test_retry_after_is_about_the_time_that_the_queue_needs(model):
    await at_once(model, 40, retries=0)
    started = time.monotonic()
    answers = await at_once(model, 40, retries=0)
    took = time.monotonic() - started
    told = [int(a.response.headers["retry-after"]) for a in answers if isinstance(a, openai.RateLimitError)]
    assert max(told) <= 2 * took + 1


async def test_a_client_that_comes_again_is_served(model):
    """The client waits as it is told to, and all are answered in the end."""
    answers = await at_once(model, 40, retries=12)
    assert [a for a in answers if isinstance(a, BaseException)] == []
    assert all(len(a.choices) == 16 for a in answers)


def test_clients_that_vanish_free_their_places(model, request):
    held, _ = fill(long(model))
    for one in held:
        vanish(one)
    assert settled(model, 20) < 20
    if os.environ.get("ASSAY_OPENAI_PID"):
        process = request.getfixturevalue("process")
        time.sleep(2)
        before = process.seconds()
        time.sleep(3)
        assert process.seconds() - before < 0.3, "nothing is computed for nobody"


def test_a_client_that_vanishes_before_the_answer_is_not_worked_for(model, process):
    """Not streamed: the connection closes while the answer is made."""
    body = json.dumps(long(model, stream=False)).encode()
    started, spent = time.monotonic(), process.seconds()
    with connect() as one:
        one.sendall(head(len(body), more="connection: close\r\n") + body)
        while one.recv(65536):
            pass
    whole, took = process.seconds() - spent, time.monotonic() - started
    spent = process.seconds()
    for _ in range(10):
        one = connect()
        one.sendall(head(len(body)) + body)
        time.sleep(min(0.05, took / 20))
        vanish(one)
    assert settled(model, 30) < 30
    time.sleep(1)
    assert process.seconds() - spent < 5 * whole, "ten answers that nobody waits for cost less than five"


def test_a_client_that_does_not_read_holds_up_nobody(http, model):
    held = [opened(long(model))[0] for _ in range(2)]
    started = time.monotonic()
    assert http.post("/chat/completions", json={"model": model, "messages": USER, "max_tokens": 2}).status_code == 200
    assert time.monotonic() - started < 30
    for one in held:
        vanish(one)


def test_connections_that_ask_nothing_hold_up_nobody(http, model):
    held = [connect() for _ in range(500)]
    assert http.post("/chat/completions", json={"model": model, "messages": USER, "max_tokens": 2}).status_code == 200
    for one in held:
        one.close()


def test_a_client_that_vanishes_frees_the_encoder(encoder, process):
    body = json.dumps({"model": encoder, "input": ["word " * 12] * 2048}).encode()
    assert len(body) < 4 << 20
    # What a part of it costs.
    part = {"model": encoder, "input": ["word " * 12] * 64}
    spent = process.seconds()
    assert httpx.post(f"{URL}/embeddings", json=part, headers=HEADERS, timeout=TIMEOUT).status_code == 200
    whole = (process.seconds() - spent) * 32
    spent = process.seconds()
    one = connect()
    one.sendall(head(len(body), "/embeddings") + body)
    time.sleep(0.3)
    vanish(one)
    for _ in range(40):
        before = process.seconds()
        time.sleep(1)
        if process.seconds() - before < 0.05:
            break
    assert process.seconds() - spent < 0.5 * whole


# Requests that are made to be slow.


def nested(depth, word):
    inner = {"type": "string"}
    for _ in range(depth):
        inner = {"type": "object", "properties": {"a": inner}, "required": ["a"]} if word == "object" else {word: [inner, inner]}
    return inner


def doubled(word):
    """Two references a level: 2^30 leaves if they are written out."""
    parts = {f"d{i}": {word: [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(30)}
    return {"$defs": {**parts, "d30": {"type": "string"}}, "$ref": "#/$defs/d0"}


SLOW = {
    "counts of counts": {"type": "string", "pattern": "^((a{1,100}){1,100}){1,100}$"},
    "a large count": {"type": "string", "pattern": "^(a|b){1,100000}c$"},
    "states without end": {"type": "string", "pattern": "^(a|b)*a(a|b){30}$"},
    "states at any place": {"type": "string", "pattern": "(.*a.{40}b.*){5}"},
    "a plus of a plus": {"type": "string", "pattern": "^(a+)+$"},
    "classes": {"type": "string", "pattern": "^(\\p{L}{1,500}\\p{N}{1,500}){1,50}$"},
    "a large least": {"type": "string", "minLength": 10**9}, "a large most": {"type": "string", "maxLength": 10**12},
    "many items": {"type": "array", "items": {"type": "string"}, "minItems": 10**9},
    "a small step": {"type": "number", "multipleOf": 1e-300},
    "itself": {"$ref": "#"}, "itself twice": {"anyOf": [{"$ref": "#"}] * 2}, "all of itself": {"allOf": [{"$ref": "#"}] * 2},
    "in a ring": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "all of double": doubled("allOf"), "any of double": doubled("anyOf"),
    "a product": {"allOf": [{"anyOf": [{"type": "object", "properties": {f"p{i}x{j}": {}}} for j in range(8)]} for i in range(8)]},
    "many values": {"enum": [f"value {i}" for i in range(50_000)]},
    "many properties": {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(20_000)}},
    "patterns of properties": {"type": "object", "patternProperties": {f"^{'ab' * i}(a|b)*$": {} for i in range(40)}},
    "deep": nested(55, "object"), "wide and deep": nested(12, "anyOf"),
    "another's address": {"$ref": "http://127.0.0.1:9/x"}, "a file": {"$ref": "file:///dev/zero"},
}


@pytest.mark.parametrize("schema", SLOW.values(), ids=SLOW.keys())
def test_a_schema_that_is_made_to_be_slow_is_refused_or_kept_soon(model, schema, request):
    """And meanwhile others are served: the longest wait of another is told apart."""
    process = request.getfixturevalue("process") if os.environ.get("ASSAY_OPENAI_PID") else None
    before = process.memory() if process else 0
    stop, waits = threading.Event(), [0.0]

    def watch():
        with httpx.Client(headers=HEADERS, timeout=TIMEOUT) as http:
            while not stop.is_set():
                started = time.monotonic()
                http.post(f"{URL}/chat/completions", json={"model": model, "messages": USER, "max_tokens": 1})
                waits.append(time.monotonic() - started)
                stop.wait(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.monotonic()
    try:
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        body = {"model": model, "messages": USER, "max_tokens": 30, "response_format": form}
        answer = httpx.post(f"{URL}/chat/completions", json=body, headers=HEADERS, timeout=TIMEOUT)
    finally:
        took = time.monotonic() - started
        stop.set()
        watcher.join()
    assert answer.status_code in (200, 400, 413), answer.text[:300]
    assert took < 30 and max(waits) < 10
    if process:
        assert process.memory() - before < 400


@pytest.mark.parametrize("more", [
    {"tools": [{"type": "function", "function": {"name": f"f{i}", "parameters": nested(20, "object")}} for i in range(128)],
     "tool_choice": "required"},
    {"tools": [{"type": "function", "function": {"name": "a", "parameters": doubled("allOf")}}], "tool_choice": "required"},
    {"stop": ["ab" * 128] * 16}, {"messages": [{"role": "user", "content": "a"}] * 4096},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 50_000}]},
    {"messages": [{"role": "user", "content": "<|end|> <|user|> <|assistant|>"}] * 4096},
], ids=["many tools", "a tool of double", "long stops", "many messages", "many parts", "many marks"])
def test_other_large_requests_end_soon(http, model, more):
    started = time.monotonic()
    answer = http.post("/chat/completions", json={"model": model, "messages": USER, "max_tokens": 5, **more})
    assert answer.status_code in (200, 400), answer.text[:300]
    assert time.monotonic() - started < 30


def test_many_slow_schemas_at_once_leave_the_server_able_to_answer(model):
    # About as large as a schema may be.
    schema = {"enum": [f"v{i}" for i in range(14_000)]}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    asked = {"model": model, "messages": USER, "max_tokens": 1, "response_format": form}
    body = json.dumps(asked).encode()
    started = time.monotonic()
    assert httpx.post(f"{URL}/chat/completions", json=asked, headers=HEADERS, timeout=TIMEOUT).status_code == 200
    alone = time.monotonic() - started
    held = []
    for _ in range(48):
        one = connect()
        one.sendall(head(len(body)) + body)
        held.append(one)
    waits = []
    for _ in range(4):
        time.sleep(0.2)
        started = time.monotonic()
        assert httpx.get(f"{URL}/models", headers=HEADERS, timeout=TIMEOUT).status_code == 200
        waits.append(time.monotonic() - started)
    for one in held:
        one.close()
    settled(model, 60)
    assert max(waits) < max(4 * alone, 0.5)
