"""The gate's tools over MCP, called by the SDK's own client: in this process, over pipes and over real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolResult, TextContent

from penstock.cli.mcp_command import mcp, read_place
from penstock.core.redgreen.policy import RedGreenLimits
from penstock.kernel import mcp_http
from penstock.kernel.mcp_http import serve_http
from penstock.kernel.mcp_server import INSTRUCTIONS, Call, make_server
from penstock.kernel.tools.dispatcher import BY_NAME, TOOLS, Answer
from penstock.ports import BadInput, Problem
from tests.integration.gate_world import PROJECT, open_gate, run, write_files

ROOT = Path(__file__).resolve().parents[2]
ERAS = ("legacy", "auto")
"""The handshake of 2025, and the protocol of 2026, which has none."""
TEST_TRIPLE = "from app import money\n\n\ndef test_triple():\n    assert money.triple(2) == 6\n"
EDIT = {"path": "app/money.py", "old": "amount / 2", "new": "amount / 4"}
RECORDED = {
    "list_files": Answer("app/\n"),
    "run_tests": Answer("t: green", data={"runs": [{"verdict": "green"}]}),
    "claim": Answer("no red test", is_error=True, data={"refusal": {"code": "no_red"}}),
}


async def recorded(tool: str, arguments: Mapping[str, Any]) -> Answer:
    return RECORDED[tool]


def text_of(result: object) -> str:
    assert isinstance(result, CallToolResult)
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


OPENING = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "us", "version": "1"}},
}


def request(number: int, params: Mapping[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


class Sleeper:
    """A command that tells who it is and does not end."""

    def __init__(self, directory: Path) -> None:
        self._place = directory / "pid"
        os.mkfifo(self._place)
        self.command = f"echo $$ > {self._place}; exec sleep 600"

    def pid(self) -> int:
        """Its process, once it runs."""
        return int(self._place.read_text())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Hanging:
    """A gate that never answers, and remembers who gave up on it."""

    def __init__(self) -> None:
        self.begun, self.cancelled = asyncio.Event(), asyncio.Event()

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> Answer:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        raise AssertionError


# --- what is told ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
def test_every_tool_is_listed_with_its_exact_schema(era: str) -> None:
    async def main() -> None:
        async with Client(make_server(recorded), mode=era) as client:
            listed = (await client.list_tools()).tools
        assert [(t.name, t.description, t.input_schema) for t in listed] == [
            (t.name, t.description, t.schema) for t in TOOLS
        ]
        for tool in listed:
            Draft202012Validator.check_schema(tool.input_schema)
        (edit,) = [Draft202012Validator(t.input_schema) for t in listed if t.name == "edit_file"]
        assert edit.is_valid(EDIT) and not edit.is_valid({**EDIT, "more": 1}) and not edit.is_valid({"path": "a"})

    run(main())


def test_what_can_destroy_is_marked_and_what_only_reads_too() -> None:
    async def main() -> None:
        async with Client(make_server(recorded)) as client:
            hints = {tool.name: tool.annotations for tool in (await client.list_tools()).tools}
        reads = {name for name, hint in hints.items() if hint and hint.read_only_hint}
        destroys = {name for name, hint in hints.items() if hint and hint.destructive_hint}
        assert reads == {"list_files", "read_file", "search"}
        assert destroys == {tool.name for tool in TOOLS if tool.is_mutator} | {"end_turn", "leave_refactor"}

    run(main())


@pytest.mark.parametrize("era", ERAS)
def test_the_way_to_work_is_told_in_words_that_fit(era: str) -> None:
    async def main() -> None:
        async with Client(make_server(recorded), mode=era) as client:
            assert client.instructions == INSTRUCTIONS

    run(main())
    named = set(INSTRUCTIONS.split("`")[1::2])
    assert named < BY_NAME.keys() and {"run_tests", "claim", "end_turn"} < named
    assert len(INSTRUCTIONS) < 2_000, "Claude Code cuts them there"


# --- calls ----------------------------------------------------------------------------------------------------------


def test_work_from_the_red_test_to_the_proof(tmp_path: Path) -> None:
    async def main() -> None:
        gate = await open_gate(tmp_path, limits=RedGreenLimits(mutants_max=0))
        async with Client(make_server(gate.dispatcher.call)) as client:
            await client.call_tool("write_file", {"path": "tests/test_triple.py", "content": TEST_TRIPLE})
            seen = await client.call_tool("run_tests", {"tests": ["tests/test_triple.py"]})
            test = seen.structured_content["runs"][0]["test"]
            await client.call_tool("claim", {"test": test, "paths": ["app/money.py"]})
            new = "def triple(amount):\n    return amount * 3\n\n\ndef half"
            edited = await client.call_tool("edit_file", {"path": "app/money.py", "old": "def half", "new": new})
            ended = await client.call_tool("end_turn", {})
        assert text_of(seen).startswith("tests/test_triple.py::test_triple: red_") and not seen.is_error
        assert not edited.is_error and new in gate.text("app/money.py")
        assert not ended.is_error and "proven: tests/test_triple.py::test_triple" in text_of(ended)
        assert ended.structured_content["green"] and ended.structured_content["text"] == text_of(ended)
        await gate.close()

    run(main())


def test_a_refusal_is_the_dispatchers_word_for_word(tmp_path: Path) -> None:
    async def main() -> None:
        gate = await open_gate(tmp_path)
        async with Client(make_server(gate.dispatcher.call)) as client:
            over = await client.call_tool("edit_file", EDIT)
        straight = await gate.call("edit_file", **EDIT)
        assert over.is_error and text_of(over) == straight.text
        assert over.structured_content == {**straight.data, "text": straight.text}
        assert over.structured_content["refusal"]["code"] == "no_test_in_scope"
        await gate.close()

    run(main())


WRONG = {
    "missing": ("read_file", {}, "path"),
    "of another type": ("read_file", {"path": "a", "lines": "all"}, "lines"),
    "too many": ("search", {"pattern": "a", "colour": "red"}, "colour"),
    "deep inside": ("multi_edit", {"edits": [{"path": "a", "old": "", "new": "b"}]}, "edits[0].old"),
}


@pytest.mark.parametrize(("tool", "arguments", "field"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_argument_is_an_answer_that_names_the_field(
    tmp_path: Path, tool: str, arguments: dict[str, Any], field: str
) -> None:
    async def main() -> None:
        gate = await open_gate(tmp_path)
        async with Client(make_server(gate.dispatcher.call)) as client:
            answer = await client.call_tool(tool, arguments)
        assert answer.is_error and field in text_of(answer)
        await gate.close()

    run(main())


def test_a_tool_that_is_not_there_is_an_error_of_the_protocol() -> None:
    async def main() -> None:
        async with Client(make_server(recorded)) as client:
            with pytest.raises(MCPError, match="no tool 'format_disk'; there are: list_files, ") as caught:
                await client.call_tool("format_disk", {})
        assert caught.value.code == INVALID_PARAMS

    run(main())


NO_ROOM = Problem(file="gate", line=0, field="", message="no room")


@pytest.mark.parametrize(
    "gone", [ConnectionResetError("it hung up"), EOFError(), BadInput([NO_ROOM])], ids=["reset", "end", "not started"]
)
def test_a_gate_that_is_gone_is_told_to_the_model(gone: Exception) -> None:
    async def call(tool: str, arguments: Mapping[str, Any]) -> Answer:
        raise gone

    async def main() -> None:
        async with Client(make_server(call)) as client:
            answer = await client.call_tool("end_turn", {})
        assert answer.is_error and "the gate did not answer" in text_of(answer)

    run(main())


def test_data_never_hides_the_text_and_an_answer_without_any_is_text_alone() -> None:
    """Claude Code and Codex show the model `structuredContent` alone where there is one."""

    async def main() -> None:
        async with Client(make_server(recorded)) as client:
            plain, rich = (
                await client.call_tool("list_files", {}),
                await client.call_tool("run_tests", {"tests": ["t"]}),
            )
        assert plain.structured_content is None and text_of(plain) == "app/\n"
        assert rich.structured_content == {"runs": [{"verdict": "green"}], "text": "t: green"}

    run(main())


@pytest.mark.parametrize("era", ERAS)
def test_giving_up_on_a_request_cancels_the_call(era: str) -> None:
    async def main() -> None:
        gate = Hanging()
        async with Client(make_server(gate.call), mode=era) as client, anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "end_turn", {})
            await gate.begun.wait()
            group.cancel_scope.cancel()
        assert await gate.cancelled.wait()

    run(main())


@pytest.mark.parametrize("era", ERAS)
def test_progress_is_reported_to_who_asked(era: str) -> None:
    async def main() -> None:
        told: list[str] = []
        enough, gate = asyncio.Event(), Hanging()

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            told.append(f"{progress:.1f} {message}")
            enough.set()

        async def call(client: Client) -> None:
            await client.call_tool("run_tests", {"tests": ["t"]}, progress_callback=hear)

        async with Client(make_server(gate.call), mode=era) as client, anyio.create_task_group() as group:
            group.start_soon(call, client)
            await enough.wait()
            group.cancel_scope.cancel()
        assert told == ["1.0 run_tests: 1 s"]

    run(main())


# --- over pipes -----------------------------------------------------------------------------------------------------


def program(directory: Path, transport: str) -> list[str]:
    return [sys.executable, "-m", "tests.integration.mcp_program", str(directory), transport]


def test_over_pipes_a_child_serves_and_ends_with_its_input(tmp_path: Path) -> None:
    command, *words = program(tmp_path, "stdio")

    async def main() -> None:
        child = StdioServerParameters(command=command, args=words, env=dict(os.environ), cwd=ROOT)
        async with Client(child) as client:
            assert len((await client.list_tools()).tools) == len(TOOLS)
            answer = await client.call_tool("read_file", {"path": "app/money.py"})
            refused = await client.call_tool("edit_file", EDIT)
        assert "return amount / 2" in text_of(answer) and refused.is_error

    run(main())
    assert (tmp_path / "closed").exists()


def test_over_pipes_only_the_protocol_goes_out(tmp_path: Path) -> None:
    calls = [OPENING, {"jsonrpc": "2.0", "method": "notifications/initialized"}, request(2, {"name": "list_files"})]
    lines = "".join(json.dumps(call) + "\n" for call in calls)
    with subprocess.Popen(
        program(tmp_path, "stdio"), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdin and child.stdout and child.stderr
        child.stdin.write(b"no JSON at all\n" + lines.encode())
        child.stdin.flush()
        answers = [json.loads(child.stdout.readline()) for _ in range(2)]
        child.stdin.close()
        rest, said = child.stdout.read(), child.stderr.read().decode()
    assert [answer["id"] for answer in answers] == [1, 2] and rest == b""
    assert "tests/test_money.py" in answers[1]["result"]["content"][0]["text"]
    assert "a stray line" in said and "another one" in said
    assert child.returncode == 0


def test_over_pipes_a_call_under_way_is_cancelled_when_the_client_is_gone(tmp_path: Path) -> None:
    sleeper = Sleeper(tmp_path)
    with subprocess.Popen(
        program(tmp_path, "stdio"), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdin and child.stdout
        called = {"name": "shell", "arguments": {"command": sleeper.command}}
        child.stdin.write(json.dumps(OPENING).encode() + b"\n" + json.dumps(request(2, called)).encode() + b"\n")
        child.stdin.flush()
        pid = sleeper.pid()
        child.stdin.close()
        assert child.wait(30) == 0
    assert not is_alive(pid) and (tmp_path / "closed").exists()


# --- over HTTP ------------------------------------------------------------------------------------------------------

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
MODERN = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list"}


@asynccontextmanager
async def serving(call: Call = recorded, **how: Any) -> AsyncIterator[str]:
    """A server at a real socket; its URL. It ends by being cancelled."""
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(serve_http(call, tell=url.set_result, **how))

    def ended(task: asyncio.Future[None]) -> None:
        if not url.done():
            url.set_exception(task.exception() or EOFError())

    task.add_done_callback(ended)
    try:
        yield await url
    finally:
        task.cancel()
        await asyncio.wait([task])


async def status(url: str, headers: Mapping[str, str], method: str = "POST", body: bytes | None = None) -> int:
    content = body if body is not None else json.dumps(OPENING).encode() if method == "POST" else None
    async with plain_client() as client:
        answer = await client.request(method, url, headers={**ACCEPT, **headers}, content=content)
    return answer.status_code


def plain_client(**headers: str) -> httpx2.AsyncClient:
    """One without the certificates that take long to load."""
    return httpx2.AsyncClient(headers=headers, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), trust_env=False)


@pytest.mark.parametrize("era", ERAS)
def test_over_http_a_good_call_works(tmp_path: Path, era: str) -> None:
    async def main() -> None:
        gate = await open_gate(tmp_path)
        async with serving(gate.dispatcher.call) as url, Client(url, mode=era) as client:
            assert len((await client.list_tools()).tools) == len(TOOLS)
            refused = await client.call_tool("edit_file", EDIT)
        assert refused.is_error and text_of(refused) == (await gate.call("edit_file", **EDIT)).text
        assert url.startswith("http://127.0.0.1:") and url.endswith("/mcp")
        await gate.close()

    run(main())


STRANGE_HOSTS = ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}", "127.0.0.1", "localhost:1"]


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("era", [{}, MODERN], ids=ERAS)
def test_over_http_a_name_that_is_not_ours_is_refused(method: str, era: dict[str, str]) -> None:
    async def main() -> None:
        async with serving() as url:
            port = url.split(":")[2].split("/")[0]
            for host in STRANGE_HOSTS:
                assert await status(url, {"Host": host.format(port=port), **era}, method) == 421, host

    run(main())


def test_over_http_the_names_of_this_machine_and_those_allowed_are_ours() -> None:
    async def main() -> None:
        async with serving(allowed_hosts=["gate.example"]) as url:
            port = url.split(":")[2].split("/")[0]
            for host in ("127.0.0.1:{}", "localhost:{}", "[::1]:{}", "gate.example"):
                assert await status(url, {"Host": host.format(port)}) == 200, host

    run(main())


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("era", [{}, MODERN], ids=ERAS)
def test_over_http_a_page_that_was_not_allowed_is_refused(method: str, era: dict[str, str]) -> None:
    async def main() -> None:
        async with serving(allowed_origins=["http://good.example"]) as url:
            own = url.removesuffix("/mcp")
            for origin in ("http://evil.example", "http://good.example.evil", "https://good.example", "null", own):
                assert await status(url, {"Origin": origin, **era}, method) == 403, origin

    run(main())


def test_over_http_an_allowed_page_may_read_the_answer() -> None:
    async def main() -> None:
        origin = {"Origin": "http://good.example"}
        asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        bearer = {"Authorization": "Bearer secret"}
        async with serving(allowed_origins=["http://good.example"], token="secret") as url, plain_client() as client:
            before = await client.options(url, headers=asked)
            answer = await client.post(url, headers={**ACCEPT, **origin, **bearer}, json=OPENING)
        assert before.status_code == answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "http://good.example"
        assert "Mcp-Session-Id" in answer.headers["Access-Control-Expose-Headers"]

    run(main())


WRONG_TOKENS = [
    None,
    "",
    "Bearer",
    "Bearer secre",
    "Bearer secrets",
    "Basic secret",
    "secret",
    "Bearer \xe9",
]


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_over_http_without_the_token_nothing_is_answered(method: str) -> None:
    async def main() -> None:
        async with serving(token="secret") as url:
            for given in WRONG_TOKENS:
                headers = {} if given is None else {"Authorization": given}
                async with plain_client() as client:
                    sent = {**ACCEPT, **{name: value.encode("latin-1") for name, value in headers.items()}}
                    answer = await client.request(method, url, headers=sent)  # type: ignore[arg-type]
                assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), given
            assert await status(url.removesuffix("/mcp"), {}) == 401

    run(main())


@pytest.mark.parametrize("era", ERAS)
def test_over_http_with_the_token_all_works(era: str) -> None:
    async def main() -> None:
        async with (
            serving(token="secret") as url,
            plain_client(Authorization="Bearer secret") as http,
            Client(streamable_http_client(url, http_client=http), mode=era) as client,
        ):
            assert text_of(await client.call_tool("list_files", {})) == "app/\n"

    run(main())


def test_what_other_machines_reach_needs_a_token() -> None:
    async def main() -> None:
        with pytest.raises(BadInput, match="a token is needed"):
            async with serving(host="0.0.0.0"):
                raise AssertionError("it serves")
        async with serving(host="0.0.0.0", token="secret") as url:
            assert url.startswith("http://127.0.0.1:")
            assert await status(url, {"Authorization": "Bearer secret"}) == 200
            assert await status(url, {}) == 401

    run(main())


def test_a_place_that_is_taken_is_told() -> None:
    async def main() -> None:
        async with serving() as url:
            port = int(url.split(":")[2].split("/")[0])
            with pytest.raises(BadInput, match=f"127.0.0.1:{port}: cannot be bound"):
                async with serving(port=port):
                    raise AssertionError("it serves")

    run(main())


def test_over_http_what_is_too_large_is_not_read() -> None:
    async def main() -> None:
        async with serving() as url:
            fits = json.dumps(LIST).encode().ljust(mcp_http.BODY_BYTES_MAX)
            assert await status(url, {}, body=fits) == 400, "it came without a session"
            assert await status(url, {}, body=fits + b" ") == 413

    run(main())


@pytest.mark.parametrize("era", ERAS)
def test_over_http_giving_up_on_a_request_cancels_the_call(era: str) -> None:
    async def main() -> None:
        gate = Hanging()
        async with serving(gate.call) as url, Client(url, mode=era) as client, anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "end_turn", {})
            await gate.begun.wait()
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                assert await gate.cancelled.wait()

    run(main())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_over_http_a_signal_ends_it_and_all_that_it_runs(tmp_path: Path, number: signal.Signals) -> None:
    sleeper = Sleeper(tmp_path)

    async def sleep(client: Client) -> None:
        with pytest.raises(MCPError):
            await client.call_tool("shell", {"command": sleeper.command})

    async def call(url: str) -> int:
        async with Client(url, mode="legacy") as client, anyio.create_task_group() as group:
            group.start_soon(sleep, client)
            pid = await anyio.to_thread.run_sync(sleeper.pid)
            child.send_signal(number)
            await anyio.to_thread.run_sync(child.wait)
        return pid

    with subprocess.Popen(program(tmp_path, "http"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout and child.stderr
        pid = run(call(child.stdout.readline().decode().strip()))
        said = child.stderr.read().decode()
    assert child.returncode == 0 and not is_alive(pid) and (tmp_path / "closed").exists()
    assert "Traceback" not in said


# --- the command ----------------------------------------------------------------------------------------------------

COMMAND = (sys.executable, "-c", "from penstock.cli.mcp_command import mcp; mcp()")


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Path]:
    """A repository whose gate, if one was started, is ended."""
    write_files(tmp_path, PROJECT)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run([sys.executable, "-m", "penstock.cli", "-C", str(tmp_path), "gate", "stop"], check=False)


def test_all_doors_lead_to_one_gate(repository: Path) -> None:
    environment = {**os.environ, "PENSTOCK_RED_GREEN": "strict"}

    async def main() -> None:
        child = StdioServerParameters(command=COMMAND[0], args=list(COMMAND[1:]), env=environment, cwd=repository)
        async with Client(child) as one, AsyncExitStack() as opened:
            made = await one.call_tool("write_file", {"path": "tests/test_triple.py", "content": TEST_TRIPLE})
            assert text_of(made) == "done: tests/test_triple.py"
            seen = await one.call_tool("run_tests", {"tests": ["tests/test_triple.py"]})
            other = await opened.enter_async_context(Client(child))
            refused = await other.call_tool("edit_file", {**EDIT, "test": "tests/test_money.py::test_half"})
            edited = await other.call_tool("edit_file", {**EDIT, "new": "amount * 0.5"})
        assert ": red_" in text_of(seen) and refused.is_error and not edited.is_error, text_of(edited)
        assert text_of(edited).endswith("(for tests/test_triple.py::test_triple)")

    run(main())


def test_a_gate_that_does_not_start_is_told_by_the_first_call(repository: Path) -> None:
    shutil.rmtree(repository / "tests")
    environment = {**os.environ, "PENSTOCK_RED_GREEN": "strict"}

    async def main() -> None:
        child = StdioServerParameters(command=COMMAND[0], args=list(COMMAND[1:]), env=environment, cwd=repository)
        async with Client(child) as client:
            assert len((await client.list_tools()).tools) == len(TOOLS)
            answer = await client.call_tool("list_files", {})
        assert answer.is_error and "strict red-green needs a test that can be collected" in text_of(answer)

    run(main())


def test_where_no_gate_can_be_the_command_ends(tmp_path: Path) -> None:
    with subprocess.Popen(COMMAND, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stderr and "not a git repository" in child.stderr.read().decode()
    assert child.returncode != 0


MISTAKES = {
    "no port": (["--http", "localhost:"], "has no port"),
    "a port too far": (["--http", "65536"], "has no port"),
    "a bare address": (["--http", "::1:80"], "stands in brackets"),
    "an empty token": (["--http", "80", "--token-env", "PENSTOCK_TEST_EMPTY"], "is empty"),
    "any origin": (["--http", "80", "--allow-origin", "*"], "is not one origin"),
    "a page": (["--http", "80", "--allow-origin", "http://a.example/page"], "is not one origin"),
    "a token for pipes": (["--token-env", "HOME"], "go with --http"),
}


@pytest.mark.parametrize(("words", "said"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_on_the_command_line_is_told(words: Sequence[str], said: str) -> None:
    ended = CliRunner().invoke(mcp, words, env={"PENSTOCK_TEST_EMPTY": ""})
    assert ended.exit_code == 2 and said in ended.output


PLACES = {"8000": ("127.0.0.1", 8000), "box:1": ("box", 1), "[::1]:0": ("::1", 0), ":9": ("127.0.0.1", 9)}


@pytest.mark.parametrize(("text", "place"), PLACES.items())
def test_a_place_is_read(text: str, place: tuple[str, int]) -> None:
    assert read_place(text) == place
