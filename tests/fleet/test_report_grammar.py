"""What a hive may say of itself: the queen's document and the queen agree, whatever is said."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import jsonschema_rs
import msgspec

from penstock.core.fleet.parties import COUNT_MAX
from tests.fleet.queen_world import offer, world

Report = dict[str, Any]
Change = Callable[[Report], None]


def put(*path: str | int) -> Callable[[Any], Change]:
    """Says something else at one place of a report."""

    def to(value: Any) -> Change:
        def change(report: Report) -> None:
            place: Any = report
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value

        return change

    return to


NAME, URL, INSTANCE = put("name"), put("url"), put("instance")
OFFER, OFFER_SLOTS, RETRY = put("offers", 0, "name"), put("offers", 0, "slots"), put("offers", 0, "retry_ms")
WORKER, WORKER_URL, STATE = put("workers", 0, "worker_id"), put("workers", 0, "url"), put("workers", 0, "state")
SLOTS, PID, FREE = put("workers", 0, "slots"), put("workers", 0, "pid"), put("devices", 0, "memory_free")

SOUND = {
    "name": [NAME(told) for told in ("a", "0", "a-b", "a" * 63)],
    "url": [
        URL(told)
        for told in (
            "http://h",
            "https://a.b-c:65535/v1/",
            "http://[::1]:9200",
            "http://[fd00::1]:1",
            "http://1.2.3.4:60999",
        )
    ],
    "instance": [INSTANCE("i"), INSTANCE("i" * 256)],
    "offers": [*(OFFER(told) for told in ("a", "team/tiny:1b", "q2.5-c", "A" * 128)), OFFER_SLOTS(4_096), RETRY(0)],
    "workers": [*(WORKER(told) for told in ("w", "W_1-", "w" * 64)), *(STATE(told) for told in ("idle", "failed"))],
    "numbers": [SLOTS(1), PID(0), FREE(0), put("workers_max")(0), put("epoch")(COUNT_MAX), put("number")(0)],
}
UNSOUND = {
    "name": [NAME(told) for told in ("", "A", "a.b", "-a", "a-", "../x", "a" * 64, "a\n", "ä", 7)],
    "url": [
        URL(told)
        for told in (
            "",
            "h:1",
            "ftp://h",
            "http://",
            "http://h:0",
            "http://h:65536",
            "http://a b",
            "http://u@h",
            "http://h/x",
        )
    ],
    "instance": [INSTANCE(""), INSTANCE("i" * 257)],
    "offers": [
        *(OFFER(told) for told in ("", "..", "a/../b", "a//b", "a b", "/a", "a\n", "A" * 129)),
        *(OFFER_SLOTS(told) for told in (0, -1, 4_097, "1")),
        *(RETRY(told) for told in (-1, COUNT_MAX + 1)),
    ],
    "workers": [
        *(WORKER(told) for told in ("", "-w", "w w", "../w", "w" * 65)),
        *(WORKER_URL(told) for told in ("", "file:///etc/passwd", "http://h:99999")),
        *(STATE(told) for told in ("", "ready", "IDLE")),
    ],
    "numbers": [
        *(SLOTS(told) for told in (0, -1, 4_097)),
        *(PID(told) for told in (-1, COUNT_MAX + 1)),
        *(FREE(told) for told in (-1, COUNT_MAX + 1)),
        *(put(name)(-1) for name in ("workers_max", "epoch", "number")),
        put("state")("lost"),
        put("unknown")(1),
        put("api_version")(0),
    ],
}


@dataclass
class Judges:
    """The queen and her document. `report`: of a hive that she knows, with something in every part."""

    client: httpx2.AsyncClient
    document: jsonschema_rs.Draft202012Validator
    report: Report

    async def differ(self, cases: dict[str, list[Change]], expected: bool) -> list[str]:
        """Where one of them does not say what is expected."""
        found = []
        for part, changes in cases.items():
            for number, change in enumerate(changes):
                report = copy.deepcopy(self.report)
                change(report)
                answer = await self.client.post("/v1/hives", json=report)
                judged = self.document.is_valid(report), answer.status_code not in (400, 426)
                if judged != (expected, expected):
                    found.append(f"{part} {number}: document, queen: {judged}, {answer.text}")
        return found


def judge(cases: dict[str, list[Change]], expected: bool) -> list[str]:
    async def scenario() -> list[str]:
        async with world() as w:
            hive = await w.hive("east", offer("tiny"))
            await hive.add()
            await hive.join()
            components = (await w.client.get("/openapi.json")).json()["components"]
            schema = {"$ref": "#/components/schemas/HiveReport", "components": components}
            report = json.loads(msgspec.json.encode(hive.report()))
            judges = Judges(w.client, jsonschema_rs.Draft202012Validator(schema), report)
            return await judges.differ(cases, expected)

    return asyncio.run(scenario())


def test_what_the_document_allows_the_queen_takes() -> None:
    assert judge(SOUND, True) == []


def test_what_the_queen_refuses_the_document_does_not_allow() -> None:
    assert judge(UNSOUND, False) == []
