"""The state machines, as data. What is not in a table is refused with nothing changed."""

from __future__ import annotations

from penstock.core.events import TicketStateName

OPEN: frozenset[TicketStateName] = frozenset(
    {"waiting", "ready", "working", "verifying", "fixing", "landing", "backoff", "held"}
)
TERMINAL: frozenset[TicketStateName] = frozenset({"done", "failed", "canceled"})
ACTIVE: frozenset[TicketStateName] = frozenset({"working", "verifying", "fixing", "landing"})
"""States that hold a slot of the window."""

TICKET_MOVES: dict[TicketStateName, frozenset[TicketStateName]] = {
    "waiting": frozenset({"ready", "held", "canceled", "done"}),
    "ready": frozenset({"working", "done", "held", "failed", "canceled"}),
    "working": frozenset({"verifying", "backoff", "held", "failed", "canceled"}),
    "verifying": frozenset({"landing", "fixing", "working", "backoff", "held", "failed", "canceled"}),
    "fixing": frozenset({"verifying", "backoff", "held", "failed", "canceled"}),
    "landing": frozenset({"done", "verifying", "fixing", "backoff", "held", "canceled"}),
    "backoff": frozenset({"working", "verifying", "fixing", "landing", "failed", "held", "canceled"}),
    "held": frozenset({"waiting", "ready", "working", "verifying", "fixing", "landing", "canceled"}),
    "done": frozenset(),
    "failed": frozenset(),
    "canceled": frozenset(),
}


class IllegalMove(Exception):
    """A ticket was asked to go where its table does not lead; nothing was changed."""


def require_move(ticket: str, here: TicketStateName, to: TicketStateName) -> None:
    """Raise `IllegalMove` unless the table leads from `here` to `to`."""
    if to not in TICKET_MOVES[here]:
        raise IllegalMove(f"{ticket}: {here} does not lead to {to}")
