"""Makes a git directory out of plain files: no template, no remote, objects borrowed from our store by its path.

Writing the dozen small files takes a millisecond; `git clone` takes a hundred, and would copy or hardlink objects.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

WORK_BRANCH = "refs/heads/work"


def make_git_dir(git_dir: Path, head: str, store: Path, branch_at: str = "", packed_refs: str = "") -> None:
    """A git directory whose HEAD is `head` (a full ref or a commit) and whose objects are those of `store`."""
    for inner in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "info"):
        (git_dir / inner).mkdir(parents=True)
    files = {
        "HEAD": f"ref: {head}\n" if head.startswith("refs/") else f"{head}\n",
        "objects/info/alternates": f"{store}/objects\n",
        "packed-refs": packed_refs,
        WORK_BRANCH: f"{branch_at}\n" if branch_at else "",
    }
    for name, text in files.items():
        if text:
            (git_dir / name).write_text(text)


def write_config(git_dir: Path, settings: Mapping[str, Mapping[str, str]]) -> None:
    """Write `config`: values by section and key."""
    sections = (
        f"[{section}]\n" + "".join(f"\t{key} = {_quoted(value)}\n" for key, value in values.items())
        for section, values in settings.items()
    )
    (git_dir / "config").write_text("".join(sections), encoding="utf-8", errors="surrogateescape")


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'


CORE_SETTINGS = {"repositoryformatversion": "0", "filemode": "true", "bare": "false", "logallrefupdates": "true"}


def is_plain_dir(root: Path, below: Path) -> bool:
    """Whether every step from `root` down to `below` is a real directory, none of them a link."""
    steps = [below, *below.parents]
    inner = [step for step in steps if step != root and step.is_relative_to(root)]
    return all(os.path.isdir(step) and not os.path.islink(step) for step in inner)
