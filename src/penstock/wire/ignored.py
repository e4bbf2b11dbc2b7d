"""Which files of a working tree are none of the gate's: what git ignores when a session begins, and builds.

Read once: an agent that writes into .gitignore later hides nothing by it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pathspec

from penstock.kernel.tree.scanner import IGNORED

FILES_MAX = 1_000


def ignored_in(top: Path) -> Callable[[str], bool]:
    """A predicate over paths, directories with a slash at their end."""
    always = pathspec.GitIgnoreSpec.from_lines(IGNORED)
    found = [(_prefix(top, file), _spec(file)) for file in _ignore_files(top)]

    def is_ignored(path: str) -> bool:
        if always.match_file(path):
            return True
        return any(path.startswith(prefix) and spec.match_file(path[len(prefix) :]) for prefix, spec in found)

    return is_ignored


def _ignore_files(top: Path) -> list[Path]:
    own = top / ".git" / "info" / "exclude"
    files = [file for file in top.rglob(".gitignore") if not {"node_modules", ".venv", ".git"} & set(file.parts)]
    return [*files[:FILES_MAX], *([own] if own.is_file() else [])]


def _prefix(top: Path, file: Path) -> str:
    if ".git" in file.parts[len(top.parts) :]:
        return ""
    relative = file.parent.relative_to(top).as_posix()
    return "" if relative == "." else f"{relative}/"


def _spec(file: Path) -> pathspec.GitIgnoreSpec:
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    return pathspec.GitIgnoreSpec.from_lines(lines)
