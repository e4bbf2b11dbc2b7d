"""A server that a worker starts for itself, and ends with all that is below it. What it says goes to the worker's own
stderr, and the last lines of it are kept.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress

from penstock.fleet import processes

LINES_KEPT = 20
LINE_CHARS_MAX = 2_000
PIECE_BYTES = 65_536
TERM_S_MAX = 2.0
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Child:
    """One process tree. `keeper`: words before the command, in which `{parent}` is this process."""

    def __init__(self, argv: Sequence[str], keeper: Sequence[str], env: Mapping[str, str]) -> None:
        self._argv = [*(word.replace("{parent}", str(os.getpid())) for word in keeper), *argv]
        self._env = dict(env)
        self._process: asyncio.subprocess.Process | None = None
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._hearing: asyncio.Task[None] | None = None

    @property
    def log(self) -> tuple[str, ...]:
        """Its last lines."""
        return tuple(self._lines)

    async def start(self) -> None:
        """From the main thread: it dies with that. Raises `OSError` where there is no such program."""
        self._process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._env,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._hearing = asyncio.ensure_future(self._hear(self._process.stdout))

    async def ended(self) -> str:
        """Return when it has ended, and how."""
        assert self._process is not None
        status = await self._process.wait()
        if self._hearing is not None:  # what it said last is worth the wait, but a grandchild may hold the pipe
            await asyncio.wait([self._hearing], timeout=0.1)
        return f"ended by signal {-status}" if status < 0 else f"ended with exit status {status}"

    def memory_bytes(self) -> int:
        """That it and all below it hold now."""
        if self._process is None:
            return 0
        below = processes.descendants(self._process.pid)
        return sum(map(_resident_bytes, (self._process.pid, *(process.pid for process in below))))

    async def close(self) -> None:
        """End it, and all below it; idempotent. A keeper takes them along at once; a server may take its time."""
        process = self._process
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), TERM_S_MAX)
        if process.returncode is None:
            await self._kill(process)
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.gather(self._hearing, return_exceptions=True)

    async def _kill(self, process: asyncio.subprocess.Process) -> None:
        known = processes.identify(process.pid)
        if known is not None:
            await asyncio.to_thread(processes.kill_tree, known)
        await process.wait()

    async def _hear(self, stream: asyncio.StreamReader) -> None:
        rest = ""
        while piece := await stream.read(PIECE_BYTES):
            text = piece.decode(errors="replace")
            with suppress(OSError, ValueError):
                sys.stderr.write(text)
                sys.stderr.flush()
            *lines, rest = (rest + text).split("\n")
            rest = rest[-LINE_CHARS_MAX:]
            self._lines.extend(line[:LINE_CHARS_MAX] for line in lines if line.strip())
        if rest.strip():
            self._lines.append(rest)


def free_port() -> int:
    """A port that nobody has now. It may be taken before the child binds it, so whoever uses it tries again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_taken(port: int) -> bool:
    """Whether somebody has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def _resident_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0
