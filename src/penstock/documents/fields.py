"""A user's document read key by key: what is wrong is collected with its line, so that all of it is told at once.

The reader is the schema: a key is known because somebody asked for it, and `refuse_unknown` turns on the rest. Every
value taken leaves its origin behind, which is what `run --explain` prints.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TypeVar

from penstock.core.paths import matches
from penstock.documents.document import Document, Path, dotted
from penstock.ports import Problem

T = TypeVar("T", bound=str)
V = TypeVar("V")
Fault = tuple[str, str]
"""What is wrong with a value, and the fix (empty where the message says it all)."""

LINE_CHARS_MAX = 4_096
LIST_ITEMS_MAX = 1_000
COUNT_MAX = 1_000_000_000
CONFUSING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")
"""They reorder or break what a person sees."""


@dataclass(frozen=True)
class Origin:
    """A value in force. `line` 0: nobody wrote it, it is the default."""

    key: str
    value: object
    line: int


@dataclass
class Reading:
    """What comes out of reading one document, besides the values."""

    document: Document
    problems: list[Problem] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)

    def refuse(self, path: Path, message: str, fix: str = "", line: int = 0) -> None:
        """Record a problem with what is at `path`; its own line unless `line` says better."""
        self.problems.append(
            Problem(
                file=self.document.file,
                line=line or self.document.line_of(path),
                field=dotted(path),
                message=message,
                fix=fix,
            )
        )


def root_of(document: Document) -> Fields:
    """The document's own table, ready to be asked."""
    fields = Fields(Reading(document), (), document.value)
    for path, line in document.twice:
        message = f"is there twice, first in line {document.line_of(path)}"
        fields.reading.refuse(path, message, "remove one", line)
    return fields


class Fields:
    """One table. Each method takes one key: its value if it is right, else the default and a problem."""

    def __init__(self, reading: Reading, path: Path, table: Mapping[str, object]) -> None:
        self.reading, self.path, self.table = reading, path, table
        self.asked: dict[str, None] = {}

    def refuse(self, key: str, message: str, fix: str = "", index: int | None = None, line: int = 0) -> None:
        """Record a problem with `key` (or with item `index` of its list); `""` means the table itself."""
        path = (*self.path, *((key,) if key else ()), *(() if index is None else (index,)))
        self.reading.refuse(path, message, fix, line)

    def place(self, key: str) -> str:
        """Where `key` was written, as `file:line`."""
        document = self.reading.document
        return f"{document.file}:{document.line_of((*self.path, key))}"

    def has(self, key: str) -> bool:
        """Whether somebody wrote it."""
        return self.table.get(key) is not None

    def text(
        self,
        key: str,
        default: str = "",
        *,
        needed: str = "",
        chars_max: int = LINE_CHARS_MAX,
        lines: bool = False,
        fault: Callable[[str], Fault | None] = lambda text: None,
    ) -> str:
        """Text without control characters. `needed`: the fix to tell where it is missing or blank."""
        value = self._take(key)
        if value is None:
            if needed:
                self.refuse(key, "is missing", needed)
            return self._keep(key, default)
        wrong = fault_of_text(value, chars_max, lines) or fault(str(value))
        if needed and value == "":
            wrong = ("is empty", needed)
        if wrong:
            self.refuse(key, *wrong)
            return default
        return self._keep(key, str(value))

    def choice(self, key: str, known: Sequence[T], default: T) -> T:
        """One of the known words."""
        return self._keep(key, self._word(key, known) or default)

    def choice_or_none(self, key: str, known: Sequence[T]) -> T | None:
        """As `choice`; None where nothing is written."""
        return self._keep(key, self._word(key, known))

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._take(key)
        if value is not None and not isinstance(value, bool):
            self.refuse(key, f"must be true or false, not {kind_of(value)}", "write true or false, without quotes")
        return self._keep(key, value if isinstance(value, bool) else default)

    def whole(self, key: str, default: int, low: int = 0, high: int = COUNT_MAX) -> int:
        """A whole number with low <= n <= high."""
        value = self._take(key)
        fault = None if value is None else fault_of_whole(value, low, high)
        if fault:
            self.refuse(key, *fault)
        return self._keep(key, value if isinstance(value, int) and not fault else default)

    def scaled(self, key: str, default: int, unit: int, low: float, high: float) -> int:
        """A number in the key's own unit, given in an inner one: `unit` of those make one of the key's."""
        return self._scaled(key, default, unit, low, high) or 0

    def scaled_or_none(self, key: str, unit: int, low: float, high: float) -> int | None:
        """As `scaled`; None where nothing is written."""
        return self._scaled(key, None, unit, low, high)

    def whole_or_none(self, key: str, low: int = 0, high: int = COUNT_MAX) -> int | None:
        """As `whole`; None where nothing is written."""
        if self.has(key):
            return self.whole(key, low, low, high)
        self._take(key)
        return self._keep(key, None)

    def texts(
        self,
        key: str,
        default: Iterable[str] = (),
        *,
        fault: Callable[[str], Fault | None] = lambda item: None,
        repeats: bool = False,
    ) -> tuple[str, ...]:
        """A list of one-line texts, each seen by `fault`; no item twice unless `repeats`."""
        value = self._take(key)
        if value is None:
            return self._keep(key, tuple(default))
        if not isinstance(value, list):
            self.refuse(key, f"must be a list, not {kind_of(value)}", f"write {key} = [...]")
            return tuple(default)
        if len(value) > LIST_ITEMS_MAX:
            self.refuse(key, f"has {len(value):,} items; at most {LIST_ITEMS_MAX:,} are read", "name fewer")
            return tuple(default)
        good: list[str] = []
        for index, item in enumerate(value):
            wrong = fault_of_text(item, LINE_CHARS_MAX, False) or fault(str(item))
            if not wrong and item in good and not repeats:
                wrong = (f"{shown(item)} is there twice", "remove one")
            if wrong:
                self.refuse(key, *wrong, index=index)
            else:
                good.append(item)
        return self._keep(key, tuple(good))

    def sub(self, key: str) -> Fields:
        """The table under `key`; an empty one where there is none."""
        value = self._take(key)
        if value is not None and not isinstance(value, dict):
            self.refuse(key, f"must be a table, not {kind_of(value)}", f"write keys with values under {key}")
        return Fields(self.reading, (*self.path, key), value if isinstance(value, dict) else {})

    def named(self, key: str) -> list[tuple[str, Fields]]:
        """The tables under the table `key`, by name: `[gates.NAME]`."""
        outer = self.sub(key)
        return [(name, outer.sub(name)) for name in outer.table]

    def listed(self, key: str) -> list[Fields]:
        """A list of tables."""
        value = self._take(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.refuse(key, f"must be a list, not {kind_of(value)}", "write a list of tables")
            return []
        tables: list[Fields] = []
        for index, item in enumerate(value):
            if isinstance(item, dict):
                tables.append(Fields(self.reading, (*self.path, key, index), item))
            else:
                self.refuse(key, f"must be a table, not {kind_of(item)}", "write a key and a value", index=index)
        return tables

    def raw(self, key: str) -> object:
        """The value as it is, for a key that may hold several shapes."""
        return self._take(key)

    def refuse_unknown(self, elsewhere: Mapping[str, str] | None = None) -> None:
        """Refuse every key that nobody asked for, naming the nearest known one, or its place `elsewhere`."""
        for key in self.table:
            if key not in self.asked:
                fix = (elsewhere or {}).get(key) or meant(key, tuple(self.asked))
                self.refuse(key, f"unknown key {shown(key)}", fix)

    def _take(self, key: str) -> object:
        self.asked[key] = None
        return self.table.get(key)

    def _keep(self, key: str, value: V) -> V:
        path = (*self.path, key)
        line = self.reading.document.line_of(path) if self.has(key) else 0
        self.reading.origins.append(Origin(dotted(path), value, line))
        return value

    def _word(self, key: str, known: Sequence[T]) -> T | None:
        value = self._take(key)
        found = next((word for word in known if word == value), None)
        if value is not None and found is None:
            self.refuse(key, f"cannot be {shown(value)}", meant(str(value), known))
        return found

    def _scaled(self, key: str, default: int | None, unit: int, low: float, high: float) -> int | None:
        value = self._take(key)
        fault = None if value is None else fault_of_number(value, low, high)
        if fault:
            self.refuse(key, *fault)
        if value is None or fault:
            self._keep(key, None if default is None else shortest(default / unit))
            return default
        assert isinstance(value, int | float)
        self._keep(key, value)
        return round(value * unit)


def fault_of_text(value: object, chars_max: int, lines: bool) -> Fault | None:
    """What is wrong with a text, and the fix."""
    if not isinstance(value, str):
        return f"must be text, not {kind_of(value)}", "put it in quotes" if is_plain(
            value
        ) else "write one text in quotes"
    if len(value) > chars_max:
        return f"has {len(value):,} characters; at most {chars_max:,} are read", "make it shorter"
    if "\n" in value and not lines:
        return "must be one line", "remove the line break"
    character = control_character(value)
    if character:
        return f"contains the control character U+{ord(character):04X}", "remove it"
    return None


def fault_of_whole(value: object, low: int, high: int) -> Fault | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return f"must be a whole number, not {kind_of(value)}", among(low, high)
    return fault_of_range(value, low, high)


def fault_of_number(value: object, low: float, high: float) -> Fault | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return f"must be a number, not {kind_of(value)}", among(low, high)
    return fault_of_range(value, low, high)


def fault_of_range(value: float, low: float, high: float) -> Fault | None:
    if low <= value <= high:
        return None
    return f"is {shown(value)}, which is out of range", among(low, high)


def among(low: float, high: float) -> str:
    """The fix that names a range."""
    return f"choose {shortest(low):,} to {shortest(high):,}"


def fault_of_glob(value: str) -> Fault | None:
    """A glob is relative to the repository and stays inside it."""
    if not value.strip():
        return "is empty", "remove it"
    if value.startswith(("/", "~")) or ".." in value.split("/"):
        return f"{shown(value)} leaves the repository", 'write it relative to the repository: "src/**"'
    try:
        matches((value,), "x")
    except (ValueError, re.error) as error:
        return f"{shown(value)} is no glob: {error}", 'write it as in a .gitignore: "src/**"'
    return None


def control_character(text: str) -> str:
    """The first character that people cannot see but terminals and models obey; empty where there is none."""
    return next((c for c in text if (unicodedata.category(c) == "Cc" and c not in "\n\t") or c in CONFUSING), "")


def meant(word: str, known: Sequence[str]) -> str:
    """A fix for a word that is not known: the nearest one, else all of them."""
    near = get_close_matches(word, known, 1)
    if near:
        return f"did you mean {near[0]}?"
    return f"known here: {', '.join(known)}" if known else "remove it"


def kind_of(value: object) -> str:
    """The type of a value in a user's words."""
    match value:
        case bool():
            return "true or false"
        case str():
            return "text"
        case int():
            return "a whole number"
        case float():
            return "a number" if math.isfinite(value) else str(value)
        case list():
            return "a list"
        case dict():
            return "a table"
        case None:
            return "nothing"
        case _:
            return "a date or time"


def is_plain(value: object) -> bool:
    return value is not None and not isinstance(value, list | dict)


def shown(value: object) -> str:
    """A value as it may be shown in an error: short, quoted, no control characters."""
    text = f'"{value}"' if isinstance(value, str) else str(value)
    text = "".join("?" if control_character(c) or c == "\n" else c for c in text)
    return text if len(text) <= 80 else text[:77] + "..."


def shortest(value: float) -> int | float:
    """A whole number where it is one."""
    return int(value) if value == int(value) else value
