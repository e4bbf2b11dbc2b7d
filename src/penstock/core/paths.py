"""What kind of file a path is. Globs are gitignore patterns: `src` and `src/**` both mean all that lies below."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

import pathspec

from penstock.core.digest import Digest, digest_of
from penstock.core.policy import FileClasses

PathKind = Literal["production", "test", "control", "protected"]

_Globs = tuple[str, ...]


@lru_cache(maxsize=64)
def _compiled(globs: _Globs) -> pathspec.GitIgnoreSpec:
    return pathspec.GitIgnoreSpec.from_lines(globs)


@lru_cache(maxsize=200_000)
def matches(globs: _Globs, path: str) -> bool:
    """Whether `path` (relative, with forward slashes) matches one of the globs; no glob matches nothing."""
    return _compiled(globs).match_file(path)


def classify(files: FileClasses, path: str) -> PathKind:
    """The kind of `path`: protected before control before test; everything else is production code."""
    if matches(files.protected, path):
        return "protected"
    if matches(files.control_files, path):
        return "control"
    return "test" if matches(files.test_files, path) else "production"


def control_digest(files: FileClasses, tree: Mapping[str, str]) -> Digest:
    """Digest over path and object id of every control file of a tree, given as object id by path."""
    return digest_of(sorted((path, oid) for path, oid in tree.items() if classify(files, path) == "control"))


def excuses(changes_tests: _Globs, path: str, test: str = "") -> bool:
    """Whether a ticket may change the test `test` (an id) of the file `path`; without `test`, the file at all.

    An entry of `changes_tests` is a glob of files or a test id; an id covers the members and parameters below it.
    """
    return any(_excuses(entry, path, test) for entry in changes_tests)


def _excuses(entry: str, path: str, test: str) -> bool:
    file, _, inner = entry.partition("::")
    if not matches((file,), path):
        return False
    if not inner or not test:
        return True
    return test == entry or test.startswith((f"{entry}::", f"{entry}[")) or entry.startswith(f"{test}[")
