"""What happened, in one line per record that people want to hear of."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.core import events as e
from penstock.evidence.history import History, JobStory
from penstock.evidence.run_words import said
from penstock.evidence.schema import TimelineLine

WORDS_MAX = 300


def tell(history: History) -> Iterator[TimelineLine]:
    """The lines, in the order of the log."""
    for record in history.records:
        found = _told(history, record.event)
        if found is not None:
            ticket, text = found
            yield TimelineLine(seq=record.seq, at_ms=record.at_ms, ticket=ticket, text=shorten(text))


def shorten(text: str, most: int = WORDS_MAX) -> str:
    """The text on one line, at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _told(history: History, event: e.AnyEvent) -> tuple[str, str] | None:
    """Ticket (may be empty) and text."""
    job = history.jobs.get(getattr(event, "key", ""))
    ticket: str | None = job.ticket if job else getattr(event, "ticket", None)
    text = _turn(event, job) if isinstance(event, e.TurnEnded) else said(event)
    return (ticket or "", text) if text else None


def _turn(event: e.TurnEnded, job: JobStory | None) -> str:
    order = job.owed.what.order if job else None
    role = order.role if isinstance(order, e.TurnOrder) else ""
    return f"{role} turn {event.outcome}: {event.lines} lines {event.message}"
