"""A server that a worker starts for itself, and ends with all that is below it. What it says goes to the worker's own
stderr, and the last lines of it are kept.

It is started by `subprocess` and not by the loop: uvloop's children inherit every descriptor that may be inherited, and
a worker's listening socket may, for the worker inherited it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress

from penstock.fleet import processes

LINES_KEPT = 20
LINE_CHARS_MAX = 2_000
PIECE_BYTES = 65_536
TERM_S_MAX = 2.0
LAST_WORDS_S = 0.1
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Child:
    """One process tree. `keeper`: words before the command, in which `{parent}` is this process."""

    def __init__(self, argv: Sequence[str], keeper: Sequence[str], env: Mapping[str, str]) -> None:
        self._argv = [*(word.replace("{parent}", str(os.getpid())) for word in keeper), *argv]
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None
        self._exit: asyncio.Future[int] | None = None
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._hearing: asyncio.Task[None] | None = None

    @property
    def log(self) -> tuple[str, ...]:
        """Its last lines."""
        return tuple(self._lines)

    async def start(self) -> None:
        """From the main thread: it dies with that. Raises `OSError` where there is no such program."""
        self._process = subprocess.Popen(
            self._argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._env,
            process_group=0,  # of this session: then the kernel wakes it, if it stands still when we die
        )
        self._exit = asyncio.ensure_future(_exit_of(self._process))
        self._hearing = asyncio.ensure_future(self._hear(self._process))

    async def ended(self) -> str:
        """Return when it has ended, and how."""
        assert self._exit is not None and self._hearing is not None
        status = await asyncio.shield(self._exit)
        await asyncio.wait([self._hearing], timeout=LAST_WORDS_S)  # a grandchild may hold the pipe for ever
        return f"ended by signal {-status}" if status < 0 else f"ended with exit status {status}"

    def memory_bytes(self) -> int:
        """That it and all below it hold now."""
        if self._process is None:
            return 0
        below = processes.descendants(self._process.pid)
        return sum(map(_resident_bytes, (self._process.pid, *(process.pid for process in below))))

    async def close(self) -> None:
        """End it, and all below it; idempotent. A keeper takes them along at once; a server may take its time."""
        if self._process is None or self._exit is None or self._hearing is None:
            return
        if not self._exit.done():
            self._process.send_signal(signal.SIGTERM)
            await asyncio.wait([self._exit], timeout=TERM_S_MAX)
        if not self._exit.done() and (known := processes.identify(self._process.pid)) is not None:
            await asyncio.to_thread(processes.kill_tree, known)
        await asyncio.shield(self._exit)
        self._hearing.cancel()
        await asyncio.gather(self._hearing, return_exceptions=True)

    async def _hear(self, process: subprocess.Popen[bytes]) -> None:
        reader, rest = asyncio.StreamReader(), ""
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), process.stdout
        )
        try:
            while piece := await reader.read(PIECE_BYTES):
                rest = self._heard(piece, rest)
        finally:
            transport.close()
        if rest:
            self._heard(b"\n", rest)

    def _heard(self, piece: bytes, rest: str) -> str:
        """Pass it on, keep its lines; gives what is no line yet."""
        text = piece.decode(errors="replace")
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()
        *lines, rest = (rest + text).split("\n")
        self._lines.extend(line[:LINE_CHARS_MAX] for line in lines if line.strip())
        return rest[-LINE_CHARS_MAX:]


async def _exit_of(process: subprocess.Popen[bytes]) -> int:
    """Its exit status, negative for a signal."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    pidfd = os.pidfd_open(process.pid)
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
    return process.wait()


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
