"""Text for the edit tools, with what an edit must not change: the byte order mark and the line ends.

A file whose every line ends in CRLF reads as if it had plain line ends, and is written back with CRLF. One that mixes
them reads as it is, so that an edit touches no line but its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from penstock.core.policy import Frozen
from penstock.kernel.tree.entry import Entry, Unreadable, shown
from penstock.kernel.tree.looking import Blocked, Look, is_directory, larger_than, look, opened
from penstock.kernel.tree.names import BadPath, plain_parts

TEXT_BYTES_MAX = 2_000_000
MARK = b"\xef\xbb\xbf"

NotTextReason = Literal[
    "bad_path", "absent", "directory", "symlink", "not_a_file", "too_large", "binary", "not_utf8", "unreadable"
]


class NotText(Frozen):
    """Why there is no text to edit."""

    path: str
    why: NotTextReason
    detail: str = ""


class TextFile(Frozen):
    """A text as the edit tools see it. `entry`: the file that it was read from."""

    path: str
    text: str
    entry: Entry
    has_mark: bool = False
    is_crlf: bool = False

    def encoded(self, text: str) -> bytes:
        """The bytes of the file with `text` in place of its own; the same text gives the same bytes."""
        if self.is_crlf:
            text = text.replace("\r\n", "\n").replace("\n", "\r\n")
        return (MARK if self.has_mark else b"") + text.encode()


def read_text(top: Path, path: str) -> TextFile | NotText:
    """The text at `path` below `top`; no link is followed, neither at its end nor on the way."""
    try:
        parts = plain_parts(path)
        with opened(top, parts[:-1]) as directory:
            found = look(directory, parts[-1], path, TEXT_BYTES_MAX, TEXT_BYTES_MAX)
            absent: NotTextReason = "directory" if is_directory(directory, parts[-1]) else "absent"
    except BadPath as error:
        return NotText(path=path, why="bad_path", detail=str(error))
    except Blocked as error:
        return NotText(path=path, why="symlink" if error.is_link else "absent", detail=shown(error.part))
    except FileNotFoundError:
        return NotText(path=path, why="absent")
    except OSError as error:
        return NotText(path=path, why="unreadable", detail=error.strerror or str(error))
    return NotText(path=path, why=absent) if found is None else _text(path, found)


def _text(path: str, found: Look | Unreadable) -> TextFile | NotText:
    match found:
        case Unreadable(why=why):
            is_large = why == larger_than(TEXT_BYTES_MAX)
            return NotText(path=path, why="too_large" if is_large else "unreadable", detail=why)
        case Look(entry=Entry(kind="symlink")):
            return NotText(path=path, why="symlink")
        case Look(data=bytes() as data, entry=Entry(kind="file") as entry):
            return decoded(path, entry, data)
        case _:
            return NotText(path=path, why="not_a_file")


def decoded(path: str, entry: Entry, data: bytes) -> TextFile | NotText:
    """The text in `data`, or why there is none."""
    if b"\0" in data:
        return NotText(path=path, why="binary", detail="it holds a NUL")
    bare = data.removeprefix(MARK)
    try:
        text = bare.decode()
    except UnicodeDecodeError as error:
        return NotText(path=path, why="not_utf8", detail=f"at byte {error.start + len(data) - len(bare)}")
    is_crlf = 0 < text.count("\r\n") == text.count("\n") == text.count("\r")
    plain = text.replace("\r\n", "\n") if is_crlf else text
    return TextFile(path=path, text=plain, entry=entry, has_mark=len(bare) < len(data), is_crlf=is_crlf)
