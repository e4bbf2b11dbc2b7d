"""Server-sent events, written and read. The reader takes bytes as they come and gives whole events, wherever they
were cut, in the middle of a character too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from penstock.fleet.schema import End, Failure, Metrics, Progress, Started, Token

CONTENT_TYPE = "text/event-stream"
HEADERS = {"content-type": CONTENT_TYPE, "cache-control": "no-cache", "x-accel-buffering": "no"}
DONE = b"data: [DONE]\n\n"
EVENT_BYTES_MAX = 1_048_576

Event = Started | Token | Progress | Metrics | End | Failure
NAMES: dict[type[Event], str] = {
    Started: "started",
    Token: "token",
    Progress: "progress",
    Metrics: "metrics",
    End: "end",
    Failure: "error",
}
TYPES: dict[str, type[Event]] = {name: kind for kind, name in NAMES.items()}
TERMINAL = (End, Failure)


def written(event: Event) -> bytes:
    """One event on the wire."""
    return b"event: " + NAMES[type(event)].encode() + b"\ndata: " + msgspec.json.encode(event) + b"\n\n"


@dataclass(frozen=True)
class Said:
    """One event as it came. `name` is empty where none was given."""

    name: str
    data: str


class TooLong(Exception):
    """An event over its cap."""


class Malformed(Exception):
    """An event that is none of ours."""


@dataclass
class Reader:
    """Feed it bytes; it gives what is whole. Lines end with LF, CRLF or CR; comments are left out."""

    _rest: bytearray = field(default_factory=bytearray)
    _name: str = ""
    _data: list[str] = field(default_factory=list)

    def feed(self, data: bytes) -> Iterator[Said]:
        """Raises `TooLong` where an event has no end for `EVENT_BYTES_MAX` bytes."""
        self._rest += data
        if len(self._rest) > EVENT_BYTES_MAX:
            raise TooLong
        lines = bytes(self._rest).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        held = b"\r" if self._rest.endswith(b"\r") else b""
        if held:
            lines = bytes(self._rest[:-1]).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = bytearray(lines.pop() + held)
        for line in lines:
            if (said := self._take(line.decode(errors="replace"))) is not None:
                yield said

    def _take(self, line: str) -> Said | None:
        if not line:
            said = Said(self._name, "\n".join(self._data)) if self._data else None
            self._name, self._data = "", []
            return said
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
        return None


def read_event(said: Said) -> Event | None:
    """One of our events; None for `[DONE]`. Raises `Malformed`."""
    if said.data == "[DONE]":
        return None
    kind = TYPES.get(said.name)
    if kind is None:
        raise Malformed(f"no event is called {said.name!r}")
    try:
        return msgspec.json.decode(said.data, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise Malformed(f"the data of {said.name} is not what it should be") from None
