"""The client's side of the control socket: an operator's command to the live writer. Quick to import."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import msgspec

from penstock.core import events as e
from penstock.private_sockets import has_connected

OperatorInput = e.PauseAsked | e.ResumeAsked | e.DrainAsked | e.CancelAsked | e.Approved | e.BudgetRaised


class Answer(msgspec.Struct, omit_defaults=True):
    """What the writer says: the seq of the appended input, or why it was not taken."""

    seq: int = 0
    error: str = ""


def send(path: Path, event: OperatorInput, timeout_s: float = 10.0) -> Answer | None:
    """Hand `event` to the live writer that listens on `path`; None where nobody does."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        if not has_connected(connection, path):
            return None
        try:
            with contextlib.suppress(BrokenPipeError):  # who does not want to read it all has answered already
                connection.sendall(msgspec.json.encode(event) + b"\n")
            data = connection.makefile("rb").readline()
        except OSError as error:
            return Answer(error=f"the run did not answer: {error}")
    return msgspec.json.decode(data, type=Answer) if data else Answer(error="the run ended before it answered")
