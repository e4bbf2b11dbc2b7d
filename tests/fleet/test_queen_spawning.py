"""Workers that the queen has a hive spawn or end: who waits for them is told, and where there is no room, why."""

from __future__ import annotations

import asyncio

import msgspec

from penstock.core.fleet.parties import Device
from penstock.core.fleet.policy import QueenPolicy
from tests.fleet.queen_world import STARTED, Endless, code_of, offer, token, world
from tests.fleet.until import until


def test_a_spawn_that_a_hive_refuses_is_told_to_who_waits() -> None:
    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive("east", offer())
            hive.refuses = (502, "START_FAILED")
            await hive.join()
            said = await w.infer()
            assert msgspec.json.decode(said[-2].data)["code"] == "START_FAILED"
            hive.refuses = None
            assert [each.name for each in await w.infer()][-3:] == ["token", "end", ""], "it is tried again"

    asyncio.run(scenario())


def test_a_load_that_fails_is_told_with_its_reason() -> None:
    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive("east", offer())
            hive.spawn_state = "loading"
            await hive.join()
            asking = asyncio.ensure_future(w.infer())
            (worker,) = await until(lambda: list(hive.workers.values()))
            worker.state, worker.code, worker.message = "failed", "LOADING_TIMEOUT", "layer 3 of 9"
            worker.exit_code, worker.log = 3, ("layer 2", "layer 3")
            await hive.send()
            failure = msgspec.json.decode((await asking)[-2].data)
            details = {"worker_id": worker.id, "exit_code": 3, "log": ["layer 2", "layer 3"]}
            assert failure == {"code": "LOADING_TIMEOUT", "message": "layer 3 of 9", "details": details}

    asyncio.run(scenario())


def test_a_model_too_large_says_what_it_needs() -> None:
    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive("east", offer(memory_bytes=2_000))
            hive.devices = (Device(name="cpu", memory_total=1_000, memory_free=900),)
            await hive.join()
            got = await w.client.post("/v1/chat/completions", json={"model": "tiny", "messages": [{"role": "user"}]})
            assert code_of(got) == (503, "INSUFFICIENT_MEMORY")
            told = got.json()["error"]["details"]
            assert told == {"device": "cpu", "required_bytes": 2_000, "available_bytes": 900}

    asyncio.run(scenario())


def test_an_idle_worker_makes_way_for_another_model() -> None:
    async def scenario() -> None:
        async with world(QueenPolicy(spawn_again_ms=60_000)) as w:
            hive = await w.hive("east", offer(memory_bytes=600), offer("wide", memory_bytes=600))
            hive.devices = (Device(name="cpu", memory_total=1_000, memory_free=400),)
            worker = await hive.add(memory=600)
            await hive.join()
            asking = asyncio.ensure_future(w.infer(model="wide"))
            await until(lambda: hive.ended == [worker.id])
            hive.devices = (Device(name="cpu", memory_total=1_000, memory_free=1_000),)
            await hive.send()
            assert [each.name for each in await asking][-3:] == ["token", "end", ""]

    asyncio.run(scenario())


def test_who_waits_for_a_port_is_not_told_the_same_again_and_again() -> None:
    async def scenario() -> None:
        async with world(QueenPolicy(spawn_again_ms=1)) as w:
            hive = await w.hive("east", offer(), offer("wide"))
            hive.ports, hive.refuses = "own", (503, "PORTS_EXHAUSTED")
            worker = await hive.add(model="wide", state="busy")
            await hive.join()
            asking = asyncio.ensure_future(w.infer())
            for _ in range(50):
                await hive.send()
            assert hive.spawns == []
            hive.ports, hive.refuses = "free", None
            await hive.kill(worker)
            await hive.send()
            said = [msgspec.json.decode(each.data)["phase"] for each in await asking if each.name == "progress"]
            assert said == list(dict.fromkeys(said)) and said[0] == "queued"

    asyncio.run(scenario())


def test_what_a_hive_says_of_a_spawn_that_failed_reaches_who_waits() -> None:
    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive("east", offer())
            hive.refuses, hive.refusal_details = (502, "START_FAILED"), {"worker_id": "w", "exit_code": 1, "log": ["a"]}
            await hive.join()
            got = await w.client.post("/v1/chat/completions", json={"model": "tiny", "messages": [{"role": "user"}]})
            assert code_of(got) == (502, "START_FAILED")
            assert got.json()["error"]["details"] == hive.refusal_details

    asyncio.run(scenario())


def test_workers_are_spawned_and_ended_on_demand() -> None:
    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive("east", offer())
            await hive.join()
            spawned = (await w.client.post("/v1/workers/spawn", json={})).json()
            assert spawned["state"] == "idle"
            assert code_of(await w.client.post("/v1/workers/spawn", json={"model": "tiny"})) == (
                503,
                "WORKERS_EXHAUSTED",
            )
            assert code_of(await w.client.post("/v1/workers/spawn", json={"model": "none"})) == (404, "MODEL_NOT_FOUND")
            assert (await w.client.delete(f"/v1/workers/{spawned['worker_id']}")).status_code == 204
            assert hive.ended == [spawned["worker_id"]]
            assert code_of(await w.client.delete("/v1/workers/none")) == (404, "UNKNOWN_WORKER")

    asyncio.run(scenario())


def test_two_hives_share_the_work() -> None:
    async def scenario() -> None:
        async with world() as w:
            workers = [await w.worker(Endless(STARTED, token(0)), name=name, slots=2) for name in ("east", "west")]
            streams = [w.asking() for _ in range(4)]
            for stream in streams:
                answer = await stream.__aenter__()
                await answer.until("token")
            for stream in streams:
                await stream.__aexit__(None, None, None)
            assert [len([h for h in worker.server.heard if h.method == "POST"]) for worker in workers] == [2, 2]

    asyncio.run(scenario())
