"""The script of a scripted model: what it answers, request by request.

    conversations:                       # or `replies` alone: one conversation
      - match: TALLY-7                   # text in the request; the first that matches is taken, none matches all
        replies:
          - text: I write the test first.
            reasoning_content: A test, then the code.
            tool_calls:
              - name: write_file
                arguments: {path: tests/test_a.py, content: "..."}
              - name: claim
                arguments: '{"test": '   # text goes as it is: this one is malformed
          - status: 429
            headers: {retry-after: "0"}
            error: {message: slow down, code: rate_limit_exceeded}
          - text: never whole
            cut: 2                       # the stream ends after so many events; not streamed: after half of the body
          - malformed: "{"               # the body, as it is, with status 200
          - hold: GO                     # before it answers it waits until GO is released
            message: {reasoning_details: [{type: reasoning.text, text: hm, index: 0}]}   # more fields, as they are

A reply may also say `finish` and `usage` {prompt_tokens, completion_tokens}; `usage: false` reports none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from penstock.documents.document import TEXT_BYTES_MAX, Unreadable, decoded
from penstock.documents.fields import Fields, root_of
from penstock.documents.yaml import read_yaml
from penstock.ports import BadInput, Problem

TEXT_CHARS_MAX = 200_000
PIECE_CHARS = 12
"""A streamed text comes in pieces of so many characters."""


@dataclass(frozen=True)
class ScriptedCall:
    """A tool call. `arguments`: a table, or text that goes as it is."""

    name: str
    arguments: str


@dataclass(frozen=True)
class ScriptedReply:
    """One answer to one request."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[ScriptedCall, ...] = ()
    message: dict[str, Any] = field(default_factory=dict)
    finish: str = ""
    usage: dict[str, int] | None = field(default_factory=lambda: {"prompt_tokens": 100, "completion_tokens": 10})
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)
    malformed: str | None = None
    cut: int | None = None
    hold: str = ""


@dataclass(frozen=True)
class Conversation:
    """Replies in order, for the requests that contain `match`."""

    replies: tuple[ScriptedReply, ...]
    match: str = ""


def load_model_script(path: Path, shown_as: str) -> tuple[Conversation, ...]:
    """The script in a YAML or JSON file. Raises `BadInput` with every problem."""
    try:
        with path.open("rb") as stream:
            data = stream.read(TEXT_BYTES_MAX + 1)
    except OSError as error:
        raise _bad(shown_as, f"cannot be read: {error.strerror}") from None
    return read_model_script(data, shown_as)


def read_model_script(data: bytes, shown_as: str) -> tuple[Conversation, ...]:
    """The script in the file's bytes. Raises `BadInput` with every problem."""
    try:
        root = root_of(read_yaml(decoded(data), shown_as))
    except Unreadable as error:
        raise _bad(shown_as, error.message, error.line, error.fix) from None
    conversations = tuple(map(_take_conversation, root.listed("conversations")))
    if root.has("replies") or not conversations:
        conversations = (*conversations, Conversation(_take_replies(root)))
    root.refuse_unknown()
    if root.reading.problems:
        raise BadInput(sorted(root.reading.problems, key=lambda p: p.line))
    return conversations


def _bad(file: str, message: str, line: int = 0, fix: str = "") -> BadInput:
    return BadInput([Problem(file=file, line=line, field="", message=message, fix=fix)])


def _take_conversation(section: Fields) -> Conversation:
    taken = Conversation(match=section.text("match"), replies=_take_replies(section))
    section.refuse_unknown()
    return taken


def _take_replies(section: Fields) -> tuple[ScriptedReply, ...]:
    return tuple(map(_take_reply, section.listed("replies")))


def _take_reply(item: Fields) -> ScriptedReply:
    headers = item.sub("headers")
    reply = ScriptedReply(
        text=item.text("text", chars_max=TEXT_CHARS_MAX, lines=True),
        reasoning=item.text("reasoning_content", chars_max=TEXT_CHARS_MAX, lines=True),
        calls=tuple(map(_take_call, item.listed("tool_calls"))),
        message=dict(item.sub("message").table),
        finish=item.text("finish"),
        usage=_take_usage(item),
        status=item.whole("status", 200, 200, 599),
        headers={name: headers.text(name) for name in headers.table},
        error=dict(item.sub("error").table),
        malformed=item.text("malformed", chars_max=TEXT_CHARS_MAX, lines=True) if item.has("malformed") else None,
        cut=item.whole_or_none("cut"),
        hold=item.text("hold"),
    )
    item.refuse_unknown()
    return reply


def _take_call(item: Fields) -> ScriptedCall:
    name = item.text("name", needed="name a tool")
    written = item.raw("arguments")
    item.refuse_unknown()
    if isinstance(written, str):
        return ScriptedCall(name, written)
    return ScriptedCall(name, msgspec.json.encode(written or {}).decode())


def _take_usage(item: Fields) -> dict[str, int] | None:
    if item.raw("usage") is False:
        return None
    section = item.sub("usage")
    usage = {
        "prompt_tokens": section.whole("prompt_tokens", 100),
        "completion_tokens": section.whole("completion_tokens", 10),
    }
    section.refuse_unknown()
    return usage


# --- on the wire ----------------------------------------------------------------------------------------------------


def message_of(reply: ScriptedReply, number: int) -> dict[str, Any]:
    """The assistant message of the reply, whole. `number` makes the ids of its calls its own."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.calls:
        message["tool_calls"] = [
            {"id": f"call_{number}_{n}", "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for n, c in enumerate(reply.calls)
        ]
    return {**message, **reply.message}


def completion_of(reply: ScriptedReply, number: int, model: str) -> bytes:
    """The body that answers a request without `stream`."""
    choice = {"index": 0, "message": message_of(reply, number), "finish_reason": _finish(reply)}
    told: dict[str, Any] = {"id": f"chatcmpl-{number}", "object": "chat.completion", "model": model}
    told["choices"] = [choice]
    return msgspec.json.encode({**told, "usage": reply.usage} if reply.usage else told)


def events_of(reply: ScriptedReply, number: int, model: str, *, with_usage: bool) -> list[bytes]:
    """The server-sent events that answer a request with `stream`."""
    head = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "model": model}
    parts = [*((delta, None) for delta in _deltas(message_of(reply, number))), ({}, _finish(reply))]
    chunks: list[dict[str, Any]] = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} for delta, finish in parts
    ]
    if with_usage and reply.usage:
        chunks.append({**head, "choices": [], "usage": reply.usage})
    return [*(b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks), b"data: [DONE]\n\n"]


def _finish(reply: ScriptedReply) -> str:
    return reply.finish or ("tool_calls" if reply.calls else "stop")


def _deltas(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The message in small pieces, in the order in which models come up with them."""
    rest = dict(message)
    deltas: list[dict[str, Any]] = [{"role": rest.pop("role")}]
    texts = {name: rest.pop(name) for name in ("reasoning_content", "reasoning", "content") if name in rest}
    calls = rest.pop("tool_calls", [])
    deltas += [{name: piece} for name, text in texts.items() for piece in _pieces(text)]
    deltas += [{name: value} for name, value in rest.items()]
    for index, call in enumerate(calls):
        function = call["function"]
        deltas.append({"tool_calls": [{**call, "index": index, "function": {**function, "arguments": ""}}]})
        for piece in _pieces(function["arguments"]):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    return deltas


def _pieces(text: Any) -> list[Any]:
    if not isinstance(text, str):
        return [text]
    return [text[at : at + PIECE_CHARS] for at in range(0, len(text), PIECE_CHARS)] or [""]
