"""Runs process trees on this machine and lets none of their members survive.

On Linux every tree has a keeper at its root (`keeper.py`), which adopts every orphan and ends last: the end of the
keeper is the end of the tree. It costs 15 ms a tree, and buys what bubblewrap alone does not give: when its monitor has
ended, some inside may still be dying, and when we are killed while it starts, what it starts would live on.

A tree is ended from below: TERM goes to every descendant of the keeper but not to one that holds a pid namespace, whose
end would be the sudden end of all inside; after a grace KILL goes to all of them.

Three traps are avoided. Output goes to files and the end is seen on a pidfd: a pipe stays open for as long as any
grandchild holds it. A process is signalled through a pidfd whose start time was compared: a number may by then be
somebody else's. And trees are spawned from the thread of the event loop, because what is to die with its parent dies
with its parent's *thread*.

Without pidfd and /proc (macOS) there is no keeper: the process group is signalled, what leaves it is lost from sight,
and an end is seen at the next tick.
"""

from __future__ import annotations

import asyncio
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Literal, NamedTuple

from penstock.ports import ProcessEnd, ProcessIdentity, ProcessOrder

LINUX = sys.platform == "linux"
KEEPER = os.path.join(os.path.dirname(__file__), "keeper.py")
WATCHED_ENTRIES_MAX = 2_000
IDLE_CPU_SHARE = 0.02
"""Less than this part of one core is no progress: idle event loops tick."""
UNKILLABLE_S = 10.0
"""How long after the last KILL the end is waited for: a process in uninterruptible sleep may take for ever."""

Breach = Literal["timeout", "stalled", "flood"]


class LocalProcesses:
    """Process trees of this machine. Without progress for `grace_ms` after TERM comes KILL."""

    def __init__(self, grace_ms: int = 2_000, tick_ms: int = 50) -> None:
        self._grace_s = grace_ms / 1_000
        self._tick_s = tick_ms / 1_000

    async def run(self, order: ProcessOrder, started: Callable[[ProcessIdentity], None] | None = None) -> ProcessEnd:
        """Run to the end. Cancelling ends the whole tree (TERM, a grace, KILL) before the cancellation goes on.

        `signaled` is also what a wrapper reports in the manner of a shell: an exit status of 128 + signal.
        """
        with ExitStack() as resources:
            try:
                tree = _Tree(order, resources)
            except OSError as error:
                return ProcessEnd(outcome="not_started", message=str(error))
            breach: Breach | None = None
            try:
                if started:
                    started(tree.identity)
                breach = await self._supervise(tree)
            finally:
                await self._end(tree)
            return tree.report(breach)

    async def _supervise(self, tree: _Tree) -> Breach | None:
        while not tree.has_ended():
            if breach := tree.breach():
                return breach
            await tree.wait(self._tick_s)
        return None

    async def _end(self, tree: _Tree) -> None:
        """Return when the tree has ended; a cancellation on the way is held back until then."""
        begun = time.monotonic()
        canceled: asyncio.CancelledError | None = None
        while not tree.has_ended():
            waited = time.monotonic() - begun
            if waited > self._grace_s + UNKILLABLE_S:
                break
            tree.strike(signal.SIGTERM if waited < self._grace_s else signal.SIGKILL)
            try:
                await tree.wait(self._tick_s)
            except asyncio.CancelledError as error:
                canceled = error
        tree.reap()
        if canceled:
            raise canceled

    def sweep(self, identity: ProcessIdentity) -> bool:
        """Kill what an earlier writer of ours left behind; True if it was still there. Blocks for some milliseconds."""
        if not LINUX or identity.boot != _boot():
            return False
        with suppress(ProcessLookupError):
            leader = os.pidfd_open(identity.pid)
            try:
                return _sweep(identity, leader)
            finally:
                os.close(leader)
        return False


def _sweep(identity: ProcessIdentity, leader: int) -> bool:
    found = _read_stat(identity.pid)
    if found is None or found.start_ticks != identity.start_ticks or found.is_dead:
        return False
    ended = select.poll()
    ended.register(leader, select.POLLIN)
    deadline = time.monotonic() + UNKILLABLE_S
    while time.monotonic() < deadline:
        for process in _descendants(identity.pid) or [found]:
            _signal(process, signal.SIGKILL)
        if ended.poll(20):
            break
    return True


class _Tree:
    """One running tree: its leader, its output files, its verdict pipe, and what was last seen of its progress."""

    def __init__(self, order: ProcessOrder, resources: ExitStack) -> None:
        self._order = order
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._told: set[tuple[int, int, int]] = set()
        self._pipe = bytearray()
        self._pipe_end = -1
        os.makedirs(order.job_dir, exist_ok=True)
        self._outputs = tuple(os.path.join(order.job_dir, name) for name in ("stdout", "stderr"))
        self._begun = self._progressed = self._looked = time.monotonic()
        self._seen = _Progress((), 0)
        self._status: int | None = None
        self._cpu_s = 0.0
        self._duration_s = 0.0
        self._leader = self._spawn(resources)
        self.identity = _identify(self._leader.pid)
        if LINUX:
            pidfd = os.pidfd_open(self._leader.pid)
            resources.callback(os.close, pidfd)
            self._loop.add_reader(pidfd, self._note_end, pidfd)
            resources.callback(self._loop.remove_reader, pidfd)

    def _spawn(self, resources: ExitStack) -> subprocess.Popen[bytes]:
        order = self._order
        with ExitStack() as ours:
            stdin = ours.enter_context(open(self._lay_down_input(), "rb"))
            stdout, stderr = (ours.enter_context(open(path, "wb")) for path in self._outputs)
            env = dict(order.command.env)
            fds = [self._open_pipe(ours, resources)] if order.pipe_env else []
            if fds:
                env[order.pipe_env] = str(fds[0])
            return subprocess.Popen(
                self._keep(order.command.argv),
                cwd=order.command.cwd,
                env=env,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                pass_fds=fds,
            )

    def _keep(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """`argv` under a keeper. Raises `FileNotFoundError` where there is no such program."""
        if shutil.which(argv[0], path=self._order.command.env.get("PATH")) is None:
            raise FileNotFoundError(f"{argv[0]}: not found")
        return (sys.executable, "-I", "-S", KEEPER, str(os.getpid()), "--", *argv) if LINUX else argv

    def _lay_down_input(self) -> str:
        if not self._order.stdin:
            return os.devnull
        path = os.path.join(self._order.job_dir, "stdin")
        with open(path, "wb") as file:
            file.write(self._order.stdin)
        return path

    def _open_pipe(self, ours: ExitStack, resources: ExitStack) -> int:
        """Open the verdict pipe and give its write end, which is closed here when the tree has it."""
        self._pipe_end, theirs = os.pipe()
        resources.callback(os.close, self._pipe_end)
        ours.callback(os.close, theirs)
        os.set_blocking(self._pipe_end, False)
        self._loop.add_reader(self._pipe_end, self._read_pipe)
        resources.callback(self._loop.remove_reader, self._pipe_end)
        return theirs

    def _read_pipe(self) -> bool:
        """Take what is there; False at the end, or where nothing is there, or when the cap is passed."""
        try:
            data = os.read(self._pipe_end, 1 << 16)
        except BlockingIOError:
            return False
        self._pipe += data
        if data and len(self._pipe) <= self._order.pipe_bytes_max:
            return True
        self._loop.remove_reader(self._pipe_end)
        return False

    def _note_end(self, pidfd: int) -> None:
        self._loop.remove_reader(pidfd)
        self._ended.set_result(None)

    def has_ended(self) -> bool:
        """Whether the leader has ended, and with it the tree."""
        if not LINUX and not self._ended.done() and self._leader.poll() is not None:
            self._ended.set_result(None)
        return self._ended.done()

    async def wait(self, seconds: float) -> None:
        """Return at the end of the tree, at the latest after `seconds`."""
        await asyncio.wait({self._ended}, timeout=seconds)

    # --- limits -----------------------------------------------------------------------------------------------------

    def breach(self) -> Breach | None:
        """The limit that the tree is over now."""
        now = time.monotonic()
        if self._is_flooding():
            return "flood"
        if self._order.wall_ms and now - self._begun > self._order.wall_ms / 1_000:
            return "timeout"
        if self._order.stall_ms and self._is_stalled(now):
            return "stalled"
        return None

    def _is_flooding(self) -> bool:
        output = sum(os.path.getsize(path) for path in self._outputs)
        return output > self._order.output_bytes_max or len(self._pipe) > self._order.pipe_bytes_max

    def _is_stalled(self, now: float) -> bool:
        passed = now - self._looked
        if passed < min(1.0, self._order.stall_ms / 4_000):
            return False
        seen = self._look()
        idle = seen.cpu_s - self._seen.cpu_s < IDLE_CPU_SHARE * passed
        if seen.traces != self._seen.traces or not idle:
            self._progressed = now
        self._seen, self._looked = seen, now
        return now - self._progressed > self._order.stall_ms / 1_000

    def _look(self) -> _Progress:
        sizes = tuple(os.path.getsize(path) for path in self._outputs)
        watched = tuple(_trace(directory) for directory in self._order.watch)
        cpu_s = sum(process.cpu_s for process in _descendants(self._leader.pid)) if LINUX else 0.0
        return _Progress((sizes, len(self._pipe), watched), cpu_s)

    # --- the end ----------------------------------------------------------------------------------------------------

    def strike(self, number: signal.Signals) -> None:
        """Signal every descendant of the keeper, once each."""
        if not LINUX:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._leader.pid, number)
            return
        targets = _descendants(self._leader.pid)
        if number != signal.SIGKILL:
            holders = _namespace_holders(targets)
            targets = [process for process in targets if process.pid not in holders]
        for process in targets:
            if (process.pid, process.start_ticks, number) not in self._told:
                self._told.add((process.pid, process.start_ticks, number))
                _signal(process, number)

    def reap(self) -> None:
        """Take the leader's status; without a keeper its group goes with it."""
        self._duration_s = time.monotonic() - self._begun
        if not self.has_ended():
            return
        if not LINUX:
            self.strike(signal.SIGKILL)
        if self._leader.returncode is None:
            _, status, used = os.wait4(self._leader.pid, 0)
            self._leader.returncode = os.waitstatus_to_exitcode(status)
            self._cpu_s = _cpu_s(used)
        code = self._leader.returncode
        self._status = code if code >= 0 else 128 - code
        while self._pipe_end >= 0 and self._read_pipe():
            pass

    def report(self, breach: Breach | None) -> ProcessEnd:
        """How it ended; output beyond the cap is cut off."""
        breach = breach or ("flood" if self._is_flooding() else None)
        for path in self._outputs:
            if os.path.getsize(path) > self._order.output_bytes_max:
                os.truncate(path, self._order.output_bytes_max)
        is_signaled = self._status is not None and 128 < self._status <= 128 + signal.NSIG
        return ProcessEnd(
            outcome=breach or ("signaled" if is_signaled else "exited"),
            exit_status=self._status,
            duration_ms=round(self._duration_s * 1_000),
            cpu_ms=round(self._cpu_s * 1_000),
            pipe=bytes(self._pipe[: self._order.pipe_bytes_max]),
            message=self._explain(breach),
        )

    def _explain(self, breach: Breach | None) -> str:
        order = self._order
        words = {
            "timeout": f"not done after {order.wall_ms} ms",
            "stalled": f"no output, no changed file and no work for {order.stall_ms} ms",
            "flood": f"more than {order.output_bytes_max} bytes of output or {order.pipe_bytes_max} bytes of report",
        }
        said = words[breach] if breach else ""
        return said if self.has_ended() else f"{said}; could not be killed".lstrip("; ")


class _Progress(NamedTuple):
    traces: tuple[object, ...]
    cpu_s: float


def _trace(directory: str) -> tuple[int, int, int]:
    """Number, newest change and total size of the first entries below `directory`: differs when work is done there."""
    count, newest, size = 0, 0, 0
    for entry in _entries(directory):
        with suppress(FileNotFoundError):
            status = entry.stat(follow_symlinks=False)
            newest, size = max(newest, status.st_mtime_ns), size + status.st_size
        count += 1
        if count == WATCHED_ENTRIES_MAX:
            break
    return count, newest, size


def _entries(directory: str) -> Iterator[os.DirEntry[str]]:
    """Everything below `directory`, the nearest first."""
    queue = [directory]
    for place in queue:
        with suppress(OSError), os.scandir(place) as listed:
            for entry in listed:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    queue.append(entry.path)


# --- /proc ----------------------------------------------------------------------------------------------------------


class _Process(NamedTuple):
    pid: int
    parent: int
    start_ticks: int
    cpu_s: float
    """Its own and that of its waited-for children."""
    is_dead: bool


def _read_stat(pid: int) -> _Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    ticks = sum(int(field) for field in fields[11:15])
    return _Process(pid, int(fields[1]), int(fields[19]), ticks / os.sysconf("SC_CLK_TCK"), fields[0] in b"ZX")


def _descendants(leader: int) -> list[_Process]:
    """Everybody alive below `leader`."""
    below: dict[int, list[_Process]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (process := _read_stat(int(name))):
            below.setdefault(process.parent, []).append(process)
    found = list(below.get(leader, ()))
    for process in found:
        found += below.get(process.pid, ())
    return [process for process in found if not process.is_dead]


def _namespace_holders(processes: list[_Process]) -> set[int]:
    """Ids of those whose child is the first process of a pid namespace."""
    return {process.parent for process in processes if _is_namespace_init(process.pid)}


def _is_namespace_init(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/status") as file:
            own = next((line.split()[1:] for line in file if line.startswith("NSpid:")), [])
    except OSError:
        return False
    return len(own) > 1 and own[-1] == "1"


def _signal(process: _Process, number: signal.Signals) -> None:
    """Signal exactly this process, or nobody."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        now = _read_stat(process.pid)
        if now and now.start_ticks == process.start_ticks:
            signal.pidfd_send_signal(pidfd, number)
    except (ProcessLookupError, PermissionError):
        pass
    finally:
        os.close(pidfd)


def _identify(pid: int) -> ProcessIdentity:
    process = _read_stat(pid)
    return ProcessIdentity(pid=pid, start_ticks=process.start_ticks if process else 0, boot=_boot())


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def _cpu_s(used: resource.struct_rusage) -> float:
    return used.ru_utime + used.ru_stime
