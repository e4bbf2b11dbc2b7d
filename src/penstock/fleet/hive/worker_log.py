"""What a worker says on stdout and stderr: into a file that is rotated, and its last lines at hand for an error."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from penstock.core.fleet.policy import HivePolicy

READ_BYTES = 65_536
LINE_CHARS_MAX = 500
LOGS_KEPT_MAX = 100
"""Of workers that were; the oldest go first."""


class WorkerLog:
    """`told`: the last lines, the newest last."""

    def __init__(self, path: Path, policy: HivePolicy, told: Iterable[str] = (), *, is_shown: bool = False) -> None:
        self.path, self._policy, self._is_shown = path, policy, is_shown
        self.told: deque[str] = deque(told, maxlen=policy.log_lines_told)
        self._part = bytearray()
        self._file = -1
        self._size = 0
        self.wrote = asyncio.Event()
        """Set, and made anew, whenever more was written."""

    def parts(self) -> list[Path]:
        """Where its files lie, those that are there, the newest first."""
        older = (self.path.with_suffix(f".log.{number}") for number in range(1, self._policy.log_files_max))
        return [self.path, *older]

    def write(self, data: bytes) -> None:
        """Keep it. A disk that takes nothing costs the log, not the worker."""
        self._remember(data)
        if self._is_shown:
            with suppress(OSError, ValueError):
                sys.stderr.buffer.write(data)
                sys.stderr.buffer.flush()
        with suppress(OSError):
            self._store(data)
        wrote, self.wrote = self.wrote, asyncio.Event()
        wrote.set()

    def lines(self) -> list[str]:
        """The last lines, one that has not ended yet included."""
        part = self._part.decode(errors="replace")[:LINE_CHARS_MAX]
        return [*self.told, *([part] if part else [])][-self._policy.log_lines_told :]

    def close(self) -> None:
        """Idempotent; more can be written afterwards."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _remember(self, data: bytes) -> None:
        *whole, rest = (self._part + data).split(b"\n")
        self.told += [line.decode(errors="replace")[:LINE_CHARS_MAX] for line in whole[-self._policy.log_lines_told :]]
        self._part = bytearray(rest[: 4 * LINE_CHARS_MAX])

    def _store(self, data: bytes) -> None:
        if self._file >= 0 and self._size + len(data) > self._policy.log_bytes_max:
            self._rotate()
        if self._file < 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._size = os.fstat(self._file).st_size
        self._size += os.write(self._file, data)

    def _rotate(self) -> None:
        """`a.log` becomes `a.log.1`, that becomes `a.log.2`; the last one goes."""
        self.close()
        for number in range(self._policy.log_files_max - 1, 0, -1):
            older = self.path if number == 1 else self.path.with_suffix(f".log.{number - 1}")
            with suppress(FileNotFoundError):
                os.replace(older, self.path.with_suffix(f".log.{number}"))
        if self._policy.log_files_max == 1:
            self.path.unlink(missing_ok=True)


class LogPipe:
    """The end that we read. Whoever below a worker holds the other end may write on when the worker has ended."""

    def __init__(self, fd: int, log: WorkerLog) -> None:
        self.fd, self.log = fd, log
        os.set_blocking(fd, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self._read)

    def drain(self) -> None:
        """Take what is there now."""
        while self._read():
            pass

    def close(self) -> None:
        """Take what is there, and no more; idempotent."""
        self.drain()
        self._close()

    def _close(self) -> None:
        if self.fd >= 0:
            self._loop.remove_reader(self.fd)
            os.close(self.fd)
            self.fd = -1
        self.log.close()

    def _read(self) -> bool:
        if self.fd < 0:
            return False
        try:
            data = os.read(self.fd, READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            self.log.write(data)
        else:
            self._close()
        return bool(data)


def forget_old(directory: Path, kept: int = LOGS_KEPT_MAX) -> None:
    """Remove the logs that were written to longest ago."""
    with suppress(OSError):
        found = sorted(directory.glob("worker-*.log*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in found[kept:]:
            path.unlink(missing_ok=True)
