"""What a run's log holds, in words for people: one line per event, for who watches and for who reads the report."""

from __future__ import annotations

from penstock.core import events as e


def said(event: e.AnyEvent) -> str:
    """What the event says beside its ticket; empty where only machines read it, and for turns, which are told apart."""
    match event:
        case e.TicketMoved():
            return f"{event.to}: {event.reason}"
        case e.TicketFoundDone():
            return f"trunk has it already: {event.commit[:10]}"
        case e.AttemptStarted():
            return f"attempt {event.attempt} begins on {event.base[:10]}"
        case e.Refused():
            return f"refused ({event.kind}): {event.reason}"
        case e.RiskAssessed():
            return f"risk {event.risk} ({event.why}): {', '.join(event.gates) or 'no gate'}"
        case e.FixScopeWidened():
            return f"the fix may also touch {', '.join(event.paths[:5])}"
        case e.CancelAsked():
            return f"canceled by {event.who} {event.reason}"
        case e.Approved():
            return f"approved by {event.who}: {event.reason}"
        case e.BudgetRaised():
            return f"budget raised by {event.who}"
        case _:
            return _said_of_job(event) or _said_of_run(event)


def _said_of_job(event: e.AnyEvent) -> str:
    match event:
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


def _said_of_run(event: e.AnyEvent) -> str:
    match event:
        case e.RunStarted():
            return f"the run begins on {event.branch} at {event.trunk.commit[:10]}"
        case e.RunResumed():
            return "the run goes on" + (" with changed settings" if event.policy else "")
        case e.TrunkMoved():
            return f"somebody else moved trunk to {event.position.commit[:10]}"
        case e.WindowChanged():
            return f"window {event.size}: {event.reason}"
        case e.TestQuarantined():
            return f"quarantined {event.test}: {event.reason}"
        case e.BreakerOpened():
            return f"nothing more starts ({event.cause}): {event.reason}"
        case e.PauseAsked():
            return f"paused by {event.who}"
        case e.ResumeAsked():
            return f"resumed by {event.who}"
        case e.DrainAsked():
            return f"drained by {event.who}"
        case e.RunConcluded():
            return f"{event.outcome}: {event.reason}"
        case _:
            return ""
