"""TOML with lines. `tomllib` gives the values; a small scan of the same text finds where each key was written.

The scan runs only over text that `tomllib` accepted, so it knows nothing of errors: it follows keys, brackets and
quotes, and skips everything else.
"""

from __future__ import annotations

import re
import tomllib

from penstock.documents.document import Document, Path, Unreadable

BARE = re.compile(r"[A-Za-z0-9_-]+")
BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
SPACE = re.compile(r"[ \t]*")
STRING = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:\\.|[^"\\])*"|' + r"'[^']*'", re.DOTALL)
SCALAR = re.compile(r"[^,\]}\n#]*")
PLACE = re.compile(r"\(at (?:line (\d+), column \d+|end of document)\)")


def read_toml(text: str, file: str) -> Document:
    """The document of a TOML text. Raises `Unreadable` naming the line."""
    try:
        return Document(file, tomllib.loads(text), Scan(text).lines())
    except RecursionError:
        raise Unreadable("is nested too deep") from None
    except ValueError as error:
        raise unreadable(str(error), text) from None


def unreadable(message: str, text: str) -> Unreadable:
    """What `tomllib` complains of, with its line taken out of the message."""
    place = PLACE.search(message)
    line = int(place[1] or text.count("\n") + 1) if place else 0
    is_long = "integer string conversion" in message
    said = "a number is absurdly long" if is_long else PLACE.sub("", message).strip()
    is_twice = "overwrite" in said or "twice" in said
    fix = "write each table and each key once" if is_twice else "see https://toml.io"
    return Unreadable(f"is not TOML: {said}", line, fix)


class Scan:
    """One pass over the text."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.found: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}
        self.line, self.counted = 1, 0

    def lines(self) -> dict[Path, int]:
        """The 1-based line of each table, key and list item."""
        table: Path = ()
        self._skip(BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._assignment(table)
            self._skip(BLANK)
        return self.found

    def _header(self) -> Path:
        is_list = self.text.startswith("[[", self.at)
        line = self._line()
        self.at += 2 if is_list else 1
        path = self._inside_lists(self._key())
        self.at += 2 if is_list else 1
        if is_list:
            index = self.counts.get(path, -1) + 1
            self.counts[path] = index
            self.found.setdefault(path, line)
            path = (*path, index)
        for length in range(1, len(path) + 1):
            self.found.setdefault(path[:length], line)
        return path

    def _inside_lists(self, key: Path) -> Path:
        """`[a.b]` after `[[a]]` is a table of the last `a`."""
        path: Path = ()
        for step in key[:-1]:
            path = (*path, step)
            if path in self.counts:
                path = (*path, self.counts[path])
        return (*path, key[-1])

    def _assignment(self, table: Path) -> None:
        line = self._line()
        key = self._key()
        for length in range(1, len(key) + 1):
            self.found.setdefault((*table, *key[:length]), line)
        self.at += 1  # the equals sign
        self._skip(SPACE)
        self._value((*table, *key))

    def _key(self) -> Path:
        steps: list[str | int] = []
        while True:
            self._skip(SPACE)
            quoted = STRING.match(self.text, self.at)
            bare = BARE.match(self.text, self.at)
            if quoted:
                self.at = quoted.end()
                steps.append(next(iter(tomllib.loads(f"{quoted[0]} = 0"))))
            elif bare:
                self.at = bare.end()
                steps.append(bare[0])
            self._skip(SPACE)
            if not self.text.startswith(".", self.at):
                return tuple(steps)
            self.at += 1

    def _value(self, path: Path) -> None:
        self.found.setdefault(path, self._line())
        string = STRING.match(self.text, self.at)
        if string:
            self.at = string.end()
        elif self.text[self.at] == "[":
            self._items(path)
        elif self.text[self.at] == "{":
            self._inline(path)
        else:
            self._skip(SCALAR)

    def _items(self, path: Path) -> None:
        self.at += 1
        index = 0
        self._skip(BLANK)
        while self.text[self.at] != "]":
            self._value((*path, index))
            index += 1
            self._after_item()
        self.at += 1

    def _inline(self, path: Path) -> None:
        self.at += 1
        self._skip(BLANK)
        while self.text[self.at] != "}":
            self._assignment(path)
            self._after_item()
        self.at += 1

    def _after_item(self) -> None:
        self._skip(BLANK)
        if self.text[self.at] == ",":
            self.at += 1
            self._skip(BLANK)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def _line(self) -> int:
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return self.line
