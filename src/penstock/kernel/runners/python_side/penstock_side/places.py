"""Where things lie: the tree under test, and the pipe to whoever asked."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterator
from types import ModuleType, TracebackType
from typing import Any

MESSAGE_CHARS_MAX = 400
STDLIB = os.path.join(os.path.dirname(os.__file__), "")
NOT_OURS = frozenset({"node_modules", "site-packages", "dist-packages", "__pycache__"})


def clean(value: object) -> str:
    """Text that every encoding takes: lone surrogates spelled out."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


class Pipe:
    """The write end. Only the process that opened it writes; a broken pipe is left to the reader to notice."""

    def __init__(self, fd: int, nonce: str) -> None:
        os.set_inheritable(fd, False)
        self._fd = fd
        self._prefix = nonce.encode("ascii", "replace") + b" "
        self._pid = os.getpid()
        self._write, self._getpid, self._encode = os.write, os.getpid, json.JSONEncoder().encode

    def tell(self, record: str, **fields: Any) -> None:
        """Write one record, whole, as one line."""
        if self._getpid() != self._pid or self._fd < 0:
            return
        line = self._prefix + self._encode(dict(fields, t=record)).encode("ascii") + b"\n"
        try:
            while line:
                line = line[self._write(self._fd, line) :]
        except OSError:
            self._fd = -1


class Tree:
    """The tree under test: files in it have a path relative to its root, others none. `project`: its directory."""

    def __init__(self, root: str, project: str = "") -> None:
        self.root = os.path.realpath(root)
        self.project = os.path.realpath(project or root)
        self._prefix = os.path.join(self.root, "")
        self._known: dict[str, str] = {}

    def relative(self, path: str) -> str:
        """Path with forward slashes, empty for what lies outside, is hidden, or was installed."""
        found = self._known.get(path)
        if found is None:
            found = self._known[path] = self._look_up(path)
        return found

    def _look_up(self, path: str) -> str:
        if not os.path.isabs(path) or "site-packages" in path or path.startswith(STDLIB):
            return ""
        real = os.path.realpath(path)
        if not real.startswith(self._prefix):
            return ""
        parts = real[len(self._prefix) :].split(os.sep)
        if any(part in NOT_OURS or (part.startswith(".") and part != parts[-1]) for part in parts):
            return ""
        return unicodedata.normalize("NFC", clean("/".join(parts)))

    def directories(self) -> list[str]:
        """Of the project, and those above it up to the root."""
        found = [self.project]
        while found[-1] != self.root and found[-1].startswith(self._prefix):
            found.append(os.path.dirname(found[-1]))
        return found

    def file_of(self, module: ModuleType | None) -> str:
        """Relative path of a module of the tree."""
        path = getattr(module, "__file__", None)
        return self.relative(path) if isinstance(path, str) else ""

    def has_directory(self, path: str) -> bool:
        """Whether `path` is the root or a directory in the tree, installed packages left out."""
        real = os.path.realpath(path)
        return real == self.root or bool(self.relative(os.path.join(real, "x")))

    def search_path(self) -> list[str]:
        """Directories of the tree from which modules are imported."""
        return [path for path in dict.fromkeys(p or os.getcwd() for p in sys.path) if self.has_directory(path)]

    def deepest(self, tb: TracebackType | None) -> tuple[str, int]:
        """Path and line of the deepest frame inside the tree; `("", 0)`."""
        places = [(self.relative(path), line) for path, line in frames(tb)]
        return next((place for place in reversed(places) if place[0]), ("", 0))


def frames(tb: TracebackType | None) -> Iterator[tuple[str, int]]:
    """Path and line of each frame, the outermost first."""
    while tb is not None:
        yield tb.tb_frame.f_code.co_filename, tb.tb_lineno
        tb = tb.tb_next


def spelled(place: tuple[str, int]) -> str:
    """`path:line`, or nothing."""
    return f"{place[0]}:{place[1]}" if place[0] else ""
