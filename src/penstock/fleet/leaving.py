"""Notices that a client has left, in every phase of its answer: the race is run, not polled."""

from __future__ import annotations

import asyncio


async def gone(receive: object) -> None:
    """Return when the client has left. `receive`: of ASGI, after the body was read."""
    while True:
        message = await receive()  # type: ignore[operator]
        if message["type"] == "http.disconnect":
            return


async def unless_gone(work: asyncio.Task[None], receive: object) -> bool:
    """Await `work`, unless the client leaves before: then it is cancelled. True: it came to its end."""
    leaving = asyncio.ensure_future(gone(receive))
    try:
        await asyncio.wait((work, leaving), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await work
            return True
        return False
    finally:
        for task in (work, leaving):
            if not task.done():
                task.cancel()
        await asyncio.gather(work, leaving, return_exceptions=True)
