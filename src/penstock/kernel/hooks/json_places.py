"""JSON that belongs to somebody else: where each thing stands in the text, and how to put in or take out one of them.

What is not ours keeps its bytes: order, blanks, comments. Taking out is the inverse of putting in, so a file that was
changed and changed back is the file that it was.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

BLANK = re.compile(r"[ \t\r\n]*")
BLANK_OR_COMMENT = re.compile(r"(?:[ \t\r\n]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
SCALAR = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null')
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
DEPTH_MAX = 100


class NoJson(Exception):
    """The text is not JSON. `line` is 1-based."""

    def __init__(self, message: str, line: int) -> None:
        self.message, self.line = message, line
        super().__init__(f"{message} (line {line})")


@dataclass(frozen=True)
class Node:
    """A value and its place: `text[start:end]`. `items` are those of an object or an array."""

    value: object
    start: int
    end: int
    items: tuple[Item, ...] = ()

    def __getitem__(self, key: str | int) -> Node:
        return next(item.node for item in self.items if item.key == key)

    def __contains__(self, key: str | int) -> bool:
        return any(item.key == key for item in self.items)


@dataclass(frozen=True)
class Item:
    """A member with its key, or an element with its index; it begins at its key."""

    key: str | int
    start: int
    node: Node
    comma: int | None
    """Where the comma behind it stands."""


def parse(text: str, with_comments: bool) -> Node:
    """Everything in `text`, with its places. Raises `NoJson`; comments are refused where the format has none."""
    reader = _Reader(text, BLANK_OR_COMMENT if with_comments else BLANK)
    node = reader.value(reader.after_blank(0), 0)
    end = reader.after_blank(node.end)
    if end != len(text):
        raise reader.error(end, "something follows the end")
    return node


class _Reader:
    def __init__(self, text: str, blank: re.Pattern[str]) -> None:
        self.text, self.blank = text, blank

    def after_blank(self, at: int) -> int:
        found = self.blank.match(self.text, at)
        return found.end() if found else at

    def error(self, at: int, what: str) -> NoJson:
        return NoJson(what, self.text.count("\n", 0, at) + 1)

    def value(self, at: int, depth: int) -> Node:
        if depth > DEPTH_MAX:
            raise self.error(at, "nested too deeply")
        match self.text[at : at + 1]:
            case "{":
                return self.container(at, "}", depth)
            case "[":
                return self.container(at, "]", depth)
            case _:
                return self.scalar(at)

    def scalar(self, at: int) -> Node:
        found = SCALAR.match(self.text, at)
        if found is None:
            shown = self.text[at : at + 12].split("\n")[0]
            raise self.error(at, f"a value was expected, not {shown!r}" if shown else "it ends too early")
        try:
            return Node(json.loads(found[0]), at, found.end())
        except ValueError as error:
            raise self.error(at, str(error)) from None

    def container(self, start: int, closing: str, depth: int) -> Node:
        items: list[Item] = []
        at = self.after_blank(start + 1)
        while self.text[at : at + 1] != closing:
            if items and items[-1].comma is None:
                raise self.error(at, f"a comma or {closing} was expected")
            items.append(self.item(at, closing, depth, len(items)))
            at = self.after_blank(items[-1].node.end if items[-1].comma is None else items[-1].comma + 1)
        if items and items[-1].comma is not None:
            raise self.error(items[-1].comma, f"a comma before {closing}")
        value = {i.key: i.node.value for i in items} if closing == "}" else [i.node.value for i in items]
        return Node(value, start, at + 1, tuple(items))

    def item(self, start: int, closing: str, depth: int, index: int) -> Item:
        key: str | int = index
        at = start
        if closing == "}":
            name = self.scalar(start)
            if not isinstance(name.value, str):
                raise self.error(start, "a key was expected")
            key, at = name.value, self.after_blank(name.end)
            if self.text[at : at + 1] != ":":
                raise self.error(at, "a colon was expected")
            at = self.after_blank(at + 1)
        node = self.value(at, depth + 1)
        behind = self.after_blank(node.end)
        return Item(key, start, node, behind if self.text[behind : behind + 1] == "," else None)


def put_in(text: str, into: Node, key: str | None, value: object, depth: int) -> str:
    """`text` with `value` as the last thing of `into`, which lies `depth` levels deep; `key` for an object."""
    indent = _indent_of(text)
    shown = json.dumps(value, indent=indent, ensure_ascii=False).replace("\n", "\n" + indent * (depth + 1))
    new = f"\n{indent * (depth + 1)}" + (f"{json.dumps(key)}: " if key is not None else "") + shown
    closing = into.end - 1
    last = into.items[-1].node.end if into.items else into.start + 1
    behind = last + _comments_end(text[last:closing])
    rest = text[behind:closing]
    if not into.items and "\n" not in rest:
        rest = f"\n{indent * depth}"
    comma = "," if into.items else ""
    return text[:last] + comma + text[last:behind] + new + rest + text[closing:]


def take_out(text: str, container: Node, item: Item) -> str:
    """`text` without one thing of `container`."""
    place = container.items.index(item)
    if len(container.items) == 1:
        inside = text[container.start + 1 : item.start], text[item.node.end : container.end - 1]
        kept = inside[0][: _comments_end(inside[0])] + inside[1] if any(map(COMMENT.search, inside)) else ""
        return text[: container.start + 1] + kept + text[container.end - 1 :]
    if item.comma is not None:
        behind = item.comma + 1
        blank = BLANK.match(text, behind)
        return text[: item.start] + text[blank.end() if blank else behind :]
    before = container.items[place - 1]
    assert before.comma is not None
    kept = text[before.comma + 1 : item.start]
    kept = kept[: _comments_end(kept)]
    return text[: before.comma] + kept + text[item.node.end :]


def _comments_end(gap: str) -> int:
    return max((found.end() for found in COMMENT.finditer(gap)), default=0)


def _indent_of(text: str) -> str:
    found = re.search(r"\n([ \t]+)\S", text)
    return found[1] if found else "  "
