"""The gate's verdict over a ledger of 100,000 events, beside one of 100: it costs what it concerns, not what exists."""

from __future__ import annotations

import statistics
import time

from penstock.core.redgreen import events as e
from penstock.core.redgreen.gate import EditAsk, judge_edit
from penstock.core.redgreen.ledger import Ledger, evolve
from penstock.core.redgreen.policy import RedGreenPolicy
from penstock.core.redgreen.test_id import TestId

EVENTS = 100_000
TESTS = 5_000
REDS = 20
ASKED = 2_000
SAME = e.Binding(test_sha="t", control_sha="c")


def run_of(number: int, *, is_red: bool) -> e.TestRun:
    """A run of one of the tests, each with files of its own."""
    test = TestId(runner="pytest", path=f"tests/test_{number}.py", chain=("test_it",))
    return e.TestRun(
        test=test,
        verdict="red_assert" if is_red else "unexpected_green",
        purpose="ask",
        binding=SAME,
        executed=(f"app/part_{number}.py", "app/common_part.py"),
    )


def ledger_of(events: int) -> Ledger:
    """A ledger with so many events, whose last ones left some tests red."""
    ledger = Ledger()
    opened = e.SessionOpened(session="bench", version="0", policy=RedGreenPolicy(mode="strict"), tree="0")
    greens = [run_of(n % TESTS, is_red=False) for n in range(events - REDS - 1)]
    history: list[e.RedGreenEvent] = [opened, *greens, *(run_of(n, is_red=True) for n in range(REDS))]
    for event in history:
        evolve(ledger, e.RedGreenRecord(seq=ledger.seq + 1, at_ms=0, event=event))
    return ledger


def verdicts_ms(ledger: Ledger) -> list[float]:
    """Milliseconds of processor time of each verdict: allowed, unrelated, and nothing that asks."""
    bindings = dict.fromkeys(ledger.red, SAME)
    spent = []
    for n in range(ASKED):
        path = ("app/part_3.py", "app/common_part.py", "app/part_4000.py")[n % 3]
        ask = EditAsk(tool="edit_file", paths=(path,), bindings=bindings)
        begun = time.thread_time()
        judge_edit(ledger, ask, "strict")
        spent.append((time.thread_time() - begun) * 1_000)
    return spent


def measure() -> dict[str, float]:
    """Figures by name."""
    long, short = verdicts_ms(ledger_of(EVENTS)), verdicts_ms(ledger_of(100))
    p99 = statistics.quantiles(long, n=100)[98]
    return {
        "verdict_p99_ms": round(p99, 4),
        "verdict_long_to_short": round(statistics.median(long) / statistics.median(short), 2),
    }
