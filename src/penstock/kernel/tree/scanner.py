"""Finds what changed in the tree. Files whose metadata stand still are not read again.

Which metadata: device, inode, size, mode, and the times of modification and of change in nanoseconds. Only the kernel
sets the time of change, so an edit of the same size with the old time put back is seen. Its clock ticks every few
milliseconds, though: an edit in the tick in which we read leaves the same time behind. So what had changed shortly
before it was read is not trusted, and is read again by the next scan (git calls such files racy). File systems that
keep whole seconds get seconds of distrust.

One gap is left, and only processes that live on while we scan can use it: who has mapped a file, or is in the midst of
one long write, changes it further without leaving a new time. Scans come after the processes of a command have ended;
whoever scans while some live on asks for a scan `afresh` after their end, which reads everything.

Directories are walked by descriptors: one that is swapped for a link in mid-scan is seen as a link.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from penstock.core.paths import matches
from penstock.core.policy import Frozen
from penstock.kernel.tree.entry import Entry, Present, Unreadable
from penstock.kernel.tree.looking import DIRECTORY, HASHED_BYTES_MAX, Look, Stamp, look, opened, stamp_of
from penstock.kernel.tree.names import PARTS_MAX, is_aside, spelled
from penstock.ports import Blobs

IGNORED = (".git", ".venv/", "venv/", "node_modules/", "__pycache__/", ".pytest_cache/", ".mypy_cache/", ".ruff_cache/")
"""Globs as in .gitignore. The tree's own .gitignore has no say: the agent can write it."""

DISTRUST_NS = 50_000_000
"""Some ticks of the slowest kernel clock."""
WHOLE_SECONDS_DISTRUST_NS = 2_100_000_000
SECOND_NS = 1_000_000_000


class ScanLimits(Frozen):
    """Bounds of one scan."""

    kept_bytes_max: int = 10_000_000
    """Larger content is known by its digest, and not kept."""
    hashed_bytes_max: int = HASHED_BYTES_MAX
    files_max: int = 200_000
    depth_max: int = PARTS_MAX - 1


class TooLarge(Frozen):
    """Its content is known by its digest only: once overwritten, it cannot be put back."""

    path: str
    size_bytes: int


class LeftAside(Frozen):
    """A file with a name that only the writer gives: a crash left it, or somebody forged it. `sweep` removes it."""

    path: str


ScanProblem = Unreadable | TooLarge | LeftAside


class Scan(Frozen):
    """Every file of the tree that is not ignored, and what is to be told about some."""

    entries: dict[str, Present] = {}
    problems: tuple[ScanProblem, ...] = ()

    @property
    def readable(self) -> dict[str, Entry]:
        """The entries without what could not be read: what a later `diff` can expect."""
        return {path: entry for path, entry in self.entries.items() if isinstance(entry, Entry)}


@dataclass(slots=True)
class _Known:
    """A file as it was read. `stamp`: None while it is not to be trusted."""

    path: str
    entry: Entry
    stamp: Stamp | None
    too_large: TooLarge | None


@dataclass(slots=True)
class _Directory:
    """What is known of a directory; `path` is empty or ends with a slash. The rest of it is made from `files`."""

    path: str
    depth: int = 0
    below: dict[str, _Directory] = field(default_factory=dict)
    files: dict[str, _Known] = field(default_factory=dict)
    stamps: dict[str, Stamp] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[TooLarge] = field(default_factory=list)

    def hold(self, files: dict[str, _Known]) -> None:
        """Know exactly these files."""
        self.files = files
        self.stamps = {name: file.stamp for name, file in files.items() if file.stamp}
        self.entries = {file.path: file.entry for file in files.values()}
        self.problems = [file.too_large for file in files.values() if file.too_large]


class TreeScanner:
    """Scans one tree again and again. With `blobs`, it keeps the content of all that it reads."""

    def __init__(
        self,
        top: Path,
        ignore: tuple[str, ...] | Callable[[str], bool] = IGNORED,
        blobs: Blobs | None = None,
        limits: ScanLimits | None = None,
    ) -> None:
        self._top = top
        self._is_ignored = ignore if callable(ignore) else lambda path: matches(ignore, path)
        self._blobs = blobs
        self._limits = limits or ScanLimits()
        self._root = _Directory("")
        self._entries: dict[str, Present] = {}
        self._problems: list[ScanProblem] = []

    def scan(self, *, afresh: bool = False) -> Scan:
        """What is there now; `afresh` reads every file. Never raises for the tree: what is wrong is in `problems`."""
        self._entries, self._problems = {}, []
        if afresh:
            self._root = _Directory("")
        try:
            with opened(self._top) as top:
                self._scan(top, self._root)
        except OSError as error:
            self._report("", error.strerror or str(error))
        return Scan(entries=self._entries, problems=tuple(sorted(self._problems, key=lambda problem: problem.path)))

    def _scan(self, directory: int, known: _Directory) -> None:
        """One directory and all below it."""
        below, still, others = _sort_out(directory, known.stamps)
        if others or len(still) != len(known.files):
            files = {name: known.files[name] for name in still}
            for name in others:
                if file := self._read(directory, name, known):
                    files[name] = file
            known.hold(files)
        self._entries.update(known.entries)
        self._problems += known.problems
        self._scan_below(directory, known, below)

    def _scan_below(self, directory: int, known: _Directory, names: list[str]) -> None:
        old, known.below = known.below, {}
        for name in names:
            path = f"{known.path}{spelled(name)}/"
            below = old.get(name)
            if below is None:
                if self._is_ignored(path):
                    continue
                below = _Directory(path, known.depth + 1)
            known.below[name] = below
            self._enter(directory, name, known, below)

    def _enter(self, above: int, name: str, known: _Directory, below: _Directory) -> None:
        path = below.path[:-1]
        if below.depth > self._limits.depth_max:
            return self._report(path, f"deeper than {self._limits.depth_max} directories")
        if len(self._entries) > self._limits.files_max:
            return self._report(path, f"the tree has more than {self._limits.files_max} files")
        try:
            directory = os.open(name, DIRECTORY, dir_fd=above)
        except FileNotFoundError:
            return None
        except NotADirectoryError:  # swapped since it was listed
            return self._take_swapped(above, name, known)
        except OSError as error:
            return self._report(path, error.strerror or str(error))
        try:
            self._scan(directory, below)
        except OSError as error:
            self._report(path, error.strerror or str(error))
        finally:
            os.close(directory)
        return None

    def _take_swapped(self, directory: int, name: str, known: _Directory) -> None:
        if file := self._read(directory, name, known):
            known.hold(known.files | {name: file})
            self._entries[file.path] = file.entry

    def _report(self, path: str, why: str) -> None:
        problem = Unreadable(path=path, why=why)
        self._entries[path] = problem
        self._problems.append(problem)

    def _read(self, directory: int, name: str, known: _Directory) -> _Known | None:
        """The file afresh; None where it is ignored, gone, or cannot be read, which is reported."""
        path = known.path + spelled(name)
        if name not in known.files and self._is_ignored(path):
            return None
        if is_aside(name):
            self._problems.append(LeftAside(path=path))
            return None
        begun_ns = time.time_ns()
        found = look(directory, name, path, self._data_bytes_max, self._limits.hashed_bytes_max)
        why = found.why if isinstance(found, Unreadable) else self._keep(found)
        if why:
            self._report(path, why)
        return None if found is None or isinstance(found, Unreadable) or why else self._known(path, found, begun_ns)

    @property
    def _data_bytes_max(self) -> int:
        return 0 if self._blobs is None else self._limits.kept_bytes_max

    def _keep(self, found: Look | None) -> str:
        """Keep the content where it is wanted; why it could not be."""
        if self._blobs is None or found is None or not found.entry.digest or found.data is None:
            return ""
        try:
            if not self._blobs.has(found.entry.digest):
                self._blobs.put(found.data)
        except OSError as error:
            return f"its content cannot be kept: {error.strerror or error}"
        return ""

    def _known(self, path: str, found: Look, begun_ns: int) -> _Known:
        is_too_large = found.size > self._limits.kept_bytes_max
        too_large = TooLarge(path=path, size_bytes=found.size) if is_too_large else None
        return _Known(path, found.entry, None if is_racy(found.stamp, begun_ns) else found.stamp, too_large)


def _sort_out(directory: int, stamps: dict[str, Stamp]) -> tuple[list[str], list[str], list[str]]:
    """Names in a directory: of directories, of files that stand still, of the others.

    It runs for every file after every command, and costs little more than the system calls.
    """
    below: list[str] = []
    still: list[str] = []
    others: list[str] = []
    with os.scandir(directory) as found:
        for item in found:
            name = item.name
            if item.is_dir(follow_symlinks=False):
                below.append(name)
            elif (stamp := stamps.get(name)) and stamp == _stamp(item):
                still.append(name)
            else:
                others.append(name)
    return below, still, others


def _stamp(item: os.DirEntry[str]) -> Stamp | None:
    try:
        return stamp_of(item.stat(follow_symlinks=False))
    except OSError:  # `_read` says why
        return None


def is_racy(stamp: Stamp, read_ns: int) -> bool:
    """Whether an edit after `read_ns` could leave the same stamp."""
    changed_ns = max(stamp[3], stamp[4])
    distrust_ns = DISTRUST_NS if stamp[4] % SECOND_NS else WHOLE_SECONDS_DISTRUST_NS
    return changed_ns > read_ns - distrust_ns
