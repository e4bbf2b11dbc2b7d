"""Puts a streamed chat completion together: many small deltas become the one message that would have come at once.

Which fields there are is the provider's affair. Those that are known to come in pieces are joined, lists are merged by
`index` (and `type`, for several kinds of reasoning share one), tables field by field, and of anything else the newest
value counts.
Some providers number every tool call 0: their ids tell them apart.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.kernel.model import Failed, Reply, Usage, read_message

IN_PIECES = frozenset(
    {"arguments", "content", "data", "reasoning", "reasoning_content", "refusal", "summary", "text", "thinking"}
)
"""Fields whose text comes in pieces."""


class _Choice(msgspec.Struct):
    delta: dict[str, Any] | None = None
    finish_reason: str | None = None
    index: int = 0


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: Usage | None = None


_decoder = msgspec.json.Decoder(_Chunk)


class Assembly:
    """One message in the making."""

    def __init__(self) -> None:
        self._message: dict[str, Any] = {}
        self._finish = ""
        self._usage = Usage()

    @property
    def is_finished(self) -> bool:
        """Whether the provider said why it ended: without that the stream was cut."""
        return bool(self._finish)

    def add(self, data: str) -> Failed | None:
        """Take one chunk; what is wrong with it, if anything."""
        try:
            chunk = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeError) as wrong:
            return Failed("bad_reply", f"a chunk of its stream cannot be read: {wrong}")
        self._usage = chunk.usage or self._usage
        for choice in chunk.choices:
            if choice.index == 0:
                _merge(self._message, choice.delta or {})
                self._finish = choice.finish_reason or self._finish
        return None

    def reply(self) -> Reply | Failed:
        """The reply, complete."""
        message = {"role": "assistant", "content": "", **self._message}
        for call in message.get("tool_calls", ()):
            call.pop("index", None)
        return read_message(msgspec.json.encode(message), self._finish, self._usage.tokens)


def _merge(whole: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, piece in delta.items():
        there = whole.get(name)
        if there is None:
            whole[name] = _begun(piece)
        elif isinstance(there, str) and isinstance(piece, str) and name in IN_PIECES:
            whole[name] = there + piece
        elif isinstance(there, list) and isinstance(piece, list):
            _merge_items(there, piece)
        elif isinstance(there, dict) and isinstance(piece, dict):
            _merge(there, piece)
        elif piece is not None and piece != "":
            whole[name] = piece


def _begun(piece: Any) -> Any:
    """A list that begins is merged as well: two of its items may be pieces of one."""
    if not isinstance(piece, list):
        return piece
    items: list[Any] = []
    _merge_items(items, piece)
    return items


def _merge_items(whole: list[Any], pieces: list[Any]) -> None:
    for piece in pieces:
        same = next((item for item in reversed(whole) if _is_same(item, piece)), None)
        if same is None:
            whole.append(piece)
        else:
            _merge(same, piece)


def _is_same(item: Any, piece: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(piece, dict) or piece.get("index") is None:
        return False
    differs = any(item.get(key) and piece.get(key) and item[key] != piece[key] for key in ("type", "id"))
    return item.get("index") == piece["index"] and not differs
