"""Going on where a writer died: wherever that was, the run ends as if nothing had happened."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from penstock import ports
from penstock.adapters.log_memory import MemoryLog, MemoryStore
from penstock.adapters.log_sqlite import SqliteLog
from penstock.adapters.state_directory import RunDirectory
from penstock.core import events as e
from penstock.core.evolve import evolve
from penstock.shell.folding import fold
from penstock.shell.job_directory import make_job_directory
from penstock.wire.run import is_unfinished
from tests.integration.shell_world import BODY, Shell, WatchedLog, name_of, small, told, wanted
from tests.model.agents import red_then_fixed
from tests.model.world import World

SLEEPER = """
import asyncio, os, sys
from penstock.adapters.processes import LocalProcesses
from penstock.ports import Command, ProcessOrder
command = Command(argv=("sleep", "600"), cwd="/", env=dict(os.environ))
def tell(identity):
    print(identity.pid, identity.start_ticks, identity.boot, flush=True)
asyncio.run(LocalProcesses().run(ProcessOrder(command=command, job_dir=sys.argv[1]), tell))
"""


class Died:
    """What a writer left that died after some of its appends: a log, and directories of jobs that it had begun."""

    def __init__(self, place: Path, world: World, appends: Sequence[Sequence[e.Record]]) -> None:
        self.place, self.world, self.appends, self.store = place, world, appends, MemoryStore()
        log = MemoryLog(self.store, 1)
        for records in appends:
            log.append(records)

    def next_writer(self) -> Shell:
        log = WatchedLog(MemoryLog(self.store, 2))
        log.appends = [list(records) for records in self.appends]
        shell = Shell(self.place, self.world, log, state=fold(log))
        self.world.repository.trunk = shell.state.trunk.commit
        shell.blobs.put(BODY.encode())
        shell.agents["B"] = red_then_fixed()
        return shell

    def owed(self, kind: type[Any]) -> tuple[str, Any]:
        """The last owed job of that kind."""
        events = [r.event for records in self.appends for r in records]
        return [(o.key, o.order) for o in events if isinstance(o, e.JobOwed) and isinstance(o.order, kind)][-1]


async def whole(place: Path) -> Shell:
    shell = Shell(place, small(wanted("A"), wanted("B")))
    shell.agents["B"] = red_then_fixed()
    await shell.driver().run(shell.first())
    return shell


async def died(place: Path, is_owed: type[Any]) -> Died:
    """A writer that died when it had first made a job of that kind durable, and begun none of that append."""
    shell = await whole(place / "whole")
    first = next(
        n
        for n, records in enumerate(shell.log.appends)
        if any(isinstance(r.event, e.JobOwed) and isinstance(r.event.order, is_owed) for r in records)
    )
    return Died(place / "died", shell.world, shell.log.appends[: first + 1])


def losts(shell: Shell) -> list[str]:
    return [lost.key for lost in shell.all(e.JobLost)]


# --- every moment ---------------------------------------------------------------------------------------------------


@told
async def test_after_a_death_at_any_append_the_run_ends_the_same(tmp_path: Path) -> None:
    """Nothing that was owed had begun: not one job is lost, and no key is given twice."""
    expected = await whole(tmp_path / "whole")
    repository = expected.world.repository
    files = repository.files(repository.trunk)
    for n in range(1, len(expected.log.appends)):
        shell = Died(tmp_path / f"{n}", expected.world, expected.log.appends[:n]).next_writer()
        await shell.driver().run(await shell.resumed())
        assert shell.states() == {"A": "done", "B": "done"}
        assert repository.files(repository.trunk) == files
        assert losts(shell) == []
        assert max(Counter(owed.key for owed in shell.all(e.JobOwed)).values()) == 1
        assert [type(r.event) for r in shell.records()[-3:]] == [e.RunConcluded, e.ReportSealed, e.RunFinished]
        assert shell.early == []


@told
async def test_a_job_that_never_started_starts_under_its_own_key(tmp_path: Path) -> None:
    dead = await died(tmp_path, e.TurnOrder)
    key, order = dead.owed(e.TurnOrder)
    shell = dead.next_writer()
    assert [type(i).__name__ for i in await shell.resumed()] == ["RunResumed"]
    await shell.driver().run(await shell.resumed())
    assert name_of(key) in shell.workspaces.opened
    assert shell.begun.count(order) == 1
    assert losts(shell) == []


# --- what was begun -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [e.TurnOrder, e.GateOrder], ids=["turn", "gate"])
def test_a_process_that_was_begun_is_lost_and_never_begun_again(tmp_path: Path, kind: type[Any]) -> None:
    async def history(_: Path) -> None:
        dead = await died(tmp_path, kind)
        key, order = dead.owed(kind)
        shell = dead.next_writer()
        make_job_directory(shell.jobs, key)
        at = order.start if kind is e.TurnOrder else order.commit
        left = await shell.workspaces.open_clone(name_of(key), at)
        shell.workspaces.opened.clear()
        await shell.driver().run(await shell.resumed())
        assert losts(shell) == [key]
        assert name_of(key) not in shell.workspaces.opened
        assert not Path(left.path).exists()
        assert shell.begun.count(order) == 1  # under its next key
        assert shell.states() == {"A": "done", "B": "done"}
        assert max(run.attempt for run in shell.state.tickets.values()) == 1

    told(history)(tmp_path)


@told
async def test_a_lost_job_is_settled_in_full(tmp_path: Path) -> None:
    """Nobody knows what it has used: what was set aside for it is gone, for the run and for its ticket."""
    dead = await died(tmp_path, e.TurnOrder)
    key, order = dead.owed(e.TurnOrder)
    shell = dead.next_writer()
    make_job_directory(shell.jobs, key)
    reserved, before = shell.state.jobs[key].reserved, shell.state.settled
    assert reserved.tokens > 0
    (lost,) = (i for i in await shell.resumed() if isinstance(i, e.JobLost))
    evolve(shell.state, e.Record(seq=shell.state.seq + 1, at_ms=10**12, event=lost))
    assert shell.state.settled == before.plus(reserved)
    assert shell.state.tickets[order.ticket].settled.tokens == reserved.tokens
    assert key not in shell.state.jobs


@told
async def test_the_work_of_a_lost_turn_is_kept(tmp_path: Path) -> None:
    dead = await died(tmp_path, e.TurnOrder)
    key, order = dead.owed(e.TurnOrder)
    shell = dead.next_writer()
    make_job_directory(shell.jobs, key)
    await shell.workspaces.open_clone(name_of(key), order.start)
    await shell.resumed()
    ticket, attempt, ordinal = key.split("/")[2:]
    assert shell.workspaces.kept == [f"refs/penstock/salvage/r1/{ticket}/{attempt}-{ordinal}"]


@told
async def test_a_process_that_outlived_its_writer_is_ended_before_it_is_counted_lost(tmp_path: Path) -> None:
    dead = await died(tmp_path, e.TurnOrder)
    key, _ = dead.owed(e.TurnOrder)
    shell = dead.next_writer()
    make_job_directory(shell.jobs, key)
    left = leave_behind(tmp_path)
    job = shell.state.jobs[key]
    job.pid, job.start_ticks, job.boot = left.pid, left.start_ticks, left.boot
    pidfd = os.pidfd_open(left.pid)
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)
    assert not ended.poll(0)
    inputs = await shell.resumed()
    assert ended.poll(0)
    os.close(pidfd)
    assert [i.key for i in inputs if isinstance(i, e.JobLost)] == [key]


def leave_behind(place: Path) -> ports.ProcessIdentity:
    """A process tree whose keeper is stopped and whose harness is killed."""
    words = [sys.executable, "-c", SLEEPER, str(place / "sleeper")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as harness:
        assert harness.stdout is not None
        pid, ticks, boot = harness.stdout.readline().split()
        os.kill(int(pid), signal.SIGSTOP)
        harness.kill()
    return ports.ProcessIdentity(pid=int(pid), start_ticks=int(ticks), boot=boot)


@told
async def test_a_started_job_carries_what_names_its_process_for_ever(tmp_path: Path) -> None:
    dead = await died(tmp_path, e.TurnOrder)
    key, _ = dead.owed(e.TurnOrder)
    started = e.JobStarted(key=key, pid=7, start_ticks=8, boot="b")
    log = MemoryLog(dead.store, 2)
    seq = log.head()[0]
    log.append([e.Record(seq=seq + 1, at_ms=10**12, event=started)])
    job = fold(log).jobs[key]
    assert (job.pid, job.start_ticks, job.boot) == (7, 8, "b")


@pytest.mark.parametrize("has_moved", [False, True], ids=["not yet", "already"])
def test_a_landing_is_looked_at_again_under_its_own_key(tmp_path: Path, has_moved: bool) -> None:
    """Whether the dead had moved trunk or not: it is moved once."""

    async def history(_: Path) -> None:
        dead = await died(tmp_path, e.LandOrder)
        order = dead.owed(e.LandOrder)[1]
        shell = dead.next_writer()
        dead.world.repository.trunk = order.commit if has_moved else order.expected
        await shell.driver().run(await shell.resumed())
        assert losts(shell) == []
        assert shell.begun.count(order) == 1
        assert [ended.outcome for ended in shell.all(e.LandEnded)] == ["landed", "landed"]
        assert dead.world.repository.history(shell.world.repository.trunk).count(order.commit) == 1
        assert shell.states() == {"A": "done", "B": "done"}

    told(history)(tmp_path)


@told
async def test_a_merge_is_formed_again_under_its_own_key(tmp_path: Path) -> None:
    dead = await died(tmp_path, e.MergeOrder)
    key, order = dead.owed(e.MergeOrder)
    shell = dead.next_writer()
    await shell.driver().run(await shell.resumed())
    assert shell.begun.count(order) == 1
    assert key in [formed.key for formed in shell.all(e.CandidateFormed)]
    assert losts(shell) == []


@told
async def test_an_unwanted_job_that_never_started_is_reported_and_not_begun(tmp_path: Path) -> None:
    dead = await died(tmp_path, e.TurnOrder)
    key, order = dead.owed(e.TurnOrder)
    shell = dead.next_writer()
    asked = e.CancelAsked(ticket=order.ticket, who="ann")
    await shell.driver().run([*await shell.resumed(), asked])
    assert [c.key for c in shell.all(e.JobCanceled)] == [key]
    assert order not in shell.begun
    assert shell.states()[order.ticket] == "canceled"


# --- runs without an end --------------------------------------------------------------------------------------------


def test_a_run_is_unfinished_until_it_is_sealed_and_one_without_a_record_is_begun_anew(tmp_path: Path) -> None:
    place = RunDirectory(tmp_path)
    assert not is_unfinished(place)
    seen: list[bool] = []

    async def history(_: Path) -> None:
        shell = Shell(tmp_path, log=WatchedLog(log))
        await shell.driver(lambda record, state: seen.append(is_unfinished(place))).run(shell.first())

    with closing(SqliteLog.create(place.log, "r1", 1)) as log:
        assert is_unfinished(place)
        told(history)(tmp_path)
    assert seen[0]
    assert not is_unfinished(place)


def test_an_empty_log_is_no_run_at_all(tmp_path: Path) -> None:
    with closing(SqliteLog.create(tmp_path / "log.sqlite", "r1", 1)) as log:
        assert fold(log).run == ""
        assert log.head()[0] == 0
