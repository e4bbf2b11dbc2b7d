"""Clients that others have written, as they are, against a queen, a hive and a worker as they are: OpenAI's own client
for Python, and curl. (OpenAI's client had a command of its own until its version 2.)
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.fleet.command import PATIENCE_S, left_in, program, traceless, until
from tests.fleet.hives import release
from tests.fleet.openai_fleet import MODEL, Fleet, fleet

TOKEN = "sesame-0123456789"
HELLO = "Grüezi, wie gaht's? 🙂"
CITY = '{"city":"Zürich","unit":"celsius"}'
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture(scope="module")
def open_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    home = tmp_path_factory.mktemp("open")
    with fleet(home) as running:
        yield running
    traceless(home)
    assert left_in(home) == []


@pytest.fixture(scope="module")
def closed_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """With a token, and where one request may wait."""
    home = tmp_path_factory.mktemp("closed")
    with fleet(home, "--queue-max", "1", token=TOKEN) as running:
        yield running
    traceless(home)


def client_of(fleet: Fleet, retries: int = 0, key: str = "") -> OpenAI:
    return OpenAI(
        base_url=fleet.base_url, api_key=key or fleet.token or "none", max_retries=retries, timeout=PATIENCE_S
    )


@pytest.fixture
def client(open_fleet: Fleet) -> Iterator[OpenAI]:
    with client_of(open_fleet) as made:
        yield made


def said(text: str) -> Any:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]


# --- what is asked for, and comes ------------------------------------------------------------------------------------


def test_the_models_are_listed_and_found_by_name(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert (client.models.retrieve(MODEL).id, client.models.retrieve(MODEL).object) == (MODEL, "model")


def test_a_chat_is_answered_whole(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=said("Hello"))
    assert answer.choices[0].message.content == HELLO
    assert (answer.choices[0].finish_reason, answer.model) == ("stop", MODEL)
    assert answer.usage is not None and answer.usage.completion_tokens == 9
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 9 and answer.created > 0


def test_a_chat_is_streamed_token_by_token(client: OpenAI) -> None:
    with client.chat.completions.create(model=MODEL, messages=said("Hello"), stream=True) as stream:
        chunks = list(stream)
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    assert texts == ["Grüezi", ", ", "wie ", "gaht's", "? 🙂"]
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_comes_last_where_it_was_asked_for(client: OpenAI) -> None:
    options: Any = {"include_usage": True}
    stream = client.chat.completions.create(model=MODEL, messages=said("Hello"), stream=True, stream_options=options)
    *before, last = list(stream)
    assert (last.choices, [chunk for chunk in before if chunk.usage]) == ([], [])
    assert last.usage is not None and last.usage.completion_tokens == 9


def test_tool_calls_and_reasoning_come_as_the_engine_made_them(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=said("WEATHER"), tools=TOOLS)
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls is not None
    assert [call.function.name for call in message.tool_calls if call.type == "function"] == ["weather", "clock"]
    assert next(call.function.arguments for call in message.tool_calls if call.type == "function") == CITY
    assert message.model_extra is not None
    assert message.model_extra["reasoning_content"] == "They want the weather, I have a tool for that."
    assert message.model_extra["reasoning_details"] == [{"type": "reasoning.text", "text": "hm 🙂", "index": 0}]


def test_the_clients_own_accumulator_makes_the_same_of_a_stream(client: OpenAI) -> None:
    asked: Any = {"model": MODEL, "messages": said("WEATHER"), "tools": TOOLS}
    reasoning = ""
    with client.chat.completions.stream(**asked) as stream:
        for event in stream:
            if event.type == "chunk" and event.chunk.choices:
                reasoning += (event.chunk.choices[0].delta.model_extra or {}).get("reasoning_content", "")
        message = stream.get_final_completion().choices[0].message
    assert message.content == "I look."
    assert message.tool_calls is not None
    assert [call.function.name for call in message.tool_calls] == ["weather", "clock"]
    assert message.tool_calls[0].function.arguments == CITY
    assert reasoning == "They want the weather, I have a tool for that."


async def _many(base_url: str, count: int) -> list[str | None]:
    async with AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=PATIENCE_S) as client:
        asking = [client.chat.completions.create(model=MODEL, messages=said(f"Hello {n}")) for n in range(count)]
        return [answer.choices[0].message.content for answer in await asyncio.gather(*asking)]


def test_many_at_once_wait_in_turn_and_are_all_answered(open_fleet: Fleet) -> None:
    assert asyncio.run(_many(open_fleet.base_url, 24)) == [HELLO] * 24


# --- what is not served ----------------------------------------------------------------------------------------------


def test_a_model_that_nobody_has_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as told:
        client.chat.completions.create(model="nobody", messages=said("Hello"))
    assert told.value.code == "MODEL_NOT_FOUND"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_what_is_no_request_is_a_bad_one(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as told:
        client.chat.completions.create(model=MODEL, messages=[])
    assert told.value.code == "INVALID_REQUEST"


def test_what_the_engine_refuses_is_told_in_its_words(client: OpenAI) -> None:
    for is_stream in (False, True):
        with pytest.raises(openai.BadRequestError) as told:
            client.chat.completions.create(model=MODEL, messages=said("BROKEN"), stream=is_stream)
        assert (told.value.code, told.value.type) == ("bad_tool", "invalid_request_error")
        assert told.value.body == {"message": "no such tool", "code": "bad_tool", "type": "invalid_request_error"}


def test_an_engine_that_is_busy_is_asked_again_by_the_client_itself(open_fleet: Fleet) -> None:
    with client_of(open_fleet, retries=1) as client:
        answer = client.chat.completions.create(model=MODEL, messages=said("BUSY"))
    assert answer.choices[0].message.content == "Now I have time."


def test_a_wrong_token_is_no_way_in(closed_fleet: Fleet) -> None:
    with client_of(closed_fleet, key="sesame-0123456788") as client, pytest.raises(openai.AuthenticationError) as told:
        client.models.list()
    assert told.value.code == "INVALID_TOKEN"
    with client_of(closed_fleet) as client:
        assert [model.id for model in client.models.list()] == [MODEL]


def test_where_the_queue_is_full_the_client_waits_as_long_as_it_is_told(closed_fleet: Fleet) -> None:
    with client_of(closed_fleet) as client, client_of(closed_fleet, retries=5) as patient:
        holding = [client.chat.completions.create(model=MODEL, messages=said("HOLD"), stream=True)]
        assert closed_fleet.busy() == 1
        waiting = _asked_beside(client)
        until(lambda: closed_fleet.waiting() == 1)
        with pytest.raises(openai.RateLimitError) as told:
            client.chat.completions.create(model=MODEL, messages=said("Hello"))
        assert (told.value.code, told.value.status_code) == ("QUEUE_FULL", 429)
        assert int(told.value.response.headers["retry-after"]) >= 1
        before = closed_fleet.refused()
        asked_again = _asked_beside(patient)
        until(lambda: closed_fleet.refused() > before)
        release(closed_fleet.hold)
        assert [len(list(stream)) for stream in holding] == [5]
        assert [each.answer() for each in (waiting, asked_again)] == [HELLO, HELLO]


class _Beside(threading.Thread):
    """A request, asked in a thread of its own."""

    def __init__(self, client: OpenAI) -> None:
        super().__init__(daemon=True)
        self._client, self._told = client, ""
        self.start()

    def run(self) -> None:
        answer = self._client.chat.completions.create(model=MODEL, messages=said("Hello"))
        self._told = str(answer.choices[0].message.content)

    def answer(self) -> str:
        self.join(PATIENCE_S)
        return self._told


def _asked_beside(client: OpenAI) -> _Beside:
    return _Beside(client)


# --- who leaves ------------------------------------------------------------------------------------------------------


def test_a_stream_that_is_closed_frees_the_engine(open_fleet: Fleet, client: OpenAI) -> None:
    with client.chat.completions.create(model=MODEL, messages=said("HOLD"), stream=True) as stream:
        texts = (chunk.choices[0].delta.content for chunk in stream)
        assert [text for text in (next(texts), next(texts), next(texts)) if text] == ["one", " two"]
        assert open_fleet.busy() == 1
    until(lambda: open_fleet.busy() == 0)
    assert client.chat.completions.create(model=MODEL, messages=said("Hello")).choices[0].message.content == HELLO


def test_a_client_that_gives_up_waiting_frees_the_engine(open_fleet: Fleet, client: OpenAI) -> None:
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model=MODEL, messages=said("HOLD"), timeout=0.5)
    until(lambda: open_fleet.busy() == 0)


# --- curl, and the bytes themselves ----------------------------------------------------------------------------------


def curl(url: str, *words: str) -> bytes:
    return subprocess.run(["curl", "-sS", "-N", "--noproxy", "*", *words, url], check=True, capture_output=True).stdout


def posted(base: str, body: bytes, *words: str) -> bytes:
    sent = ("-H", "content-type: application/json", "--data-binary", "@-", *words)
    command = ["curl", "-sS", "-N", "--noproxy", "*", *sent, f"{base}/v1/chat/completions"]
    return subprocess.run(command, input=body, check=True, capture_output=True).stdout


def test_curl_gets_models_and_a_stream(open_fleet: Fleet) -> None:
    assert [model["id"] for model in json.loads(curl(f"{open_fleet.base_url}/models"))["data"]] == [MODEL]
    body = json.dumps({"model": MODEL, "messages": said("Hello"), "stream": True}).encode()
    assert posted(open_fleet.queen.url, body).endswith(b"data: [DONE]\n\n")
    told = posted(open_fleet.queen.url, b"{", "-w", "\n%{http_code} %{content_type}").splitlines()
    assert json.loads(told[0])["error"]["code"] == "INVALID_JSON"
    assert told[1] == b"400 application/json"


BODIES = [
    {"model": MODEL, "messages": said(text), **more}
    for text in ("Hello", "WEATHER", "BROKEN", "BUSY", "BUSY", "BUSY")
    for more in ({}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}})
]


def _answers(base: str) -> list[tuple[int, str | None, str | None, bytes]]:
    told = []
    with httpx2.Client(base_url=base, timeout=PATIENCE_S, trust_env=False) as client:
        for body in BODIES:
            came = client.post("/v1/chat/completions", json=body)
            shown = came.headers.get("content-type"), came.headers.get("retry-after")
            told.append((came.status_code, *shown, came.content))
    return told


def test_the_queen_passes_on_what_the_worker_says_byte_for_byte(tmp_path: Path) -> None:
    """The same requests in the same order, of a worker that nobody stands before, and of one behind a queen."""
    with fleet(tmp_path) as behind, program(tmp_path, "worker", "--model", MODEL) as alone:
        until(lambda: httpx2.get(f"{alone.url}/v1/ready", trust_env=False).json()["ready"])
        direct, through = _answers(alone.url), _answers(behind.queen.url)
    assert {status for status, *_ in direct} == {200, 400, 429}
    for body, ours, theirs in zip(BODIES, through, direct, strict=True):
        assert ours == theirs, body
