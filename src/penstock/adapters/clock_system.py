"""The machine's clock. It is set once, from wall time, and then only ticks: nobody who sets the time turns it back.

It ticks while the machine sleeps, so that a sleep shows as a gap; the event loop's own clock stands still then, which
is why no single wait is long.
"""

from __future__ import annotations

import asyncio
import time

TICKING = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on in sleep: Linux has a clock of its own for that, elsewhere the monotonic one does."""
WAIT_MS_MAX = 1_000


class SystemClock:
    """`Clock` that starts at wall time, or at `not_before_ms` where that is later: the end of a log that continues."""

    def __init__(self, not_before_ms: int = 0) -> None:
        self._started_ms = max(time.time_ns() // 1_000_000, not_before_ms)
        self._started_ticks = time.clock_gettime_ns(TICKING)

    def now_ms(self) -> int:
        """See `Clock`."""
        return self._started_ms + (time.clock_gettime_ns(TICKING) - self._started_ticks) // 1_000_000

    async def sleep_until(self, due_ms: int) -> None:
        """See `Clock`."""
        while (left_ms := due_ms - self.now_ms()) > 0:
            await asyncio.sleep(min(left_ms, WAIT_MS_MAX) / 1000)
