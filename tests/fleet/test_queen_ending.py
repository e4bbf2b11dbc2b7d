"""A request that ends early, in every phase: its engine stops, its slot is free, and who waits is not hurt."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import httpx2
import msgspec
import pytest

from penstock.core.fleet.policy import QueenPolicy
from penstock.fleet.sse import Said
from tests.fleet.played_server import Behaviour, Heard
from tests.fleet.queen_world import DONE, END, STARTED, Endless, TestWorker, World, chat, offer, token, world
from tests.fleet.until import until

CHAT = "/v1/chat/completions"
SILENT: tuple[bytes, ...] = ()


def ending_with(may_end: asyncio.Event) -> Behaviour:
    """A worker that says one token, and the rest when it may."""

    async def behave(heard: Heard) -> None:
        await heard.begin()
        await heard.put(STARTED, token(0))
        await may_end.wait()
        await heard.put(END, DONE)
        await heard.end()

    return behave


@pytest.mark.parametrize("path", ["/v1/inference", CHAT])
@pytest.mark.parametrize("first", [SILENT, (STARTED, token(0))], ids=["before-the-first-token", "streaming"])
def test_a_client_that_leaves_frees_the_slot_and_the_worker_is_told(path: str, first: tuple[bytes, ...]) -> None:
    if path == CHAT and first:
        first = (b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n',)

    async def scenario() -> None:
        async with world() as w:
            endless = Endless(*first)
            worker = await w.worker(endless)
            await leave_in_mid_answer(w, worker, path, is_stream=True)
            heard = await worker.server.next(path)
            assert await until(heard.left.is_set)
            assert await until(lambda: endless.stopped) == [heard.id]
            assert await w.quiet()

    asyncio.run(scenario())


def test_a_client_of_an_answer_that_is_no_stream_may_leave_too() -> None:
    async def scenario() -> None:
        async with world() as w:
            endless = Endless()
            worker = await w.worker(endless)
            await leave_in_mid_answer(w, worker, CHAT, is_stream=False)
            assert await until(lambda: endless.stopped) == [(await worker.server.next(CHAT)).id]
            assert await w.quiet()

    asyncio.run(scenario())


async def leave_in_mid_answer(w: World, worker: TestWorker, path: str, *, is_stream: bool) -> None:
    body = {"prompt": "p", "model": "tiny"} if path != CHAT else chat(stream=is_stream)
    asking = asyncio.ensure_future(w.client.post(path, json=body))
    await worker.server.next(path)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


def test_who_leaves_the_queue_does_not_hurt_the_rest() -> None:
    async def scenario() -> None:
        async with world() as w:
            going_on = asyncio.Event()

            worker = await w.worker(ending_with(going_on))
            async with w.asking(request_id="first") as first:
                await first.until("token")
                async with w.asking(request_id="second") as second:
                    assert msgspec.json.decode((await second.until("progress")).data)["phase"] == "queued"
                    third = asyncio.ensure_future(w.infer(request_id="third"))
                    await until_depth(w, 2)
                await until_depth(w, 1)
                going_on.set()
                await first.rest()
                assert [each.name for each in await third][-3:] == ["token", "end", ""]
            assert [heard.id for heard in worker.server.heard] == ["first", "third"]

    asyncio.run(scenario())


async def until_depth(w: World, count: int) -> None:
    name = 'penstock_queen_queue_depth{model="tiny"}'
    async with asyncio.timeout(20):
        while (await w.queen.metrics()).get(name, 0) != count:
            pass


def test_a_cancel_in_mid_stream_lets_the_worker_end_the_stream() -> None:
    stopping = asyncio.Event()

    async def behave(heard: Heard) -> None:
        if heard.method == "DELETE":
            stopping.set()
            await heard.answer(204)
            return
        await heard.begin()
        await heard.put(STARTED, token(0))
        await stopping.wait()
        await heard.put(b'event: end\ndata: {"tokens_out":1,"stop_reason":"canceled","ms":7}\n\n', DONE)
        await heard.end()

    async def scenario() -> None:
        async with world() as w:
            await w.worker(behave)
            async with w.asking(request_id="r") as stream:
                await stream.until("token")
                assert (await w.client.delete("/v1/inference/r")).status_code == 204
                said = await stream.rest()
            assert msgspec.json.decode(said[0].data) == {"tokens_out": 1, "stop_reason": "canceled", "ms": 7}
            assert said[1].data == "[DONE]" and len(said) == 2
            await w.quiet()

    asyncio.run(scenario())


@pytest.mark.parametrize("phase", ["queued", "loading", "silent", "deaf"])
def test_a_cancel_ends_the_stream_in_every_phase(phase: str) -> None:
    """`silent`: the worker has said nothing yet; `deaf`: it streams on whatever it is told."""

    async def scenario() -> None:
        async with world() as w:
            first = (STARTED, token(0)) if phase == "deaf" else ()
            hive = await w.hive()
            worker = await hive.add(Endless(*first), state="loading" if phase == "loading" else "idle")
            await hive.join()
            blocking = asyncio.ensure_future(w.infer()) if phase == "queued" else None
            if blocking is not None:
                await worker.server.next()
            async with w.asking(request_id="r") as stream:
                await stream.until("token" if phase == "deaf" else "started")
                if phase in ("queued", "loading"):
                    assert msgspec.json.decode((await stream.next()).data)["phase"] == phase
                elif phase == "silent":
                    await worker.server.next()
                assert (await w.client.delete("/v1/inference/r")).status_code == 204
                said = await stream.rest()
            assert msgspec.json.decode(said[-2].data)["stop_reason"] == "canceled"
            assert said[-1].data == "[DONE]"
            assert (await w.client.delete("/v1/inference/r")).status_code == 204, "again is no error"
            assert (await w.client.delete("/v1/inference/none")).status_code == 404
            if blocking is not None:
                blocking.cancel()
                await asyncio.gather(blocking, return_exceptions=True)
            await w.quiet()

    asyncio.run(scenario())


def test_a_cancelled_chat_is_a_status() -> None:
    async def scenario() -> None:
        async with world() as w:
            worker = await w.worker(Endless())
            asking = asyncio.ensure_future(w.client.post(CHAT, json=chat(), headers={"x-request-id": "r"}))
            await worker.server.next(CHAT)
            assert (await w.client.delete("/v1/inference/r")).status_code == 204
            assert ((await asking).status_code, (await asking).json()["error"]["code"]) == (499, "CANCELED")

    asyncio.run(scenario())


def test_the_deadline_ends_it_wherever_it_is() -> None:
    async def scenario() -> None:
        async with world() as w:
            endless = Endless(STARTED, token(0))
            await w.worker(endless)
            said = await w.infer(deadline_ms=300, request_id="r")
            assert msgspec.json.decode(said[-2].data)["code"] == "DEADLINE_EXCEEDED"
            await until(lambda: endless.stopped == ["r"])
            endless.first = ()
            got = await w.client.post(CHAT, json=chat(), headers={"x-deadline-ms": "200"})
            assert (got.status_code, got.json()["error"]["code"]) == (408, "DEADLINE_EXCEEDED")
            async with w.asking(request_id="blocking") as blocking:
                await blocking.until("started")
                got = await w.client.post(CHAT, json=chat(), headers={"x-deadline-ms": "200"})
                assert got.status_code == 408, "in the queue"
            await w.quiet()

    asyncio.run(scenario())


def test_the_slot_of_a_cancelled_request_is_given_away_when_the_worker_has_stopped() -> None:
    may_stop = asyncio.Event()

    async def behave(heard: Heard) -> None:
        if heard.method == "DELETE":
            await may_stop.wait()
            await heard.answer(204)
            return
        await heard.begin()
        await heard.put(STARTED, token(0))
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with world() as w:
            worker = await w.worker(behave)
            async with w.asking(request_id="first") as first:
                await first.until("token")
            await worker.server.next(method="DELETE")
            async with w.asking(request_id="second") as second:
                await second.until("progress")
                assert not [heard for heard in worker.server.heard if heard.id == "second"]
                may_stop.set()
                await second.until("token")

    asyncio.run(scenario())


def test_a_drain_finishes_what_is_under_way_refuses_the_rest_and_ends() -> None:
    may_end = asyncio.Event()

    async def scenario() -> None:
        async with world() as w:
            await w.worker(ending_with(may_end))
            async with w.asking() as stream:
                await stream.until("token")
                assert (await w.client.post("/v1/drain")).json()["state"] == "draining"
                got = await w.client.post("/v1/inference", json={"prompt": "p", "model": "tiny"})
                assert (got.status_code, got.json()["error"]["code"]) == (503, "DRAINING")
                assert int(got.headers["retry-after"]) > 0
                may_end.set()
                assert [each.name for each in await stream.rest()] == ["end", ""]
            assert await asyncio.wait_for(w.queen.process.wait(), 20) == 0

    asyncio.run(scenario())


def test_a_drain_has_a_cap_and_who_streams_is_told() -> None:
    async def scenario() -> None:
        async with world(QueenPolicy(drain_ms_max=200)) as w:
            await w.worker(Endless(STARTED, token(0)))
            async with w.asking() as stream:
                await stream.until("token")
                w.queen.process.terminate()
                assert last_of(await stream.rest()) == ["error DRAINING", "[DONE]"]
            assert await asyncio.wait_for(w.queen.process.wait(), 20) == 0

    asyncio.run(scenario())


def test_at_a_second_signal_who_waits_and_who_streams_is_told_at_once() -> None:
    """Two that stream from a worker that hears nothing, and two that wait."""

    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive("east", offer(slots=2))
            deaf = await hive.add(Deaf(STARTED, token(0)), slots=2)
            await hive.join()
            async with w.asking(request_id="streaming") as streaming, w.asking(request_id="silent") as queued:
                await streaming.until("token")
                await queued.until("token")
                waiting = ask_chat(w, "waiting")
                async with w.asking(request_id="queued") as last:
                    await last.until("progress")
                    await until_depth(w, 2)
                    w.queen.process.terminate()
                    await w.queen.until_told("draining")
                    w.queen.process.send_signal(signal.SIGINT)
                    for each in (streaming, queued, last):
                        assert last_of(await each.rest()) == ["error DRAINING", "[DONE]"]
                got = await waiting
            assert (got.status_code, got.json()["error"]["code"]) == (503, "DRAINING")
            assert got.headers["x-request-id"] == "waiting"
            assert int(got.headers["retry-after"]) > 0
            assert await asyncio.wait_for(w.queen.process.wait(), 20) == 0
            assert {heard.id for heard in deaf.server.heard if heard.method == "POST"} == {"streaming", "silent"}

    asyncio.run(scenario())


def test_what_only_waits_for_a_hive_is_told_as_well() -> None:
    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive("east")
            await hive.join()
            hive.server.behave = Endless()
            spawning = ask(w, "/v1/workers/spawn", {"model": "tiny"}, "spawning")
            await hive.server.next("/v1/workers/spawn")
            w.queen.process.terminate()
            await w.queen.until_told("draining")
            w.queen.process.terminate()
            got = await spawning
            assert (got.status_code, got.headers["content-type"]) == (503, "application/json")
            assert (got.json()["error"]["code"], got.headers["x-request-id"]) == ("DRAINING", "spawning")

    asyncio.run(scenario())


def test_to_be_asked_to_drain_again_changes_nothing() -> None:
    may_end = asyncio.Event()

    async def scenario() -> None:
        async with world() as w:
            await w.worker(ending_with(may_end))
            async with w.asking() as stream:
                await stream.until("token")
                queued = ask_chat(w, "queued")
                await until_depth(w, 1)
                for _ in range(3):
                    assert (await w.client.post("/v1/drain")).json()["state"] == "draining"
                may_end.set()
                assert [each.name for each in await stream.rest()] == ["end", ""]
            assert (await queued).status_code == 200
            assert await asyncio.wait_for(w.queen.process.wait(), 20) == 0

    asyncio.run(scenario())


class Deaf(Endless):
    """Does not even say that it has stopped."""

    async def __call__(self, heard: Heard) -> None:
        if heard.method == "DELETE":
            await asyncio.Event().wait()
        await super().__call__(heard)


def ask_chat(w: World, request_id: str) -> asyncio.Future[httpx2.Response]:
    return ask(w, CHAT, chat(), request_id)


def ask(w: World, path: str, body: dict[str, Any], request_id: str) -> asyncio.Future[httpx2.Response]:
    return asyncio.ensure_future(w.client.post(path, json=body, headers={"x-request-id": request_id}))


def last_of(said: list[Said]) -> list[str]:
    """The last two events: the name and the code of a failure, and the end."""
    failure, done = said[-2:]
    return [f"{failure.name} {msgspec.json.decode(failure.data).get('code', '')}", done.data]


def test_fifty_at_once_are_all_served_by_one_spawn() -> None:
    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive("east", offer(slots=4))
            hive.spawn_state = "loading"
            await hive.join()
            asking = [asyncio.ensure_future(w.infer(request_id=f"r{n}")) for n in range(50)]
            await until_depth(w, 50)
            (worker,) = await until(lambda: list(hive.workers.values()))
            asking[7].cancel()
            await until_depth(w, 49)
            worker.state = "idle"
            await hive.send()
            done = await asyncio.gather(*asking, return_exceptions=True)
            assert sum(not isinstance(each, BaseException) and each[-1].data == "[DONE]" for each in done) == 49
            assert len(worker.server.heard) == 49
            assert hive.spawns == ["tiny"], "one spawn, all wait"
            await w.quiet()

    asyncio.run(scenario())


def test_who_came_first_is_served_first() -> None:
    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive()
            worker = await hive.add(state="loading")
            await hive.join()
            asking = []
            for number in range(6):
                asking.append(asyncio.ensure_future(w.infer(request_id=f"r{number}")))
                await until_depth(w, number + 1)
            worker.state = "idle"
            await hive.send()
            await asyncio.gather(*asking)
            assert [heard.id for heard in worker.server.heard] == [f"r{number}" for number in range(6)]

    asyncio.run(scenario())
