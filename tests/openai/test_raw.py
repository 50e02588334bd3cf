"""Bad input over plain HTTP: what is no JSON, no UTF-8, too much, too deep, cut off."""

import gzip
import json
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest
from conftest import KEY, URL, USER

HOST, PORT = urlsplit(URL).hostname, urlsplit(URL).port or 80
PATH = urlsplit(URL).path


HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}


def connect(source=None):
    """A connection of our own, from another of this machine's addresses if need be; for gateways without TLS."""
    if urlsplit(URL).scheme != "http":
        pytest.skip("raw connections are for http")
    one = socket.create_connection((HOST, PORT), timeout=60, source_address=source and (source, 0))
    one.settimeout(60)
    return one


def head(length=None, path="/chat/completions", more=""):
    size = "" if length is None else f"content-length: {length}\r\n"
    return (f"POST {PATH}{path} HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {KEY}\r\n"
            f"content-type: application/json\r\n{size}{more}\r\n").encode()


def chat(model, **more):
    return {"model": model, "messages": USER, "max_tokens": 2, **more}


def refused(answer, status=400):
    assert answer.status_code == status, answer.text[:300]
    assert answer.headers["content-type"].startswith("application/json")
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    assert len(answer.content) < 4000
    for inside in ("panicked", "src/", ".rs:", "thread '", "/root/", "/home/"):
        assert inside not in error["message"]


NO_JSON = {
    "nothing": b"", "blank": b"  \n", "a word": b"hello", "null": b"null", "a list": b"[]", "a number": b"17",
    "cut off": b'{"model": "m", "messages": [{"role": "us', "open": b"{", "two": b"{}{}", "trailing": b'{"model":"m","messages":[]} x',
    "comments": b"{/* a */}", "single quotes": b"{'model': 'm'}", "NaN": b'{"model":"m","messages":[],"temperature":NaN}',
    "no UTF-8": b'{"model":"m","messages":[{"role":"user","content":"\xff\xfe"}]}',
    "no UTF-8 in a key": b'{"\xc3\x28":1,"model":"m","messages":[]}',
    "overlong": b'{"model":"m","messages":[{"role":"user","content":"\xc0\xaf"}]}',
    "half a surrogate": b'{"model":"m","messages":[{"role":"user","content":"\\ud83d"}]}',
    "two wrong halves": b'{"model":"m","messages":[{"role":"user","content":"\\ude00\\ud83d"}]}',
    "surrogate bytes": b'{"model":"m","messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
    "a raw NUL": b'{"model":"m","messages":[{"role":"user","content":"a\x00b"}]}',
    "a raw newline": b'{"model":"m","messages":[{"role":"user","content":"a\nb"}]}',
    "UTF-16": '{"model":"m"}'.encode("utf-16"), "a mark": b'\xef\xbb\xbf{"model":"m"}', "gzip": gzip.compress(b"{}"),
    "a field twice": b'{"model":"m","model":"m","messages":[]}',
    "deep lists": b'{"model":"m","messages":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "deep objects": b'{"x":' * 100_000 + b"1" + b"}" * 100_000,
    "deep and open": b"[" * 1_000_000,
    "a long number": b'{"model":"m","messages":[],"temperature":' + b"9" * 100_000 + b"}",
    "a huge exponent": b'{"model":"m","messages":[],"temperature":1e999999999}',
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON.keys())
@pytest.mark.parametrize("path", ["chat/completions", "completions", "embeddings"])
def test_what_is_no_request_is_refused(http, path, body):
    refused(http.post(path, content=body, headers={"content-type": "application/json"}))


GOOD = {
    "a NUL": "a\0b", "pairs of surrogates": "\U0001f600\U0001f468\u200d\U0001f469", "other planes": "\U0010ffff\ufffe\ufeff",
    "directions": "\u202eabc\u202d", "combining": "e" + "\u0301" * 300, "controls": "".join(map(chr, range(32))),
    "blank": " \n\t ", "a mark": "<|end|><|user|>", "braces": "{{ 7*7 }}{% for a in b %}", "long word": "x" * 250,
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD.keys())
def test_odd_texts_are_read(http, model, text):
    for stream in (False, True):
        answer = http.post("chat/completions", json=chat(model, messages=[{"role": "user", "content": text}], stream=stream))
        if answer.status_code == 400:
            assert answer.json()["error"]["code"] == "context_length_exceeded"
        else:
            assert answer.status_code == 200 and '"error"' not in answer.text[:20]
    answer = http.post("completions", json={"model": model, "prompt": text, "max_tokens": 1, "echo": True})
    assert answer.status_code in (200, 400)


def test_a_template_is_not_read_from_a_message(one_ask, model):
    """`{{ 7*7 }}` in a message stays what it is: it costs more tokens than `49`."""
    sums, number = (
        one_ask.chat(model, [{"role": "user", "content": c}], max_tokens=1).usage.prompt_tokens for c in ("{{ 7*7 }}", "49")
    )
    assert sums > number


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8"])
def test_the_type_of_a_body_does_not_matter(model, kind):
    headers = {"authorization": f"Bearer {KEY}", **({"content-type": kind} if kind else {})}
    answer = httpx.post(f"{URL}/chat/completions", content=json.dumps(chat(model)), headers=headers, timeout=60)
    assert answer.status_code in (200, 415)
    if kind and "json" in kind:
        assert answer.status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("path", ["chat/completions", "completions", "embeddings"])
def test_100_mb_are_refused_without_being_kept(model, path, request):
    body = b'{"model":"' + model.encode() + b'","messages":[{"role":"user","content":"' + b"x" * (100 << 20) + b'"}]}'
    process = request.getfixturevalue("process") if _has_process() else None
    before = process.memory() if process else 0
    answer = httpx.post(f"{URL}/{path}", content=body, headers=HEADERS, timeout=120)
    refused(answer, 413)
    if process:
        assert process.memory() - before < 40


def _has_process():
    import os

    return bool(os.environ.get("ASSAY_OPENAI_PID"))


@pytest.mark.slow
def test_100_mb_of_unknown_length_are_refused(model):
    def pieces():
        yield b'{"model":"m","x":"'
        for _ in range(100):
            yield b"x" * (1 << 20)

    answer = httpx.post(f"{URL}/chat/completions", content=pieces(), headers=HEADERS, timeout=120)
    refused(answer, 413)


@pytest.mark.parametrize("kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data",
                                  "application/jsonl", "json", "application/json+x"])
def test_a_body_that_does_not_say_it_is_json_is_refused(model, kind):
    """What a page of any site may send without asking first."""
    headers = {"authorization": f"Bearer {KEY}"} | ({} if kind is None else {"content-type": kind})
    body = json.dumps(chat(model)).encode()
    refused(httpx.post(f"{URL}/chat/completions", content=body, headers=headers, timeout=60), 415)


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/json ;x=y"])
def test_json_by_any_of_its_names_is_taken(model, kind):
    headers = {"authorization": f"Bearer {KEY}", "content-type": kind}
    answer = httpx.post(f"{URL}/chat/completions", content=json.dumps(chat(model)).encode(), headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text


def test_a_body_that_claims_to_be_huge_is_refused_before_it_comes():
    with connect() as one:
        one.settimeout(5)
        one.sendall(head(100 << 20) + b"{")
        assert b" 413 " in one.recv(4096).split(b"\r\n")[0]


def test_headers_without_end_are_refused():
    with connect() as one:
        try:
            one.sendall(b"GET /v1/models HTTP/1.1\r\nhost: a\r\n")
            for i in range(2000):
                one.sendall(f"x-{i}: {'y' * 1000}\r\n".encode())
            got = one.recv(4096)
        except (ConnectionResetError, BrokenPipeError):
            got = b""
        assert got == b"" or b" 431 " in got.split(b"\r\n")[0] or b" 400 " in got.split(b"\r\n")[0]


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01\x00", b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 4096,
                                  b"POST /v1/models HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
                                  b"POST /v1/models HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n",
                                  b"POST /v1/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n"])
def test_what_is_no_http_harms_nobody(junk, http):
    with connect() as one:
        try:
            one.sendall(junk)
            got = one.recv(4096)
        except (ConnectionResetError, TimeoutError):
            got = b""
        assert not got or b" 4" in got.split(b"\r\n")[0] or b" 5" in got.split(b"\r\n")[0] or got[0] < 32
    assert http.get("models").status_code == 200


def test_a_request_in_small_pieces_is_read(model):
    body = json.dumps(chat(model)).encode()
    with connect() as one:
        text = head(len(body), more="connection: close\r\n") + body
        for at in range(0, len(text), 40):
            one.sendall(text[at : at + 40])
            time.sleep(0.005)
        got = b""
        while more := one.recv(65536):
            got += more
    assert b" 200 " in got.split(b"\r\n")[0] and b"chat.completion" in got


def test_requests_on_one_connection_are_answered_in_order(model):
    with connect() as one:
        bodies = [json.dumps(chat(model, max_tokens=n)).encode() for n in (1, 2)]
        one.sendall(b"".join(head(len(b)) + b for b in bodies[:1]) + head(len(bodies[1]), more="connection: close\r\n") + bodies[1])
        got = b""
        while more := one.recv(65536):
            got += more
    assert got.count(b"HTTP/1.1 200") == 2
    assert got.index(b'"completion_tokens":1') < got.index(b'"completion_tokens":2')


def test_a_body_that_stops_short_takes_nothing_from_others(http, model):
    held = []
    for _ in range(100):
        one = connect()
        one.sendall(head(1000) + b'{"model":')
        held.append(one)
    assert http.post("chat/completions", json=chat(model)).status_code == 200
    for one in held:
        one.close()
    assert http.get("models").status_code == 200


def asked_by_another(model):
    """The answer to whoever asks from another address."""
    body = json.dumps(chat(model)).encode()
    with connect("127.0.0.2") as one:
        one.sendall(head(len(body), more="connection: close\r\n") + body)
        got = b""
        while more := one.recv(65536):
            got += more
    return got


def told(one):
    """Whether the server has refused what was sent on a connection, or closed it."""
    one.setblocking(False)
    try:
        got = one.recv(4096)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return got == b"" or (b" 503 " in got.split(b"\r\n")[0] and b"overloaded" in got)


@pytest.mark.slow
def test_an_address_that_opens_connections_without_end_leaves_room_for_others(model):
    held = []
    try:
        for _ in range(4500):
            held.append(connect())
        time.sleep(0.5)
        assert sum(told(one) for one in held) > 2000
        assert b" 200 " in asked_by_another(model).split(b"\r\n")[0]
    finally:
        for one in held:
            one.close()


@pytest.mark.slow
def test_bodies_that_stop_just_before_their_end_are_not_all_kept(model, request):
    """Six hundred connections, each with all of 2 MiB but ten bytes: more than a gigabyte if one kept them."""
    process = request.getfixturevalue("process") if _has_process() else None
    before = process.memory() if process else 0
    part, held = b'{"model":"' + b"x" * ((2 << 20) - 20), []
    try:
        for _ in range(600):
            one = connect()
            one.settimeout(5)
            held.append(one)
            try:
                one.sendall(head(len(part) + 10) + part)
            except (ConnectionResetError, BrokenPipeError, TimeoutError):
                pass
        if process:
            assert process.memory() - before < 300
        assert sum(told(one) for one in held) > 400
        assert b" 200 " in asked_by_another(model).split(b"\r\n")[0]
    finally:
        for one in held:
            one.close()


@pytest.mark.slow
def test_half_open_requests_are_given_up():
    """A server that may be reached by anybody needs a limit; a minute is generous (nginx has it)."""
    with connect() as headers, connect() as body:
        headers.sendall(head(1000)[:60])
        body.sendall(head(1000) + b"{")
        time.sleep(61)
        for one in (headers, body):
            one.settimeout(1)
            try:
                got = one.recv(4096)
            except ConnectionResetError:
                got = b""
            except TimeoutError:
                pytest.fail("it still waits after a minute")
            assert got == b"" or b" 408 " in got.split(b"\r\n")[0] or b" 400 " in got.split(b"\r\n")[0]


def test_every_event_of_a_stream_is_json_and_the_last_is_done(http, model):
    with http.stream("POST", "chat/completions", json=chat(model, stream=True, max_tokens=20)) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        text = answer.read().decode()
    events = [e for e in text.split("\n\n") if e and not e.startswith(":")]
    assert events[-1] == "data: [DONE]"
    for event in events[:-1]:
        assert event.startswith("data: ") and "\n" not in event
        json.loads(event[6:])


def test_a_refused_stream_is_an_error_and_no_stream(http, model):
    refused(http.post("chat/completions", json=chat(model, stream=True, temperature=-1)))


def test_a_huge_logit_bias_is_taken_or_refused(http, model):
    bias = {str(i): 1 for i in range(200_000)}
    started = time.monotonic()
    answer = http.post("chat/completions", json=chat(model, logit_bias=bias))
    assert answer.status_code in (200, 400)
    assert time.monotonic() - started < 30


def test_a_bias_on_everything_still_draws(http, model):
    for value in (-100, 100):
        answer = http.post("chat/completions", json=chat(model, logit_bias={str(i): value for i in range(4096)}))
        assert answer.status_code in (200, 400), answer.text


def test_a_prompt_of_megabytes_is_refused_for_its_length(http, model):
    """Under the limit of bodies, over the context: no time is lost on it, and others are served meanwhile."""
    started = time.monotonic()
    answer = http.post("chat/completions", json=chat(model, messages=[{"role": "user", "content": "ab " * 1_200_000}]))
    refused(answer)
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert time.monotonic() - started < 60
