"""Planted defects: one small change to the syntax tree of a file, in a line that is asked about.

What is not worth breaking is left out: docstrings, annotations, `__slots__` and other names with underscores round
them, and the text of messages.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

WHAT_CHARS_MAX = 60

_COMPARISONS: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}


class Planted(NamedTuple):
    """A file, and the one node in it that gives way to another."""

    path: str
    line: int
    tree: ast.Module
    old: ast.AST
    new: ast.AST

    @property
    def what(self) -> str:
        """For people."""
        return f"{_shown(self.old)} -> {_shown(self.new)}"

    def planted(self) -> ast.Module:
        """The whole file with the defect."""
        new = ast.copy_location(self.new, self.old)
        swapped: ast.Module = ast.fix_missing_locations(_Swap(self.old, new).visit(self.tree))
        return swapped


def read_lines(text: str) -> frozenset[int]:
    """`"3-5,9"` -> `{3, 4, 5, 9}`."""
    spans = [span.partition("-") for span in text.split(",") if span]
    return frozenset(line for a, _, b in spans for line in range(int(a), int(b or a) + 1))


def plans(path: str, tree: ast.Module, lines: frozenset[int]) -> Iterator[Planted]:
    """Every defect that these lines can have."""
    nodes = [node for node in _worth_breaking(tree) if getattr(node, "lineno", 0) in lines]
    for node in nodes:
        for broken in _broken(node):
            yield Planted(path, node.lineno, tree, node, broken)  # type: ignore[attr-defined]


def _worth_breaking(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_arid(child):
                yield from _worth_breaking(child)


def _is_arid(node: ast.AST) -> bool:
    """Nobody would test it."""
    if isinstance(node, (ast.Raise, ast.Import, ast.ImportFrom, ast.JoinedStr)):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    names = [each.id for each in node.targets if isinstance(each, ast.Name)] if isinstance(node, ast.Assign) else []
    return any(name.startswith("__") and name.endswith("__") for name in names)


def _broken(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand instead of a node."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
        yield _changed(node, ops=[_COMPARISONS[type(node.ops[0])](), *node.ops[1:]])
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in _OPERATORS:
        yield _changed(node, op=_OPERATORS[type(node.op)]())
    elif isinstance(node, ast.BoolOp):
        yield _changed(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.Constant):
        yield from (_changed(node, value=value, kind=None) for value in _other_constants(node.value))
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield _changed(node, value=ast.Constant(value=None))
    if isinstance(node, (ast.If, ast.While, ast.IfExp)) and not isinstance(node.test, ast.Compare):
        yield _changed(node, test=ast.UnaryOp(op=ast.Not(), operand=node.test))


def _other_constants(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        return [value + 1]
    if isinstance(value, str):
        return [value + "x"] if value else ["x"]
    return []


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _changed(node: ast.AST, **fields: Any) -> ast.AST:
    twin = copy.copy(node)
    for name, value in fields.items():
        setattr(twin, name, value)
    return twin


class _Swap(ast.NodeTransformer):
    """Puts one node in place of another, in copies of what stands above it."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self._new if node is self._old else self._copied(node)

    def _copied(self, node: ast.AST) -> ast.AST:
        twin = copy.copy(node)
        for name, value in ast.iter_fields(node):
            if isinstance(value, ast.AST):
                setattr(twin, name, self.visit(value))
            elif isinstance(value, list):
                setattr(twin, name, [self.visit(each) if isinstance(each, ast.AST) else each for each in value])
        return twin


def _shown(node: ast.AST) -> str:
    head: ast.AST | None = node.test if isinstance(node, (ast.If, ast.While)) else node
    text = " ".join(ast.unparse(ast.fix_missing_locations(head)).split()) if head is not None else ""
    return text if len(text) <= WHAT_CHARS_MAX else f"{text[: WHAT_CHARS_MAX - 3]}..."
