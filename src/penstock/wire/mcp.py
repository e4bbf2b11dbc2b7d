"""The gate of a working tree as what an MCP server calls.

Clients wait only seconds for a server to greet them, and a gate that has to find out about its tests may take longer to
start: it starts meanwhile. Each call has a connection of its own: one that is given up hangs up, and disturbs no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from penstock.kernel.mcp_server import Call
from penstock.kernel.tools.dispatcher import Answer
from penstock.ports import BadInput
from penstock.wire.gate_client import GateClient, connect
from penstock.wire.gate_place import gate_place, policy_in_force


async def serve_tools(directory: Path, serve: Callable[[Call], Awaitable[None]]) -> None:
    """Serve the tools of the gate around `directory`. Raises `BadInput` where none can be, as far as one sees."""
    gate_place(directory)
    policy_in_force(directory)
    gate = _Gate(directory)
    starting = asyncio.ensure_future(gate.start())
    try:
        await serve(gate.call)
    finally:
        starting.cancel()


class _Gate:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._reaching = asyncio.Lock()

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> Answer:
        """Call a tool. Raises `OSError` or `BadInput` where no gate can be reached or started."""
        client = await self._reach()
        try:
            return await client.call(tool, arguments)
        finally:
            await client.close()

    async def start(self) -> None:
        """Start it where it does not run; if it cannot be, the first call says so."""
        with suppress(OSError, BadInput):
            await (await self._reach()).close()

    async def _reach(self) -> GateClient:
        async with self._reaching:
            return await connect(self._directory)
