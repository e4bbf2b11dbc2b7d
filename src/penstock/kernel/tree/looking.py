"""Reads what stands at one path, by descriptors of the directories on the way: no symbolic link is ever followed.

A path is walked part by part, each opened relative to the one before, so that a directory which becomes a link under
our feet is an error and not a way out of the tree. Pipes, sockets and devices are never opened, but for a file that
turns into one between two calls; it is opened without blocking, and closed unread.

A file counts as read only when its metadata are the same before and after: otherwise it is read again, a few times.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from penstock.core.digest import Digest, digest_of_bytes
from penstock.kernel.tree.entry import SYMLINK_MODE, Entry, Unreadable

TRIES_MAX = 3
CHUNK_BYTES = 1_000_000
HASHED_BYTES_MAX = 1_000_000_000
"""Files beyond it are not read at all: a sparse one of a terabyte would hold the gate up for an hour."""

TOP = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
DIRECTORY = TOP | os.O_NOFOLLOW
UNBLOCKED = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

Stamp = tuple[int, int, int, int, int, int]
stamp_of = attrgetter("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns", "st_mode")
"""What must be the same for the content to be taken as the same. The time of change cannot be set back."""


@dataclass(frozen=True, slots=True)
class Look:
    """What stands at a path. `data`: its content or link text, None when it is larger than was asked for."""

    stamp: Stamp
    entry: Entry
    data: bytes | None
    size: int


class Changed(Exception):
    """It became something else while it was read."""


class Blocked(Exception):
    """A part of the way is no directory."""

    def __init__(self, part: str, is_link: bool) -> None:
        self.part = part
        self.is_link = is_link
        super().__init__(part)


@contextmanager
def opened(top: Path, parts: Sequence[str] = ()) -> Iterator[int]:
    """The directory `parts` below `top`. Raises `Blocked` and `OSError`."""
    directory = os.open(top, TOP)
    try:
        for part in parts:
            above, directory = directory, _enter(directory, part)
            os.close(above)
        yield directory
    finally:
        os.close(directory)


def _enter(above: int, part: str) -> int:
    try:
        return os.open(part, DIRECTORY, dir_fd=above)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
    raise Blocked(part, stat.S_ISLNK(os.stat(part, dir_fd=above, follow_symlinks=False).st_mode))


def larger_than(bytes_max: int) -> str:
    """Why a file was not read at all."""
    return f"larger than {bytes_max} bytes"


def is_directory(above: int, name: str) -> bool:
    """Whether a directory stands at `name`, and no link to one."""
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def look(
    directory: int, name: str, path: str, data_bytes_max: int = 0, hashed_bytes_max: int = HASHED_BYTES_MAX
) -> Look | Unreadable | None:
    """What stands at `name`, with its content up to `data_bytes_max`; None for nothing, and for a directory."""
    for _ in range(TRIES_MAX):
        try:
            return _look_once(directory, name, data_bytes_max, hashed_bytes_max)
        except Changed:
            continue
        except OSError as error:
            return Unreadable(path=path, why=error.strerror or str(error))
    return Unreadable(path=path, why="it changes while it is read")


def _look_once(directory: int, name: str, data_bytes_max: int, hashed_bytes_max: int) -> Look | None:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        return None
    if stat.S_ISREG(status.st_mode):
        if status.st_size > hashed_bytes_max:
            raise OSError(errno.EFBIG, larger_than(hashed_bytes_max))
        return _look_at_file(directory, name, data_bytes_max)
    if stat.S_ISLNK(status.st_mode):
        return _look_at_link(directory, name, stamp_of(status))
    return Look(stamp_of(status), Entry(kind="other", mode=stat.S_IMODE(status.st_mode)), b"", 0)


def _look_at_link(directory: int, name: str, before: Stamp) -> Look:
    try:
        text = os.readlink(os.fsencode(name), dir_fd=directory)
        after = stamp_of(os.stat(name, dir_fd=directory, follow_symlinks=False))
    except OSError as error:
        raise Changed from error
    if before != after:
        raise Changed
    return Look(after, Entry(kind="symlink", mode=SYMLINK_MODE, digest=digest_of_bytes(text)), text, len(text))


def _look_at_file(directory: int, name: str, data_bytes_max: int) -> Look:
    try:
        file = os.open(name, UNBLOCKED, dir_fd=directory)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Changed from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link or a socket by now
            raise Changed from error
        raise
    try:
        return _read(file, data_bytes_max)
    finally:
        os.close(file)


def _read(file: int, data_bytes_max: int) -> Look:
    before = os.fstat(file)
    if not stat.S_ISREG(before.st_mode):
        raise Changed
    digest, data = _content(file, before.st_size, before.st_size <= data_bytes_max)
    if stamp_of(os.fstat(file)) != stamp_of(before):
        raise Changed
    entry = Entry(kind="file", mode=stat.S_IMODE(before.st_mode), digest=digest)
    return Look(stamp_of(before), entry, data, before.st_size)


def _content(file: int, size: int, is_kept: bool) -> tuple[Digest, bytes | None]:
    """Digest of exactly `size` bytes, and they themselves. Raises `Changed` where there are more or fewer."""
    sha, count, chunks = hashlib.sha256(), 0, []
    while chunk := os.read(file, min(size + 1, CHUNK_BYTES)):
        sha.update(chunk)
        count += len(chunk)
        if count > size:
            raise Changed
        if is_kept:
            chunks.append(chunk)
    if count != size:
        raise Changed
    return sha.hexdigest(), b"".join(chunks) if is_kept else None
