"""The two tongues that are passed on: our events, and OpenAI's. Bytes are cut at whole events and left as they are.

Before the first token of a stream each event is looked at, as much still depends on it: whether the request may be
given to another worker, and with which status it is answered. From then on only the end is looked for.
"""

from __future__ import annotations

import re
from typing import Literal, Protocol

import msgspec

from penstock.fleet.errors import ERRORS, FleetError
from penstock.fleet.schema import End, Started
from penstock.fleet.sse import DONE, EVENT_BYTES_MAX, Reader, TooLong, written

Verdict = Literal["drop", "pass", "hold", "token"]
"""Of an event before the first token: leave it out, pass it on, pass it on together with the first token, or it is
the first token (or an end without one)."""

BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
"""A `\\n` that still belongs to it may come with the next bytes: it is passed on with them."""


DONE_LINE = re.compile(rb"(?:\A|[\r\n])data: ?\[DONE\]\Z")
DONE_BYTES_MAX = 32
"""What is looked at for it."""


class Cutter:
    """Gives what is whole of the bytes it is fed, up to the last blank line."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """Raises `TooLong` where an event has no end for `EVENT_BYTES_MAX` bytes."""
        if self._rest:
            data = self._rest + data
        cut = _last_end(data)
        self._rest = data[cut:]
        if len(self._rest) > EVENT_BYTES_MAX:
            raise TooLong
        return data[:cut]


def _last_end(data: bytes) -> int:
    if b"\r" not in data:
        return data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
    return max((found.end() for found in BLANK_LINE.finditer(data)), default=0)


def events_of(whole: bytes) -> list[bytes]:
    """Events, each with the blank line after it."""
    ends = [found.end() for found in BLANK_LINE.finditer(whole)]
    return [whole[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)] if ends else []


def is_done(whole: bytes) -> bool:
    """Whether the last of these events is `[DONE]`."""
    last = whole[-DONE_BYTES_MAX:].rstrip(b"\r\n")
    return last.endswith(b"[DONE]") and DONE_LINE.search(last) is not None


class Dialect(Protocol):
    """How a stream is read before its first token, and how it fails after."""

    path: str

    def judge(self, event: bytes) -> Verdict:
        """Raises `FleetError` where the event is the end, and not a good one."""

    def failed(self, error: FleetError) -> bytes:
        """The last events of a stream that fails."""

    def canceled(self, error: FleetError, ms: int) -> bytes:
        """The last events of a stream that was cancelled."""

    def tokens(self, whole: bytes) -> int:
        """How many are in these events, for the measures."""

    def error_in(self, whole: bytes) -> str:
        """The code of the failure with which the stream ended, empty where it did not."""


class Ours:
    """`/v1/inference`."""

    path = "/v1/inference"

    def judge(self, event: bytes) -> Verdict:
        """See `Dialect`."""
        name, data = _read(event)
        if data == "[DONE]":
            raise FleetError("BAD_ENGINE_REPLY", "the stream ended without a last event")
        if name in ("started", ""):
            return "drop"
        if name == "error":
            raise _told(data)
        return "token" if name in ("token", "end") else "pass"

    def failed(self, error: FleetError) -> bytes:
        """See `Dialect`."""
        return written(error.failure()) + DONE

    def canceled(self, error: FleetError, ms: int) -> bytes:
        """See `Dialect`."""
        return written(End(tokens_out=0, stop_reason="canceled", ms=ms)) + DONE

    def tokens(self, whole: bytes) -> int:
        """See `Dialect`."""
        return whole.count(b"event: token\n")

    def error_in(self, whole: bytes) -> str:
        """See `Dialect`."""
        at = whole.rfind(b"event: error\n")
        return _told(_read(whole[at:])[1]).code if at >= 0 else ""

    def started(self, request_id: str) -> bytes:
        """The first event."""
        return written(Started(request_id=request_id))


class OpenAi:
    """`/v1/chat/completions` with `stream`."""

    path = "/v1/chat/completions"

    def judge(self, event: bytes) -> Verdict:
        """See `Dialect`. A first chunk that has a role and nothing else is held back: nothing was made yet."""
        _, data = _read(event)
        if not data:
            return "hold"
        try:
            chunk = msgspec.json.decode(data)
        except msgspec.DecodeError:
            return "token"
        if isinstance(chunk, dict) and chunk.get("error"):
            raise _told(msgspec.json.encode(chunk["error"]).decode())
        return "hold" if _is_empty(chunk) else "token"

    def failed(self, error: FleetError) -> bytes:
        """See `Dialect`."""
        return b"data: " + error.body() + b"\n\n" + DONE

    def canceled(self, error: FleetError, ms: int) -> bytes:
        """See `Dialect`."""
        return self.failed(error)

    def tokens(self, whole: bytes) -> int:
        """See `Dialect`."""
        return whole.count(b"data: {")

    def error_in(self, whole: bytes) -> str:
        """See `Dialect`."""
        at = whole.rfind(b'data: {"error"')
        if at < 0:
            return ""
        _, data = _read(whole[at:])
        try:
            return _told(msgspec.json.encode(msgspec.json.decode(data)["error"]).decode()).code
        except (msgspec.DecodeError, KeyError):
            return "BAD_ENGINE_REPLY"


def _is_empty(chunk: object) -> bool:
    """Surely without content: choices whose deltas have nothing but a role."""
    if not isinstance(chunk, dict) or not isinstance(chunk.get("choices"), list) or chunk.get("usage"):
        return False
    return all(
        isinstance(choice, dict)
        and isinstance(delta := choice.get("delta"), dict)
        and not choice.get("finish_reason")
        and not any(value for name, value in delta.items() if name != "role")
        for choice in chunk["choices"]
    )


def _read(event: bytes) -> tuple[str, str]:
    said = next(iter(Reader().feed(event + b"\n\n")), None)
    return (said.name, said.data) if said else ("", "")


def _told(data: str) -> FleetError:
    """The error that a worker named."""
    try:
        told = msgspec.json.decode(data)
    except msgspec.DecodeError:
        told = {}
    code = told.get("code") if isinstance(told, dict) else None
    message = str(told.get("message", "")) if isinstance(told, dict) else ""
    details = told.get("details") if isinstance(told, dict) else None
    known = isinstance(code, str) and code in ERRORS
    return FleetError(
        str(code) if known else "BAD_ENGINE_REPLY",
        message or "the engine failed",
        details if isinstance(details, dict) else {},
    )
