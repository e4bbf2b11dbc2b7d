"""Working trees for the tests of `kernel.tree`: laid from a table, looked at without any of our own code."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from penstock.adapters.blobs_memory import MemoryBlobs
from penstock.core.digest import Digest
from penstock.kernel.tree.entry import SYMLINK_MODE, Entry
from penstock.kernel.tree.names import from_disk
from penstock.kernel.tree.scanner import DISTRUST_NS

NOBODY = 65_534
Laid = Mapping[str, bytes | str]
"""Content of a file; a text is where a link leads."""


class AskedBlobs(MemoryBlobs):
    """Remembers which digests it was asked for: the scanner asks once for each file that it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Digest] = []

    def has(self, digest: Digest) -> bool:
        """See `Blobs`."""
        self.asked.append(digest)
        return super().has(digest)


def lay(top: Path, laid: Laid) -> Path:
    """The tree with these files."""
    for path, content in laid.items():
        place = top / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            place.symlink_to(content)
        else:
            place.write_bytes(content)
    return top


def wait_until_trusted() -> None:
    """Until what was written before is old enough for its times to mean something."""
    until = time.time_ns() + 2 * DISTRUST_NS
    while time.time_ns() < until:
        os.sched_yield()


def digest(data: bytes) -> Digest:
    return hashlib.sha256(data).hexdigest()


def entry(data: bytes, mode: int = 0o644) -> Entry:
    """A file with this content."""
    return Entry(kind="file", mode=mode, digest=digest(data))


def link(text: bytes) -> Entry:
    """A link that leads there."""
    return Entry(kind="symlink", mode=SYMLINK_MODE, digest=digest(text))


def seen_plainly(top: Path) -> dict[str, Entry]:
    """The tree by `os.walk`, every byte read."""
    found = {}
    for folder, names_below, names in os.walk(top):
        links = [name for name in names_below if os.path.islink(os.path.join(folder, name))]
        for name in (*names, *links):
            place = os.path.join(folder, name)
            found[from_disk(os.fsencode(os.path.relpath(place, top)))] = _entry_at(place)
    return found


def _entry_at(place: str) -> Entry:
    status = os.lstat(place)
    if stat.S_ISLNK(status.st_mode):
        return link(os.readlink(os.fsencode(place)))
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        return Entry(kind="other", mode=mode)
    return entry(Path(place).read_bytes(), mode)


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A directory whose permissions count: as root, they are another user's."""
    place = Path(tempfile.mkdtemp(prefix="penstock-tree-"))
    is_root = os.geteuid() == 0
    try:
        if is_root:
            os.chown(place, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        yield place
    finally:
        if is_root:
            os.seteuid(0)
        for folder, names, _ in os.walk(place):
            for name in names:
                os.chmod(os.path.join(folder, name), 0o700)
        shutil.rmtree(place)
