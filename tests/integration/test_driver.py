"""The driver with a real performer and real logs: what is durable when, and what happens when something goes wrong."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from penstock import ports
from penstock.adapters.log_memory import MemoryLog, MemoryStore
from penstock.adapters.log_sqlite import SqliteLog
from penstock.core import events as e
from penstock.core.state import State
from penstock.core.verdicts import Evidence
from penstock.shell.driver import Stopped
from penstock.shell.folding import fold
from tests.integration.shell_world import Shell, WatchedLog, small, told, until, wanted
from tests.model.agents import Did, ends, red_then_fixed
from tests.model.world import limits

LAST = ["RunConcluded", "ReportSealed", "RunFinished"]


def names(records: list[e.Record]) -> list[str]:
    return [type(record.event).__name__ for record in records]


# --- to the end -----------------------------------------------------------------------------------------------------


@told
async def test_a_run_goes_to_its_sealed_end_and_the_driver_with_it(tmp_path: Path) -> None:
    log = SqliteLog.create(tmp_path / "log.sqlite", "r1", 1)
    shell = Shell(tmp_path, small(wanted("A"), wanted("B", depends_on=("A",))), WatchedLog(log))
    shell.agents["B"] = red_then_fixed()
    state = await shell.driver().run(shell.first())
    records = shell.records()
    assert state.finished is not None
    assert (state.finished.outcome, state.finished.exit_code) == ("finished", 0)
    assert names(records)[-3:] == LAST
    seal = records[-2].event
    assert isinstance(seal, e.ReportSealed)
    assert seal.n == records[-2].seq - 1 == records[-3].seq
    assert fold(log) == state
    log.close()


@told
async def test_what_comes_after_the_conclusion_is_not_appended(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    late: list[str] = []
    refused: list[asyncio.Task[int]] = []

    def observe(record: e.Record, state: State) -> None:
        if isinstance(record.event, e.RunStarted | e.RunConcluded):
            late.append(type(record.event).__name__)
            driver.tell(e.ResumeAsked(who="ann"))
        if isinstance(record.event, e.RunConcluded):
            refused.append(asyncio.create_task(driver.ask(e.PauseAsked(who="ann"))))

    driver = shell.driver(observe)
    await driver.run(shell.first())
    assert late == ["RunStarted", "RunConcluded"]
    assert len(shell.all(e.ResumeAsked)) == 1
    assert names(shell.records())[-3:] == LAST
    with pytest.raises(Stopped):
        await refused[0]


# --- write-ahead ----------------------------------------------------------------------------------------------------


@told
async def test_no_effect_begins_before_it_is_durably_owed(tmp_path: Path) -> None:
    shell = Shell(tmp_path, small(wanted("A"), wanted("B"), wanted("C", depends_on=("A",))))
    shell.agents["B"] = red_then_fixed()
    await shell.driver().run(shell.first())
    kinds = Counter(type(order).__name__ for order in shell.begun)
    assert kinds == Counter(type(order).__name__ for order in shell.log.owed().values())
    assert set(kinds) == {"TurnOrder", "MergeOrder", "GateOrder", "LandOrder"}
    assert shell.early == []


@told
async def test_an_append_that_fails_begins_nothing(tmp_path: Path) -> None:
    whole = Shell(tmp_path / "whole")
    await whole.driver().run(whole.first())
    for n in range(1, len(whole.log.appends) + 1):
        shell = Shell(tmp_path / f"{n}", log=WatchedLog(MemoryLog(MemoryStore(), 1), fails_at=n))
        with pytest.raises(OSError, match="the disk is full"):
            await shell.driver().run(shell.first())
        assert shell.early == []
        assert shell.begun == whole.begun[: len(shell.begun)]
        assert len(shell.begun) == len(shell.log.owed())


@told
async def test_what_arrives_during_a_commit_goes_into_the_next_one_together(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell.agent.may_end.clear()
    driver = shell.driver()
    running = asyncio.create_task(driver.run(shell.first()))
    await until(shell.agent.begun.wait(), running)
    shell.log.hold()
    driver.tell(e.PauseAsked(who="0"))
    await until(shell.log.entered.wait(), running)
    for n in range(1, 6):
        driver.tell(e.PauseAsked(who=f"{n}"))
    shell.log.release()
    assert await driver.ask(e.ResumeAsked(who="6")) == shell.state.seq
    held, together = shell.log.appends[-2:]
    assert [getattr(r.event, "who", None) for r in held] == ["0"]
    assert [getattr(r.event, "who", None) for r in together] == ["1", "2", "3", "4", "5", "6"]
    shell.agent.may_end.set()
    await running


@told
async def test_who_asks_is_answered_when_it_is_durable(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell.agent.may_end.clear()
    driver = shell.driver()
    running = asyncio.create_task(driver.run(shell.first()))
    await until(shell.agent.begun.wait(), running)
    shell.log.hold()
    asked = asyncio.create_task(driver.ask(e.ResumeAsked(who="ann")))
    await until(shell.log.entered.wait(), running)
    was_answered = asked.done()
    shell.log.release()
    assert await asked == shell.log.head()[0]
    assert not was_answered
    shell.agent.may_end.set()
    await running


# --- jobs -----------------------------------------------------------------------------------------------------------


@told
async def test_a_job_is_begun_once_though_others_commit_while_its_end_waits(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell.agent.may_end.clear()
    driver = shell.driver()
    running = asyncio.create_task(driver.run(shell.first()))
    await until(shell.agent.begun.wait(), running)
    shell.log.hold()
    driver.tell(e.ResumeAsked(who="ann"))
    await until(shell.log.entered.wait(), running)
    shell.workspaces.discarded.clear()
    shell.agent.may_end.set()
    await until(shell.workspaces.discarded.wait(), running)
    shell.log.release()
    await running
    assert max(Counter(shell.workspaces.opened).values()) == 1
    assert len(shell.begun) == len(shell.log.owed())
    assert shell.all(e.JobLost) == []
    assert shell.states() == {"A": "done"}


@told
async def test_a_bug_of_a_job_costs_that_job_only(tmp_path: Path) -> None:
    shell = Shell(tmp_path, small(wanted("A"), wanted("B")))
    shell.agent.bugs = [ZeroDivisionError("by nothing")]
    await shell.driver().run(shell.first())
    (lost,) = shell.all(e.JobLost)
    assert lost.reason == "ZeroDivisionError: by nothing"
    assert shell.states() == {"A": "done", "B": "done"}
    assert [a.attempt for a in shell.all(e.AttemptStarted)] == [1, 1]


@told
async def test_evidence_of_another_tree_is_not_filed(tmp_path: Path) -> None:
    """That would be our own bug: the run stops at once, and the log does not know of it."""
    shell = Shell(tmp_path)
    shell.gates.may_end.clear()
    driver = shell.driver()
    running = asyncio.create_task(driver.run(shell.first()))
    await until(shell.gates.begun.wait(), running)
    (key,) = (key for key, order in shell.log.owed().items() if isinstance(order, e.GateOrder))
    forged = Evidence(gate="tests", look="base", tree="t-another", commit="c", verdict="pass")
    driver.tell(e.GateEnded(key=key, evidence=forged))
    shell.gates.may_end.set()
    with pytest.raises(AssertionError, match="t-another"):
        await running
    assert forged not in [ended.evidence for ended in shell.all(e.GateEnded)]


@told
async def test_an_unwanted_job_is_stopped_and_its_work_kept(tmp_path: Path) -> None:
    """Its work is taken over while others commit, and must not be cut off: it is stopped once."""
    shell = Shell(tmp_path, small(wanted("A"), wanted("B")))
    shell.agent.may_end.clear()
    shell.workspaces.may_import.clear()
    driver = shell.driver()
    running = asyncio.create_task(driver.run(shell.first()))
    await until(shell.agent.begun.wait(), running)
    clone = Path(shell.agent.seen[0][1].checkout.path)
    await driver.ask(e.CancelAsked(ticket="A", who="ann", reason="not wanted"))
    await until(shell.workspaces.importing.wait(), running)
    for n in range(3):
        await driver.ask(e.PauseAsked(who=f"{n}"))
    assert clone.is_dir()
    assert shell.all(e.JobCanceled) == []
    shell.workspaces.may_import.set()
    await until(shell.workspaces.discarded.wait(), running)
    assert shell.workspaces.kept == ["refs/penstock/salvage/r1/A/1-1"]
    shell.agent.may_end.set()
    driver.tell(e.ResumeAsked(who="ann"))
    await running
    assert [c.key for c in shell.all(e.JobCanceled)] == ["r1/turn/A/1/1"]
    assert shell.states() == {"A": "canceled", "B": "done"}


# --- time -----------------------------------------------------------------------------------------------------------


@told
async def test_a_retry_begins_when_it_is_due(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    busy = ends("provider_transient", "busy", retry_after_ms=90_000)
    shell.agents["A"] = lambda order, start: (
        busy(order, start) if order.turn == 1 else Did(edits={"src/a.py": "right", "tests/test_a.py": "tells"})
    )
    await shell.driver().run(shell.first())
    records = shell.records()
    (backoff,) = (r.event for r in records if isinstance(r.event, e.TicketMoved) and r.event.to == "backoff")
    (fired,) = (r for r in records if isinstance(r.event, e.TimerFired))
    turns = [r for r in records if isinstance(r.event, e.JobOwed) and isinstance(r.event.order, e.TurnOrder)]
    assert fired.event == e.TimerFired(due_ms=backoff.due_ms)
    assert fired.at_ms == turns[1].at_ms == backoff.due_ms
    assert turns[1].seq > fired.seq
    assert shell.states() == {"A": "done"}


@told
async def test_a_drain_ends_when_its_time_is_over(tmp_path: Path) -> None:
    shell = Shell(tmp_path, small(wanted("A"), limits=limits(drain_ms_max=5_000)))
    shell.agent.may_end.clear()
    driver = shell.driver()
    running = asyncio.create_task(driver.run(shell.first()))
    await until(shell.agent.begun.wait(), running)
    driver.tell(e.DrainAsked(who="ann"))
    state = await running
    assert state.conclusion is not None
    assert state.conclusion.outcome == "stopped"
    assert [c.key for c in shell.all(e.JobCanceled)] == ["r1/turn/A/1/1"]


# --- stopping -------------------------------------------------------------------------------------------------------


@told
async def test_what_was_stopped_at_once_can_be_continued(tmp_path: Path) -> None:
    store = MemoryStore()
    shell = Shell(tmp_path, log=WatchedLog(MemoryLog(store, 1)))
    shell.agent.may_end.clear()
    driver = shell.driver()
    running = asyncio.create_task(driver.run(shell.first()))
    await until(shell.agent.begun.wait(), running)
    seq = shell.log.head()[0]
    driver.stop()
    with pytest.raises(Stopped):
        await running
    assert shell.log.head()[0] == seq
    assert shell.workspaces.kept == ["refs/penstock/salvage/r1/A/1-1"]
    log = WatchedLog(MemoryLog(store, 2))
    after = Shell(tmp_path, shell.world, log, state=fold(log))
    log.appends = shell.log.appends
    await after.driver().run(await after.resumed())
    assert [lost.key for lost in after.all(e.JobLost)] == ["r1/turn/A/1/1"]
    assert after.states() == {"A": "done"}
    assert len(after.all(e.AttemptStarted)) == 1


@told
async def test_who_loses_the_log_to_another_writer_moves_nothing(tmp_path: Path) -> None:
    store = MemoryStore()
    shell = Shell(tmp_path, log=WatchedLog(MemoryLog(store, 1)))
    shell.agent.may_end.clear()
    running = asyncio.create_task(shell.driver().run(shell.first()))
    await until(shell.agent.begun.wait(), running)
    other = MemoryLog(store, 2)
    begun, trunk, seq = list(shell.begun), shell.world.repository.trunk, other.head()[0]
    shell.agent.may_end.set()
    with pytest.raises(ports.Fenced):
        await running
    assert (shell.begun, shell.world.repository.trunk, other.head()[0]) == (begun, trunk, seq)


@told
async def test_who_loses_the_repository_to_another_writer_says_so(tmp_path: Path) -> None:
    shell = Shell(tmp_path, small(wanted("A"), wanted("B")))
    shell.trunk.is_fenced = True
    trunk = shell.world.repository.trunk
    with pytest.raises(ports.Fenced, match="another writer"):
        await shell.driver().run(shell.first())
    assert shell.world.repository.trunk == trunk
    assert shell.all(e.LandEnded) == []
    assert shell.all(e.RunConcluded) == []
