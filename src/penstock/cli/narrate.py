"""One line for people per record that matters to them."""

from __future__ import annotations

from datetime import datetime

from penstock.core import events as e
from penstock.core.state import State
from penstock.evidence.run_words import said
from penstock.evidence.words import counted, plain


def line(record: e.Record, state: State) -> str | None:
    """`12:03:07 MONEY-1 fixing: tests: 2 of 31 are red`, or None for records that only machines read."""
    text = _text(record.event, state)
    if text is None:
        return None
    return f"{datetime.fromtimestamp(record.at_ms / 1000):%H:%M:%S} {plain(text)}"


def _text(event: e.AnyEvent, state: State) -> str | None:
    match event:
        case e.TicketMoved() | e.Refused() | e.Approved():
            return f"{event.ticket} {said(event)}"
        case e.WindowChanged() | e.TestQuarantined() | e.RunConcluded():
            return said(event)
        case e.RunStarted():
            where = f"on {event.branch}, landing on {_short_ref(event.landing_ref)}"
            return f"run {event.run} {where}, sandbox: {event.isolation}"
        case e.RunResumed():
            return "the run goes on"
        case e.TurnEnded():
            claim = f' (said: "{event.claims[-1][:80]}")' if event.claims else ""
            return f"{_subject(event.key)} agent {event.outcome}, {counted(event.lines, 'line')}{claim}"
        case e.GateEnded():
            return f"{_owner(event.key, state)}{said(event)}"
        case e.JobOwed(order=e.EnvOrder()):
            return f"setting up environment {_subject(event.key)}"
        case e.EnvEnded():
            return f"environment {_subject(event.key)} {'built' if event.ok else 'failed: ' + event.message}"
        case e.BreakerOpened():
            return f"breaker opened: {event.reason}"
        case e.PauseAsked() | e.ResumeAsked() | e.DrainAsked():
            return f"{type(event).__name__.removesuffix('Asked').lower()} asked by {event.who}"
        case e.JobLost():
            return f"lost: {event.key.split('/', 1)[1]}: {event.reason}"
        case _:
            return None


def _subject(key: str) -> str:
    return key.split("/")[2]


def _owner(key: str, state: State) -> str:
    for name, run in state.tickets.items():
        if (
            run.state in ("verifying", "ready", "landing")
            and run.candidate
            and key.split("@")[-1][:10]
            in (
                run.candidate.tree[:10],
                run.candidate.judge_tree[:10],
                run.candidate.witness_tree[:10],
            )
        ):
            return f"{name} "
    return ""


def _short_ref(ref: str) -> str:
    return ref.removeprefix("refs/heads/")
