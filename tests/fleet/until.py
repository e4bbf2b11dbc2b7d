"""Waiting, in a loop of asyncio, for what is to come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

WAIT_S_MAX = 20.0
Found = TypeVar("Found")


async def until(found: Callable[[], Found | None]) -> Found:
    """Wait for what is to come."""
    async with asyncio.timeout(WAIT_S_MAX):
        while not (value := found()):
            await _moment()
        return value


async def until_async(found: Callable[[], Awaitable[Any]]) -> Any:
    """The same, where looking takes its time."""
    async with asyncio.timeout(WAIT_S_MAX):
        while not (value := await found()):
            await _moment()
        return value


async def _moment() -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 0.005)
