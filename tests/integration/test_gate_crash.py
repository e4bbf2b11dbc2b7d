"""`kill -9` at every step of a turn: old bytes or new ones, and a turn that was closing ends as if nothing had been."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.core.redgreen import events as e
from penstock.core.redgreen.pairs import pair_red_green
from tests.integration.gate_crash_program import FILES, prepare
from tests.tidy.repository import ROOT

Whole = tuple[int, tuple[object, ...]]

LEGAL = {
    "app/money.py": {FILES["app/money.py"], "def double(n):\n    return n * 3\n\n\ndef triple(n):\n    return n * 3\n"},
    "app/tax.py": {
        FILES["app/tax.py"],
        "def tax(n):\n    return n // 5\n\n\ndef gross(n):\n    return n + tax(n)\n",
    },
}
ENDED = {"app/money.py": FILES["app/money.py"], "app/tax.py": sorted(LEGAL["app/tax.py"], key=len)[1]}
"""What a whole turn leaves: the right edit, and not the one that broke a test."""


def program(directory: Path, step: int) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "tests.integration.gate_crash_program", str(directory), str(step)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=100)


def contents(directory: Path) -> dict[str, str]:
    return {path: (directory / "tree" / path).read_text() for path in LEGAL}


def told(records: list[e.RedGreenRecord]) -> tuple[object, ...]:
    """Verdicts of a closing, in order, and what came of them."""
    runs = [(r.event.purpose, r.event.test, r.event.verdict) for r in records if isinstance(r.event, e.TestRun)]
    reverts = [(r.event.why, r.event.because) for r in records if isinstance(r.event, e.EditReverted)]
    return tuple(runs), tuple(reverts), tuple(pair.test for pair in pair_red_green(records))


async def resumed(directory: Path) -> tuple[bool, list[e.RedGreenRecord], bool]:
    """Open again what a kill left. Was the turn closing; all records; is the tree what the ledger says?"""
    gate = await prepare(directory)
    records = list(gate.session.world.log.read())
    was_closing = any(isinstance(r.event, e.TurnClosing) for r in records)
    scan = gate.session.world.scanner.scan(afresh=True)
    is_whole = scan.readable == gate.session.expected and not scan.problems
    await gate.close()
    return was_closing, records, is_whole


@pytest.fixture(scope="module")
def whole_turn(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Number of steps of a turn that nobody kills, and what it told."""
    directory = tmp_path_factory.mktemp("whole")
    ended = program(directory, 0)
    assert ended.returncode == 0, ended.stderr
    assert contents(directory) == ENDED
    _, records, _ = asyncio.run(resumed(directory))
    return int(ended.stdout), told(records)


def test_a_whole_turn_keeps_the_right_edit_and_reverts_the_wrong_one(
    whole_turn: Whole,
) -> None:
    steps, (runs, reverts, pairs) = whole_turn
    assert steps > 30
    assert [purpose for purpose, _, _ in runs if purpose in ("control", "trial")]  # type: ignore[attr-defined]
    assert len(reverts) == len(pairs) == 1  # type: ignore[arg-type]


def test_killed_between_ledger_and_file_it_is_made_whole(tmp_path: Path) -> None:
    """The third step: the first edit is in the ledger, and no file was touched."""
    for step in (3, 4, 9):
        directory = tmp_path / str(step)
        assert program(directory, step).returncode == -signal.SIGKILL
        _, records, is_whole = asyncio.run(resumed(directory))
        assert is_whole, step
        assert "opening" not in [getattr(r.event, "tool", "") for r in records], "it was taken for somebody's write"
        assert list((directory / "tree").rglob("*.penstock*")) == []


def test_killed_at_every_step_it_ends_the_same(whole_turn: Whole, tmp_path: Path) -> None:
    steps, expected = whole_turn
    closed = 0
    for step in range(1, steps + 1):
        directory = tmp_path / str(step)
        ended = program(directory, step)
        assert ended.returncode == -signal.SIGKILL, (step, ended.stderr)
        assert all(text in LEGAL[path] for path, text in contents(directory).items()), step
        was_closing, records, is_whole = asyncio.run(resumed(directory))
        assert is_whole, step
        if was_closing:
            closed += 1
            assert contents(directory) == ENDED, step
            assert told(records) == expected, step
    assert closed > steps // 3
