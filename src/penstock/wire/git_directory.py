"""Where a repository's git directory is, found without starting git: `status` has to answer at once."""

from __future__ import annotations

from pathlib import Path

from penstock.ports import BadInput, Problem


def git_directory(directory: Path) -> Path:
    """The common git directory of the repository around `directory`. Raises `BadInput`."""
    for folder in (directory.resolve(), *directory.resolve().parents):
        found = folder / ".git"
        if found.is_dir():
            return found
        if found.is_file():
            return _common(folder, found)
    fix = "go to your repository, or make one: git init"
    raise BadInput([Problem(file=str(directory), line=0, field="", message="not a git repository", fix=fix)])


def _common(folder: Path, link: Path) -> Path:
    """A linked working tree names its own directory, which names the common one."""
    own = folder / link.read_text().removeprefix("gitdir:").strip()
    common = own / "commondir"
    return (own / common.read_text().strip()).resolve() if common.is_file() else own.resolve()
