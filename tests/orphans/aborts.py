"""Requests that are broken off at any moment, and requests against a queue that is full: every count comes out
even, and no program grows by more than what it is to remember.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.orphans.memory import SETTLED, Growth
from tests.scenarios.waiting import until
from tests.scenarios.world import World, dispose, new_world

AT_ONCE = 48
TOLD_EVERY = 1_000
WAIT_S = 60.0
SCRIPT = "repeat: true\nreplies: [{tokens: [a, b, c, d, e, f], pace: {first_ms: 2, every_ms: 2}}]\n"
QUEUE_MAX = 20
WAYS = ("connect", "ask", "status", "token", "moment", "cancel", "end")


@dataclass(frozen=True)
class Told:
    """How that went, in words."""

    words: str
    is_well: bool


def abort_many(times: int, chance: random.Random) -> Told:
    """As many requests, most of them broken off: afterwards nothing waits, flies, or holds a slot."""
    world = _fleet(slots=4, queue_max=64)
    try:
        ways = [chance.choice(WAYS) for _ in range(times)]
        moments = [chance.random() * 0.03 for _ in range(times)]
        begun = time.monotonic()
        growth = _growth(world, times)
        plans = list(zip(ways, moments, strict=True))
        ends = asyncio.run(_all(world.queen.url, plans, AT_ONCE, growth.settled))
        is_even = _comes_to_rest(world)
        growth.note()
        took = time.monotonic() - begun
        print(f"aborts: {times} in {took:.0f} s: {dict(sorted(ends.items()))}", flush=True)
        counts = "all counts are zero" if is_even else _counts(world)
        return Told(f"{times} broken off, {counts}, {growth.words}", is_even and growth.is_well)
    finally:
        dispose(world)


def fill_queue(times: int) -> Told:
    """As many requests at once as the queue cannot hold: each is answered or refused, and is counted once."""
    world = _fleet(slots=2, queue_max=QUEUE_MAX)
    try:
        begun = time.monotonic()
        growth = _growth(world, times)
        ends = asyncio.run(_all(world.queen.url, [("end", 0.0)] * times, 4 * QUEUE_MAX, growth.settled))
        is_even = _comes_to_rest(world)
        growth.note()
        told = world.metrics("queen")
        counted = sum(int(value) for name, value in told.items() if name.startswith("penstock_queen_requests_total"))
        took = time.monotonic() - begun
        print(f"full queue: {times} in {took:.0f} s: {dict(ends)}, counted {counted}", flush=True)
        is_well = is_even and ends["200"] + ends["429"] == times == counted and ends["429"] > 0 and growth.is_well
        sums = f"{ends['200']} accepted + {ends['429']} refused = {times} sent, {counted} counted"
        return Told(f"{sums}, {growth.words}", is_well)
    finally:
        dispose(world)


def _fleet(slots: int, queue_max: int) -> World:
    world = new_world()
    world.limits["queen"] = {"queue_per_model_max": queue_max}
    world.words["queen"].remove("--verbose")
    world.add_model("tiny", SCRIPT, slots=slots)
    world.start_fleet("here")
    assert world.spawn("tiny").status == 200
    return world


def _growth(world: World, times: int) -> Growth:
    pids = {"queen": world.queen.pid, "hive": world.programs["here"].pid, "worker": world.worker("tiny")["pid"]}
    return Growth(pids, times)


def _comes_to_rest(world: World) -> bool:
    with suppress(AssertionError):
        until(lambda: not any(_counts(world).values()), "it rests", WAIT_S)
    return not any(_counts(world).values())


def _counts(world: World) -> dict[str, int]:
    worker = world.worker("tiny")
    told = world.metrics(worker["url"])
    return {
        "waiting": world.waiting(),
        "in flight": world.flying(),
        "busy": int(world.health(worker)["busy"]),
        "busy as measured": int(told["penstock_worker_busy"]),
        "listed as busy": worker["busy"],
    }


async def _all(url: str, plans: list[tuple[str, float]], at_once: int, settled: Callable[[], None]) -> Counter[str]:
    """`settled`: called when the first thousands have ended."""
    ends: Counter[str] = Counter()
    left = list(enumerate(plans))
    left.reverse()

    async def work() -> None:
        while left:
            number, (way, moment) = left.pop()
            ends[await _one(url, f"a-{number}", way, moment)] += 1
            if ends.total() == SETTLED:
                settled()
            if ends.total() % TOLD_EVERY == 0:
                print(f"  {ends.total()} of {len(plans)}", flush=True)

    await asyncio.gather(*(work() for _ in range(at_once)))
    return ends


async def _one(url: str, request_id: str, way: str, moment: float) -> str:
    """The way that it was broken off, or the status of an answer that was whole."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        if way == "connect":
            return way
        writer.write(_question("POST", "/v1/chat/completions" if len(request_id) % 2 else "/v1/inference", request_id))
        await writer.drain()
        if way == "ask":
            return way
        if way == "moment":
            with suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1 << 20), moment)
            return way
        return await _read(url, reader, request_id, way)
    except (ConnectionError, asyncio.IncompleteReadError):
        return "torn"
    finally:
        writer.transport.abort()


async def _read(url: str, reader: asyncio.StreamReader, request_id: str, way: str) -> str:
    head = await reader.readuntil(b"\r\n\r\n")
    status = head.split(b" ", 2)[1].decode()
    if way == "status" or status != "200":
        return status if way == "end" else way
    body = b""
    while b"[DONE]" not in body:
        if not (data := await reader.read(65_536)):
            return "torn"
        body += data
        if way == "token" and (b"event: token" in body or b'"content"' in body):
            return way
        if way == "cancel":
            await _cancel(url, request_id)
            way = "canceled"
    return status if way == "end" else way


async def _cancel(url: str, request_id: str) -> None:
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        writer.write(_question("DELETE", f"/v1/inference/{request_id}", ""))
        await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.transport.abort()


def _question(method: str, path: str, request_id: str) -> bytes:
    body = b""
    if method == "POST" and path.endswith("inference"):
        body = json.dumps({"prompt": "go", "model": "tiny"}).encode()
    elif method == "POST":
        messages = [{"role": "user", "content": "go"}]
        body = json.dumps({"model": "tiny", "messages": messages, "stream": True}).encode()
    told = f"x-request-id: {request_id}\r\n" if request_id else ""
    return f"{method} {path} HTTP/1.1\r\nhost: x\r\n{told}content-length: {len(body)}\r\n\r\n".encode() + body
