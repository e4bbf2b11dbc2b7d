"""The port to what a queen remembers of hives when it is started again; and how it is written without waiting for it.

A row is saved once its hive answered. The disk may fail: the queen goes on from memory, says that it is degraded, and
writes what it owes as soon as that works again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from penstock.core.fleet.known import KnownHive
from penstock.fleet.logs import Log

AGAIN_S = 1.0
"""Before a write that failed is tried again."""


class HiveRegistry(Protocol):
    """Hives by name. Any thread may call it, one at a time. Each raises `OSError` where the disk does not do it."""

    @property
    def set_aside(self) -> str:
        """Where a damaged file was put when this was opened; empty where none was."""

    def rows(self) -> Sequence[KnownHive]:
        """All, by name."""

    def save(self, row: KnownHive) -> None:
        """In place of the row of that name. Durable on return."""

    def close(self) -> None:
        """Idempotent."""


class Saving:
    """Writes rows beside everything else, the newest of each name."""

    def __init__(self, registry: HiveRegistry, log: Log, again_s: float = AGAIN_S) -> None:
        self._registry, self._log, self._again_s = registry, log, again_s
        self._owed: dict[str, KnownHive] = {}
        self._writing: asyncio.Task[None] | None = None
        self.is_failing = False

    def save(self, row: KnownHive) -> None:
        """Soon, or when the disk can again."""
        self._owed[row.name] = row
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._write())

    async def close(self) -> None:
        """Write what is owed, once more, and close the registry."""
        if self._writing is not None:
            self._writing.cancel()
            with suppress(asyncio.CancelledError):
                await self._writing
        for row in self._owed.values():
            with suppress(OSError):
                self._registry.save(row)
        self._registry.close()

    async def _write(self) -> None:
        while self._owed:
            row = next(iter(self._owed.values()))
            try:
                await asyncio.shield(asyncio.to_thread(self._registry.save, row))
            except OSError as error:
                self._failed(error)
                await asyncio.sleep(self._again_s)
                continue
            self._worked()
            if self._owed.get(row.name) is row:
                del self._owed[row.name]

    def _failed(self, error: OSError) -> None:
        if not self.is_failing:
            self._log.error("registry cannot be written: going on from memory", error=str(error))
        self.is_failing = True

    def _worked(self) -> None:
        if self.is_failing:
            self._log.info("registry is written again")
        self.is_failing = False
