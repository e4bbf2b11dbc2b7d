"""The card of a plan for a terminal: one dot per step, told apart by shape and word before colour."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from penstock.core.redgreen.pairs import DOTS, Dot, PlanLine
from penstock.core.redgreen.test_id import spell
from penstock.core.redgreen.verdicts import REASONS
from penstock.evidence.words import plain

STYLES: dict[Dot, str] = {"red": "red", "green": "green", "pending": "dim", "vacuous": "magenta", "flaky": "yellow"}
NARROW_COLUMNS = 48
"""Below this, what a test said stands without its reason."""


def plan_card(lines: Sequence[PlanLine], width: int) -> Table:
    """Per step its dot, number and text, and under it its test and what that said last; as wide as `width` columns."""
    card = Table.grid(padding=(0, 1))
    card.add_column(no_wrap=True)
    card.add_column(justify="right", no_wrap=True)
    card.add_column(overflow="fold")
    for line in lines:
        dot = Text(f"{DOTS[line.dot]} {line.dot}", style=STYLES[line.dot])
        step = Text(_one_line(line.text))
        step.append(f"\n{_test(line, width)}", style="dim")
        card.add_row(dot, f"{line.number}.", step)
    return card


def _test(line: PlanLine, width: int) -> str:
    if line.test is None:
        place = f" in {_one_line(line.test_file_path)}" if line.test_file_path else ""
        return f"no test named{place}: nothing tells when it is done"
    if line.verdict is None:
        said = "not run yet"
    elif width < NARROW_COLUMNS:
        said = line.verdict
    else:
        said = f"{line.verdict}: {REASONS[line.verdict]}"
    return f"{_one_line(spell(line.test))}\n{said}"


def _one_line(text: str) -> str:
    return " ".join(plain(text).split())
