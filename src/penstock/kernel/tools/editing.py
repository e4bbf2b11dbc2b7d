"""What an edit tool wants to stand where: worked out on text, byte-exact beyond the edit. Nothing is written here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock.kernel.session import GateSession, Write
from penstock.kernel.tree.names import BadPath, plain_parts
from penstock.kernel.tree.reading import NotText, TextFile, read_text

Edited = list[Write]

WORDS: dict[str, str] = {
    "bad_path": "is no path inside the working tree",
    "absent": "does not exist",
    "directory": "is a directory",
    "symlink": "is or lies behind a symbolic link, which is never written through",
    "not_a_file": "is no regular file",
    "too_large": "is too large for the edit tools",
    "binary": "is binary",
    "not_utf8": "is not UTF-8 text",
    "unreadable": "cannot be read",
}


class NotEdited(Exception):
    """The edit cannot be made; the text says why, and nothing was changed."""


@dataclass(frozen=True)
class Replacement:
    """Put `new` in the place of `old`, which stands there exactly once unless `all`."""

    path: str
    old: str
    new: str
    all: bool = False


def replaced(top: Path, wanted: Sequence[Replacement]) -> Edited:
    """The files after all replacements, in order. Raises `NotEdited` where one does not fit."""
    files: dict[str, tuple[TextFile, str]] = {}
    for n, one in enumerate(wanted, 1):
        file, text = files.get(one.path) or _opened(top, one.path)
        files[one.path] = (file, _replace(text, one, n if len(wanted) > 1 else 0))
    return [Write(path, file.encoded(text)) for path, (file, text) in files.items()]


def written(top: Path, path: str, content: str) -> Edited:
    """`content` at `path`, with the line ends and mark of the text that is there. Raises `NotEdited`."""
    found = read_text(top, path)
    if isinstance(found, TextFile):
        return [Write(path, found.encoded(content))]
    if found.why != "absent" or found.detail:
        raise NotEdited(words_for(found))
    return [Write(path, content.encode())]


def copied(session: GateSession, source: str, target: str) -> Edited:
    """The file at `source` also at `target`, byte for byte. Raises `NotEdited`."""
    session.settle("copy_file")
    entry = session.expected.get(source)
    _require_plain(target)
    if entry is None:
        raise NotEdited(f"{source} does not exist")
    if target in session.expected:
        raise NotEdited(f"{target} exists: delete it first")
    if entry.kind != "file" or not session.world.blobs.has(entry.digest):
        raise NotEdited(f"{source} is no regular file that can be copied")
    return [Write(target, session.content(entry), entry.mode)]


def moved(session: GateSession, source: str, target: str) -> Edited:
    """The file at `target` and no more at `source`. Raises `NotEdited`."""
    return [*copied(session, source, target), Write(source, None)]


def _opened(top: Path, path: str) -> tuple[TextFile, str]:
    found = read_text(top, path)
    if isinstance(found, NotText):
        raise NotEdited(words_for(found))
    return found, found.text


def _replace(text: str, one: Replacement, n: int) -> str:
    count = text.count(one.old)
    place = f"{one.path}, edit {n}" if n else one.path
    if count == 0:
        raise NotEdited(f"{place}: the old text does not stand there; read the file again")
    if count > 1 and not one.all:
        raise NotEdited(f"{place}: the old text stands there {count} times; give more of it, or set all")
    if one.old == one.new:
        raise NotEdited(f"{place}: old and new text are the same")
    return text.replace(one.old, one.new)


def _require_plain(path: str) -> None:
    try:
        plain_parts(path)
    except BadPath as wrong:
        raise NotEdited(f"{path}: {wrong}") from wrong


def words_for(found: NotText) -> str:
    """Why there is no text, for the model."""
    detail = f" ({found.detail})" if found.detail else ""
    return f"{found.path} {WORDS[found.why]}{detail}"
