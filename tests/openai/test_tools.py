"""Tools: offered, demanded, named, forbidden; streamed; answered."""

import json

import jsonschema
import openai
import pytest
from conftest import USER, check_error

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds two small numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}, "b": {"enum": [1, 2, 3]}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}
SAY = {
    "type": "function",
    "function": {
        "name": "say_it",
        "parameters": {
            "type": "object",
            "properties": {"word": {"type": "string", "maxLength": 8}},
            "required": ["word"],
            "additionalProperties": False,
        },
    },
}
TOOLS = [ADD, SAY]
BY_NAME = {t["function"]["name"]: t["function"]["parameters"] for t in TOOLS}
DEMANDED = {"tools": TOOLS, "tool_choice": "required", "max_tokens": 250, "temperature": 1.2}


def assembled(chunks):
    """As the client's guide has it: deltas by index."""
    calls, text = {}, ""
    for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            for delta in choice.delta.tool_calls or []:
                call = calls.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
                call["id"] += delta.id or ""
                if delta.function:
                    call["name"] += delta.function.name or ""
                    call["arguments"] += delta.function.arguments or ""
    return text, [calls[i] for i in sorted(calls)]


def reason(chunks):
    return [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]


def check_call(call):
    assert call.type == "function" and call.id
    jsonschema.validate(json.loads(call.function.arguments), BY_NAME[call.function.name])


def test_a_demanded_call_fits_its_schema(ask, model):
    for seed in range(3):
        choice = ask.chat(model, seed=seed, **DEMANDED).choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None
        assert choice.message.tool_calls
        for call in choice.message.tool_calls:
            check_call(call)


def test_ids_of_calls_are_fresh(one_ask, model):
    seen = [c.id for s in range(3) for c in one_ask.chat(model, seed=s, **DEMANDED).choices[0].message.tool_calls]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("name", ["add", "say_it"])
def test_a_named_tool_is_called(ask, model, name):
    choice = {"type": "function", "function": {"name": name}}
    got = ask.chat(model, **{**DEMANDED, "tool_choice": choice}, seed=4).choices[0]
    assert [c.function.name for c in got.message.tool_calls] == [name]
    check_call(got.message.tool_calls[0])
    assert got.finish_reason in ("tool_calls", "stop")


def test_a_streamed_call_assembles(ask, model):
    whole = ask.chat(model, seed=5, **DEMANDED).choices[0].message
    chunks = ask.chat(model, seed=5, stream=True, stream_options={"include_usage": True}, **DEMANDED)
    text, calls = assembled(chunks)
    assert text == ""
    assert [(c["name"], json.loads(c["arguments"])) for c in calls] == [
        (c.function.name, json.loads(c.function.arguments)) for c in whole.tool_calls
    ]
    assert all(c["id"] for c in calls) and reason(chunks) == ["tool_calls"]
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[-1].usage.completion_tokens > 0


def test_the_clients_own_assembly_of_a_stream_works(client, model):
    strict = {"type": "function", "function": {**ADD["function"], "strict": True}}
    arguments = {"model": model, "messages": USER, "max_tokens": 250, "temperature": 1.2, "seed": 5}
    with client.chat.completions.stream(tools=[strict], tool_choice="required", **arguments) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion().choices[0]
    assert "tool_calls.function.arguments.done" in kinds
    [call] = final.message.tool_calls
    assert call.function.parsed_arguments == json.loads(call.function.arguments)
    jsonschema.validate(call.function.parsed_arguments, BY_NAME["add"])
    with client.chat.completions.stream(**arguments) as stream:
        text = "".join(event.delta for event in stream if event.type == "content.delta")
        assert text == stream.get_final_completion().choices[0].message.content


def test_several_choices_each_call(one_ask, model):
    answer = one_ask.chat(model, n=3, seed=1, **DEMANDED)
    for choice in answer.choices:
        check_call(choice.message.tool_calls[0])
    chunks = one_ask.chat(model, n=3, seed=1, stream=True, **DEMANDED)
    for index in range(3):
        own = [c for chunk in chunks for c in chunk.choices if c.index == index]
        names = [d.function.name for c in own for d in c.delta.tool_calls or []]
        assert names == [answer.choices[index].message.tool_calls[0].function.name]


def test_the_results_of_a_call_are_read_in_the_next_turn(ask, model):
    answer = ask.chat(model, seed=6, **DEMANDED)
    message = answer.choices[0].message
    call = message.tool_calls[0]
    turn = [*USER, message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "42"}]
    short = ask.chat(model, USER, tools=TOOLS, max_tokens=2)
    long = ask.chat(model, turn, tools=TOOLS, max_tokens=2)
    assert long.choices[0].message.role == "assistant"
    assert long.usage.prompt_tokens > short.usage.prompt_tokens


def test_the_call_itself_is_read_in_the_next_turn(one_ask, model):
    """The prompt tells which function was called with what."""

    def tokens(arguments):
        call = {"id": "call_1", "type": "function", "function": {"name": "say_it", "arguments": json.dumps(arguments)}}
        turn = [*USER, {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": "42"}]
        return one_ask.chat(model, turn, tools=TOOLS, max_tokens=1).usage.prompt_tokens

    assert tokens({"word": "a" + " word" * 30}) > tokens({"word": "a"})


def test_tools_cost_tokens_unless_they_are_forbidden(ask, model):
    plain, offered, none = (
        ask.chat(model, max_tokens=1, temperature=0, **more).usage.prompt_tokens
        for more in ({}, {"tools": TOOLS}, {"tools": TOOLS, "tool_choice": "none"})
    )
    assert offered > plain + 20 and none == plain


def test_an_answer_without_a_call_is_text(ask, model):
    answer = ask.chat(model, tools=TOOLS, tool_choice="auto", max_tokens=12, temperature=0)
    assert answer.choices[0].message.content and answer.choices[0].message.tool_calls is None
    chunks = ask.chat(model, tools=TOOLS, tool_choice="auto", max_tokens=12, temperature=0, stream=True)
    text, calls = assembled(chunks)
    assert text == answer.choices[0].message.content and calls == []
    assert len(chunks) > 4, "text is not held back to its end"


def test_a_call_that_is_cut_off_is_no_text(one_ask, model):
    choice = one_ask.chat(model, **{**DEMANDED, "max_tokens": 6}, seed=1).choices[0]
    assert choice.finish_reason == "length"
    assert not choice.message.content


# What a scripted model says, to the letter.


def asked(ask, scripted, script, **more):
    messages = [{"role": "user", "content": f"<|{script}|>"}]
    # The offer comes first, the script's mark last.
    return ask.chat(scripted, messages, tools=[ADD], temperature=0, **more)


def test_a_chosen_call_is_found(ask, scripted):
    choice = asked(ask, scripted, "bare").choices[0]
    [call] = choice.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("add", {"a": 7, "b": 8})
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    chunks = asked(ask, scripted, "bare", stream=True)
    text, [streamed] = assembled(chunks)
    assert text == "" and json.loads(streamed["arguments"]) == {"a": 7, "b": 8} and reason(chunks) == ["tool_calls"]


def test_several_calls_are_found(ask, scripted):
    calls = asked(ask, scripted, "twice").choices[0].message.tool_calls
    assert [json.loads(c.function.arguments) for c in calls] == [{"a": 3, "b": 4}, {"a": 5, "b": 6}]
    assert calls[0].id != calls[1].id
    chunks = asked(ask, scripted, "twice", stream=True)
    text, streamed = assembled(chunks)
    assert text == "" and [json.loads(c["arguments"]) for c in streamed] == [{"a": 3, "b": 4}, {"a": 5, "b": 6}]
    assert len({c["id"] for c in streamed}) == 2


def test_one_call_at_a_time_may_be_asked_for(one_ask, scripted):
    calls = asked(one_ask, scripted, "twice", parallel_tool_calls=False).choices[0].message.tool_calls
    assert len(calls) == 1


def test_text_before_a_call_is_its_content(ask, scripted):
    message = asked(ask, scripted, "call").choices[0].message
    assert message.content == "So:"
    assert [json.loads(c.function.arguments) for c in message.tool_calls] == [{"a": 1, "b": 2}]


def test_a_streamed_call_after_text_is_found(ask, scripted):
    chunks = asked(ask, scripted, "call", stream=True)
    text, calls = assembled(chunks)
    assert text.strip() == "So:"
    assert [json.loads(c["arguments"]) for c in calls] == [{"a": 1, "b": 2}]
    assert reason(chunks) == ["tool_calls"]


@pytest.mark.parametrize("script", ["broken", "stranger"])
def test_what_is_no_call_stays_text(ask, scripted, script):
    choice = asked(ask, scripted, script).choices[0]
    assert choice.message.tool_calls is None and choice.message.content.startswith("<tool_call>")
    assert choice.finish_reason == "stop"
    text, calls = assembled(asked(ask, scripted, script, stream=True))
    assert (text, calls) == (choice.message.content, [])


def test_arguments_in_a_string_are_arguments(one_ask, scripted):
    [call] = asked(one_ask, scripted, "string").choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == {"a": 9}


def test_a_forbidden_tool_is_not_called(ask, scripted):
    choice = asked(ask, scripted, "twice", tool_choice="none").choices[0]
    assert choice.message.tool_calls is None and "<tool_call>" in choice.message.content
    text, calls = assembled(asked(ask, scripted, "twice", tool_choice="none", stream=True))
    assert calls == [] and text == choice.message.content


def test_chosen_arguments_fit_a_strict_schema(one_ask, scripted):
    """The script's b is 8; the schema says 1, 2 or 3. Strict tools promise arguments that fit."""
    strict = {"type": "function", "function": {**ADD["function"], "strict": True}}
    messages = [{"role": "user", "content": "<|bare|>"}]
    message = one_ask.chat(scripted, messages, tools=[strict], temperature=0).choices[0].message
    for call in message.tool_calls or []:
        jsonschema.validate(json.loads(call.function.arguments), ADD["function"]["parameters"])


# Refusals.

REFUSED = [
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice"),
    ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "none_such"}}}, "tool_choice"),
    ({"tools": [{"type": "function", "function": {"name": "two words"}}]}, "tools"),
    ({"tools": [{"type": "function", "function": {"name": "x" * 65}}]}, "tools"),
    ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools"),
    ({"tools": [{"type": "retrieval", "function": {"name": "a"}}]}, "tools"),
    ({"tools": [ADD] * 129}, "tools"),
    ({"tools": TOOLS, "tool_choice": "required", "response_format": {"type": "json_object"}}, "response_format"),
    ({"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "no"}}}], "tool_choice": "required"}, "tools"),
]


@pytest.mark.parametrize("more,param", REFUSED, ids=range(len(REFUSED)))
def test_tools_that_make_no_sense_are_refused(one_ask, model, more, param):
    with pytest.raises(openai.BadRequestError) as caught:
        one_ask.chat(model, max_tokens=5, **more)
    check_error(caught.value, 400, param=param, kind="invalid_request_error")


def test_two_tools_of_one_name_are_refused(one_ask, model):
    with pytest.raises(openai.BadRequestError):
        one_ask.chat(model, max_tokens=2, tools=[ADD, ADD])


def test_an_offered_schema_that_is_none_is_refused(one_ask, model):
    with pytest.raises(openai.BadRequestError):
        one_ask.chat(model, max_tokens=2, tools=[{"type": "function", "function": {"name": "a", "parameters": {"type": "no"}}}])


def test_a_result_of_no_call_is_refused(one_ask, model):
    with pytest.raises(openai.BadRequestError):
        one_ask.chat(model, [*USER, {"role": "tool", "tool_call_id": "call_x", "content": "42"}], max_tokens=2)
