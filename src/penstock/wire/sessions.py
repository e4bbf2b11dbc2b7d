"""The red-green sessions of a repository: those of the gates round its working trees, and those of turns of runs.

```
.git/penstock/gate/NAME/sessions/SESSION.sqlite    a gate's; NAME is of its working tree
.git/penstock/runs/RUN/jobs/KEY/redgreen.sqlite    of one turn, `TICKET/ATTEMPT.TURN`
```
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from penstock.adapters.log_sqlite import SqliteLedger
from penstock.adapters.state_directory import RunDirectory, StateDirectory
from penstock.core.redgreen import events as e
from penstock.core.redgreen.pairs import pair_red_green
from penstock.ports import BadInput, Problem
from penstock.wire.gate_place import gate_place
from penstock.wire.git_directory import git_directory
from penstock.wire.turn_gate import LEDGER


@dataclass(frozen=True)
class Session:
    """One ledger. `run` is empty for a gate's."""

    name: str
    path: Path
    run: str = ""

    @property
    def ticket(self) -> str:
        """Of a turn."""
        return self.name.rpartition("/")[0] if self.run else ""

    def records(self) -> tuple[e.RedGreenRecord, ...]:
        """All of them; the chain is checked. Raises `Corrupt`."""
        with contextlib.closing(SqliteLedger.open_reader(self.path)) as log:
            return tuple(log.read())

    def event_rows(self) -> Iterator[dict[str, Any]]:
        """Each record for programs, with whose it is."""
        for record in self.records():
            yield {**self._whose, "seq": record.seq, "at_ms": record.at_ms, "event": record.event}

    def pair_rows(self) -> Iterator[dict[str, Any]]:
        """Each pair for programs, with whose it is."""
        for pair in pair_red_green(self.records()):
            told = {**msgspec.structs.asdict(pair), "test": pair.test.wire}
            yield {**self._whose, **told}

    @property
    def _whose(self) -> dict[str, str]:
        return {"session": self.name, "run": self.run, "ticket": self.ticket}


def all_sessions(directory: Path) -> Iterator[Session]:
    """Every session of the repository, those of gates first, each kind in the order of its beginning."""
    state = StateDirectory(git_directory(directory))
    for path in sorted((state.path / "gate").glob("*/sessions/*.sqlite"), key=lambda path: path.name):
        yield Session(name=path.stem, path=path)
    for run in reversed(state.runs()):
        yield from _turns_of(run)


def chosen_sessions(directory: Path, session: str, run: str, ticket: str) -> Sequence[Session]:
    """The named session, the turns of a run or of a ticket (of the newest run that has it), else the newest here.

    Raises `BadInput` where there is none.
    """
    if session:
        found = [s for s in all_sessions(directory) if s.name == session and run in ("", s.run)]
        return _some(found, session, "no such session", _known(directory))
    state = StateDirectory(git_directory(directory))
    if run or ticket:
        runs = [r for r in state.runs() if run in ("", r.run)]
        turns = ([s for s in _turns_of(each) if ticket in ("", s.ticket)] for each in runs)
        what = f"no turn of {ticket or run} was held to red-green"
        return _some(next(filter(None, turns), []), ticket or run, what, "see [redgreen] mode in penstock.toml")
    newest = gate_place(directory).newest()
    found = [Session(name=newest.stem, path=newest)] if newest else []
    return _some(found, "", "no gate was ever here", "start one: penstock gate start; or say --run or --ticket")


def _turns_of(run: RunDirectory) -> Iterator[Session]:
    begun: list[tuple[int, str, Path]] = []
    for path in run.jobs.glob(f"*/{LEDGER}") if run.jobs.is_dir() else ():
        with contextlib.closing(SqliteLedger.open_reader(path)) as log:
            first = next(iter(log.read()), None)
        if first is not None and isinstance(first.event, e.SessionOpened):
            begun.append((first.at_ms, first.event.session, path))
    for _, name, path in sorted(begun):
        yield Session(name=name, path=path, run=run.run)


def _known(directory: Path) -> str:
    names = [s.name if not s.run else f"{s.name} (of {s.run})" for s in all_sessions(directory)]
    return f"known: {', '.join(names[-10:]) or 'none'}"


def _some(found: list[Session], field: str, message: str, fix: str) -> list[Session]:
    if not found:
        raise BadInput([Problem(file=".", line=0, field=field, message=message, fix=fix)])
    return found
