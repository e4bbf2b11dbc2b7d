"""The story that a log tells, folded from its records alone.

This is a second opinion: it shares the events with the core and nothing else, so a bug in how the core folds its state
does not show up here as well. It believes nothing but records, and it never stops at a record that makes no sense: it
notes an oddity and reads on, because the log of a run that went wrong is the one that somebody wants to read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar, assert_never

from penstock.core import events as e
from penstock.core.digest import Digest
from penstock.core.policy import Policy, Spend
from penstock.core.tickets import Ticket
from penstock.core.verdicts import Evidence

TERMINAL = ("done", "failed", "canceled")
NOTHING = Spend()
T = TypeVar("T")
LookKey = tuple[str, str, str, str]
"""Gate, look, tree, tree it is compared with."""
JobEnd = (
    e.TurnEnded
    | e.CandidateFormed
    | e.CandidateConflicted
    | e.CandidateFailed
    | e.GateEnded
    | e.EnvEnded
    | e.LandEnded
    | e.JobLost
    | e.JobCanceled
)


@dataclass(frozen=True)
class At(Generic[T]):
    """Something in its place in the log."""

    seq: int
    at_ms: int
    what: T


@dataclass
class JobStory:
    """One job from the decision that it is owed to its end; `end` is None while it is in flight."""

    owed: At[e.JobOwed]
    started_ms: int | None = None
    end: At[JobEnd] | None = None
    spent: Spend = NOTHING
    is_assumed: bool = False
    """The agent reported no usage, so the policy's assumption was charged."""

    @property
    def ticket(self) -> str | None:
        return self.owed.what.ticket

    @property
    def begun_ms(self) -> int:
        return self.owed.at_ms if self.started_ms is None else self.started_ms


@dataclass
class AttemptStory:
    """One numbered try of a ticket."""

    started: At[e.AttemptStarted]
    ended: At[e.AttemptEnded] | None = None


@dataclass(frozen=True)
class LandedStory:
    """A candidate that trunk was moved to."""

    seq: int
    at_ms: int
    order: e.LandOrder
    trunk_before: str
    policy: Policy


@dataclass
class TicketStory:
    """What became of one ticket."""

    ticket: Ticket
    state: e.TicketStateName = "waiting"
    moves: list[At[e.TicketMoved]] = field(default_factory=list)
    attempts: list[AttemptStory] = field(default_factory=list)
    jobs: list[JobStory] = field(default_factory=list)
    gate_runs: list[GateStory] = field(default_factory=list)
    """Those that its own jobs made; what closed it may be another's."""
    candidates: dict[str, At[e.CandidateFormed]] = field(default_factory=dict)
    risks: dict[str, At[e.RiskAssessed]] = field(default_factory=dict)
    """By tree."""
    refusals: list[At[e.Refused]] = field(default_factory=list)
    approvals: list[At[e.Approved]] = field(default_factory=list)
    retries: dict[str, int] = field(default_factory=dict)
    landed: LandedStory | None = None
    found_done: At[e.TicketFoundDone] | None = None
    spent: Spend = NOTHING
    raised: Spend = NOTHING


@dataclass(frozen=True)
class GateStory:
    """One gate run that counts."""

    seq: int
    at_ms: int
    job: JobStory
    seen: Evidence


@dataclass(frozen=True)
class TrunkStory:
    """Where trunk was moved. `ticket` is None where somebody else did it."""

    seq: int
    at_ms: int
    commit: str
    tree: str
    ticket: str | None = None


@dataclass
class History:
    """Everything that a report needs to know. `oddities`: records that make no sense where they stand."""

    records: list[e.Record] = field(default_factory=list)
    started: At[e.RunStarted] | None = None
    resumed: list[At[e.RunResumed]] = field(default_factory=list)
    policy: Policy = field(default_factory=Policy)
    tickets: dict[str, TicketStory] = field(default_factory=dict)
    jobs: dict[str, JobStory] = field(default_factory=dict)
    gate_runs: list[GateStory] = field(default_factory=list)
    envs: list[At[tuple[e.EnvOrder, e.EnvEnded]]] = field(default_factory=list)
    trunk: list[TrunkStory] = field(default_factory=list)
    windows: list[At[e.WindowChanged]] = field(default_factory=list)
    quarantined: list[At[e.TestQuarantined]] = field(default_factory=list)
    spent: Spend = NOTHING
    raised: Spend = NOTHING
    spending: list[At[Spend]] = field(default_factory=list)
    """What had been spent in all, after each end of a job that cost something."""
    approved_before: list[e.Approved] = field(default_factory=list)
    concluded: At[e.RunConcluded] | None = None
    oddities: list[str] = field(default_factory=list)
    looks: dict[LookKey, list[int]] = field(default_factory=dict)
    """Places in `gate_runs` of each look, oldest first."""
    plain: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    """Places in `gate_runs` of looks at a tree as it is, by gate and tree, oldest first."""
    by_tree: dict[str, list[GateStory]] = field(default_factory=dict)

    def latest(self, gate: str, look: str, tree: str, base: str, before: int) -> GateStory | None:
        """The newest run of that look before seq `before`."""
        return self._newest(self.looks.get((gate, look, tree, base), []), before)

    def latest_plain(self, gate: str, tree: str, before: int) -> GateStory | None:
        """The newest run before seq `before` of the gate on the tree as it is, whatever it was compared with."""
        return self._newest(self.plain.get((gate, tree), []), before)

    def _newest(self, places: list[int], before: int) -> GateStory | None:
        here = bisect_left(places, before, key=lambda place: self.gate_runs[place].seq)
        return self.gate_runs[places[here - 1]] if here else None

    def in_flight(self) -> list[str]:
        """Keys of jobs that are owed and have no end."""
        return [key for key, job in self.jobs.items() if job.end is None]


def read_history(records: Iterable[e.Record]) -> History:
    """Fold records from the first of a log on."""
    history = History()
    for record in records:
        if record.seq != len(history.records) + 1:
            history.oddities.append(f"seq {record.seq} stands where {len(history.records) + 1} should")
        history.records.append(record)
        _fold(history, record)
    return history


def _fold(history: History, record: e.Record) -> None:
    event = record.event
    match event:
        case e.RunStarted() | e.RunResumed() | e.LedgerRead() | e.RunConcluded():
            _fold_run(history, record, event)
        case e.TicketAdded() | e.TicketFoundDone() | e.TicketMoved() | e.AttemptStarted() | e.AttemptEnded():
            _fold_ticket(history, record, event)
        case e.Refused() | e.RiskAssessed() | e.Approved() | e.BudgetRaised():
            _fold_note(history, record, event)
        case e.JobOwed() | e.JobStarted():
            _fold_job(history, record, event)
        case (
            e.TurnEnded()
            | e.CandidateFormed()
            | e.CandidateConflicted()
            | e.CandidateFailed()
            | e.GateEnded()
            | e.EnvEnded()
            | e.LandEnded()
            | e.JobLost()
            | e.JobCanceled()
        ):
            _end_job(history, record, event)
        case e.TrunkMoved():
            _move_trunk(history, record, event.position.commit, event.position.tree, None)
        case e.WindowChanged():
            history.windows.append(At(record.seq, record.at_ms, event))
        case e.TestQuarantined():
            history.quarantined.append(At(record.seq, record.at_ms, event))
        case e.TimerFired() | e.PauseAsked() | e.ResumeAsked() | e.DrainAsked() | e.CancelAsked():
            pass
        case e.JobUnwanted() | e.FixScopeWidened() | e.BreakerOpened() | e.ReportSealed() | e.RunFinished():
            pass
        case _:
            assert_never(event)


def _fold_run(
    history: History, record: e.Record, event: e.RunStarted | e.RunResumed | e.LedgerRead | e.RunConcluded
) -> None:
    match event:
        case e.RunStarted():
            if history.started is not None:
                history.oddities.append(f"seq {record.seq} starts the run again")
                return
            history.started = At(record.seq, record.at_ms, event)
            history.policy = event.policy
            _move_trunk(history, record, event.trunk.commit, event.trunk.tree, None)
        case e.RunResumed():
            history.resumed.append(At(record.seq, record.at_ms, event))
            history.policy = event.policy or history.policy
        case e.LedgerRead():
            history.approved_before += event.approvals
        case e.RunConcluded():
            history.concluded = At(record.seq, record.at_ms, event)


# --- tickets --------------------------------------------------------------------------------------------------------


def _fold_ticket(
    history: History,
    record: e.Record,
    event: e.TicketAdded | e.TicketFoundDone | e.TicketMoved | e.AttemptStarted | e.AttemptEnded,
) -> None:
    if isinstance(event, e.TicketAdded):
        _add_ticket(history, record, event.ticket)
        return
    story = _story(history, record, event.ticket)
    if story is None:
        return
    match event:
        case e.TicketFoundDone():
            story.found_done = At(record.seq, record.at_ms, event)
        case e.TicketMoved():
            if story.state in TERMINAL:
                history.oddities.append(f"seq {record.seq} moves {event.ticket}, which is {story.state}")
            story.state = event.to
            story.moves.append(At(record.seq, record.at_ms, event))
            if event.cause is not None:
                story.retries[event.cause] = story.retries.get(event.cause, 0) + 1
        case e.AttemptStarted():
            story.attempts.append(AttemptStory(At(record.seq, record.at_ms, event)))
        case e.AttemptEnded():
            if story.attempts:
                story.attempts[-1].ended = At(record.seq, record.at_ms, event)


def _add_ticket(history: History, record: e.Record, ticket: Ticket) -> None:
    if ticket.id in history.tickets:
        history.oddities.append(f"seq {record.seq} adds {ticket.id} again")
        return
    story = TicketStory(ticket)
    story.approvals += [At(record.seq, record.at_ms, a) for a in history.approved_before if a.ticket == ticket.id]
    history.tickets[ticket.id] = story


def _story(history: History, record: e.Record, ticket: str) -> TicketStory | None:
    if ticket not in history.tickets:
        history.oddities.append(f"seq {record.seq} names {ticket}, which is no ticket of this run")
    return history.tickets.get(ticket)


def _fold_note(
    history: History, record: e.Record, event: e.Refused | e.RiskAssessed | e.Approved | e.BudgetRaised
) -> None:
    if isinstance(event, e.BudgetRaised) and event.ticket is None:
        history.raised = history.raised.plus(event.add)
        return
    story = _story(history, record, event.ticket or "")
    if story is None:
        return
    match event:
        case e.Refused():
            story.refusals.append(At(record.seq, record.at_ms, event))
        case e.RiskAssessed():
            story.risks[event.tree] = At(record.seq, record.at_ms, event)
        case e.Approved():
            story.approvals.append(At(record.seq, record.at_ms, event))
        case e.BudgetRaised():
            story.raised = story.raised.plus(event.add)


# --- jobs -----------------------------------------------------------------------------------------------------------


def _fold_job(history: History, record: e.Record, event: e.JobOwed | e.JobStarted) -> None:
    if isinstance(event, e.JobStarted):
        if event.key in history.jobs:
            history.jobs[event.key].started_ms = record.at_ms
        return
    if event.key in history.jobs:
        history.oddities.append(f"seq {record.seq} owes {event.key} again")
        return
    job = JobStory(At(record.seq, record.at_ms, event))
    history.jobs[event.key] = job
    if event.ticket is not None and (story := _story(history, record, event.ticket)):
        story.jobs.append(job)


def _end_job(history: History, record: e.Record, event: JobEnd) -> None:
    """The first end counts; a later one of the same job changes nothing but the record of it."""
    job = history.jobs.get(event.key)
    if job is None:
        history.oddities.append(f"seq {record.seq} ends {event.key}, which was never owed")
        return
    if job.end is not None:
        return
    job.end = At(record.seq, record.at_ms, event)
    _settle(history, record, job, event)
    order = job.owed.what.order
    match event:
        case e.GateEnded() if isinstance(order, e.GateOrder):
            _file_look(history, GateStory(record.seq, record.at_ms, job, event.evidence))
        case e.EnvEnded() if isinstance(order, e.EnvOrder):
            history.envs.append(At(record.seq, record.at_ms, (order, event)))
        case e.CandidateFormed() if isinstance(order, e.MergeOrder):
            if story := _story(history, record, order.ticket):
                story.candidates[event.commit] = At(record.seq, record.at_ms, event)
        case e.LandEnded() if isinstance(order, e.LandOrder):
            _land(history, record, order, event)
        case _:
            pass


def _file_look(history: History, run: GateStory) -> None:
    seen = run.seen
    key = (seen.gate, seen.look, seen.tree, seen.base_tree or "")
    history.looks.setdefault(key, []).append(len(history.gate_runs))
    if seen.look == "base" or (seen.look == "lands" and seen.verdict != "broken"):
        history.plain.setdefault((seen.gate, seen.tree), []).append(len(history.gate_runs))
    history.gate_runs.append(run)
    history.by_tree.setdefault(seen.tree, []).append(run)
    if run.job.ticket in history.tickets:
        history.tickets[run.job.ticket].gate_runs.append(run)


def _land(history: History, record: e.Record, order: e.LandOrder, event: e.LandEnded) -> None:
    story = _story(history, record, order.ticket)
    if event.outcome == "landed" and story is not None:
        before = history.trunk[-1].commit if history.trunk else ""
        story.landed = LandedStory(record.seq, record.at_ms, order, before, history.policy)
        _move_trunk(history, record, order.commit, order.tree, order.ticket)
    elif event.outcome == "moved" and event.position is not None:
        _move_trunk(history, record, event.position.commit, event.position.tree, None)


def _move_trunk(history: History, record: e.Record, commit: str, tree: str, ticket: str | None) -> None:
    if not history.trunk or history.trunk[-1].commit != commit:
        history.trunk.append(TrunkStory(record.seq, record.at_ms, commit, tree, ticket))


def _settle(history: History, record: e.Record, job: JobStory, event: JobEnd) -> None:
    job.spent = _spend_of(history.policy, job, event)
    if job.spent == NOTHING:
        return
    history.spent = history.spent.plus(job.spent)
    history.spending.append(At(record.seq, record.at_ms, history.spent))
    if job.ticket in history.tickets:
        story = history.tickets[job.ticket]
        story.spent = story.spent.plus(job.spent)


def _spend_of(policy: Policy, job: JobStory, event: JobEnd) -> Spend:
    match event:
        case e.JobLost():
            return job.owed.what.reserved
        case e.JobCanceled():
            return event.spent
        case e.GateEnded():
            return Spend(gate_ms=event.evidence.duration_ms)
        case e.TurnEnded():
            said, budget = event.usage, policy.budget
            job.is_assumed = said.tokens is None or said.micro_dollars is None
            return Spend(
                tokens=budget.assumed_tokens_per_turn if said.tokens is None else said.tokens,
                micro_dollars=(
                    budget.assumed_micro_dollars_per_turn if said.micro_dollars is None else said.micro_dollars
                ),
                agent_ms=event.duration_ms,
            )
        case _:
            return NOTHING


def tree_of(history: History, commit: str) -> Digest:
    """Tree of a commit that trunk was at; empty where trunk never was there."""
    return next((t.tree for t in reversed(history.trunk) if t.commit == commit), "")
