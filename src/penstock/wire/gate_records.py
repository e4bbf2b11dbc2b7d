"""What the newest session of a gate wrote down: its records, and the writes that it took back."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from penstock.adapters.blobs_sqlite import SqliteBlobs
from penstock.adapters.log_sqlite import SqliteLedger
from penstock.core.redgreen import events as e
from penstock.kernel.tree.names import plain_parts
from penstock.kernel.tree.quarantine import LeftFile, unpack
from penstock.wire.gate_place import gate_place


@dataclass(frozen=True)
class TakenBack:
    """A write that nothing asked for, and that was kept. `seq`: of its record in the newest session."""

    seq: int
    tool: str
    why: str
    files: tuple[LeftFile, ...]


def read_ledger(directory: Path) -> tuple[e.RedGreenRecord, ...]:
    """All records of the newest session of the tree around `directory`; none where no gate was ever there."""
    newest = gate_place(directory).newest()
    if newest is None:
        return ()
    with contextlib.closing(SqliteLedger.open_reader(newest)) as log:
        return tuple(log.read())


def taken_back(directory: Path) -> tuple[TakenBack, ...]:
    """What the newest session of the tree around `directory` took back, oldest first."""
    place, found = gate_place(directory), []
    records = [r for r in read_ledger(directory) if isinstance(r.event, e.UnclaimedWrite) and r.event.is_restored]
    if not records:
        return ()
    with contextlib.closing(SqliteBlobs(place.directory / "blobs.sqlite")) as blobs:
        for record in records:
            assert isinstance(record.event, e.UnclaimedWrite)
            files = unpack(blobs.get(record.event.patch))
            found.append(TakenBack(record.seq, record.event.tool, record.event.why, files))
    return tuple(found)


def write_taken_back(write: TakenBack, into: Path) -> list[Path]:
    """Lay the files of `write` below `into`, a fresh directory. Raises `FileExistsError`."""
    into.mkdir(parents=True)
    written = []
    for file in write.files:
        if file.content is None or file.kind != "file":
            continue
        path = into.joinpath(*plain_parts(file.path))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        written.append(path)
    return written
