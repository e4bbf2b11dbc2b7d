"""Which test runner a command line of `test_command_for` speaks of, as far as its words tell."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Sequence
from typing import Literal

from penstock.core.redgreen.test_id import RunnerName

Language = Literal["python", "javascript", "rust", "go"]

LANGUAGES: dict[RunnerName, Language] = {
    "pytest": "python",
    "unittest": "python",
    "vitest": "javascript",
    "jest": "javascript",
    "node": "javascript",
    "cargo": "rust",
    "go": "go",
}

SUFFIXES: dict[str, Language] = {
    ".py": "python",
    **dict.fromkeys((".js", ".jsx", ".ts", ".tsx", ".mjs", ".cjs", ".mts", ".cts"), "javascript"),
    ".rs": "rust",
    ".go": "go",
}
"""Of the files that hold tests."""

NAMED: dict[str, RunnerName] = {
    "pytest": "pytest",
    "py.test": "pytest",
    "unittest": "unittest",
    "vitest": "vitest",
    "jest": "jest",
    "cargo": "cargo",
    "go": "go",
    "--test": "node",
}
NODE = r"node[\d.]*"
INTERPRETERS: tuple[tuple[str, Language], ...] = ((r"(python|pypy)[\d.]*", "python"), (NODE, "javascript"))
TESTS = "{tests}"
"""Where people like to see the tests in a command; they are handed over by other ways."""


def split(command: str) -> tuple[str, ...]:
    """Its words. Raises `ValueError` where a quote is not closed."""
    return tuple(word for word in shlex.split(command) if word != TESTS)


def runner_in(words: Sequence[str]) -> RunnerName | None:
    """The runner that is named among them."""
    return next((NAMED[name] for name in map(_name, words) if name in NAMED), None)


def language_in(words: Sequence[str]) -> Language | None:
    """The language of the tests that they run: of the runner, else of the interpreter."""
    named = runner_in(words)
    if named is not None:
        return LANGUAGES[named]
    spoken = [(name, each) for name in map(_name, words) for each in INTERPRETERS]
    return next((language for name, (pattern, language) in spoken if re.fullmatch(pattern, name)), None)


def node_in(words: Sequence[str]) -> tuple[str, ...]:
    """The Node, with its options, that a command starts; the one on the path where it starts none."""
    if not words or re.fullmatch(NODE, _name(words[0])) is None:
        return ("node",)
    options = itertools.takewhile(lambda word: word.startswith("-"), words[1:])
    return (words[0], *(word for word in options if word != "--test"))


def options_in(words: Sequence[str]) -> tuple[str, ...]:
    """What a `cargo test` or `go test` is told besides."""
    return tuple(words[words.index("test") + 1 :]) if "test" in words else ()


def fault_of_command(command: str, key: str) -> tuple[str, str] | None:
    """What is wrong with the command line for `key`, a runner or a glob of test files, and the fix."""
    try:
        words = split(command)
    except ValueError:
        return "has a quote that is not closed", "close it"
    named = runner_in(words)
    if key in LANGUAGES and named not in (None, key):
        return f"is a command of {named}, not of {key}", f"write it as {named} = ..."
    language = LANGUAGES[key] if key in LANGUAGES else language_in(words)
    if language is None:
        return "names no test runner", 'write a command that does, as "python -m pytest"'
    return _fault_of_words(words, language)


def _fault_of_words(words: Sequence[str], language: Language) -> tuple[str, str] | None:
    """Words that nothing would be made of: verdicts come through programs of ours, which a command only helps start."""
    match language:
        case "python":
            return None
        case "javascript":
            lost = [word for word in words if word.startswith("-") and word not in (*node_in(words), "--test")]
            fix = "put it into the configuration of the runner, or start Node with options of its own"
            return (f"has {lost[0]}, which is not handed on", fix) if lost else None
        case "rust" | "go":
            start = ("cargo" if language == "rust" else "go", "test")
            if words[:2] != start:
                return "cannot be followed", f'begin it with "{" ".join(start)}"; options may come after'
            return ("has --, and what follows is not handed on", "take it out") if "--" in words else None


def language_of(path: str) -> Language | None:
    """Of a file, by the end of its name."""
    name = path.rpartition("/")[2]
    return SUFFIXES.get(f".{name.rpartition('.')[2]}") if "." in name[1:] else None


def _name(word: str) -> str:
    return word.rpartition("/")[2]
