"""One queen at a time for one home: two would each give out epochs, and write over what the other remembers.

The lock is the kernel's, on an open file: it is gone with the process that had it, however that ended.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "queen.lock"


class HomeTaken(Exception):
    """Another queen runs with this home."""

    fix = "ask that one, or give this one a home of its own: --home DIR"

    def __init__(self, home: Path, pid: str) -> None:
        super().__init__(f"another queen runs with {home}" + (f": process {pid}" if pid else ""))


@contextmanager
def held(home: Path) -> Iterator[None]:
    """Raises `HomeTaken`. Where no file can be written there, nothing can be remembered either: then it is not held."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(home / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    try:
        _take(descriptor, home)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, home: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        said = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        raise HomeTaken(home, said if said.isdigit() else "") from None
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
