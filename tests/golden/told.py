"""Logs told by hand, one line a happening: what a report is made of, whatever the core would have decided."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from penstock.core import events as e
from penstock.core.digest import digest_of, digest_of_bytes
from penstock.core.policy import BudgetCaps, BudgetPolicy, EnvSpec, GateSpec, Limits, Policy, Spend
from penstock.core.tickets import Ticket
from penstock.core.verdicts import Counts, Evidence, FailedTest, Look, TestStatus, Verdict
from penstock.evidence.proof import head_after
from penstock.evidence.report import sealed_bytes

BEGIN_MS = 1_769_500_800_000
TEXTS = (
    "nothing is runnable",
    "nothing is in flight",
    "no retry is scheduled",
    "no dependency is newly unblocked",
    "every ticket is done, failed or canceled",
)
NOTHING = Spend()
POLICY = Policy(
    limits=Limits(window_start=2, window_max=4),
    gates=(
        GateSpec(name="lint", command="ruff check .", digest="1" * 64),
        GateSpec(name="tests", command="python -m pytest -q", env="py", digest="2" * 64),
    ),
    envs=(EnvSpec(name="py", setup="python -m venv .venv", inputs=("requirements.txt",), paths=(".venv",)),),
    budget=BudgetPolicy(run=BudgetCaps(tokens=200_000, micro_dollars=2_000_000, agent_ms=1_800_000)),
    digest="f" * 64,
)


def oid(*words: object) -> str:
    """An object id of git, made up of the words."""
    return digest_of([str(w) for w in words])[:40]


def blob(text: str) -> str:
    return digest_of_bytes(text.encode())


def ticket(name: str, title: str = "", body: str = "", **fields: Any) -> Ticket:
    made = Ticket(
        id=name,
        title=title or f"Do {name}",
        body=blob(body or f"Please do {name}."),
        digest="",
        source=f"tickets/{name.lower()}.md",
        **fields,
    )
    return msgspec.structs.replace(made, digest=digest_of(made))


class Told:
    """A log under construction. Time goes on by itself; `records` is what was told so far."""

    def __init__(self, *tickets: Ticket, policy: Policy = POLICY, run: str = "20260127-0800-ab12") -> None:
        self.records: list[e.Record] = []
        self.now_ms = BEGIN_MS
        self.run = run
        self.policy = policy
        self.trunk = e.TrunkPosition(commit=oid("base"), tree=oid("base tree"))
        self.attempts: dict[str, int] = {}
        self.candidates: dict[str, e.CandidateFormed] = {}
        self._ordinals: dict[str, int] = {}
        self.tell(
            e.RunStarted(
                run=run,
                seed=7,
                version="0.1.0",
                policy=policy,
                branch="main",
                landing_ref="refs/heads/penstock/main",
                trunk=self.trunk,
                isolation="bubblewrap",
                agent="scripted",
            ),
            e.LedgerRead(),
            *(e.TicketAdded(ticket=t) for t in tickets),
        )

    # --- records ----------------------------------------------------------------------------------------------------

    def tell(self, *events: e.AnyEvent) -> int:
        """Append, and give the seq of the last."""
        for event in events:
            self.records.append(e.Record(seq=len(self.records) + 1, at_ms=self.now_ms, event=event))
        return len(self.records)

    def pass_s(self, seconds: float) -> Told:
        self.now_ms += round(seconds * 1000)
        return self

    def move(self, name: str, to: e.TicketStateName, reason: str = "it must", **fields: Any) -> int:
        return self.tell(e.TicketMoved(ticket=name, to=to, reason=reason, **fields))

    def owe(self, kind: e.JobKind, subject: str, name: str | None, order: e.Order, reserved: Spend = NOTHING) -> str:
        stem = f"{self.run}/{kind}/{subject}/{self.attempts.get(name or '', 0)}"
        self._ordinals[stem] = self._ordinals.get(stem, 0) + 1
        key = f"{stem}/{self._ordinals[stem]}"
        self.tell(e.JobOwed(key=key, order=order, ticket=name, reserved=reserved, why="it is owed"))
        if kind in e.PROCESS_KINDS:
            self.tell(e.JobStarted(key=key, pid=100, start_ticks=1, boot="boot"))
        return key

    # --- jobs -------------------------------------------------------------------------------------------------------

    def admit(self, name: str) -> Told:
        self.attempts[name] = self.attempts.get(name, 0) + 1
        self.move(name, "ready", "every dependency is done")
        self.tell(e.AttemptStarted(ticket=name, attempt=self.attempts[name], base=self.trunk.commit))
        self.move(name, "working", "admitted")
        return self

    def turn(self, name: str, seconds: float = 40, role: e.Role = "build", lines: int = 24, **fields: Any) -> Told:
        attempt = self.attempts[name]
        order = e.TurnOrder(ticket=name, attempt=attempt, role=role, start=self.trunk.commit, trunk=self.trunk.commit)
        key = self.owe("turn", name, name, order, Spend(tokens=100_000, agent_ms=600_000))
        self.pass_s(seconds)
        defaults: dict[str, Any] = {
            "outcome": "ended",
            "head": oid(key),
            "tree": oid("tree of", key),
            "changes": (change(f"src/{name.lower()}.py", lines),),
            "lines": lines,
            "usage": e.Usage(tokens=4_200, micro_dollars=21_000),
            "claims": ("Done, all tests pass.",),
            "salvage": f"refs/penstock/salvage/{self.run}/{name}/{attempt}-1",
            "duration_ms": round(seconds * 1000),
        }
        self.tell(e.TurnEnded(key=key, **(defaults | fields)))
        return self

    def candidate(self, name: str, **fields: Any) -> e.CandidateFormed:
        order = e.MergeOrder(
            ticket=name,
            revision="r" * 64,
            title=name,
            head=oid("head", name),
            onto=self.trunk.commit,
            evidence_key="k",
        )
        key = self.owe("merge", name, name, order)
        self.pass_s(0.3)
        defaults: dict[str, Any] = {
            "commit": oid("commit", key),
            "tree": oid("tree", key),
            "base": self.trunk.commit,
            "base_tree": self.trunk.tree,
            "changes": (change(f"src/{name.lower()}.py", 18), change(f"tests/test_{name.lower()}.py", 6, "test")),
            "lines": 24,
            "witness_commit": oid("witness", key),
            "witness_tree": oid("witness tree", key),
            "witness_files": (f"tests/test_{name.lower()}.py",),
        }
        formed = e.CandidateFormed(key=key, **(defaults | fields))
        self.tell(formed)
        self.candidates[name] = formed
        gates = tuple(g.name for g in self.policy.gates)
        self.tell(e.RiskAssessed(ticket=name, tree=formed.tree, risk="low", gates=gates, why="small change"))
        return formed

    def gate(
        self,
        name: str | None,
        gate: str,
        look: Look = "lands",
        verdict: Verdict = "pass",
        why: str = "31 tests are green",
        seconds: float = 6,
        **fields: Any,
    ) -> int:
        formed = self.candidates.get(name or "")
        commit, tree, base = self.trunk.commit, self.trunk.tree, None
        if formed is not None and look in ("lands", "criterion"):
            commit, tree = formed.commit, formed.tree
        if formed is not None and look == "witness":
            commit, tree = formed.witness_commit, formed.witness_tree
        if formed is not None and look == "judge":
            commit, tree = formed.judge_commit, formed.judge_tree
        if formed is not None and look in ("lands", "witness", "judge"):
            base = formed.base_tree
        order = e.GateOrder(gate=gate, look=look, commit=commit, tree=tree, against_tree=base)
        key = self.owe("gate", f"{gate}@{tree[:10]}.{look}", name, order, Spend(gate_ms=60_000))
        self.pass_s(seconds)
        spec = self.policy.gate(gate)
        defaults: dict[str, Any] = {
            "gate_digest": spec.digest if spec else "3" * 64,
            "exit_status": 0 if verdict == "pass" else 1,
            "duration_ms": round(seconds * 1000),
            "isolation": "bubblewrap",
            "base_tree": base,
        }
        seen = Evidence(gate=gate, look=look, commit=commit, tree=tree, verdict=verdict, why=why, **(defaults | fields))
        return self.tell(e.GateEnded(key=key, evidence=seen))

    def env(self, seconds: float = 9, ok: bool = True, message: str = "") -> Told:
        key = self.owe("env", "py-4444", None, e.EnvOrder(env="py", digest="4" * 64, commit=self.trunk.commit))
        self.pass_s(seconds)
        self.tell(e.EnvEnded(key=key, ok=ok, message=message, duration_ms=round(seconds * 1000)))
        return self

    def land(self, name: str) -> int:
        formed = self.candidates[name]
        self.move(name, "landing", "every gate and criterion holds")
        order = e.LandOrder(ticket=name, commit=formed.commit, tree=formed.tree, expected=formed.base)
        key = self.owe("land", name, name, order)
        self.pass_s(0.2)
        self.trunk = e.TrunkPosition(commit=formed.commit, tree=formed.tree)
        self.tell(e.LandEnded(key=key, outcome="landed", position=self.trunk))
        return self.move(name, "done", "landed: every required gate and criterion has evidence", commit=formed.commit)

    # --- whole stories ----------------------------------------------------------------------------------------------

    def baseline(self, asked: dict[str, TestStatus] | None = None) -> Told:
        self.env()
        self.gate(None, "lint", "base", why="", seconds=1)
        self.gate(
            None, "tests", "base", why="29 tests are green", counts=Counts(green=29), tests="5" * 64, asked=asked or {}
        )
        return self

    def verify(self, name: str) -> Told:
        """All that a candidate needs: both gates, and a witness."""
        self.candidate(name)
        self.gate(name, "lint", why="", seconds=1)
        self.gate(name, "tests", counts=Counts(green=31), tests="6" * 64)
        new = f"tests/test_{name.lower()}.py::test_{name.lower()}"
        self.gate(name, "tests", "witness", why="1 of 1 test red without the change", telling=(new,), seconds=2)
        return self

    def build(self, name: str) -> Told:
        """From ready to landed without a fault."""
        self.admit(name).turn(name)
        self.move(name, "verifying", "build turn 1 of attempt 1 ended")
        self.verify(name).land(name)
        return self

    # --- the end ----------------------------------------------------------------------------------------------------

    def conclude(
        self,
        outcome: e.Outcome = "finished",
        exit_code: int = 0,
        reason: str = "all tickets done",
        fails: Iterable[int] = (),
        open: Sequence[e.WaitsFor] = (),
    ) -> Told:
        """Say how it ends; `fails` are the clauses that the run says do not hold."""
        said = tuple(
            e.Clause(n=n, text=text, holds=n not in fails, witness=f"seq {len(self.records)}")
            for n, text in enumerate(TEXTS, 1)
        )
        self.tell(e.RunConcluded(outcome=outcome, exit_code=exit_code, reason=reason, clauses=said, open=tuple(open)))
        return self

    def seal(self, **lies: Any) -> Told:
        n = len(self.records)
        honest: dict[str, Any] = {
            "n": n,
            "head": head_after(self.records),
            "digest": digest_of_bytes(sealed_bytes(self.records)),
        }
        self.tell(e.ReportSealed(**(honest | lies)))
        return self

    def finish(self, outcome: e.Outcome = "finished", exit_code: int = 0) -> list[e.Record]:
        self.tell(e.RunFinished(outcome=outcome, exit_code=exit_code))
        return self.records

    def end(self) -> list[e.Record]:
        """An honest, clean end."""
        return self.conclude().seal().finish()


def change(path: str, lines: int, kind: Any = "production", status: Any = "modified") -> e.FileChange:
    return e.FileChange(path=path, status=status, kind=kind, lines=lines)


def red(test: str, message: str, where: str) -> FailedTest:
    return FailedTest(id=test, status="red", kind="assertion", where=where, message=message)
