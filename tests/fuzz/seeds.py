"""Writes what the fuzzer begins with: a few whole inputs of each target, in tests/fuzz/seeds/TARGET/.

    python3 tests/fuzz/seeds.py

Transactions and what is said of texts are those of tests/vectors. Other binary ones are borsh, written here by hand: numbers
little endian, lists after their length in 32 bits, alternatives after their number. A first byte chooses what is read: see the
`fuzz` modules of assay-consensus and of the node. That each is read in whole is a test of `tests/tests/it/seeds.rs`; where it fails, an encoding has changed, and so must this.
"""

import json
import shutil
import struct
from pathlib import Path

SEEDS = Path(__file__).parent / "seeds"
VECTORS = Path(__file__).parent.parent / "vectors"


def u8(value):
    return struct.pack("<B", value)


def u16(value):
    return struct.pack("<H", value)


def u32(value):
    return struct.pack("<I", value)


def u64(value):
    return struct.pack("<Q", value)


def f32(value):
    return struct.pack("<f", value)


def listed(items):
    items = list(items)
    return u32(len(items)) + b"".join(items)


def blob(data):
    return u32(len(data)) + data


def text(words):
    return blob(words.encode())


def maybe(value):
    return b"\0" if value is None else b"\1" + value


def hash32(number):
    return bytes([number]) * 32


SIGNATURE = bytes(range(64))

# Of the chain.


def header(height):
    start = text("fuzz") + u64(height) + u64(1_700_000_000_000 + height)
    # Parent, proposer; roots of transactions and state; sets of this and the next height; evidence.
    return start + b"".join(map(hash32, (1, 2, 3, 4, 5, 6, 7))) + u32(1)


def certificate(height, signers=3):
    return u64(height) + u32(0) + hash32(8) + listed(hash32(n) + SIGNATURE for n in range(1, signers + 1))


def transfer(nonce):
    action = u8(0) + hash32(11) + u64(5_000_000_000)
    return hash32(10) + u64(nonce) + u64(1000) + action + SIGNATURE


def vote(kind, block):
    return u8(kind) + u64(7) + u32(1) + maybe(block) + hash32(1)


def proposal(valid_round):
    return u64(7) + u32(2) + hash32(8) + maybe(valid_round) + hash32(1)


def validators(count):
    return listed(hash32(n) + u64(10 * n) for n in range(1, count + 1))


def set_change(height):
    return header(height) + certificate(height) + validators(4)


def double_sign():
    action = u8(16) + vote(1, None) + SIGNATURE + vote(1, hash32(8)) + SIGNATURE
    return hash32(10) + u64(0) + u64(1000) + action + SIGNATURE


BLOCK = {
    "block-empty": u8(0) + header(1) + listed([]),
    "block-transfers": u8(0) + header(2) + listed([transfer(0), transfer(1)]),
    "block-evidence": u8(0) + header(3) + listed([double_sign()]),
    "header": u8(1) + header(9),
    "certificate": u8(2) + certificate(9),
    "signed-header": u8(3) + header(9) + certificate(9),
    "validators": u8(4) + validators(4),
    "changes": u8(5) + listed([set_change(3), set_change(9)]),
    "vote": u8(6) + vote(0, hash32(8)) + SIGNATURE,
    "told-header": u8(7) + u8(0) + header(9) + certificate(9),
    "told-fork": u8(7) + u8(1) + header(9) + certificate(9) + header(9) + certificate(9, 2) + u8(2),
}

# Of the engine. Rounds are 0 for none, or 1 and the number.

ROUND, NO_ROUND = u8(1) + u32(2), u8(0)


def opening(length):
    return u64(7) + u32(0) + maybe(None) + hash32(1) + hash32(8) + u32(length) + hash32(9) + SIGNATURE


def part(sequence, content):
    return blob(bytes([5]) * 24) + u64(sequence) + content


def synced(data):
    return u64(7) + ROUND + hash32(8) + listed(hash32(n) + SIGNATURE for n in (1, 2, 3)) + blob(data)


# The identity of an ed25519 key: what a peer is called.
PEER = bytes([0, 36, 8, 1, 18, 32]) + hash32(3)


def steps(*steps):
    """Parts of blocks: whose (peer + 8 * stream), what, at, a number."""
    return u8(192) + b"".join(bytes([whose, what, at]) + u16(number) for whose, what, at, number in steps)


# So many bytes of a block by the number of a step: of five chunks of 64 KiB, 65535 are all.
CHUNK = 65535 // 5

MESSAGE = {
    "prevote": u8(0) + u8(0) + vote(0, None) + SIGNATURE,
    "precommit": u8(0) + u8(0) + vote(1, hash32(8)) + SIGNATURE,
    "proposal": u8(0) + u8(1) + proposal(None) + SIGNATURE,
    "proposal-again": u8(0) + u8(1) + proposal(u32(0)) + SIGNATURE,
    "liveness-vote": u8(1) + u8(0) + vote(1, hash32(8)) + SIGNATURE,
    "liveness-polka": u8(1) + u8(1) + u64(7) + ROUND + hash32(8) + listed([hash32(1) + SIGNATURE]),
    "liveness-skip": u8(1) + u8(2) + u64(7) + ROUND + u8(1) + listed([u8(1) + u8(0) + hash32(1) + SIGNATURE]),
    "part-opening": u8(2) + part(0, u8(0) + u8(0) + opening(3)),
    "part-data": u8(2) + part(1, u8(0) + u8(1) + blob(b"abc")),
    "part-end": u8(2) + part(2, u8(1)),
    "part-alone": u8(3) + u8(1) + blob(b"abc"),
    "proposed": u8(4) + u64(7) + ROUND + NO_ROUND + hash32(1) + hash32(8) + u8(0),
    "polka": u8(5) + u64(7) + ROUND + hash32(8) + listed([hash32(1) + SIGNATURE, hash32(2) + SIGNATURE]),
    "status": u8(6) + blob(PEER) + u64(9) + u64(1),
    "request": u8(7) + u64(3) + u64(9),
    "response": u8(8) + u64(7) + listed([synced(b"a block"), synced(b"")]),
    "validator-proof": u8(9) + blob(hash32(1)) + blob(PEER) + SIGNATURE,
    # A block of two chunks: opened first, and opened last.
    "steps-in-order": steps((9, 0, 0, 2 * CHUNK), (9, 2, 1, 2 * CHUNK), (9, 2, 2, 2 * CHUNK)),
    "steps-backwards": steps((9, 2, 2, 2 * CHUNK), (9, 2, 1, 2 * CHUNK), (9, 7, 3, 65535), (9, 0, 0, 2 * CHUNK)),
    "steps-of-many": steps(*((8 * n + n % 8, 2, 1, CHUNK) for n in range(1, 20)), (9, 0, 0, CHUNK)),
}

# Of the data plane.


def framed(data):
    return struct.pack(">I", len(data)) + data


def request(content):
    return hash32(1) + hash32(2) + u16(1) + hash32(3) + u64(4) + bytes([5]) * 16 + content + SIGNATURE


def numbers(count):
    return u8(0) + listed(struct.pack("<h", n - 32) for n in range(count))


def words():
    draw = f32(0.7) + f32(1.0) + u32(0) + f32(0.0) + f32(0.0) + f32(0.0) + listed([u32(3) + f32(-1.5)]) + u64(42)
    return u8(1) + listed(map(u32, (1, 5, 9))) + u32(16) + draw + listed([text("\n")]) + u8(0) + maybe(u8(1))


def response(output, proof):
    return hash32(2) + hash32(6) + hash32(3) + hash32(7) + output + maybe(proof) + SIGNATURE


LOGITS = u8(0) + listed(struct.pack("<i", n * 1000) for n in range(10))
TOKENS = u8(1) + listed(map(u32, (5, 6, 7))) + u8(1) + u8(0) + hash32(8)


def tokens(*pairs):
    return framed(u8(0) + listed(u32(token) + maybe(logprob) for token, logprob in pairs))


LOGPROB = f32(-0.5) + listed([u32(5) + f32(-0.5), u32(6) + f32(-1.25)])
ENDED = framed(u8(1) + response(TOKENS, None) + u32(2) + u64(1234))

EXCHANGE = {
    "ask": u8(0) + framed(request(numbers(64)) + u8(1) + u8(0)),
    "ask-unframed": u8(132) + request(numbers(8)) + u8(0) + u8(1),
    "answer": u8(1) + framed(u8(0) + response(LOGITS, hash32(9)) + maybe(blob(b"proof" * 8)) + maybe(None)),
    "answer-refused": u8(1) + framed(u8(1) + u8(5) + text("used before")),
    "text-ask": u8(2) + framed(request(words()) + listed([u32(5)]) + maybe(u8(2)) + u16(20)),
    "text": u8(3) + tokens((5, None), (6, LOGPROB)) + tokens((7, None)) + ENDED,
    "text-unpaid": u8(3) + framed(u8(2) + u64(5) + text("pay first")),
    "text-refused": u8(3) + tokens((5, None)) + framed(u8(3) + u8(9) + text("busy")),
    "snapshot-ask": u8(4) + framed(u8(0)),
    "snapshot-ask-chunk": u8(4) + framed(u8(1) + u64(1000) + u32(3)),
    "snapshot-here": u8(5) + framed(u8(0) + blob(b"a manifest")),
    "snapshot-later": u8(5) + framed(u8(2)),
}

# Of snapshots. What is certified is made by the target itself; these are chunks, and edits of what it makes.


def chunk(entries):
    return listed(blob(key) + blob(value) for key, value in entries)


SNAPSHOT = {
    "chunk": u8(16) + chunk([(b"a", b"1"), (b"b", b""), (b"bc", b"22")]),
    "chunk-empty": u8(16) + chunk([]),
    "edit-manifest": u8(33) + bytes([0, 200, 0, 1]),
    "edit-manifest-end": u8(33) + bytes([2, 250, 3, 0]) + bytes([5, 10, 0, 255]),
    "edit-chunk": u8(32) + bytes([1, 30, 0, 7]) + bytes([3, 90, 1, 9]),
}

# JSON: calls as they come.


def call(method, params):
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


RPC = {
    "status": call("assay_status", {}),
    "block": call("assay_block", {"height": 1}),
    "block-by-position": call("assay_block", [1]),
    "params": call("assay_params", {"subnet": 1}),
    "miners": call("assay_miners", {"subnet": 1}),
    "proposals": call("assay_proposals", {"before": 9, "limit": 3}),
    "slashes": call("assay_slashes", {"limit": 100}),
    "epochs": call("assay_epochs", {"subnet": 1, "before": 5, "limit": 2}),
    "supply": call("assay_supply", []),
    "model": call("assay_model", {"model": "digits"}),
    "model-bytes": call("assay_model_bytes", {"model": "digits"}),
    "validators": call("assay_validators", {}),
    # These are refused, each for a reason of its own.
    "refused-account": call("assay_account", {"account": "asy1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq"}),
    "refused-tx": call("assay_tx", {"id": "ab" * 32}),
    "refused-proof": call("assay_proof", {"key": "00ff"}),
    "refused-report": call("assay_epoch_report", {"epoch": 0, "subnet": 1}),
    "refused-submit": call("assay_submit", {"transaction": transfer(0).hex()}),
    "refused-simulate": call("assay_simulate", {"transaction": transfer(1).hex()}),
    "refused-infer": call("assay_infer", {"model": "digits", "input": [0.0] * 64, "proof": "sumcheck"}),
}

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}},
    },
}
CALLED = {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}]}


def body(kind, **fields):
    """A digit chooses the path: 0 chats, 1 completions, 2 embeddings."""
    return str(kind).encode() + json.dumps({"model": "gloss", **fields}).encode()


HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
OPENAI = {
    "chat": body(0, messages=HELLO),
    "chat-drawn": body(
        0,
        messages=HELLO,
        temperature=0.7,
        top_p=0.9,
        top_k=-1,
        min_p=0.1,
        n=2,
        seed=-3,
        stop=["\n", "end"],
        logit_bias={"5": -100, "6": 2.5},
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        max_completion_tokens=20,
        logprobs=True,
        top_logprobs=3,
        user="someone",
    ),
    "chat-stream": body(0, messages=HELLO, stream=True, stream_options={"include_usage": True}, stop="end", max_tokens=5),
    "chat-tools": body(
        0, messages=[*HELLO, CALLED, {"role": "tool", "tool_call_id": "c1", "content": "2"}], tools=[ADD], tool_choice="auto"
    ),
    "chat-must": body(0, messages=HELLO, tools=[ADD], tool_choice={"type": "function", "function": {"name": "add"}}),
    "chat-parts": body(0, messages=[{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]),
    "chat-schema": body(
        0,
        messages=HELLO,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
    ),
    "completion": body(1, prompt="Once", max_tokens=3, echo=True),
    "completion-tokens": body(1, prompt=[[1, 2], [3]], logprobs=2, best_of=1, suffix=""),
    "embeddings": body(2, input=["a", "b"], encoding_format="base64"),
    "embeddings-tokens": body(2, input=[1, 2, 3], dimensions=384),
    "call": b'3{"name": "add", "arguments": {"a": 1}}',
    "call-strict": b'3So: <tool_call>{"name": "ask", "arguments": {"word": "yes"}}</tool_call>',
    "call-cut": b'3{"name":"ask","arguments":{"word": "ye',
}

# Pinned by tests: one transaction of each action, with its id before it.

TRANSACTIONS = json.loads((VECTORS / "transactions.json").read_text())
PRIMITIVES = json.loads((VECTORS / "primitives.json").read_text())

TRANSACTION = {name.replace(" ", "-"): bytes.fromhex(line.split()[1]) for name, line in TRANSACTIONS.items()}
TEXT = {
    name.replace(" ", "-"): u8(kind) + bytes.fromhex(PRIMITIVES[name])
    for kind, name in enumerate(("text model", "text input", "text output", "request", "response"))
}

ALL = {"transaction": TRANSACTION, "text": TEXT, "block": BLOCK, "message": MESSAGE, "exchange": EXCHANGE, "snapshot": SNAPSHOT, "rpc": RPC, "openai": OPENAI}

if __name__ == "__main__":
    shutil.rmtree(SEEDS, ignore_errors=True)
    for target, seeds in ALL.items():
        (SEEDS / target).mkdir(parents=True)
        for name, data in seeds.items():
            (SEEDS / target / name).write_bytes(data)
    files = [path for path in SEEDS.rglob("*") if path.is_file()]
    print(f"{len(files)} seeds, {sum(path.stat().st_size for path in files)} bytes")
