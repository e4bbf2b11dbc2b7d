"""Scripted agents: what a turn does, as a function of what it is asked and of where it starts. Never of the past."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from penstock.core.events import TurnOrder, Usage
from tests.model.trees import CONFLICT, Files

TurnOutcome = Literal[
    "ended",
    "crashed",
    "timeout",
    "stalled",
    "flood",
    "refused",
    "provider_transient",
    "provider_terminal",
    "infra",
]


class Did(msgspec.Struct, kw_only=True):
    """What one turn did: files written (None: deleted), and how it ended."""

    edits: dict[str, str | None] = {}
    outcome: TurnOutcome = "ended"
    message: str = ""
    lines: int | None = None
    usage: Usage = Usage(tokens=1_000, micro_dollars=2_000)
    claims: tuple[str, ...] = ()
    retry_after_ms: int = 0


Agent = Callable[[TurnOrder, Files], Did]


def source(ticket: str) -> str:
    return f"src/{ticket.lower()}.py"


def proof(ticket: str) -> str:
    return f"tests/test_{ticket.lower()}.py"


def writes(word: str, test: str | None = "tells") -> Agent:
    """Writes the ticket's production file, and its test where there is a word for it."""

    def turn(order: TurnOrder, start: Files) -> Did:
        edits: dict[str, str | None] = {source(order.ticket): word}
        if test is not None:
            edits[proof(order.ticket)] = test
        edits |= {path: "merged" for path, text in start.items() if text == CONFLICT and path not in edits}
        return Did(edits=edits)

    return turn


def right() -> Agent:
    """Does what was asked, with a test that tells."""
    return writes("right")


def red_then_fixed() -> Agent:
    """Wrong at first, right when it is asked for a fix."""
    return by_role(build=writes("wrong"), fix=right())


def by_role(build: Agent, fix: Agent) -> Agent:
    return lambda order, start: (build if order.role == "build" else fix)(order, start)


def by_turn(*turns: Agent) -> Agent:
    """One after the other, within an attempt; the last for ever."""
    return lambda order, start: turns[min(order.turn, len(turns)) - 1](order, start)


def by_attempt(*attempts: Agent) -> Agent:
    return lambda order, start: attempts[min(order.attempt, len(attempts)) - 1](order, start)


def lies() -> Agent:
    """Changes nothing and says that it is done."""
    return lambda order, start: Did(claims=("all done, every test is green",))


def never_right() -> Agent:
    """Wrong each time, in another way each time."""
    return lambda order, start: Did(edits={source(order.ticket): "wrong", proof(order.ticket): f"vacuous {order.turn}"})


def weakens() -> Agent:
    """Makes trunk's own test pass by not looking; undoes it when it is told to."""

    def build(order: TurnOrder, start: Files) -> Did:
        return Did(
            edits={source(order.ticket): "wrong", proof(order.ticket): "vacuous", "tests/test_base.py": "vacuous"}
        )

    def fix(order: TurnOrder, start: Files) -> Did:
        return Did(edits={source(order.ticket): "right", proof(order.ticket): "tells", "tests/test_base.py": "all"})

    return by_role(build, fix)


def vacuous() -> Agent:
    """Adds a test that is green whatever the code does."""
    return writes("right", test="vacuous")


def ends(outcome: TurnOutcome, message: str = "", retry_after_ms: int = 0) -> Agent:
    return lambda order, start: Did(outcome=outcome, message=message, retry_after_ms=retry_after_ms)


def crashes(times: int) -> Agent:
    """Dies in its first attempts."""
    return lambda order, start: Did(outcome="crashed") if order.attempt <= times else right()(order, start)


def scope_creep(path: str = "src/other.py") -> Agent:
    """Wrong at first; its fix changes a file that has nothing to do with it, too."""

    def fix(order: TurnOrder, start: Files) -> Did:
        did = right()(order, start)
        did.edits[path] = f"turn {order.turn}"
        return did

    return by_role(build=writes("wrong"), fix=fix)


def conflicts(path: str = "src/shared.py") -> Agent:
    """Every such ticket writes its own name into one file that all share; markers are resolved by naming all."""

    def turn(order: TurnOrder, start: Files) -> Did:
        did = right()(order, start)
        did.edits[path] = f"{order.ticket} and others" if start.get(path) == CONFLICT else order.ticket
        return did

    return turn
