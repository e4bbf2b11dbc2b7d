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
          - tokens: [one, " two", " three"]      # the text, cut as it is to be streamed
        repeat: true                     # the last reply is told for ever

A reply may also say `finish` and `usage` {prompt_tokens, completion_tokens}; `usage: false` reports none.

A worker of the fleet can do more (the server for the tests of the kernel refuses it):

    load: {steps: 4, ms: 200, hold: LOAD, fault: fail, message: no such file, once: BROKEN}
    replies:
      - text: so many words
        pace: {first_ms: 50, every_ms: 5}
        hold: GO
        hold_after: 2                    # so many tokens, not before the first
        fault: {kind: crash, after: 3}   # so many tokens
        once: CRASH

`hold: GO` waits for one byte in the FIFO `GO` beside the script. `once: CRASH` is for the one worker that finds the
file `CRASH` beside the script, and removes it: for every other the reply, or the fault of loading, is not there.

| fault | what it is |
|---|---|
| crash | the process kills itself |
| exit | it exits with `code`, 0 where none is given; in `load`: 1 |
| hang | nothing is made any more; health answers |
| freeze | the whole process stands still |
| garbage | what nobody can read |
| no_end | the stream ends as if all were said, without saying so |
| fail | `load` alone: the model cannot be loaded, and why |
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from penstock.documents.document import TEXT_BYTES_MAX, Unreadable, decoded
from penstock.documents.fields import LIST_ITEMS_MAX, Fields, fault_of_text, root_of
from penstock.documents.yaml import read_yaml
from penstock.ports import BadInput, Problem

TEXT_CHARS_MAX = 200_000
CREATED = 1_700_000_000
"""Seconds since 1970: a script has no clock."""
PIECE_CHARS = 12
"""A streamed text comes in pieces of so many characters."""
PLACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
WAIT_MS_MAX = 600_000

FaultKind = Literal["crash", "exit", "hang", "freeze", "garbage", "no_end"]
LoadFault = Literal["crash", "exit", "hang", "freeze", "fail"]


@dataclass(frozen=True)
class ScriptedCall:
    """A tool call. `arguments`: a table, or text that goes as it is."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Pace:
    """The time before the first token, and before each of the others."""

    first_ms: int = 0
    every_ms: int = 0


@dataclass(frozen=True)
class ScriptedFault:
    """What goes wrong after so many tokens. `code`: of `exit`."""

    kind: FaultKind
    after: int = 0
    code: int = 0


@dataclass(frozen=True)
class ScriptedLoad:
    """What happens before the first request can be served. `fault`: in place of its end."""

    steps: int = 1
    ms: int = 0
    hold: str = ""
    fault: LoadFault | None = None
    message: str = ""
    once: str = ""


@dataclass(frozen=True)
class ScriptedReply:
    """One answer to one request. `tokens`: the text in pieces; empty: pieces of `PIECE_CHARS`."""

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
    hold_after: int = 0
    tokens: tuple[str, ...] = ()
    pace: Pace = Pace()
    fault: ScriptedFault | None = None
    once: str = ""

    @property
    def pieces(self) -> tuple[str, ...]:
        """The text as it is streamed."""
        return self.tokens or tuple(_pieces(self.text) if self.text else ())


@dataclass(frozen=True)
class Conversation:
    """Replies in order, for the requests that contain `match`. `repeat`: the last one for ever."""

    replies: tuple[ScriptedReply, ...]
    match: str = ""
    repeat: bool = False

    def reply(self, number: int) -> ScriptedReply | None:
        """The reply to its request `number`, from 0; None: there is none left."""
        if self.repeat and self.replies:
            return self.replies[min(number, len(self.replies) - 1)]
        return self.replies[number] if number < len(self.replies) else None


@dataclass(frozen=True)
class Script:
    """All that a worker plays."""

    conversations: tuple[Conversation, ...]
    load: ScriptedLoad = ScriptedLoad()

    @property
    def holds(self) -> tuple[str, ...]:
        """The names of the FIFOs that it waits for."""
        replies = (reply for conversation in self.conversations for reply in conversation.replies)
        names = (self.load.hold, *(reply.hold for reply in replies))
        return tuple(dict.fromkeys(name for name in names if name))


def load_model_script(path: Path, shown_as: str) -> tuple[Conversation, ...]:
    """The script in a YAML or JSON file. Raises `BadInput` with every problem."""
    return read_model_script(_read(path, shown_as), shown_as)


def load_worker_script(path: Path, shown_as: str) -> Script:
    """As `load_model_script`, with all that a worker can do."""
    return read_worker_script(_read(path, shown_as), shown_as)


def read_model_script(data: bytes, shown_as: str) -> tuple[Conversation, ...]:
    """The script in the file's bytes. Raises `BadInput` with every problem."""
    return _read_script(data, shown_as, is_worker=False).conversations


def read_worker_script(data: bytes, shown_as: str) -> Script:
    """As `read_model_script`, with all that a worker can do."""
    return _read_script(data, shown_as, is_worker=True)


def _read(path: Path, shown_as: str) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(TEXT_BYTES_MAX + 1)
    except OSError as error:
        raise _bad(shown_as, f"cannot be read: {error.strerror}") from None


def _read_script(data: bytes, shown_as: str, *, is_worker: bool) -> Script:
    try:
        root = root_of(read_yaml(decoded(data), shown_as))
    except Unreadable as error:
        raise _bad(shown_as, error.message, error.line, error.fix) from None
    conversations = tuple(_take_conversation(each, is_worker) for each in root.listed("conversations"))
    if root.has("replies") or not conversations:
        repeat = root.flag("repeat", False)
        conversations = (*conversations, Conversation(_take_replies(root, is_worker), repeat=repeat))
    load = _take_load(root.sub("load")) if is_worker else ScriptedLoad()
    root.refuse_unknown()
    if root.reading.problems:
        raise BadInput(sorted(root.reading.problems, key=lambda p: p.line))
    return Script(conversations, load)


def _bad(file: str, message: str, line: int = 0, fix: str = "") -> BadInput:
    return BadInput([Problem(file=file, line=line, field="", message=message, fix=fix)])


def _take_conversation(section: Fields, is_worker: bool) -> Conversation:
    taken = Conversation(
        match=section.text("match"),
        repeat=section.flag("repeat", False),
        replies=_take_replies(section, is_worker),
    )
    section.refuse_unknown()
    return taken


def _take_replies(section: Fields, is_worker: bool) -> tuple[ScriptedReply, ...]:
    replies = []
    for item in section.listed("replies"):
        reply = _take_reply(item)
        replies.append(_take_behaviour(item, reply) if is_worker else reply)
        item.refuse_unknown()
    return tuple(replies)


def _take_reply(item: Fields) -> ScriptedReply:
    headers = item.sub("headers")
    tokens = _take_tokens(item)
    return ScriptedReply(
        text="".join(tokens) or item.text("text", chars_max=TEXT_CHARS_MAX, lines=True),
        tokens=tokens,
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
        hold=item.text("hold", fault=_fault_of_place),
    )


def _take_tokens(item: Fields) -> tuple[str, ...]:
    told = item.raw("tokens")
    if told is None:
        return ()
    if not isinstance(told, list) or not 0 < len(told) <= LIST_ITEMS_MAX:
        item.refuse("tokens", f"must be a list of 1 to {LIST_ITEMS_MAX:,} texts", "write tokens: [a, b]")
        return ()
    for index, token in enumerate(told):
        if wrong := fault_of_text(token, TEXT_CHARS_MAX, True):
            item.refuse("tokens", *wrong, index=index)
    if item.has("text"):
        item.refuse("text", "is said twice, here and in tokens", "remove one")
    item.text("text", chars_max=TEXT_CHARS_MAX, lines=True)
    return tuple(token for token in told if isinstance(token, str))


def _take_behaviour(item: Fields, reply: ScriptedReply) -> ScriptedReply:
    pace = item.sub("pace")
    taken = replace(
        reply,
        pace=Pace(pace.whole("first_ms", 0, 0, WAIT_MS_MAX), pace.whole("every_ms", 0, 0, WAIT_MS_MAX)),
        hold_after=item.whole("hold_after", 0),
        fault=_take_fault(item.sub("fault")) if item.has("fault") else None,
        once=item.text("once", fault=_fault_of_place),
    )
    pace.refuse_unknown()
    return taken


def _take_fault(section: Fields) -> ScriptedFault | None:
    kind = section.choice_or_none("kind", get_args(FaultKind))
    if not section.has("kind"):
        section.refuse("kind", "is missing", f"choose one of {', '.join(get_args(FaultKind))}")
    after, code = section.whole("after", 0), section.whole("code", 0, 0, 255)
    section.refuse_unknown()
    return ScriptedFault(kind, after, code) if kind else None


def _take_load(section: Fields) -> ScriptedLoad:
    load = ScriptedLoad(
        steps=section.whole("steps", 1, 1, 1_000),
        ms=section.whole("ms", 0, 0, WAIT_MS_MAX),
        hold=section.text("hold", fault=_fault_of_place),
        fault=section.choice_or_none("fault", get_args(LoadFault)),
        message=section.text("message"),
        once=section.text("once", fault=_fault_of_place),
    )
    section.refuse_unknown()
    return load


def _fault_of_place(name: str) -> tuple[str, str] | None:
    return None if not name or PLACE.fullmatch(name) else ("is no name of a file beside the script", "write GO")


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
    told |= {"created": CREATED, "choices": [choice]}
    return msgspec.json.encode({**told, "usage": _usage(reply)} if reply.usage else told)


def events_of(reply: ScriptedReply, number: int, model: str, *, with_usage: bool) -> list[bytes]:
    """The server-sent events that answer a request with `stream`."""
    head = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": CREATED, "model": model}
    parts = [*((delta, None) for delta in _deltas(message_of(reply, number), reply.tokens)), ({}, _finish(reply))]
    chunks: list[dict[str, Any]] = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} for delta, finish in parts
    ]
    if with_usage and reply.usage:
        chunks.append({**head, "choices": [], "usage": _usage(reply)})
    return [*(b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks), b"data: [DONE]\n\n"]


def _usage(reply: ScriptedReply) -> dict[str, int]:
    assert reply.usage is not None
    return {**reply.usage, "total_tokens": sum(reply.usage.values())}


def _finish(reply: ScriptedReply) -> str:
    return reply.finish or ("tool_calls" if reply.calls else "stop")


def _deltas(message: dict[str, Any], tokens: tuple[str, ...]) -> list[dict[str, Any]]:
    """The message in small pieces, in the order in which models come up with them."""
    rest = dict(message)
    deltas: list[dict[str, Any]] = [{"role": rest.pop("role")}]
    texts = {name: rest.pop(name) for name in ("reasoning_content", "reasoning", "content") if name in rest}
    calls = rest.pop("tool_calls", [])
    pieces = {name: _pieces(text) for name, text in texts.items()}
    if tokens:
        pieces["content"] = list(tokens)
    deltas += [{name: piece} for name in texts for piece in pieces[name]]
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
