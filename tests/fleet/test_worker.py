"""A worker as clients and its hive see it: a real process that plays a script."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx2
import pytest

from penstock.core.fleet.policy import WorkerPolicy
from penstock.fleet.schema import End, Failure, Metrics, Progress, Started, Token
from penstock.model_script import completion_of, events_of, read_worker_script
from tests.fleet.worker_world import Heard, Running, chat_body, tokens_of, worker

FOX = """
replies:
  - tokens: [The, " quick", " größte", " 🦊", " jumps"]
repeat: true
"""
HELD = """
replies:
  - {tokens: [a, b, c], hold: GO, hold_after: %d}
repeat: true
"""


def history(story: Callable[[Path], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    """A test that runs in a loop of its own."""

    def test(tmp_path: Path) -> None:
        asyncio.run(story(tmp_path))

    test.__name__, test.__doc__ = story.__name__, story.__doc__
    return test


# --- it tells its hive ----------------------------------------------------------------------------------------------


@history
async def test_it_accepts_before_it_says_so_and_says_who_it_is(tmp_path: Path) -> None:
    async with worker(tmp_path, slots=3, token="s3cret") as running:
        (callback,) = running.ear.heard
        assert running.ear.reached == [True]
        assert (callback.worker_id, callback.url, callback.model_ref) == ("w-1", running.url, "tiny")
        assert (callback.backend, callback.device, callback.slots) == ("scripted", "cpu", 3)
        assert (callback.pid, callback.nonce, callback.state) == (running.pid, "n-1", "idle")
        assert "authorization: Bearer s3cret" in running.ear.headers[0]
        assert Path(f"/proc/{running.pid}/cmdline").read_bytes().startswith(b"penstock worker w-1")


@history
async def test_a_callback_that_is_lost_is_sent_again(tmp_path: Path) -> None:
    async with worker(tmp_path, answers=(0, 500, 200)) as running:
        assert [each.state for each in running.ear.heard] == ["idle"]
        await running.until(lambda health: len(running.ear.heard) == 3)
        assert (await running.health()).state == "idle"


@pytest.mark.parametrize("answers", [(410,), (403,), (500,) * 5])
def test_whom_its_hive_does_not_want_ends(tmp_path: Path, answers: tuple[int, ...]) -> None:
    async def story() -> None:
        async with worker(tmp_path, answers=answers, state="") as running:
            assert await running.ended() == 1
            assert len(running.ear.heard) == len(answers)

    asyncio.run(story())


@history
async def test_it_ends_with_its_owner(tmp_path: Path) -> None:
    async with worker(tmp_path, HELD % 0) as running, running.stream("/v1/inference", {"prompt": "go"}):
        assert (await running.health()).busy == 1
    assert running.process.returncode == -signal.SIGKILL


# --- it loads -------------------------------------------------------------------------------------------------------


@history
async def test_while_it_loads_it_says_how_far_it_is_and_serves_nobody(tmp_path: Path) -> None:
    script = FOX + "load: {steps: 2, ms: 2, hold: LOAD}"
    async with worker(tmp_path, script, state="loading") as running:
        refused = [await running.infer(), await running.chat()]
        assert [(each.status, each.code) for each in refused] == [(503, "NOT_READY")] * 2
        assert int(refused[0].headers["retry-after"]) >= 1
        ready = (await running.client.get("/v1/ready")).json()
        assert (ready["ready"], ready["model_loaded"], ready["state"]) == (False, False, "loading")
        async with running.client.stream("GET", ready["progress_url"]) as response:
            chunks = response.aiter_raw()
            first = await anext(chunks)
            assert first.startswith(b"event: progress\ndata: ")
            running.release("LOAD")
            told = Heard(200, response.headers, first + b"".join([chunk async for chunk in chunks]))
        *progress, end, done = told.events
        assert all(isinstance(each, Progress) for each in progress)
        assert progress[-1] == Progress(phase="loading", done=2, total=2, unit="layers", message="held")
        assert isinstance(end, End)
        assert done is None
        await running.ear.until("idle")
        assert [each.state for each in running.ear.heard] == ["loading", "idle"]
        assert (await running.client.get("/v1/ready")).json()["ready"] is True
        assert (await running.infer()).text == "The quick größte 🦊 jumps"


@history
async def test_a_model_that_cannot_be_loaded_ends_it_and_is_told(tmp_path: Path) -> None:
    script = FOX + "load: {fault: fail, message: no such tensor, hold: LOAD}"
    async with worker(tmp_path, script, state="loading") as running:
        async with running.client.stream("GET", "/v1/loading/progress") as response:
            chunks = response.aiter_raw()
            first = await anext(chunks)
            running.release("LOAD")
            told = Heard(200, response.headers, first + b"".join([chunk async for chunk in chunks]))
        assert told.failure == "LOAD_FAILED"
        failed = await running.ear.until("failed")
        assert failed.message == "no such tensor"
        assert await running.ended() == 1


@pytest.mark.parametrize(("fault", "code"), [("crash", -signal.SIGKILL), ("exit", 1)])
def test_a_load_may_kill_it(tmp_path: Path, fault: str, code: int) -> None:
    async def story() -> None:
        async with worker(tmp_path, FOX + f"load: {{fault: {fault}}}", state="") as running:
            assert await running.ended() == code

    asyncio.run(story())


@history
async def test_a_script_that_is_not_sound_is_told_with_its_lines(tmp_path: Path) -> None:
    script = "replies:\n  - texd: a\n  - fault: {kind: burn}\nload: {ms: soon}\n"
    async with worker(tmp_path, script, state="failed") as running:
        message = (await running.ear.until("failed")).message
        assert [line.split(":")[:2] for line in message.splitlines() if line.startswith("script.yaml")] == [
            ["script.yaml", "2"],
            ["script.yaml", "3"],
            ["script.yaml", "4"],
        ]
        assert await running.ended() == 1


# --- it serves ------------------------------------------------------------------------------------------------------


@history
async def test_a_stream_is_started_tokens_metrics_one_end_and_done(tmp_path: Path) -> None:
    async with worker(tmp_path, FOX) as running:
        told = await running.infer(headers={"x-request-id": "r-1"})
        started, *tokens, metrics, end, done = told.events
        assert started == Started(request_id="r-1")
        assert tokens == [Token(t=text, i=i) for i, text in enumerate(["The", " quick", " größte", " 🦊", " jumps"])]
        assert isinstance(metrics, Metrics)
        assert isinstance(end, End)
        assert (metrics.tokens_out, end.tokens_out, end.stop_reason, done) == (5, 5, "stop", None)
        assert told.headers["x-request-id"] == "r-1"
        named = await running.infer(request_id="mine")
        assert named.events[0] == Started(request_id="mine")
        health = await running.health()
        assert (health.state, health.busy, health.tokens_total) == ("idle", 0, 10)


@history
async def test_started_has_the_id_of_the_header(tmp_path: Path) -> None:
    async with worker(tmp_path, FOX) as running:
        both = await running.infer(request_id="body", headers={"x-request-id": "header"})
        assert (both.events[0], both.headers["x-request-id"]) == (Started(request_id="body"), "body")
        made = await running.infer()
        assert made.events[0] == Started(request_id=made.headers["x-request-id"])


@history
async def test_an_engines_own_request_id_is_not_passed_on(tmp_path: Path) -> None:
    script = "replies: [{text: hi, headers: {X-Request-Id: of-the-engine}}]\n"
    async with worker(tmp_path, script) as running:
        told = await running.chat(headers={"x-request-id": "r-1"})
        assert told.headers.get_list("x-request-id") == ["r-1"]


@history
async def test_it_stops_at_its_limit_and_at_a_text(tmp_path: Path) -> None:
    async with worker(tmp_path, FOX) as running:
        short = await running.infer(max_tokens=2)
        cut = await running.infer(stop=["zzz", "k gr"])
        ends = [each for told in (short, cut) for each in told.events if isinstance(each, End)]
        assert [(end.stop_reason, end.tokens_out) for end in ends] == [("length", 2), ("stop", 2)]
        assert (short.text, cut.text) == ("The quick", "The quic")


@history
async def test_without_a_script_the_same_question_has_the_same_answer(tmp_path: Path) -> None:
    async with worker(tmp_path / "a") as one, worker(tmp_path / "b") as other:
        asked = [await each.infer("tell me", seed=seed) for each in (one, other) for seed in (1, 2)]
        assert [asked[0].text, asked[1].text] == [asked[2].text, asked[3].text]
        assert asked[0].text != asked[1].text
        answer = (await one.chat("tell me", seed=1)).body
        assert asked[0].text in answer.decode()


@history
async def test_a_chat_has_the_bytes_of_the_engine(tmp_path: Path) -> None:
    script = FOX.replace("repeat: true", "    tool_calls: [{name: look, arguments: {at: 1}}]\nrepeat: true")
    reply = read_worker_script(script.encode(), "script").conversations[0].replies[0]
    async with worker(tmp_path, script) as running:
        whole = await running.chat(temperature=0.5, metadata={"not": "ours"})
        assert (whole.status, whole.headers["content-type"]) == (200, "application/json")
        assert whole.body == completion_of(reply, 1, "tiny")
        streamed = await running.chat(stream=True, stream_options={"include_usage": True})
        assert streamed.headers["content-type"] == "text/event-stream"
        assert streamed.body == b"".join(events_of(reply, 2, "tiny", with_usage=True))


@history
async def test_what_cannot_be_served_is_said(tmp_path: Path) -> None:
    async with worker(tmp_path, "replies: [{text: once}]", token="s3cret") as running:
        async with httpx2.AsyncClient(base_url=running.url, trust_env=False) as stranger:
            assert (await stranger.get("/v1/health")).status_code == 200
            assert (await stranger.post("/v1/inference", json={"prompt": "a"})).status_code == 401
        told = [
            await running.infer(prompt=""),
            await running.infer(model="another"),
            await running.chat(headers={"x-deadline-ms": "soon"}),
            await running.infer(request_id="no id"),
        ]
        assert [(each.status, each.code) for each in told] == [
            (400, "INVALID_REQUEST"),
            (404, "MODEL_NOT_FOUND"),
            (400, "INVALID_REQUEST"),
            (400, "INVALID_REQUEST"),
        ]
        assert (await running.infer()).text == "once"
        assert (await running.infer()).failure == "BAD_ENGINE_REPLY"
        over = await running.chat()
        assert (over.status, over.code) == (400, "script_over")
        assert (await running.health()).busy == 0


# --- its slots ------------------------------------------------------------------------------------------------------


@history
async def test_of_many_at_once_as_many_are_served_as_there_are_slots(tmp_path: Path) -> None:
    async with worker(tmp_path, HELD % 0, slots=2) as running:
        asking = [asyncio.ensure_future(running.infer()) for _ in range(8)]
        refused: list[Heard] = []
        for done in asyncio.as_completed(asking):
            refused.append(await done)
            if len(refused) == 6:
                break
        assert [(each.status, each.code) for each in refused] == [(503, "ALL_SLOTS_BUSY")] * 6
        health = await running.health()
        assert (health.state, health.busy, health.slots, health.idle_ms) == ("busy", 2, 2, 0)
        running.release("GO", 2)
        served = [told for told in await asyncio.gather(*asking) if told.status == 200]
        assert [told.text for told in served] == ["abc", "abc"]
        assert (await running.health()).busy == 0


@history
async def test_an_id_is_for_one_request_at_a_time(tmp_path: Path) -> None:
    async with worker(tmp_path, HELD % 0, slots=2) as running:
        async with running.stream("/v1/inference", {"prompt": "go"}, "r-1") as first:
            second = await running.chat(headers={"x-request-id": "r-1"})
            assert (second.status, second.code) == (409, "DUPLICATE_REQUEST")
            assert (await running.health()).busy == 1
            running.release("GO")
            assert tokens_of(await first.rest()) == ["a", "b", "c"]
        running.release("GO")
        assert (await running.infer(headers={"x-request-id": "r-1"})).text == "abc"


# --- it stops -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 2])
def test_a_request_is_cancelled_by_its_id(tmp_path: Path, after: int) -> None:
    async def story() -> None:
        async with worker(tmp_path, HELD % after) as running:
            async with running.stream("/v1/inference", {"prompt": "go"}, "r-1") as listening:
                await listening.tokens(after)
                answer = await running.client.delete("/v1/inference/r-1")
                assert answer.status_code == 204
                assert (await running.health()).busy == 0
                end, done = (await listening.rest())[-2:]
                assert isinstance(end, End)
                assert (end.stop_reason, end.tokens_out, done) == ("canceled", after, None)
            assert (await running.client.delete("/v1/inference/r-1")).status_code == 204
            assert (await running.client.delete("/v1/inference/r-2")).status_code == 404

    asyncio.run(story())


@history
async def test_a_chat_is_cancelled_by_its_id(tmp_path: Path) -> None:
    async with worker(tmp_path, HELD % 0) as running:
        asking = asyncio.ensure_future(running.chat(headers={"x-request-id": "r-1"}))
        await running.until(lambda health: health.busy == 1)
        assert (await running.client.delete("/v1/inference/r-1")).status_code == 204
        told = await asking
        assert (told.status, told.code) == (499, "CANCELED")
        async with running.stream("/v1/chat/completions", chat_body(stream=True), "r-2") as listening:
            first = await anext(listening.chunks)
            assert (await running.client.delete("/v1/inference/r-2")).status_code == 204
            rest = first + b"".join([chunk async for chunk in listening.chunks])
        assert rest.endswith(b"data: [DONE]\n\n")
        assert b'{"error":{"code":"CANCELED"' in rest


@history
async def test_a_deadline_ends_a_request(tmp_path: Path) -> None:
    async with worker(tmp_path, HELD % 1) as running:
        told = await running.infer(deadline_ms=20)
        assert (told.status, told.text, told.failure) == (200, "a", "DEADLINE_EXCEEDED")
        late = await running.chat(headers={"x-deadline-ms": "20"})
        assert (late.status, late.code) == (408, "DEADLINE_EXCEEDED")
        shorter = await running.infer(deadline_ms=3_600_000, headers={"x-deadline-ms": "20"})
        assert shorter.failure == "DEADLINE_EXCEEDED"
        assert (await running.health()).busy == 0


@pytest.mark.parametrize(
    ("path", "body", "after"),
    [
        ("/v1/inference", {"prompt": "go"}, 0),
        ("/v1/inference", {"prompt": "go"}, 2),
        ("/v1/chat/completions", chat_body(), 0),
        ("/v1/chat/completions", chat_body(stream=True), 2),
    ],
)
def test_a_client_that_leaves_frees_its_slot(tmp_path: Path, path: str, body: dict[str, Any], after: int) -> None:
    async def story() -> None:
        async with worker(tmp_path, HELD % after) as running:
            client = httpx2.AsyncClient(base_url=running.url, trust_env=False)
            asking = asyncio.ensure_future(client.post(path, json=body))
            await running.until(lambda health: health.busy == 1 and health.tokens_total >= after)
            asking.cancel()
            await client.aclose()
            assert (await running.until(lambda health: health.busy == 0)).state == "idle"
            running.release("GO")  # for nobody who left
            assert (await running.infer()).text == "abc"

    asyncio.run(story())


@history
async def test_a_slow_reader_holds_the_engine_back_and_loses_nothing(tmp_path: Path) -> None:
    text = "".join(f"{n:011d} " for n in range(16_000))
    async with worker(tmp_path, f"replies: [{{text: '{text}'}}]", send_buffer_bytes=4_096) as running:
        reader, writer = await slow_connection(running)
        body = b'{"prompt":"go","max_tokens":100000}'
        writer.write(b"POST /v1/inference HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        before = [await running.until(lambda health: health.tokens_total > 0)]
        while len(before) < 20 or before[-1].tokens_total != before[-20].tokens_total:
            before.append(await running.health())
        assert before[-1].tokens_total < 16_000
        assert before[-1].stalled_ms == 0
        writer.write(b"GET /v1/none HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        received = await reader.read(-1)
        writer.close()
        stream = b"".join(received.split(b"\r\n\r\n", 1)[1].split(b"HTTP/1.1 404")[0].split(b"\r\n")[1::2])
        told = Heard(200, httpx2.Headers(), stream)
        assert told.text == text
        assert [each.i for each in told.events if isinstance(each, Token)] == list(range(16_000))


async def slow_connection(running: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """One that takes a few kilobytes and then waits."""
    host, port = running.url.removeprefix("http://").split(":")
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    made.setblocking(False)
    await asyncio.get_running_loop().sock_connect(made, (host, int(port)))
    return await asyncio.open_connection(sock=made, limit=1_024)


# --- it drains ------------------------------------------------------------------------------------------------------


@history
async def test_it_finishes_what_is_under_way_and_takes_nothing_new(tmp_path: Path) -> None:
    async with worker(tmp_path, HELD % 1, slots=2) as running:
        async with running.stream("/v1/inference", {"prompt": "go"}) as listening:
            await listening.tokens(1)
            running.signal(signal.SIGTERM)
            await running.until(lambda health: health.state == "draining")
            refused = await running.infer()
            assert (refused.status, refused.code) == (503, "DRAINING")
            assert int(refused.headers["retry-after"]) >= 1
            running.release("GO")
            events = await listening.rest()
            assert tokens_of(events) == ["a", "b", "c"]
            assert events[-1] is None
        assert await running.ended() == 0


@history
async def test_one_that_loads_ends_at_the_first_signal(tmp_path: Path) -> None:
    async with worker(tmp_path, FOX + "load: {hold: LOAD}", state="loading") as running:
        running.signal(signal.SIGTERM)
        assert await running.ended() == 0


@history
async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async with worker(tmp_path, HELD % 1) as running, running.stream("/v1/inference", {"prompt": "go"}) as listening:
        await listening.tokens(1)
        running.signal(signal.SIGTERM)
        await running.until(lambda health: health.state == "draining")
        running.signal(signal.SIGINT)
        failure, done = (await listening.rest())[-2:]
        assert isinstance(failure, Failure)
        assert (failure.code, done) == ("DRAINING", None)
        assert await running.ended() == 0


@history
async def test_a_drain_has_a_limit(tmp_path: Path) -> None:
    policy = WorkerPolicy(drain_ms_max=20)
    async with worker(tmp_path, HELD % 1, policy=policy) as running:
        async with running.stream("/v1/inference", {"prompt": "go"}) as listening:
            await listening.tokens(1)
            running.signal(signal.SIGTERM)
            failure, done = (await listening.rest())[-2:]
            assert isinstance(failure, Failure)
            assert (failure.code, done) == ("DRAINING", None)
        assert await running.ended() == 0


@history
async def test_each_request_is_one_line_in_the_log_and_nothing_of_what_was_said_is(tmp_path: Path) -> None:
    async with worker(tmp_path, "replies: [{tokens: [secret, words]}]") as running:
        await running.infer("secret", headers={"x-request-id": "of-the-queen"})
        await running.chat("secret", headers={"x-request-id": "of-a-chat"}, stream=True)
        await running.infer("secret", headers={"x-request-id": "not-in-the-script"})
        running.signal(signal.SIGTERM)
        assert await running.ended() == 0
        told = [json.loads(line) for line in running.log().splitlines()]
        lines = {line["request_id"]: line for line in told if line["event"] == "inference"}
        statuses = {name: line["status"] for name, line in lines.items()}
        assert statuses == {"of-the-queen": "ok", "of-a-chat": "ok", "not-in-the-script": "BAD_ENGINE_REPLY"}
        assert lines["of-the-queen"] | {"at": "", "ms": 0} == {
            **{"at": "", "level": "info", "who": "worker w-1", "event": "inference", "request_id": "of-the-queen"},
            **{"model": "tiny", "worker": "w-1", "status": "ok", "tokens": 2, "ms": 0},
        }
        assert "secret" not in running.log() and "/v1/health" not in running.log()


# --- it fails -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "code"), [("{kind: crash, after: 2}", -9), ("{kind: exit, after: 2, code: 0}", 0)])
def test_a_worker_that_dies_tears_its_stream(tmp_path: Path, fault: str, code: int) -> None:
    async def story() -> None:
        async with worker(tmp_path, f"replies: [{{tokens: [a, b, c], fault: {fault}}}]") as running:
            told = await running.infer()
            assert (told.is_torn, told.text) == (True, "ab")
            assert await running.ended() == code

    asyncio.run(story())


@history
async def test_one_that_makes_no_token_answers_and_says_how_long(tmp_path: Path) -> None:
    async with worker(tmp_path, "replies: [{tokens: [a, b], fault: {kind: hang, after: 1}}]") as running:
        async with running.stream("/v1/inference", {"prompt": "go"}) as listening:
            await listening.tokens(1)
            health = await running.until(lambda health: health.stalled_ms >= 20)
            assert (health.state, health.tokens_total) == ("busy", 1)
        assert (await running.until(lambda health: not health.busy)).stalled_ms == 0


@history
async def test_one_that_is_frozen_answers_nothing(tmp_path: Path) -> None:
    script = "replies: [{tokens: [a, b], fault: {kind: freeze, after: 1}}]"
    async with worker(tmp_path, script) as running, running.stream("/v1/inference", {"prompt": "go"}) as listening:
        await listening.tokens(1)
        with pytest.raises(httpx2.ReadTimeout):
            await running.client.get("/v1/health", timeout=0.3)


@history
async def test_what_the_engine_breaks_off_is_no_success(tmp_path: Path) -> None:
    one = "  - match: {0}\n    repeat: true\n    replies: [{{tokens: [a, b, c], fault: {{kind: {0}, after: 2}}}}]\n"
    script = "conversations:\n" + one.format("no_end") + one.format("garbage")
    async with worker(tmp_path, script) as running:
        told = [await running.infer(kind) for kind in ("no_end", "garbage")]
        assert [(each.text, each.failure) for each in told] == [("ab", "BAD_ENGINE_REPLY")] * 2
        ended, garbage = [await running.chat(kind, stream=True) for kind in ("no_end", "garbage")]
        assert b"[DONE]" not in ended.body
        assert b"\xff\xfe" in garbage.body
        assert (await running.health()).busy == 0


@history
async def test_a_fault_may_be_for_one_worker_alone(tmp_path: Path) -> None:
    script = "replies:\n  - {fault: {kind: crash}, once: CRASH}\n  - {text: second}\n"
    tmp_path.joinpath("CRASH").touch()
    async with worker(tmp_path, script) as first:
        assert (await first.infer()).is_torn
        assert await first.ended() == -signal.SIGKILL
    async with worker(tmp_path, script) as second:
        assert (await second.infer()).text == "second"
