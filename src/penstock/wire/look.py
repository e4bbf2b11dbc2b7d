"""Looking at runs without taking part: status, logs, report. Works while a run writes, and after it died.

Git and the event loop are imported where they are needed: `status` has to answer at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from penstock.adapters.blobs_files import FileBlobs
from penstock.adapters.log_sqlite import SqliteLog
from penstock.adapters.state_directory import RunDirectory, StateDirectory
from penstock.core import events as e
from penstock.core.done import what_moves
from penstock.core.policy import FileClasses, Frozen, Landing
from penstock.core.state import State
from penstock.core.tables import TERMINAL
from penstock.evidence.lines import red_green_line
from penstock.evidence.words import counted, plain, red_green_words
from penstock.ports import BadInput, Problem
from penstock.wire import snapshots
from penstock.wire.git_directory import git_directory


class TicketStatus(Frozen):
    """Where one ticket is. `next`: what moves it, empty when it is terminal."""

    id: str
    title: str
    state: str
    reason: str
    attempts: int
    next: str = ""
    commit: str = ""


class RunStatus(Frozen):
    """Where a run is. `outcome`: `running`, `interrupted`, or how it ended; `reason`: why it ended so."""

    run: str
    outcome: str
    exit_code: int | None
    seq: int
    trunk: str
    window: int
    tickets: tuple[TicketStatus, ...]
    reason: str = ""


class RunView:
    """One run, read-only."""

    def __init__(self, directory: Path, state_directory: StateDirectory, place: RunDirectory) -> None:
        self.name = place.run
        self.place = place
        self.path = place.path
        self._blobs = FileBlobs(state_directory.blobs)
        self._directory = directory

    def records(self, after: int = 0) -> list[e.Record]:
        """Records with seq > `after`; the chain is checked. Raises `Corrupt`."""
        with closing(SqliteLog.open_reader(self.place.log)) as log:
            return list(log.read(after))

    def state(self) -> State:
        """The folded state."""
        with closing(SqliteLog.open_reader(self.place.log)) as log:
            return snapshots.restore(log)

    def blob(self, digest: str) -> bytes | None:
        """A blob's bytes, None where it is missing."""
        return self._blobs.get(digest) if self._blobs.has(digest) else None

    def diff_of(self, commit: str) -> str | None:
        """What a landed commit changed, as a unified diff."""
        import asyncio

        return asyncio.run(self._diff(commit))

    async def _diff(self, commit: str) -> str | None:
        from penstock.adapters.git.candidates import GitCandidates
        from penstock.adapters.git.repository import inspect_repository
        from penstock.adapters.git.store import Store

        store = Store(await inspect_repository(self._directory))
        candidates = GitCandidates(store, Landing(), FileClasses(), self.name)
        return (await candidates.diff(f"{commit}^", commit)).decode(errors="replace")


def open_run(directory: Path, run: str | None = None) -> RunView:
    """The named run of the repository around `directory`, else its newest. Raises `BadInput`."""
    state = StateDirectory(git_directory(directory))
    places = {place.run: place for place in state.runs() if place.log.exists()}
    if run is None and not places:
        raise BadInput([Problem(file=".", line=0, field="", message="no run yet", fix="start one: penstock run")])
    if run is not None and run not in places:
        fix = f"known: {', '.join(list(places)[:10]) or 'none'}"
        raise BadInput([Problem(file=".", line=0, field=run, message="no such run", fix=fix)])
    return RunView(directory, state, places[run] if run else next(iter(places.values())))


def status(directory: Path, run: str | None = None) -> RunStatus:
    """Where every ticket of a run is and what moves it next."""
    view = open_run(directory, run)
    state = view.state()
    if state.finished is not None:
        outcome: str = state.finished.outcome
    else:
        from penstock.private_sockets import is_listening

        live = is_listening(view.place.control)
        outcome = "running" if live else "interrupted: `penstock run` continues it"
    return RunStatus(
        run=view.name,
        outcome=outcome,
        exit_code=state.finished.exit_code if state.finished else None,
        seq=state.seq,
        trunk=state.trunk.commit,
        window=state.window,
        tickets=tuple(_ticket_status(state, name) for name in state.tickets),
        reason=state.conclusion.reason if state.conclusion else "",
    )


def _ticket_status(state: State, name: str) -> TicketStatus:
    run = state.tickets[name]
    return TicketStatus(
        id=name,
        title=run.ticket.title,
        state=run.state,
        reason=run.reason,
        attempts=run.attempt,
        next="" if run.state in TERMINAL else what_moves(state, name, "this run has ended" if state.conclusion else ""),
        commit=run.commit,
    )


class TicketReader:
    """Lines about one ticket, as they come."""

    def __init__(self, view: RunView, ticket: str, output: bool) -> None:
        self._view = view
        self._ticket = ticket
        self._output = output
        self._seq = 0
        self._keys: set[str] = set()
        self.ended = False

    def new_lines(self) -> Iterator[str]:
        """What was recorded since the last call."""
        for record in self._view.records(self._seq):
            self._seq = record.seq
            yield from map(plain, self._lines(record))

    def _lines(self, record: e.Record) -> Iterator[str]:
        event = record.event
        if isinstance(event, e.JobOwed) and event.ticket == self._ticket:
            self._keys.add(event.key)
            yield f"{record.seq:>6} owed {event.key.split('/', 1)[1]}: {event.why}"
        elif isinstance(event, e.TicketMoved) and event.ticket == self._ticket:
            self.ended = event.to in TERMINAL
            yield f"{record.seq:>6} {event.to}: {event.reason}"
        elif isinstance(event, e.Refused) and event.ticket == self._ticket:
            yield f"{record.seq:>6} refused ({event.kind}): {event.reason}"
        elif isinstance(event, e.RunFinished):
            self.ended = True
        elif getattr(event, "key", None) in self._keys:
            yield from self._job_end(record)

    def _job_end(self, record: e.Record) -> Iterator[str]:
        event = record.event
        if isinstance(event, e.TurnEnded):
            changed = ", ".join(c.path for c in event.changes[:8])
            what = f"{counted(event.lines, 'line')} in {changed}" if changed else "nothing changed"
            why = f": {event.message}" if event.message else ""
            yield f"{record.seq:>6} agent {event.outcome}, {what}{why}"
            if event.ledger is not None and (line := red_green_line([event.ledger])):
                yield f"       {red_green_words(line)}; see penstock events red-green --session {event.ledger.session}"
            yield from self._show(event.output)
        elif isinstance(event, e.GateEnded):
            seen = event.evidence
            yield f"{record.seq:>6} {seen.gate} ({seen.look}): {seen.verdict} {seen.why}"
            if seen.verdict != "pass":
                yield from self._show(seen.output)
        elif isinstance(event, e.JobLost):
            yield f"{record.seq:>6} lost: {event.reason}"

    def _show(self, digest: str | None) -> Iterator[str]:
        data = self._view.blob(digest) if self._output and digest else None
        for text in (data or b"").decode(errors="replace").splitlines():
            yield f"       | {text}"


def follow_ticket(directory: Path, run: str | None, ticket: str, *, output: bool) -> TicketReader:
    """A reader of everything about one ticket. Raises `BadInput` where the run does not have it."""
    view = open_run(directory, run)
    known = view.state().tickets
    if ticket not in known:
        fix = f"known: {', '.join(list(known)[:20])}"
        raise BadInput([Problem(file=".", line=0, field=ticket, message="no such ticket in this run", fix=fix)])
    return TicketReader(view, ticket, output)
