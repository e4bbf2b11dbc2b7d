"""How long the command line takes to answer: `--help`, and `status` on a log of 100,000 events."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from penstock.adapters.log_sqlite import SqliteLog
from penstock.adapters.state_directory import StateDirectory
from penstock.core import events as e
from penstock.core.evolve import evolve
from penstock.core.owed import owed
from penstock.core.policy import GateSpec, Policy
from penstock.core.state import State
from penstock.core.tickets import Ticket
from penstock.core.verdicts import Evidence
from penstock.wire import snapshots

ROUNDS = 11
EVENTS = 100_000
TICKETS = 6_500
"""Enough, at 16 records and more a ticket."""


def wall_s(*command: str, cwd: Path | None = None) -> float:
    """Median wall time of a command over some rounds."""
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        subprocess.run(command, cwd=cwd, check=True, capture_output=True)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def records(wanted: int) -> list[e.Record]:
    """A history that the real core decided: one docs ticket after another, each landing at once."""
    state, kept = State(), []

    def append(*events: e.AnyEvent) -> None:
        pending = list(events)
        while pending:
            for event in pending:
                kept.append(e.Record(seq=state.seq + 1, at_ms=state.seq + 1, event=event))
                evolve(state, kept[-1])
            pending = list(owed(state))

    policy = Policy(gates=(GateSpec(name="nothing", command="true", digest="d"),))
    trunk = e.TrunkPosition(commit="c0", tree="t0")
    append(
        e.RunStarted(
            run="bench",
            seed=1,
            version="0",
            policy=policy,
            branch="main",
            landing_ref="refs/heads/main",
            trunk=trunk,
            isolation="none",
            agent="none",
        ),
        *(e.TicketAdded(ticket=docs_ticket(n)) for n in range(TICKETS)),
    )
    while len(kept) < wanted and state.jobs:
        append(*(end_of(state, job.key, job.order) for job in list(state.jobs.values())))
    assert len(kept) >= wanted, f"{TICKETS} tickets gave only {len(kept)} records"
    return kept[:wanted]


def docs_ticket(n: int) -> Ticket:
    """A ticket whose kind tells nothing, so that one gate is all it needs."""
    return Ticket(id=f"T{n}", title="note", body="b", digest=f"{n}", source=f"tickets/T{n}.md", kind="docs")


def end_of(state: State, key: str, order: e.Order) -> e.Input:
    """How a job ends where everything goes well."""
    change = e.FileChange(path="notes.md", status="modified", kind="production", lines=1)
    match order:
        case e.TurnOrder():
            return e.TurnEnded(key=key, outcome="ended", head=f"h{state.seq}", changes=(change,), lines=1)
        case e.MergeOrder():
            commit, tree = f"c{state.seq}", f"t{state.seq}"
            base_tree = state.trunk.tree
            return e.CandidateFormed(
                key=key, commit=commit, tree=tree, base=order.onto, base_tree=base_tree, changes=(change,), lines=1
            )
        case e.GateOrder():
            seen = Evidence(
                gate=order.gate,
                look=order.look,
                tree=order.tree,
                commit=order.commit,
                verdict="pass",
                base_tree=order.against_tree,
            )
            return e.GateEnded(key=key, evidence=seen)
        case e.LandOrder():
            position = e.TrunkPosition(commit=order.commit, tree=order.tree)
            return e.LandEnded(key=key, outcome="landed", position=position)
        case _:
            raise AssertionError(order)


def measure() -> dict[str, float]:
    """Seconds, and ratios against a bare interpreter in the same run."""
    penstock = str(Path(sys.executable).parent / "penstock")
    bare = wall_s(sys.executable, "-I", "-c", "pass")
    shown = wall_s(penstock, "--help")
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as scratch:
        top = Path(scratch)
        subprocess.run(["git", "init", "-q", str(top)], check=True)
        state = StateDirectory(top / ".git")
        epoch = state.acquire()
        place = state.make_run(0)
        with closing(SqliteLog.create(place.log, place.run, epoch)) as log:
            kept = records(EVENTS)
            for begin in range(0, EVENTS, 1_000):
                log.append(kept[begin : begin + 1_000])
            snapshots.save(log, snapshots.restore(log))
        state.release()
        answered = wall_s(penstock, "status", cwd=top)
    return {
        "python_s": round(bare, 4),
        "help_s": round(shown, 4),
        "help_over_python": round(shown / bare, 1),
        "status_100k_s": round(answered, 4),
        "status_100k_over_python": round(answered / bare, 1),
    }
