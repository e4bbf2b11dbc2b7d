"""The gate of a working tree as one daemon serves it: the lock, the epoch, the session and its world."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from penstock import durable
from penstock.adapters.blobs_sqlite import SqliteBlobs
from penstock.adapters.log_sqlite import SqliteLedger
from penstock.adapters.processes import LocalProcesses
from penstock.adapters.sandbox_none import NoSandbox
from penstock.core.redgreen.ledger import fold
from penstock.core.redgreen.policy import RedGreenPolicy
from penstock.kernel.daemon import Daemon
from penstock.kernel.launching import Launcher
from penstock.kernel.opening import open_session
from penstock.kernel.project import Runners
from penstock.kernel.session import GateWorld
from penstock.kernel.tools.dispatcher import Dispatcher
from penstock.kernel.tree.scanner import TreeScanner
from penstock.kernel.tree.writer import TreeWriter
from penstock.ports import AlreadyRunning, BadInput, Checkout, Confinement, Problem
from penstock.private_sockets import listen
from penstock.wire.gate_place import GatePlace, gate_place, made, policy_in_force
from penstock.wire.ignored import ignored_in
from penstock.wire.runners import RUNNER_GRACE_MS, TreeRunners, keeper_command, why_not_strict


def serve_gate(directory: Path, ready_fd: int | None = None) -> None:
    """Be the gate of this working tree until told to stop. Raises `AlreadyRunning`, `BadInput`."""
    place, mode = gate_place(directory), policy_in_force(directory)
    made(place.directory)
    with _held(place) as epoch:
        asyncio.run(_serve(place, mode.policy, epoch, ready_fd))


async def _serve(place: GatePlace, policy: RedGreenPolicy, epoch: int, ready_fd: int | None) -> None:
    dispatcher = await open_workspace(place, policy, epoch)
    listener = listen(place.socket)
    try:
        if ready_fd is not None:
            os.write(ready_fd, b"ready\n")
            os.close(ready_fd)
        await Daemon(dispatcher).serve(listener)
    finally:
        place.socket.unlink(missing_ok=True)


async def open_workspace(place: GatePlace, policy: RedGreenPolicy, epoch: int) -> Dispatcher:
    """A session round the user's own tree: what others wrote while no gate was there is theirs."""
    launcher = Launcher(
        processes=LocalProcesses(grace_ms=RUNNER_GRACE_MS),
        sandbox=NoSandbox(),
        confinement=Confinement(checkout=_checkout(place.top), home=str(made(place.directory / "scratch" / "home"))),
        scratch=place.directory / "scratch" / "jobs",
        keeper=keeper_command(),
    )
    runners = TreeRunners(launcher, policy)
    await require_tests(runners, place.top, policy)
    unfinished = _unfinished(place)
    ledger = unfinished or made(place.sessions) / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{epoch}.sqlite"
    world = make_world(launcher, runners, ledger, place.directory / "blobs.sqlite", epoch)
    session, desk = await open_session(world, ledger.stem, policy, adopts=True)
    return Dispatcher(session, desk)


def make_world(launcher: Launcher, runners: Runners, ledger: Path, blobs_file: Path, epoch: int) -> GateWorld:
    """Everything that a session works with, its ledger opened or made."""
    blobs = SqliteBlobs(blobs_file)
    is_there = ledger.exists()
    log = SqliteLedger.open_writer(ledger, epoch) if is_there else SqliteLedger.create(ledger, ledger.stem, epoch)
    return GateWorld(
        log=log,
        blobs=blobs,
        flush=blobs.flush,
        now_ms=lambda: time.time_ns() // 1_000_000,
        scanner=TreeScanner(launcher.top, ignored_in(launcher.top), blobs=blobs),
        writer=TreeWriter(launcher.top, blobs),
        launcher=launcher,
        runners=runners,
    )


async def require_tests(runners: Runners, top: Path, policy: RedGreenPolicy) -> None:
    """Strict mode needs a test that can be collected. Raises `BadInput` where there is none."""
    if policy.mode != "strict":
        return
    why = await why_not_strict(runners, top)
    if not why:
        return
    message = f"strict red-green needs a test that can be collected: {why}"
    fix = 'write a first test of what the code does today, or set [redgreen] mode = "warn" and use refactor mode'
    raise BadInput([Problem(file="penstock.toml", line=0, field="redgreen.mode", message=message, fix=fix)])


def _unfinished(place: GatePlace) -> Path | None:
    """The newest ledger, where a turn was open when its gate died."""
    newest = place.newest()
    if newest is None:
        return None
    with contextlib.closing(SqliteLedger.open_reader(newest)) as log:
        ledger = fold(log.read())
    return newest if ledger.is_open else None


@contextlib.contextmanager
def _held(place: GatePlace) -> Iterator[int]:
    """The lock of the one daemon, and a fresh epoch. Raises `AlreadyRunning`."""
    lock = os.open(place.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"another gate guards {place.top}; `penstock gate stop` ends it") from None
        kept = place.directory / "epoch"
        epoch = int(kept.read_text()) + 1 if kept.exists() else 1
        durable.write_whole(kept, f"{epoch}\n".encode())
        yield epoch
    finally:
        os.close(lock)


def _checkout(top: Path) -> Checkout:
    return Checkout(path=str(top), at=str(top), commit="", tree="")
