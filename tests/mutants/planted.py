"""The planted defects: one per guard."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Planted:
    """One defect. `file` is relative to the package; `old` stands there exactly once."""

    name: str
    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


PLANTED: tuple[Planted, ...] = ()
