"""The engine that relays: the same bytes both ways, no child that outlives it, a server that fails in every way."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from penstock.adapters import keeper
from penstock.fleet import processes
from penstock.fleet.errors import FleetError
from penstock.fleet.orders import Model, WorkerOrder
from penstock.fleet.schema import InferenceRequest, Progress
from penstock.fleet.worker.engine import LoadFailed, Stop
from penstock.fleet.worker.upstream import UpstreamEngine
from tests.fifo import until_readable
from tests.fleet.played_upstream import ABSENT, READY, Play, Upstream, delta, events, text
from tests.fleet.worker_world import worker

KEEPER = (sys.executable, "-I", "-S", os.path.abspath(keeper.__file__), "{parent}", "--")
SERVER = (sys.executable, "-m", "tests.fleet.played_upstream", "{port}")
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
KEY = "sk-very-secret"
WAIT_S_MAX = 20.0
ASKED = InferenceRequest(prompt="go", max_tokens=7, seed=3, stop=("END",))


def history(story: Callable[[Path], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    """A test that runs in a loop of its own."""

    def test(tmp_path: Path) -> None:
        asyncio.run(asyncio.wait_for(story(tmp_path), 100))

    test.__name__, test.__doc__ = story.__name__, story.__doc__
    return test


def order(model: Model, keeper: Sequence[str] = ()) -> WorkerOrder:
    return WorkerOrder(worker_id="w", model=model, listen_fd=-1, keeper=tuple(keeper))


@asynccontextmanager
async def relaying(
    plays: Mapping[str, list[Play]], *, loads: bool = True, env: Mapping[str, str] | None = None, **fields: Any
) -> AsyncIterator[tuple[UpstreamEngine, Upstream]]:
    """An engine that relays to a server which runs already."""
    upstream = Upstream({"/v1/models": [READY], **plays})
    server = await asyncio.start_server(upstream.connected, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    model = Model(name="tiny", backend="upstream", url=url, **fields)
    engine = UpstreamEngine(order(model), os.environ if env is None else env, remote_s_max=0.5)
    try:
        if loads:
            await engine.load(unheard)
        yield engine, upstream
    finally:
        await engine.close()
        upstream.released.set()
        server.close()
        await upstream.until_nobody_is_connected()


@asynccontextmanager
async def child(*words: str, keeper: Sequence[str] = KEEPER) -> AsyncIterator[UpstreamEngine]:
    """An engine whose server is its child; not loaded yet."""
    engine = UpstreamEngine(order(Model(name="tiny", backend="upstream", argv=(*SERVER, *words)), keeper))
    try:
        yield engine
    finally:
        await engine.close()


def unheard(progress: Progress) -> None:
    pass


def no_beat() -> None:
    pass


async def inferred(engine: UpstreamEngine) -> list[str | Stop]:
    return [piece async for piece in engine.infer(ASKED)]


async def chatted(engine: UpstreamEngine, raw: bytes = b"{}") -> tuple[int, list[bytes], dict[str, str]]:
    async with engine.chat(raw, {"content-type": "application/json", "cookie": "c", "accept": "a/b"}, no_beat) as relay:
        return relay.status, [chunk async for chunk in relay.chunks], dict(relay.headers)


async def refused(engine: UpstreamEngine) -> FleetError:
    with pytest.raises(FleetError) as caught:
        await inferred(engine)
    return caught.value


async def not_loaded(engine: UpstreamEngine) -> LoadFailed:
    with pytest.raises(LoadFailed) as caught:
        await engine.load(unheard)
    return caught.value


# --- the same bytes both ways ---------------------------------------------------------------------------------------


@history
async def test_a_chat_goes_through_byte_for_byte(tmp_path: Path) -> None:
    whole = 'data: {"ü":  1.50}\n\n: ping\n\ndata: [DONE]\n\n'.encode()
    pieces = [bytes([byte]) for byte in whole]
    raw = b'{ "model":"tiny",\n "temperature": 0.10, "x": "\xc3\xbc", "unknown": [1e400] }'
    headers = {
        "content-type": "text/event-stream",
        "x-mine": "1",
        "set-cookie": "no",
        "connection": "x-hop",
        "x-hop": "no",
    }
    async with relaying({CHAT: [Play(headers=headers, pieces=pieces)]}) as (engine, upstream):
        status, chunks, passed = await chatted(engine, raw)
        assert (status, b"".join(chunks)) == (200, whole)
        assert passed == {"content-type": "text/event-stream", "x-mine": "1"}
        (request,) = upstream.requests(CHAT)
        assert request.body == raw
        assert request.headers["accept"] == "a/b" and "cookie" not in request.headers


@history
async def test_an_error_of_the_server_goes_through_too(tmp_path: Path) -> None:
    body = b'{"error": {"message": "too long", "code": 17}}'
    async with relaying({CHAT: [Play(422, {"retry-after": "3"}, (body,))]}) as (engine, _):
        status, chunks, passed = await chatted(engine)
        assert (status, b"".join(chunks), passed["retry-after"]) == (422, body, "3")


@history
async def test_the_name_alone_is_replaced_where_the_server_has_another(tmp_path: Path) -> None:
    raw = b'{"temperature": 0.10, "model": "tiny", "big": 123456789012345678901234567890, "s": "\\u00fc"}'
    async with relaying({CHAT: [Play(pieces=(b"{}",))]}, upstream_model="org/Big") as (engine, upstream):
        await chatted(engine, raw)
        expected = b'{"temperature":0.10,"model":"org/Big","big":123456789012345678901234567890,"s":"\\u00fc"}'
        assert upstream.requests(CHAT)[0].body == expected


@history
async def test_the_key_is_sent_and_never_said(tmp_path: Path) -> None:
    env = {"KEY": KEY}
    async with relaying({CHAT: [Play(401)]}, env=env, key_env="KEY") as (engine, upstream):
        assert {request.headers["authorization"] for request in upstream.asked} == {f"Bearer {KEY}"}
        assert KEY not in repr(await chatted(engine))
    async with relaying({"/v1/models": [Play(401)]}, loads=False, env=env, key_env="KEY") as (engine, _):
        failed = await not_loaded(engine)
        assert "refuses the key in KEY" in failed.message and KEY not in repr(failed)


@history
async def test_a_key_that_is_not_set_is_missed_before_anything_is_asked(tmp_path: Path) -> None:
    async with relaying({}, loads=False, env={}, key_env="KEY") as (engine, upstream):
        assert "KEY is not set" in (await not_loaded(engine)).message
        assert upstream.asked == []


@history
async def test_the_address_may_end_with_v1(tmp_path: Path) -> None:
    async with relaying({}, loads=False) as (engine, upstream):
        model = Model(name="tiny", backend="upstream", url=engine._model.url + "/v1/")
        other = UpstreamEngine(order(model))
        await other.load(unheard)
        await other.close()
        assert [request.path for request in upstream.asked] == ["/v1/models"]


# --- loading --------------------------------------------------------------------------------------------------------


@history
async def test_it_is_loaded_when_the_server_says_so(tmp_path: Path) -> None:
    async with relaying({"/v1/models": [Play(503), Play(503), READY]}) as (_, upstream):
        assert len(upstream.requests("/v1/models")) == 3


@history
async def test_a_server_without_a_list_of_models_is_asked_for_its_health(tmp_path: Path) -> None:
    async with relaying({"/v1/models": [ABSENT], "/health": [Play(pieces=(b"ok",))]}) as (_, upstream):
        assert [request.path for request in upstream.asked] == ["/v1/models", "/health"]


@history
async def test_a_server_that_is_not_there_is_given_up(tmp_path: Path) -> None:
    model = Model(name="tiny", backend="upstream", url="http://127.0.0.1:9")
    engine = UpstreamEngine(order(model), remote_s_max=0.05)
    assert (await not_loaded(engine)).message == "nobody answers at http://127.0.0.1:9"
    await engine.close()


# --- our own streams ------------------------------------------------------------------------------------------------


@history
async def test_a_prompt_is_a_text_completion(tmp_path: Path) -> None:
    answer = events(text("grö"), text("ßer 🦊"), text("", "stop"), {"choices": [], "usage": {}}, "[DONE]")
    pieces = [bytes([byte]) for byte in b"".join(answer)]
    async with relaying({COMPLETIONS: [Play(pieces=pieces)]}) as (engine, upstream):
        assert await inferred(engine) == ["grö", "ßer 🦊", Stop("stop")]
        assert upstream.requests(COMPLETIONS)[0].body == (
            b'{"model":"tiny","max_tokens":7,"temperature":0.0,"stream":true,"prompt":"go","seed":3,"stop":["END"]}'
        )


@history
async def test_an_answer_that_met_its_limit_says_so(tmp_path: Path) -> None:
    async with relaying({COMPLETIONS: [Play(pieces=events(text("a", "length"), "[DONE]"))]}) as (engine, _):
        assert await inferred(engine) == ["a", Stop("length")]


@history
async def test_a_server_without_text_completions_is_asked_by_chat_from_then_on(tmp_path: Path) -> None:
    answer = Play(pieces=events(delta("a"), delta("b", "stop"), "[DONE]"))
    async with relaying({CHAT: [answer]}) as (engine, upstream):
        for _ in range(2):
            assert await inferred(engine) == ["a", "b", Stop("stop")]
        assert [len(upstream.requests(path)) for path in (COMPLETIONS, CHAT)] == [1, 2]
        assert b'"messages":[{"role":"user","content":"go"}]' in upstream.requests(CHAT)[0].body


@history
async def test_a_server_with_neither_is_refused_with_what_it_said(tmp_path: Path) -> None:
    async with relaying({}) as (engine, _):
        error = await refused(engine)
        assert (error.code, error.message) == ("BAD_ENGINE_REPLY", "the engine answered with status 404: not here")


@pytest.mark.parametrize(
    ("play", "code"),
    [
        (Play(400, pieces=(b'{"error": "too long"}',)), "INVALID_REQUEST"),
        (Play(429, {"retry-after": "9"}), "ALL_SLOTS_BUSY"),
        (Play(503), "ALL_SLOTS_BUSY"),
        (Play(500, pieces=(b"<html>",)), "BAD_ENGINE_REPLY"),
        (Play(pieces=events("{nonsense")), "BAD_ENGINE_REPLY"),
        (Play(pieces=events({"choices": 7})), "BAD_ENGINE_REPLY"),
        (Play(pieces=events({"error": {"message": "out of memory"}})), "BAD_ENGINE_REPLY"),
        (Play(pieces=[b"data: " + b"x" * 100_000] * 12), "BAD_ENGINE_REPLY"),
    ],
)
def test_what_the_server_refuses_and_what_nobody_can_read_are_errors_of_ours(play: Play, code: str) -> None:
    async def story() -> FleetError:
        async with relaying({COMPLETIONS: [play]}) as (engine, _):
            return await refused(engine)

    error = asyncio.run(story())
    assert error.code == code
    assert error.retry_after_s == (9 if play.headers else 1 if play.status == 503 else 0)


@history
async def test_a_stream_that_breaks_off_has_no_stop(tmp_path: Path) -> None:
    for play in (Play(pieces=events(text("a"))), Play(pieces=events(text("a")), is_cut=True)):
        async with relaying({COMPLETIONS: [play]}) as (engine, _):
            assert await inferred(engine) == ["a"]


@history
async def test_a_chat_that_breaks_off_is_a_crash(tmp_path: Path) -> None:
    async with relaying({CHAT: [Play(pieces=(b"data: {}\n\n",), is_cut=True)]}) as (engine, _):
        with pytest.raises(FleetError) as caught:
            await chatted(engine)
        assert caught.value.code == "WORKER_CRASHED"


@history
async def test_a_server_that_hangs_up_without_an_answer_is_a_failure(tmp_path: Path) -> None:
    async with relaying({COMPLETIONS: [Play(0)], CHAT: [Play(0)]}) as (engine, _):
        assert (await refused(engine)).code == "WORKER_FAILED"
        with pytest.raises(FleetError) as caught:
            await chatted(engine)
        assert caught.value.code == "WORKER_FAILED"


# --- cancelling -----------------------------------------------------------------------------------------------------


@history
async def test_closing_what_was_asked_hangs_up(tmp_path: Path) -> None:
    play = Play(pieces=events(text("a"), text("b")), hold_before=1)
    async with relaying({COMPLETIONS: [play]}) as (engine, upstream):
        async with aclosing(engine.infer(ASKED)) as pieces:
            assert await anext(pieces) == "a"
        await asyncio.wait_for(upstream.gone.wait(), WAIT_S_MAX)


@history
async def test_leaving_a_chat_hangs_up_before_its_first_byte_and_after(tmp_path: Path) -> None:
    for hold in (0, 1):
        play = Play(pieces=(b"data: 1\n\n", b"data: 2\n\n"), hold_before=hold)
        async with relaying({CHAT: [play]}) as (engine, upstream):
            async with engine.chat(b"{}", {}, no_beat) as relay:
                if hold:
                    assert await anext(relay.chunks) == b"data: 1\n\n"
                await upstream.held.wait()
            await asyncio.wait_for(upstream.gone.wait(), WAIT_S_MAX)


@history
async def test_a_task_that_is_cancelled_hangs_up(tmp_path: Path) -> None:
    async with relaying({COMPLETIONS: [Play(pieces=events(text("a")), hold_before=0)]}) as (engine, upstream):
        asking = asyncio.ensure_future(inferred(engine))
        await upstream.held.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(upstream.gone.wait(), WAIT_S_MAX)


@history
async def test_an_answer_that_comes_whole_is_no_hang(tmp_path: Path) -> None:
    async with relaying({CHAT: [Play(pieces=(b"{}",), hold_before=0)]}) as (engine, upstream):
        beaten = asyncio.Event()
        async with engine.chat(b"{}", {}, beaten.set) as relay:
            await asyncio.wait_for(beaten.wait(), WAIT_S_MAX)
            upstream.released.set()
            assert [chunk async for chunk in relay.chunks] == [b"{}"]


@history
async def test_a_prompt_that_is_read_for_long_is_no_hang(tmp_path: Path) -> None:
    play = Play(pieces=events(text("a"), text("b", "stop"), "[DONE]"), hold_before=0)
    async with relaying({COMPLETIONS: [play]}) as (engine, upstream), aclosing(engine.infer(ASKED)) as pieces:
        assert await anext(pieces) == ""
        upstream.released.set()
        assert [piece async for piece in pieces if piece != ""] == ["a", "b", Stop("stop")]


# --- a child --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keeper", [KEEPER, ()], ids=["kept", "alone"])
def test_a_server_is_started_heard_and_ended(keeper: Sequence[str], capfd: pytest.CaptureFixture[str]) -> None:
    async def story() -> None:
        grown: list[Progress] = []
        async with child(keeper=keeper) as engine:
            await engine.load(grown.append)
            assert await inferred(engine) == ["one", " two", Stop("stop")]
            assert [each.done for each in grown] == sorted({each.done for each in grown})
            port = engine._client.base_url.port if engine._client else 0
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port or 0)) != 0

    asyncio.run(story())
    assert "loads\nserves on" in capfd.readouterr().err


@history
async def test_a_server_that_ends_while_it_loads_is_said_with_its_last_words(tmp_path: Path) -> None:
    async with child("die") as engine:
        failed = await not_loaded(engine)
        assert failed == LoadFailed("the engine ended with exit status 3", ("loads", "no such weights"))


@history
async def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    engine = UpstreamEngine(order(Model(name="tiny", backend="upstream", argv=("no-such-server", "{port}"))))
    assert "no-such-server is not installed" in (await not_loaded(engine)).message


@history
async def test_a_server_that_dies_later_is_noticed(tmp_path: Path) -> None:
    before = processes.children(os.getpid())
    async with child(keeper=()) as engine:
        await engine.load(unheard)
        dying = asyncio.ensure_future(engine.died())
        (process,) = (each for each in processes.children(os.getpid()) if each not in before)
        assert processes.signal_process(process, signal.SIGKILL)
        assert (await asyncio.wait_for(dying, WAIT_S_MAX)).startswith("the engine ended by signal 9: serves on")


@history
async def test_nothing_below_a_server_outlives_it(tmp_path: Path) -> None:
    async with child("below") as engine:
        await engine.load(unheard)
        assert engine._child is not None
        below = processes.identify(int(next(line for line in engine._child.log if "below" in line).split()[-1]))
        assert below is not None
    assert processes.identify(below.pid) != below


@history
async def test_a_port_that_somebody_took_in_between_is_not_the_end(tmp_path: Path) -> None:
    stolen: list[socket.socket] = []

    async def steal_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = int(await reader.readline())
        if not stolen:
            stolen.append(socket.create_server(("127.0.0.1", port)))
        writer.write(b"go on\n")
        writer.close()

    async with await asyncio.start_server(steal_once, "127.0.0.1", 0) as thief:
        async with child(f"thief={thief.sockets[0].getsockname()[1]}") as engine:
            await engine.load(unheard)
            assert engine._client is not None and stolen
            assert engine._client.base_url.port != stolen[0].getsockname()[1]
        for each in stolen:
            each.close()


# --- a worker round it ----------------------------------------------------------------------------------------------

UPSTREAM = Model(name="tiny", backend="upstream", argv=SERVER)


def server_below(pid: int) -> processes.Process:
    (server,) = [each for each in processes.descendants(pid) if b"played_upstream" in _words(each) and _is_last(each)]
    return server


def _words(process: processes.Process) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{process.pid}/cmdline").read_bytes()
    return b""


def _is_last(process: processes.Process) -> bool:
    return not processes.children(process.pid)


async def is_gone(process: processes.Process) -> bool:
    """Whether it has ended, in time."""
    pidfd = processes.open_pidfd(process)
    if pidfd is not None:
        await asyncio.wait_for(until_readable(pidfd), WAIT_S_MAX)
    return processes.identify(process.pid) != process


@history
async def test_a_worker_serves_through_its_child(tmp_path: Path) -> None:
    async with worker(tmp_path, model=UPSTREAM, keeper=KEEPER) as running:
        answer = await running.infer()
        assert (answer.status, answer.text) == (200, "one two")
        assert (await running.chat()).body == b'{"choices": []}'
        server = server_below(running.pid)
        below = [each for process in processes.descendants(running.pid) for each in sockets_of(process.pid)]
        assert not sockets_of(running.pid) & set(below)
    assert await is_gone(server)


def sockets_of(pid: int) -> set[str]:
    """That a process has open: what a child must not inherit, or it keeps the port of a worker that is gone."""
    held = (os.readlink(place) for place in Path(f"/proc/{pid}/fd").iterdir() if place.is_symlink())
    return {name for name in held if name.startswith("socket:")}


@history
async def test_a_worker_whose_server_is_killed_says_so_and_ends(tmp_path: Path) -> None:
    async with worker(tmp_path, model=UPSTREAM, keeper=KEEPER) as running:
        assert processes.signal_process(server_below(running.pid), signal.SIGKILL)
        failed = await running.ear.until("failed")
        assert "the engine ended with exit status 137" in failed.message and "serves on" in failed.message
        assert await running.ended() == 1


@history
async def test_a_worker_that_is_killed_leaves_no_server(tmp_path: Path) -> None:
    async with worker(tmp_path, model=UPSTREAM, keeper=KEEPER) as running:
        server = server_below(running.pid)
        running.signal(signal.SIGKILL)
        assert await running.ended() == -signal.SIGKILL
        assert await is_gone(server)


@history
async def test_a_server_that_cannot_load_fails_the_worker_with_its_last_words(tmp_path: Path) -> None:
    model = Model(name="tiny", backend="upstream", argv=(*SERVER, "die"))
    async with worker(tmp_path, model=model, keeper=KEEPER, state="failed") as running:
        failed = await running.ear.until("failed")
        assert failed.message.splitlines() == ["the engine ended with exit status 3", "loads", "no such weights"]
        assert await running.ended() == 1
