"""From the text of a file to its next text, by the calls that a developer would make."""

from __future__ import annotations

from difflib import SequenceMatcher


def hunks(before: str, after: str) -> list[tuple[str, str]]:
    """Replacements of old by new text, to be made in order; each old text stands there exactly once by then."""
    was, now = before.splitlines(keepends=True), after.splitlines(keepends=True)
    found = [code for code in SequenceMatcher(None, was, now, autojunk=False).get_opcodes() if code[0] != "equal"]
    edits: list[tuple[str, str]] = []
    lines = list(was)
    for _, a, b, c, d in reversed(found):
        first, last = a, b
        while (first, last) != (0, len(lines)) and not _is_once(lines, first, last):
            first, last = max(0, first - 1), min(len(lines), last + 1)
        old = "".join(lines[first:last])
        new = "".join([*lines[first:a], *now[c:d], *lines[b:last]])
        edits.append((old, new))
        lines[a:b] = now[c:d]
    return edits if all(old for old, _ in edits) else []


def _is_once(lines: list[str], first: int, last: int) -> bool:
    old = "".join(lines[first:last])
    return bool(old.strip()) and "".join(lines).count(old) == 1
