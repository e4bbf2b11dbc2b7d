"""Which tests of an unloadable file are themselves about what is missing.

Without the change a new test file often cannot even be imported. That tells something about those of its tests that
use the missing name, directly or through fixtures and definitions of the file; `assert True` beside them tells nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from penstock.core.comparison import Unloadable
from penstock.core.verdicts import TestResult
from penstock.core.weakening import SETUP_NAMES, Function, Scope, asked_for, names_in, parse, read_scope

SOURCE_BYTES_MAX = 2_000_000


def read_sources(root: str, files: Iterable[str]) -> dict[str, bytes]:
    """Python files below `root` by path, to be read before anything of them runs. Links and oddities are left out."""
    real = Path(root).resolve()
    paths = {file: real / file for file in sorted(files) if file.endswith(".py")}
    return {
        file: path.read_bytes()
        for file, path in paths.items()
        if path.resolve() == path and path.is_file() and path.stat().st_size <= SOURCE_BYTES_MAX
    }


def mentioning(
    new: tuple[TestResult, ...], unloadable: tuple[Unloadable, ...], sources: Mapping[str, bytes]
) -> frozenset[str]:
    """Ids of the `new` tests whose file did not load for want of a target, and which mention it. Sources by path."""
    found: set[str] = set()
    for broken in unloadable:
        tree = parse(sources[broken.file]) if broken.names and broken.file in sources else None
        if tree is not None:
            found |= _mentioning_in(tree, broken, [t.id for t in new if t.file == broken.file])
    return frozenset(found)


def _mentioning_in(tree: ast.Module, broken: Unloadable, ids: list[str]) -> set[str]:
    wanted = _bound_at(tree, broken.line, broken.names)
    chains = [chain for chain, names in _reach(tree) if wanted & names]
    return {id for id in ids if any(_is_id_of(id, broken.file, chain) for chain in chains)}


def _bound_at(tree: ast.Module, line: int, missing: tuple[str, ...]) -> set[str]:
    """Names that the statement at `line` would have bound: the missing ones of an import, where it can be told."""
    statements = [s for s in ast.walk(tree) if isinstance(s, ast.stmt) and _first_line(s) <= line <= _last_line(s)]
    if not statements:
        return set()
    match min(statements, key=lambda s: _last_line(s) - _first_line(s)):
        case ast.Import(names=aliases):
            return {a.asname or a.name.partition(".")[0] for a in aliases}
        case ast.ImportFrom(names=aliases):
            narrowed = [a for a in aliases if a.name in missing]
            return {a.asname or a.name for a in narrowed or aliases}
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case statement:
            return {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(d.lineno for d in decorators)])


def _last_line(statement: ast.stmt) -> int:
    return statement.end_lineno or statement.lineno


# --- what a test reaches --------------------------------------------------------------------------------------------


def _reach(tree: ast.Module) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    """Each test of the file, with every name it uses through definitions of the file."""
    module = read_scope(tree.body)
    defined = {name: _uses(f) for name, (_, f) in module.functions.items()}
    defined |= {name: names_in(c) for name, (_, c) in module.classes.items()}
    defined |= {n: names_in(s) for _, s in module.statements if isinstance(s, ast.Assign) for n in _targets(s)}
    for chain, names in _tests(module, (), set()):
        yield chain, _closure(names, defined) | set(chain)


def _tests(scope: Scope, chain: tuple[str, ...], inherited: set[str]) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    around = set(inherited)
    for name, (_, function) in scope.functions.items():
        if chain and not name.startswith("test") and (name in SETUP_NAMES or function.decorator_list):
            around |= _uses(function)
    for name, (_, function) in scope.functions.items():
        if name.startswith("test"):
            yield (*chain, name), around | _uses(function)
    for name, (_, node) in scope.classes.items():
        head = {n for part in (*node.decorator_list, *node.bases) for n in names_in(part)}
        yield from _tests(read_scope(node.body), (*chain, name), around | head)


def _uses(function: Function) -> set[str]:
    return names_in(function) | set(asked_for(function))


def _targets(statement: ast.Assign) -> set[str]:
    return {n.id for target in statement.targets for n in ast.walk(target) if isinstance(n, ast.Name)}


def _closure(names: set[str], defined: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    wanted = sorted(names)
    while wanted:
        name = wanted.pop()
        if name not in reached:
            reached.add(name)
            wanted += sorted(defined.get(name, ()))
    return reached


def _is_id_of(id: str, file: str, chain: tuple[str, ...]) -> bool:
    """Is `id` that test, or one of its parameters? Ids begin with the path of the file from whatever is the root."""
    parts = file.split("/")
    for start in range(len(parts)):
        name = "::".join(("/".join(parts[start:]), *chain))
        if id == name or id.startswith(f"{name}["):
            return True
    return False
