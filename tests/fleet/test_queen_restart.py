"""A queen that is started again: what it remembers of hives, and what the disk may do to it."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

from penstock.core.fleet.known import KnownHive
from tests.fleet.queen_world import DONE, TestHive, World, offer, queen, world
from tests.fleet.until import until


def test_a_new_queen_asks_the_hives_that_were_known_and_serves_within_two_seconds(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(home=tmp_path) as w:
            hive = await w.hive("east")
            worker = await hive.add()
            await hive.join()
            await hive.stop_heart()
            await until_saved(tmp_path, 1)
            await w.queen.end(9)
            async with queen(home=tmp_path) as second:
                begun = time.monotonic()
                answer = await second.client.post("/v1/inference", json={"prompt": "p", "model": "tiny"})
                assert answer.content.endswith(DONE)
                assert time.monotonic() - begun < 2
                assert worker.server.heard
                (known,) = (await second.client.get("/v1/hives")).json()["hives"]
                assert (known["name"], known["epoch"], known["state"]) == ("east", 1, "ready")

    asyncio.run(scenario())


async def until_saved(home: Path, epoch: int) -> None:
    from penstock.adapters.hives_sqlite import SqliteHives

    def saved() -> list[KnownHive]:
        reading = SqliteHives(home / "registry.db")
        try:
            return [row for row in reading.rows() if row.epoch == epoch]
        finally:
            reading.close()

    await until(saved)


def test_a_queen_that_forgot_takes_a_hive_in_anew() -> None:
    async def scenario() -> None:
        port = free_port()
        async with queen(port=port) as first:
            hive = TestHive(first.url, "east", (offer(),))
            await hive.open()
            await hive.join()
            await hive.stop_heart()
            await first.end(9)
            async with queen(port=port):
                assert (await hive.send()).json()["epoch"] == 2
            await hive.close()

    asyncio.run(scenario())


def free_port() -> int:
    with socket.socket() as probing:
        probing.bind(("127.0.0.1", 0))
        return int(probing.getsockname()[1])


def test_a_damaged_registry_is_set_aside_and_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_bytes(b"no database " * 1_000)

    async def scenario() -> None:
        async with world(home=tmp_path) as w:
            told = await w.queen.until_told("registry was damaged: set aside and begun anew")
            assert Path(told["set_aside"]).read_bytes().startswith(b"no database")
            await (await w.hive("east")).join()
            await until_saved(tmp_path, 1)
            assert (await w.client.get("/v1/health")).json()["status"] == "ok"

    asyncio.run(scenario())


def test_a_registry_that_cannot_be_written_degrades_the_queen_and_is_written_later(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file in place of a directory")

    async def status(w: World) -> str:
        return str((await w.client.get("/v1/health")).json()["status"])

    async def scenario() -> None:
        async with world(home=home) as w:
            assert await status(w) == "degraded"
            await w.worker()
            assert [each.name for each in await w.infer()][-3:] == ["token", "end", ""]
            await w.queen.until_told("registry cannot be written: going on from memory")
            home.unlink()
            await until_saved(home, 1)
            await w.queen.until_told("registry is written again")
            assert await status(w) == "ok"

    asyncio.run(scenario())
