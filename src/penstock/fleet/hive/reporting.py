"""Tells the queen what there is: at every change, and at every heartbeat; whole each time, so that none is missed.

Changes that come together are told together, and one report is under way at a time. A queen that does not answer is
asked for ever, at the latest every heartbeat: she may come back, and finds all of it in the next report.

She may also ask, after she had something done here. What she is told then has a number of its own, so that a report
which was under way meanwhile is known to be the older one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from penstock.fleet.calling import Caller, Unreachable
from penstock.fleet.errors import FleetError
from penstock.fleet.logs import Log
from penstock.fleet.schema import HiveReport, Registered
from penstock.fleet.versions import compare

TOGETHER_S = 0.01
RETRY_MS = 100
HEARTBEAT_MS = 2_000
"""Until the queen has said hers."""
FINAL = frozenset({"HIVE_NAME_TAKEN", "VERSION_MISMATCH", "INVALID_TOKEN", "INVALID_REQUEST"})
"""A hive that hears this at its start cannot join, however often it asks. Later, the queen may have been changed."""


class Reporter:
    """`report`: what there is now, under a number and an epoch. `overtaken`: called once, when another has the name."""

    def __init__(
        self,
        queen: str,
        token: str,
        log: Log,
        report: Callable[[int, int], HiveReport],
        overtaken: Callable[[FleetError], None],
    ) -> None:
        self._queen, self._token, self._log, self._report, self._overtaken = queen, token, log, report, overtaken
        self.epoch = self.number = 0
        self.is_heard = False
        """Whether the queen heard the last report."""
        self._news = asyncio.Event()
        self._heartbeat_ms, self._failed = HEARTBEAT_MS, 0

    def changed(self) -> None:
        """There is news."""
        self._news.set()

    def now(self) -> HiveReport:
        """What there is, under a number that no report had before."""
        self.number += 1
        return self._report(self.epoch, self.number)

    async def run(self) -> None:
        """Until the hive is overtaken, or this is cancelled."""
        if not self._queen:
            return
        async with Caller(self._queen, self._token) as caller:
            while True:
                self._news.clear()
                if not await self._tell(caller):
                    return
                await self._pause()

    async def say_last(self) -> None:
        """One more, within a second: that all has ended."""
        if self._queen and self.is_heard:
            with suppress(TimeoutError, Unreachable, FleetError):
                async with asyncio.timeout(1), Caller(self._queen, self._token) as caller:
                    await self._post(caller)

    async def _pause(self) -> None:
        wait_ms = min(self._heartbeat_ms, RETRY_MS * 2 ** min(self._failed, 10)) if self._failed else 0
        if wait_ms:
            await asyncio.sleep(wait_ms / 1_000)
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), self._heartbeat_ms / 1_000)
            await asyncio.sleep(TOGETHER_S)

    async def _tell(self, caller: Caller) -> bool:
        """False where there is nothing to be told any more."""
        try:
            registered = await self._post(caller)
        except Unreachable as error:
            self._note_unheard(str(error))
        except FleetError as error:
            if error.code == "FENCED" or (not self.epoch and error.code in FINAL):
                self._overtaken(error)
                return False
            if error.code == "STALE_REPORT":
                self._failed = 0  # she has asked meanwhile, and knows more
            else:
                self._note_unheard(str(error))
        else:
            self._note_heard(registered)
        return True

    async def _post(self, caller: Caller) -> Registered:
        told = await caller.post("/v1/hives", self.now(), Registered)
        compare("hive", "queen", told.api_version, told.version)
        return told

    def _note_heard(self, registered: Registered) -> None:
        if not self.is_heard:
            self._log.info("registered", queen=self._queen, name=registered.name, epoch=registered.epoch)
        self.epoch, self._heartbeat_ms = registered.epoch, max(1, registered.heartbeat_ms)
        self.is_heard, self._failed = True, 0

    def _note_unheard(self, why: str) -> None:
        if self.is_heard or not self._failed:
            self._log.warning("the queen does not hear us", queen=self._queen, why=why)
        self.is_heard = False
        self._failed += 1
