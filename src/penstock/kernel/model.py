"""The port to a language model, in the schema of chat completions, and what may come back from it.

A message is kept as the bytes that it was sent or received as. What a model said goes back to it unchanged, with
`reasoning_content`, `reasoning`, `reasoning_details`, signatures and whatever else its provider put there: models that
think between tool calls refuse, or forget, when any of it is lost. It also keeps the prefix that providers cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec

from penstock.ports import AgentReport

Message = msgspec.Raw
"""One message of a conversation: JSON that nobody writes anew."""
Heard = Callable[[int], None]
"""Called when a model is heard of; with the milliseconds of silence that are to be expected next, if any."""


class Call(msgspec.Struct, frozen=True):
    """A tool call. `arguments` is what the model wrote: text that should be JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Reply:
    """What a model said once. `message` is to be sent back as it is."""

    message: Message
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: tuple[Call, ...] = ()
    finish: str = ""
    """`stop`, `tool_calls`, `length` (cut off at its limit), `content_filter`, or the provider's own word."""
    tokens: int | None = None
    """Prompt and completion; None where nothing was reported."""


FailedKind = Literal[
    "rate_limited", "server", "network", "auth", "quota", "no_model", "bad_request", "context_length", "bad_reply"
]
REPORTED: dict[FailedKind, Literal["provider_transient", "provider_terminal", "crashed"]] = {
    "rate_limited": "provider_transient",
    "server": "provider_transient",
    "network": "provider_transient",
    "auth": "provider_terminal",
    "quota": "provider_terminal",
    "no_model": "provider_terminal",
    "bad_request": "crashed",
    "context_length": "crashed",
    "bad_reply": "crashed",
}
"""The outcome of a turn that ends with such a failure."""


@dataclass(frozen=True)
class Failed:
    """No reply, for good or for now."""

    kind: FailedKind
    message: str
    retry_after_ms: int = 0
    """What the provider asked for."""

    def report(self) -> AgentReport:
        """The turn that ended with it."""
        message = f"{self.kind}: {self.message}"
        return AgentReport(outcome=REPORTED[self.kind], message=message, retry_after_ms=self.retry_after_ms)


@dataclass(frozen=True)
class Request:
    """The conversation so far. `tools`: JSON schemas as chat completions takes them."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()


class Model(Protocol):
    """Gives the next message of a conversation."""

    async def complete(self, request: Request, heard: Heard = lambda quiet_ms: None) -> Reply | Failed:
        """One reply. Cancelling closes the connection. Nothing is raised for what the world can get wrong."""

    async def close(self) -> None:
        """Release every connection; idempotent."""


# --- messages -------------------------------------------------------------------------------------------------------


def system(text: str) -> Message:
    """The instructions that a conversation begins with."""
    return _message(role="system", content=text)


def user(text: str) -> Message:
    """Words to the model."""
    return _message(role="user", content=text)


def answer(call: Call, text: str) -> Message:
    """What a tool call came to."""
    return _message(role="tool", tool_call_id=call.id, content=text)


def _message(**fields: str) -> Message:
    return Message(msgspec.json.encode({name: _sound(text) for name, text in fields.items()}))


def _sound(text: str) -> str:
    """Text without lone surrogates, which no JSON in UTF-8 can hold."""
    return text.encode(errors="replace").decode()


# --- replies --------------------------------------------------------------------------------------------------------


class _Function(msgspec.Struct):
    name: str
    arguments: Any = ""


class _ToolCall(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Said(msgspec.Struct):
    """The parts of an assistant message that we look at."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class Usage(msgspec.Struct):
    """Tokens, as a provider reports them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None

    @property
    def tokens(self) -> int | None:
        """Prompt and completion; None where nothing was reported."""
        parts = [part for part in (self.prompt_tokens, self.completion_tokens) if part is not None]
        return sum(parts) if parts else self.total_tokens


class _Choice(msgspec.Struct):
    message: Message
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: Usage | None = None


_completion_decoder = msgspec.json.Decoder(_Completion)
_said_decoder = msgspec.json.Decoder(_Said)


def read_completion(data: bytes) -> Reply | Failed:
    """The reply in the body of a chat completion."""
    try:
        completion = _completion_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        return Failed("bad_reply", f"is no chat completion: {wrong}")
    if not completion.choices:
        return Failed("bad_reply", "is a chat completion without choices")
    choice, usage = completion.choices[0], completion.usage or Usage()
    return read_message(bytes(choice.message), choice.finish_reason or "", usage.tokens)


def read_message(data: bytes, finish: str, tokens: int | None) -> Reply | Failed:
    """The reply that an assistant message is; its bytes are kept."""
    try:
        said = _said_decoder.decode(data)
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        return Failed("bad_reply", f"its message cannot be read: {wrong}")
    return Reply(
        message=Message(data),
        text=_text(said.content),
        reasoning=_text(said.reasoning_content) or _text(said.reasoning),
        refusal=said.refusal or "",
        calls=tuple(map(_call, said.tool_calls or ())),
        finish=finish,
        tokens=tokens,
    )


def _call(said: _ToolCall) -> Call:
    arguments = said.function.arguments
    written = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return Call(id=said.id or "", name=said.function.name, arguments=written)


def _text(content: object) -> str:
    """Text, or the texts of a list of parts."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""
