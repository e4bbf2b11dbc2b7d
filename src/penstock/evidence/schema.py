"""The report as data: `penstock-report/1`. Every field is always written, so that a reader needs no defaults.

What is here is told by the log alone: no clock, no environment, no blob. Text comes from tickets, agents and gates and
is untrusted; whoever shows it escapes it. Times are integer milliseconds, money is integer micro-dollars.
"""

from __future__ import annotations

from typing import dataclass_transform

import msgspec

from penstock.core.digest import Digest

SCHEMA = "penstock-report/1"


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything in a report: immutable, complete, strict."""


class Amount(Line):
    """What was spent, or may be; None is no bound."""

    tokens: int | None = None
    micro_dollars: int | None = None
    agent_ms: int | None = None
    gate_ms: int | None = None


class TestLine(Line):
    """One test that is not green."""

    __test__ = False
    id: str
    status: str
    kind: str
    where: str
    message: str


class EvidenceLine(Line):
    """One gate run: what was seen, on which tree, compared with which. `base`: tree, empty where none was read."""

    seq: int
    at_ms: int
    gate: str
    look: str
    verdict: str
    why: str
    base: str
    tree: str
    commit: str
    gate_digest: Digest
    control_digest: Digest
    env_digest: Digest
    duration_ms: int
    exit_status: int | None
    counts: dict[str, int] | None
    failed: tuple[TestLine, ...]
    missing: tuple[str, ...]
    telling: tuple[str, ...]
    tests: Digest | None
    output: Digest | None
    isolation: str
    forgeable: bool


class TurnLine(Line):
    """One agent invocation. `claims` are the agent's words."""

    seq: int | None
    """None while it runs."""
    began_ms: int
    duration_ms: int
    attempt: int
    turn: int
    role: str
    outcome: str
    message: str
    lines: int
    files: tuple[str, ...]
    tokens: int | None
    micro_dollars: int | None
    claims: tuple[str, ...]
    set_aside: tuple[str, ...]
    salvage: str
    output: Digest | None


class AttemptLine(Line):
    """One numbered try, and why it ended; both empty where it ended with the ticket."""

    attempt: int
    seq: int
    base: str
    reason: str
    cause: str


class ChangeLine(Line):
    """One file of what landed."""

    path: str
    status: str
    kind: str
    lines: int


class RefusalLine(Line):
    """Something that was not let through."""

    ticket: str
    kind: str
    seq: int
    at_ms: int
    reason: str
    paths: tuple[str, ...]
    salvage: str


class MoveLine(Line):
    """One change of a ticket's state."""

    seq: int
    at_ms: int
    to: str
    reason: str
    cause: str


class WitnessLine(Line):
    """Why it is safe: what tells that the ticket does what was asked."""

    kind: str
    """`criterion`, `new_test`, `approved`, `tells_nothing`, `already_satisfied`, `earlier_run` or `none`."""
    text: str
    seqs: tuple[int, ...]


class ApprovalLine(Line):
    """Somebody vouched for exactly this tree."""

    seq: int
    who: str
    reason: str
    gate: str
    tree: str


class RedGreenLine(Line):
    """What the turns of a ticket came to under red-green. `modes`: those that were in force, in order."""

    modes: tuple[str, ...]
    turns: int
    edits: int
    refusals: int
    pairs: int
    weak: int
    reverts: int
    timeouts: int
    unclaimed: int


class TicketLine(Line):
    """One ticket: what was asked, what became of it, what shows that it is safe."""

    id: str
    title: str
    kind: str
    priority: int
    depends_on: tuple[str, ...]
    source: str
    revision: Digest
    body: Digest
    scope: tuple[str, ...]
    acceptance: tuple[str, ...]
    state: str
    reason: str
    frees: str
    """The command that frees it, where it is held."""
    attempts: int
    commit: str
    tree: str
    base: str
    """Commit that the landed one was verified against; empty where nothing landed."""
    landed_seq: int | None
    witness: WitnessLine
    objections: tuple[str, ...]
    """What is missing for a ticket that claims to be done."""
    risk: str
    risk_why: str
    gates: tuple[str, ...]
    lines: int
    changes: tuple[ChangeLine, ...]
    evidence: tuple[EvidenceLine, ...]
    """Newest of each look on exactly the tree that landed."""
    looks: tuple[EvidenceLine, ...]
    """Base's judge and the witness, on the trees made of what landed."""
    earlier: tuple[EvidenceLine, ...]
    """What was seen on its way: other candidates, control runs, looks that were taken again."""
    turns: tuple[TurnLine, ...]
    attempt_log: tuple[AttemptLine, ...]
    moves: tuple[MoveLine, ...]
    retries: dict[str, int]
    approvals: tuple[ApprovalLine, ...]
    spent: Amount
    cap: Amount
    red_green: RedGreenLine | None = None
    """None where no turn was held to it."""


class ClauseLine(Line):
    """One clause of the proof. `claimed`: what the run said of itself; None where it said nothing."""

    n: int
    text: str
    holds: bool
    witness: str
    claimed: bool | None = None


class Proof(Line):
    """The six clauses. `holds` is None where all that can be told before the seal holds."""

    holds: bool | None
    clauses: tuple[ClauseLine, ...]
    objections: tuple[str, ...]
    """Records that make no sense where they stand."""


class Seal(Line):
    """What the log says of its report, and whether that is so."""

    n: int
    head: Digest
    digest: Digest
    holds: bool
    witness: str


class Covers(Line):
    """The report is about records 1..n, whose chain ends in `head`."""

    n: int
    head: Digest


class TrunkMove(Line):
    """Where trunk was moved; `ticket` is empty where somebody else did it."""

    seq: int
    commit: str
    tree: str
    ticket: str


class Trunk(Line):
    """The target branch. `before` and `after` are commits."""

    branch: str
    ref: str
    before: str
    after: str
    before_tree: str
    after_tree: str
    moves: tuple[TrunkMove, ...]


class SpendPoint(Line):
    """What had been spent in all by then."""

    seq: int
    at_ms: int
    spent: Amount


class Budget(Line):
    """Caps (with what was added to them), and what was spent."""

    cap: Amount
    raised: Amount
    spent: Amount
    assumed_turns: int
    """Turns that reported no usage and were charged the policy's assumption."""
    history: tuple[SpendPoint, ...]


class WindowPoint(Line):
    """How many tickets may be in flight from here on."""

    seq: int
    at_ms: int
    size: int
    reason: str


class GateLine(Line):
    """A gate and its health in this run."""

    name: str
    command: str
    tier: str
    oracle: str
    digest: Digest
    runs: int
    passed: int
    failed: int
    broken: int
    flaky: int
    pending: int
    duration_ms: int
    never_failed: bool
    """It ran and never was red: nothing in this run shows that it can be."""


class EnvLine(Line):
    """An environment that was built for gates and agents."""

    name: str
    digest: Digest
    seq: int
    at_ms: int
    ok: bool
    message: str
    duration_ms: int


class QuarantineLine(Line):
    """A test that flips on base."""

    seq: int
    test: str
    gate: str
    reason: str


class OpenLine(Line):
    """A ticket that is still open, and what would move it."""

    ticket: str
    state: str
    what: str


class TimelineLine(Line):
    """One thing that happened, in words."""

    seq: int
    at_ms: int
    ticket: str
    text: str


class Report(Line):
    """What a run was asked, what it did, and what shows that it is so."""

    schema: str
    run: str
    outcome: str
    """`finished`, `stopped`, `wedged`, or `unfinished`."""
    exit_code: int | None
    reason: str
    summary: str
    covers: Covers
    seal: Seal | None
    trunk: Trunk
    tickets: tuple[TicketLine, ...]
    open: tuple[OpenLine, ...]
    proof: Proof
    budget: Budget
    refusals: tuple[RefusalLine, ...]
    baseline: tuple[EvidenceLine, ...]
    gates: tuple[GateLine, ...]
    environments: tuple[EnvLine, ...]
    quarantined: tuple[QuarantineLine, ...]
    window: tuple[WindowPoint, ...]
    timeline: tuple[TimelineLine, ...]
    started_ms: int
    ended_ms: int
    seed: int
    agent: str
    isolation: str
    versions: tuple[str, ...]
    policy_digest: Digest
