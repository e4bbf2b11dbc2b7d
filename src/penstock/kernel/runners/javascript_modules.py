"""Which files of the tree a JavaScript or TypeScript file needs, read from its text without running it.

Only relative specifiers are followed: what a package name or an alias of a bundler leads to is not ours to guess. A
specifier that is computed is not seen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

FILES_MAX = 5_000
BYTES_MAX = 2_000_000

EXTENSIONS = (".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs", ".json", ".vue", ".svelte")
TYPESCRIPT = {".js": (".ts", ".tsx"), ".jsx": (".tsx",), ".mjs": (".mts",), ".cjs": (".cts",)}
"""What is written `./x.js` in TypeScript can be the file `x.ts`."""

_COMMENT = re.compile(r"(^|[\s;{}(,])(?://[^\n]*|/\*.*?\*/)", re.S)
_SPECIFIER = re.compile(
    r"""(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire(?:\.resolve)?\s*\(\s*|"""
    r"""\b(?:requireActual|requireMock|importActual|mock|doMock|unmock)\s*(?:<[^>]*>)?\(\s*(?:import\(\s*)?)"""
    r"""(['"`])(\.{1,2}(?:/[^'"`\n]*)?)\1"""
)
_IMPORT = re.compile(r"""\bimport\s+(?:type\s+)?([\w$*{},\s]+?)\s*from\s*(['"])(\.[^'"]*)\2""")
_REQUIRE = re.compile(
    r"""\b(?:const|let|var)\s+([\w$]+|\{[^}]*\})\s*=\s*"""
    r"""require\(\s*(['"])(\.[^'"]*)\2\s*\)(?!\s*\.)"""
)
_IMPORT_EQUALS = re.compile(r"""\bimport\s+([\w$]+)\s*=\s*require\(\s*(['"])(\.[^'"]*)\2\s*\)""")


@dataclass(frozen=True)
class Binding:
    """A name of this file that stands for something of another. `imported`: `*` for the whole module."""

    local: str
    imported: str
    specifier: str


def read_text(path: Path) -> str:
    """The text of a file of at most `BYTES_MAX`, empty where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(BYTES_MAX).decode("utf-8", "replace")
    except OSError:
        return ""


def specifiers_in(text: str) -> tuple[str, ...]:
    """The relative specifiers of a source text, each once, in order."""
    return tuple(dict.fromkeys(found[2] for found in _SPECIFIER.finditer(_without_comments(text))))


def bindings_in(text: str) -> tuple[Binding, ...]:
    """The names that a source text takes from relative specifiers."""
    plain = _without_comments(text)
    found = [each for match in _IMPORT.finditer(plain) for each in _bound(match[1], match[3])]
    for pattern in (_REQUIRE, _IMPORT_EQUALS):
        for match in pattern.finditer(plain):
            is_list = match[1].startswith("{")
            found += _named(match[1], match[3], ":") if is_list else [Binding(match[1], "*", match[3])]
    return tuple(found)


def resolve(top: Path, importer: str, specifier: str) -> str:
    """The file of the tree that `specifier` leads to from `importer`, empty where none is."""
    plain = place_of(importer, specifier)
    return next((path for path in _candidates(plain) if (top / path).is_file()), "") if plain else ""


def place_of(importer: str, specifier: str) -> str:
    """Path that a relative specifier names, without looking; empty where it leaves the tree."""
    plain = os.path.normpath(os.path.join(os.path.dirname(importer), specifier))
    return "" if plain.startswith(("..", "/")) or "node_modules" in plain.split("/") else plain


def needs(top: Path, path: str) -> tuple[str, ...]:
    """Every file of the tree that `path` needs, directly or through others, without itself; sorted."""
    seen = {path}
    queue = [path]
    for each in queue:
        for specifier in specifiers_in(read_text(top / each)):
            target = resolve(top, each, specifier)
            if target and target not in seen and len(seen) < FILES_MAX:
                seen.add(target)
                queue.append(target)
    return tuple(sorted(seen - {path}))


def lacks(top: Path, path: str, name: str) -> bool:
    """Whether nothing in the file could be an export of that name."""
    text = read_text(top / path)
    if name == "default":
        return not re.search(r"\bdefault\b|\bmodule\.exports\b|\bexport\s*=", text)
    return not re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", text) and "export *" not in text


def _without_comments(text: str) -> str:
    return _COMMENT.sub(r"\1", text)


def _candidates(plain: str) -> Iterator[str]:
    yield plain
    stem, extension = os.path.splitext(plain)
    yield from (stem + other for other in TYPESCRIPT.get(extension, ()))
    yield from (plain + extension for extension in EXTENSIONS)
    yield from (str(PurePosixPath(plain, "index" + extension)) for extension in EXTENSIONS)


def _bound(clause: str, specifier: str) -> list[Binding]:
    """What stands between `import` and `from`: `a, { b as c }`, `* as d`."""
    braced = re.search(r"\{([^}]*)\}", clause)
    found = _named(braced[0], specifier, " as ") if braced else []
    for part in re.sub(r"\{[^}]*\}", "", clause).split(","):
        words = part.split()
        if len(words) == 3 and words[0] == "*":
            found.append(Binding(words[2], "*", specifier))
        elif len(words) == 1:
            found.append(Binding(words[0], "default", specifier))
    return found


def _named(braced: str, specifier: str, between: str) -> list[Binding]:
    found = []
    for part in braced.strip("{} \n").split(","):
        imported, _, local = (word.strip() for word in part.partition(between))
        imported = imported.removeprefix("type ").strip()
        if imported:
            found.append(Binding(local or imported, imported, specifier))
    return found
