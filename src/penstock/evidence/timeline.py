"""What happened, in one line per record that people want to hear of."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.core import events as e
from penstock.evidence.history import History, JobStory
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
    match event:
        case e.TicketMoved():
            return event.ticket, f"{event.to}: {event.reason}"
        case e.TicketFoundDone():
            return event.ticket, f"trunk has it already: {event.commit[:10]}"
        case e.AttemptStarted():
            return event.ticket, f"attempt {event.attempt} begins on {event.base[:10]}"
        case e.Refused():
            return event.ticket, f"refused ({event.kind}): {event.reason}"
        case e.RiskAssessed():
            return event.ticket, f"risk {event.risk} ({event.why}): {', '.join(event.gates) or 'no gate'}"
        case e.FixScopeWidened():
            return event.ticket, f"the fix may also touch {', '.join(event.paths[:5])}"
        case e.CancelAsked():
            return event.ticket, f"canceled by {event.who} {event.reason}"
        case e.Approved():
            return event.ticket, f"approved by {event.who}: {event.reason}"
        case e.BudgetRaised():
            return event.ticket or "", f"budget raised by {event.who}"
        case _:
            return _told_of_job_or_run(history, event)


def _told_of_job_or_run(history: History, event: e.AnyEvent) -> tuple[str, str] | None:
    key = getattr(event, "key", None)
    job = history.jobs.get(key) if isinstance(key, str) else None
    if job is None:
        return _told_of_run(event)
    text = _told_of_job(event, job)
    return (job.ticket or "", text) if text else None


def _told_of_job(event: e.AnyEvent, job: JobStory) -> str:
    match event:
        case e.TurnEnded():
            order = job.owed.what.order
            role = order.role if isinstance(order, e.TurnOrder) else ""
            return f"{role} turn {event.outcome}: {event.lines} lines {event.message}"
        case e.CandidateFormed():
            return f"candidate {event.commit[:10]} on {event.base[:10]}, {event.lines} lines"
        case e.CandidateConflicted():
            return f"conflict in {', '.join(event.paths[:5])}"
        case e.CandidateFailed():
            return f"no candidate: {event.message}"
        case e.GateEnded():
            seen = event.evidence
            return f"{seen.gate} ({seen.look}) {seen.verdict}" + (f": {seen.why}" if seen.why else "")
        case e.EnvEnded():
            return "environment built" if event.ok else f"environment failed: {event.message}"
        case e.LandEnded():
            return f"landing: {event.outcome} {event.message}"
        case e.JobLost():
            return f"{_kind(event.key)} lost: {event.reason}"
        case e.JobUnwanted():
            return f"{_kind(event.key)} is to stop: {event.reason}"
        case _:
            return ""


def _kind(key: str) -> str:
    return key.split("/")[1] if "/" in key else "job"


def _told_of_run(event: e.AnyEvent) -> tuple[str, str] | None:
    match event:
        case e.RunStarted():
            return "", f"the run begins on {event.branch} at {event.trunk.commit[:10]}"
        case e.RunResumed():
            return "", "the run goes on" + (" with changed settings" if event.policy else "")
        case e.TrunkMoved():
            return "", f"somebody else moved trunk to {event.position.commit[:10]}"
        case e.WindowChanged():
            return "", f"window {event.size}: {event.reason}"
        case e.TestQuarantined():
            return "", f"quarantined {event.test}: {event.reason}"
        case e.BreakerOpened():
            return "", f"nothing more starts ({event.cause}): {event.reason}"
        case e.PauseAsked():
            return "", f"paused by {event.who}"
        case e.ResumeAsked():
            return "", f"resumed by {event.who}"
        case e.DrainAsked():
            return "", f"drained by {event.who}"
        case e.RunConcluded():
            return "", f"{event.outcome}: {event.reason}"
        case _:
            return None
