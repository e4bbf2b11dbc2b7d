"""Clients that stream chat completions, in a process of their own: `python -m bench.fleet.load < ORDER`.

As little of a client as there is, so that what is measured is not the one who measures. The order and the answer are
JSON. Each client asks the targets in turn, one request after the other, so that what is compared meets the same minute.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import cast
from urllib.parse import urlsplit

import uvloop

MARK = b"tok"
"""In every token of the script, and nowhere else."""
LAST = b"data: [DONE]"
END = b"0\r\n\r\n"


@dataclass(frozen=True)
class Order:
    """`targets`: base URLs by what they are called; of several in one list each client takes the next."""

    targets: dict[str, list[str]]
    body: str
    clients: int
    requests: int
    """Of each client to each target."""
    key: str = ""
    spread_s: float = 0.0
    """From the start of the first client to that of the last: else all of them ask in the same moment, always."""


@dataclass
class Taken:
    """`first_ms`: from asking to the first token, of every request."""

    first_ms: list[float] = field(default_factory=list)
    tokens: int = 0
    failed: int = 0
    busy_s: float = 0.0
    """From the first request to the last end, where there was one target alone."""


class Client(asyncio.Protocol):
    """One kept connection."""

    def __init__(self) -> None:
        self.first_at = 0.0
        self.tokens = 0
        self._tail = b""
        self._is_whole = self._is_lost = False
        self._done: asyncio.Future[bool] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    async def ask(self, request: bytes) -> bool:
        """Whether it was answered to its end."""
        self.first_at, self.tokens, self._tail, self._is_whole = 0.0, 0, b"", False
        self._done = asyncio.get_running_loop().create_future()
        if self._is_lost:
            return False
        self._transport.write(request)
        return await self._done

    def data_received(self, data: bytes) -> None:
        """As asyncio."""
        found = data.count(MARK)
        if found and not self.tokens:
            self.first_at = time.perf_counter()
        self.tokens += found
        self._tail = (self._tail + data)[-64:]
        self._is_whole = self._is_whole or LAST in self._tail
        if self._is_whole and self._tail.endswith(END):
            self._settle(True)

    def connection_lost(self, error: Exception | None) -> None:
        """As asyncio."""
        self._is_lost = True
        self._settle(False)

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def _settle(self, is_whole: bool) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(is_whole)


async def connected(url: str) -> Client:
    """A client of the program at `url`."""
    place = urlsplit(url)
    _, client = await asyncio.get_running_loop().create_connection(Client, place.hostname or "", place.port or 80)
    return client


def written(url: str, body: bytes, key: str) -> bytes:
    """One request."""
    lines = ["POST /v1/chat/completions HTTP/1.1", f"host: {urlsplit(url).netloc}", "content-type: application/json"]
    lines += [f"authorization: Bearer {key}"] if key else []
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


async def play(order: Order) -> dict[str, Taken]:
    """All clients at once."""
    taken = {name: Taken() for name in order.targets}
    begun = time.perf_counter()
    await asyncio.gather(*(_play_one(order, number, taken) for number in range(order.clients)))
    for each in taken.values():
        each.busy_s = time.perf_counter() - begun
    return taken


async def _play_one(order: Order, number: int, taken: dict[str, Taken]) -> None:
    body = order.body.encode()
    urls = {name: urls[number % len(urls)] for name, urls in order.targets.items()}
    clients = {name: await connected(url) for name, url in urls.items()}
    await asyncio.sleep(order.spread_s * number / order.clients)
    for _ in range(order.requests):
        for name, url in urls.items():
            begun = time.perf_counter()
            if await clients[name].ask(written(url, body, order.key)) and clients[name].tokens:
                taken[name].first_ms.append((clients[name].first_at - begun) * 1_000)
                taken[name].tokens += clients[name].tokens
            else:
                taken[name].failed += 1
                clients[name].close()
                clients[name] = await connected(url)
    for client in clients.values():
        client.close()


def main() -> None:
    """Play what stdin says."""
    order = Order(**json.load(sys.stdin))
    taken = uvloop.run(play(order))
    json.dump({name: asdict(each) for name, each in taken.items()}, sys.stdout)


if __name__ == "__main__":
    main()
