"""Which files a Python source asks for by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from penstock.core.weakening import parse


def places_imported(node: ast.AST, package: list[str]) -> Iterator[str]:
    """Paths without their suffix that an import may mean, from the root and from the file's own directory."""
    match node:
        case ast.Import(names=names):
            found = [alias.name.replace(".", "/") for alias in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            above = package[: len(package) - level + 1] if level else []
            base = "/".join([*above, *(module or "").split(".")]).strip("/")
            found = [base, *(f"{base}/{alias.name}".strip("/") for alias in names)]
        case _:
            return
    for name in filter(None, found):
        yield name
        yield "/".join([*package, name])


def may_import(path: str, source: bytes, wanted: str) -> bool:
    """Whether the Python file at `path` imports the file `wanted`, or what lies in it where it is a package's own."""
    tree = parse(source) if path.endswith(".py") and wanted.endswith(".py") else None
    stem = wanted.removesuffix(".py").removesuffix("/__init__")
    is_package = wanted.endswith("/__init__.py")
    for node in ast.walk(tree) if tree else ():
        for place in places_imported(node, path.split("/")[:-1]):
            if place == stem or (is_package and place.startswith(f"{stem}/")):
                return True
    return False
