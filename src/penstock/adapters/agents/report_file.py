"""What an agent says of itself: JSON lines in a file that its environment names. Written by who is judged, so read as
hostile input, and believed only as claims.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from penstock.core.events import Usage

FILE_BYTES_MAX = 1_000_000
LINE_BYTES_MAX = 64_000
CLAIMS_MAX = 20
TEXT_CHARS_MAX = 2_000
COUNT_MAX = 10**12
RETRY_AFTER_MS_MAX = 86_400_000

FailureSaid = Literal["provider_transient", "provider_terminal", "agent_refused"]
Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]


class UsageLine(msgspec.Struct, tag_field="type", tag="usage", frozen=True):
    """`{"type": "usage", "tokens": N, ...}`: what was used since the last such line."""

    tokens: Count | None = None
    micro_dollars: Count | None = None
    edits: Count | None = None
    tool_calls: Count | None = None


class ClaimLine(msgspec.Struct, tag_field="type", tag="claim", frozen=True):
    """`{"type": "claim", "text": "all tests pass"}`."""

    text: str


class FailureLine(msgspec.Struct, tag_field="type", tag="failure", frozen=True):
    """`{"type": "failure", "class": ..., "message": ..., "retry_after_ms": N}`: why it could not work."""

    kind: FailureSaid = msgspec.field(name="class")
    message: str = ""
    retry_after_ms: Annotated[int, msgspec.Meta(ge=0, le=RETRY_AFTER_MS_MAX)] = 0


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that it said. `refused`: lines that are none of these, and bytes beyond the cap count as one."""

    usage: Usage = Usage()
    claims: tuple[str, ...] = ()
    failure: FailureLine | None = None
    refused: int = 0


_decoder: msgspec.json.Decoder[UsageLine | ClaimLine | FailureLine] = msgspec.json.Decoder(
    UsageLine | ClaimLine | FailureLine
)


def read_report(path: Path) -> Said:
    """What the file says; nothing where it is missing or no plain file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return Said()
    try:
        is_plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return parse_report(_read(descriptor)) if is_plain else Said()
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        return file.read(FILE_BYTES_MAX + 1)


def parse_report(data: bytes) -> Said:
    """What these bytes say. The last failure counts, usage adds up, the first claims are kept."""
    lines, refused = data[:FILE_BYTES_MAX].split(b"\n"), int(len(data) > FILE_BYTES_MAX)
    usage, failure, claims = Usage(), None, list[str]()
    for line in lines:
        match _parse_line(line):
            case UsageLine() as said:
                usage = _plus(usage, said)
            case ClaimLine(text):
                claims.append(_cleaned(text))
            case FailureLine() as said:
                failure = msgspec.structs.replace(said, message=_cleaned(said.message))
            case None:
                refused += bool(line.strip())
    return Said(usage=usage, claims=tuple(claims[:CLAIMS_MAX]), failure=failure, refused=refused)


def _parse_line(line: bytes) -> UsageLine | ClaimLine | FailureLine | None:
    if len(line) > LINE_BYTES_MAX:
        return None
    try:
        return _decoder.decode(line)
    except (ValueError, RecursionError):
        return None


def _plus(usage: Usage, said: UsageLine) -> Usage:
    def add(one: int | None, other: int | None) -> int | None:
        return other if one is None else one if other is None else min(one + other, COUNT_MAX)

    return Usage(**{name: add(getattr(usage, name), getattr(said, name)) for name in Usage.__struct_fields__})


def _cleaned(text: str) -> str:
    """At most so many characters, and none that a terminal obeys or that cannot be stored."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text[:TEXT_CHARS_MAX])
