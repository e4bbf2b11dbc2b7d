"""What goes through the queen: bytes as they are, whole events, and one end."""

from __future__ import annotations

import asyncio

from tests.fleet.queen_world import world


def test_a_prompt_is_answered_by_a_warm_worker() -> None:
    async def scenario() -> None:
        async with world() as w:
            worker = await w.worker()
            said = await w.infer(request_id="mine")
            assert [each.name for each in said] == ["started", "token", "end", ""]
            assert said[0].data == '{"request_id":"mine"}', "the queen's own, not the worker's"
            assert worker.server.heard[0].id == "mine"

    asyncio.run(scenario())
