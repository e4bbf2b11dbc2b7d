"""The real shell over a small world: driver, performer, log, blobs and processes are the product's own.

Git, gates and agents are those of `tests.model`, seen through the ports. Working trees are directories of real files
whose one word each says what they do, so that an agent may be a real process too.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from penstock import ports
from penstock.adapters.blobs_files import FileBlobs
from penstock.adapters.log_memory import MemoryLog, MemoryStore
from penstock.adapters.processes import LocalProcesses
from penstock.adapters.sandbox_none import NoSandbox
from penstock.core import events as e
from penstock.core.digest import Digest, digest_of_bytes
from penstock.core.paths import matches
from penstock.core.state import State
from penstock.core.tickets import Ticket
from penstock.core.verdicts import Evidence
from penstock.shell.driver import Driver, Observer
from penstock.shell.folding import fold
from penstock.shell.perform import Performer, Worlds, tickets_of
from penstock.shell.recovery import lost_jobs
from tests.model.agents import Agent, right
from tests.model.trees import Files
from tests.model.world import World, given, ticket

BODY = "Do it.\n"
Started = Callable[[ports.ProcessIdentity], None] | None


def told(history: Callable[[Path], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    """A history that is told on an event loop of its own."""

    def test(tmp_path: Path) -> None:
        asyncio.run(asyncio.wait_for(history(tmp_path), 60))

    test.__name__, test.__doc__ = history.__name__, history.__doc__
    return test


async def until(condition: Awaitable[Any], running: asyncio.Task[Any]) -> None:
    """Wait for a condition; a run that ends before it is an error."""
    waiting = asyncio.ensure_future(condition)
    await asyncio.wait({waiting, running}, return_when=asyncio.FIRST_COMPLETED)
    assert waiting.done(), running.result()


def wanted(name: str, **fields: Any) -> Ticket:
    """A ticket whose body can be had."""
    return msgspec.structs.replace(ticket(name, **fields), body=digest_of_bytes(BODY.encode()))


def small(*tickets: Ticket, **policy: Any) -> World:
    """A world with these tickets, or one."""
    return given(*(tickets or (wanted("A"),)), **policy)


def name_of(key: str) -> str:
    """What the working tree of the job of that key is called."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", key.split("/", 1)[1])


# --- the log and the clock ------------------------------------------------------------------------------------------


class WatchedLog:
    """A log that says what became durable, and that can be made to wait or to fail."""

    def __init__(self, inner: ports.EventLog, fails_at: int = 0) -> None:
        self.inner = inner
        self.appends: list[list[e.Record]] = []
        self._fails_at = fails_at
        self._loop = asyncio.get_running_loop()
        self._is_held = False
        self._released = threading.Event()
        self.entered = asyncio.Event()

    def hold(self) -> None:
        """The next append waits until it is released; `entered` tells that it waits."""
        self._is_held = True

    def release(self) -> None:
        self._is_held = False
        self._released.set()

    def fail_next(self) -> None:
        """The disk will be full."""
        self._fails_at = len(self.appends) + 1

    def append(self, records: Sequence[e.Record]) -> Digest:
        if self._is_held:
            self._loop.call_soon_threadsafe(self.entered.set)
            assert self._released.wait(60)
        if len(self.appends) + 1 == self._fails_at:
            raise OSError("the disk is full")
        head = self.inner.append(records)
        self.appends.append(list(records))
        return head

    def owed(self) -> dict[str, e.Order]:
        """What is durably owed, by key."""
        return {r.event.key: r.event.order for some in self.appends for r in some if isinstance(r.event, e.JobOwed)}

    def read(self, after: int = 0) -> Iterator[e.Record]:
        return self.inner.read(after)

    def head(self) -> tuple[int, Digest]:
        return self.inner.head()

    def save_snapshot(self, seq: int, code: Digest, state: bytes) -> None:
        self.inner.save_snapshot(seq, code, state)

    def load_snapshot(self, code: Digest) -> tuple[int, bytes] | None:
        return self.inner.load_snapshot(code)

    def close(self) -> None:
        self.inner.close()


class LeapingClock:
    """Virtual time: who waits for a time makes it come."""

    def __init__(self, now_ms: int = 1_000_000) -> None:
        self.now = now_ms

    def now_ms(self) -> int:
        return self.now

    async def sleep_until(self, due_ms: int) -> None:
        self.now = max(self.now, due_ms)


# --- the world's ports ----------------------------------------------------------------------------------------------


class ModelTrunk:
    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.is_fenced = False

    async def observe(self) -> e.TrunkPosition:
        return self._shell.world.repository.position()

    async def land(self, order: e.LandOrder) -> e.LandEnded:
        self._shell.begin(order)
        if self.is_fenced:
            raise ports.Fenced("another writer took this repository over")
        repository = self._shell.world.repository
        if repository.trunk == order.expected:
            repository.trunk = order.commit
        has_landed = repository.trunk == order.commit
        return e.LandEnded(key="", outcome="landed" if has_landed else "moved", position=repository.position())

    async def done_tickets(self) -> dict[tuple[str, Digest], str]:
        return {}

    async def take_fence(self, epoch: int) -> None: ...

    async def follow(self) -> str:
        return ""


class ModelCandidates:
    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    async def form(self, order: e.MergeOrder) -> e.CandidateFormed | e.CandidateConflicted | e.CandidateFailed:
        self._shell.begin(order)
        return self._shell.world.repository.candidate("", order)

    async def diff(self, base: str, commit: str) -> bytes:
        return b""

    async def files(self, commit: str) -> dict[str, str]:
        return self._shell.world.repository.files(commit)

    async def read_file(self, commit: str, path: str) -> bytes:
        return self._shell.world.repository.files(commit)[path].encode()


class ModelEnvironments:
    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.broken = ""

    def digests(self, files: Mapping[str, str]) -> dict[str, Digest]:
        return {env.name: digest_of_bytes(env.name.encode()) for env in self._shell.world.policy.envs}

    async def build(
        self, order: e.EnvOrder, checkout: ports.Checkout, job_dir: str, started: Started = None
    ) -> e.EnvEnded:
        self._shell.begin(order)
        Path(job_dir, "stdout").write_text("built\n")
        return e.EnvEnded(key="", ok=True)

    def mounts(self, env: str, digest: Digest, checkout: ports.Checkout, job_dir: str) -> tuple[ports.Mount, ...]:
        return (ports.Mount(source=f"/sealed/{env}/{digest[:8]}", target=f"/env/{env}"),)

    async def prepare(self, env: str, checkout: ports.Checkout, job_dir: str) -> e.EnvEnded | None:
        return e.EnvEnded(key="", ok=False, message=self.broken) if self.broken else None


class FolderWorkspaces:
    """Working trees are folders of real files; work is what is in them at the end."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.opened: list[str] = []
        self.kept: list[str] = []
        self.refusal = ""
        self.discarded = asyncio.Event()
        self.importing = asyncio.Event()
        self.may_import = asyncio.Event()
        self.may_import.set()

    def _path(self, name: str) -> Path:
        return self._shell.place / "clones" / name

    async def open_clone(self, name: str, commit: str) -> ports.Checkout:
        self.opened.append(name)
        self._shell.begin_key(name)
        for path, word in self._shell.world.repository.files(commit).items():
            file = self._path(name) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(word)
        return self._checkout(name, commit)

    async def open_checkout(self, name: str, commit: str) -> ports.Checkout:
        return await self.open_clone(name, commit)

    async def reopen(self, name: str, commit: str) -> ports.Checkout | None:
        return self._checkout(name, commit) if self._path(name).is_dir() else None

    def _checkout(self, name: str, commit: str) -> ports.Checkout:
        path = str(self._path(name))
        return ports.Checkout(path=path, at=path, commit=commit, tree=self._shell.world.repository.tree(commit))

    async def import_work(self, clone: ports.Checkout, order: ports.ImportOrder) -> ports.Imported:
        self.importing.set()
        await self.may_import.wait()
        if self.refusal:
            raise ports.ImportRefused(self.refusal)
        repository, root = self._shell.world.repository, Path(clone.path)
        found = {str(p.relative_to(root)): p.read_text() for p in sorted(root.rglob("*")) if p.is_file()}
        start = repository.files(order.start)
        aside = [p for p in found if found[p] != start.get(p) and order.allowed and not matches(order.allowed, p)]
        made: Files = {p: start[p] if p in aside else w for p, w in found.items() if p not in aside or p in start}
        head = order.start if made == start else repository.commit(made, order.start)
        self.kept.append(order.ref)
        return ports.Imported(
            head=head,
            tree=repository.tree(head),
            changes=repository.changes(order.start, head),
            lines=10 * len(repository.changes(order.start, head)),
            total_lines=10 * len(repository.changes(order.trunk, head)),
            is_empty=not repository.changes(order.trunk, head),
            set_aside=tuple(aside),
            salvage=order.ref,
        )

    def mounts(self, checkout: ports.Checkout) -> tuple[ports.Mount, ...]:
        return ()

    async def discard(self, checkout: ports.Checkout) -> None:
        shutil.rmtree(checkout.path)
        self.discarded.set()


class ModelAgent:
    """Writes what the model's agent writes. It can be made to wait, and to fail in its own way."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.bugs: list[Exception] = []
        self.seen: list[tuple[ports.TurnBrief, ports.Confinement]] = []

    async def turn(
        self, brief: ports.TurnBrief, confinement: ports.Confinement, started: Started = None
    ) -> ports.AgentReport:
        self._shell.begin(brief.order)
        self.seen.append((brief, confinement))
        root, start = Path(confinement.checkout.path), self._shell.world.repository.files(brief.order.start)
        did = self._shell.agents.get(brief.order.ticket, right())(brief.order, start)
        for path, word in did.edits.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.unlink() if word is None else file.write_text(word)
        Path(brief.job_dir, "stdout").write_text("I am done.\n")
        Path(confinement.home, "rubbish").write_text("left behind")
        self.begun.set()
        await self.may_end.wait()
        if self.bugs:
            raise self.bugs.pop()
        return ports.AgentReport(outcome=did.outcome, message=did.message, usage=did.usage, claims=did.claims)


class ModelGates:
    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.seen: list[ports.GateRun] = []

    async def run(self, run: ports.GateRun, started: Started = None) -> Evidence:
        self._shell.begin(run.order)
        self.seen.append(run)
        self.begun.set()
        await self.may_end.wait()
        world = self._shell.world
        spec = world.policy.gate(run.order.gate)
        return world.gates.run("", run.order, world.repository.files(run.order.commit), spec).evidence


# --- the shell ------------------------------------------------------------------------------------------------------


@dataclass
class Shell:
    """One writer of one run. Made inside a running event loop."""

    place: Path
    world: World = field(default_factory=small)
    log: WatchedLog = field(default_factory=lambda: WatchedLog(MemoryLog(MemoryStore(), 1)))
    clock: LeapingClock = field(default_factory=LeapingClock)
    state: State = field(default_factory=State)
    agents: dict[str, Agent] = field(default_factory=dict)
    begun: list[e.Order] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    """Effects that began before they were durably owed."""

    def __post_init__(self) -> None:
        self.trunk, self.candidates, self.workspaces = ModelTrunk(self), ModelCandidates(self), FolderWorkspaces(self)
        self.environments, self.agent, self.gates = ModelEnvironments(self), ModelAgent(self), ModelGates(self)
        self.processes, self.blobs = LocalProcesses(grace_ms=200), FileBlobs(self.place / "blobs")
        self.jobs = self.place / "jobs"
        self.worlds = Worlds(
            trunk=self.trunk,
            candidates=self.candidates,
            workspaces=self.workspaces,
            environments=self.environments,
            agent=self.agent,
            gates=self.gates,
            sandbox=NoSandbox(),
            processes=self.processes,
            blobs=self.blobs,
            jobs=self.jobs,
        )
        self.performer = Performer(self.worlds, self.state)

    def begin(self, order: e.Order) -> None:
        """An effect of that order begins now."""
        self.begun.append(order)
        if order not in self.log.owed().values():
            self.early.append(f"{order}")

    def begin_key(self, name: str) -> None:
        """An effect begins now whose name was made of its key."""
        if name.removesuffix("-base") not in [name_of(key) for key in self.log.owed()]:
            self.early.append(name)

    def first(self) -> list[e.Input]:
        """The inputs that begin the run."""
        world = self.world
        started = e.RunStarted(
            run="r1",
            seed=1,
            version="0",
            policy=world.policy,
            branch="main",
            landing_ref="refs/heads/main",
            trunk=world.repository.position(),
            isolation="none",
            agent="model",
        )
        tickets = tickets_of([ports.TicketText(ticket=t, body=BODY) for t in world.tickets], self.blobs)
        return [started, *(e.TicketAdded(ticket=t) for t in tickets)]

    def driver(self, *observers: Observer) -> Driver:
        return Driver(
            state=self.state,
            log=self.log,
            clock=self.clock,
            performer=self.performer,
            seal=self.seal,
            observers=observers,
        )

    async def seal(self, n: int) -> e.ReportSealed:
        return e.ReportSealed(n=n, head=self.log.head()[1], digest="d" * 64)

    async def resumed(self, epoch: int = 2) -> list[e.Input]:
        """The inputs with which this writer goes on where another has died."""
        lost = await lost_jobs(self.state, self.jobs, self.processes, self.performer)
        return [e.RunResumed(version="0", epoch=epoch), *lost]

    def records(self) -> list[e.Record]:
        return list(self.log.read())

    def all(self, kind: type[Any]) -> list[Any]:
        """Every durable event of that kind."""
        return [r.event for r in self.records() if isinstance(r.event, kind)]

    def states(self) -> dict[str, str]:
        """The state of each ticket, as the log says."""
        return {name: run.state for name, run in fold(self.log).tickets.items()}
