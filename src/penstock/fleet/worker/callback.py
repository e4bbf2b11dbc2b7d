"""Tells the hive that the worker can be reached. One short POST, without a client library: of thirty workers that start
at once, each has a few milliseconds of a processor for all that it does.
"""

from __future__ import annotations

import asyncio
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from penstock.core.fleet.policy import WorkerPolicy
from penstock.fleet.schema import ReadyCallback

ANSWER_S_MAX = 10.0
ANSWER_BYTES_MAX = 65_536
UNWANTED = (403, 410)
"""The hive knows no such spawn, or has ended it."""

Heard = Literal["heard", "unwanted", "unheard"]


async def tell_hive(hive_url: str, token: str, callback: ReadyCallback, policy: WorkerPolicy) -> Heard:
    """Post until it is heard, or unwanted, or was tried as often as the policy has it."""
    backoff_ms = policy.callback_backoff_ms
    for left in reversed(range(policy.callback_tries_max)):
        status = await _posted(hive_url, token, msgspec.json.encode(callback))
        if status in UNWANTED:
            return "unwanted"
        if 200 <= status < 300:
            return "heard"
        if left:
            await asyncio.sleep(backoff_ms / 1_000)
            backoff_ms *= 2
    return "unheard"


async def _posted(hive_url: str, token: str, body: bytes) -> int:
    """The status; 0: no answer."""
    place = urlsplit(hive_url)
    head = [
        f"POST {place.path.rstrip('/')}/v1/workers/ready HTTP/1.1",
        f"host: {place.netloc}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
        *([f"authorization: Bearer {token}"] if token else []),
    ]
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            reader, writer = await asyncio.open_connection(place.hostname, place.port or 80, limit=ANSWER_BYTES_MAX)
            try:
                writer.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)
                line = await reader.readline()
            finally:
                writer.close()
    except (OSError, ValueError, TimeoutError):
        return 0
    words = line.split(b" ")
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() else 0
