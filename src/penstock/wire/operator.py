"""An operator's command: to the live writer by its socket, or under the lease when no run is alive."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec

from penstock.adapters.clock_system import SystemClock
from penstock.adapters.ledger_file import LedgerFile
from penstock.adapters.log_sqlite import SqliteLog
from penstock.adapters.state_directory import StateDirectory
from penstock.core import events as e
from penstock.core.evolve import evolve
from penstock.core.owed import owed
from penstock.core.state import State
from penstock.ports import BadInput, Problem
from penstock.shell.control_client import OperatorInput, send
from penstock.wire import snapshots
from penstock.wire.git_directory import git_directory
from penstock.wire.look import RunView, open_run


def command(directory: Path, event: OperatorInput) -> str:
    """Hand the command in; says where it went. Raises `BadInput` where it cannot mean anything."""
    view = open_run(directory)
    event = _checked(view.state(), event)
    answer = send(view.place.control, event)
    if answer is not None:
        if answer.error:
            raise _bad(answer.error, "try again, or look at `penstock status`")
        return f"taken as seq {answer.seq} of run {view.name}"
    return _without_writer(StateDirectory(git_directory(directory)), view, event)


def _checked(state: State, event: OperatorInput) -> OperatorInput:
    name = getattr(event, "ticket", None)
    if name is None:
        return event
    run = state.tickets.get(name)
    if run is None:
        raise _bad(f"no ticket {name} in run {state.run}", f"known: {', '.join(list(state.tickets)[:20])}")
    if not isinstance(event, e.Approved):
        return event
    if run.state != "held":
        raise _bad(f"{name} is {run.state}: only a held ticket can be approved", "see `penstock status`")
    tree = run.candidate.tree if run.candidate is not None else ""
    return msgspec.structs.replace(event, tree=tree)


def _without_writer(directory: StateDirectory, view: RunView, event: OperatorInput) -> str:
    epoch = directory.acquire()
    try:
        state = view.state()
        if state.finished is None:
            return _append(view, epoch, event)
        if not isinstance(event, e.Approved):
            raise _bad(f"run {view.name} has ended: nothing is left to command", "start the next: penstock run")
        _require_current(state, event.ticket)
        kept = LedgerFile(directory.ledger)
        ledger = kept.read()
        kept.write(msgspec.structs.replace(ledger, approvals=(*ledger.approvals, event)))
        return f"kept for the next run: `penstock run` goes on with {event.ticket}"
    finally:
        directory.release()


def _require_current(state: State, name: str) -> None:
    """What was seen is what would land: refuse where the next run has to build it anew on a trunk that moved."""
    candidate = state.tickets[name].candidate
    if candidate is not None and candidate.base != state.trunk.commit:
        message = f"trunk moved since {name} was held: another tree than the one that is held would land"
        raise _bad(message, "penstock run (it holds the new tree), then approve that")


def _append(view: RunView, epoch: int, event: OperatorInput) -> str:
    with closing(SqliteLog.open_writer(view.place.log, epoch)) as log:
        state = snapshots.restore(log)
        records: list[e.Record] = []
        pending: list[e.AnyEvent] = [event]
        while pending:
            for one in pending:
                now = max(SystemClock().now_ms(), state.now_ms)
                records.append(e.Record(seq=state.seq + 1, at_ms=now, event=one))
                evolve(state, records[-1])
            pending = list(owed(state))
        log.append(records)
        return f"taken as seq {records[0].seq} of run {view.name}: `penstock run` continues it"


def _bad(message: str, fix: str) -> BadInput:
    return BadInput([Problem(file=".", line=0, field="", message=message, fix=fix)])
