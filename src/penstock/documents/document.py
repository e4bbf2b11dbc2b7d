"""A parsed text: plain values, and the line that each of them came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Path = tuple[str | int, ...]
"""Where a value is: `("gates", "tests", "resources", 0)`."""

TEXT_BYTES_MAX = 256 * 1024
DEPTH_MAX = 20


@dataclass(frozen=True)
class Document:
    """What a text says. `lines` has the 1-based line of each path that was found."""

    file: str
    """As shown to people."""
    value: Mapping[str, object]
    lines: Mapping[Path, int] = field(default_factory=dict)
    twice: tuple[tuple[Path, int], ...] = ()
    """Keys that are written a second time, and where; the first writing is the value."""

    def line_of(self, path: Path) -> int:
        """The line of `path`, else of the nearest thing around it; 0 where nothing is known."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return 0


class Unreadable(Exception):
    """The text is not in its format; nothing in it could be read. `line` 0: unknown."""

    def __init__(self, message: str, line: int = 0, fix: str = "") -> None:
        self.message, self.line, self.fix = message, line, fix
        super().__init__(message)


def dotted(path: Path) -> str:
    """`gates.tests.resources[0]`, for people."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


def decoded(data: bytes) -> str:
    """UTF-8 text with `\\n` line ends and no byte order mark. Raises `Unreadable`."""
    if len(data) > TEXT_BYTES_MAX:
        message = f"is {len(data):,} bytes or more; at most {TEXT_BYTES_MAX:,} are read"
        raise Unreadable(message, fix="make it smaller")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Unreadable("is not UTF-8 text", line, "save it as UTF-8") from None
    return text.replace("\r\n", "\n")
