"""What goes through the queen: bytes as they are, whole events, one end; and never half of one silently."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import msgspec
import pytest

from penstock.core.fleet.policy import QueenPolicy
from tests.fleet.played_server import Behaviour, Heard
from tests.fleet.queen_world import DONE, END, STARTED, Endless, World, chat, offer, one_token, token, world
from tests.fleet.until import until, until_async
from tests.scenarios.buffers import unread_bytes_max

ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
CONTENT = 'data: {"choices":[{"index":0,"delta":{"content":"zoë 🦀"}}], "odd":  1}\n\n'.encode()
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"total_tokens":3}}\n\n'
CHAT = "/v1/chat/completions"


def streaming(*pieces: bytes) -> Behaviour:
    async def behave(heard: Heard) -> None:
        if heard.method == "DELETE":
            await heard.answer(204)
            return
        await heard.begin()
        await heard.put(*pieces)
        await heard.end()

    return behave


def broken_after(*pieces: bytes, is_clean: bool = False) -> Behaviour:
    """`is_clean`: the answer is whole as HTTP, and has no last event."""

    async def behave(heard: Heard) -> None:
        await heard.begin()
        await heard.put(*pieces)
        if is_clean:
            await heard.end()
        else:
            heard.crash()

    return behave


async def counted(w: World, outcome: str) -> bool:
    """Whether the queen has counted one request that ended so: she does when its last byte is out."""
    found = await w.queen.metrics()
    return found.get(f'penstock_queen_requests_total{{model="tiny",outcome="{outcome}"}}') == 1


def test_a_prompt_is_answered_by_a_warm_worker() -> None:
    async def scenario() -> None:
        async with world() as w:
            worker = await w.worker()
            said = await w.infer(request_id="mine")
            assert [each.name for each in said] == ["started", "token", "end", ""]
            assert said[0].data == '{"request_id":"mine"}', "the queen's own, not the worker's"
            assert worker.server.heard[0].id == "mine"
            await w.quiet()
            found = await w.queen.metrics()
            assert await until_async(lambda: counted(w, "ok"))
            assert found['penstock_queen_tokens_total{model="tiny"}'] == 1
            assert found['penstock_queen_first_token_seconds_count{model="tiny"}'] == 1

    asyncio.run(scenario())


def test_a_connection_to_a_worker_serves_one_request_after_the_other() -> None:
    async def scenario() -> None:
        async with world() as w:
            worker = await w.worker()
            for _ in range(3):
                await w.infer()
            assert len({heard.writer for heard in worker.server.heard}) == 1

    asyncio.run(scenario())


def test_wherever_the_bytes_are_cut_the_same_comes_out() -> None:
    events = [token(0, "zoë"), token(1, "🦀 ende\n"), END, DONE]
    whole = b"".join(events)

    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive("east", offer(slots=8))
            worker = await hive.add(slots=8)
            await hive.join()
            for cut in range(1, len(whole)):
                worker.server.behave = streaming(STARTED + whole[:cut], whole[cut:])
                async with w.asking() as stream:
                    await stream.rest()
                _, _, passed = stream.raw.partition(b"\n\n")
                assert passed == whole, cut

    asyncio.run(scenario())


@pytest.mark.parametrize("ending", ["\n\n", "\r\n\r\n", "\r\r"], ids=["lf", "crlf", "cr"])
def test_an_openai_stream_is_passed_on_byte_for_byte(ending: str) -> None:
    pieces = [piece.replace(b"\n\n", ending.encode()) for piece in (ROLE, CONTENT, FINISH, DONE)]

    async def scenario() -> None:
        async with world() as w:
            await w.worker(streaming(*pieces))
            async with w.asking(CHAT) as stream:
                await stream.rest()
            assert stream.raw == b"".join(pieces)
            assert stream.response.headers["content-type"] == "text/event-stream"

    asyncio.run(scenario())


def test_the_body_of_a_chat_reaches_the_worker_unchanged_and_its_answer_the_client() -> None:
    body = (
        b'{ "model":"tiny",  "messages":[{"role":"user","content":"\\u00eb"}], "tools":[{"x": 1.50}], "new_field":null}'
    )
    answer = b'{"choices": [ {"message":{"tool_calls":[{"id":"1"}]}} ],\n "usage":{"total_tokens":3}}'

    async def behave(heard: Heard) -> None:
        await heard.answer(200, answer)

    async def scenario() -> None:
        async with world() as w:
            worker = await w.worker(behave)
            got = await w.client.post(CHAT, content=body, headers={"content-type": "application/json"})
            assert (got.status_code, got.content) == (200, answer)
            assert worker.server.heard[0].body == body

    asyncio.run(scenario())


def test_what_an_engine_refuses_is_passed_on_as_it_came() -> None:
    said = b'{"error":{"code":400,"message":"too long","type":"invalid_request_error"}}'

    async def behave(heard: Heard) -> None:
        await heard.answer(400, said)

    async def scenario() -> None:
        async with world() as w:
            await w.worker(behave)
            for is_stream in (False, True):
                got = await w.client.post(CHAT, json=chat(stream=is_stream))
                assert (got.status_code, got.content) == (400, said)
            await w.quiet()

    asyncio.run(scenario())


def test_before_the_first_token_another_worker_takes_over_unseen() -> None:
    async def scenario() -> None:
        for broken in (broken_after(STARTED), broken_after(STARTED, is_clean=True), broken_after(ROLE)):
            async with world() as w:
                hive = await w.hive("east", offer(workers_max=2))
                first = await hive.add(broken)
                second = await hive.add(streaming(STARTED, token(0), END, DONE))
                await hive.join()
                said = await w.infer()
                assert [each.name for each in said] == ["started", "token", "end", ""]
                assert (len(first.server.heard), len(second.server.heard)) == (1, 1)
                assert (await w.queen.metrics())['penstock_queen_retries_total{model="tiny"}'] == 1

    asyncio.run(scenario())


def test_an_answer_that_is_no_stream_is_retried_too_and_once() -> None:
    async def crash(heard: Heard) -> None:
        heard.crash()

    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive("east", offer(workers_max=3))
            workers = [await hive.add(crash) for _ in range(3)]
            await hive.join()
            got = await w.client.post(CHAT, json=chat())
            assert (got.status_code, got.json()["error"]["code"]) == (502, "WORKER_FAILED")
            assert sum(len(worker.server.heard) for worker in workers) == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("is_clean", [True, False], ids=["no-last-event", "connection-reset"])
def test_a_worker_that_dies_in_mid_stream_is_an_error_event_and_never_a_replay(is_clean: bool) -> None:
    half = b"event: token\ndata: {"

    async def scenario() -> None:
        async with world() as w:
            hive = await w.hive("east", offer(workers_max=2))
            await hive.add(broken_after(token(0), half, is_clean=is_clean))
            other = await hive.add(streaming(STARTED, token(0), END, DONE))
            await hive.join()
            async with w.asking() as stream:
                said = await stream.rest()
            assert [each.name for each in said] == ["started", "token", "error", ""]
            assert msgspec.json.decode(said[2].data)["code"] == "WORKER_CRASHED"
            assert half + b"event" not in stream.raw, "half an event is not passed on"
            assert not other.server.heard
            await w.quiet()

    asyncio.run(scenario())


def test_an_openai_stream_that_breaks_ends_with_an_error_and_done() -> None:
    async def scenario() -> None:
        async with world() as w:
            await w.worker(broken_after(ROLE, CONTENT))
            async with w.asking(CHAT) as stream:
                said = await stream.rest()
            assert stream.raw.startswith(ROLE + CONTENT)
            assert msgspec.json.decode(said[-2].data)["error"]["code"] == "WORKER_CRASHED"
            assert said[-1].data == "[DONE]"

    asyncio.run(scenario())


def test_a_failure_before_the_first_token_is_a_status_on_openais_surface() -> None:
    refused = b'data: {"error":{"code":"BAD_ENGINE_REPLY","message":"garbage"}}\n\n'

    async def scenario() -> None:
        async with world() as w:
            await w.worker(streaming(ROLE, refused, DONE))
            got = await w.client.post(CHAT, json=chat(stream=True))
            assert (got.status_code, got.json()["error"]["code"]) == (502, "BAD_ENGINE_REPLY")

    asyncio.run(scenario())


def test_an_error_of_the_worker_is_the_last_event_and_is_counted() -> None:
    told = b'event: error\ndata: {"code":"WORKER_HUNG","message":"slow"}\n\n'

    async def scenario() -> None:
        async with world() as w:
            await w.worker(streaming(STARTED, token(0), told, DONE))
            said = await w.infer()
            assert [each.name for each in said] == ["started", "token", "error", ""]
            await until_async(lambda: counted(w, "WORKER_HUNG"))

    asyncio.run(scenario())


def test_a_worker_that_says_that_it_is_full_is_asked_again_and_that_is_no_try() -> None:
    async def scenario() -> None:
        async with world() as w:
            answers: Iterator[Behaviour] = iter([full] * 4)

            async def behave(heard: Heard) -> None:
                await next(answers, one_token)(heard)

            worker = await w.worker(behave)
            assert [each.name for each in await w.infer()][-3:] == ["token", "end", ""]
            assert len(worker.server.heard) == 5

    async def full(heard: Heard) -> None:
        await heard.fail(503, "ALL_SLOTS_BUSY")

    asyncio.run(scenario())


def test_an_event_without_end_is_not_kept_for_ever() -> None:
    async def behave(heard: Heard) -> None:
        if heard.method == "DELETE":
            await heard.answer(204)
            return
        await heard.begin()
        await heard.put(token(0), *[b"x" * 65_536] * 20)
        await heard.end()

    async def scenario() -> None:
        async with world() as w:
            await w.worker(behave)
            said = await w.infer()
            assert msgspec.json.decode(said[-2].data)["code"] == "BAD_ENGINE_REPLY"

    asyncio.run(scenario())


def test_a_worker_that_falls_silent_in_mid_stream_is_given_up() -> None:
    async def scenario() -> None:
        async with world(QueenPolicy(silence_ms_max=300)) as w:
            worker = await w.worker(Endless(STARTED, token(0)))
            said = await w.infer(request_id="r")
            assert msgspec.json.decode(said[-2].data)["code"] == "WORKER_HUNG"
            assert (await worker.server.next(method="DELETE")).path == "/v1/inference/r"

    asyncio.run(scenario())


def test_a_slow_reader_slows_its_worker_down_and_misses_nothing() -> None:
    size = 64_000
    count = (unread_bytes_max(2) + 100 * size) // size
    put = 0

    async def behave(heard: Heard) -> None:
        nonlocal put
        await heard.begin()
        for number in range(count):
            await heard.put(token(number, "x" * size))
            put = number
        await heard.put(END, DONE)
        await heard.end()

    async def scenario() -> None:
        async with world() as w:
            await w.worker(behave)
            async with w.asking() as stream:
                await stream.until("token")
                seen = await until(lambda: put if put > 10 else None)
                while (now := await _after_a_while(w, lambda: put)) != seen:
                    seen = now
                assert seen < count - 1, "it went on although nobody read"
                numbers = [int(found) for found in re.findall(rb'"i":(\d+)}\n\n', await stream.all())]
                assert numbers == list(range(count))

    async def _after_a_while(w: World, read: object) -> int:
        for _ in range(200):
            await w.client.get("/v1/health")
        return put

    asyncio.run(scenario())


def test_each_inference_is_one_line_in_the_log_and_nothing_of_what_was_said_is() -> None:
    async def scenario() -> None:
        async with world() as w:
            worker = await w.worker()
            await w.infer(request_id="streamed", prompt="secret")
            answer = await w.client.post(
                "/v1/chat/completions", json=chat(model="none"), headers={"x-request-id": "refused"}
            )
            assert answer.status_code == 404
            assert (await worker.server.next()).id == "streamed", "the worker says the same id"
            await w.client.get("/v1/health")
            await w.client.get("/v1/workers/list")
            await w.queen.end()
            lines = {line["request_id"]: line for line in w.queen.told() if line["event"] == "inference"}
            assert lines["streamed"] | {"at": "", "ms": 0} == {
                **{"at": "", "level": "info", "who": "queen", "event": "inference", "request_id": "streamed"},
                **{"model": "tiny", "worker": worker.id, "status": "ok", "tokens": 1, "ms": 0},
            }
            assert (lines["refused"]["status"], lines["refused"]["worker"]) == ("MODEL_NOT_FOUND", "")
            assert len(lines) == 2
            assert not [line for line in w.queen.log if "secret" in line or "/v1/health" in line or "list" in line]

    asyncio.run(scenario())
