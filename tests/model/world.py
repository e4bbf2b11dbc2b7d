"""A world in memory that drives the real core, exactly as the shell does, and nothing else: no clock, no task, no I/O.

    input -> record -> evolve -> owed -> records ... until nothing is owed; then the next thing happens

What happens next is the end of a job, something an operator does, or time alone. All of it is a function of the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar, assert_never

import msgspec

from penstock.core import events as e
from penstock.core.digest import digest_of
from penstock.core.evolve import evolve
from penstock.core.owed import next_due_ms, owed
from penstock.core.paths import classify, matches
from penstock.core.policy import GateSpec, Limits, Policy, RetryRule
from penstock.core.state import State
from penstock.core.tickets import Ticket
from tests.model.agents import Agent, Did, right
from tests.model.gates import Gates, Sight
from tests.model.laws import Laws
from tests.model.trees import FILES, Files, Repository

E = TypeVar("E", bound=e.AnyEvent)
Watch = Callable[[e.Record, State], None]
Seen = Callable[[e.Record], bool]
Happening = e.Input | Callable[["World"], None]
DURATION_MS: dict[e.JobKind, int] = {"turn": 60_000, "merge": 200, "gate": 10_000, "env": 30_000, "land": 100}
BASE: Files = {"README": "hello", "tests/test_base.py": "all", "lock": "1"}
DECISIONS_MAX = 2_000
"""In one cascade, beside ten a ticket: more is a core that never comes to rest."""
STEPS_MAX = 5_000


class Livelock(AssertionError):
    """The core goes on deciding, or the run goes on, without end."""


def ticket(name: str, **fields: Any) -> Ticket:
    """A ticket with a digest of its own."""
    made = Ticket(id=name, title=f"Do {name}", body="b" * 64, digest="", source=f"tickets/{name.lower()}.md", **fields)
    return msgspec.structs.replace(made, digest=digest_of(made))


def given(*tickets: Ticket, files: Files | None = None, **policy: Any) -> World:
    """A world with these tickets, one gate `tests`, and a policy with these fields; every law is watched."""
    policy.setdefault("gates", (GateSpec(name="tests", command="pytest", digest="g" * 64),))
    world = World(tickets, Policy(**policy), BASE | (files or {}))
    world.watches.append(Laws())
    return world


def limits(**fields: int) -> Limits:
    return Limits(**fields)


def retries(**rules: RetryRule) -> dict[str, RetryRule]:
    """The default rules with some of them changed."""
    return Policy().retries | rules


class World:
    """Tickets, agents, gates and people; `run` lets it all happen and keeps the records."""

    def __init__(self, tickets: Sequence[Ticket], policy: Policy, files: Files, seed: int = 1) -> None:
        self.tickets = tuple(tickets)
        self.policy = policy
        self.seed = seed
        self.repository = Repository(files, policy.envs)
        self.gates = Gates()
        self.broken_envs: set[str] = set()
        self.records: list[e.Record] = []
        self.state = State()
        self.now_ms = 1_000_000
        self.first: list[e.Input] = []
        self.watches: list[Watch] = []
        self.running: dict[str, int] = {}
        """Keys that were begun, with the time at which they end."""
        self._slow: dict[str, int] = {}
        self._agents: dict[str, Agent] = {}
        self._planned: list[tuple[int, Happening]] = []
        self._awaited: list[tuple[Seen, Happening]] = []
        self._soon: list[Happening] = []

    # --- given ------------------------------------------------------------------------------------------------------

    def agent(self, name: str, agent: Agent) -> Self:
        """That ticket's agent; every other one does what is right."""
        self._agents[name] = agent
        return self

    def gate(self, name: str, sight: Sight) -> Self:
        """What that gate sees instead of the tests."""
        self.gates.sights[name] = sight
        return self

    def earlier(self, **ledger: Any) -> Self:
        """What earlier runs left."""
        self.first.append(e.LedgerRead(**ledger))
        return self

    def found_done(self, name: str) -> Self:
        self.first.append(e.TicketFoundDone(ticket=name, commit="c-earlier"))
        return self

    def slow(self, name: str, duration_ms: int) -> Self:
        """Turns of that ticket take so long."""
        self._slow[name] = duration_ms
        return self

    def with_seed(self, seed: int) -> Self:
        self.seed = seed
        return self

    # --- when -------------------------------------------------------------------------------------------------------

    def at(self, after_ms: int, *happenings: Happening) -> Self:
        """These happen so long after now."""
        self._planned += [(self.now_ms + after_ms, h) for h in happenings]
        self._planned.sort(key=lambda p: p[0])
        return self

    def once(self, seen: Seen, *happenings: Happening) -> Self:
        """These happen right after the first record that is like that."""
        self._awaited += [(seen, h) for h in happenings]
        return self

    def begin(self) -> Self:
        """The first inputs, as the shell gives them."""
        started = e.RunStarted(
            run="r1",
            seed=self.seed,
            version="0",
            policy=self.policy,
            branch="main",
            landing_ref="refs/heads/main",
            trunk=self.repository.position(),
            isolation="none",
            agent="model",
        )
        ledger = [i for i in self.first if isinstance(i, e.LedgerRead)]
        later = [i for i in self.first if not isinstance(i, e.LedgerRead)]
        self.tell(started, *ledger, *(e.TicketAdded(ticket=t) for t in self.tickets), *later)
        return self

    def run(self, steps_max: int = STEPS_MAX) -> Self:
        """Until the run is finished, or nothing can happen any more."""
        if not self.records:
            self.begin()
        for _ in range(steps_max):
            if self.state.finished or not self.step():
                return self
        raise Livelock(f"seed {self.seed}: not finished after {steps_max} steps: {self.story()[-8:]}")

    # --- the driver -------------------------------------------------------------------------------------------------

    def tell(self, *inputs: e.Input) -> None:
        """Append the inputs and every decision they cause: one commit of the shell."""
        for event in inputs:
            if self.state.conclusion is None or isinstance(event, e.ReportSealed):
                self._append(event)
        for _ in range(DECISIONS_MAX + 10 * len(self.tickets)):
            decisions = owed(self.state)
            if not decisions:
                return
            for decision in decisions:
                self._append(decision)
        raise Livelock(f"seed {self.seed}: it goes on deciding: {self.story()[-8:]}")

    def _append(self, event: e.AnyEvent) -> None:
        at_ms = max(self.now_ms, self.state.now_ms)
        record = e.Record(seq=self.state.seq + 1, at_ms=at_ms, event=event)
        evolve(self.state, record)
        self.records.append(record)
        for watch in self.watches:
            watch(record, self.state)
        due = [h for seen, h in self._awaited if seen(record)]
        self._awaited = [(seen, h) for seen, h in self._awaited if h not in due]
        self._soon += due

    def step(self) -> bool:
        """Let the next thing happen. False: nothing ever will."""
        if self.state.conclusion is not None and not self.state.sealed:
            self.tell(e.ReportSealed(n=self.state.seq, head="0" * 64, digest="0" * 64))
            return True
        if self._soon:
            self.happen(self._soon.pop(0))
            return True
        if self._stop_unwanted():
            return True
        self._begin_owed()
        return self._pass_time()

    def _stop_unwanted(self) -> bool:
        unwanted = [key for key, job in self.state.jobs.items() if job.unwanted]
        for key in unwanted:
            self.running.pop(key, None)
        self.tell(*(e.JobCanceled(key=key) for key in unwanted))
        return bool(unwanted)

    def _begin_owed(self) -> None:
        for key, job in list(self.state.jobs.items()):
            if key in self.running:
                continue
            self.running[key] = self.now_ms + self.duration_ms(key, job.kind)
            if job.kind in e.PROCESS_KINDS:
                self.tell(e.JobStarted(key=key, pid=100 + len(self.records), start_ticks=1, boot="boot"))

    def duration_ms(self, key: str, kind: e.JobKind) -> int:
        slow = self._slow.get(key.split("/")[2]) if kind == "turn" else None
        return slow or DURATION_MS[kind]

    def _pass_time(self) -> bool:
        ends = min(self.running.items(), key=lambda item: (item[1], item[0]), default=None)
        due = next_due_ms(self.state)
        assert due is None or due > self.now_ms, f"the timer at {due} is due at {self.now_ms}: the shell would spin"
        planned = self._planned[0][0] if self._planned else None
        times = [t for t in (ends[1] if ends else None, due, planned) if t is not None]
        if not times:
            return False
        self.now_ms = max(self.now_ms, min(times))
        if planned == min(times):
            self.happen(self._planned.pop(0)[1])
        elif ends is not None and ends[1] == min(times):
            self.end(ends[0])
        else:
            self.tell(e.TimerFired(due_ms=due or 0))
        return True

    def happen(self, happening: Happening) -> None:
        if callable(happening):
            happening(self)
        else:
            self.tell(happening)

    def end(self, key: str) -> None:
        """That job ends as it must."""
        self.running.pop(key)
        job = self.state.jobs.get(key)
        if job is not None:
            self.tell(self.end_of(key, job.order))

    # --- what the world answers -------------------------------------------------------------------------------------

    def end_of(self, key: str, order: e.Order) -> e.Input:
        """How that job ends: a function of what it was asked and of the world now."""
        match order:
            case e.TurnOrder():
                return self._turn(key, order)
            case e.MergeOrder():
                return self.repository.candidate(key, order)
            case e.GateOrder():
                spec = self.policy.gate(order.gate)
                return self.gates.run(key, order, self.repository.files(order.commit), spec)
            case e.EnvOrder():
                ok = self.repository.files(order.commit).get("lock") not in self.broken_envs
                return e.EnvEnded(key=key, ok=ok, message="" if ok else "no such version")
            case e.LandOrder():
                return self._land(key, order)
            case _:
                assert_never(order)

    def _land(self, key: str, order: e.LandOrder) -> e.LandEnded:
        if self.repository.trunk == order.expected:
            self.repository.trunk = order.commit
        here = self.repository.trunk
        outcome: Any = "landed" if here == order.commit else "moved"
        return e.LandEnded(key=key, outcome=outcome, position=self.repository.position(here))

    def _turn(self, key: str, order: e.TurnOrder) -> e.TurnEnded:
        start = self.repository.files(order.start)
        did = self._agents.get(order.ticket, right())(order, start)
        kept, aside, protected = dict(start), [], []
        for path, text in sorted(did.edits.items()):
            if classify(FILES, path) == "protected":
                protected.append(path)
            elif order.allowed and not matches(order.allowed, path):
                aside.append(path)
            elif text is None:
                kept.pop(path, None)
            else:
                kept[path] = text
        head = order.start if kept == start else self.repository.commit(kept, order.start)
        return self._turn_end(key, order, did, head, tuple(aside), tuple(protected))

    def _turn_end(
        self, key: str, order: e.TurnOrder, did: Did, head: str, aside: tuple[str, ...], protected: tuple[str, ...]
    ) -> e.TurnEnded:
        changes = self.repository.changes(order.start, head)
        whole = self.repository.changes(order.trunk, head)
        return e.TurnEnded(
            key=key,
            outcome=did.outcome,
            message=did.message,
            head=head,
            tree=self.repository.tree(head),
            changes=changes,
            lines=sum(c.lines for c in changes) if did.lines is None else did.lines,
            total_lines=sum(c.lines for c in whole) if did.lines is None else did.lines,
            is_empty=not whole,
            set_aside=aside,
            protected=protected,
            salvage=f"refs/penstock/salvage/{key}" if did.edits else "",
            usage=did.usage,
            claims=did.claims,
            duration_ms=10_000,
            retry_after_ms=did.retry_after_ms,
        )

    # --- what people and other things do ----------------------------------------------------------------------------

    def push(self, edits: Files) -> None:
        """Somebody else moves trunk, and we are told."""
        files = self.repository.files(self.repository.trunk) | edits
        self.repository.trunk = self.repository.commit(files, self.repository.trunk)
        self.tell(e.TrunkMoved(position=self.repository.position()))

    def approve(self, name: str, gate: str | None = None) -> None:
        """A person vouches for the candidate that the ticket has now, as the shell fills it in."""
        candidate = self.state.tickets[name].candidate
        tree = candidate.tree if candidate is not None else ""
        self.tell(e.Approved(ticket=name, who="ann", reason="looks right", gate=gate, tree=tree))

    def crash(self) -> None:
        """The harness dies and comes back: the state is folded anew, what was begun is lost or begun again."""
        self.state = State()
        for record in self.records:
            evolve(self.state, record)
        begun = [k for k in self.state.jobs if k in self.running]
        lost = [k for k in begun if self.state.jobs[k].kind in e.PROCESS_KINDS]
        self.running.clear()
        if self.state.finished is None:
            resumed = e.RunResumed(version="0", epoch=2)
            self.tell(resumed, *(e.JobLost(key=k, reason="the harness died while it ran") for k in lost))

    # --- then -------------------------------------------------------------------------------------------------------

    def all(self, kind: type[E]) -> list[E]:
        """Every event of that kind, in order."""
        return [r.event for r in self.records if isinstance(r.event, kind)]

    def moves(self, name: str) -> list[str]:
        """The states that a ticket went through."""
        return [m.to for m in self.all(e.TicketMoved) if m.ticket == name]

    def why(self, name: str) -> str:
        """The reason of a ticket's last move."""
        return next(m.reason for m in reversed(self.all(e.TicketMoved)) if m.ticket == name)

    def owed(self, kind: str, name: str | None = None) -> list[Any]:
        """The orders of that kind, of one ticket or of all."""
        jobs = [j for j in self.all(e.JobOwed) if j.key.split("/")[1] == kind]
        return [j.order for j in jobs if name is None or j.ticket == name]

    def refusals(self, name: str) -> list[str]:
        return [r.kind for r in self.all(e.Refused) if r.ticket == name]

    def states(self) -> dict[str, str]:
        return {name: run.state for name, run in self.state.tickets.items()}

    @property
    def end_as(self) -> tuple[str, int]:
        """Outcome and exit code of the finished run."""
        assert self.state.finished is not None, f"seed {self.seed}: not finished: {self.story()[-8:]}"
        return self.state.finished.outcome, self.state.finished.exit_code

    def concluded(self) -> e.RunConcluded:
        assert self.state.conclusion is not None
        return self.state.conclusion

    def story(self) -> list[str]:
        """The decisions, one line each, for whoever has to find out."""
        return [line for r in self.records if (line := tell(r))]


def tell(record: e.Record) -> str:
    """One record in a line; empty for what says little."""
    event, at = record.event, f"{record.seq:>4} {record.at_ms / 1000:>8.1f}s "
    match event:
        case e.TicketMoved():
            return f"{at}{event.ticket} -> {event.to} [{event.cause or ''}] {event.reason[:90]}"
        case e.JobOwed():
            return f"{at}owed {event.key}"
        case e.JobStarted() | e.RiskAssessed():
            return ""
        case e.GateEnded():
            return f"{at}{event.key} {event.evidence.verdict}: {event.evidence.why}"
        case _:
            return f"{at}{type(event).__name__} {getattr(event, 'ticket', getattr(event, 'key', ''))}"


def is_turn_of(name: str) -> Seen:
    """The record that owes a turn of that ticket."""
    return lambda r: (
        isinstance(r.event, e.JobOwed) and r.event.ticket == name and isinstance(r.event.order, e.TurnOrder)
    )


def moved(name: str, to: str) -> Seen:
    """The record that moves that ticket there."""
    return lambda r: isinstance(r.event, e.TicketMoved) and (r.event.ticket, r.event.to) == (name, to)
