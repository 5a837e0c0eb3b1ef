"""The official SDKs against the scripted server: what they can do with the real APIs, they can do with this one.

Run by scripts/sdk-test, which gives the address of a running server. Prints "N passed, 0 failed".
"""

import sys
import threading
import traceback

import anthropic
import openai

BASE = sys.argv[1]
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def claude(**more):
    return anthropic.Anthropic(base_url=BASE, **{"api_key": "test-key", "max_retries": 0, **more})


def gpt(**more):
    return openai.OpenAI(base_url=BASE + "/v1", **{"api_key": "test-key", "max_retries": 0, **more})


def ask(client, prompt, **more):
    messages = more.pop("messages", [{"role": "user", "content": prompt}])
    return client.messages.create(model="scripted-1", max_tokens=more.pop("max_tokens", 500), messages=messages, **more)


def chat(client, prompt, **more):
    messages = more.pop("messages", [{"role": "user", "content": prompt}])
    return client.chat.completions.create(model="scripted-1", messages=messages, **more)


CLAUDE_TOOLS = [
    {"name": "add", "description": "Adds", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}},
    {"name": "now", "description": "The time", "input_schema": {"type": "object", "properties": {}}},
]
GPT_TOOLS = [
    {"type": "function", "function": {"name": tool["name"], "description": tool["description"], "parameters": tool["input_schema"]}} for tool in CLAUDE_TOOLS
]


def run_tool(name, arguments):
    return str(arguments["a"] + arguments["b"]) if name == "add" else "noon"


def raises(kind, function, **attributes):
    try:
        function()
    except kind as error:
        for name, value in attributes.items():
            found = getattr(error, name)
            assert found == value, f"{name} is {found!r}, expected {value!r}"
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


# Messages API


@test
def claude_create():
    reply = ask(claude(), "hello")
    assert reply.content[0].text == "You said: hello", reply
    assert (reply.role, reply.type, reply.stop_reason, reply.model) == ("assistant", "message", "end_turn", "scripted-1")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (2, 4), reply.usage
    assert reply.id.startswith("msg_") and reply._request_id.startswith("req_")


@test
def claude_stream():
    with claude().messages.stream(model="scripted-1", max_tokens=500, messages=[{"role": "user", "content": "hello"}]) as stream:
        text = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(text) > 1 and "".join(text) == "You said: hello", text
    assert final.stop_reason == "end_turn" and final.usage.output_tokens == 4, final


@test
def claude_raw_stream_events():
    kinds = [event.type for event in ask(claude(), "hello", stream=True)]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"], kinds


def claude_loop(client, prompt, stream, **more):
    messages = [{"role": "user", "content": prompt}]
    for _ in range(4):
        if stream:
            with client.messages.stream(model="scripted-1", max_tokens=4000, messages=messages, tools=CLAUDE_TOOLS, **more) as events:
                reply = events.get_final_message()
        else:
            reply = ask(client, prompt, messages=messages, tools=CLAUDE_TOOLS, max_tokens=4000, **more)
        if reply.stop_reason != "tool_use":
            return messages, reply
        calls = [block for block in reply.content if block.type == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": run_tool(call.name, call.input)} for call in calls]
        messages += [{"role": "assistant", "content": reply.content}, {"role": "user", "content": results}]
    raise AssertionError("the loop does not end")


@test
def claude_tool_loop():
    messages, reply = claude_loop(claude(), "add them", stream=False)
    assert [block.type for block in messages[1]["content"]] == ["text", "tool_use", "tool_use"]
    assert reply.content[0].text == "The result is noon.", reply


@test
def claude_tool_loop_streamed():
    messages, reply = claude_loop(claude(), "add them", stream=True)
    assert [call.input for call in messages[1]["content"][1:]] == [{"a": 2, "b": 3}, {}]
    assert reply.content[0].text == "The result is noon.", reply


@test
def claude_thinking_goes_back_with_its_signature():
    thinking = {"type": "enabled", "budget_tokens": 2000}
    messages, reply = claude_loop(claude(), "think", stream=True, thinking=thinking)
    assert messages[1]["content"][0].type == "thinking" and messages[1]["content"][0].signature
    assert reply.content[0].text == "The result is 4.", reply
    forged = [dict(messages[1]["content"][0].model_dump(), thinking="three"), *messages[1]["content"][1:]]
    wrong = [messages[0], {"role": "assistant", "content": forged}, messages[2]]
    error = raises(anthropic.BadRequestError, lambda: ask(claude(), "", messages=wrong, tools=CLAUDE_TOOLS, max_tokens=4000, thinking=thinking))
    assert "signature" in str(error)


@test
def claude_tool_runner():
    @anthropic.beta_tool
    def add(a: int, b: int) -> str:
        """Adds two numbers.

        Args:
            a: one
            b: the other
        """
        return str(a + b)

    @anthropic.beta_tool
    def now() -> str:
        """The time."""
        return "noon"

    runner = claude().beta.messages.tool_runner(model="scripted-1", max_tokens=500, tools=[add, now], messages=[{"role": "user", "content": "add them"}])
    assert runner.until_done().content[0].text == "The result is noon."


@test
def claude_count_tokens():
    counted = claude().messages.count_tokens(model="scripted-1", messages=[{"role": "user", "content": "x" * 400}])
    assert counted.input_tokens == 100, counted


@test
def claude_models():
    client = claude()
    assert [model.id for model in client.models.list()] == ["scripted-1", "scripted-2"]
    assert client.models.retrieve("scripted-2").display_name == "scripted-2"
    raises(anthropic.NotFoundError, lambda: client.models.retrieve("none"), status_code=404)


@test
def claude_typed_errors():
    error = raises(anthropic.RateLimitError, lambda: ask(claude(), "too fast"), status_code=429)
    assert error.response.headers["retry-after"] == "0" and error.body["error"]["type"] == "rate_limit_error", error.body
    assert error.request_id.startswith("req_")
    error = raises(anthropic.APIStatusError, lambda: ask(claude(), "overload"), status_code=529)
    assert error.body["error"]["type"] == "overloaded_error"
    raises(anthropic.AuthenticationError, lambda: ask(claude(api_key="wrong"), "hello"), status_code=401)
    raises(anthropic.NotFoundError, lambda: claude().messages.create(model="none", max_tokens=1, messages=[{"role": "user", "content": "x"}]))
    raises(anthropic.BadRequestError, lambda: ask(claude(), "", messages=[]), status_code=400)


@test
def claude_error_inside_a_stream():
    def consume():
        for _ in ask(claude(), "break it", stream=True):
            pass

    error = raises(anthropic.APIStatusError, consume)
    assert "Overloaded" in str(error), error


@test
def claude_cut_stream_is_an_error():
    def consume():
        with claude().messages.stream(model="scripted-1", max_tokens=500, messages=[{"role": "user", "content": "cut me"}]) as stream:
            stream.get_final_message()

    raises(Exception, consume)


@test
def claude_retries_by_itself():
    assert ask(claude(max_retries=1), "flaky claude").content[0].text == "at last"


@test
def claude_cache_fields():
    system = [{"type": "text", "text": "s" * 8000, "cache_control": {"type": "ephemeral"}}]
    first = ask(claude(), "cache one", system=system).usage
    second = ask(claude(), "cache two", system=system).usage
    assert (first.cache_creation_input_tokens, first.cache_read_input_tokens) == (2000, 0), first
    assert (second.cache_creation_input_tokens, second.cache_read_input_tokens) == (0, 2000), second
    assert first.cache_creation.ephemeral_5m_input_tokens == 2000


@test
def claude_output_limit():
    reply = ask(claude(), "long", max_tokens=10)
    assert (reply.stop_reason, reply.usage.output_tokens, len(reply.content[0].text)) == ("max_tokens", 10, 40), reply


@test
def claude_odd_wire():
    with claude().messages.stream(model="scripted-1", max_tokens=500, messages=[{"role": "user", "content": "odd wire"}]) as stream:
        assert stream.get_final_text() == "häßlich 😀 text"


@test
def claude_auth_token():
    client = anthropic.Anthropic(base_url=BASE, auth_token="test-key", max_retries=0)
    assert ask(client, "hi").content[0].text == "You said: hi"


@test
def claude_in_parallel():
    client, results = claude(), []

    def one(n):
        results.append(ask(client, f"number {n}").content[0].text == f"You said: number {n}")

    threads = [threading.Thread(target=one, args=(n,)) for n in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 32, results


# Chat completions


@test
def gpt_create():
    reply = chat(gpt(), "hello")
    assert reply.choices[0].message.content == "You said: hello", reply
    assert (reply.object, reply.choices[0].finish_reason) == ("chat.completion", "stop")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (2, 4, 6)
    assert reply._request_id.startswith("req_")


@test
def gpt_stream():
    chunks = list(chat(gpt(), "hello", stream=True, stream_options={"include_usage": True}))
    text = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(text) > 1 and "".join(text) == "You said: hello", text
    assert chunks[-1].usage.total_tokens == 6 and chunks[-2].choices[0].finish_reason == "stop"


@test
def gpt_stream_helper():
    with gpt().chat.completions.stream(model="scripted-1", messages=[{"role": "user", "content": "hello"}]) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content == "You said: hello"


def gpt_loop(stream):
    client, messages = gpt(), [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "add them"}]
    import json

    for _ in range(4):
        if stream:
            with client.chat.completions.stream(model="scripted-1", messages=messages, tools=GPT_TOOLS) as events:
                for _ in events:
                    pass
                choice = events.get_final_completion().choices[0]
        else:
            choice = chat(client, "", messages=messages, tools=GPT_TOOLS).choices[0]
        if choice.finish_reason != "tool_calls":
            return messages, choice
        calls = [{"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}} for c in choice.message.tool_calls]
        messages.append({"role": "assistant", "content": choice.message.content, "tool_calls": calls})
        for call in choice.message.tool_calls:
            result = run_tool(call.function.name, json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    raise AssertionError("the loop does not end")


@test
def gpt_tool_loop():
    messages, choice = gpt_loop(stream=False)
    assert len(messages) == 5 and choice.message.content == "The result is noon.", choice


@test
def gpt_tool_loop_streamed():
    messages, choice = gpt_loop(stream=True)
    assert len(messages) == 5 and choice.message.content == "The result is noon.", choice


@test
def gpt_tool_results_must_match():
    messages = [{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "c", "content": "r"}]
    error = raises(openai.BadRequestError, lambda: chat(gpt(), "", messages=messages), status_code=400)
    assert "tool_calls" in str(error)


@test
def gpt_json_schema():
    import json

    schema = {"type": "object", "properties": {"name": {"type": "string"}, "ok": {"type": "boolean"}}, "required": ["name", "ok"], "additionalProperties": False}
    reply = chat(gpt(), "Ada", response_format={"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": schema}})
    assert json.loads(reply.choices[0].message.content) == {"name": "Ada", "ok": True}


@test
def gpt_models():
    client = gpt()
    assert [model.id for model in client.models.list()] == ["scripted-1", "scripted-2"]
    assert client.models.retrieve("scripted-2").id == "scripted-2"
    raises(openai.NotFoundError, lambda: client.models.retrieve("none"), status_code=404)


@test
def gpt_typed_errors():
    error = raises(openai.RateLimitError, lambda: chat(gpt(), "too fast"), status_code=429)
    assert error.code == "rate_limit_exceeded" and error.response.headers["retry-after"] == "0", error.body
    raises(openai.InternalServerError, lambda: chat(gpt(), "overload"), status_code=529)
    error = raises(openai.AuthenticationError, lambda: chat(gpt(api_key="wrong"), "hello"), status_code=401)
    assert error.code == "invalid_api_key"
    error = raises(openai.NotFoundError, lambda: gpt().chat.completions.create(model="none", messages=[{"role": "user", "content": "x"}]))
    assert error.code == "model_not_found"
    raises(openai.BadRequestError, lambda: chat(gpt(), "", messages=[]), status_code=400)


@test
def gpt_error_inside_a_stream():
    error = raises(openai.APIError, lambda: list(chat(gpt(), "break it", stream=True)))
    assert "Overloaded" in str(error), error


@test
def gpt_retries_by_itself():
    assert chat(gpt(max_retries=1), "flaky gpt").choices[0].message.content == "at last"


@test
def gpt_output_limit():
    choice = chat(gpt(), "long", max_completion_tokens=10).choices[0]
    assert (choice.finish_reason, len(choice.message.content)) == ("length", 40), choice


@test
def gpt_odd_wire():
    chunks = chat(gpt(), "odd wire", stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "häßlich 😀 text"


def main():
    failed = 0
    for function in TESTS:
        try:
            function()
        except Exception:  # every failure is told, none stops the others
            failed += 1
            print(f"FAILED {function.__name__}", flush=True)
            traceback.print_exc()
    print(f"{len(TESTS) - failed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
