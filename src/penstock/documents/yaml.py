"""YAML with lines, cut down to what people write by hand: mappings, lists, scalars.

Built from parser events, so that nothing is constructed, nothing refers to anything (no anchors, aliases, tags: no
bombs), no key is silently overwritten, and `no`, `012` and `2024-01-01` stay the text that they look like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from penstock.documents.document import DEPTH_MAX, Document, Path, Unreadable

Event = yaml.Event
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
NUMBER = re.compile(r"[-+]?[0-9]{1,17}\.[0-9]{1,17}")
WORDS: dict[str, object] = {"": None, "~": None, "null": None, "true": True, "false": False}


def read_yaml(text: str, file: str, first_line: int = 1, list_key: str = "") -> Document:
    """The document of a YAML text that is one mapping. Raises `Unreadable` naming the line.

    With `list_key` it may be one list too, which is taken for what stands under that key.
    """
    try:
        events = yaml.parse(text, Loader=LOADER)
        return Composer(events, file, first_line).document(list_key)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + first_line if error.problem_mark else 0
        raise Unreadable(f"is not YAML: {error.problem or error.context}", line) from None
    except yaml.YAMLError as error:
        raise Unreadable(f"is not YAML: {getattr(error, 'reason', 'unreadable')}") from None


class Composer:
    """Builds values out of events."""

    def __init__(self, events: Iterator[Event], file: str, first_line: int) -> None:
        self.events, self.file, self.first_line = events, file, first_line
        self.lines: dict[Path, int] = {}
        self.twice: list[tuple[Path, int]] = []

    def document(self, list_key: str = "") -> Document:
        value: object = None
        documents = 0
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise Unreadable("holds several YAML documents", self._line(event), "keep one")
                value = self._node(next(self.events), ())
        if value is None:
            value = {}
        if isinstance(value, list) and list_key:
            value = {list_key: value}
            self.lines = {(list_key, *path): line for path, line in self.lines.items()}
            self.twice = [((list_key, *path), line) for path, line in self.twice]
        if not isinstance(value, dict):
            raise Unreadable("must be `key: value` lines", self.first_line)
        return Document(self.file, value, self.lines, tuple(self.twice))

    def _node(self, event: Event, path: Path) -> object:
        line = self._line(event)
        self.lines.setdefault(path, line)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise Unreadable("uses a YAML anchor or alias", line, "write the value out")
        if getattr(event, "tag", None):
            raise Unreadable("uses a YAML tag", line, "remove the word that begins with `!`")
        if len(path) > DEPTH_MAX:
            raise Unreadable(f"is nested more than {DEPTH_MAX} deep", line)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        assert isinstance(event, yaml.ScalarEvent)
        return scalar(event)

    def _mapping(self, path: Path) -> dict[str, object]:
        table: dict[str, object] = {}
        for event in self._until(yaml.MappingEndEvent):
            line = self._line(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise Unreadable("has a key that is not text", line)
            key = event.value
            if key in table:
                self.twice.append(((*path, key), line))
            self.lines.setdefault((*path, key), line)
            table.setdefault(key, self._node(next(self.events), (*path, key)))
        return table

    def _sequence(self, path: Path) -> list[object]:
        items: list[object] = []
        for event in self._until(yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _until(self, end: type[Event]) -> Iterator[Event]:
        while not isinstance(event := next(self.events), end):
            yield event

    def _line(self, event: Event) -> int:
        mark = event.start_mark
        return int(mark.line) + self.first_line if mark else 0


def scalar(event: yaml.ScalarEvent) -> object:
    """What a plain scalar looks like; in quotes it is text."""
    text: str = event.value
    if not event.implicit[0]:
        return text
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if WHOLE.fullmatch(text):
        return int(text)
    return float(text) if NUMBER.fullmatch(text) else text
