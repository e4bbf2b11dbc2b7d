"""Names that comments give to tests: `# test-id: slug`, or `// test-id: slug`, directly above the decorated test.

Such a name stays when the test, its class or its file is renamed. A row of a parametrised test keeps its own id beside
it. What cannot be obeyed is told, with its place: nothing is silently left out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

from penstock.core.policy import Frozen
from penstock.core.redgreen.source_text import comments, functions, titled_tests
from penstock.core.weakening import context_of, contexts, parse, read_scope

MARK = re.compile(r"(?:#|//)\s*test-id:\s*(?P<slug>.*?)\s*$")
SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
BETWEEN = re.compile(r"\s*(?:#|//)")
"""Lines that may stand between the annotation and the test: other comments, and attributes (`#[test]`)."""

Chain = tuple[str, ...]


class Annotations(Frozen):
    """Names that comments give to tests: slug and line by the chain of the test."""

    slugs: dict[Chain, str] = {}
    lines: dict[Chain, int] = {}
    problems: tuple[str, ...] = ()


def annotations_in(runner: str, source: bytes, path: str) -> Annotations:
    """Annotations of a test file. A slug that stands twice in it names nothing."""
    text = source.decode("utf-8", "replace")
    if "test-id:" not in text:
        return Annotations()
    found, tests = _marks_and_tests(runner, text, path)
    slugs: dict[Chain, str] = {}
    lines: dict[Chain, int] = {}
    problems: list[str] = []
    for line, slug in sorted(found.items()):
        chain = tests.get(_below(text.split("\n"), line))
        if problem := _problem(slug, chain, chain in slugs):
            problems.append(f"{path}:{line}: {problem}")
        elif chain is not None:
            slugs[chain], lines[chain] = slug, line
    twice = _twice({path: Annotations(slugs=slugs, lines=lines)})
    problems += [_told(slug, places) for slug, places in twice.items()]
    return Annotations(
        slugs={chain: slug for chain, slug in slugs.items() if slug not in twice},
        lines={chain: line for chain, line in lines.items() if slugs[chain] not in twice},
        problems=tuple(problems),
    )


def duplicates(files: Mapping[str, Annotations]) -> tuple[str, ...]:
    """A slug that stands in several files, with all its places."""
    return tuple(_told(slug, places) for slug, places in _twice(files).items())


def _twice(files: Mapping[str, Annotations]) -> dict[str, list[str]]:
    places: dict[str, list[str]] = {}
    for path, named in sorted(files.items()):
        for chain, slug in named.slugs.items():
            places.setdefault(slug, []).append(f"{path}:{named.lines[chain]}")
    return {slug: found for slug, found in sorted(places.items()) if len(found) > 1}


def _told(slug: str, places: list[str]) -> str:
    return f"test-id {slug!r} is given more than once: {' and '.join(places)}"


def _problem(slug: str, chain: Chain | None, is_named: bool) -> str:
    if not SLUG.fullmatch(slug):
        return f"test-id {slug[:40]!r} must be letters, digits, `.`, `_` and `-`, at most 100"
    if chain is None:
        return f"test-id {slug!r} stands directly above no test"
    return f"test-id {slug!r} is the second one of its test" if is_named else ""


def _below(lines: list[str], line: int) -> int:
    """The line of what an annotation stands above."""
    while line < len(lines) and BETWEEN.match(lines[line]):
        line += 1
    return line + 1


def _marks_and_tests(runner: str, text: str, path: str) -> tuple[dict[int, str], dict[int, Chain]]:
    """Slugs by line, and tests by the line that they begin at."""
    match runner:
        case "pytest" | "unittest":
            return _python(text)
        case "cargo":
            modules = _modules_of(path)
            said = comments(text, "rust")
            tests = {span.first: (*modules, *span.chain) for span in functions(text, "rust")}
        case "go":
            said = comments(text, "go")
            tests = {span.first: span.chain for span in functions(text, "go")}
        case _:
            said = comments(text, "javascript")
            tests = titled_tests(text)
    return {line: found["slug"] for line, comment in said.items() if (found := MARK.match(comment))}, tests


def _python(text: str) -> tuple[dict[int, str], dict[int, Chain]]:
    tree = parse(text.encode())
    if tree is None:
        return {}, {}
    tests: dict[int, Chain] = {}
    for context in contexts(context_of(read_scope(tree.body))):
        for name, (_, function) in context.scopes[-1].functions.items():
            first = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
            tests[first] = (*context.chain, name)
    quoted = _lines_in_strings(tree)
    marks = {n: found for n, line in enumerate(text.split("\n"), 1) if (found := MARK.match(line.strip()))}
    return {line: found["slug"] for line, found in marks.items() if line not in quoted}, tests


def _lines_in_strings(tree: ast.Module) -> set[int]:
    """Lines that begin inside a string: what looks like a comment there is none."""
    strings = (n for n in ast.walk(tree) if isinstance(n, ast.JoinedStr | ast.Constant))
    return {line for n in strings for line in range(n.lineno + 1, (n.end_lineno or n.lineno) + 1)}


def _modules_of(path: str) -> Chain:
    """The modules that a Rust file stands for: those below `src`, or below `tests` where it is not there itself."""
    parts = path.removesuffix(".rs").split("/")
    for home in ("src", "tests"):
        if home in parts:
            inner = parts[len(parts) - parts[::-1].index(home) :]
            is_root = inner in (["lib"], ["main"]) or (home == "tests" and len(inner) == 1) or inner[:1] == ["bin"]
            return () if is_root else tuple(part for part in inner if part != "mod")
    return ()
