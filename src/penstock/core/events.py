"""The closed union of everything that a log can hold.

Inputs say what happened in the world (past tense, reported by the shell); decisions say what the core wants. Both are
facts once they are appended, and `evolve` folds both. A late or repeated input is harmless: it names its job's key.
"""

from __future__ import annotations

from typing import Literal

from penstock.core.digest import Digest
from penstock.core.policy import FailureClass, Frozen, Policy, Risk, Spend
from penstock.core.tickets import Ticket
from penstock.core.verdicts import Evidence, Look

JobKind = Literal["turn", "merge", "gate", "env", "land"]
PROCESS_KINDS: tuple[JobKind, ...] = ("turn", "gate", "env")
"""Never adopted after a crash; the other kinds are repeatable and probed by looking."""
Role = Literal["build", "fix"]
TicketStateName = Literal[
    "waiting",
    "ready",
    "working",
    "verifying",
    "fixing",
    "landing",
    "backoff",
    "held",
    "done",
    "failed",
    "canceled",
]
Outcome = Literal["finished", "stopped", "wedged"]

# --- values that events carry ---------------------------------------------------------------------------------------


class TrunkPosition(Frozen):
    """Where trunk is. `envs`: digest of each environment as this tree's inputs define it."""

    commit: str
    tree: str
    envs: dict[str, Digest] = {}
    control_digest: Digest = ""


class FileChange(Frozen):
    """One changed path of a diff; `kind` by the file classes of the policy."""

    path: str
    status: Literal["added", "modified", "deleted"]
    kind: Literal["production", "test", "control", "protected"]
    lines: int
    """Added plus removed lines; 0 for binary files."""


class Usage(Frozen):
    """What an agent reports to have used; None where it said nothing."""

    tokens: int | None = None
    micro_dollars: int | None = None
    edits: int | None = None
    tool_calls: int | None = None


class LedgerSealed(Frozen):
    """A turn worked under red-green: its ledger ended with `head`, and says so much."""

    session: str
    head: Digest
    mode: Literal["off", "warn", "strict"]
    counts: dict[str, int] = {}
    """`edits`, `refusals`, `pairs`, `weak`, `reverts`, `spawns`, `timeouts`."""
    violations: int = 0
    """Writes that no edit explained."""


class Approved(Frozen, tag_field="type", tag="approved"):
    """A person vouches for the exact candidate tree that the ticket has now (`tree`); void when it changes."""

    ticket: str
    who: str
    reason: str
    gate: str | None = None
    tree: str = ""


class WorkLeft(Frozen):
    """Work that an earlier run imported and neither landed nor refused: the next run goes on from it."""

    ticket: str
    head: str
    base: str
    lines: int


# --- what jobs are asked to do --------------------------------------------------------------------------------------


class TurnOrder(Frozen, tag="turn"):
    """One agent invocation in a fresh clone at `start`."""

    ticket: str
    attempt: int
    role: Role
    start: str
    """Commit the clone starts at; for a fix the red candidate or the conflicted merge."""
    trunk: str
    """Commit on trunk that the work is measured against."""
    turn: int = 1
    """Number of this turn within the attempt, counting only ended ones: the same after a lost job."""
    allowed: tuple[str, ...] = ()
    """Globs the diff may touch; empty: everything. The rest is set aside under a salvage ref."""
    evidence: tuple[int, ...] = ()
    """Seqs of the records whose failing evidence the prompt shows."""
    notes: tuple[str, ...] = ()
    """What earlier turns were refused for, in words for the agent."""
    wall_ms: int = 0
    stall_ms: int = 0


class MergeOrder(Frozen, tag="merge"):
    """Form the candidate: the ticket's work merged onto `onto`, and the trees of the other looks."""

    ticket: str
    revision: Digest
    title: str
    head: str
    onto: str
    evidence_key: str
    """Goes into the commit's trailer; see `spec/judge`."""
    changes_tests: tuple[str, ...] = ()


class GateOrder(Frozen, tag="gate"):
    """One gate run on a clean checkout of exactly `commit`."""

    gate: str
    look: Look
    commit: str
    tree: str
    env_digest: Digest = ""
    env_tree: str = ""
    """The tree whose inputs define the environments."""
    against: Digest | None = None
    """Blob of base's per-test results that this run is compared with."""
    against_tree: str | None = None
    base: str = ""
    """Commit of `against_tree`, for oracles that run or read base."""
    candidate_tests: Digest | None = None
    """`witness`: blob of the candidate's per-test results."""
    only_files: tuple[str, ...] = ()
    """Run only tests of these files, where the runner can; empty: all."""
    excused: tuple[str, ...] = ()
    """Test ids or globs left out of the comparison with base: `changes_tests`."""
    quarantined: tuple[str, ...] = ()
    """Test ids that flip on base: left out of everything."""
    ask: tuple[str, ...] = ()
    """Test ids whose status is to be reported by name."""
    command: str | None = None
    """`criterion`: the ad-hoc command."""


class EnvOrder(Frozen, tag="env"):
    """Build an environment from the inputs of `commit`."""

    env: str
    digest: Digest
    commit: str


class LandOrder(Frozen, tag="land"):
    """Move trunk from `expected` to `commit`, by compare-and-swap, under the fence."""

    ticket: str
    commit: str
    tree: str
    expected: str


Order = TurnOrder | MergeOrder | GateOrder | EnvOrder | LandOrder

# --- inputs: what happened ------------------------------------------------------------------------------------------


class Event(Frozen, tag_field="type"):
    """Base of all records."""


class RunStarted(Event, tag="run_started"):
    """First record of a log."""

    run: str
    seed: int
    version: str
    policy: Policy
    branch: str
    """Target branch the work starts from."""
    landing_ref: str
    """Full ref that proven work lands on."""
    trunk: TrunkPosition
    isolation: str
    agent: str


class RunResumed(Event, tag="run_resumed"):
    """A new writer took the run over; `policy` only where the settings changed in between.

    Then `envs` are trunk's environments by the new settings, and what was seen by a gate that changed counts no more.
    """

    version: str
    epoch: int
    policy: Policy | None = None
    envs: dict[str, Digest] = {}


class LedgerRead(Event, tag="ledger_read"):
    """What earlier runs of this repository left: attempts and retries per ticket revision. No run resets a counter."""

    attempts: dict[Digest, int] = {}
    retries: dict[Digest, dict[FailureClass, int]] = {}
    quarantined: tuple[str, ...] = ()
    work: dict[Digest, WorkLeft] = {}
    approvals: tuple[Approved, ...] = ()


class TicketAdded(Event, tag="ticket_added"):
    ticket: Ticket


class TicketFoundDone(Event, tag="ticket_found_done"):
    """Trunk carries the trailer of exactly this revision: an earlier run did it."""

    ticket: str
    commit: str


class TrunkMoved(Event, tag="trunk_moved"):
    """Somebody else moved the landing ref. Never claimed as ours."""

    position: TrunkPosition


class JobStarted(Event, tag="job_started"):
    key: str
    pid: int = 0
    start_ticks: int = 0
    boot: str = ""


class JobLost(Event, tag="job_lost"):
    """The job's supervisor died with it, or its end was never recorded. Settled in full, no attempt consumed."""

    key: str
    reason: str


class JobCanceled(Event, tag="job_canceled"):
    """The shell stopped the job because the core asked for it."""

    key: str
    spent: Spend = Spend()


class TurnEnded(Event, tag="turn_ended"):
    """The agent stopped and what it left in its clone was imported. Its word is a claim and is recorded as one."""

    key: str
    outcome: Literal[
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
    message: str = ""
    exit_status: int | None = None
    head: str = ""
    """Imported commit; equals the start where nothing changed."""
    tree: str = ""
    changes: tuple[FileChange, ...] = ()
    """Against the turn's start, at most 500 listed."""
    lines: int = 0
    total_lines: int = 0
    """Against trunk: the ticket's whole unverified diff."""
    is_empty: bool = False
    """The whole diff against trunk is empty."""
    pending_markers: int = 0
    set_aside: tuple[str, ...] = ()
    """Paths beyond `allowed`, kept under `salvage` and not merged."""
    protected: tuple[str, ...] = ()
    """Protected paths it changed: base's stay in force."""
    salvage: str = ""
    """Ref that keeps everything the turn made."""
    proposed: tuple[str, ...] = ()
    """Files under `.penstock/proposed/`: tickets that the agent suggests. Never part of the candidate."""
    usage: Usage = Usage()
    claims: tuple[str, ...] = ()
    prompt: Digest | None = None
    output: Digest | None = None
    duration_ms: int = 0
    retry_after_ms: int = 0
    ledger: LedgerSealed | None = None
    """Its red-green ledger; None where the turn worked without one."""


class CandidateFormed(Event, tag="candidate_formed"):
    """The merge succeeded. Trees of looks that are not needed are empty."""

    key: str
    commit: str
    tree: str
    base: str
    base_tree: str
    changes: tuple[FileChange, ...] = ()
    lines: int = 0
    judge_commit: str = ""
    judge_tree: str = ""
    witness_commit: str = ""
    witness_tree: str = ""
    witness_files: tuple[str, ...] = ()
    """Test files added or changed by the candidate."""
    weakened: tuple[str, ...] = ()
    """Base tests whose syntax tree, decorators or fixtures changed: `tests/test_a.py::test_b`."""
    meddling: tuple[str, ...] = ()
    """Production files that now speak of the test runner, where base's production code never did."""
    pending_markers: int = 0
    envs: dict[str, Digest] = {}
    control_digest: Digest = ""


class CandidateConflicted(Event, tag="candidate_conflicted"):
    """The work does not merge. `start` is a commit with the conflict markers in place."""

    key: str
    paths: tuple[str, ...]
    start: str


class CandidateFailed(Event, tag="candidate_failed"):
    """Git could not do it: a failure of the world, not of the ticket."""

    key: str
    message: str


class GateEnded(Event, tag="gate_ended"):
    key: str
    evidence: Evidence


class EnvEnded(Event, tag="env_ended"):
    key: str
    ok: bool
    message: str = ""
    output: Digest | None = None
    duration_ms: int = 0


class LandEnded(Event, tag="land_ended"):
    """`moved`: trunk was not where it was expected, nothing changed. `failed`: git refused for another reason."""

    key: str
    outcome: Literal["landed", "moved", "failed"]
    position: TrunkPosition | None = None
    message: str = ""


class TimerFired(Event, tag="timer_fired"):
    """Time reached `due_ms`. Carries nothing else: time is the record's own."""

    due_ms: int


class PauseAsked(Event, tag="pause_asked"):
    who: str


class ResumeAsked(Event, tag="resume_asked"):
    who: str


class DrainAsked(Event, tag="drain_asked"):
    """No new starts; what runs may end; then the run stops."""

    who: str


class CancelAsked(Event, tag="cancel_asked"):
    ticket: str
    who: str
    reason: str = ""


class BudgetRaised(Event, tag="budget_raised"):
    who: str
    add: Spend
    ticket: str | None = None


class ReportSealed(Event, tag="report_sealed"):
    """The report covers seq 1..`n`, whose head is `head`; this record is n+1."""

    n: int
    head: Digest
    digest: Digest


# --- decisions: what the core wants ---------------------------------------------------------------------------------


class TicketMoved(Event, tag="ticket_moved"):
    """The only way that a ticket changes state. `cause` is the failure class where there is one."""

    ticket: str
    to: TicketStateName
    reason: str
    cause: FailureClass | None = None
    due_ms: int = 0
    """`backoff`: when the retry is due."""
    frees: str = ""
    """`held`: the command that frees it."""
    commit: str = ""
    """`done`: what landed, or what showed that it was satisfied."""
    evidence: tuple[int, ...] = ()
    """`fixing`: seqs of the evidence that is red, which the fix turn is shown."""


class AttemptStarted(Event, tag="attempt_started"):
    ticket: str
    attempt: int
    base: str


class AttemptEnded(Event, tag="attempt_ended"):
    ticket: str
    attempt: int
    reason: str
    cause: FailureClass | None = None


class JobOwed(Event, tag="job_owed"):
    """Do this once. Durable before it is begun; `reserved` is held until it is settled."""

    key: str
    order: Order
    ticket: str | None = None
    reserved: Spend = Spend()
    why: str = ""


class JobUnwanted(Event, tag="job_unwanted"):
    """Stop that job: its ticket was cancelled or the run stops at once."""

    key: str
    reason: str


class Refused(Event, tag="refused"):
    """Something was not let through. `kind` names the rule; the reason is for people and goes to the agent."""

    ticket: str
    kind: Literal[
        "weakened",
        "shrunk",
        "expansion",
        "protected",
        "turn_too_large",
        "vacuous",
        "red",
        "broken",
        "conflict",
        "no_change",
        "criteria_open",
        "pending_markers",
    ]
    reason: str
    paths: tuple[str, ...] = ()
    salvage: str = ""


class RiskAssessed(Event, tag="risk_assessed"):
    ticket: str
    tree: str
    risk: Risk
    gates: tuple[str, ...]
    why: str


class FixScopeWidened(Event, tag="fix_scope_widened"):
    """The one widening per attempt that a fix turn may have."""

    ticket: str
    paths: tuple[str, ...]


class WindowChanged(Event, tag="window_changed"):
    size: int
    reason: str


class TestQuarantined(Event, tag="test_quarantined"):
    """It flips on base: nobody's red, and nobody's criterion."""

    __test__ = False
    test: str
    gate: str
    reason: str
    seen: int
    """Seq of the red evidence: that look is taken again without this test."""


class BreakerOpened(Event, tag="breaker_opened"):
    """A terminal failure (quota, authentication): nothing more starts, the run stops."""

    cause: FailureClass
    reason: str


class Clause(Frozen):
    """One of the six clauses of the done proof; the witness names records or counts."""

    n: int
    text: str
    holds: bool
    witness: str


class WaitsFor(Frozen):
    """Why a ticket is still open, and what would move it."""

    ticket: str
    state: str
    what: str


class RunConcluded(Event, tag="run_concluded"):
    """The last decision before the report: how it ends, and clauses 1 to 5."""

    outcome: Outcome
    exit_code: int
    reason: str
    clauses: tuple[Clause, ...]
    open: tuple[WaitsFor, ...] = ()


class RunFinished(Event, tag="run_finished"):
    """n+2, the last record of a sealed log."""

    outcome: Outcome
    exit_code: int


Input = (
    RunStarted
    | RunResumed
    | LedgerRead
    | TicketAdded
    | TicketFoundDone
    | TrunkMoved
    | JobStarted
    | JobLost
    | JobCanceled
    | TurnEnded
    | CandidateFormed
    | CandidateConflicted
    | CandidateFailed
    | GateEnded
    | EnvEnded
    | LandEnded
    | TimerFired
    | PauseAsked
    | ResumeAsked
    | DrainAsked
    | CancelAsked
    | Approved
    | BudgetRaised
    | ReportSealed
)

Decision = (
    TicketMoved
    | AttemptStarted
    | AttemptEnded
    | JobOwed
    | JobUnwanted
    | Refused
    | RiskAssessed
    | FixScopeWidened
    | WindowChanged
    | TestQuarantined
    | BreakerOpened
    | RunConcluded
    | RunFinished
)

Decisions = tuple[Decision, ...]
AnyEvent = Input | Decision
DECISIONS: tuple[type[Decision], ...] = Decision.__args__


class Chained(Frozen):
    """What every record of a hash-chained log has: contiguous `seq` from 1, logical time that never goes back."""

    seq: int
    at_ms: int


class Record(Chained):
    """One event in its place in the log of a run."""

    event: AnyEvent
