"""The gate of a working tree as others reach it: asked, started where nobody listens, and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from penstock.kernel.daemon import LINE_BYTES_MAX
from penstock.kernel.hooks.gate_socket import is_listening
from penstock.kernel.tools.dispatcher import Answer
from penstock.ports import BadInput, Problem
from penstock.private_sockets import address_of
from penstock.wire.gate_place import GatePlace, gate_place, made


class GateClient:
    """Asks the gate of one working tree, over one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._lock = asyncio.Lock()

    async def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """One question, one answer. Raises `ConnectionError` where the gate ended."""
        async with self._lock:
            line = b""
            try:
                self._writer.write(msgspec.json.encode({"v": 1, **question}) + b"\n")
                await self._writer.drain()
                line = await self._reader.readline()
            finally:
                if not line:  # whoever asks next must not read this answer
                    self._writer.close()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the gate ended before it answered")
        return msgspec.json.decode(line, type=dict[str, Any])

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> Answer:
        """Call a tool."""
        said = await self.ask({"op": "call", "tool": tool, "arguments": arguments})
        if "text" not in said:
            return Answer(str(said.get("reason", "the gate did not understand")), is_error=True)
        return Answer(str(said["text"]), bool(said["is_error"]), said.get("data", {}))

    async def close(self) -> None:
        """Hang up; the gate goes on."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


async def connect(directory: Path, *, starts: bool = True) -> GateClient:
    """A client of the gate around `directory`, which is started where nobody listens and `starts`.

    Raises `BadInput` where it cannot be started, `ConnectionRefusedError` where it is not there.
    """
    place = gate_place(directory)
    client = await _reach(place)
    if client is None and starts:
        await asyncio.to_thread(start_gate, place)
        client = await _reach(place)
    if client is None:
        raise ConnectionRefusedError(f"no gate guards {place.top}; `penstock gate start` starts one")
    return client


async def stop_gate(directory: Path) -> bool:
    """End the gate around `directory`, and wait until it has ended; False where none was there."""
    place = gate_place(directory)
    client = await _reach(place)
    if client is None:
        return False
    await client.ask({"op": "shutdown"})
    await client.close()
    await asyncio.to_thread(_wait_for_the_end, place)
    return True


def _wait_for_the_end(place: GatePlace) -> None:
    """The lock is free when the process that held it has ended."""
    with open(place.directory / "lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


async def _reach(place: GatePlace) -> GateClient | None:
    if not place.socket.parent.is_dir():
        return None
    try:
        with address_of(place.socket) as address:
            return GateClient(*await asyncio.open_unix_connection(address, limit=LINE_BYTES_MAX))
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def start_gate(place: GatePlace) -> None:
    """Start the daemon and wait until it listens; of several who want to, one does.

    Raises `BadInput` with what it said where it does not.
    """
    with open(made(place.directory) / "starting", "wb") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if is_listening(str(place.socket)):
            return
        log = place.directory / "daemon.log"
        if not _spawn(place, log):
            said = log.read_text(errors="replace").strip()[-1_000:]
            message = f"it could not be started: {said}"
            raise BadInput([Problem(file=str(place.top), line=0, field="gate", message=message)])


def _spawn(place: GatePlace, log: Path) -> bool:
    """Whether the daemon said that it is ready, before it ended."""
    reading, writing = os.pipe()
    words = [sys.executable, "-m", "penstock.cli", "-C", str(place.top), "gate", "serve", f"--ready-fd={writing}"]
    try:
        with open(log, "wb") as output:
            subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=(writing,),
            )
    finally:
        os.close(writing)
    with open(reading, "rb") as answer:
        return bool(answer.read(1))
