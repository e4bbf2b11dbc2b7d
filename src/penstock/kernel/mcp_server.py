"""The tools of the gate as an MCP server. It knows nothing of sessions: `call` leads to the daemon that holds one.

A tool's refusal is its answer, word for word as the dispatcher gives it. Claude Code and Codex show the model
`structuredContent` and nothing else where an answer has it, so what is for programs carries the text too, and an answer
without data has none. A call that takes long reports progress: that keeps clients with a timeout from giving up on it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import anyio
import mcp_types as wire
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError

from penstock import __version__
from penstock.kernel.tools.dispatcher import BY_NAME, TOOLS, Answer, Tool
from penstock.ports import BadInput

Call = Callable[[str, Mapping[str, Any]], Awaitable[Answer]]
"""Calls a tool by name with decoded arguments. Raises `OSError`, `EOFError` or `BadInput` where no gate answers."""

Context = ServerRequestContext[Any]

PROGRESS_EVERY_MS = 1_000

READ_ONLY = frozenset({"list_files", "read_file", "search"})
TAKES_BACK = frozenset({"leave_refactor", "end_turn"})
"""No mutators, and yet they can undo edits."""
OPEN_WORLD = frozenset({"shell", "run_tests", "end_turn", "enter_refactor", "leave_refactor"})
"""They run what the project says, which may reach anything."""

INSTRUCTIONS = """\
Penstock guards this working tree: production code changes only where a failing test asks for it. Work like this:
1. Write a test of what is missing with `write_file` or `edit_file`; writing tests is free.
2. `run_tests` on it: it must be red, by an assertion or for a name that is not there yet.
3. `claim` the red test for the files you will edit. One red test that concerns the file is found without a claim.
4. Edit with `edit_file`, `multi_edit`, `write_file`, `move_file`, `copy_file` or `delete_file`.
5. Call `end_turn` whenever a piece of work is done. There is no turn but the one you end: until then nothing is proven.
   It runs the tests concerned; what is green is proven, and edits that broke another test are reverted.
6. To restructure without a red test: `enter_refactor` on green tests, edit, `leave_refactor` with the same tests green.
A refusal says what is missing and what to call next: do that. Paths are relative to the root of the tree.
What other tools write is found by the next scan and, where no red test asks for it, taken back: use these tools.
"""


def make_server(call: Call) -> Server[Any]:
    """An MCP server whose tools are those of the gate."""

    async def list_tools(context: Context, asked: wire.PaginatedRequestParams | None) -> wire.ListToolsResult:
        return wire.ListToolsResult(tools=list(map(told, TOOLS)))

    async def call_tool(context: Context, asked: wire.CallToolRequestParams) -> wire.CallToolResult:
        if asked.name not in BY_NAME:
            known = f"no tool {asked.name!r}; there are: {', '.join(BY_NAME)}"
            raise MCPError(wire.INVALID_PARAMS, known)
        return answered(await _with_progress(context, call, asked.name, asked.arguments or {}))

    return Server(
        "penstock",
        version=__version__,
        title="Penstock",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def told(tool: Tool) -> wire.Tool:
    """A tool as clients list it."""
    annotations = wire.ToolAnnotations(
        read_only_hint=tool.name in READ_ONLY,
        destructive_hint=tool.is_mutator or tool.name in TAKES_BACK,
        idempotent_hint=tool.name in READ_ONLY,
        open_world_hint=tool.name in OPEN_WORLD,
    )
    title = tool.name.replace("_", " ").capitalize()
    return wire.Tool(
        name=tool.name,
        title=title,
        description=tool.description,
        input_schema=tool.schema,
        annotations=annotations,
    )


def answered(answer: Answer) -> wire.CallToolResult:
    """An answer as clients get it."""
    return wire.CallToolResult(
        content=[wire.TextContent(type="text", text=answer.text)],
        structured_content={**answer.data, "text": answer.text} if answer.data else None,
        is_error=answer.is_error,
    )


async def _with_progress(context: Context, call: Call, name: str, arguments: Mapping[str, Any]) -> Answer:
    reporting = asyncio.ensure_future(_report(context, name))
    try:
        return await _called(call, name, arguments)
    finally:
        reporting.cancel()


async def _called(call: Call, name: str, arguments: Mapping[str, Any]) -> Answer:
    try:
        return await call(name, arguments)
    except (OSError, EOFError, BadInput) as gone:
        why = str(gone) or type(gone).__name__
        return Answer(f"{name}: the gate did not answer ({why}); read what stands there before you go on", True)


async def _report(context: Context, name: str) -> None:
    """Say once in a while that a call goes on; a client that asked for no progress gets none."""
    begun = time.monotonic()
    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        while True:
            await asyncio.sleep(PROGRESS_EVERY_MS / 1_000)
            seconds = time.monotonic() - begun
            await context.session.report_progress(seconds, message=f"{name}: {seconds:.0f} s")


async def serve_stdio(call: Call) -> None:
    """Serve the client at our standard input until that is closed; calls under way are cancelled then."""
    server = make_server(call)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())
