"""The log of a worker is read from anywhere: by its hive, which has the files, and by the queen, who passes it on."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from penstock.core.fleet.policy import HivePolicy, QueenPolicy
from penstock.fleet.hive.log_reading import PIECE_BYTES, TAIL_BYTES_MAX, Reading
from penstock.fleet.hive.worker_log import WorkerLog
from tests.fleet.hives import PATIENCE_S, HiveProcess, hive
from tests.fleet.played_server import Behaviour, Heard
from tests.fleet.queen_world import TestHive, world
from tests.fleet.until import until

SEEDS = range(20)
ANY_BYTES = b"one\n\xff\xfe\x00 tw\xc3" + b"\xa4o\r\n" + "zoë 🦀\n".encode() + b"no end"


# --- the files ------------------------------------------------------------------------------------------------------


def kept(log: WorkerLog) -> bytes:
    """All that lies there, the oldest first."""
    return b"".join(part.read_bytes() for part in reversed(log.parts()) if part.exists())


def all_of(reading: Reading) -> bytes:
    return b"".join(iter(reading.read, b""))


def last(data: bytes, lines: int) -> bytes:
    return b"".join(data.splitlines(keepends=True)[-lines:]) if lines else b""


@pytest.mark.parametrize("seed", SEEDS)
def test_the_last_lines_are_found_wherever_rotation_cut_them(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    log = WorkerLog(tmp_path / "w.log", HivePolicy(log_bytes_max=chance.choice([10, 100, 200_000]), log_files_max=3))
    for _ in range(40):
        log.write(b"".join(chance.choice([b"a", b"bcd" * 50, b"\n", b"\n\n"]) for _ in range(chance.randrange(1, 200))))
    for lines in (0, 1, 2, 7, 100, 9_999):
        with Reading(log, lines) as reading:
            found = all_of(reading)
            assert found == last(kept(log), lines)
            assert reading.size == len(found)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_follower_misses_nothing_over_rotations(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    log, written = WorkerLog(tmp_path / "w.log", HivePolicy(log_bytes_max=50, log_files_max=30)), b""
    with Reading(log, 0) as reading:
        found = b""
        for number in range(300):
            piece = f"{number}{'x' * chance.randrange(30)}\n".encode()
            log.write(piece)
            written += piece
            if chance.random() < 0.7:
                found += reading.read()
        assert found + all_of(reading) == written


def test_a_follower_that_is_too_slow_misses_what_was_deleted_and_goes_on(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "w.log", HivePolicy(log_bytes_max=10, log_files_max=2))
    log.write(b"line 0\n")
    with Reading(log, 10) as reading:
        for number in range(1, 6):
            log.write(f"line {number}\n".encode())
        assert all_of(reading) == b"line 0\nline 4\nline 5\n"


def test_one_file_alone_is_followed_when_it_is_begun_anew(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "w.log", HivePolicy(log_bytes_max=10, log_files_max=1))
    log.write(b"line 0\n")
    with Reading(log, 10) as reading:
        assert all_of(reading) == b"line 0\n"
        log.write(b"line 1\n")
        assert all_of(reading) == b"line 1\n"


def test_lines_without_end_are_bounded(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "w.log", HivePolicy(log_bytes_max=100_000_000))
    log.write(b"x" * (TAIL_BYTES_MAX + 3 * PIECE_BYTES))
    with Reading(log, 100) as reading:
        assert reading.size == TAIL_BYTES_MAX


def test_a_log_that_is_begun_later_is_followed(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "w.log", HivePolicy())
    with Reading(log, 10) as reading:
        assert reading.read() == b""
        log.write(b"first\n")
        assert reading.read() == b"first\n"


# --- a hive ---------------------------------------------------------------------------------------------------------


@contextmanager
def following(here: HiveProcess, worker: str, lines: int = 100) -> Iterator[Iterator[str]]:
    """Its log, line by line."""
    path = f"{here.url}/v1/workers/{worker}/logs?lines={lines}&follow=true"
    with (
        httpx2.Client(timeout=PATIENCE_S, trust_env=False, verify=False) as client,
        client.stream("GET", path) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        yield answer.iter_lines()


def test_a_log_is_followed_until_its_worker_has_ended_and_is_there_afterwards(tmp_path: Path) -> None:
    with hive(tmp_path / "home") as here:
        worker = here.spawn()["worker_id"]
        path = here.home / "logs" / f"worker-{worker}.log"
        with following(here, worker) as lines:
            assert "loaded" in next(line for line in lines if "loaded" in line)
            assert here.call("DELETE", f"/v1/workers/{worker}").status_code == 204
            assert '"ended"' in list(lines)[-1]
        assert here.call("GET", f"/v1/workers/{worker}/logs").content == path.read_bytes()
        assert here.call("GET", f"/v1/workers/{worker}/logs?follow=true").content == path.read_bytes()
        assert here.call("GET", f"/v1/workers/{worker}/logs?lines=1").content == last(path.read_bytes(), 1)
        path.unlink()
        gone = here.call("GET", f"/v1/workers/{worker}/logs")
        assert (gone.status_code, gone.json()["error"]["code"]) == (410, "GONE")


def test_who_follows_a_worker_that_hangs_is_let_go_when_that_was_killed(tmp_path: Path) -> None:
    with hive(tmp_path / "home", policy={"health_ms": 50, "health_misses_max": 2}) as here:
        worker = here.spawn()["worker_id"]
        with following(here, worker, 0) as lines:
            os.kill(here.worker(worker)["pid"], signal.SIGSTOP)
            assert list(lines) == []
        assert here.worker(worker)["code"] == "WORKER_HUNG"


def test_the_log_of_a_worker_that_nobody_knows_any_more_is_read_as_long_as_it_lies_there(tmp_path: Path) -> None:
    with hive(tmp_path / "home") as here:
        (here.home / "logs").mkdir(exist_ok=True)
        (here.home / "logs" / "worker-w-old.log").write_bytes(ANY_BYTES)
        assert here.call("GET", "/v1/workers/w-old/logs").content == ANY_BYTES
        unknown = here.call("GET", "/v1/workers/w-never/logs")
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "UNKNOWN_WORKER")


NO_IDS = ("..%2Fworker-w", "w%2F..%2F..%2Fsecret", "..", "w.log.1", "w%00", "w%0a", "%20", "%C3%B6")
NO_QUERIES = ("lines=-1", "lines=10001", "lines=many", "lines=1.0", "follow=1", "line=1", "lines=1&lines=2", "lines=")


def test_no_path_is_made_of_an_id(tmp_path: Path) -> None:
    with hive(tmp_path / "home") as here:
        (here.home / "logs").mkdir(exist_ok=True)
        for name in ("worker-w.log", "worker-w.log.1.log", "worker-ö.log", "worker- .log", "worker-..log"):
            (here.home / "logs" / name).write_text("secret")
        for worker in NO_IDS:
            answer = here.call("GET", f"/v1/workers/{worker}/logs")
            assert (answer.status_code, b"secret" in answer.content) == (404, False), worker
        assert here.call("GET", "/v1/workers/w/logs").content == b"secret"


def test_a_query_that_is_not_sound_is_refused(tmp_path: Path) -> None:
    with hive(tmp_path / "home") as here:
        for query in NO_QUERIES:
            answer = here.call("GET", f"/v1/workers/w-1/logs?{query}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_REQUEST"), query


def test_a_log_needs_the_token(tmp_path: Path) -> None:
    with hive(tmp_path / "home", token="sesame") as here:
        assert here.call("GET", "/v1/workers/w-1/logs").status_code == 401
        assert here.call("GET", "/v1/workers/w-1/logs", token="sesame").status_code == 404


def test_who_follows_and_leaves_is_noticed(tmp_path: Path) -> None:
    with hive(tmp_path / "home", is_verbose=True) as here:
        worker = here.spawn()["worker_id"]
        with following(here, worker) as lines:
            next(lines)
        assert here.until(event="answered", path=f"/v1/workers/{worker}/logs")["status"] == 200


def test_a_follower_does_not_hold_up_an_upgrade(tmp_path: Path) -> None:
    with hive(tmp_path / "home") as here:
        worker = here.spawn()["worker_id"]
        with following(here, worker) as lines:
            next(lines)
            here.kill(signal.SIGHUP)
            with pytest.raises(httpx2.HTTPError):
                list(lines)
            here.until(event="handing over")
        here.until(event="serving", resumed=True)
        with following(here, worker) as lines:
            assert next(lines)


# --- the queen ------------------------------------------------------------------------------------------------------


async def with_logs(hive: TestHive, behave: Behaviour) -> TestHive:
    """A hive that answers so when it is asked for a log, and joins."""
    other = hive.server.behave

    async def answer(heard: Heard) -> None:
        await (behave(heard) if "/logs" in heard.path else other(heard))

    hive.server.behave = answer
    return await hive.join()


async def nothing(heard: Heard) -> None:
    await heard.fail(404, "UNKNOWN_WORKER")


def telling(*pieces: bytes) -> Behaviour:
    async def behave(heard: Heard) -> None:
        await heard.begin(kind="text/plain; charset=utf-8")
        await heard.put(*pieces)
        await heard.end()

    return behave


def test_the_queen_passes_a_log_on_byte_by_byte() -> None:
    async def history() -> None:
        async with world(token="sesame") as fleet:
            hive = await fleet.hive(token="sesame")
            worker = await hive.add()
            await with_logs(hive, telling(*(bytes([byte]) for byte in ANY_BYTES)))
            answer = await fleet.client.get(f"/v1/workers/{worker.id}/logs?lines=7")
            assert (answer.status_code, answer.content) == (200, ANY_BYTES)
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            asked = await hive.server.next(f"/v1/workers/{worker.id}/logs", "GET")
            assert asked.path.endswith("/logs?lines=7&follow=false")
            assert asked.headers["authorization"] == "Bearer sesame"
            async with httpx2.AsyncClient(base_url=fleet.queen.url) as stranger:
                assert (await stranger.get(f"/v1/workers/{worker.id}/logs")).status_code == 401

    asyncio.run(history())


def test_whoever_has_the_log_of_an_ended_worker_is_found() -> None:
    async def history() -> None:
        async with world() as fleet:
            await with_logs(await fleet.hive("east"), nothing)
            await with_logs(await fleet.hive("west"), telling(b"its last words\n"))
            answer = await fleet.client.get("/v1/workers/w-old/logs")
            assert answer.content == b"its last words\n"

    asyncio.run(history())


def test_where_no_hive_has_it_that_is_told() -> None:
    async def gone(heard: Heard) -> None:
        await heard.fail(410, "GONE")

    async def history() -> None:
        async with world() as fleet:
            assert (await fleet.client.get("/v1/workers/w-old/logs")).json()["error"]["code"] == "UNKNOWN_WORKER"
            east = await with_logs(await fleet.hive("east"), nothing)
            assert (await fleet.client.get("/v1/workers/w-old/logs")).status_code == 404
            await with_logs(await fleet.hive("west"), gone)
            assert (await fleet.client.get("/v1/workers/w-old/logs")).status_code == 410
            for written in ("w.old", "..%2Fx", "w%0a"):
                assert (await fleet.client.get(f"/v1/workers/{written}/logs")).status_code == 404
            assert not [heard for heard in east.server.heard if "/logs" in heard.path and "w-old" not in heard.path]

    asyncio.run(history())


def test_a_hive_that_does_not_answer_is_named() -> None:
    async def hangs_up(heard: Heard) -> None:
        heard.crash()

    async def history() -> None:
        async with world() as fleet:
            hive = await fleet.hive("east")
            worker = await hive.add()
            await with_logs(hive, hangs_up)
            fault = (await fleet.client.get(f"/v1/workers/{worker.id}/logs")).json()["error"]
            assert fault["code"] == "HIVE_UNREACHABLE" and "east" in fault["message"]

    asyncio.run(history())


def test_a_log_that_breaks_off_is_not_taken_for_whole() -> None:
    async def breaks(heard: Heard) -> None:
        await heard.begin(kind="text/plain")
        await heard.put(b"one\n")
        heard.crash()

    async def history() -> None:
        async with world() as fleet:
            await with_logs(await fleet.hive(), breaks)
            with pytest.raises(httpx2.RemoteProtocolError):
                await fleet.client.get("/v1/workers/w-old/logs?follow=true")

    asyncio.run(history())


def test_the_hive_is_told_when_the_reader_has_left() -> None:
    async def goes_on(heard: Heard) -> None:
        await heard.begin(kind="text/plain")
        await heard.put(b"one\n")
        await heard.left.wait()

    async def history() -> None:
        async with world() as fleet:
            hive = await with_logs(await fleet.hive(), goes_on)
            async with fleet.client.stream("GET", "/v1/workers/w-old/logs?follow=true") as response:
                pieces: AsyncIterator[bytes] = response.aiter_raw()
                assert await anext(pieces) == b"one\n"
            asked = await hive.server.next("/v1/workers/w-old/logs", "GET")
            await until(lambda: asked.left.is_set() or None)

    asyncio.run(history())


def test_a_hive_that_falls_silent_and_is_lost_ends_what_is_followed() -> None:
    async def silent(heard: Heard) -> None:
        await heard.begin(kind="text/plain")
        await heard.put(b"one\n")
        await heard.left.wait()

    async def history() -> None:
        async with world(QueenPolicy(stale_ms=1_500)) as fleet:
            hive = await with_logs(await fleet.hive(), silent)
            async with fleet.client.stream("GET", "/v1/workers/w-old/logs?follow=true") as response:
                pieces: AsyncIterator[bytes] = response.aiter_raw()
                assert await anext(pieces) == b"one\n"
                await hive.stop_heart()
                with pytest.raises(httpx2.RemoteProtocolError):
                    await anext(pieces)
                assert [line for line in fleet.queen.told() if line["event"] == "hive is lost"]

    asyncio.run(history())


def test_a_follower_does_not_hold_up_the_end_of_the_queen() -> None:
    async def silent(heard: Heard) -> None:
        await heard.begin(kind="text/plain")
        await heard.put(b"one\n")
        await heard.left.wait()

    async def history() -> None:
        async with world() as fleet:
            await with_logs(await fleet.hive(), silent)
            async with fleet.client.stream("GET", "/v1/workers/w-old/logs?follow=true") as response:
                pieces: AsyncIterator[bytes] = response.aiter_raw()
                assert await anext(pieces) == b"one\n"
                assert await fleet.queen.end() == 0

    asyncio.run(history())
