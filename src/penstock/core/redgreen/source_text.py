"""Where the functions of a Rust or Go source, and the tests of a JavaScript one, stand: without a parser.

Comments and strings are blanked first.

Wrong only where the source does not compile anyway, and then a test is at worst said not to have been run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Language = Literal["rust", "go", "javascript"]

INERT: dict[Language, re.Pattern[str]] = {
    "rust": re.compile(
        r"//[^\n]*|/\*.*?\*/|\bb?r(?P<hashes>#*)\".*?\"(?P=hashes)|b?\"(?:\\.|[^\"\\])*\"|b?'(?:\\[^\n]{1,10}?|[^'\\\n])'",
        re.S,
    ),
    "go": re.compile(r"//[^\n]*|/\*.*?\*/|`[^`]*`|\"(?:\\.|[^\"\\\n])*\"|'(?:\\[^\n]{1,10}?|[^'\\\n])'", re.S),
    "javascript": re.compile(
        r"//[^\n]*|/\*.*?\*/|`(?:\\.|[^`\\])*`|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|"
        r"(?<=[(,=:])\s*/(?![*/])(?:\\.|\[[^\]\n]*\]|[^/\\\n])+/",
        re.S,
    ),
}
HEADS = {
    "rust": re.compile(r"\b(?P<kind>mod|fn|use)\s+(?P<name>[^\s({<;]+)|(?P<brace>[{}])"),
    "go": re.compile(r"^(?P<kind>func)\s+(?:\([^)]*\)\s*)?(?P<name>\w+)|(?P<brace>[{}])", re.M),
}


@dataclass(frozen=True)
class Span:
    """A function and its lines, the first being that of its name. `chain`: the modules round it, and its name."""

    chain: tuple[str, ...]
    first: int
    last: int
    body: str

    def holds(self, line: int) -> bool:
        """Whether the line is one of its own."""
        return self.first <= line <= self.last


CALL = re.compile(r"(?<![.\w$])(?P<word>describe|suite|test|it)(?P<how>(?:\.\w+)*)\s*\(|(?P<mark>[()])")
TITLE = re.compile(r"\s*(?P<quote>[\"'`])(?P<title>(?:\\.|(?!(?P=quote)).)*)(?P=quote)", re.S)


def comments(source: str, language: Language) -> dict[int, str]:
    """Comments that have a line, or its end, to themselves: text by line."""
    found = (each for each in INERT[language].finditer(source) if each[0].startswith("//"))
    return {_line(source, each.start()): each[0] for each in found}


def titled_tests(source: str) -> dict[int, tuple[str, ...]]:
    """Titles from the outermost on, by the line of the call, of the JavaScript tests whose titles are plain texts."""
    found: dict[int, tuple[str, ...]] = {}
    around: list[tuple[str, int]] = []
    depth = 0
    for call in CALL.finditer(blanked(source, "javascript")):
        depth += -1 if call["mark"] == ")" else 1
        around = [each for each in around if each[1] <= depth]
        title = TITLE.match(source, call.end())
        if call["mark"] or title is None or ".each" in call["how"] or "${" in title["title"]:
            continue
        text = re.sub(r"\\(.)", r"\1", title["title"])
        if call["word"] in ("describe", "suite"):
            around.append((text, depth))
        else:
            found[_line(source, call.start())] = (*(each for each, _ in around), text)
    return found


def blanked(source: str, language: Language) -> str:
    """The source with comments and literals blanked; lines stay where they are."""
    return INERT[language].sub(lambda found: re.sub(r"[^\n]", " ", found[0]), source)


def functions(source: str, language: Language) -> tuple[Span, ...]:
    """The functions at module level, in inline modules, and in `impl` blocks: in order, none inside another."""
    return tuple(_functions(blanked(source, language), language))


def _functions(text: str, language: Language) -> Iterator[Span]:
    modules: list[tuple[str, int]] = []
    depth, pending, inside_until = 0, "", 0
    for found in HEADS[language].finditer(text):
        if found.start() < inside_until:
            continue
        kind, name, brace = found["kind"], found["name"], found["brace"]
        if kind in ("fn", "func"):
            inside_until = _end_of(text, found.end())
            chain = (*(module for module, _ in modules), name)
            yield Span(
                chain, _line(text, found.start()), _line(text, inside_until - 1), text[found.end() : inside_until]
            )
        elif kind == "mod":
            pending = name if text[found.end() :].lstrip().startswith("{") else ""
        elif brace == "{":
            depth += 1
            modules += [(pending, depth)] if pending else []
            pending = ""
        elif brace == "}":
            depth -= 1
            modules = [each for each in modules if each[1] <= depth]


def _end_of(text: str, start: int) -> int:
    """Behind the block that begins after `start`, brackets aside; a declaration without one ends at its semicolon."""
    braces = brackets = 0
    for found in re.finditer(r"[{};()\[\]]", text[start:]):
        mark = found[0]
        brackets += (mark in "([") - (mark in ")]")
        if brackets <= 0 and mark in "{};":
            braces += (mark == "{") - (mark == "}")
            if braces <= 0:
                return start + found.end()
    return len(text)


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1
