"""A pipe with a name, through which a program that a test has started says that it has come so far."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path


async def written_to(fifo: Path) -> None:
    """Return when somebody has written there; whoever is cancelled meanwhile leaves no thread that waits."""
    descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    await until_readable(descriptor)


async def until_readable(descriptor: int) -> None:
    """Return when there is something to read, or an end; the descriptor is closed then."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
