"""The state of a log: its records, folded."""

from __future__ import annotations

from penstock import ports
from penstock.core.evolve import evolve
from penstock.core.state import State


def fold(log: ports.EventLog, state: State | None = None) -> State:
    """The state that the log's records give, from the beginning or from a snapshot's state."""
    state = state or State()
    for record in log.read(after=state.seq):
        evolve(state, record)
    return state
