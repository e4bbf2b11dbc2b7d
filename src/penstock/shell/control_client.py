"""The client's side of the control socket: an operator's command to the live writer. Quick to import.

The address of a socket has 108 bytes, the path of a run's directory may have more. So the directory is opened, and the
socket is named by the descriptor.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from penstock.core import events as e

OperatorInput = e.PauseAsked | e.ResumeAsked | e.DrainAsked | e.CancelAsked | e.Approved | e.BudgetRaised


class Answer(msgspec.Struct, omit_defaults=True):
    """What the writer says: the seq of the appended input, or why it was not taken."""

    seq: int = 0
    error: str = ""


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
        with address_of(path) as address:
            connection.connect(address)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def address_of(path: Path) -> Iterator[str]:
    """A short name of `path`, good for as long as the context is open; where /proc is not, the path itself."""
    if sys.platform != "linux":
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
