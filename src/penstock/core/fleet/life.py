"""The life of a worker, as a table.

starting ── loading ── idle ⇄ busy ── draining ── stopped        and failed, from anywhere that has not ended
"""

from __future__ import annotations

from typing import Literal, get_args

WorkerState = Literal["starting", "loading", "idle", "busy", "draining", "stopped", "failed"]
STATES: tuple[WorkerState, ...] = get_args(WorkerState)

TRANSITIONS: dict[WorkerState, frozenset[WorkerState]] = {
    "starting": frozenset({"loading", "idle", "draining", "stopped", "failed"}),
    "loading": frozenset({"idle", "draining", "stopped", "failed"}),
    "idle": frozenset({"busy", "draining", "stopped", "failed"}),
    "busy": frozenset({"idle", "draining", "failed"}),
    "draining": frozenset({"stopped", "failed"}),
    "stopped": frozenset(),
    "failed": frozenset(),
}
LIVE: frozenset[WorkerState] = frozenset({"starting", "loading", "idle", "busy", "draining"})
SERVING: frozenset[WorkerState] = frozenset({"idle", "busy"})
"""May be given a request, if a slot is free."""


def may_move(old: WorkerState, new: WorkerState) -> bool:
    """Whether a worker that is `old` may become `new`. To stay is no move."""
    return new in TRANSITIONS[old]


class IllegalMove(Exception):
    """A worker cannot go that way; nothing happened."""


def moved(old: WorkerState, new: WorkerState) -> WorkerState:
    """`new`. Raises `IllegalMove` where the table has no such transition."""
    if not may_move(old, new):
        raise IllegalMove(f"a worker that is {old} cannot become {new}")
    return new
