"""What `penstock infer` shows: tokens on stdout; on stderr one line that is redrawn on a terminal, lines elsewhere."""

from __future__ import annotations

import sys

from penstock.evidence.words import plain
from penstock.fleet.schema import Progress

CLEAR = "\r\x1b[K"
WIDTH_MAX = 76
BAR = 20


def open_screen(*, quiet: bool, silent: bool) -> Screen:
    """`quiet`: no progress. `silent`: no tokens either."""
    return Screen(quiet=quiet, silent=silent)


class Screen:
    """`fleet.inferring.Shown`. Nothing that a model says can steer the terminal."""

    def __init__(self, *, quiet: bool, silent: bool) -> None:
        self._quiet, self._silent = quiet, silent
        self._is_live = sys.stderr.isatty()
        self._is_terminal = sys.stdout.isatty()
        self._line = ""
        self._ends_line = True

    def token(self, text: str) -> None:
        """At once: whoever reads the other end of a pipe sees it now."""
        self._clear()
        if self._silent or not text:
            return
        shown = plain(text) if self._is_terminal else text
        sys.stdout.buffer.write(shown.encode(errors="replace"))
        sys.stdout.buffer.flush()
        self._ends_line = shown.endswith("\n")

    def progress(self, progress: Progress) -> None:
        """Where the request is."""
        self.say(words_of(progress))

    def waits(self, why: str, seconds: int) -> None:
        """It is asked again."""
        self.say(f"{why}: asked again in {seconds} s")

    def say(self, text: str) -> None:
        """Something that happens; the same twice is told once."""
        text = " ".join(plain(text).split())
        if self._quiet or text == self._line:
            return
        self._line = text
        sys.stderr.write(f"{CLEAR}{text[:WIDTH_MAX]}" if self._is_live else f"{text}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Leave the terminal at the beginning of a line."""
        self._clear()
        if not self._ends_line:
            sys.stdout.buffer.write(b"\n")
            sys.stdout.buffer.flush()
            self._ends_line = True

    def _clear(self) -> None:
        if self._line and self._is_live:
            sys.stderr.write(CLEAR)
            sys.stderr.flush()
        self._line = ""


def words_of(progress: Progress) -> str:
    """`queued: 3 before it`, `loading 12/80 layers [###.................]`."""
    if progress.phase == "queued":
        return f"queued: {progress.done} before it" if progress.done else progress.message or "queued"
    told: str = progress.phase
    if progress.total:
        unit = f" {progress.unit}" if progress.unit else ""
        filled = BAR * min(progress.done, progress.total) // progress.total
        told += f" {progress.done}/{progress.total}{unit} [{'#' * filled:.<{BAR}}]"
    return f"{told}: {progress.message}" if progress.message else told
