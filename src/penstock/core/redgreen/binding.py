"""What binds evidence to a test: its content, and the names that comments give to tests.

A Python test is bound by everything in its file that can change what it says: its function, without its own name and
those of its classes, so that a renamed or moved test keeps its evidence; its decorators; its classes' decorators, bases
and set-up; the module's marks and set-up; the fixtures of the file that it uses; and every function, class, assignment
and import at the top of the file that any of these name, one through another. Layout, comments, docstrings and order
are free. What a string names (`getattr`) is not seen. All rows of a parametrised test share one digest: a row that is
added or changed voids the evidence of the others, whose ids stay. Other files are bound beside it (`control_sha`,
`support_sha`).

In other languages a test is bound by its whole file, with runs of white space made one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from penstock.core.digest import Digest, digest_of, digest_of_bytes
from penstock.core.redgreen.annotations import Annotations, annotations_in, duplicates
from penstock.core.redgreen.test_id import TestId
from penstock.core.weakening import (
    SETUP_NAMES,
    SWITCHES,
    Context,
    Scope,
    context_of,
    contexts,
    dump,
    dump_unnamed,
    fixtures_of,
    flatten,
    names_in,
    naming,
    parse,
    read_scope,
)

__all__ = ["Annotations", "annotations_in", "duplicates", "moved", "test_sha"]

OWN = "\0own"
"""Stands for the test's own name and those of its classes."""

Import = ast.Import | ast.ImportFrom


def test_sha(test: TestId, source: bytes) -> Digest:
    """Digest of the test; empty where it is not in `source`."""
    if not test.path.endswith(".py"):
        return digest_of_bytes(b" ".join(source.split()))
    try:
        return _python_sha(source, test.chain)
    except RecursionError:
        return digest_of_bytes(source)


test_sha.__test__ = False  # type: ignore[attr-defined]


def moved(vanished: Mapping[TestId, Digest], appeared: Mapping[TestId, Digest]) -> list[tuple[TestId, TestId]]:
    """Pairs of an old and a new id: of all that have one content and one row, just one vanished and one appeared."""
    old, new = _by_content(vanished), _by_content(appeared)
    pairs = [(old[key], new[key]) for key in old if key in new]
    return sorted((was[0], now[0]) for was, now in pairs if len(was) == len(now) == 1)


def _by_content(tests: Mapping[TestId, Digest]) -> dict[tuple[str, Digest, str | None], list[TestId]]:
    found: dict[tuple[str, Digest, str | None], list[TestId]] = {}
    for test, sha in tests.items():
        if sha:
            found.setdefault((test.runner, sha, test.param), []).append(test)
    return found


# --- Python ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Module:
    """A test file: its scopes by the names that lead to them, and its imports."""

    contexts: Mapping[tuple[str, ...], Context]
    imports: Mapping[str, Sequence[str]]


@lru_cache(maxsize=64)
def _module_of(source: bytes) -> _Module | None:
    """The file as all of its tests share it; it is read only once."""
    tree = parse(source)
    if tree is None:
        return None
    _drop_docstrings(tree)
    found = contexts(context_of(read_scope(tree.body)))
    return _Module({context.chain: context for context in reversed(list(found))}, _imports(tree))


def _python_sha(source: bytes, chain: tuple[str, ...]) -> Digest:
    module = _module_of(source)
    context = module.contexts.get(chain[:-1]) if module else None
    if module is None or context is None:
        return ""
    named = _Named(context, module.imports)
    if not named.take_test(chain[-1]):
        return ""
    texts = named.texts()
    for name in chain:
        texts = [text.replace(f"id={name!r}", f"id={OWN!r}") for text in texts]
    return digest_of(sorted(texts))


def _drop_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                if ast.get_docstring(node, clean=False) is not None:
                    node.body = node.body[1:] or [ast.Pass()]
            case _:
                pass


def _imports(tree: ast.Module) -> dict[str, list[str]]:
    """What each import at the top says, by the name that it binds; `*` binds any."""
    found: dict[str, list[str]] = {}
    for condition, statement in flatten(tree.body, ""):
        if isinstance(statement, Import):
            for alias in statement.names:
                bound = alias.asname or (alias.name.split(".")[0] if isinstance(statement, ast.Import) else alias.name)
                found.setdefault(bound, []).append(condition + _import_text(statement, alias))
    return found


def _import_text(statement: Import, alias: ast.alias) -> str:
    origin = "." * statement.level + (statement.module or "") if isinstance(statement, ast.ImportFrom) else ""
    return f"import {origin} {alias.name} as {alias.asname or ''}"


class _Named:
    """A test and all that it names, gathered one name after another."""

    def __init__(self, context: Context, imports: Mapping[str, Sequence[str]]) -> None:
        self._context, self._imports = context, imports
        self._module, *self._classes = context.scopes
        self._texts: set[str] = {context.decreed, *imports.get("*", ())}
        self._waiting: list[tuple[str, bool]] = []
        """Names, and whether they are attributes: those are looked for in the test's classes alone."""

        self._own: set[ast.AST] = set(self._class_nodes())
        """The test and its classes, whose names do not count."""

    def take_test(self, name: str) -> bool:
        """Begin with the test and what stands round it; False: there is no such test."""
        context = self._context
        found = context.scopes[-1].functions.get(name)
        bases = [base for node in self._class_nodes() for base in node.bases]
        if found is None and not bases and name not in self._bound(context.scopes[-1]):
            return False
        if found is not None:
            condition, function = found
            self._own.add(function)
            self._take(f"{condition}{type(function).__name__}|{dump_unnamed(function)}", function)
            for how, fixture in fixtures_of(function, context).values():
                self._take(how + dump(fixture), fixture)
        else:
            self._waiting.append((name, False))
            self._texts.add(f"inherited or made: {name}")
        for how, statement in naming(name, context):
            self._take(how + ast.dump(statement), statement)
        self._take_surroundings()
        return True

    def texts(self) -> list[str]:
        """Everything that counts."""
        seen: set[tuple[str, bool]] = set()
        while self._waiting:
            name, is_attribute = self._waiting.pop()
            if (name, is_attribute) not in seen:
                seen.add((name, is_attribute))
                self._take_definitions(name, self._classes if is_attribute else self._context.scopes)
        return list(self._texts)

    def _bound(self, scope: Scope) -> set[str]:
        made = {name for _, statement in scope.statements for name in _stored(statement)}
        return made | (set(self._imports) if scope is self._module else set())

    def _class_nodes(self) -> Iterator[ast.ClassDef]:
        for scope, name in zip(self._context.scopes, self._context.chain, strict=False):
            yield scope.classes[name][1]

    def _take_surroundings(self) -> None:
        """Names in heads of classes, and in what runs round the test; their texts are in what the context decrees."""
        for node in self._class_nodes():
            self._follow(*node.decorator_list, *node.bases, *node.keywords)
        for scope in self._context.scopes:
            self._follow(*(f for n, (_, f) in scope.functions.items() if n in SETUP_NAMES | SWITCHES))
            self._follow(*(s for _, s in scope.statements if SWITCHES & _stored(s)))

    def _take(self, text: str, *nodes: ast.AST) -> None:
        self._texts.add(text)
        self._follow(*nodes)

    def _follow(self, *nodes: ast.AST) -> None:
        for node in nodes:
            self._waiting += [(name, False) for name in sorted(names_in(node))]
            attributes = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
            self._waiting += [(name, True) for name in sorted(attributes)]

    def _take_definitions(self, name: str, scopes: Sequence[Scope]) -> None:
        """All that gives the name its meaning in these scopes."""
        if self._module in scopes:
            self._texts |= set(self._imports.get(name, ()))
        for scope in scopes:
            if name in scope.functions and scope.functions[name][1] not in self._own:
                condition, function = scope.functions[name]
                self._take(condition + dump(function), function)
            if name in scope.classes and scope.classes[name][1] not in self._own:
                condition, node = scope.classes[name]
                self._take(condition + _class_text(node), node)
            for condition, statement in scope.statements:
                if name in _stored(statement) or (isinstance(statement, ast.Expr) and name in names_in(statement)):
                    self._take(condition + ast.dump(statement), statement)


def _stored(statement: ast.stmt) -> set[str]:
    """Names that a statement binds, or whose parts it changes: `a = 1`, `a.b = 1`, `a[0] += 1`, `del a`."""
    targets = (n for n in ast.walk(statement) if isinstance(getattr(n, "ctx", None), ast.Store | ast.Del))
    return {name for target in targets for name in names_in(target)}


def _class_text(node: ast.ClassDef) -> str:
    """A class without its places; the order of its methods is free."""
    scope = read_scope(node.body)
    parts: Iterable[str] = (
        *(condition + dump(function) for condition, function in scope.functions.values()),
        *(condition + _class_text(inner) for condition, inner in scope.classes.values()),
    )
    heads = (*node.decorator_list, *node.bases, *node.keywords)
    statements = (condition + ast.dump(statement) for condition, statement in scope.statements)
    imports = (ast.dump(s) for _, s in flatten(node.body, "") if isinstance(s, Import))
    return "\n".join((f"class {node.name}", *map(ast.dump, heads), *sorted(parts), *statements, *imports))
