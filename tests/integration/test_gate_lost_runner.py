"""A turn is closed even where the runner of a test that edits were made for has gone: nothing is judged by it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from penstock.core.redgreen import events as e
from penstock.core.redgreen.test_id import spell
from penstock.kernel.opening import open_session
from penstock.kernel.tools.dispatcher import Dispatcher
from tests.integration.gate_world import MONEY, TEST_MONEY, Gate, OneRunner, open_gate, run
from tests.integration.plain_runner import PlainRunner

THIRD = f"{TEST_MONEY}\n\ndef test_third():\n    assert money.third(9) == 3\n"
WITH_THIRD = f"{MONEY}\n\ndef third(amount):\n    return amount / 3\n"
RED = "tests/test_money.py::test_third"
NOT_SET_UP = "no test runner is set up for tests/test_money.py; set up here: none"


async def without_runner(gate: Gate) -> Gate:
    """The same session, gone on with where nobody can run a test any more."""
    world = dataclasses.replace(gate.session.world, runners=OneRunner(None))
    session, desk = await open_session(world, "a-session", gate.session.policy)
    return Gate(gate.top, Dispatcher(session, desk))


async def edited(directory: Path, *, knows_suite: bool) -> Gate:
    """With an edit for a red test; where the whole suite was run before, the closing asks for the test by name."""
    gate = await open_gate(directory, runner=PlainRunner(directory / "tree"))
    if knows_suite:
        assert not (await gate.call("enter_refactor")).is_error
        assert not (await gate.call("leave_refactor")).is_error
        await gate.ended()
    await gate.call("write_file", path="tests/test_money.py", content=THIRD)
    await gate.red(RED)
    assert not (await gate.call("write_file", path="app/money.py", content=WITH_THIRD)).is_error
    return gate


@pytest.mark.parametrize("knows_suite", [False, True])
def test_a_turn_whose_runner_has_gone_is_closed(tmp_path: Path, knows_suite: bool) -> None:
    async def story() -> None:
        gate = await without_runner(await edited(tmp_path, knows_suite=knows_suite))
        before = gate.session.ledger.turn.number
        ended = await gate.ended()
        assert ended.is_error
        assert f"{RED} is runner_error: {NOT_SET_UP}" in ended.text
        assert gate.session.ledger.turn.number == before + 1
        last = gate.session.ledger.verdict(next(t for t in gate.session.ledger.tests if spell(t) == RED))
        assert last == "runner_error"
        assert gate.text("app/money.py") == WITH_THIRD  # our fault is nobody's violation
        await gate.close()

    run(story())


def test_what_nobody_could_judge_is_judged_when_the_runner_is_there_again(tmp_path: Path) -> None:
    async def story() -> None:
        first = await edited(tmp_path, knows_suite=False)
        gone = await without_runner(first)
        await gone.ended()
        world = dataclasses.replace(gone.session.world, runners=first.session.world.runners)
        session, desk = await open_session(world, "a-session", first.session.policy)
        gate = Gate(first.top, Dispatcher(session, desk))
        ended = await gate.ended()
        assert [event for event in runs(gate) if event.purpose == "flush"][-1].verdict == "green", ended.text
        await gate.close()

    run(story())


def runs(gate: Gate) -> list[e.TestRun]:
    return [record.event for record in gate.session.world.log.read() if isinstance(record.event, e.TestRun)]


def test_who_asks_is_still_told_that_no_runner_is_set_up(tmp_path: Path) -> None:
    async def story() -> None:
        gate = await without_runner(await edited(tmp_path, knows_suite=False))
        answer = await gate.call("run_tests", tests=[RED])
        assert answer.is_error
        assert NOT_SET_UP in answer.text
        await gate.close()

    run(story())
