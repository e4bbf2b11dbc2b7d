"""Tells a person by running a command with the occasion as JSON on its standard input."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

import msgspec

WALL_S = 30


class NotifyCommand:
    """`ports.Notify`: the command gets `{"occasion": ..., ...}` and 30 s; how it ends does not matter to the run."""

    def __init__(self, command: str) -> None:
        self._command = command

    async def tell(self, occasion: str, payload: Mapping[str, object]) -> None:
        """Run the command once for this occasion."""
        data = msgspec.json.encode({"occasion": occasion, **payload})
        with contextlib.suppress(OSError, TimeoutError):
            process = await asyncio.create_subprocess_exec(
                "sh", "-c", self._command, stdin=asyncio.subprocess.PIPE, start_new_session=True
            )
            try:
                await asyncio.wait_for(process.communicate(data), timeout=WALL_S)
            finally:
                if process.returncode is None:
                    process.kill()
