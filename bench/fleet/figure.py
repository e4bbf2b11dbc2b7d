"""One line of the table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`goal`: None for what is told beside. `ratio`: of the figure to its goal, so that below 1 is better than it;
    for `is_floor`, above. `note`: what it is made of.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None
    is_floor: bool = False
    note: str = ""

    @property
    def is_met(self) -> bool:
        """Whether it is as good as its goal."""
        assert self.goal is not None
        return self.value >= self.goal if self.is_floor else self.value <= self.goal

    def cells(self) -> tuple[str, ...]:
        """As they stand in the table."""
        shown = f"{self.value:,.1f} {self.unit}"
        if self.goal is None:
            return self.name, shown, "", "", "", self.note
        goal = f"{'>=' if self.is_floor else '<='} {self.goal:g} {self.unit}"
        ratio = f"{self.value / self.goal:.2f}" if self.goal else ""
        return self.name, shown, goal, ratio, "met" if self.is_met else "MISSED", self.note


def table(figures: list[Figure]) -> str:
    """All of them, in columns."""
    rows = [("measure", "figure", "goal", "ratio", "", "how"), *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(_lines(rows, widths))


def _lines(rows: list[tuple[str, ...]], widths: list[int]) -> Iterator[str]:
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
