"""A process that restores a tree, for those who kill it at a system call, or let one fail.

`python -m tests.integration.tree_restorer PLACE`; it prints a line per path that was refused.
"""

from __future__ import annotations

import sys
from pathlib import Path

from penstock.adapters.blobs_files import FileBlobs
from penstock.kernel.tree.entry import Entry
from penstock.kernel.tree.writer import TreeWriter
from tests.integration.tree_world import Laid, entry, lay, link

OLD: Laid = {
    "edited": b"old" * 50_000,
    "program": b"#!old",
    "was/deep/gone": b"gone",
    "link": "old",
    "moved": b"was a file",
}
NEW: Laid = {
    "edited": b"new" * 60_000,
    "program": b"#!new",
    "added/here": b"+",
    "link": "new",
    "moved/now": b"is a directory",
}
MODES = {"program": 0o755}


def entries(laid: Laid) -> dict[str, Entry]:
    """What these files are in a scan."""
    return {
        path: link(data.encode()) if isinstance(data, str) else entry(data, MODES.get(path, 0o644))
        for path, data in laid.items()
    }


def batch() -> dict[str, tuple[Entry | None, Entry | None]]:
    """From the new tree to the old."""
    old, new = entries(OLD), entries(NEW)
    return {path: (new.get(path), old.get(path)) for path in sorted(old | new)}


def prepare(place: Path) -> Path:
    """The new tree under `place/top`, and the content of the old under `place/blobs`."""
    blobs = FileBlobs(place / "blobs")
    for data in OLD.values():
        blobs.put(data.encode() if isinstance(data, str) else data)
    top = lay(place / "top", NEW)
    for path, mode in MODES.items():
        (top / path).chmod(mode)
    return top


def main(place: Path) -> None:
    """Restore it."""
    writer = TreeWriter(place / "top", FileBlobs(place / "blobs"))
    for refusal in writer.restore(batch()).refused:
        print(refusal.path, refusal.why, refusal.detail, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
