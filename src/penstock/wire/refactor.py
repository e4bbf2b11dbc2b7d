"""Refactor mode of the gate round a working tree, for people."""

from __future__ import annotations

import time
from pathlib import Path

from penstock.core.policy import Frozen
from penstock.core.redgreen.ledger import fold
from penstock.evidence.words import counted, duration
from penstock.kernel.tools.dispatcher import Answer
from penstock.wire.gate_client import connect
from penstock.wire.gate_records import read_ledger


class RefactorSeen(Frozen, omit_defaults=False):
    """Whether it is on; the numbers say what is left of it."""

    is_on: bool
    baseline_tests: int = 0
    edits: int = 0
    edits_max: int = 0
    left_ms: int = 0

    def __str__(self) -> str:
        if not self.is_on:
            return "refactor mode is off"
        edits = f"{self.edits} of {self.edits_max} edits made"
        left = f"{duration(self.left_ms)} left" if self.left_ms > 0 else "its time is over: penstock refactor leave"
        return f"refactor mode is on: {counted(self.baseline_tests, 'test')} must stay green, {edits}, {left}"


async def call_refactor(directory: Path, tool: str) -> Answer:
    """Enter or leave, through the gate, which is started where none is there."""
    client = await connect(directory)
    try:
        return await client.call(tool, {})
    finally:
        await client.close()


async def refactor_here(directory: Path) -> RefactorSeen | None:
    """How it stands; None where no gate is there."""
    try:
        client = await connect(directory, starts=False)
    except ConnectionRefusedError:
        return None
    await client.close()
    ledger = fold(read_ledger(directory))
    if ledger.refactor is None:
        return RefactorSeen(is_on=False)
    limits, now_ms = ledger.policy.limits, time.time_ns() // 1_000_000
    return RefactorSeen(
        is_on=True,
        baseline_tests=len(ledger.refactor.baseline),
        edits=ledger.refactor.edits,
        edits_max=limits.refactor_edits_max,
        left_ms=max(0, limits.refactor_wall_ms_max - (now_ms - ledger.refactor.entered_ms)),
    )
