"""What it costs to hash the tree again after a command: 5,000 files in 250 directories.

`unchanged`: nothing happened; `ten_changed`: ten files were rewritten; `first`: every file is read; `kept`: and its
content is kept, durably. `system_calls`: what asking for the metadata costs alone, with nothing made of the answers;
it is measured turn by turn with `unchanged`, so that a busy machine is busy for both. Medians in milliseconds.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from penstock.adapters.blobs_sqlite import SqliteBlobs
from penstock.kernel.tree.entry import diff
from penstock.kernel.tree.looking import DIRECTORY, opened
from penstock.kernel.tree.scanner import TreeScanner

DIRECTORIES = 250
FILES_PER_DIRECTORY = 20
TURNS = 31
SETTLED_S = 0.1
"""Files younger than this are not trusted yet, so a measurement of unchanged ones waits for so long."""


def lay(top: Path) -> None:
    """Source files of 0 to 12,000 bytes."""
    for number in range(DIRECTORIES):
        directory = top / f"package_{number % 10}" / f"part_{number}"
        directory.mkdir(parents=True)
        for file in range(FILES_PER_DIRECTORY):
            (directory / f"module_{file}.py").write_text(f"x = {number}\n" * (file * 60))


def spent_ms(work: Callable[[], object]) -> float:
    """By doing it once."""
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1_000


def ask_only(directory: int) -> None:
    """The system calls of a scan in which nothing changed."""
    below = []
    with os.scandir(directory) as found:
        for item in found:
            if item.is_dir(follow_symlinks=False):
                below.append(item.name)
            else:
                item.stat(follow_symlinks=False)
    for name in below:
        inner = os.open(name, DIRECTORY, dir_fd=directory)
        ask_only(inner)
        os.close(inner)


def unchanged_ms(top: Path, scanner: TreeScanner) -> dict[str, float]:
    """A scan, and the comparison with the one before; and the system calls alone."""
    expected, ours, theirs = scanner.scan().readable, [], []
    for _ in range(TURNS):
        with opened(top) as directory:
            theirs.append(spent_ms(lambda: ask_only(directory)))
        ours.append(spent_ms(lambda: diff(expected, scanner.scan().entries)))
    our, their = statistics.median(ours), statistics.median(theirs)
    return {"unchanged_ms": our, "system_calls_ms": their, "unchanged_to_system_calls": our / their}


def keep_all(top: Path, path: Path) -> None:
    """Scan for the first time, with content."""
    with closing(SqliteBlobs(path)) as blobs:
        TreeScanner(top, blobs=blobs).scan()


def ten_changed_ms(top: Path, scanner: TreeScanner) -> float:
    """The same after ten files were rewritten with bytes that they had never before."""
    expected, spent = scanner.scan().readable, []
    paths = sorted(top.glob("*/*/module_7.py"))[:10]
    for turn in range(TURNS):
        for path in paths:
            path.write_text(f"{turn}\n")
        spent.append(spent_ms(lambda: diff(expected, scanner.scan().entries)))
    return statistics.median(spent)


def measure() -> dict[str, float]:
    """All figures by name."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as place:
        top, kept = Path(place) / "tree", Path(place) / "blobs"
        lay(top)
        os.sync()
        time.sleep(SETTLED_S)
        scanner = TreeScanner(top)
        found = {
            "first_ms": spent_ms(scanner.scan),
            **unchanged_ms(top, scanner),
            "ten_changed_ms": ten_changed_ms(top, scanner),
            "kept_ms": spent_ms(lambda: keep_all(top, kept)),
            "kept_again_ms": spent_ms(lambda: keep_all(top, kept)),
        }
        return {name: round(value, 2) for name, value in found.items()}
