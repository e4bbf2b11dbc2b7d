"""The gate of a working tree: made, served by one daemon, and found by whoever wants to ask it.

```
.git/penstock/gate/NAME.sock     where the daemon listens; NAME is of the tree's own path
.git/penstock/gate/NAME/         lock  epoch  daemon.log  blobs.sqlite  sessions/*.sqlite  scratch/
```
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from penstock import durable
from penstock.adapters.blobs_sqlite import SqliteBlobs
from penstock.adapters.log_sqlite import SqliteLedger
from penstock.adapters.processes import LocalProcesses
from penstock.adapters.sandbox_none import NoSandbox
from penstock.core.redgreen import events as e
from penstock.core.redgreen.ledger import fold
from penstock.core.redgreen.policy import RedGreenPolicy
from penstock.kernel.daemon import LINE_BYTES_MAX, Daemon
from penstock.kernel.hooks.gate_socket import address_in, is_listening
from penstock.kernel.launching import Launcher
from penstock.kernel.opening import open_session
from penstock.kernel.project import Runners
from penstock.kernel.session import GateWorld
from penstock.kernel.tools.dispatcher import Answer, Dispatcher
from penstock.kernel.tree.names import plain_parts
from penstock.kernel.tree.quarantine import LeftFile, unpack
from penstock.kernel.tree.scanner import TreeScanner
from penstock.kernel.tree.writer import TreeWriter
from penstock.ports import AlreadyRunning, BadInput, Checkout, Confinement, Problem
from penstock.private_sockets import address_of, listen
from penstock.settings.reader import load_settings
from penstock.settings.redgreen import VARIABLE, mode_in_force
from penstock.settings.schema import RedGreenSettings
from penstock.wire.git_directory import git_directory
from penstock.wire.ignored import ignored_in
from penstock.wire.project import find_settings
from penstock.wire.runners import RUNNER_GRACE_MS, TreeRunners, keeper_command, why_not_strict

AGENT_SETTINGS = (".claude/**", ".codex/**", ".cursor/**", ".openhands/**", ".mcp.json")
"""Who changes these while a gate is there could take its hooks out."""


@dataclass(frozen=True)
class GatePlace:
    """Where the gate of one working tree keeps its things."""

    top: Path
    directory: Path
    socket: Path

    @property
    def sessions(self) -> Path:
        """One ledger per session, named by when it began."""
        return self.directory / "sessions"

    def newest(self) -> Path | None:
        """The ledger of the newest session."""
        return max(self.sessions.glob("*.sqlite"), default=None) if self.sessions.is_dir() else None


@dataclass(frozen=True)
class Mode:
    """The policy in force, and where its mode comes from."""

    policy: RedGreenPolicy
    origin: str


def gate_place(directory: Path) -> GatePlace:
    """The place for the working tree around `directory`. Raises `BadInput` outside a repository."""
    common = git_directory(directory)
    top = next(f for f in (directory.resolve(), *directory.resolve().parents) if (f / ".git").exists())
    socket = Path(address_in(str(common), str(top)))
    return GatePlace(top=top, directory=socket.with_suffix(""), socket=socket)


def policy_in_force(directory: Path, environ: Mapping[str, str] = os.environ) -> Mode:
    """The policy of red-green here. Raises `BadInput` where settings or the variable are wrong."""
    path = find_settings(directory)
    settings = load_settings(path).redgreen if path.exists() else RedGreenSettings()
    mode, origin, fault = mode_in_force(settings, environ)
    if fault is not None:
        problem = Problem(file="environment", line=0, field=VARIABLE, message=fault[0], fix=fault[1])
        raise BadInput([problem])
    files = settings.policy.files
    files = msgspec.structs.replace(files, protected=(*files.protected, *AGENT_SETTINGS))
    return Mode(msgspec.structs.replace(settings.policy, mode=mode, files=files), origin)


# --- the daemon's side ----------------------------------------------------------------------------------------------


def serve_gate(directory: Path, ready_fd: int | None = None) -> None:
    """Be the gate of this working tree until told to stop. Raises `AlreadyRunning`, `BadInput`."""
    place, mode = gate_place(directory), policy_in_force(directory)
    place.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
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
        confinement=Confinement(checkout=_checkout(place.top), home=str(_made(place.directory / "scratch" / "home"))),
        scratch=place.directory / "scratch" / "jobs",
        keeper=keeper_command(),
    )
    runners = TreeRunners(launcher, policy)
    await require_tests(runners, place.top, policy)
    unfinished = _unfinished(place)
    ledger = unfinished or _made(place.sessions) / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{epoch}.sqlite"
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


def _made(directory: Path) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


# --- the client's side ----------------------------------------------------------------------------------------------


class GateClient:
    """Asks the gate of one working tree, over one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._lock = asyncio.Lock()

    async def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """One question, one answer. Raises `ConnectionError` where the gate ended."""
        async with self._lock:
            line = b""
            try:
                self._writer.write(msgspec.json.encode({"v": 1, **question}) + b"\n")
                await self._writer.drain()
                line = await self._reader.readline()
            finally:
                if not line:  # whoever asks next must not read this answer
                    self._writer.close()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the gate ended before it answered")
        return msgspec.json.decode(line, type=dict[str, Any])

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> Answer:
        """Call a tool."""
        said = await self.ask({"op": "call", "tool": tool, "arguments": arguments})
        if "text" not in said:
            return Answer(str(said.get("reason", "the gate did not understand")), is_error=True)
        return Answer(str(said["text"]), bool(said["is_error"]), said.get("data", {}))

    async def close(self) -> None:
        """Hang up; the gate goes on."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


async def connect(directory: Path, *, starts: bool = True) -> GateClient:
    """A client of the gate around `directory`, which is started where nobody listens and `starts`.

    Raises `BadInput` where it cannot be started, `ConnectionRefusedError` where it is not there.
    """
    place = gate_place(directory)
    client = await _reach(place)
    if client is None and starts:
        await asyncio.to_thread(start_gate, place)
        client = await _reach(place)
    if client is None:
        raise ConnectionRefusedError(f"no gate guards {place.top}; `penstock gate start` starts one")
    return client


async def stop_gate(directory: Path) -> bool:
    """End the gate around `directory`, and wait until it has ended; False where none was there."""
    place = gate_place(directory)
    client = await _reach(place)
    if client is None:
        return False
    await client.ask({"op": "shutdown"})
    await client.close()
    await asyncio.to_thread(_wait_for_the_end, place)
    return True


def _wait_for_the_end(place: GatePlace) -> None:
    """The lock is free when the process that held it has ended."""
    with open(place.directory / "lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


async def _reach(place: GatePlace) -> GateClient | None:
    if not place.socket.parent.is_dir():
        return None
    try:
        with address_of(place.socket) as address:
            return GateClient(*await asyncio.open_unix_connection(address, limit=LINE_BYTES_MAX))
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def start_gate(place: GatePlace) -> None:
    """Start the daemon and wait until it listens; of several who want to, one does.

    Raises `BadInput` with what it said where it does not.
    """
    with open(_made(place.directory) / "starting", "wb") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if is_listening(str(place.socket)):
            return
        log = place.directory / "daemon.log"
        if not _spawn(place, log):
            said = log.read_text(errors="replace").strip()[-1_000:]
            message = f"it could not be started: {said}"
            raise BadInput([Problem(file=str(place.top), line=0, field="gate", message=message)])


def _spawn(place: GatePlace, log: Path) -> bool:
    """Whether the daemon said that it is ready, before it ended."""
    reading, writing = os.pipe()
    words = [sys.executable, "-m", "penstock.cli", "-C", str(place.top), "gate", "serve", f"--ready-fd={writing}"]
    try:
        with open(log, "wb") as output:
            subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=(writing,),
            )
    finally:
        os.close(writing)
    with open(reading, "rb") as answer:
        return bool(answer.read(1))


def read_ledger(directory: Path) -> tuple[e.RedGreenRecord, ...]:
    """All records of the newest session of the tree around `directory`; none where no gate was ever there."""
    newest = gate_place(directory).newest()
    if newest is None:
        return ()
    with contextlib.closing(SqliteLedger.open_reader(newest)) as log:
        return tuple(log.read())


# --- what was taken back --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TakenBack:
    """A write that nothing asked for, and that was kept. `seq`: of its record in the newest session."""

    seq: int
    tool: str
    why: str
    files: tuple[LeftFile, ...]


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
