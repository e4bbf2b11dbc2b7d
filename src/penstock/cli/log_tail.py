"""The end of a log, and what is written to it from then on, over its rotation too."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

LOOK_S = 0.2


def tail(path: Path, lines: int, *, follow: bool) -> Iterator[str]:
    """The last `lines`; with `follow`, without end. What a terminal would obey is left out."""
    from penstock.evidence.words import plain

    file = path.open(errors="replace")
    try:
        yield from (plain(line).rstrip("\n") for line in deque(file, maxlen=lines))
        while follow:
            if line := _next_line(file):
                yield plain(line).rstrip("\n")
            elif _is_other(path, file.fileno()):
                file.close()
                file = path.open(errors="replace")
            else:
                time.sleep(LOOK_S)
    finally:
        file.close()


def _next_line(file: TextIO) -> str:
    """A whole one; empty where none is there yet."""
    begun = file.tell()
    line = file.readline()
    if not line.endswith("\n"):
        file.seek(begun)
        return ""
    return line


def _is_other(path: Path, open_one: int) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(open_one)
    return (there.st_ino, there.st_dev) != (ours.st_ino, ours.st_dev)
