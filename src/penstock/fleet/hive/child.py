"""A process of ours: a child of this one that nobody else waits for, so its number is its own until we have."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

from penstock.core.policy import Frozen
from penstock.fleet import processes
from penstock.fleet.hive.worker_log import LogPipe, WorkerLog

UNKILLABLE_S = 5.0
"""How long the end is awaited after KILL: a process in uninterruptible sleep may take for ever."""


class Held(Frozen):
    """What a hive holds of a child, as numbers that survive its exec. -1: nothing."""

    pid: int
    pidfd: int
    owner_fd: int
    log_fd: int
    is_cold: bool


class Child:
    """`ended` is resolved with the exit code (negative: a signal; None: not known), once the log has been read."""

    def __init__(self, held: Held, log: WorkerLog | None = None) -> None:
        self.pid, self.is_cold = held.pid, held.is_cold
        self._pidfd, self._owner = held.pidfd, held.owner_fd
        self._pipe = LogPipe(held.log_fd, log) if log is not None and held.log_fd >= 0 else None
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int | None] = self._loop.create_future()
        self._loop.add_reader(self._pidfd, self._note_end)

    def held(self) -> Held:
        """What a successor in this process needs."""
        pipe = self._pipe.fd if self._pipe else -1
        return Held(pid=self.pid, pidfd=self._pidfd, owner_fd=self._owner, log_fd=pipe, is_cold=self.is_cold)

    def send(self, number: signal.Signals) -> bool:
        """Signal it alone; False where it has ended."""
        return not self.ended.done() and processes.send(self._pidfd, number)

    def read_log(self) -> None:
        """Take what it has said until now."""
        if self._pipe is not None:
            self._pipe.drain()

    async def kill(self) -> list[processes.Process]:
        """Kill it with everybody below; gives who was struck. Returns when it has ended, or cannot be killed."""
        struck: list[processes.Process] = []
        process = None if self.ended.done() else processes.identify(self.pid)
        if process is not None:
            struck = await asyncio.to_thread(processes.kill_tree, process)
        await asyncio.wait({self.ended}, timeout=UNKILLABLE_S)
        return struck

    def _note_end(self) -> None:
        """Its number is ours until it is waited for, and so is that of its group: whoever is left there goes now."""
        self._loop.remove_reader(self._pidfd)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        code: int | None = None
        with suppress(ChildProcessError):
            code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._let_go()
        if not self.ended.done():
            self.ended.set_result(code)

    def _let_go(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        for fd in (self._pidfd, self._owner):
            if fd >= 0:
                os.close(fd)
        self._pidfd = self._owner = -1
