"""Which part of a turn's work goes on: what was refused stays with the salvaged original, and is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from penstock.adapters.git.commands import shown
from penstock.adapters.git.intake import NESTED_GIT
from penstock.adapters.git.store import Change, Entry
from penstock.core.paths import classify, matches
from penstock.core.policy import FileClasses

PROPOSED = (".penstock/proposed/**",)


@dataclass(frozen=True)
class Restriction:
    """Paths that go back to what they were, each reported under one reason."""

    edits: dict[str, Entry | None] = field(default_factory=dict)
    proposed: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    set_aside: tuple[str, ...] = ()


def restrict(files: FileClasses, allowed: tuple[str, ...], changes: Sequence[Change]) -> Restriction:
    """Sort out what may not go on: proposals, protected files, repositories inside, and all beyond `allowed`."""
    reasons = {change.path: _reason(files, allowed, change.path) for change in changes}
    edits = {change.path: change.old for change in changes if reasons[change.path]}
    for change in _in_the_way(changes, edits):
        edits[change.path] = change.old
        reasons[change.path] = "set_aside"
    named = {reason: tuple(dict.fromkeys(_name(p) for p, r in reasons.items() if r == reason)) for reason in _REASONS}
    return Restriction(
        edits=edits, proposed=named["proposed"], protected=named["protected"], set_aside=named["set_aside"]
    )


_Reason = Literal["", "proposed", "protected", "set_aside"]
_REASONS: tuple[_Reason, ...] = ("proposed", "protected", "set_aside")


def _reason(files: FileClasses, allowed: tuple[str, ...], path: str) -> _Reason:
    if NESTED_GIT in path.split("/"):
        return "set_aside"
    if matches(PROPOSED, path):
        return "proposed"
    if classify(files, path) == "protected":
        return "protected"
    return "set_aside" if allowed and not matches(allowed, path) else ""


def _in_the_way(changes: Sequence[Change], edits: Mapping[str, Entry | None]) -> list[Change]:
    """Files that stand where a directory has to come back, or in a directory where a file has to."""
    back = {path for path, entry in edits.items() if entry is not None}
    dirs = {above for path in back for above in _above(path)}
    new = (change for change in changes if change.new is not None and change.path not in edits)
    return [change for change in new if change.path in dirs or back.intersection(_above(change.path))]


def _above(path: str) -> list[str]:
    """Every directory above `path`."""
    steps = path.split("/")
    return ["/".join(steps[:n]) for n in range(1, len(steps))]


def _name(path: str) -> str:
    """How the path is reported: of a repository inside only its git directory, under its own name."""
    above, nested, _ = path.partition(NESTED_GIT)
    return shown(f"{above}.git" if nested else path)
