"""The system's clock."""

import asyncio
import time

from penstock.adapters.clock_system import SystemClock


def test_it_starts_at_wall_time() -> None:
    before = time.time_ns() // 1_000_000
    now = SystemClock().now_ms()
    assert before <= now <= time.time_ns() // 1_000_000 + 1


def test_it_never_goes_back_behind_a_log_that_it_continues() -> None:
    ahead = time.time_ns() // 1_000_000 + 3_600_000
    clock = SystemClock(not_before_ms=ahead)
    seen = [clock.now_ms() for _ in range(1_000)]
    assert seen[0] >= ahead
    assert seen == sorted(seen)


def test_sleeping_ends_when_it_is_due_and_not_before() -> None:
    clock = SystemClock()
    due = clock.now_ms() + 20
    asyncio.run(clock.sleep_until(due))
    assert due <= clock.now_ms() < due + 10_000


def test_what_is_due_already_does_not_wait() -> None:
    clock = SystemClock()
    begun = clock.now_ms()
    asyncio.run(clock.sleep_until(begun - 60_000))
    assert clock.now_ms() < begun + 10_000
