"""What a red-green ledger holds, in words for people: one line per event, one row per pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from penstock.core.redgreen import events as e
from penstock.core.redgreen.pairs import Pair
from penstock.core.redgreen.test_id import TestId, spell
from penstock.core.redgreen.verdicts import REASONS
from penstock.evidence.words import brief, counted, plain

NAMES_MAX = 4
SURVIVORS_MAX = 3


def said(event: e.RedGreenEvent) -> str:
    """One event on one line, without anything that a terminal would obey."""
    return " ".join(plain(_said(event)).split())


def weakness(pair: Pair) -> str:
    """Which planted faults the test of a weak pair did not notice; empty for a pair that is not weak."""
    if not pair.is_weak:
        return ""
    shown = "; ".join(plain(survivor) for survivor in pair.survivors[:SURVIVORS_MAX])
    more = len(pair.survivors) - SURVIVORS_MAX
    return f"weak, survived: {shown}" + (f" and {more} more" if more > 0 else "")


def _said(event: e.RedGreenEvent) -> str:
    match event:
        case e.SessionOpened():
            return f"session {event.session} begins, mode {event.policy.mode}"
        case e.TurnBegan():
            return f"turn {event.turn} begins"
        case e.TurnClosing():
            return f"turn {event.turn} is closing: its tests are owed"
        case e.TurnClosed():
            return f"turn {event.turn} is closed"
        case e.TestRun():
            return _ran(event)
        case e.SpawnEnded():
            return _spawned(event)
        case e.PlanSubmitted():
            return f"a plan of {counted(len(event.steps), 'step')}"
        case e.TestMoved():
            return f"{spell(event.was)} is {spell(event.now)} now, and its claims follow"
        case e.PairJudged():
            return _judged(event)
        case _:
            return _edited(event)


def _edited(
    event: e.EditClaim
    | e.EditApplied
    | e.EditRefused
    | e.EditReverted
    | e.UnclaimedWrite
    | e.RefactorEntered
    | e.RefactorLeft,
) -> str:
    match event:
        case e.EditClaim():
            how = {"executed": "ran it", "phantom": "asks for it", "imported": "imports it (claim_by_import)"}
            inferred = ", inferred" if event.is_inferred else ""
            return f"{spell(event.test)} is claimed for {names(event.targets)}: it {how[event.basis]}{inferred}"
        case e.EditApplied():
            return f"{event.tool} {_paths(event.changes)}{_licensed(event)}"
        case e.EditRefused():
            refusal = event.refusal
            then = f"; next: {refusal.next_command}" if refusal.next_command else ""
            return f"{event.tool} {names(event.paths)} refused ({refusal.code}): {refusal.missing}{then}"
        case e.EditReverted():
            because = f" because of {_tests(event.because)}" if event.because else ""
            return f"{_paths(event.changes)} reverted ({event.why}){because}{event.message and ': '}{event.message}"
        case e.UnclaimedWrite():
            done = "taken back" if event.is_restored else "left there"
            return f"{_paths(event.changes)} written by {event.tool} without a claim, {done}: {event.why}"
        case e.RefactorEntered():
            return f"refactor mode begins on {counted(len(event.baseline), 'green test')}"
        case e.RefactorLeft():
            return "refactor mode ends, all is green" if event.is_green else f"refactor mode failed: {event.why}"
        case _:
            assert_never(event)


def _ran(event: e.TestRun) -> str:
    where = f" at {event.where}" if event.where else ""
    why = event.message or REASONS[event.verdict]
    told = "" if event.verdict == "green" else f"{where}: {why}"
    return f"{spell(event.test)} {event.verdict} ({event.purpose}, {brief(event.duration_ms)}){told}"


def _spawned(event: e.SpawnEnded) -> str:
    tests = "the whole suite, " if event.whole else ""
    without = f", without {names([edit.path for edit in event.without])}" if event.without else ""
    note = f": {event.note}" if event.note else ""
    warm = "warm" if event.is_warm else "cold"
    place = f" in {event.project}" if event.project else ""
    ran = f"{event.runner}{place} ran {tests}{counted(event.tests, 'test')}, {warm}, in {brief(event.duration_ms)}"
    return f"{ran} ({event.purpose}{without}){note}"


def _licensed(event: e.EditApplied) -> str:
    match event.allowance:
        case "red" if event.test is not None:
            return f" applied for {spell(event.test)}, red at seq {event.red}"
        case "free":
            return " applied: writing tests is free"
        case "exempt":
            return " applied: exempt by the settings"
        case "warn":
            return " applied with a warning: no red test asks for it"
        case other:
            return f" applied ({other})"


def _judged(event: e.PairJudged) -> str:
    weak = "weak: " if event.is_weak else ""
    tried = f"{counted(event.tried, 'planted fault')}, {len(event.survivors)} not noticed"
    note = f" ({event.note})" if event.note else ""
    return f"{spell(event.test)} is a pair, red at seq {event.red}, green at seq {event.green}; {weak}{tried}{note}"


def _paths(changes: Sequence[e.PathChange]) -> str:
    return names([change.path for change in changes])


def _tests(tests: Sequence[TestId]) -> str:
    return names([spell(test) for test in tests])


def names(paths: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = len(paths) - NAMES_MAX
    return ", ".join(paths[:NAMES_MAX]) + (f" and {more} more" if more > 0 else "")
