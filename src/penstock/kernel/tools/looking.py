"""Looking at the tree: what changes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from penstock.core.redgreen.entry import Entry
from penstock.kernel.session import GateSession
from penstock.kernel.tools.editing import NotEdited, words_for
from penstock.kernel.tree.reading import NotText, read_text

FILES_MAX = 2_000
HITS_MAX = 200
LINE_CHARS_MAX = 400
READ_CHARS_MAX = 100_000


def list_files(tree: Mapping[str, Entry], path: str) -> str:
    """Files below `path`, a line each."""
    prefix = f"{path.rstrip('/')}/" if path.strip("./") else ""
    found = [name for name in sorted(tree) if name.startswith(prefix)]
    more = [f"... and {len(found) - FILES_MAX} more"] if len(found) > FILES_MAX else []
    return "\n".join([*found[:FILES_MAX], *more]) or "no file there"


def read_lines(top: Path, path: str, first: int, count: int) -> str:
    """Numbered lines of a text. Raises `NotEdited` where it is none."""
    found = read_text(top, path)
    if isinstance(found, NotText):
        raise NotEdited(words_for(found))
    lines = found.text.splitlines()
    wanted = lines[first - 1 : first - 1 + count]
    text = "\n".join(f"{n:>5}  {line[:LINE_CHARS_MAX]}" for n, line in enumerate(wanted, first))[:READ_CHARS_MAX]
    more = f"\n({len(lines)} lines in all)" if len(wanted) < len(lines) else ""
    return (text or "(empty)") + more


def search_lines(session: GateSession, pattern: str, path: str) -> str:
    """Lines that match, as `path:line: text`. Raises `NotEdited` where the pattern is none."""
    try:
        wanted = re.compile(pattern)
    except re.error as wrong:
        raise NotEdited(f"not a regular expression: {wrong}") from wrong
    prefix = path.strip("/")
    hits: list[str] = []
    for name, entry in sorted(session.expected.items()):
        if entry.kind == "file" and (not prefix or name == prefix or name.startswith(f"{prefix}/")):
            hits += _hits(name, session.content(entry), wanted, HITS_MAX + 1 - len(hits))
        if len(hits) > HITS_MAX:
            return "\n".join([*hits[:HITS_MAX], "... and more: narrow the search"])
    return "\n".join(hits) or "nothing found"


def _hits(name: str, data: bytes, wanted: re.Pattern[str], most: int) -> list[str]:
    if b"\0" in data:
        return []
    lines = enumerate(data.decode(errors="replace").splitlines(), 1)
    found = (f"{name}:{n}: {line[:LINE_CHARS_MAX]}" for n, line in lines if wanted.search(line[:5_000]))
    return [line for line, _ in zip(found, range(most), strict=False)]
