"""Puts files back, byte for byte. A kill at any point leaves the old file or the new one, and at most one file aside.

Each file: its content is laid beside it under a name of ours, given its mode, flushed, compared once more with what is
expected to stand there, renamed over it, and the directory is flushed. A rename replaces the name and never writes into
what the name led to: not through a symbolic link, not into the other names of a hard link.

The way there is walked by descriptors that follow no link. A part that is a link or a file refuses the write, and so do
names that lead into git or out of the tree. Owner, extended attributes and times are not ours to keep.

No journal is needed: what is to be restored is read from the ledger again, a file that already is as wanted counts as
restored, and `sweep` finds what a crash left aside by its name alone.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from penstock.core.policy import Frozen
from penstock.kernel.tree.entry import Entry, Present, Unreadable, shown
from penstock.kernel.tree.looking import DIRECTORY, Blocked, Look, is_directory, look, opened
from penstock.kernel.tree.names import PARTS_MAX, BadPath, is_aside, is_git, new_aside, plain_parts, spelled
from penstock.ports import Blobs, Corrupt

ASIDE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Reason = Literal[
    "bad_path",
    "through_symlink",
    "through_file",
    "directory_in_the_way",
    "changed",
    "unreadable",
    "content_missing",
    "not_a_file",
    "denied",
    "failed",
]
"""`changed`: something else stands there than was expected. `not_a_file`: pipes and devices are not made."""

Expected = Entry | None | Literal["anything"]


class PathRefused(Frozen):
    """A path that was left as it is, and why."""

    path: str
    why: Reason
    detail: str = ""


class Restored(Frozen):
    """How a batch went. Every path of it is in one of the two, in order of path."""

    restored: tuple[str, ...] = ()
    refused: tuple[PathRefused, ...] = ()


class _Refused(Exception):
    """Why the path at hand is left alone."""

    def __init__(self, why: Reason, detail: str = "") -> None:
        self.why: Reason = why
        self.detail = detail
        super().__init__(why, detail)


Fault = _Refused | Blocked | BadPath | OSError
FAULTS = (_Refused, Blocked, BadPath, OSError)


class TreeWriter:
    """Writes in one tree, one process at a time; `blobs` holds the content by digest, link texts too."""

    def __init__(self, top: Path, blobs: Blobs) -> None:
        self._top = top
        self._blobs = blobs

    def put(self, path: str, entry: Entry, expected: Expected = "anything") -> PathRefused | None:
        """Make `path` exactly `entry`, with the directories it needs, durably; or refuse and change nothing."""
        try:
            self._put(path, entry, expected)
        except FAULTS as error:
            return _refusal(path, error)
        return None

    def remove(self, path: str, expected: Expected = "anything") -> PathRefused | None:
        """Make `path` absent, durably; its directories stay. Absent already is well."""
        try:
            self._remove(path, expected)
        except FAULTS as error:
            return _refusal(path, error)
        return None

    def restore(self, changes: Mapping[str, tuple[Entry | None, Entry | None]]) -> Restored:
        """Lead each path from what must stand there now to what is wanted; a path that is refused stops no other.

        Removals come first, so that files make room for directories and the reverse; what they empty goes too.
        """
        removals = sorted(path for path, (_, wanted) in changes.items() if wanted is None)
        refused = [self._take_away(path, changes[path][0]) for path in removals]
        for path, (expected, wanted) in sorted(changes.items()):
            if wanted is not None:
                refused.append(self._put_back(path, expected, wanted))
        ours = sorted((refusal for refusal in refused if refusal), key=lambda refusal: refusal.path)
        names = {refusal.path for refusal in ours}
        return Restored(restored=tuple(path for path in sorted(changes) if path not in names), refused=tuple(ours))

    def look(self, path: str) -> Present | None:
        """What stands at `path` now; None also for a directory, and below a link or a file. Raises `BadPath`."""
        parts = plain_parts(path)
        try:
            with opened(self._top, parts[:-1]) as directory:
                found = look(directory, parts[-1], path)
        except (FileNotFoundError, Blocked):
            return None
        except OSError as error:
            return Unreadable(path=path, why=error.strerror or str(error))
        return found.entry if isinstance(found, Look) else found

    def sweep(self) -> tuple[str, ...]:
        """Remove what a crash left aside; gives the paths."""
        swept: list[str] = []
        with opened(self._top) as top:
            _sweep(top, "", swept)
        return tuple(sorted(swept))

    def _put_back(self, path: str, expected: Entry | None, wanted: Entry) -> PathRefused | None:
        return None if self._is_already(path, wanted) else self.put(path, wanted, expected)

    def _take_away(self, path: str, expected: Entry | None) -> PathRefused | None:
        refusal = None if self._is_already(path, None) else self.remove(path, expected)
        if refusal is None:
            with suppress(*FAULTS):
                parts = plain_parts(path)
                for count in range(len(parts) - 1, 0, -1):
                    self._remove_directory(parts[:count])
        return refusal

    def _is_already(self, path: str, wanted: Entry | None) -> bool:
        try:
            return self.look(path) == wanted
        except BadPath:
            return False

    def _put(self, path: str, entry: Entry, expected: Expected) -> None:
        parts, data = plain_parts(path), self._content(entry)
        with self._opened_or_made(parts[:-1]) as directory:
            aside = new_aside()
            try:
                _lay(directory, aside, entry, data)
                _require(directory, parts[-1], path, expected)
                _clear_way(directory, parts[-1])
                os.rename(aside, parts[-1], src_dir_fd=directory, dst_dir_fd=directory)
            except FAULTS:
                with suppress(OSError):
                    os.unlink(aside, dir_fd=directory)
                raise
            os.fsync(directory)

    def _content(self, entry: Entry) -> bytes:
        if entry.kind == "other":
            raise _Refused("not_a_file")
        try:
            return self._blobs.get(entry.digest)
        except (KeyError, Corrupt) as error:
            raise _Refused("content_missing", f"no content with digest {entry.digest}") from error

    def _remove(self, path: str, expected: Expected) -> None:
        parts = plain_parts(path)
        try:
            with opened(self._top, parts[:-1]) as directory:
                _require(directory, parts[-1], path, expected)
                if is_directory(directory, parts[-1]):
                    raise _Refused("directory_in_the_way")
                os.unlink(parts[-1], dir_fd=directory)
                os.fsync(directory)
        except FileNotFoundError:
            if isinstance(expected, Entry):
                raise _Refused("changed", "it is gone") from None

    @contextmanager
    def _opened_or_made(self, parts: Sequence[str]) -> Iterator[int]:
        """The directory, made where it is missing; what was made goes again when that which is done in it fails."""
        made: list[Sequence[str]] = []
        try:
            self._make_directories(parts, made)
            with opened(self._top, parts) as directory:
                yield directory
        except FAULTS:
            with suppress(*FAULTS):
                for place in reversed(made):
                    self._remove_directory(place)
            raise

    def _make_directories(self, parts: Sequence[str], made: list[Sequence[str]]) -> None:
        for count in range(1, len(parts) + 1):
            with opened(self._top, parts[: count - 1]) as above, suppress(FileExistsError):
                os.mkdir(parts[count - 1], dir_fd=above)
                made.append(parts[:count])
                os.fsync(above)

    def _remove_directory(self, parts: Sequence[str]) -> None:
        with opened(self._top, parts[:-1]) as above:
            os.rmdir(parts[-1], dir_fd=above)


def _refusal(path: str, error: Fault) -> PathRefused:
    match error:
        case _Refused():
            return PathRefused(path=path, why=error.why, detail=error.detail)
        case Blocked():
            why: Reason = "through_symlink" if error.is_link else "through_file"
            return PathRefused(path=path, why=why, detail=shown(error.part))
        case BadPath():
            return PathRefused(path=path, why="bad_path", detail=str(error))
        case _:
            is_denied = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
            return PathRefused(path=path, why="denied" if is_denied else "failed", detail=error.strerror or str(error))


def _lay(directory: int, aside: str, entry: Entry, data: bytes) -> None:
    """Make the new file beside the old, flushed. The text of a link is flushed with the directory."""
    if entry.kind == "symlink":
        if not data or b"\0" in data:
            raise _Refused("failed", "no link can have that text")
        os.symlink(os.fsdecode(data), aside, dir_fd=directory)
        return
    with open(os.open(aside, ASIDE_FLAGS, 0o600, dir_fd=directory), "wb", buffering=0) as file:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
        os.fchmod(file.fileno(), entry.mode)
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) != entry.mode:
            raise _Refused("denied", f"mode {entry.mode:o} cannot be given")
        os.fsync(file.fileno())


def _require(directory: int, name: str, path: str, expected: Expected) -> None:
    if expected == "anything":
        return
    found = look(directory, name, path)
    if isinstance(found, Unreadable):
        raise _Refused("unreadable", found.why)
    if (found and found.entry) != expected:
        raise _Refused("changed", "it is gone" if found is None else "something else stands there")


def _clear_way(above: int, name: str) -> None:
    """Remove a directory that holds nothing but directories."""
    if not is_directory(above, name):
        return
    if not _is_hollow(above, name):
        raise _Refused("directory_in_the_way")
    _remove_hollow(above, name)


def _is_hollow(above: int, name: str, depth: int = 0) -> bool:
    with _directory(above, name) as directory:
        names = os.listdir(directory)
        return depth < PARTS_MAX and all(
            is_directory(directory, below) and _is_hollow(directory, below, depth + 1) for below in names
        )


def _remove_hollow(above: int, name: str) -> None:
    with _directory(above, name) as directory:
        for below in os.listdir(directory):
            _remove_hollow(directory, below)
    os.rmdir(name, dir_fd=above)


@contextmanager
def _directory(above: int, name: str) -> Iterator[int]:
    directory = os.open(name, DIRECTORY, dir_fd=above)
    try:
        yield directory
    finally:
        os.close(directory)


def _sweep(directory: int, path: str, swept: list[str]) -> None:
    """Remove what is aside in `directory` and below; leave what cannot be entered: nothing of ours got there."""
    with os.scandir(directory) as found:
        names = [(name.name, name.is_dir(follow_symlinks=False)) for name in found]
    for name, is_below in names:
        if is_below and not is_git(name) and path.count("/") < PARTS_MAX:
            with suppress(OSError), _directory(directory, name) as below:
                _sweep(below, f"{path}{spelled(name)}/", swept)
        elif is_aside(name) and not is_below:
            os.unlink(name, dir_fd=directory)
            swept.append(path + name)
