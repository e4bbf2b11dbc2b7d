"""A ledger in words and in numbers: every kind of event has its line, and the counts are those of the records."""

from __future__ import annotations

import msgspec

from penstock.core.events import LedgerSealed
from penstock.core.redgreen import events as e
from penstock.core.redgreen.entry import Entry
from penstock.core.redgreen.pairs import Pair, pair_red_green
from penstock.evidence.lines import red_green_line
from penstock.evidence.redgreen_stats import Spawns, stats_of, stats_rows
from penstock.evidence.redgreen_words import said, weakness
from penstock.evidence.render_html import render_html
from penstock.evidence.render_markdown import render_markdown
from penstock.evidence.report import build, read_report, to_json
from penstock.evidence.words import red_green_words
from tests.golden.runs import clean, troubled
from tests.unit.redgreen_history import A, B, History

CHANGES = (e.PathChange(path="app/a.py", before=Entry(digest="0"), after=Entry(digest="1")),)
MANY = tuple(f"app/{n}.py" for n in range(6))
EVENTS: dict[str, e.RedGreenEvent] = {
    "session s begins, mode warn": e.SessionOpened(session="s", version="1", policy=History("warn").policy, tree="0"),
    "turn 3 begins": e.TurnBegan(turn=3),
    "turn 3 is closing: its tests are owed": e.TurnClosing(turn=3),
    "turn 3 is closed": e.TurnClosed(turn=3),
    "tests/test_a.py::test_a red_assert (ask, 12 ms) at tests/test_a.py:9: assert 8 == 9": e.TestRun(
        test=A, verdict="red_assert", purpose="ask", duration_ms=12, where="tests/test_a.py:9", message="assert 8 == 9"
    ),
    "tests/test_a.py::test_a green (flush, 2.0 s)": e.TestRun(
        test=A, verdict="green", purpose="flush", duration_ms=2_000
    ),
    "tests/test_a.py::test_a timeout (flush, 0 ms): it did not end in time and was killed": e.TestRun(
        test=A, verdict="timeout", purpose="flush"
    ),
    "pytest ran the whole suite, 2 tests, warm, in 80 ms (flush)": e.SpawnEnded(
        runner="pytest", purpose="flush", tests=2, whole=True, is_warm=True, duration_ms=80
    ),
    "pytest in services/a ran 1 test, cold, in 0 ms (ask)": e.SpawnEnded(
        runner="pytest", purpose="ask", tests=1, project="services/a"
    ),
    "pytest ran 1 test, cold, in 0 ms (trial, without app/a.py): slow": e.SpawnEnded(
        runner="pytest", purpose="trial", tests=1, note="slow", without=(e.FileEdit(edit=4, path="app/a.py"),)
    ),
    "tests/test_a.py::test_a is claimed for app/a.py: it ran it, inferred": e.EditClaim(
        test=A, targets=("app/a.py",), basis="executed", is_inferred=True
    ),
    "tests/test_a.py::test_a is claimed for app/a.py: it imports it (claim_by_import)": e.EditClaim(
        test=A, targets=("app/a.py",), basis="imported"
    ),
    "edit_file app/a.py applied for tests/test_a.py::test_a, red at seq 4": e.EditApplied(
        tool="edit_file", changes=CHANGES, allowance="red", red=4, test=A
    ),
    "edit_file app/a.py applied with a warning: no red test asks for it": e.EditApplied(
        tool="edit_file", changes=CHANGES, allowance="warn"
    ),
    "write_file app/a.py applied: writing tests is free": e.EditApplied(
        tool="write_file", changes=CHANGES, allowance="free"
    ),
    "write_file app/a.py applied: exempt by the settings": e.EditApplied(
        tool="write_file", changes=CHANGES, allowance="exempt"
    ),
    "write_file app/a.py applied (refactor)": e.EditApplied(tool="write_file", changes=CHANGES, allowance="refactor"),
    "shell app/0.py, app/1.py, app/2.py, app/3.py and 2 more refused (no_red): none; next: run_tests": e.EditRefused(
        tool="shell", paths=MANY, refusal=e.Refusal(code="no_red", missing="none", next_command="run_tests")
    ),
    "app/a.py reverted (regression) because of tests/test_a.py::test_a: it broke": e.EditReverted(
        edits=(), why="regression", changes=CHANGES, because=(A,), message="it broke"
    ),
    "app/a.py reverted (red_void)": e.EditReverted(edits=(), why="red_void", changes=CHANGES),
    "tests/test_a.py::test_a is tests/test_a.py::test_b now, and its claims follow": e.TestMoved(
        was=A, now=B, test_sha="t"
    ),
    "app/a.py written by shell without a claim, taken back: no_red": e.UnclaimedWrite(
        tool="shell", changes=CHANGES, patch="p", is_restored=True, why="no_red"
    ),
    "app/a.py written by shell without a claim, left there: no_red": e.UnclaimedWrite(
        tool="shell", changes=CHANGES, patch="p", is_restored=False, why="no_red"
    ),
    "refactor mode begins on 1 green test": e.RefactorEntered(baseline=(A,), tree="t"),
    "refactor mode ends, all is green": e.RefactorLeft(is_green=True, why=""),
    "refactor mode failed: a is red": e.RefactorLeft(is_green=False, why="a is red"),
    "a plan of 2 steps": e.PlanSubmitted(steps=(e.PlanStep(text="a"), e.PlanStep(text="b"))),
    "tests/test_a.py::test_a is a pair, red at seq 4, green at seq 9; weak: 3 planted faults, 2 not noticed": (
        e.PairJudged(test=A, red=4, green=9, tried=3, survivors=("x", "y"), is_weak=True)
    ),
}


def test_every_kind_of_event_has_its_line() -> None:
    assert [said(event) for event in EVENTS.values()] == list(EVENTS)
    assert {type(event) for event in EVENTS.values()} == set(e.RedGreenEvent.__args__)


def test_a_terminal_obeys_nothing_that_a_test_said() -> None:
    run = e.TestRun(test=A, verdict="red_assert", purpose="ask", message="\x1b[2Jgone\n\u202eback")
    assert said(run).endswith(": gone back")


def test_a_weak_pair_says_what_lived() -> None:
    pair = Pair(test=A, red=1, edits=(2,), green=3, is_weak=True, survivors=("a", "b", "c", "d"))
    assert weakness(pair) == "weak, survived: a; b; c and 1 more"
    assert weakness(msgspec.structs.replace(pair, is_weak=False)) == ""


def paired() -> History:
    """One pair, one refusal that an edit overturned, one hang, one unclaimed write, one revert."""
    story = History()
    refusal = e.Refusal(code="no_red", missing="no red test")
    story.add(e.EditRefused(tool="edit_file", paths=("app/a.py",), refusal=refusal))
    story.add(e.EditRefused(tool="edit_file", paths=("app/b.py",), refusal=refusal))
    story.add(e.EditRefused(tool="claim", paths=("app/b.py",), refusal=e.Refusal(code="not_red", missing="green")))
    red = story.ran(A, "red_assert")
    story.add(e.SpawnEnded(runner="pytest", purpose="ask", tests=1, is_warm=True, duration_ms=90))
    story.applied()
    gone = story.applied("app/c.py")
    change = e.PathChange(path="app/c.py", before=Entry(digest="9"), after=Entry(digest="0"))
    story.add(e.EditReverted(edits=(gone,), why="regression", changes=(change,), because=(B,)))
    story.add(e.UnclaimedWrite(tool="shell", changes=CHANGES, patch="p", is_restored=True))
    story.ran(B, "timeout", "flush")
    story.add(e.SpawnEnded(runner="pytest", purpose="flush", tests=2, duration_ms=1_500))
    story.add(e.SpawnEnded(runner="pytest", purpose="flush", tests=2, duration_ms=2_500))
    green = story.ran(A, "green", "flush")
    story.add(e.PairJudged(test=A, red=red, green=green, tried=2, survivors=("x", "y"), is_weak=True))
    return story


def test_the_numbers_are_those_of_the_records() -> None:
    story = paired()
    assert len(pair_red_green(story.records)) == 1
    stats = stats_of([tuple(story.records), tuple(History().records)])
    assert (stats.sessions, stats.edits, stats.refusals, stats.refusals_overturned) == (2, 2, 3, 1)
    assert stats.refusals_by_code == {"no_red": 2, "not_red": 1}
    assert (stats.timeouts, stats.reverts, stats.reverts_by_why) == (1, 1, {"regression": 1})
    assert (stats.unclaimed_writes, stats.pairs, stats.weak_pairs) == (1, 1, 1)
    assert (stats.spawns_warm, stats.spawns_cold) == (Spawns(number=1, p50_ms=90), Spawns(number=2, p50_ms=2_000))


def test_the_table_of_numbers() -> None:
    assert list(stats_rows(stats_of([tuple(paired().records)]))) == [
        ("sessions", "1"),
        ("edits", "2"),
        ("refusals", "3 (no_red 2, not_red 1)"),
        ("refusals overturned", "1"),
        ("hangs (timeouts)", "1"),
        ("reverts", "1 (regression 1)"),
        ("unclaimed writes", "1"),
        ("pairs", "1"),
        ("weak pairs", "1"),
        ("spawns, warm", "1 (p50 90 ms)"),
        ("spawns, cold", "2 (p50 2.0\u00a0s)"),
    ]
    assert dict(stats_rows(stats_of([])))["spawns, cold"] == "0"


def test_the_line_of_a_ticket_adds_its_turns_up() -> None:
    first = LedgerSealed(session="A/1.1", head="0", mode="warn", counts={"pairs": 1, "refusals": 2}, violations=1)
    counts = {"pairs": 2, "weak": 1, "timeouts": 1, "reverts": 2}
    line = red_green_line([first, LedgerSealed(session="A/1.2", head="0", mode="strict", counts=counts)])
    assert line is not None and (line.turns, line.edits) == (2, 0)
    told = "red-green (warn, then strict): 3 pairs, 1 weak, 1 unclaimed write, 2 refusals, 2 reverts, 1 hang"
    assert red_green_words(line) == told
    assert red_green_line([]) is None


def test_a_report_has_the_line_where_a_turn_was_held_to_it() -> None:
    report = build(troubled())
    held = {ticket.id: ticket.red_green for ticket in report.tickets if ticket.red_green}
    assert [(name, line.modes, line.pairs, line.turns) for name, line in held.items()] == [("PARSE", ("strict",), 3, 1)]
    line = "red-green (strict): 3 pairs, 1 weak, 0 unclaimed writes, 2 refusals"
    assert f"- `PARSE`: {line}\n" in render_markdown(report)
    assert f'<p class="note">{line}</p>' in render_html(report)
    assert "red-green" not in render_markdown(build(clean())) + render_html(build(clean()))


def test_a_report_of_before_is_still_read() -> None:
    told = msgspec.json.decode(to_json(build(clean())))
    for ticket in told["tickets"]:
        assert ticket.pop("red_green") is None
    assert read_report(msgspec.json.encode(told)) == build(clean())
