"""What a hive hands to its successor in the same process: an exec keeps the children and the descriptors, not the mind.

The descriptors are made inheritable right before, and closed to children again right after, before anything is
spawned. The state itself is JSON in a memory file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from typing import Any

import msgspec

from penstock.core.fleet.life import WorkerState
from penstock.core.fleet.parties import Device
from penstock.core.policy import Frozen
from penstock.fleet.hive.child import Child, Held
from penstock.fleet.hive.hive import Hive
from penstock.fleet.hive.roster import Worker
from penstock.fleet.orders import Model

KEPT_ENV = "PENSTOCK_HIVE_KEPT"
FORMAT = 1
"""Of `Kept`. A successor that cannot read it is not begun: see `upgrading`."""


class KeptWorker(Frozen):
    """A worker, as it was. `held`: its process, while there is one."""

    id: str
    model: Model
    url: str
    nonce: str
    state: WorkerState
    memory_bytes: int
    is_ours: bool
    restarts: int
    began_ms: int
    progressed_ms: int
    loaded_ms: int
    ended_ms: int
    busy: int
    pid: int
    exit_code: int | None
    code: str
    message: str
    told: tuple[str, ...]
    held: Held | None
    tokens_total: int = 0
    has_served: bool = False


class KeptRestarts(Frozen):
    """The failures of a model."""

    model: str
    failed_at: tuple[int, ...]
    in_a_row: int
    open_until_ms: int
    is_trying: bool


class KeptDue(Frozen):
    """A replacement that is owed."""

    model: str
    restarts: int
    due_ms: int


class Kept(Frozen):
    """All of it."""

    instance: str
    epoch: int
    number: int
    listen_fd: int
    workers: tuple[KeptWorker, ...]
    restarts: tuple[KeptRestarts, ...]
    due: tuple[KeptDue, ...]
    strangers: tuple[int, ...]
    devices: tuple[Device, ...] = ()
    problems: tuple[str, ...] = ()
    """Of `FoundDevices`."""
    format: int = FORMAT

    def descriptors(self) -> Iterator[int]:
        """That must stay open."""
        yield self.listen_fd
        for worker in self.workers:
            if worker.held is not None:
                yield from (fd for fd in (worker.held.pidfd, worker.held.owner_fd, worker.held.log_fd) if fd >= 0)


def keep(hive: Hive, instance: str, epoch: int, number: int, listen_fd: int) -> Kept:
    """What there is now. Nothing may be starting."""
    restarts = [
        KeptRestarts(
            model=model,
            failed_at=tuple(each.failed_at),
            in_a_row=each.in_a_row,
            open_until_ms=each.open_until_ms,
            is_trying=each.is_trying,
        )
        for model, each in hive.restarts.items()
    ]
    owed = [due for waiting in hive.due.values() for due in waiting]
    return Kept(
        instance=instance,
        epoch=epoch,
        number=number,
        listen_fd=listen_fd,
        workers=tuple(_kept(worker) for worker in hive.roster),
        restarts=tuple(restarts),
        due=tuple(KeptDue(model=due.model, restarts=due.restarts, due_ms=due.due_ms) for due in owed),
        strangers=tuple(sorted(hive.strangers)),
        devices=hive.options.found.devices,
        problems=hive.options.found.problems,
    )


def _kept(worker: Worker) -> KeptWorker:
    child = worker.child
    held = None if child is None or child.ended.done() else child.held()
    same = {name: getattr(worker, name) for name in KeptWorker.__struct_fields__ if name not in ("told", "held")}
    return KeptWorker(told=tuple(worker.log.lines()), held=held, **same)


def restore(kept: Kept, hive: Hive) -> None:
    """Go on where the predecessor stopped."""
    hive.strangers = frozenset(kept.strangers)
    for failures in kept.restarts:
        found = hive.restarts_of(failures.model)
        found.failed_at, found.in_a_row = list(failures.failed_at), failures.in_a_row
        found.open_until_ms, found.is_trying = failures.open_until_ms, failures.is_trying
    for worker in kept.workers:
        _restore(worker, hive)
    for due in kept.due:
        hive.replace_at(due.model, due.restarts, due.due_ms)


def _restore(kept: KeptWorker, hive: Hive) -> None:
    same: dict[str, Any] = {
        name: getattr(kept, name) for name in kept.__struct_fields__ if name not in ("told", "held")
    }
    log = hive.log_of(kept.id)
    log.told.extend(kept.told)
    worker = Worker(log=log, **same)
    hive.roster.add(worker)
    if kept.held is not None:
        hive.adopt(worker, Child(kept.held, log))
        if worker.state == "draining":
            hive.ending.resume(worker)
        elif not worker.is_live:
            hive.go(hive.ending.kill(worker, worker.code))
    elif worker.is_live:
        hive.watch(worker)


def read(data: bytes) -> Kept:
    """Raises `ValueError` where it is of another format."""
    kept = msgspec.json.decode(data, type=Kept)
    if kept.format != FORMAT:
        raise ValueError(f"format {kept.format}, not {FORMAT}")
    return kept


def lay_down(kept: Kept, environ: MutableMapping[str, str]) -> None:
    """Leave it to the successor. From here on nothing may be spawned but by an exec of this process."""
    fd = os.memfd_create("hive")
    os.write(fd, msgspec.json.encode(kept))
    os.lseek(fd, 0, os.SEEK_SET)
    for each in (fd, *kept.descriptors()):
        os.set_inheritable(each, True)
    environ[KEPT_ENV] = str(fd)


def found(environ: MutableMapping[str, str]) -> Kept | None:
    """What a predecessor left; its descriptors are closed to children again."""
    if KEPT_ENV not in environ:
        return None
    with os.fdopen(int(environ.pop(KEPT_ENV)), "rb") as file:
        kept = read(file.read())
    for each in kept.descriptors():
        os.set_inheritable(each, False)
    return kept
