"""What a planted defect is."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Planted:
    """One defect: a guard that is off. `file` is relative to the package; `old` stands there exactly once.

    `tests` are test ids; every one that is named must be worth its time, for all of them run.
    """

    name: str
    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def plant(defect: Planted, package: Path) -> None:
    """Put it into the sources. Raises `LookupError` where it has no place there, and then changes nothing."""
    path = package / defect.file
    path.write_text(planted_in(defect, path.read_text()))


def planted_in(defect: Planted, text: str) -> str:
    """The source with the defect in it. Raises `LookupError`: it does not stand there once, or breaks the syntax."""
    found = text.count(defect.old)
    if found != 1:
        raise LookupError(f"the text stands {found} times in {defect.file}, not once")
    planted = text.replace(defect.old, defect.new)
    try:
        ast.parse(planted)
    except SyntaxError as error:
        raise LookupError(f"with it, {defect.file} is no Python any more: {error}") from error
    return planted
