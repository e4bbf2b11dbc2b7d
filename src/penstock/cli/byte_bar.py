"""How far something with bytes is: a bar on a terminal, a line for each tenth elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

TENTHS = 10
TOLD_BYTES_MIN = 50_000_000
"""Of less nobody needs to hear."""


class Hear(Protocol):
    """Hears bytes done, of how many (0: unknown), and bytes a second."""

    def __call__(self, done: int, total: int, per_s: int = 0, /) -> None:
        """As it goes on."""


class Lines:
    """Says each tenth once, on stderr."""

    def __init__(self, what: str) -> None:
        self._what, self._told = what, 0

    def __call__(self, done: int, total: int, per_s: int = 0) -> None:
        """Hear how far it is."""
        tenth = TENTHS * done // total if total >= TOLD_BYTES_MIN else 0
        if tenth > self._told:
            self._told = tenth
            sys.stderr.write(f"{self._what}: {tenth * 10} %\n")
            sys.stderr.flush()


@contextmanager
def byte_bar(what: str) -> Iterator[Hear]:
    """What to call as it goes on. `what` empty: nothing that a person waits for."""
    if not what or not sys.stderr.isatty():
        yield Lines(what)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def hear(done: int, total: int, per_s: int = 0) -> None:
            bar.update(task, completed=done, total=total or None)

        yield hear
