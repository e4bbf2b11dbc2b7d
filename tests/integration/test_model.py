"""The chat completions client against a real server: what comes back, what failures are, and what is never told."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from penstock.kernel.model import Failed, Reply, Request, read_completion, user
from penstock.kernel.model_openai import OpenAiLimits, OpenAiModel
from penstock.kernel.model_scripted import ScriptedModel
from penstock.kernel.model_stream import Assembly
from penstock.model_script import Conversation, ScriptedCall, ScriptedReply, read_model_script
from penstock.ports import BadInput

T = TypeVar("T")
QUICK = OpenAiLimits(backoff_base_ms=1)
KEY = "sk-very-secret"
THOUGHT = {
    "reasoning_details": [
        {"type": "reasoning.text", "text": "hm, é", "index": 0, "signature": "c2ln"},
        {"type": "reasoning.encrypted", "data": "QUJD", "index": 1},
    ],
    "reasoning": "hm, é",
    "extra_content": {"google": {"thought_signature": "xyz"}},
    "a_field_of_tomorrow": [1, {"deep": None}],
}


def run(main: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(main)


def scripted(*replies: ScriptedReply) -> ScriptedModel:
    return ScriptedModel([Conversation(replies)])


def asking(*texts: str) -> Request:
    return Request(model="small", messages=tuple(map(user, texts or ("hello",))))


def client_of(server: ScriptedModel, limits: OpenAiLimits = QUICK) -> OpenAiModel:
    return OpenAiModel(server.base_url, "MODEL_KEY", env={"MODEL_KEY": KEY}, limits=limits)


async def ask(server: ScriptedModel, limits: OpenAiLimits = QUICK) -> Reply | Failed:
    async with server:
        model = client_of(server, limits)
        try:
            return await model.complete(asking())
        finally:
            await model.close()


def failed(*replies: ScriptedReply, limits: OpenAiLimits = QUICK) -> Failed:
    seen = run(ask(scripted(*replies), limits))
    assert isinstance(seen, Failed), seen
    return seen


# --- what comes back ------------------------------------------------------------------------------------------------


def test_a_streamed_reply_is_put_together() -> None:
    calls = (ScriptedCall("read_file", '{"path": "a/long/enough/name.py"}'), ScriptedCall("end_turn", ""))
    server = scripted(ScriptedReply(text="I read it now, all of it.", reasoning="Where is it? Ah, é.", calls=calls))
    reply = run(ask(server))
    assert isinstance(reply, Reply)
    assert (reply.text, reply.reasoning) == ("I read it now, all of it.", "Where is it? Ah, é.")
    assert [(c.id, c.name, c.arguments) for c in reply.calls] == [
        ("call_1_0", "read_file", '{"path": "a/long/enough/name.py"}'),
        ("call_1_1", "end_turn", ""),
    ]
    assert (reply.finish, reply.tokens) == ("tool_calls", 110)
    asked = server.asked[0]
    assert asked.told["stream"] is True
    assert asked.told["stream_options"] == {"include_usage": True}
    assert asked.headers["authorization"] == f"Bearer {KEY}"


def test_a_message_goes_back_byte_for_byte() -> None:
    body = (
        b'{"choices": [{"message": {"role":"assistant",  "content": null, "reasoning_content":"\\u00e9 1e2", '
        b'"tool_calls": [{"id":"c1","type":"function","function":{"name":"f","arguments":"{\\"a\\":1}"}}], '
        b'"reasoning_details": [{"z": 1.00, "a": 1e2}], "audio": null}, "finish_reason": "tool_calls"}]}'
    )
    reply = read_completion(body)
    assert isinstance(reply, Reply)
    assert bytes(reply.message) in body
    server = scripted(ScriptedReply(text="well"))

    async def send_back() -> None:
        async with server:
            model = client_of(server)
            await model.complete(Request(model="small", messages=(user("go"), reply.message)))
            await model.close()

    run(send_back())
    assert bytes(reply.message) in server.asked[0].body


def test_reasoning_and_unknown_fields_of_a_stream_are_all_kept() -> None:
    reply = run(ask(scripted(ScriptedReply(text="so", reasoning="a thought of more pieces", message=THOUGHT))))
    assert isinstance(reply, Reply)
    message = msgspec.json.decode(reply.message)
    expected = {"role": "assistant", "content": "so", "reasoning_content": "a thought of more pieces", **THOUGHT}
    assert message == expected


def test_pieces_of_reasoning_details_are_joined_by_index_and_type() -> None:
    assembly = Assembly()
    for detail in (
        {"type": "reasoning.text", "text": "a ", "index": 0, "signature": None},
        {"type": "reasoning.text", "text": "b", "index": 0},
        {"type": "reasoning.text", "signature": "s1", "index": 0},
        {"type": "reasoning.encrypted", "data": "x", "index": 0},
    ):
        assert (
            assembly.add(msgspec.json.encode({"choices": [{"delta": {"reasoning_details": [detail]}}]}).decode())
            is None
        )
    reply = assembly.reply()
    assert isinstance(reply, Reply)
    assert msgspec.json.decode(reply.message)["reasoning_details"] == [
        {"type": "reasoning.text", "text": "a b", "index": 0, "signature": "s1"},
        {"type": "reasoning.encrypted", "data": "x", "index": 0},
    ]


def test_calls_that_are_all_numbered_0_are_told_apart_by_their_ids() -> None:
    assembly = Assembly()
    for name in ("f", "g"):
        call = {"index": 0, "id": f"id-{name}", "function": {"name": name, "arguments": "{"}}
        rest = {"index": 0, "function": {"arguments": "}"}}
        for piece in (call, rest):
            assembly.add(msgspec.json.encode({"choices": [{"delta": {"tool_calls": [piece]}}]}).decode())
    reply = assembly.reply()
    assert isinstance(reply, Reply)
    assert [(call.name, call.arguments) for call in reply.calls] == [("f", "{}"), ("g", "{}")]


def test_who_takes_no_stream_is_asked_without_and_remembered() -> None:
    no = ScriptedReply(status=400, error={"message": "unknown parameter", "param": "stream_options"})
    never = ScriptedReply(status=400, error={"message": "stream is not supported"})
    server = scripted(no, never, ScriptedReply(text="at once"), ScriptedReply(text="again"))

    async def ask_twice() -> list[Reply | Failed]:
        async with server:
            model = client_of(server)
            seen = [await model.complete(asking()), await model.complete(asking())]
            await model.close()
            return seen

    texts = [seen.text for seen in run(ask_twice()) if isinstance(seen, Reply)]
    assert texts == ["at once", "again"]
    assert ["stream" in asked.told for asked in server.asked] == [True, True, False, False]


def test_usage_that_nobody_reported_is_unknown() -> None:
    reply = run(ask(scripted(ScriptedReply(text="x", usage=None))))
    assert isinstance(reply, Reply)
    assert reply.tokens is None


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_after_429_it_is_asked_again_no_earlier_than_the_provider_says() -> None:
    server = scripted(ScriptedReply(status=429, headers={"retry-after-ms": "60"}), ScriptedReply(text="now"))
    quiet: list[int] = []

    async def ask_and_listen() -> Reply | Failed:
        async with server:
            model = client_of(server)
            seen = await model.complete(asking(), quiet.append)
            await model.close()
            return seen

    reply = run(ask_and_listen())
    assert isinstance(reply, Reply)
    assert reply.text == "now"
    assert max(quiet) == 60


def test_a_long_wait_is_the_callers() -> None:
    seen = failed(ScriptedReply(status=429, headers={"retry-after": "120"}, error={"message": "slow down"}))
    assert (seen.kind, seen.retry_after_ms) == ("rate_limited", 120_000)
    assert seen.report().outcome == "provider_transient"
    assert seen.report().retry_after_ms == 120_000


@pytest.mark.parametrize(
    ("status", "error", "kind", "outcome"),
    [
        (401, {"message": f"wrong key {KEY}"}, "auth", "provider_terminal"),
        (403, {"message": "no"}, "auth", "provider_terminal"),
        (402, {"message": "pay"}, "quota", "provider_terminal"),
        (429, {"message": "no", "code": "insufficient_quota"}, "quota", "provider_terminal"),
        (404, {"message": "no such model"}, "no_model", "provider_terminal"),
        (400, {"message": "too big", "code": "context_length_exceeded"}, "context_length", "crashed"),
        (400, {"message": "This model's maximum context length is 8 tokens"}, "context_length", "crashed"),
        (422, {"message": "what?"}, "bad_request", "crashed"),
        (302, {}, "bad_request", "crashed"),
    ],
)
def test_what_another_try_cannot_mend_is_told_at_once(
    status: int, error: dict[str, Any], kind: str, outcome: str
) -> None:
    server = scripted(ScriptedReply(status=status, error=error))
    seen = run(ask(server))
    assert isinstance(seen, Failed)
    assert (seen.kind, seen.report().outcome) == (kind, outcome)
    assert len(server.asked) == 1
    assert KEY not in seen.message


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (ScriptedReply(status=500), "server"),
        (ScriptedReply(status=529), "server"),
        (ScriptedReply(malformed="{"), "bad_reply"),
        (ScriptedReply(malformed='{"choices": []}'), "bad_reply"),
        (ScriptedReply(malformed='{"error": {"message": "busy", "code": 503}}'), "server"),
        (ScriptedReply(text="never whole", cut=2), "network"),
    ],
)
def test_what_another_try_may_mend_is_tried_so_often_and_no_more(reply: ScriptedReply, kind: str) -> None:
    server = scripted(*[reply] * 9)
    seen = run(ask(server))
    assert isinstance(seen, Failed)
    assert seen.kind == kind
    assert len(server.asked) == QUICK.tries_max


def test_a_stream_that_was_cut_is_asked_for_anew() -> None:
    server = scripted(ScriptedReply(text="never whole", cut=2), ScriptedReply(text="whole"))
    reply = run(ask(server))
    assert isinstance(reply, Reply)
    assert reply.text == "whole"


def test_nobody_there_is_a_failure_of_the_network() -> None:
    async def ask_nobody() -> Reply | Failed:
        async with scripted() as server:
            base_url = server.base_url
        model = OpenAiModel(base_url, limits=OpenAiLimits(tries_max=2, backoff_base_ms=1))
        seen = await model.complete(asking())
        await model.close()
        return seen

    seen = run(ask_nobody())
    assert isinstance(seen, Failed)
    assert (seen.kind, seen.report().outcome) == ("network", "provider_transient")


@pytest.mark.parametrize("malformed", [None, '{"x": "' + "y" * 3_000 + '"}'])
def test_a_reply_over_its_cap_is_not_taken(malformed: str | None) -> None:
    huge = ScriptedReply(text="y" * 3_000, malformed=malformed)
    seen = failed(huge, limits=OpenAiLimits(tries_max=1, reply_bytes_max=2_000))
    assert seen.kind in ("bad_reply", "network")


@pytest.mark.parametrize("value", [None, "", "  ", "two\nlines", "schlüssel"])
def test_without_a_key_nothing_is_asked(value: str | None) -> None:
    server = scripted(ScriptedReply(text="never"))

    async def ask_without() -> Reply | Failed:
        async with server:
            env = {} if value is None else {"MODEL_KEY": value}
            model = OpenAiModel(server.base_url, "MODEL_KEY", env=env)
            return await model.complete(asking())

    seen = run(ask_without())
    assert isinstance(seen, Failed)
    assert seen.kind == "auth"
    assert "MODEL_KEY" in seen.message
    assert not value or not value.strip() or value not in seen.message
    assert server.asked == []


def test_cancelling_closes_the_connection() -> None:
    server = scripted(ScriptedReply(text="never", hold="FOREVER"))

    async def cancel() -> None:
        async with server:
            model = client_of(server)
            asked = asyncio.create_task(model.complete(asking()))
            await server.until(asked=1)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            await server.until(hung_up=1)
            await model.close()

    run(cancel())
    assert server.hung_up == 1


# --- the scripted model itself --------------------------------------------------------------------------------------

SCRIPT = """
conversations:
  - match: TALLY-7
    replies:
      - text: the test first
        tool_calls:
          - {name: write_file, arguments: {path: tests/test_a.py, content: "x"}}
          - {name: claim, arguments: '{"test": '}
  - replies:
      - {text: other, usage: false}
"""


def test_a_script_is_read_and_picks_its_conversation() -> None:
    server = ScriptedModel(read_model_script(SCRIPT.encode(), "script.yaml"))

    async def ask_both() -> list[Reply | Failed]:
        async with server:
            model = client_of(server)
            seen = [await model.complete(asking(text)) for text in ("Ticket TALLY-7", "another", "another")]
            await model.close()
            return seen

    first, second, third = run(ask_both())
    assert isinstance(first, Reply)
    assert [call.arguments for call in first.calls] == ['{"path":"tests/test_a.py","content":"x"}', '{"test": ']
    assert isinstance(second, Reply)
    assert (second.text, second.tokens) == ("other", None)
    assert isinstance(third, Failed)
    assert "no reply left" in third.message


def test_a_wrong_script_says_where() -> None:
    with pytest.raises(BadInput, match=r"script.yaml:3: .*unknown key \"texd\""):
        read_model_script(b"replies:\n  - text: a\n  - texd: b\n", "script.yaml")


def test_as_a_program_it_prints_its_address_first(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('{"replies": [{"text": "from afar", "hold": "GO"}]}')

    async def ask_program() -> Reply | Failed:
        argv = (sys.executable, "-m", "penstock.kernel.model_scripted", str(script))
        program = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        try:
            assert program.stdout is not None
            base_url = (await program.stdout.readline()).decode().strip()
            host, port = base_url.removeprefix("http://").removesuffix("/v1").split(":")
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"POST /release/GO HTTP/1.1\r\n\r\n")
            await writer.drain()
            writer.close()
            model = OpenAiModel(base_url, limits=QUICK)
            seen = await model.complete(asking())
            await model.close()
            return seen
        finally:
            program.terminate()
            await program.wait()

    reply = run(ask_program())
    assert isinstance(reply, Reply)
    assert reply.text == "from afar"
