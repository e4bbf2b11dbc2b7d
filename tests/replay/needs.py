"""What a piece needs to be there: the names that it says, wherever in the package they come from, and so on.

More than is run, never less, but for what is asked for by a text. Methods are found by their names.
"""

from __future__ import annotations

import ast
import posixpath
from collections.abc import Iterable, Iterator, Mapping

from tests.replay.pieces import FILE, Alias, Module

Piece = tuple[str, str]
"""Path and key."""


class Needs:
    """Over all modules of a package and of its tests."""

    def __init__(self, modules: Mapping[str, Module]) -> None:
        self.modules = modules
        self._aliases = {
            path: {a.bound: a for statement in module.statements for a in statement.aliases}
            for path, module in modules.items()
        }
        self._direct: dict[Piece, tuple[set[Piece], set[str]]] = {}

    def of(self, pieces: Iterable[Piece]) -> set[Piece]:
        """These pieces and all that they need."""
        found: set[Piece] = set()
        said: set[str] = set()
        waiting = list(pieces)
        while waiting:
            while waiting:
                piece = waiting.pop()
                if piece not in found:
                    found.add(piece)
                    needed, names = self._of_one(piece)
                    said |= names
                    waiting += needed - found
            waiting += self._methods(found, said) - found
        return found

    def _methods(self, found: set[Piece], said: set[str]) -> set[Piece]:
        keys = ((path, key) for path in {p for p, _ in found} for key in self.modules[path].keys if "." in key)
        return {
            (path, key)
            for path, key in keys
            if (path, key.partition(".")[0]) in found
            and key.partition(".")[2] in said
            and not key.partition(".")[2].startswith("test")
        }

    def _of_one(self, piece: Piece) -> tuple[set[Piece], set[str]]:
        if piece not in self._direct:
            self._direct[piece] = self._found(piece)
        return self._direct[piece]

    def _found(self, piece: Piece) -> tuple[set[Piece], set[str]]:
        path, key = piece
        needed = {(path, FILE), (path, key.partition(".")[0]), *self._inits(path)}
        alias = self._aliases[path].get(key)
        if alias is not None:
            needed |= set(self._target(path, alias))
        said: set[str] = set()
        keys = self.modules[path].keys
        for top in self.modules[path].nodes(key):
            for node in ast.walk(top):
                needed |= set(self._named(path, node))
                if isinstance(node, ast.Name) and f"{key}.{node.id}" in keys:
                    needed.add((path, f"{key}.{node.id}"))  # `__or__ = union`
                said |= {node.attr} if isinstance(node, ast.Attribute) else set()
        return needed, said

    def _named(self, path: str, node: ast.AST) -> Iterator[Piece]:
        match node:
            case ast.Name(id=name):
                yield from self.resolve(path, name)
            case ast.Attribute():
                owner = self._module_of(path, node.value)
                if owner:
                    yield from self.resolve(owner, node.attr)
            case ast.ImportFrom() | ast.Import():
                origin = "." * node.level + (node.module or "") if isinstance(node, ast.ImportFrom) else None
                for each in node.names:
                    if each.name == "*":
                        yield from ((p, FILE) for p in [self._find(path, origin or "")] if p)
                    else:
                        yield from self._target(path, Alias(each.asname or each.name, each.name, origin))
            case _:
                pass

    def _inits(self, path: str) -> Iterator[Piece]:
        while path:
            path = posixpath.dirname(path)
            if (init := f"{path}/__init__.py") in self.modules:
                yield init, FILE

    # --- names ------------------------------------------------------------------------------------------------------

    def resolve(self, path: str, name: str) -> Iterator[Piece]:
        """The piece that binds `name` in a module; those of the star that brings it."""
        if name in self.modules[path].keys:
            yield path, name
            return
        for origin in self._stars(path):
            if name in self.modules[origin].keys:
                yield from self.resolve(origin, name)
                return
        if below := self._below(path, name):
            yield below, FILE

    def _stars(self, path: str) -> Iterator[str]:
        for node in self.modules[path].nodes(FILE):
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                origin = self._find(path, "." * node.level + (node.module or ""))
                if origin:
                    yield origin

    def _target(self, path: str, alias: Alias) -> Iterator[Piece]:
        if alias.origin is None:
            parts = alias.name.split(".")
            for n in range(len(parts)):
                found = self._find(path, ".".join(parts[: n + 1]))
                if found:
                    yield found, FILE
            return
        origin = self._find(path, alias.origin)
        if origin:
            yield origin, FILE
            below = self._below(origin, alias.name)
            yield from [(below, FILE)] if below and origin == path else self.resolve(origin, alias.name)

    def _find(self, path: str, dotted: str) -> str:
        """Path of a module of ours; empty where it is none."""
        level = len(dotted) - len(dotted.lstrip("."))
        base = posixpath.dirname(path)
        for _ in range(level - 1):
            base = posixpath.dirname(base)
        stem = "/".join(filter(None, [base if level else "", *dotted.lstrip(".").split(".")]))
        return next((p for p in (f"{stem}.py", f"{stem}/__init__.py") if p in self.modules), "")

    def _module_of(self, path: str, node: ast.AST) -> str:
        """The module that an expression is."""
        if isinstance(node, ast.Name):
            alias = self._aliases[path].get(node.id)
            if alias is None:
                return self._below(path, node.id)
            if alias.origin is None:
                return self._find(path, alias.name if alias.bound == alias.name else alias.bound) or self._find(
                    path, alias.name
                )
            between = "" if alias.origin.endswith(".") else "."
            return self._find(path, f"{alias.origin}{between}{alias.name}")
        if isinstance(node, ast.Attribute):
            owner = self._module_of(path, node.value)
            return self._module_of(owner, ast.Name(node.attr)) if owner else ""
        return ""

    def _below(self, path: str, name: str) -> str:
        """A module of the package whose `__init__` this is."""
        if not path.endswith("/__init__.py"):
            return ""
        below = f"{posixpath.dirname(path)}/{name}"
        return next((p for p in (f"{below}.py", f"{below}/__init__.py") if p in self.modules), "")
