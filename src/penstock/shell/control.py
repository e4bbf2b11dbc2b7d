"""The control socket of a live run: an operator's command becomes an input of the log and answers with its seq.

A Unix socket (0600) in the run's directory. One JSON line in, one JSON line out. The peer's uid is checked: only the
user who runs Penstock, or root, is heard. The other side is `control_client`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import msgspec

from penstock import ports
from penstock.private_sockets import is_own_user, listen
from penstock.shell.control_client import Answer, OperatorInput
from penstock.shell.driver import Driver, Stopped

REQUEST_BYTES_MAX = 65_536
_decoder = msgspec.json.Decoder(OperatorInput)


async def serve(driver: Driver, path: Path) -> asyncio.Server:
    """Listen on `path` for as long as the server is open. Raises `BadInput` where the path is too long."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reply = await _answer(driver, reader, writer)
        writer.write(msgspec.json.encode(reply) + b"\n")
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, sock=_listen(path), limit=REQUEST_BYTES_MAX)


def _listen(path: Path) -> socket.socket:
    try:
        return listen(path)
    except OSError as error:
        fix = "move the repository to a shorter path"
        raise ports.BadInput([ports.Problem(file=str(path), line=0, field="", message=str(error), fix=fix)]) from error


async def _answer(driver: Driver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
    if not is_own_user(writer.get_extra_info("socket")):
        return Answer(error="only the user who runs Penstock may command it")
    try:
        line = await asyncio.wait_for(reader.readline(), timeout=5)
        return Answer(seq=await driver.ask(_decoder.decode(line)))
    except (msgspec.MsgspecError, ValueError, RecursionError, TimeoutError) as error:
        return Answer(error=f"not a command: {error}")
    except (Stopped, asyncio.CancelledError):
        return Answer(error="the run is ending")
