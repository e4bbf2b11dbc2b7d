"""Serves a real gate over MCP: `python -m tests.integration.mcp_program DIRECTORY stdio|http`.

Over HTTP it prints its URL; over stdio it prints where nobody should, to show that the protocol's stream stays clean.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.kernel.mcp_http import serve_http
from penstock.kernel.mcp_server import serve_stdio
from penstock.kernel.tools.dispatcher import Answer
from tests.integration.gate_world import open_gate


async def main(directory: Path, transport: str) -> None:
    gate = await open_gate(directory)

    async def call(tool: str, arguments: Mapping[str, Any]) -> Answer:
        if transport == "stdio":
            print("a stray line", flush=True)
            os.write(1, b"another one\n")
        return await gate.dispatcher.call(tool, arguments)

    try:
        await (
            serve_stdio(call) if transport == "stdio" else serve_http(call, tell=(lambda url: print(url, flush=True)))
        )
    finally:
        await gate.close()
        (directory / "closed").touch()


def tell(url: str) -> None:
    print(url, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
