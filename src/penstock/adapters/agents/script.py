"""The script of a scripted agent: what it does in which turn of which ticket.

    tickets:
      TALLY-7:
        - steps:                                   # attempt 1, turn 1
            - say: I will be quick.
            - replace: {path: tally/text.py, old: "return a", new: "return b"}
        - steps: [...]                             # attempt 1, turn 2
        - attempt: 2                               # attempt 2, turn 1
          steps: [...]

Edits: `write`, `append` {path, text}, `replace` {path, old, new} (old occurs exactly once), `delete` PATH, `patch`
DIFF. Words: `say` TEXT, `run` COMMAND, `claim` TEXT, `usage` {tokens, micro_dollars, edits, tool_calls}, `fail`
{class, message, retry_after_ms}. Misbehaviour: `wait_ms` N, `exit` STATUS, `crash` SIGNAL, `hang` true, `flood` BYTES.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from penstock.adapters.agents.report_file import COUNT_MAX, RETRY_AFTER_MS_MAX, FailureSaid
from penstock.core.events import Usage
from penstock.documents.document import TEXT_BYTES_MAX, Unreadable, decoded
from penstock.documents.fields import Fields, meant, root_of, shown
from penstock.documents.yaml import read_yaml
from penstock.ports import BadInput, Problem

FAILURES: tuple[FailureSaid, ...] = FailureSaid.__args__  # type: ignore[attr-defined]
SIGNALS = tuple(s.name for s in signal.Signals)
TEXT_CHARS_MAX = 100_000
HOUR_MS = 3_600_000

Step = dict[str, object]


@dataclass(frozen=True)
class Script:
    """Steps by ticket, attempt and turn (both from 1)."""

    turns: dict[str, dict[int, dict[int, tuple[Step, ...]]]]

    def steps(self, ticket: str, attempt: int, turn: int) -> tuple[Step, ...]:
        """What to do in that turn: nothing beyond the last one that is written.

        An attempt that is not written goes as the one before it.
        """
        attempts = self.turns.get(ticket, {})
        written = max((n for n in attempts if n <= attempt), default=0)
        return attempts.get(written, {}).get(turn, ())


def load_script(path: Path, shown_as: str) -> Script:
    """The script in a file. Raises `BadInput` with every problem."""
    try:
        with path.open("rb") as stream:
            data = stream.read(TEXT_BYTES_MAX + 1)
    except OSError as error:
        raise _bad(shown_as, f"cannot be read: {error.strerror}") from None
    return read_script(data, shown_as)


def read_script(data: bytes, shown_as: str) -> Script:
    """The script in the file's bytes. Raises `BadInput` with every problem."""
    try:
        root = root_of(read_yaml(decoded(data), shown_as))
    except Unreadable as error:
        raise _bad(shown_as, error.message, error.line, error.fix) from None
    tickets = root.sub("tickets")
    turns = {ticket: _take_turns(tickets, ticket) for ticket in tickets.table}
    root.refuse_unknown()
    if root.reading.problems:
        raise BadInput(sorted(root.reading.problems, key=lambda p: p.line))
    return Script(turns)


def _bad(file: str, message: str, line: int = 0, fix: str = "") -> BadInput:
    return BadInput([Problem(file=file, line=line, field="", message=message, fix=fix)])


def _take_turns(tickets: Fields, ticket: str) -> dict[int, dict[int, tuple[Step, ...]]]:
    turns: dict[int, dict[int, tuple[Step, ...]]] = {}
    attempt = 1
    for entry in tickets.listed(ticket):
        attempt = entry.whole("attempt", attempt, attempt, 1_000)
        of_attempt = turns.setdefault(attempt, {})
        of_attempt[len(of_attempt) + 1] = tuple(
            step for item in entry.listed("steps") if (step := _take_step(item)) is not None
        )
        entry.refuse_unknown()
    return turns


def _take_step(item: Fields) -> Step | None:
    """The step in a table of one key; None and a problem where there is none."""
    names = [name for name in item.table if name in STEPS]
    if len(item.table) == 1 and names:
        return {"do": names[0], **STEPS[names[0]](item, names[0])}
    for name in item.table:
        if name not in STEPS:
            item.refuse(name, f"there is no step {shown(name)}", meant(name, tuple(STEPS)))
    if len(item.table) != 1:
        item.refuse("", "a step is one `name: ...`", "write each step as a list item of its own")
    return None


# --- the steps ------------------------------------------------------------------------------------------------------


def _text(item: Fields, name: str) -> Step:
    return {"text": item.text(name, needed="say what", chars_max=TEXT_CHARS_MAX, lines=True)}


def _path(item: Fields, name: str) -> Step:
    return {"path": item.text(name, needed="name a file")}


def _texts_of(*keys: str) -> Callable[[Fields, str], Step]:
    """A reader of `{path, KEY...}`; the texts may be empty."""

    def take(item: Fields, name: str) -> Step:
        inner = item.sub(name)
        step: Step = {"path": inner.text("path", needed="name a file")}
        for key in keys:
            if not isinstance(inner.table.get(key), str):
                inner.refuse(key, "must be text", "put it in quotes, or begin it with |")
            step[key] = inner.text(key, chars_max=TEXT_CHARS_MAX, lines=True)
        inner.refuse_unknown()
        return step

    return take


def _count(low: int, high: int) -> Callable[[Fields, str], Step]:
    def take(item: Fields, name: str) -> Step:
        if not item.has(name):
            item.refuse(name, "must be a whole number")
        return {"count": item.whole(name, low, low, high)}

    return take


def _usage(item: Fields, name: str) -> Step:
    inner = item.sub(name)
    amounts = {key: inner.whole_or_none(key, 0, COUNT_MAX) for key in Usage.__struct_fields__}
    inner.refuse_unknown()
    return {"amounts": {key: amount for key, amount in amounts.items() if amount is not None}}


def _fail(item: Fields, name: str) -> Step:
    inner = item.sub(name)
    if not inner.has("class"):
        inner.refuse("class", "is missing", meant("", FAILURES))
    step: Step = {
        "class": inner.choice("class", FAILURES, FAILURES[0]),
        "message": inner.text("message"),
        "retry_after_ms": inner.whole("retry_after_ms", 0, 0, RETRY_AFTER_MS_MAX),
    }
    inner.refuse_unknown()
    return step


def _signal(item: Fields, name: str) -> Step:
    if not item.has(name):
        item.refuse(name, "is missing", "name a signal, as SIGKILL")
    return {"signal": item.choice(name, SIGNALS, "SIGKILL")}


def _hang(item: Fields, name: str) -> Step:
    if not item.flag(name, False):
        item.refuse(name, "can only be true", "remove the step")
    return {}


STEPS: dict[str, Callable[[Fields, str], Step]] = {
    "write": _texts_of("text"),
    "append": _texts_of("text"),
    "replace": _texts_of("old", "new"),
    "delete": _path,
    "patch": _text,
    "say": _text,
    "run": _text,
    "claim": _text,
    "usage": _usage,
    "fail": _fail,
    "wait_ms": _count(0, HOUR_MS),
    "exit": _count(0, 255),
    "crash": _signal,
    "hang": _hang,
    "flood": _count(0, COUNT_MAX),
}
