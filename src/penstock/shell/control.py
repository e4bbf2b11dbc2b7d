"""The control socket of a live run: an operator's command becomes an input of the log and answers with its seq.

A Unix socket (0600) in the run's directory. One JSON line in, one JSON line out. The peer's uid is checked: only the
user who runs Penstock, or root, is heard.

The address of a socket has 108 bytes, the path of a run's directory may have more. So the directory is opened, and the
socket is named by the descriptor.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from penstock import ports
from penstock.core import events as e
from penstock.shell.driver import Driver, Stopped

REQUEST_BYTES_MAX = 65_536
OperatorInput = e.PauseAsked | e.ResumeAsked | e.DrainAsked | e.CancelAsked | e.Approved | e.BudgetRaised
_decoder = msgspec.json.Decoder(OperatorInput)


class Answer(msgspec.Struct, omit_defaults=True):
    """What the writer says: the seq of the appended input, or why it was not taken."""

    seq: int = 0
    error: str = ""


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
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    previous = os.umask(0o177)
    try:
        with _address(path) as address:
            listener.bind(address)
    except OSError as error:
        listener.close()
        fix = "move the repository to a shorter path"
        raise ports.BadInput([ports.Problem(file=str(path), line=0, field="", message=str(error), fix=fix)]) from error
    finally:
        os.umask(previous)
    return listener


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """A short name of `path`, good for as long as the context is open; where /proc is not, the path itself."""
    if sys.platform != "linux":
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


async def _answer(driver: Driver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
    if _peer_uid(writer.get_extra_info("socket")) not in (os.getuid(), 0):
        return Answer(error="only the user who runs Penstock may command it")
    try:
        line = await asyncio.wait_for(reader.readline(), timeout=5)
        return Answer(seq=await driver.ask(_decoder.decode(line)))
    except (msgspec.MsgspecError, ValueError, RecursionError, TimeoutError) as error:
        return Answer(error=f"not a command: {error}")
    except (Stopped, asyncio.CancelledError):
        return Answer(error="the run is ending")


def _peer_uid(connection: socket.socket) -> int:
    if not hasattr(socket, "SO_PEERCRED"):
        return os.getuid()  # no such option on this platform: the socket's mode is the guard
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", data)[1])


def send(path: Path, event: OperatorInput, timeout_s: float = 10.0) -> Answer | None:
    """Hand `event` to the live writer that listens on `path`; None where nobody does."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        if not _connect(connection, path):
            return None
        try:
            with contextlib.suppress(BrokenPipeError):  # who does not want to read it all has answered already
                connection.sendall(msgspec.json.encode(event) + b"\n")
            data = connection.makefile("rb").readline()
        except OSError as error:
            return Answer(error=f"the run did not answer: {error}")
    return msgspec.json.decode(data, type=Answer) if data else Answer(error="the run ended before it answered")


def is_listening(path: Path) -> bool:
    """Is a writer alive behind the socket?"""
    with socket.socket(socket.AF_UNIX) as connection:
        return _connect(connection, path)


def _connect(connection: socket.socket, path: Path) -> bool:
    try:
        with _address(path) as address:
            connection.connect(address)
    except OSError:
        return False
    return True
