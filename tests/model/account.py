"""An outsider's account of a run, kept from its records alone: what the laws judge by."""

from __future__ import annotations

from collections import Counter

import msgspec

from penstock.core import events as e
from penstock.core.policy import Policy, Spend
from penstock.core.tickets import CommandCriterion, GateCriterion, TestCriterion, Ticket
from penstock.core.verdicts import Evidence

ACTIVE = ("working", "verifying", "fixing", "landing")
TERMINAL = ("done", "failed", "canceled")


class Account(msgspec.Struct):
    """What the records say of one ticket."""

    ticket: Ticket
    state: str = "waiting"
    attempt: int = 0
    attempt_live: bool = False
    turns: int = 0
    live: dict[str, None] = {}
    spent: Spend = Spend()
    reserved: Spend = Spend()
    raised: Spend = Spend()
    retries: Counter[str] = Counter()
    turn: e.TurnEnded | None = None
    candidate: e.CandidateFormed | None = None
    gates: tuple[str, ...] = ()
    unverified: int | None = None
    """Lines of imported work that no verdict was given on."""
    unmet_on: str = ""
    """Trunk's tree when the first turn of the attempt was owed."""
    cancel: bool = False
    landed: str = ""
    found: bool = False
    approvals: tuple[e.Approved, ...] = ()


class Book:
    """The account of a whole run. `write` enters a record, after the laws have judged it."""

    def __init__(self) -> None:
        self.policy = Policy()
        self.seq = 0
        self.at_ms = 0
        self.tickets: dict[str, Account] = {}
        self.jobs: dict[str, e.JobOwed] = {}
        self.keys: set[str] = set()
        self.trunk = ""
        self.trunk_tree = ""
        self.evidence: list[Evidence] = []
        self.seqs: dict[int, Evidence] = {}
        self.window = 0
        self.spent = Spend()
        self.reserved = Spend()
        self.raised = Spend()
        self.retries_before: dict[str, dict[str, int]] = {}
        self.attempts_before: dict[str, int] = {}
        self.draining = False
        self.concluded: e.RunConcluded | None = None
        self.sealed = 0
        self.approvals: tuple[e.Approved, ...] = ()

    def write(self, record: e.Record) -> None:
        event = record.event
        self.seq, self.at_ms = record.seq, record.at_ms
        match event:
            case e.RunStarted():
                self.policy = event.policy
                self.trunk, self.trunk_tree = event.trunk.commit, event.trunk.tree
                self.window = min(event.policy.limits.window_start, event.policy.limits.window_max)
            case e.LedgerRead():
                self.retries_before = {d: {str(c): n for c, n in r.items()} for d, r in event.retries.items()}
                self.attempts_before = dict(event.attempts)
                self.approvals = event.approvals
            case e.TicketAdded():
                before = self.retries_before.get(event.ticket.digest, {})
                account = Account(ticket=event.ticket, retries=Counter(before))
                account.approvals = tuple(a for a in self.approvals if a.ticket == event.ticket.id)
                account.attempt = self.attempts_before.get(event.ticket.digest, 0)
                self.tickets.setdefault(event.ticket.id, account)
            case e.TicketFoundDone():
                self.tickets[event.ticket].found = True
            case e.TrunkMoved():
                self.trunk, self.trunk_tree = event.position.commit, event.position.tree
            case e.CancelAsked():
                if event.ticket in self.tickets and self.tickets[event.ticket].state not in TERMINAL:
                    self.tickets[event.ticket].cancel = True
            case e.Approved():
                if event.ticket in self.tickets:
                    self.tickets[event.ticket].approvals += (event,)
            case e.BudgetRaised(ticket=None):
                self.raised = self.raised.plus(event.add)
            case e.BudgetRaised():
                account = self.tickets[event.ticket or ""]
                account.raised = account.raised.plus(event.add)
            case e.DrainAsked():
                self.draining = True
            case e.RunResumed():
                self.draining = False
            case e.ReportSealed():
                self.sealed = record.seq
            case e.RunConcluded():
                self.concluded = event
            case e.WindowChanged():
                self.window = event.size
            case e.AttemptStarted():
                account = self.tickets[event.ticket]
                account.attempt, account.attempt_live, account.turns = event.attempt, True, 0
                account.unmet_on = self.trunk_tree
            case e.AttemptEnded():
                self.tickets[event.ticket].attempt_live = False
            case e.RiskAssessed():
                self.tickets[event.ticket].gates = event.gates
            case e.TicketMoved():
                self._moved(event)
            case e.JobOwed():
                self._owed(event)
            case e.JobLost() | e.JobCanceled() | e.TurnEnded() | e.GateEnded() | e.EnvEnded() | e.LandEnded():
                self._ended(record.seq, event)
            case e.CandidateFormed() | e.CandidateConflicted() | e.CandidateFailed():
                self._ended(record.seq, event)
            case _:
                pass

    def _moved(self, move: e.TicketMoved) -> None:
        account = self.tickets[move.ticket]
        if move.cause is not None:
            account.retries[move.cause] += 1
        if move.to == "verifying" and account.state in ("working", "fixing"):
            account.unverified = account.turn.total_lines if account.turn else 0
            account.candidate = None
        elif move.to != "verifying":
            account.unverified = None
        if move.to in ACTIVE and account.state in ("working", "fixing"):
            account.turn = None
        account.state = move.to

    def _owed(self, job: e.JobOwed) -> None:
        self.keys.add(job.key)
        self.jobs[job.key] = job
        self.reserved = self.reserved.plus(job.reserved)
        if job.ticket is not None:
            account = self.tickets[job.ticket]
            account.live[job.key] = None
            account.reserved = account.reserved.plus(job.reserved)

    def _ended(self, seq: int, event: e.AnyEvent) -> None:
        job = self.jobs.pop(event.key, None)  # type: ignore[union-attr]
        if job is None:
            return
        spent = self._spend(job, event)
        self.reserved, self.spent = self.reserved.minus(job.reserved), self.spent.plus(spent)
        if job.ticket is not None:
            account = self.tickets[job.ticket]
            account.live.pop(job.key)
            account.reserved, account.spent = account.reserved.minus(job.reserved), account.spent.plus(spent)
            if isinstance(event, e.TurnEnded):
                account.turn, account.turns = event, account.turns + 1
            if isinstance(event, e.CandidateFormed):
                account.candidate = event
        if isinstance(event, e.GateEnded):
            self.evidence.append(event.evidence)
            self.seqs[seq] = event.evidence
        if isinstance(event, e.LandEnded) and isinstance(job.order, e.LandOrder):
            if event.position is not None:
                self.trunk, self.trunk_tree = event.position.commit, event.position.tree
            if event.outcome == "landed":
                self.tickets[job.order.ticket].landed = job.order.tree

    def _spend(self, job: e.JobOwed, event: e.AnyEvent) -> Spend:
        match event:
            case e.JobLost():
                return job.reserved
            case e.JobCanceled():
                return event.spent
            case e.GateEnded():
                return Spend(gate_ms=event.evidence.duration_ms)
            case e.TurnEnded():
                assumed = self.policy.budget
                tokens, money = event.usage.tokens, event.usage.micro_dollars
                return Spend(
                    tokens=assumed.assumed_tokens_per_turn if tokens is None else tokens,
                    micro_dollars=assumed.assumed_micro_dollars_per_turn if money is None else money,
                    agent_ms=event.duration_ms,
                )
            case _:
                return Spend()

    # --- what several laws ask --------------------------------------------------------------------------------------

    def at_work(self) -> list[Account]:
        return [a for a in self.tickets.values() if a.state in ACTIVE or (a.state == "ready" and a.live)]

    def saw(self, gate: str, look: str, tree: str, base_tree: str | None = None) -> list[Evidence]:
        return [
            s
            for s in self.evidence
            if (s.gate, s.look, s.tree) == (gate, look, tree) and base_tree in (None, s.base_tree)
        ]

    def plain(self, tree: str, gate: str) -> list[Evidence]:
        return self.saw(gate, "base", tree) + self.saw(gate, "lands", tree)

    def is_green(self, ticket: Ticket, n: int, tree: str) -> bool:
        criterion = ticket.acceptance[n]
        match criterion:
            case TestCriterion():
                found = [s.asked.get(criterion.test) for g in self.policy.gates for s in self.plain(tree, g.name)]
                return "green" in found
            case GateCriterion():
                return any(s.verdict == "pass" for s in self.plain(tree, criterion.gate))
            case CommandCriterion():
                return any(s.verdict == "pass" for s in self.saw(f"{ticket.id}#{n + 1}", "criterion", tree))

    def red_gates(self) -> set[str]:
        """Gates that are red on trunk, for more than tests that tickets are to make green."""
        named = {c.test for a in self.tickets.values() for c in a.ticket.acceptance if isinstance(c, TestCriterion)}
        found = set()
        for gate in self.policy.gates:
            seen = self.plain(self.trunk_tree, gate.name)[-1:]
            reds = [s for s in seen if s.verdict == "fail"]
            if reds and not (reds[0].failed and all(f.id in named for f in reds[0].failed)):
                found.add(gate.name)
        return found
