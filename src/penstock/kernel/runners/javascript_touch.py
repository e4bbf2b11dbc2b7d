"""Whether a test speaks of names that do not exist yet, read from its file, which cannot be loaded.

A red for want of a module counts only if the test asks for the module. What is read: the test itself, and everything of
its file that stands outside the other tests, for it may be called from there. In doubt it does: titles that are put
together when the file runs, and files that lack something only through others, are not judged.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from penstock.core.redgreen.source_text import blanked, titled_tests

_INTERPOLATED = re.compile(r"\$\{([^{}]*)\}")
_IMPORT = re.compile(r"\bimport\b[\w\s{},*$]*\bfrom\b|\b(?:const|let|var)\s*(?:\{[^}]*\}|[\w$]+)\s*=\s*require\b")
_TEST = re.compile(r"\b(?:test|it)\b[.\w]*\s*\(")
_BRACKET = re.compile(r"[()]")


def touches(source: str, chain: tuple[str, ...], names: Collection[str]) -> bool:
    """Whether the test of that chain can come to speak of one of the names."""
    lines = titled_tests(source)
    if chain not in lines.values():
        return True
    text = _IMPORT.sub(_blank, _visible(source))
    for line, other in lines.items():
        if other != chain:
            first, last = _call_at(text, line)
            text = text[:first] + re.sub(r"[^\n]", " ", text[first:last]) + text[last:]
    return any(re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", text) for name in names)


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])


def _visible(source: str) -> str:
    """The source without comments and literals, but with what templates interpolate."""
    text = blanked(source, "javascript")
    for found in _INTERPOLATED.finditer(source):
        text = text[: found.start(1)] + found[1] + text[found.end(1) :]
    return text


def _call_at(text: str, line: int) -> tuple[int, int]:
    """Where the first call of a test on that line begins and ends; nothing where it cannot be seen."""
    start = sum(len(each) + 1 for each in text.split("\n")[: line - 1])
    call = _TEST.search(text, start)
    if call is None or "\n" in text[start : call.start()]:
        return 0, 0
    depth = 1
    for bracket in _BRACKET.finditer(text, call.end()):
        depth += 1 if bracket[0] == "(" else -1
        if depth == 0:
            return call.start(), bracket.end()
    return 0, 0
