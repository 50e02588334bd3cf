"""`response_format`: JSON objects and schemas."""

import json

import jsonschema
import openai
import pytest
from conftest import USER, check_error
from pydantic import BaseModel, Field

SMALL = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["cat", "dog", "bird"]},
        "legs": {"type": "integer", "minimum": 0, "maximum": 8},
        "wild": {"type": "boolean"},
        "name": {"type": "string", "maxLength": 6},
    },
    "required": ["kind", "legs", "wild", "name"],
    "additionalProperties": False,
}


def form(schema, **more):
    return {"type": "json_schema", "json_schema": {"name": "animal", "schema": schema, **more}}


def test_an_object_of_json_is_one(ask, model):
    """A small model rambles; but what ends is an object, and what is cut off began as one."""
    ended = 0
    for seed in range(6):
        answer = ask.chat(model, response_format={"type": "json_object"}, seed=seed, max_tokens=150, temperature=1)
        choice = answer.choices[0]
        assert choice.message.content.lstrip().startswith("{")
        if choice.finish_reason == "stop":
            assert isinstance(json.loads(choice.message.content), dict)
            ended += 1
    assert ended, "at least one of them ends"


@pytest.mark.parametrize("strict", [None, True, False])
def test_a_schema_is_kept(ask, model, strict):
    more = {} if strict is None else {"strict": strict}
    for seed in range(4):
        answer = ask.chat(model, response_format=form(SMALL, **more), seed=seed, max_tokens=300, temperature=1.5)
        choice = answer.choices[0]
        assert choice.finish_reason == "stop"
        jsonschema.validate(json.loads(choice.message.content), SMALL)


def test_a_stream_keeps_the_schema_too(ask, model):
    arguments = {"response_format": form(SMALL), "seed": 2, "max_tokens": 300, "temperature": 1.5}
    text = "".join(c.choices[0].delta.content or "" for c in ask.chat(model, stream=True, **arguments))
    jsonschema.validate(json.loads(text), SMALL)
    assert text == ask.chat(model, **arguments).choices[0].message.content


SCHEMAS = [
    {"type": "integer", "minimum": 5, "maximum": 7},
    {"type": "string", "pattern": "^[a-c]{3}-[0-9]{2}$"},
    {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "maxItems": 3},
    {"const": {"a": [1, "two", None]}},
    {"anyOf": [{"const": 1}, {"const": "two"}, {"type": "null"}]},
    {"type": ["boolean", "null"]},
    {"$defs": {"leaf": {"enum": ["x", "y"]}}, "type": "object", "properties": {"l": {"$ref": "#/$defs/leaf"}},
     "required": ["l"], "additionalProperties": False},
    {"type": "string", "format": "date"},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_schemas_of_many_kinds_are_kept(one_ask, model, schema):
    answer = one_ask.chat(model, response_format=form(schema), seed=1, max_tokens=200, temperature=1)
    assert answer.choices[0].finish_reason == "stop"
    jsonschema.validate(json.loads(answer.choices[0].message.content), schema)


def test_the_coldest_answer_of_a_bounded_schema_ends(one_ask, model):
    """White space between tokens of JSON is not for filling the answer with."""
    deep = {"type": "object", "properties": {"a": SMALL}, "required": ["a"], "additionalProperties": False}
    answer = one_ask.chat(model, response_format=form(deep), max_tokens=200, temperature=0)
    assert answer.choices[0].finish_reason == "stop"
    jsonschema.validate(json.loads(answer.choices[0].message.content), deep)


def test_a_class_is_parsed(client, model):
    class Animal(BaseModel):
        kind: str = Field(pattern="^(cat|dog)$")
        legs: int = Field(ge=0, le=8)

    answer = client.chat.completions.parse(
        model=model, messages=USER, response_format=Animal, max_tokens=200, seed=1, temperature=1
    )
    parsed = answer.choices[0].message.parsed
    assert isinstance(parsed, Animal) and parsed.kind in ("cat", "dog") and 0 <= parsed.legs <= 8


def test_text_is_no_form(one_ask, model):
    arguments = {"max_tokens": 10, "temperature": 0}
    plain, formed = (one_ask.chat(model, **more, **arguments) for more in ({}, {"response_format": {"type": "text"}}))
    assert plain.choices[0].message.content == formed.choices[0].message.content


def test_every_choice_keeps_the_form(one_ask, model):
    answer = one_ask.chat(model, response_format=form(SMALL), n=4, seed=1, max_tokens=300, temperature=1.5)
    for choice in answer.choices:
        jsonschema.validate(json.loads(choice.message.content), SMALL)


def test_a_bias_does_not_break_a_form(one_ask, model, vocabulary):
    bias = {str(number): 100 for number in list(vocabulary.values())[:50]}
    answer = one_ask.chat(model, response_format=form(SCHEMAS[0]), logit_bias=bias, max_tokens=50, seed=1)
    assert json.loads(answer.choices[0].message.content) in (5, 6, 7)


BAD = [
    {"type": "nonsense"}, {"type": "string", "pattern": "("}, {"$ref": "#/$defs/missing"}, {"$ref": "file:///etc/passwd"},
    False, {"enum": []}, {"type": "integer", "minimum": 5, "maximum": 3},
]


@pytest.mark.parametrize("schema", BAD, ids=[json.dumps(s) for s in BAD])
def test_a_schema_that_cannot_be_met_is_refused(one_ask, model, schema):
    with pytest.raises(openai.BadRequestError) as caught:
        one_ask.chat(model, response_format=form(schema), max_tokens=50)
    check_error(caught.value, 400, param="response_format")
    assert "passwd" not in str(caught.value.body) or "root:" not in str(caught.value.body)


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}])
def test_a_refusal_of_a_schema_tells_nothing_of_the_inside(one_ask, model, schema):
    with pytest.raises(openai.BadRequestError) as caught:
        one_ask.chat(model, response_format=form(schema), max_tokens=50)
    message = caught.value.body["message"]
    assert "<state>" not in message and len(message) < 500


@pytest.mark.parametrize("value", [{"type": "grammar"}, {"type": "json_schema"}, {}, "json", {"type": "json_schema", "json_schema": 5}])
def test_a_form_that_is_none_is_refused(one_ask, model, value):
    with pytest.raises(openai.BadRequestError) as caught:
        one_ask.chat(model, max_tokens=5, extra_body={"response_format": value})
    check_error(caught.value, 400)
    assert caught.value.param.startswith("response_format")
