"""Refactor mode: edits without a red, between two greens of the same tests."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.core.redgreen import events as e
from penstock.core.redgreen.entry import Entry
from penstock.core.redgreen.ledger import Refactor
from penstock.core.redgreen.test_id import spell
from penstock.core.redgreen.verdicts import PASSING
from penstock.kernel.bindings import Bindings
from penstock.kernel.runs import Asked, TestDesk
from penstock.kernel.session import GateSession, read_tree
from penstock.kernel.tree.entry import diff

OUTPUT_CHARS_MAX = 300


async def enter_refactor(session: GateSession, desk: TestDesk) -> e.RefactorEntered | e.Refusal:
    """Enter on a green baseline: every test that is there passes, and there is one."""
    session.settle("enter_refactor")
    if session.ledger.refactor is not None:
        return _refuse(session, "refactor_entered", "refactor mode is on already", "leave_refactor")
    if session.ledger.turn.file_edits:
        return _refuse(session, "turn_open", "edits of this turn wait for their tests", "end_turn")
    runs = await desk.run("baseline", Asked(whole=True))
    red = [run for run in runs if run.verdict not in (*PASSING, "skipped", "xfail")]
    green = tuple(run.test for run in runs if run.verdict in PASSING)
    if red or not green:
        why = f"{spell(red[0].test)} is {red[0].verdict}" if red else "no test can be run here"
        return _refuse(session, "no_green_baseline", f"refactor mode begins on green tests: {why}", "run_tests")
    tree = session.world.blobs.put(msgspec.json.encode(session.expected, order="deterministic"))
    entered = e.RefactorEntered(baseline=green, tree=tree)
    session.append(entered)
    return entered


async def leave_refactor(session: GateSession, desk: TestDesk) -> e.RefactorLeft | e.Refusal:
    """Leave when the same tests, or more, are green and the verify command exits 0; else what it began with is back."""
    session.settle("leave_refactor")
    refactor = session.ledger.refactor
    if refactor is None:
        return _refuse(session, "no_refactor", "refactor mode is not on", "enter_refactor")
    runs = await desk.run("verify", Asked(whole=True))
    why = _broken(session, refactor, runs) or await _verify(session)
    if why:
        _restore(session, refactor.tree)
    left = e.RefactorLeft(is_green=not why, why=why)
    session.append(left)
    return left


def _broken(session: GateSession, refactor: Refactor, runs: Sequence[e.TestRun]) -> str:
    """What is not as it was: a test of the baseline that does not pass, or that passes as another test."""
    seen = {run.test: run for run in runs}
    checkpoint = read_tree(session.world.blobs, refactor.tree)
    bindings = Bindings(session.policy, checkpoint, session.content)
    for test in refactor.baseline:
        run = seen.get(test)
        if run is None or run.verdict not in PASSING:
            return f"{spell(test)} is {run.verdict if run else 'not_run'}"
        was, now = bindings.of_run(run), run.binding
        if (was.test_sha, was.control_sha) != (now.test_sha, now.control_sha):
            return f"{spell(test)} passes, but it was changed"
    return ""


async def _verify(session: GateSession) -> str:
    command = session.policy.verify_command
    if not command:
        return ""
    wall_ms = session.policy.limits.suite_wall_ms_max
    ran = await session.world.launcher.run(("sh", "-c", command), wall_ms=wall_ms)
    session.settle("verify")
    if ran.end.outcome == "exited" and ran.end.exit_status == 0:
        return ""
    said = (ran.stdout + ran.stderr).decode(errors="replace").strip()[-OUTPUT_CHARS_MAX:]
    return f"the verify command ended with {ran.end.exit_status}: {said}"


def _restore(session: GateSession, tree: str) -> None:
    checkpoint: dict[str, Entry] = read_tree(session.world.blobs, tree)
    changes = tuple(
        e.PathChange(path=c.path, before=session.expected.get(c.path), after=checkpoint.get(c.path))
        for c in diff(checkpoint, session.expected)
    )
    if changes:
        session.revert((), changes, "refactor_failed")


def _refuse(session: GateSession, code: str, missing: str, next_command: str) -> e.Refusal:
    return session.refuse("refactor", (), e.Refusal(code=code, missing=missing, next_command=next_command))
