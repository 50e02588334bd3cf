"""`langchain-openai`: ChatOpenAI and OpenAIEmbeddings."""

from typing import Literal

import numpy as np
import pytest
from conftest import KEY, TIMEOUT, URL
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

MESSAGES = [SystemMessage("Be brief."), HumanMessage("What is a dog?")]


def chat(model, **more):
    more = {"max_tokens": 20, "temperature": 0.8, "seed": 3, **more}
    return ChatOpenAI(base_url=URL, api_key=KEY, model=model, max_retries=0, timeout=TIMEOUT, **more)


@tool
def add(a: Literal[1, 7, 20], b: Literal[2, 8, 30]) -> int:
    """Adds two numbers."""
    return a + b


class Animal(BaseModel):
    """An animal."""

    kind: str = Field(pattern="^(cat|dog)$")
    legs: int = Field(ge=0, le=8)


def test_an_answer_comes_with_its_usage(model):
    answer = chat(model).invoke(MESSAGES)
    assert isinstance(answer, AIMessage) and answer.content
    usage = answer.usage_metadata
    assert usage["input_tokens"] > 0 and usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert answer.response_metadata["finish_reason"] in ("stop", "length")
    assert answer.response_metadata["model_name"] == model
    assert answer.content == chat(model).invoke(MESSAGES).content, "same seed, same text"


def test_a_stream_is_the_whole_answer(model):
    whole = chat(model).invoke(MESSAGES)
    total = None
    for chunk in chat(model, stream_usage=True).stream(MESSAGES):
        total = chunk if total is None else total + chunk
    assert total.content == whole.content
    assert total.usage_metadata["total_tokens"] == whole.usage_metadata["total_tokens"]


async def test_the_asynchronous_ways_give_the_same(model):
    whole = await chat(model).ainvoke(MESSAGES)
    parts = [chunk.content async for chunk in chat(model).astream(MESSAGES)]
    assert "".join(parts) == whole.content == chat(model).invoke(MESSAGES).content


def test_a_batch_is_answered_in_order(model):
    questions = ["A dog?", "A cat?", "A bird?"]
    together = chat(model).batch(questions)
    assert [a.content for a in together] == [chat(model).invoke(q).content for q in questions]


def test_log_probabilities_and_stops_pass(model):
    answer = chat(model).bind(logprobs=True, top_logprobs=2).invoke(MESSAGES)
    content = answer.response_metadata["logprobs"]["content"]
    assert content and all(len(t["top_logprobs"]) == 2 for t in content)
    whole = answer.content
    assert len(whole) > 2
    cut = chat(model).invoke(MESSAGES, stop=[whole[2:4]]).content
    assert cut == whole[: whole.index(whole[2:4])]


def test_a_bound_tool_is_called_and_its_result_read(model):
    answer = chat(model, max_tokens=200).bind_tools([add], tool_choice="any", strict=True).invoke(MESSAGES)
    [call] = answer.tool_calls
    assert call["name"] == "add" and set(call["args"]) >= {"a", "b"} and answer.invalid_tool_calls == []
    result = ToolMessage(content=str(add.invoke(call["args"])), tool_call_id=call["id"])
    after = chat(model, max_tokens=5).bind_tools([add]).invoke([*MESSAGES, answer, result])
    assert after.usage_metadata["input_tokens"] > 20


def test_a_streamed_call_of_a_bound_tool_assembles(scripted):
    total = None
    for chunk in chat(scripted, temperature=0).bind_tools([add]).stream([HumanMessage("<|bare|>")]):
        total = chunk if total is None else total + chunk
    [call] = total.tool_calls
    assert (call["name"], call["args"]) == ("add", {"a": 7, "b": 8}) and total.content == ""


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_an_answer_has_the_structure_of_a_class(model, method):
    for seed in range(10):
        got = chat(model, max_tokens=250, temperature=1, seed=seed).with_structured_output(
            Animal, method=method, include_raw=True
        ).invoke(MESSAGES)
        if got["parsed"]:
            break
    assert got["parsed"].kind in ("cat", "dog") and 0 <= got["parsed"].legs <= 8


def test_plain_completions_are_served(model):
    one = OpenAI(base_url=URL, api_key=KEY, model=model, max_tokens=8, temperature=0, max_retries=0, timeout=TIMEOUT)
    whole = one.invoke("A dog is")
    assert whole and "".join(one.stream("A dog is")) == whole
    together = one.generate(["A dog is", "A cat is"])
    assert together.generations[0][0].text == whole and len(together.generations) == 2


def embeddings(encoder, **more):
    return OpenAIEmbeddings(base_url=URL, api_key=KEY, model=encoder, max_retries=0, timeout=TIMEOUT, **more)


def test_documents_and_queries_are_embedded(encoder):
    one = embeddings(encoder, check_embedding_ctx_length=False)
    documents = one.embed_documents(["a dog", "a cat"])
    assert len(documents) == 2 and documents[0] == one.embed_query("a dog") != documents[1]
    assert np.linalg.norm(documents[0]) == pytest.approx(1, abs=1e-4)


async def test_documents_are_embedded_asynchronously(encoder):
    one = embeddings(encoder, check_embedding_ctx_length=False)
    assert await one.aembed_query("a dog") == one.embed_query("a dog")
