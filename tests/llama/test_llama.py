"""A worker in front of llama.cpp's own server, with a model of random weights: all is real but the sense of it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from penstock.fleet import processes
from penstock.fleet.catalogue.catalogue import Catalogue
from penstock.fleet.errors import FleetError
from penstock.fleet.orders import Model, WorkerOrder
from penstock.fleet.schema import End, InferenceRequest, Started
from penstock.fleet.worker.llama import LlamaEngine
from penstock.fleet.worker.programs import find_llama_server
from tests.fleet.test_upstream_engine import KEEPER, is_gone, sockets_of
from tests.fleet.worker_world import Running, chat_body, worker

TINY = Path(__file__).parents[2] / ".llama" / "tiny.gguf"
LONG = 100_000
WAIT_S_MAX = 60.0


def why_not() -> str:
    try:
        find_llama_server(os.environ)
    except FleetError as error:
        return f"{error.message} (make test-llama builds one)"
    return "" if TINY.exists() else f"{TINY.name} is not made: make test-llama makes it"


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


def history(story: Callable[[Path], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    """A test that runs in a loop of its own."""

    def test(tmp_path: Path) -> None:
        asyncio.run(asyncio.wait_for(story(tmp_path), 100))

    test.__name__, test.__doc__ = story.__name__, story.__doc__
    return test


def model(slots: int = 1, context: int = 1_024) -> Model:
    size = TINY.stat().st_size
    return Model(name="tiny", backend="llama", path=str(TINY), slots=slots, context=context, bytes=size)


@asynccontextmanager
async def serving(folder: Path, slots: int = 1, context: int = 1_024) -> AsyncIterator[tuple[Running, Server]]:
    """A worker, and the llama-server below it."""
    async with worker(folder, model=model(slots, context), keeper=KEEPER) as running:
        server = server_below(running.pid)
        async with httpx2.AsyncClient(
            base_url="http://llama", transport=httpx2.AsyncHTTPTransport(uds=server.socket), timeout=WAIT_S_MAX
        ) as client:
            server.client = client
            yield running, server


class Server:
    """A llama-server, seen from beside."""

    client: httpx2.AsyncClient

    def __init__(self, process: processes.Process, words: list[str]) -> None:
        self.process, self.socket = process, words[words.index("--host") + 1]

    async def slots(self) -> list[tuple[bool, int]]:
        """Of each: is it at work, and how many tokens has it made."""
        told = (await self.client.get("/slots")).json()
        return [(slot["is_processing"], slot["next_token"][0]["n_decoded"]) for slot in told if "next_token" in slot]

    async def until(self, is_at_work: bool) -> None:
        """Ask until it is so of any slot."""
        async with asyncio.timeout(WAIT_S_MAX):
            while any(is_processing for is_processing, _ in await self.slots()) != is_at_work:
                pass

    async def rests(self) -> bool:
        """Whether none makes one token more, nor has made all, once no slot is at work."""
        await self.until(is_at_work=False)
        slots = await self.slots()
        return await self.slots() == slots and max(made for _, made in slots) < LONG


def server_below(pid: int) -> Server:
    for process in processes.descendants(pid):
        words = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode().split("\0")
        if words[0].endswith("llama-server"):
            return Server(process, words)
    raise AssertionError("no llama-server is below the worker")


@history
async def test_it_is_loaded_and_continues_a_prompt(tmp_path: Path) -> None:
    async with serving(tmp_path) as (running, server):
        heard = await running.infer("the and", max_tokens=12, seed=1)
        assert heard.status == 200 and heard.text
        end = heard.events[-2]
        assert isinstance(end, End) and (end.stop_reason, end.tokens_out) == ("length", 12)
        assert (await running.infer("the and", max_tokens=12, seed=1)).text == heard.text
        assert not Path(server.socket).parent.stat().st_mode & 0o077
        running.signal(signal.SIGTERM)
        assert await running.ended() == 0
        assert not Path(server.socket).exists()


@history
async def test_a_chat_comes_whole_with_its_usage(tmp_path: Path) -> None:
    async with serving(tmp_path) as (running, _):
        heard = await running.chat("the and", max_tokens=9)
        told = msgspec.json.decode(heard.body)
        assert heard.status == 200 and told["choices"][0]["finish_reason"] == "length"
        assert told["usage"]["completion_tokens"] == 9 and told["usage"]["prompt_tokens"] > 0


@history
async def test_a_chat_is_streamed_with_its_usage(tmp_path: Path) -> None:
    async with serving(tmp_path) as (running, _):
        options = {"include_usage": True}
        heard = await running.chat("the and", max_tokens=9, stream=True, stream_options=options)
        lines = [line.removeprefix("data: ") for line in heard.body.decode().split("\n\n") if line]
        chunks = [msgspec.json.decode(line) for line in lines[:-1]]
        assert lines[-1] == "[DONE]" and len(chunks) >= 9
        assert chunks[-1]["usage"]["completion_tokens"] == 9


@history
async def test_what_llama_server_refuses_goes_through(tmp_path: Path) -> None:
    async with serving(tmp_path) as (running, _):
        heard = await running.chat("x " * 4_000)
        assert heard.status == 400 and b"exceed_context_size_error" in heard.body


@history
async def test_each_slot_has_its_own_context_and_all_are_used_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path, slots=3) as (running, server):
        told = (await server.client.get("/props")).json()
        assert told["total_slots"] == 3 and told["default_generation_settings"]["n_ctx"] == 1_024
        heard = await asyncio.gather(*(running.infer(f"ab {each}", max_tokens=200) for each in range(3)))
        assert [each.status for each in heard] == [200, 200, 200]


@history
async def test_a_cancel_stops_the_generation(tmp_path: Path) -> None:
    async with serving(tmp_path, context=LONG) as (running, server):
        body = {"prompt": "the", "max_tokens": LONG, "request_id": "r-1"}
        async with running.stream("/v1/inference", body) as stream:
            await stream.tokens(5)
            assert (await running.client.delete("/v1/inference/r-1")).status_code == 204
            assert isinstance((await stream.rest())[0], Started)
        assert await server.rests()


@history
async def test_a_client_that_leaves_stops_the_generation_streamed_and_whole(tmp_path: Path) -> None:
    async with serving(tmp_path, context=LONG) as (running, server):
        async with running.stream("/v1/inference", {"prompt": "the", "max_tokens": LONG}) as stream:
            await stream.tokens(5)
        assert await server.rests()
        asking = asyncio.ensure_future(running.chat("the", max_tokens=LONG))
        await server.until(is_at_work=True)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert await server.rests()


@history
async def test_an_answer_that_comes_whole_is_seen_to_be_made(tmp_path: Path) -> None:
    engine = LlamaEngine(WorkerOrder(worker_id="w", model=model(context=LONG), listen_fd=-1, keeper=KEEPER))
    beaten = asyncio.Event()
    try:
        await engine.load(lambda progress: None)
        before = await engine._pulse()
        assert await engine._pulse() == before is not None
        raw = msgspec.json.encode(chat_body("the", max_tokens=LONG))
        async with engine.chat(raw, {}, beaten.set) as relay:
            waiting = asyncio.ensure_future(anext(aiter(relay.chunks), b""))
            await asyncio.wait_for(beaten.wait(), WAIT_S_MAX)
            assert await engine._pulse() != before
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
    finally:
        await engine.close()


@history
async def test_a_worker_that_is_killed_leaves_no_llama_server(tmp_path: Path) -> None:
    async with serving(tmp_path) as (running, server):
        running.signal(signal.SIGKILL)
        assert await running.ended() == -signal.SIGKILL
        assert await is_gone(server.process)
        assert Path(server.socket).exists()
    async with serving(tmp_path / "next"):
        assert not Path(server.socket).exists()


@history
async def test_a_llama_server_that_is_killed_fails_its_worker(tmp_path: Path) -> None:
    async with serving(tmp_path) as (running, server):
        assert processes.signal_process(server.process, signal.SIGKILL)
        failed = await running.ear.until("failed")
        assert failed.message.startswith("the engine ended with exit status 137")
        assert await running.ended() == 1


@history
async def test_a_file_that_llama_server_cannot_load_fails_its_worker_with_its_last_words(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(TINY.read_bytes()[:10_000])
    bad = Model(name="tiny", backend="llama", path=str(broken))
    async with worker(tmp_path, model=bad, keeper=KEEPER, state="failed") as running:
        failed = await running.ear.until("failed")
        assert "the engine ended with exit status 1" in failed.message and "failed to load" in failed.message
        assert await running.ended() == 1


@history
async def test_llama_server_inherits_no_socket_of_its_worker(tmp_path: Path) -> None:
    async with serving(tmp_path) as (running, server):
        assert not sockets_of(running.pid) & sockets_of(server.process.pid)


@history
async def test_closing_what_was_asked_lets_go_of_the_slot_before_it_returns(tmp_path: Path) -> None:
    engine = LlamaEngine(WorkerOrder(worker_id="w", model=model(context=LONG), listen_fd=-1, keeper=KEEPER))
    try:
        await engine.load(lambda progress: None)
        for _ in range(5):
            async with aclosing(engine.infer(InferenceRequest(prompt="the", max_tokens=LONG))) as pieces:
                assert await anext(pieces)
    finally:
        await engine.close()


def test_the_catalogue_reads_what_llama_cpp_writes(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path)
    added = catalogue.add(Model(name="tiny", backend="llama", path=str(TINY)))
    said = catalogue.describe(added)
    assert said is not None and said.bytes == TINY.stat().st_size
    assert (said.architecture, said.name, said.quantisation, said.context) == ("llama", "Tiny", "F32", 131_072)
    assert (said.layers, said.tensors, said.eos) == (2, 21, 2) and 300 < said.vocabulary < 500
    assert said.parameters * 4 < said.bytes and [each.problem for each in catalogue.check()] == [None]
