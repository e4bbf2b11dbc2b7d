"""A Python file taken apart into pieces that can be there or not yet, and put together from some of them.

Pieces: top-level functions and classes, methods, assignments, and each name of an import. What binds no name (the
docstring, conditions, loops) belongs to the file itself. A class comes with its head, its assignments and its
underscored methods; every other method is a piece of its own. `__all__` names what is there.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

FILE = ""
"""The piece that every file has: what binds no name."""


@dataclass(frozen=True)
class Alias:
    """One name of an import statement: `from origin import name as bound`; `import name` has no origin."""

    bound: str
    name: str
    origin: str | None

    @property
    def text(self) -> str:
        return self.name if self.bound in (self.name, self.name.partition(".")[0]) else f"{self.name} as {self.bound}"


@dataclass
class Statement:
    """One statement of a body. `lines`: with decorators and with comments above it."""

    lines: list[str]
    nodes: list[ast.stmt]
    keys: list[str]
    """Pieces that it gives; none: it belongs to what it stands in."""
    aliases: list[Alias] = field(default_factory=list)
    head: list[str] = field(default_factory=list)
    body: list[Statement] = field(default_factory=list)
    """Of a class."""
    exported: list[str] | None = None
    """Of `__all__`."""


class Module:
    """One file in pieces. `splits`: whether its public methods are pieces, too."""

    def __init__(self, path: str, source: str) -> None:
        self.path = path
        self.is_test = "tests/" in path or path.rpartition("/")[2].startswith("test_")
        self._lines = source.splitlines(keepends=True)
        tree = ast.parse(source)
        self.statements = list(self._read(tree.body, 1, len(self._lines), ""))

    @property
    def keys(self) -> list[str]:
        """All pieces, in order."""
        found = [key for s in self.statements for key in (*s.keys, *(k for inner in s.body for k in inner.keys))]
        return list(dict.fromkeys([FILE, *found]))

    def nodes(self, key: str) -> Iterator[ast.AST]:
        """The syntax of a piece; of a class without the methods that are pieces of their own."""
        for statement in self.statements:
            if key in statement.keys or (key == FILE and not statement.keys and statement.exported is None):
                if statement.body:
                    yield from _class_nodes(statement)
                elif not statement.aliases:
                    yield from statement.nodes
            for inner in statement.body:
                if key in inner.keys:
                    yield from inner.nodes

    def at(self, line: int) -> str:
        """The piece that a line is in."""
        for statement in self.statements:
            for inner in (*statement.body, statement):
                if any(_first(node) <= line <= (node.end_lineno or node.lineno) for node in inner.nodes):
                    return (inner.keys or statement.keys or [FILE])[0]
        return FILE

    def text(self, present: Collection[str], wrong: str = "") -> str:
        """The file with these pieces. `wrong`: a function that does nothing but raise."""
        lines = (
            line
            for statement in self.statements
            for line in (_wrong(statement) if [wrong] == statement.keys else _rendered(statement, present))
        )
        return "".join(lines).lstrip("\n")

    def may_be_wrong(self, key: str) -> bool:
        """Whether it is a plain function, which nothing needs while the file is loaded."""
        found = [s for s in self.statements if s.keys == [key]]
        return len(found) == 1 and all(isinstance(n, ast.FunctionDef) and not n.decorator_list for n in found[0].nodes)

    # --- taking apart -----------------------------------------------------------------------------------------------

    def _read(self, body: list[ast.stmt], first: int, last: int, owner: str) -> Iterator[Statement]:
        """Statements with the lines between them, which belong to the one below."""
        groups: list[list[ast.stmt]] = []
        for node in body:
            same = groups and _name(groups[-1][-1]) == _name(node) != ""
            if same and (owner or isinstance(node, ast.FunctionDef)):
                groups[-1].append(node)  # a property and its setter
            elif groups and _first(node) <= (groups[-1][-1].end_lineno or 0):
                groups[-1].append(node)  # a; b
            else:
                groups.append([node])
        begin = first
        for group in groups:
            end = group[-1].end_lineno or group[-1].lineno
            yield self._statement(group, self._lines[begin - 1 : end], owner, begin)
            begin = end + 1

    def _statement(self, nodes: list[ast.stmt], lines: list[str], owner: str, begin: int) -> Statement:
        node = nodes[0]
        if owner:
            name = _name(node)
            is_piece = isinstance(node, ast.FunctionDef) and (not name.startswith("_")) and name not in SET_UP
            return Statement(lines, nodes, [f"{owner}.{name}"] if is_piece else [])
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return Statement(lines, nodes, [node.name])
            case ast.ClassDef() if _first(node.body[0]) > node.lineno:
                top = node.body[0].lineno if not isinstance(node.body[0], DEFINITIONS) else _first(node.body[0])
                head = lines[: top - begin]
                body = list(self._read(node.body, top, node.end_lineno or 0, node.name))
                return Statement(lines, nodes, [node.name], head=head, body=body)
            case ast.ClassDef():
                return Statement(lines, nodes, [node.name])
            case ast.ImportFrom(module="__future__") | ast.ImportFrom(names=[ast.alias(name="*")]):
                return Statement(lines, nodes, [])
            case ast.Import() | ast.ImportFrom() if len(nodes) == 1:
                aliases = list(_aliases(node))
                return Statement(lines, nodes, [alias.bound for alias in aliases], aliases=aliases)
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=names) | ast.Tuple(elts=names)):
                exported = [str(name.value) for name in names if isinstance(name, ast.Constant)]
                return Statement(lines, nodes, [], exported=exported)
            case ast.Delete():
                return Statement(lines, nodes, ["\0"])  # of names that may not be there yet
            case ast.Assign() | ast.AnnAssign() if len(nodes) == 1 and (bound := list(_bound(node))):
                return Statement(lines, nodes, bound)
            case _:
                return Statement(lines, nodes, [])


SET_UP = ("setUp", "tearDown", "setUpClass", "tearDownClass", "setup_method", "teardown_method")
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _first(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _name(node: ast.stmt) -> str:
    return node.name if isinstance(node, DEFINITIONS) else ""


def _aliases(node: ast.Import | ast.ImportFrom) -> Iterator[Alias]:
    origin = "." * node.level + (node.module or "") if isinstance(node, ast.ImportFrom) else None
    for alias in node.names:
        yield Alias(alias.asname or (alias.name if origin else alias.name.partition(".")[0]), alias.name, origin)


def _bound(node: ast.Assign | ast.AnnAssign) -> Iterator[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets:
        if not isinstance(target, ast.Name | ast.Tuple):
            return
    yield from (n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))


def _class_nodes(statement: Statement) -> Iterator[ast.AST]:
    node = statement.nodes[0]
    assert isinstance(node, ast.ClassDef)
    yield from (*node.bases, *node.keywords, *node.decorator_list)
    yield from (n for inner in statement.body if not inner.keys for n in inner.nodes)


# --- putting together -----------------------------------------------------------------------------------------------


def _rendered(statement: Statement, present: Collection[str]) -> Iterator[str]:
    if statement.aliases:
        yield from _imports(statement, present)
    elif statement.exported is not None:
        names = [name for name in statement.exported if name in present]
        yield "\n__all__ = [\n"
        yield from (f"    {name!r},\n" for name in names)
        yield "]\n"
    elif statement.body and statement.keys[0] in present:
        yield from statement.head
        inside = [line for s in statement.body if not s.keys or s.keys[0] in present for line in s.lines]
        yield from inside or [f"{_indent(statement)}pass\n"]
    elif not statement.body and (not statement.keys or any(key in present for key in statement.keys)):
        yield from statement.lines


def _wrong(statement: Statement) -> list[str]:
    node = statement.nodes[0]
    assert isinstance(node, ast.FunctionDef)
    lines = statement.lines
    head = len(lines) - ((node.end_lineno or node.lineno) - node.body[0].lineno + 1)
    return [*lines[:head], "    raise NotImplementedError\n"]


def _indent(statement: Statement) -> str:
    line = next(line for line in statement.body[0].lines if line.strip())
    return line[: len(line) - len(line.lstrip())]


def _imports(statement: Statement, present: Collection[str]) -> Iterator[str]:
    wanted = [alias for alias in statement.aliases if alias.bound in present]
    if not wanted:
        return
    if wanted[0].origin is None:
        yield from (f"import {alias.text}\n" for alias in wanted)
    elif len(wanted) == 1:
        yield f"from {wanted[0].origin} import {wanted[0].text}\n"
    else:
        yield f"from {wanted[0].origin} import (\n"
        yield from (f"    {alias.text},\n" for alias in wanted)
        yield ")\n"
