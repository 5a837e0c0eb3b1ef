"""The official Python SDK on both sides of MAOS: as client of `maos mcp serve` and `/mcp`, and as server of the pool of agents' tools.

Run by scripts/mcp-test, which gives the program, its home, the address of a running server and the caller of the pool. Prints
"N passed, 0 failed".
"""

import asyncio
import json
import os
import subprocess
import sys
import traceback
import urllib.request

from mcp import Client, MCPError, StdioServerParameters

MAOS, HOME, URL, CALLER = sys.argv[1:5]
HERE = os.path.dirname(os.path.abspath(__file__))
ENV = {"MAOS_HOME": HOME, "PATH": os.environ["PATH"]}
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def face(kind):
    if kind == "stdio":
        return StdioServerParameters(command=MAOS, args=["mcp", "serve"], env=ENV)
    return URL + "/mcp"


async def whole_task(kind, mode):
    async with Client(face(kind), mode=mode) as client:
        # A client that names the version without asking first has met nobody to be told a name by.
        if mode in ("legacy", "auto"):
            assert client.server_info.name == "maos", client.server_info
            assert "submit_task" in client.instructions
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"submit_task", "get_task", "list_tasks", "wait_for_task", "get_results", "get_questions", "answer_question", "cancel_task"}, tools
        assert tools["get_task"].annotations.read_only_hint is True
        made = await client.call_tool("submit_task", {"description": f"Compare clouds over {kind}, {mode}", "max_agents": 3})
        assert not made.is_error, made
        task = made.structured_content["task_id"]
        for _ in range(10):
            seen = await client.call_tool("wait_for_task", {"task_id": task, "timeout_s": 30})
            if seen.structured_content["ended"]:
                break
        assert seen.structured_content["status"] == "COMPLETED", seen
        results = await client.call_tool("get_results", {"task_id": task})
        assert results.structured_content["final"] is True and "scripted" in results.content[0].text, results
        listed = await client.call_tool("list_tasks", {"status": ["COMPLETED"], "limit": 100})
        assert task in [t["task_id"] for t in listed.structured_content["tasks"]], listed
        shown = await client.call_tool("get_task", {"task_id": task})
        assert shown.structured_content["description"].startswith("Compare clouds"), shown


def add_whole_tasks():
    for kind in ("stdio", "http"):
        for mode in ("legacy", "auto", "2026-07-28"):

            async def run(kind=kind, mode=mode):
                await whole_task(kind, mode)

            run.__name__ = f"whole_task_{kind}_{mode}"
            test(run)


add_whole_tasks()


async def errors(kind):
    async with Client(face(kind)) as client:
        unknown = await client.call_tool("get_task", {"task_id": "task_0000000000000000"})
        assert unknown.is_error and "maos task list" in unknown.content[0].text, unknown
        wrong = await client.call_tool("submit_task", {"description": "x", "max_agents": 0})
        assert wrong.is_error and "between 1 and" in wrong.content[0].text, wrong
        try:
            await client.call_tool("format_disk", {})
        except MCPError as error:
            assert "submit_task" in str(error), error
        else:
            raise AssertionError("an unknown tool was called")


@test
async def errors_stdio():
    await errors("stdio")


@test
async def errors_http():
    await errors("http")


@test
async def a_task_is_cancelled():
    async with Client(face("http")) as client:
        made = await client.call_tool("submit_task", {"description": "SLOW", "max_agents": 1})
        task = made.structured_content["task_id"]
        await client.call_tool("cancel_task", {"task_id": task})
        ended = await client.call_tool("wait_for_task", {"task_id": task, "timeout_s": 60})
        assert ended.structured_content["status"] == "CANCELLED", ended


@test
async def many_clients_at_once():
    async def one(n):
        async with Client(face("http")) as client:
            made = await client.call_tool("submit_task", {"description": f"one of many, {n}", "max_agents": 1})
            done = await client.call_tool("wait_for_task", {"task_id": made.structured_content["task_id"], "timeout_s": 60})
            return done.structured_content["status"]

    assert set(await asyncio.gather(*(one(n) for n in range(10)))) == {"COMPLETED"}


def caller(config, *calls):
    """Starts a pool with this configuration, makes the calls one after the other; the outputs."""
    home = os.path.join(HOME, "pool-" + os.urandom(4).hex())
    os.makedirs(home)
    with open(os.path.join(home, "mcp.json"), "w") as file:
        json.dump({"mcpServers": config}, file)
    words = [word for name, args in calls for word in (name, json.dumps(args))]
    done = subprocess.run([CALLER, home, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


CALLS = [("mcp__official__add", {"a": 2, "b": 40}), ("mcp__official__greet", {"name": "Ada"}), ("mcp__official__fail", {})]


def check_calls(outputs):
    added, greeted, failed = outputs
    assert (added["text"], added["is_error"]) == ("42", False), added
    assert greeted["text"] == "Hello, Ada!", greeted
    # Since its second version the SDK tells a caller only of errors that are meant for it.
    assert failed["is_error"] and "fail" in failed["text"], failed


@test
async def an_official_server_over_stdio():
    server = {"command": sys.executable, "args": [os.path.join(HERE, "server.py")]}
    check_calls(caller({"official": server}, *CALLS))
    [wrong] = caller({"official": server}, ("mcp__official__add", {"a": "x"}))
    assert wrong["is_error"] and "refused before it was sent" in wrong["text"], wrong


@test
async def an_official_server_over_http():
    port = free_port()
    process = subprocess.Popen([sys.executable, os.path.join(HERE, "server.py"), str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if "running on" in line:
                break
        check_calls(caller({"official": {"type": "http", "url": f"http://127.0.0.1:{port}/mcp"}}, *CALLS))
    finally:
        process.kill()
        process.wait()


def free_port():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@test
async def maos_mcp_test_shows_an_official_server():
    with open(os.path.join(HOME, "mcp.json"), "w") as file:
        json.dump({"mcpServers": {"official": {"command": sys.executable, "args": [os.path.join(HERE, "server.py")]}}}, file)
    done = subprocess.run([MAOS, "mcp", "test", "official", "-o", "json"], env=ENV, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [tool["name"] for tool in json.loads(done.stdout)["tools"]] == ["add", "fail", "greet"], done.stdout


@test
async def a_page_of_another_site_is_refused():
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
    for header, value in (("Origin", "https://evil.test"), ("Host", "evil.test")):
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", header: value}
        try:
            urllib.request.urlopen(urllib.request.Request(URL + "/mcp", body, headers))
        except urllib.error.HTTPError as error:
            assert error.code == 403, error
        else:
            raise AssertionError(f"{header}: {value} was let in")


def main():
    passed, failed = 0, 0
    for function in TESTS:
        try:
            asyncio.run(asyncio.wait_for(function(), 180))
            passed += 1
        except Exception:
            failed += 1
            print(f"failed: {function.__name__}", file=sys.stderr)
            traceback.print_exc()
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
