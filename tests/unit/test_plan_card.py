"""The card of a plan, line by line: every dot, long texts, narrow terminals, no colour."""

from __future__ import annotations

import io

from rich.console import Console

from penstock.core.redgreen import events as e
from penstock.core.redgreen.pairs import DOTS, PlanLine, plan_of
from penstock.core.redgreen.test_id import TestId
from penstock.core.redgreen.verdicts import RunVerdict
from penstock.evidence.plan_card import STYLES, plan_card
from tests.unit.redgreen_history import A, B, C, History, named

D = named("test_d")
LONG = "Make it so that every amount which was ever kept in floats is read once and kept in cents from then on"


def planned(*verdicts: RunVerdict | None) -> History:
    """A session whose plan has one step per verdict; None: its test never ran."""
    story = History()
    tests = [named(f"test_{n}") for n in range(1, len(verdicts) + 1)]
    steps = [e.PlanStep(text=f"Step {test.chain[0]}", test=test, test_file_path=test.path) for test in tests]
    story.add(e.PlanSubmitted(steps=tuple(steps)))
    for test, verdict in zip(tests, verdicts, strict=True):
        if verdict is not None:
            story.ran(test, verdict)
    return story


def shown(*lines: PlanLine, width: int = 80, colour: bool = False) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colour, color_system="standard" if colour else None)
    console.print(plan_card(lines, width))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_every_dot_has_its_own_shape_and_word() -> None:
    story = planned("red_assert", "green", None, "vacuous", "flaky")
    assert shown(*plan_of(story.ledger)) == [
        "● red     1. Step test_1",
        "             tests/test_a.py::test_1",
        "             red_assert: an assertion failed",
        "◉ green   2. Step test_2",
        "             tests/test_a.py::test_2",
        "             green: it passes",
        "○ pending 3. Step test_3",
        "             tests/test_a.py::test_3",
        "             not run yet",
        "◌ vacuous 4. Step test_4",
        "             tests/test_a.py::test_4",
        "             vacuous: it fails whatever the code does: nothing of the code under",
        "             test was touched",
        "◐ flaky   5. Step test_5",
        "             tests/test_a.py::test_5",
        "             flaky: it changes its mind on the same tree: make it deterministic",
    ]
    assert len(set(DOTS.values())) == len(DOTS)


def test_what_is_neither_red_nor_green_is_pending_and_says_what_was_seen() -> None:
    (line,) = plan_of(planned("skipped").ledger)
    assert shown(line) == [
        "○ pending 1. Step test_1",
        "             tests/test_a.py::test_1",
        "             skipped: it was skipped",
    ]


def test_a_step_without_a_test_says_that_nothing_tells() -> None:
    bare = PlanLine(number=1, dot="pending", text="Think")
    placed = PlanLine(number=2, dot="pending", text="Write it", test_file_path="tests/test_b.py")
    assert shown(bare, placed) == [
        "○ pending 1. Think",
        "             no test named: nothing tells when it is done",
        "○ pending 2. Write it",
        "             no test named in tests/test_b.py: nothing tells when it is done",
    ]


def test_a_long_text_is_broken_under_itself() -> None:
    line = PlanLine(number=1, dot="red", text=LONG, test=A, verdict="red_exception")
    assert shown(line, width=60) == [
        "● red 1. Make it so that every amount which was ever kept in",
        "         floats is read once and kept in cents from then on",
        "         tests/test_a.py::test_a",
        "         red_exception: the code under test raised",
    ]


def test_a_narrow_terminal_gets_the_verdict_without_its_reason() -> None:
    line = PlanLine(number=12, dot="vacuous", text="Keep cents in integers", test=B, verdict="vacuous")
    card = shown(line, width=32)
    assert card == [
        "◌ vacuous 12. Keep cents in",
        "              integers",
        "              tests/test_a.py::t",
        "              est_b",
        "              vacuous",
    ]
    assert max(map(len, card)) <= 32


def test_wide_characters_keep_their_columns() -> None:
    line = PlanLine(number=1, dot="green", text="金額を整数で保つ", test=C, verdict="green")
    assert shown(line, width=40) == [
        "◉ green 1. 金額を整数で保つ",
        "           tests/test_a.py::test_c",
        "           green",
    ]


def test_colour_goes_with_the_dot_alone_and_never_comes_from_the_text() -> None:
    hostile = PlanLine(number=1, dot="red", text="a\x1b[32m green\x1b[0m [bold]b[/bold]\n● green", test=D)
    card = shown(hostile, colour=True)
    assert card[0].startswith("\x1b[31m● red\x1b[0m")
    assert "\x1b[32m" not in "".join(card)
    assert "a green [bold]b[/bold] ● green" in card[0]
    assert STYLES.keys() == DOTS.keys()


def test_the_gate_and_the_card_say_the_same_words() -> None:
    (line,) = plan_of(planned("red_assert").ledger)
    assert str(line) == "● red     1. Step test_1"
    assert line.test == TestId(runner="pytest", path="tests/test_a.py", chain=("test_1",))
