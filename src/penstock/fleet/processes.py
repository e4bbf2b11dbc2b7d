"""What the fleet asks of the kernel so that nothing outlives its owner, and nobody else is ever signalled.

Three ties hold a process to its owner, because each has a hole that another closes. The parent-death signal reaches a
stopped process too, but it fires at the end of the parent's *thread*, and not at all where the parent died before it
was set: so it is set from the main thread, of children of a main thread, and the parent is compared afterwards. The end
of file on a pipe that only the owner can write to needs no parent, but a stopped process does not read. And whoever
owns is a subreaper, so that what is orphaned below stays below, and can be found and killed.

A number may be somebody else's by the time it is used: a process is its number and the time of its start, and it is
signalled through a pidfd that was opened before the two were compared.
"""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import setproctitle

LINUX = sys.platform == "linux"
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
ORPHANED = 128 + signal.SIGKILL
KILL_ROUNDS_MAX = 50
ROUND_MS = 10
EVERY_SIGNAL = signal.valid_signals()
"""Looked up once: a worker that was forked has few milliseconds."""


class Process(NamedTuple):
    """One process, and no other that has its number later. `start_ticks`: since the machine was booted."""

    pid: int
    start_ticks: int


# --- what we ask for ourselves --------------------------------------------------------------------------------------


def name_process(title: str) -> None:
    """What `ps` shows: `penstock worker ID`."""
    setproctitle.setproctitle(title)


def open_many() -> None:
    """Have as many descriptors as the system lets us: a stream through a queen takes two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def adopt_orphans() -> None:
    """Whoever is orphaned below becomes a child of this process."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent_pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Be signalled when the parent ends; end at once where it is not `parent_pid` any more. From the main thread."""
    assert threading.current_thread() is threading.main_thread()
    _prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent_pid:
        os._exit(ORPHANED)


def tied_before_exec(parent_pid: int) -> Callable[[], None]:
    """What a child calls between its fork and its exec, so that it dies with us before its own code is there.

    All that it needs is looked up now: other threads may hold what a lookup waits for.
    """
    prctl, getppid, leave = ctypes.CDLL(None).prctl, os.getppid, os._exit
    number = int(signal.SIGKILL)

    def tie() -> None:
        prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
        if getppid() != parent_pid:
            leave(ORPHANED)

    return tie


def tie_to_parent(parent_pid: int, owner_fd: int, ended: Callable[[], object] | None = None) -> None:
    """Live no longer than the owner, and let nothing below live longer. From the main thread, before any child.

    `owner_fd`: the read end of the pipe that only the owner writes to, -1 for none. `parent_pid`: 0 for no such tie.
    `ended`: called, from a thread, in place of the end of this process and of all below it.
    """
    adopt_orphans()
    if owner_fd >= 0:
        watching = threading.Thread(target=_await_end, args=(owner_fd, ended or end_here), name="owner", daemon=True)
        watching.start()
    if parent_pid:
        die_with_parent(parent_pid)


def end_here() -> None:
    """End this process and all below it, now."""
    kill_below(os.getpid())
    os.kill(os.getpid(), signal.SIGKILL)


def _await_end(owner_fd: int, ended: Callable[[], object]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, EVERY_SIGNAL)  # they are the main thread's
    os.set_blocking(owner_fd, True)
    with suppress(OSError):
        while os.read(owner_fd, 4_096):
            pass
    ended()


def _prctl(option: int, value: int) -> None:
    if not LINUX:
        return
    if _libc().prctl(option, value, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@functools.cache
def _libc() -> ctypes.CDLL:
    """Made once: a process that was forked has it from the one before."""
    return ctypes.CDLL(None, use_errno=True)


# --- others ---------------------------------------------------------------------------------------------------------


def identify(pid: int) -> Process | None:
    """The process that has this number now; None where it has ended, a zombie included."""
    found = _read_stat(pid)
    return None if found is None or found.is_dead else Process(pid, found.start_ticks)


def open_pidfd(process: Process) -> int | None:
    """A descriptor of exactly this process, readable when it has ended; the caller closes it. None: it is gone."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError:
        return None
    now = _read_stat(process.pid)
    if now is not None and now.start_ticks == process.start_ticks:
        return pidfd
    os.close(pidfd)
    return None


def send(pidfd: int, number: signal.Signals) -> bool:
    """Signal it; False where it has ended."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


def has_ended(pidfd: int) -> bool:
    """Whether the process of the descriptor has ended, reaped or not."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def signal_process(process: Process, number: signal.Signals) -> bool:
    """Signal exactly this process, or nobody; False where it is gone."""
    pidfd = open_pidfd(process)
    if pidfd is None:
        return False
    try:
        return send(pidfd, number)
    finally:
        os.close(pidfd)


def children(pid: int) -> list[Process]:
    """Who is alive and has `pid` as its parent."""
    found = (_read_stat(child) for child in child_pids(pid))
    return [Process(each.pid, each.start_ticks) for each in found if each is not None and not each.is_dead]


def descendants(pid: int) -> list[Process]:
    """Who is alive below `pid`, the nearest first; below a zombie is nobody."""
    found = children(pid)
    for process in found:
        found += children(process.pid)
    return found


def kill_below(pid: int) -> list[Process]:
    """Kill everybody below `pid`, until nobody is there; gives who was signalled. Blocks for some milliseconds.

    Whoever is orphaned by that stays below only where `pid` adopts orphans. The farthest go first: should we be killed
    in the middle of it, whoever keeps a tree together is there still, and ends it.
    """
    struck: dict[Process, None] = {}
    for _ in range(KILL_ROUNDS_MAX):
        alive = [process for process in reversed(descendants(pid)) if signal_process(process, signal.SIGKILL)]
        if not alive:
            break
        struck |= dict.fromkeys(alive)
        time.sleep(ROUND_MS / 1_000)
    return list(struck)


def kill_tree(process: Process) -> list[Process]:
    """Kill it and everybody below it: it is stopped first, so that it makes no more of them, and dies last."""
    if not signal_process(process, signal.SIGSTOP):
        return []
    struck = kill_below(process.pid)
    return [*struck, process] if signal_process(process, signal.SIGKILL) else struck


class _Stat(NamedTuple):
    pid: int
    parent: int
    start_ticks: int
    is_dead: bool


def _read_stat(pid: int) -> _Stat | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return _Stat(pid, int(fields[1]), int(fields[19]), fields[0] in b"ZX") if len(fields) > 19 else None


def child_pids(pid: int) -> list[int]:
    """Numbers of those whose parent `pid` is, zombies included.

    From the kernel's own lists, one a thread; from all of /proc where a kernel has none (CONFIG_PROC_CHILDREN).
    """
    if not _has_lists():
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and _parent(int(name)) == pid]
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


@functools.cache
def _has_lists() -> bool:
    return os.path.exists(f"/proc/self/task/{threading.get_native_id()}/children")


def _parent(pid: int) -> int:
    found = _read_stat(pid)
    return 0 if found is None else found.parent
