"""Pairs of red and green, and the dots of a plan: what a ledger proves, for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeVar

from penstock.core.policy import Frozen
from penstock.core.redgreen import events as e
from penstock.core.redgreen.ledger import Ledger
from penstock.core.redgreen.test_id import TestId
from penstock.core.redgreen.verdicts import PASSING, RED, RunVerdict

V = TypeVar("V")

Dot = Literal["red", "green", "pending", "vacuous", "flaky"]
DOTS: dict[Dot, str] = {"red": "●", "green": "◉", "pending": "○", "vacuous": "◌", "flaky": "◐"}
"""Told apart without colour, and always with their word beside them."""


class Pair(Frozen):
    """One triple: a red, the edits that it licensed, the green that discharged them. Numbers are seqs of the ledger."""

    test: TestId
    red: int
    edits: tuple[int, ...]
    green: int
    is_weak: bool = False
    survivors: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


class PlanLine(Frozen):
    """One step of a plan and how far it is. `number` counts from 1; `verdict`: what its test said last."""

    number: int
    dot: Dot
    text: str
    test: TestId | None = None
    test_file_path: str = ""
    verdict: RunVerdict | None = None

    def __str__(self) -> str:
        return f"{DOTS[self.dot]} {self.dot:<8}{self.number}. {self.text}"


def pair_red_green(records: Iterable[e.RedGreenRecord]) -> tuple[Pair, ...]:
    """Pairs in order of their greens. A test that was never green, or whose edits were reverted, is left out."""
    reds: dict[TestId, int] = {}
    edits: dict[TestId, dict[e.FileEdit, None]] = {}
    pairs: list[Pair] = []
    for record in records:
        match record.event:
            case e.TestRun(test=test, verdict=verdict, purpose="ask" | "flush") if verdict in RED:
                if not edits.get(test):
                    reds[test] = record.seq
            case e.EditApplied(allowance="red", test=TestId() as test, changes=changes):
                found = (e.FileEdit(edit=record.seq, path=change.path) for change in changes)
                edits.setdefault(test, {}).update(dict.fromkeys(found))
            case e.EditReverted(edits=gone):
                for open_edits in edits.values():
                    for edit in gone:
                        open_edits.pop(edit, None)
            case e.TestMoved(was=was, now=now):
                _follow(reds, was, now)
                _follow(edits, was, now)
            case e.PairJudged() as judged:
                pair = _pair(judged, reds, edits.pop(judged.test, {}))
                pairs += [pair] if pair else []
            case _:
                pass
    return tuple(pairs)


def _follow(index: dict[TestId, V], was: TestId, now: TestId) -> None:
    if was in index:
        index[now] = index.pop(was)


def _pair(judged: e.PairJudged, reds: dict[TestId, int], edits: dict[e.FileEdit, None]) -> Pair | None:
    if not edits:
        return None
    return Pair(
        test=judged.test,
        red=reds.pop(judged.test, judged.red),
        edits=tuple(dict.fromkeys(edit.edit for edit in edits)),
        green=judged.green,
        is_weak=judged.is_weak,
        survivors=judged.survivors,
        paths=tuple(dict.fromkeys(edit.path for edit in edits)),
    )


def dot_of(ledger: Ledger, step: e.PlanStep) -> Dot:
    """How far a plan's step is. Without a test it is pending for ever: nothing tells."""
    verdict = ledger.verdict(step.test) if step.test else None
    if verdict in RED:
        return "red"
    if verdict in PASSING:
        return "green"
    if verdict in ("vacuous", "flaky"):
        return verdict
    return "pending"


def plan_of(ledger: Ledger) -> tuple[PlanLine, ...]:
    """The plan in force, step by step."""
    return tuple(
        PlanLine(
            number=number,
            dot=dot_of(ledger, step),
            text=step.text,
            test=step.test,
            test_file_path=step.test_file_path,
            verdict=ledger.verdict(step.test) if step.test else None,
        )
        for number, step in enumerate(ledger.plan, 1)
    )


def plan_problems(steps: tuple[e.PlanStep, ...]) -> tuple[str, ...]:
    """What is wrong with a plan: each text names its step by number and says the fix."""
    problems = []
    for n, step in enumerate(steps, 1):
        if step.test is not None and not step.test_file_path:
            problems.append(f"step {n}: has a test_id and no test_file_path: say which file the test is in")
        elif step.test is not None and step.test.path != step.test_file_path:
            problems.append(f"step {n}: its test is in {step.test.path}, its test_file_path is {step.test_file_path}")
        if not step.text.strip():
            problems.append(f"step {n}: is empty: say what it does")
    return tuple(problems)
