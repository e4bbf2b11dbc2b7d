"""Which lines an edit changed, and whether a test ran one of them.

A runner tells lines on which something was executed; a person changes any line of a statement. So changed lines of
Python are widened to the simple statements that they are in, and a deleted line stands for its neighbours.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from difflib import SequenceMatcher

from penstock.core.weakening import parse


def read_ranges(text: str) -> set[int]:
    """Lines of `3-7,12`; what is no range counts for nothing."""
    lines: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            lines.update(range(int(first), int(last or first) + 1))
    return lines


def write_ranges(lines: Iterable[int]) -> str:
    """The lines as `3-7,12`."""
    parts: list[list[int]] = []
    for line in sorted(set(lines)):
        if parts and line == parts[-1][1] + 1:
            parts[-1][1] = line
        else:
            parts.append([line, line])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def changed_lines(before: bytes, after: bytes) -> set[int]:
    """Lines of `after`, from 1, that are not in `before`; where some were deleted, the lines on both sides."""
    was, now = before.splitlines(), after.splitlines()
    lines: set[int] = set()
    for tag, _, _, first, last in SequenceMatcher(None, was, now, autojunk=False).get_opcodes():
        if tag == "delete":
            lines.update(line for line in (first, first + 1) if 1 <= line <= len(now))
        elif tag != "equal":
            lines.update(range(first + 1, last + 1))
    return lines


def widened(path: str, source: bytes, lines: set[int]) -> set[int]:
    """`lines` with all lines of the simple statements, and heads of compound ones, that they are in."""
    tree = parse(source) if path.endswith(".py") else None
    if tree is None:
        return lines
    wide = set(lines)
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            span = _span(node)
            if not wide.issuperset(span) and not lines.isdisjoint(span):
                wide.update(span)
    return wide


def _span(node: ast.stmt) -> range:
    """Lines of a simple statement; of a compound one those of its head."""
    body = getattr(node, "body", None)
    end = node.end_lineno or node.lineno
    if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
        end = max(node.lineno, body[0].lineno - 1)
    decorators = getattr(node, "decorator_list", [])
    return range(min([node.lineno, *(d.lineno for d in decorators)]), end + 1)


def defining(path: str, source: bytes) -> set[int]:
    """Lines that only name a function or class: an import runs them, whoever imports."""
    tree = parse(source) if path.endswith(".py") else None
    found = ast.walk(tree) if tree else ()
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {line for node in found if isinstance(node, kinds) for line in _span(node)}


def is_bare(path: str, source: bytes, lines: set[int]) -> bool:
    """Whether nothing on these lines of Python can be run: comments, blank lines, docstrings."""
    tree = parse(source) if path.endswith(".py") else None
    if tree is None:
        return False
    live = (n for n in ast.walk(tree) if isinstance(n, ast.stmt) and not _is_docstring(n))
    return all(lines.isdisjoint(_span(node)) for node in live)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
