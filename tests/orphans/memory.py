"""How much memory programs take more, once they have served their first thousands of requests."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

SETTLED = 2_000
"""Requests until caches and arenas have their size."""
GROWN_BYTES_MAX = 8_000_000
GROWN_EACH_BYTES_MAX = 1_024
"""An id of a request that has ended is remembered for ten minutes, at the queen and at the worker."""


class Growth:
    """Of these processes, by name, over so many requests."""

    def __init__(self, pids: Mapping[str, int], times: int) -> None:
        self._pids, self._times = dict(pids), times
        self._settled: dict[str, int] = {}
        self._last: dict[str, int] = {}

    def settled(self) -> None:
        """The first thousands are served."""
        self._settled = self._now()

    def note(self) -> None:
        """All are."""
        self._last = self._now()

    def _now(self) -> dict[str, int]:
        return {name: _resident_bytes(pid) for name, pid in self._pids.items()}

    @property
    def grown(self) -> dict[str, int]:
        """Bytes; nothing where there were too few requests to tell."""
        return {name: self._last[name] - begun for name, begun in self._settled.items()}

    @property
    def is_well(self) -> bool:
        """Whether nobody takes much more than what it is to remember."""
        bytes_max = GROWN_BYTES_MAX + GROWN_EACH_BYTES_MAX * max(0, self._times - SETTLED)
        return all(grown <= bytes_max for grown in self.grown.values())

    @property
    def words(self) -> str:
        """For the tally."""
        if not self._settled:
            return f"memory not looked at: fewer than {SETTLED} requests"
        told = ", ".join(f"{name} {grown / 1e6:+.1f} MB" for name, grown in self.grown.items())
        return f"memory since the first {SETTLED}: {told}{'' if self.is_well else ', too much'}"


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
