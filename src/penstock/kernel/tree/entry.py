"""What can stand at a path of the tree, and how two trees differ.

Absent is `None`, and only the system's own "no such file" makes it so. What could not be read is a value of its own:
it differs from everything, and whoever restores leaves it alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from penstock.core.policy import Frozen
from penstock.core.redgreen.entry import Entry, EntryKind

__all__ = ["Change", "ChangeKind", "Entry", "EntryKind", "Present", "Unreadable", "diff", "shown"]

SYMLINK_MODE = 0o777


class Unreadable(Frozen):
    """Something is there, or may be; a directory stands for all that is below it, and "" for the whole tree."""

    path: str
    why: str


Present = Entry | Unreadable

ChangeKind = Literal["added", "modified", "deleted", "mode", "kind", "unreadable"]


class Change(Frozen):
    """How a path differs. `after` is `Unreadable` exactly for the change of that name."""

    path: str
    how: ChangeKind
    before: Entry | None = None
    after: Present | None = None


def diff(expected: Mapping[str, Entry], seen: Mapping[str, Present]) -> tuple[Change, ...]:
    """What changed, sorted by path. What is expected below an unreadable directory is `unreadable`, never `deleted`."""
    if expected == seen:
        return ()
    unreadable = {path: found for path, found in seen.items() if isinstance(found, Unreadable)}
    changes = []
    for path in expected.keys() | seen.keys():
        before, after = expected.get(path), seen.get(path)
        if before is not after and before != after:
            changes.append(_change(path, before, after or _above(path, unreadable)))
    return tuple(sorted(changes, key=lambda change: change.path))


def _change(path: str, before: Entry | None, after: Present | None) -> Change:
    return Change(path=path, how=_how(before, after), before=before, after=after)


def _how(before: Entry | None, after: Present | None) -> ChangeKind:
    if isinstance(after, Unreadable):
        return "unreadable"
    if before is None or after is None:
        return "deleted" if after is None else "added"
    if before.kind != after.kind:
        return "kind"
    return "mode" if before.digest == after.digest else "modified"


def _above(path: str, unreadable: Mapping[str, Unreadable]) -> Unreadable | None:
    """The unreadable directory that `path` is in."""
    if not unreadable:
        return None
    parts = path.split("/")
    above = ("/".join(parts[:count]) for count in range(len(parts)))
    return next((unreadable[place] for place in above if place in unreadable), None)


def shown(path: str) -> str:
    """`path` for people, on one line: what cannot be printed as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in path)
