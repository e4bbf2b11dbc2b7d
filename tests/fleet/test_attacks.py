"""Clients, pages and hives that mean no good, or know no better: what they get, and that others do not notice."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import StringIO
from typing import Any

import msgspec
import pytest

from penstock.core.fleet.policy import HEAD_BYTES_MAX, QueenPolicy
from penstock.fleet.app import App
from penstock.fleet.choices import is_address
from penstock.fleet.logs import Log
from penstock.fleet.measures import Measures
from penstock.fleet.pages import is_foreign
from penstock.fleet.routes import Call, Endpoint
from penstock.fleet.schema import ADDRESS, Health, InferenceRequest
from penstock.fleet.serving import Server, bound, serve
from tests.fleet.queen_world import TestHive, World, world
from tests.fleet.until import WAIT_S_MAX

SOON_S = 0.2
NEVER_S = 3_600.0
HEAD = b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\n"
POST = b"POST /v1/inference HTTP/1.1\r\nhost: localhost\r\ncontent-length: 20\r\n\r\n"


# --- what comes before any token is looked at -----------------------------------------------------------------------


class Doors:
    """A server of this process, at `port`; and what it has logged."""

    def __init__(self) -> None:
        self.port = 0
        self.log = StringIO()
        self.answering = asyncio.Event()
        """Set: `/v1/slow` answers."""
        self.asked = asyncio.Event()
        """`/v1/slow` was asked."""

    async def health(self, call: Call) -> Health:
        return Health(status="ok", state="ready", version="0")

    async def slow(self, call: Call) -> Health:
        self.asked.set()
        await self.answering.wait()
        return await self.health(call)

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/v1/health", "", self.health, answer=Health, is_open=True),
            Endpoint("GET", "/v1/slow", "", self.slow, answer=Health, is_open=True),
            Endpoint("POST", "/v1/inference", "", self.health, body=InferenceRequest, answer=Health),
        ]

    async def ask(self, *pieces: bytes) -> bytes:
        """Everything that is answered, until it hangs up."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for piece in pieces:
            writer.write(piece)
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.transport.abort()


@asynccontextmanager
async def doors(*, head_s_max: float = NEVER_S, body_s_max: float = NEVER_S, token: str = "") -> AsyncIterator[Doors]:
    made, ready = Doors(), asyncio.Event()

    async def is_ready() -> None:
        ready.set()

    async def drained() -> None:
        pass

    app = App("doors", made.endpoints(), Log("doors", made.log), Measures("doors"), token, body_s_max)
    server = Server(app, is_ready, drained, head_s_max)
    listening = bound("127.0.0.1", 0, token)
    made.port = listening.getsockname()[1]
    serving = asyncio.ensure_future(serve(server, listening))
    try:
        await asyncio.wait_for(ready.wait(), WAIT_S_MAX)
        yield made
    finally:
        server.end()
        await asyncio.wait_for(serving, WAIT_S_MAX)


def failure(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert re.search(rb"\r\nx-request-id: r-[0-9a-f]{16}\b", head), "every answer has an id"
    return int(head.split(b" ")[1]), msgspec.json.decode(body)["error"]["code"]


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"x: " + b"a" * HEAD_BYTES_MAX + b"\r\n\r\n",
        HEAD + b"x: a\r\n" * (HEAD_BYTES_MAX // 2) + b"\r\n",
    ],
    ids=["long", "many"],
)
def test_a_head_has_a_cap(head: bytes) -> None:
    async def scenario() -> None:
        async with doors(token="t") as made:
            assert failure(await made.ask(head)) == (431, "HEAD_TOO_LARGE")

    asyncio.run(scenario())


def test_a_head_without_end_is_answered_and_not_awaited() -> None:
    async def scenario() -> None:
        async with doors(token="t", head_s_max=SOON_S) as made:
            assert failure(await made.ask(HEAD + b"x: " + b"a" * 10_000_000)) == (431, "HEAD_TOO_LARGE")

    asyncio.run(scenario())


def test_a_head_as_large_as_it_may_be_is_read() -> None:
    async def scenario() -> None:
        async with doors() as made:
            wide = HEAD + b"x: " + b"a" * (HEAD_BYTES_MAX - 200) + b"\r\nconnection: close\r\n\r\n"
            assert b" 200 " in (await made.ask(wide))[:20]

    asyncio.run(scenario())


@pytest.mark.parametrize("sent", [b"", b"GET /v1/hea", HEAD], ids=["nothing", "a line", "no end"])
def test_who_sends_no_whole_head_is_cut_off(sent: bytes) -> None:
    async def scenario() -> None:
        async with doors(head_s_max=SOON_S) as made:
            assert await made.ask(sent) == b""

    asyncio.run(scenario())


def test_a_second_head_has_no_more_time_than_the_first() -> None:
    async def scenario() -> None:
        async with doors(head_s_max=SOON_S) as made:
            reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
            writer.write(HEAD + b"\r\n")
            await reader.readuntil(b"}")
            writer.write(HEAD)
            assert await asyncio.wait_for(reader.read(), WAIT_S_MAX) == b""
            writer.transport.abort()

    asyncio.run(scenario())


def test_an_answer_that_takes_longer_than_a_head_may_is_not_cut_off() -> None:
    async def scenario() -> None:
        async with doors(head_s_max=SOON_S) as made:
            reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
            writer.write(HEAD.replace(b"health", b"slow") + b"connection: close\r\n\r\n")
            await asyncio.wait_for(made.asked.wait(), WAIT_S_MAX)
            writer.write(b"\r\n")  # a line too much, as some send
            assert await made.ask(b"") == b""  # that one was cut off
            assert await made.ask(b"") == b""
            made.answering.set()
            assert b" 200 " in (await asyncio.wait_for(reader.read(), WAIT_S_MAX))[:20]
            writer.transport.abort()

    asyncio.run(scenario())


def test_a_body_that_does_not_come_is_not_awaited_for_ever() -> None:
    async def scenario() -> None:
        async with doors(body_s_max=SOON_S, head_s_max=SOON_S) as made:
            assert failure(await made.ask(POST + b"{")) == (408, "DEADLINE_EXCEEDED")

    asyncio.run(scenario())


def test_a_body_that_nobody_reads_is_not_awaited_for_ever() -> None:
    async def scenario() -> None:
        async with doors(head_s_max=SOON_S, token="t") as made:
            assert failure(await made.ask(POST + b"{")) == (401, "INVALID_TOKEN")

    asyncio.run(scenario())


def test_what_is_no_http_is_refused_as_all_is_refused() -> None:
    async def scenario() -> None:
        async with doors() as made:
            assert failure(await made.ask(b"\x16\x03\x01 hello\r\n\r\n")) == (400, "INVALID_REQUEST")

    asyncio.run(scenario())


def test_what_is_no_http_in_the_middle_of_an_answer_breaks_it_off() -> None:
    async def scenario() -> None:
        async with doors() as made:
            assert await made.ask(HEAD.replace(b"health", b"slow") + b"\r\n\x16\x03\r\n\r\n") == b""
            made.answering.set()
            assert b" 200 " in (await made.ask(HEAD + b"connection: close\r\n\r\n"))[:20]
        assert "request failed" not in made.log.getvalue()

    asyncio.run(scenario())


def test_who_leaves_while_sending_is_no_error_of_ours() -> None:
    async def scenario() -> None:
        async with doors() as made:
            with socket.create_connection(("127.0.0.1", made.port)) as left:
                left.sendall(POST + b"{")
            assert b" 200 " in (await made.ask(HEAD + b"connection: close\r\n\r\n"))[:20]
        assert "request failed" not in made.log.getvalue()

    asyncio.run(scenario())


# --- web pages ------------------------------------------------------------------------------------------------------

FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "http://203.0.113.7"},
    {"origin": "null"},
    {"origin": "http://["},
    {"origin": "http://localhost.evil.example"},
    {"host": "evil.example:8080"},
    {"host": "127.0.0.1.evil.example"},
    {"host": "["},
]
OURS = [
    {},
    {"host": "127.0.0.1:8080"},
    {"host": "[::1]:8080"},
    {"host": "localhost"},
    {"host": "box:8080"},
    {"host": "host.docker.internal:8080"},
    {"host": "localhost:8080", "origin": "http://localhost:3000"},
    {"origin": "http://[::1]:3000"},
    {"origin": "app://obsidian.md"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_page_of_elsewhere_is_foreign(headers: dict[str, str]) -> None:
    assert is_foreign(headers)


@pytest.mark.parametrize("headers", OURS, ids=str)
def test_what_is_of_this_machine_is_not(headers: dict[str, str]) -> None:
    assert not is_foreign(headers)


def test_a_page_of_elsewhere_moves_nothing_where_there_is_no_token() -> None:
    async def scenario() -> None:
        body = b'{"prompt": "p"}     '
        page = POST.replace(b"\r\n\r\n", b"\r\norigin: https://evil.example\r\nconnection: close\r\n\r\n") + body
        async with doors() as made:
            assert failure(await made.ask(page)) == (403, "FOREIGN_PAGE")
        trusted = page.replace(b"origin:", b"authorization: Bearer t\r\norigin:")
        async with doors(token="t") as made:
            assert b" 200 " in (await made.ask(trusted))[:20]

    asyncio.run(scenario())


# --- hives that lie -------------------------------------------------------------------------------------------------

NO_ADDRESSES = [
    "",
    "nonsense",
    "file:///etc/passwd",
    "http://127.0.0.1:99999",
    "http://127.0.0.1:0",
    "http://127.0.0.1:abc",
    "http://[::1",
    "http://[:::]:80",
    "http://user:secret@127.0.0.1:80",
    "http://127.0.0.1:80/path",
    "http://127.0.0.1:80\r\nx-evil: 1",
    "http://snow\u2603.example:80",
    "http://a..b:80",
    "http://" + "a" * 64 + ".example:80",
]


async def status_of(hive: TestHive, w: World, **fields: Any) -> int:
    """What the queen answers to a report of the hive with these fields changed."""
    hive.number += 1
    told = msgspec.to_builtins(hive.report()) | fields
    return (await w.client.post("/v1/hives", json=told)).status_code


def test_a_hive_tells_addresses_alone() -> None:
    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive()
            for number, url in enumerate(NO_ADDRESSES):
                assert await status_of(hive, w, url=url, instance=f"i-{number}") == 400, url
            worker = msgspec.to_builtins((await hive.add()).info())
            for url in NO_ADDRESSES:
                assert await status_of(hive, w, workers=[worker | {"url": url}]) == 400, url
            assert await status_of(hive, w, workers=[worker, worker]) == 400
            assert await status_of(hive, w, workers=[worker]) == 200

    asyncio.run(scenario())


def test_a_worker_at_a_name_that_is_none_is_unreachable_and_no_error_of_ours() -> None:
    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive()
            worker = msgspec.to_builtins((await hive.add()).info())
            assert await status_of(hive, w, workers=[worker | {"url": "http://xn--zz.invalid:80"}]) == 200
            events = await w.infer()
            assert [event.name for event in events][-2:] == ["error", ""]
            assert "INTERNAL" not in events[-2].data

    asyncio.run(scenario())


def test_a_hive_cannot_take_the_worker_of_another() -> None:
    async def scenario() -> None:
        async with world() as w:
            worker = await w.worker(name="east")
            thief = await w.hive("west")
            stolen = msgspec.to_builtins(worker.info()) | {"url": thief.server.url}
            assert await status_of(thief, w, workers=[stolen]) == 200
            assert [event.name for event in await w.infer()][-2:] == ["end", ""]
            (seen,) = (await w.client.get("/v1/workers/list")).json()["workers"]
            assert (seen["hive"], seen["url"]) == ("east", worker.server.url)

    asyncio.run(scenario())


def test_an_epoch_that_no_disk_can_hold_is_refused() -> None:
    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive()
            assert await status_of(hive, w, epoch=2**63) == 400
            assert await status_of(hive, w, number=2**53) == 400
            assert await status_of(hive, w, epoch=2**53 - 1) == 200

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8001", "https://gpu1.example.org/", "http://[::1]:64999", "http://[fe80:0:0:0:0:0:0:1]/v1"],
)
def test_an_address_is_one_in_the_documents_too(url: str) -> None:
    assert is_address(url) and re.fullmatch(ADDRESS, url)
    assert not [wrong for wrong in NO_ADDRESSES if re.fullmatch(ADDRESS, wrong)]


def test_a_queen_that_stood_still_does_not_take_her_hives_for_lost() -> None:
    async def scenario() -> None:
        async with world(QueenPolicy(stale_ms=2_500)) as w:
            await w.worker()
            w.queen.process.send_signal(signal.SIGSTOP)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(w.client.get("/v1/health"), 3.0)
            w.queen.process.send_signal(signal.SIGCONT)
            assert [event.name for event in await w.infer()][-2:] == ["end", ""]
            assert "hive is lost" not in [line["event"] for line in w.queen.told()]

    asyncio.run(scenario())
