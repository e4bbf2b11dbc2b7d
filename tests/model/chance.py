"""Random worlds. Chance is a keyed draw, not a stream: a seed gives one world, whatever was asked before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from penstock.core import events as e
from penstock.core.digest import draw
from penstock.core.policy import BudgetCaps, BudgetPolicy, EnvSpec, GateSpec, Limits, Policy, RetryRule, Spend
from penstock.core.tickets import CommandCriterion, TestCriterion, Ticket
from tests.model import agents
from tests.model.agents import Agent
from tests.model.gates import exits
from tests.model.laws import Laws
from tests.model.trees import Files
from tests.model.world import BASE, DURATION_MS, World, ticket

T = TypeVar("T")
MISHAPS = ("fine",) * 12 + ("lost", "twice", "late", "lost")
STEADY: tuple[Agent, ...] = (
    agents.right(),
    agents.right(),
    agents.red_then_fixed(),
    agents.conflicts(),
    agents.by_turn(agents.vacuous(), agents.right()),
    agents.weakens(),
)
"""Agents that get there in the end."""
UNSTEADY: tuple[Agent, ...] = (
    *STEADY,
    agents.crashes(1),
    agents.lies(),
    agents.never_right(),
    agents.scope_creep(),
    agents.by_attempt(agents.ends("timeout"), agents.right()),
    agents.by_role(agents.writes("breaks"), agents.right()),
    agents.by_turn(agents.ends("provider_transient", retry_after_ms=5_000), agents.right()),
)


class RandomWorld(World):
    """A world whose durations, faults, people and crashes are drawn from its seed."""

    def __init__(
        self, tickets: Sequence[Ticket], policy: Policy, seed: int, faults: bool = True, files: Files | None = None
    ) -> None:
        super().__init__(tickets, policy, BASE | (files or {}), seed)
        self.faults = faults
        self.landed: set[str] = set()
        """Kinds of fault that happened: a walk without one tells little."""

    def chance(self, purpose: str, below: int) -> int:
        return draw(self.seed, purpose, "chance", 0, below)

    def pick(self, purpose: str, choices: Sequence[T]) -> T:
        return choices[self.chance(purpose, len(choices))]

    def duration_ms(self, key: str, kind: e.JobKind) -> int:
        return 1 + self.chance(f"duration {key}", 2 * DURATION_MS[kind])

    def step(self) -> bool:
        at = len(self.records)
        if self.faults and self.state.conclusion is None and self.records:
            if self.chance(f"crash {at}", 60) == 0:
                self.landed.add("crash")
                self.tear(self.chance(f"torn {at}", 12))
                self.crash()
            if self.chance(f"person {at}", 40) == 0:
                self.meddle(f"{at}")
        return super().step()

    def tear(self, most: int) -> None:
        """The last decisions, on which nobody acted yet, did not become durable: they are thought again."""
        for _ in range(most):
            event = self.records[-1].event
            if not isinstance(event, e.DECISIONS) or (isinstance(event, e.JobOwed) and event.key in self.running):
                break
            self.records.pop()
            self.landed.add("torn")
        laws = Laws()
        for record in self.records:
            laws.book.write(record)
        self.watches = [laws]

    def end(self, key: str) -> None:
        job = self.state.jobs.get(key)
        mishap = self.pick(f"mishap {key}", MISHAPS) if self.faults else "fine"
        if job is None or mishap == "fine":
            super().end(key)
            return
        self.running.pop(key)
        self.landed.add(mishap)
        end = self.end_of(key, job.order)
        if mishap == "twice":
            self.tell(end, end)
        elif job.kind not in e.PROCESS_KINDS:
            self.tell(end)
        else:
            lost = e.JobLost(key=key, reason="it vanished")
            self.tell(lost, *((end,) if mishap == "late" else ()))

    def meddle(self, at: str) -> None:
        """A person, or somebody else's push."""
        name = self.pick(f"whom {at}", [t.id for t in self.tickets])
        what = self.pick(f"what {at}", ("pause", "resume", "cancel", "approve", "raise", "push", "drain", "pause"))
        self.landed.add(what)
        match what:
            case "pause":
                self.tell(e.PauseAsked(who="ann"))
                self.at(60_000, e.ResumeAsked(who="ann"))
            case "resume":
                self.tell(e.ResumeAsked(who="ann"))
            case "cancel":
                self.tell(e.CancelAsked(ticket=name, who="ann"))
            case "approve":
                self.approve(name)
            case "raise":
                self.tell(e.BudgetRaised(who="ann", add=Spend(tokens=1_000)))
            case "push":
                self.push({f"src/theirs{at}.py": self.pick(f"pushed {at}", ("right", "other", "wrong"))})
            case _ if self.chance(f"really {at}", 6) == 0:
                self.tell(e.DrainAsked(who="ann"))


def random_tickets(seed: int, count: int) -> tuple[Ticket, ...]:
    """A random graph: each ticket waits only for earlier ones."""
    names = [f"T{n}" for n in range(count)]
    return tuple(_random_ticket(seed, names, n) for n in range(count))


def _random_ticket(seed: int, names: list[str], n: int) -> Ticket:
    def below(purpose: str, limit: int) -> int:
        return draw(seed, names[n], purpose, 0, limit)

    name = names[n]
    fields: dict[str, Any] = {"priority": below("priority", 5)}
    fields["depends_on"] = tuple(d for d in names[:n] if below(f"needs {d}", 2 * n) == 0)
    if below("resource", 3) == 0:
        fields["resources"] = ("db", "gpu")[: 1 + below("resources", 2)]
    if below("scope", 4) == 0:
        fields["scope"] = (f"src/{name.lower()}.py", "src/shared.py", f"tests/test_{name.lower()}.py")
    criteria = (
        (TestCriterion(test=f"tests/test_{name.lower()}.py::test_{name.lower()}"),),
        (CommandCriterion(command=f"grep right src/{name.lower()}.py"),),
    )
    if below("criterion", 3) < 2:
        fields["acceptance"] = criteria[below("which", 2)]
    if below("repair", 5) == 0:
        fields["repairs"] = ("tests",)
    return ticket(name, **fields)


def random_world(seed: int, *, faults: bool = True, steady: bool = False, count: int = 0) -> RandomWorld:
    """A world of that seed, watched by every law."""
    count = count or 1 + draw(seed, "count", "chance", 0, 7)
    limits = Limits(
        window_start=1 + draw(seed, "window", "chance", 0, 3),
        gate_jobs_max=1 + draw(seed, "gates", "chance", 0, 3),
        unverified_diffs_max=1 + draw(seed, "unverified", "chance", 0, 4),
        stale_rows_max=1_000 if steady else 5,
        lost_jobs_max=1_000 if steady else 5,
    )
    gates = GateSpec(name="tests", command="pytest", digest="1"), GateSpec(name="lint", command="lint", digest="2")
    policy = Policy(limits=limits, gates=gates, retries=Policy().retries | ({"agent_crash": CRASH} if faults else {}))
    files: Files = {}
    if not steady:
        policy, files = unusual(seed, policy)
    world = RandomWorld(random_tickets(seed, count), policy, seed, faults, files)
    world.gate("lint", exits("ugly"))
    for one in world.tickets:
        world.agent(one.id, world.pick(f"agent {one.id}", STEADY if steady else UNSTEADY))
    world.watches.append(Laws())
    return world


def unusual(seed: int, policy: Policy) -> tuple[Policy, Files]:
    """That policy with something about it that few have, and files that go with it."""
    kinds = ("plain", "plain", "env", "red trunk", "lenient", "poor", "held", "hasty")
    kind = kinds[draw(seed, "unusual", "chance", 0, len(kinds))]
    replace = msgspec.structs.replace
    match kind:
        case "env":
            env = EnvSpec(name="py", setup="make env", inputs=("lock",))
            gates = tuple(replace(gate, env="py") for gate in policy.gates)
            return replace(policy, envs=(env,), gates=gates), {}
        case "red trunk":
            return policy, {"tests/test_t0.py": "tells"}
        case "lenient":
            return replace(policy, baseline="no_new_failures"), {"src/old.py": "wrong"}
        case "poor":
            caps = BudgetCaps(tokens=400_000, gate_ms=60_000)
            return replace(policy, budget=BudgetPolicy(run=caps, ticket=BudgetCaps(tokens=150_000))), {}
        case "held":
            return replace(policy, on_dependency_failed="held"), {}
        case "hasty":
            return replace(policy, stop_waiting=True), {}
        case _:
            return policy, {}


CRASH = RetryRule(cap=2, backoff_base_ms=20_000, consumes_attempt=True)
