"""What the core does with many tickets, trunk and people, told as histories."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from penstock.core import events as e
from penstock.core.comparison import Judgement
from penstock.core.policy import EnvSpec, GateSpec, RetryRule
from penstock.core.tickets import CommandCriterion, TestCriterion
from tests.model.agents import Did, conflicts, crashes, red_then_fixed, right, writes
from tests.model.gates import broken_on, exits
from tests.model.trees import Files
from tests.model.world import World, given, is_turn_of, limits, moved, retries, ticket

TESTS = GateSpec(name="tests", command="pytest", digest="g" * 64)
LINT = GateSpec(name="lint", command="lint", digest="h" * 64)
ONE = limits(window_start=1, window_max=1)


def turns(world: World) -> list[str]:
    return [order.ticket for order in world.owed("turn")]


def overlap(world: World, one: str, other: str) -> bool:
    """Were both at work at one time?"""
    at_work: set[str] = set()
    for move in world.all(e.TicketMoved):
        if move.to in ("working", "verifying", "fixing", "landing"):
            at_work.add(move.ticket)
        else:
            at_work.discard(move.ticket)
        if {one, other} <= at_work:
            return True
    return False


# --- order ----------------------------------------------------------------------------------------------------------


def test_a_chain_is_worked_in_its_order() -> None:
    world = given(ticket("C", depends_on=("B",)), ticket("B", depends_on=("A",)), ticket("A")).run()
    assert turns(world) == ["A", "B", "C"]
    assert world.end_as == ("finished", 0)


def test_the_most_urgent_first_and_what_it_waits_for_before_it() -> None:
    tickets = ticket("A"), ticket("D", priority=3), ticket("U", priority=0, depends_on=("D",)), ticket("B", priority=1)
    assert turns(given(*tickets, limits=ONE).run()) == ["D", "U", "B", "A"]


def test_who_waits_long_overtakes_the_more_urgent() -> None:
    """One step of priority is worth `age_step_ms` of waiting."""
    tickets = ticket("X", priority=0), ticket("A", priority=2), ticket("N", priority=1, depends_on=("X",))
    soon = limits(window_start=1, window_max=1, age_step_ms=600_000_000)
    late = limits(window_start=1, window_max=1, age_step_ms=60_000)
    assert turns(given(*tickets, limits=soon).run()) == ["X", "N", "A"]
    assert turns(given(*tickets, limits=late).slow("X", 120_000).run()) == ["X", "A", "N"]


def test_two_work_at_once_within_the_window_and_one_with_a_window_of_one() -> None:
    assert overlap(given(ticket("A"), ticket("B")).run(), "A", "B")
    assert not overlap(given(ticket("A"), ticket("B"), limits=ONE).run(), "A", "B")


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ({"scope": ("src/**",)}, {"scope": ("src/b.py",)}, False),
        ({"scope": ("src/a.py",)}, {"scope": ("src/b.py",)}, True),
        ({"resources": ("db",)}, {"resources": ("db",)}, False),
        ({"resources": ("db",)}, {"resources": ("gpu",)}, True),
    ],
)
def test_scopes_and_resources_keep_tickets_apart(
    one: dict[str, object], other: dict[str, object], together: bool
) -> None:
    world = given(ticket("A", **one), ticket("B", **other)).run()
    assert overlap(world, "A", "B") is together
    assert world.end_as == ("finished", 0)


def test_a_resource_has_a_capacity() -> None:
    tickets = [ticket(name, resources=("db",)) for name in "ABC"]
    world = given(*tickets, resources={"db": 2}, limits=limits(window_start=3)).run()
    assert overlap(world, "A", "B")
    assert not overlap(world, "A", "C")


def test_a_retry_takes_its_resource_only_when_it_is_free() -> None:
    """B gets the resource while A waits; when A's retry is due, it waits for B."""
    rules = retries(agent_crash=RetryRule(cap=2, backoff_base_ms=1, backoff_max_ms=1, consumes_attempt=True))
    tickets = ticket("A", resources=("db",)), ticket("B", resources=("db",))
    world = given(*tickets, retries=rules).agent("A", crashes(1)).slow("B", 600_000).run()
    assert not overlap(world, "A", "B")
    assert world.end_as == ("finished", 0)


def test_a_ticket_that_is_under_probe_takes_its_resource_only_when_it_is_free() -> None:
    wanted = CommandCriterion(command="grep right src/a.py")
    tickets = ticket("A", resources=("db",), acceptance=(wanted,)), ticket("B", resources=("db", "gpu"))
    world = given(*tickets).run()
    assert not overlap(world, "A", "B")
    assert world.end_as == ("finished", 0)


def test_a_cap_on_unverified_work_holds_back_builders() -> None:
    tickets = [ticket(name) for name in "ABCD"]
    world = given(*tickets, limits=limits(window_start=2, unverified_diffs_max=1)).agent("A", crashes(1))
    at_work: dict[str, str] = {}
    for move in world.run().all(e.TicketMoved):
        assert not (move.to == "working" and at_work.get(move.ticket) == "ready" and "verifying" in at_work.values())
        at_work[move.ticket] = move.to
    assert world.end_as == ("finished", 0)


def test_gates_in_flight_are_bounded() -> None:
    tickets = [ticket(name) for name in "ABC"]
    world = given(*tickets, gates=(TESTS, LINT), limits=limits(window_start=3, gate_jobs_max=1)).gate(
        "lint", exits("x")
    )
    flying: set[str] = set()
    for record in world.run().records:
        if isinstance(record.event, e.JobOwed) and isinstance(record.event.order, e.GateOrder):
            flying.add(record.event.key)
        if isinstance(record.event, e.GateEnded):
            flying.remove(record.event.key)
        assert len(flying) <= 1
    assert world.end_as == ("finished", 0)


# --- trunk ----------------------------------------------------------------------------------------------------------


def test_a_gate_that_cannot_run_on_trunk_stops_the_run_before_it_starts() -> None:
    world = given(ticket("A")).gate("tests", broken_on("base")).run()
    assert world.end_as == ("stopped", 2)
    assert "tests cannot run on trunk" in world.concluded().reason
    assert world.owed("turn") == []


def test_a_red_trunk_without_a_repair_is_a_wedge_that_names_the_gate() -> None:
    world = given(ticket("A"), ticket("B", depends_on=("A",)), files={"src/old.py": "wrong"}).run()
    assert world.end_as == ("wedged", 5)
    assert "tests" in world.concluded().reason
    assert {w.ticket: w.what != "" for w in world.concluded().open} == {"A": True, "B": True}
    assert world.owed("turn") == []


def test_a_red_trunk_is_repaired_first_by_whoever_can() -> None:
    """The repair and what it waits for start; the rest waits for a green trunk, even where it is more urgent."""
    fix = lambda order, start: Did(edits={"src/old.py": "right", "tests/test_old.py": "tells"})  # noqa: E731
    tickets = ticket("A", priority=0), ticket("P"), ticket("R", repairs=("tests",), depends_on=("P",))
    world = given(*tickets, files={"src/old.py": "wrong"}).agent("R", fix).run()
    assert turns(world)[0] == "P"
    assert turns(world).index("R") < turns(world).index("A")
    assert world.states()["R"] == "done"


def test_a_repair_that_repairs_nothing_does_not_land() -> None:
    world = given(ticket("R", repairs=("tests",)), files={"src/old.py": "wrong"}).run()
    assert "fixing" in world.moves("R")
    assert world.states() == {"R": "failed"}


def test_no_new_failures_lets_work_go_on_over_a_red_trunk() -> None:
    world = given(ticket("A"), files={"src/old.py": "wrong"}, baseline="no_new_failures").run()
    assert world.end_as == ("finished", 0)


def test_a_gate_that_the_candidate_breaks_is_its_own_red() -> None:
    world = given(ticket("A")).agent("A", lambda o, s: (writes("breaks") if o.role == "build" else right())(o, s)).run()
    (fixing,) = [m for m in world.all(e.TicketMoved) if m.to == "fixing"]
    assert fixing.cause == "candidate_broke_gate"
    assert [o.look for o in world.owed("gate")].count("control") == 1
    assert world.end_as == ("finished", 0)


def test_a_gate_that_is_broken_on_base_too_is_nobodys_and_is_run_again() -> None:
    ill: list[int] = []

    def sight(order: e.GateOrder, files: Files) -> Judgement | None:
        if order.look in ("lands", "control") and len(ill) < 2:
            ill.append(1)
            return Judgement(verdict="broken", why="no space left")
        return None

    world = given(ticket("A")).gate("tests", sight).run()
    (backoff,) = [m for m in world.all(e.TicketMoved) if m.to == "backoff"]
    assert backoff.cause == "infra"
    assert "fixing" not in world.moves("A")
    assert world.end_as == ("finished", 0)


def test_a_gate_that_stays_broken_on_base_waits_for_a_person() -> None:
    world = given(ticket("A")).gate("tests", broken_on("lands", "control")).run()
    assert world.states() == {"A": "held"}
    assert world.end_as == ("stopped", 3)


def test_a_test_that_flips_on_base_is_quarantined_and_the_gate_looks_again() -> None:
    world = given(ticket("A"))
    world.gates.flips["tests/test_base.py::test_base"] = lambda order: order.look in ("lands", "control")
    world.run()
    (quarantined,) = world.all(e.TestQuarantined)
    assert quarantined.test == "tests/test_base.py::test_base"
    lands = [o for o in world.owed("gate") if o.look == "lands"]
    assert [quarantined.test in o.quarantined for o in lands] == [False, True]
    assert world.moves("A").count("fixing") == 0
    assert world.end_as == ("finished", 0)


def test_a_test_is_quarantined_at_most_once() -> None:
    """A gate that reports it all the same does not keep the run going for ever."""
    name = "tests/test_base.py::test_base"
    lost = Judgement(verdict="fail", why="1 test is gone", missing=(name,))
    world = given(ticket("A")).gate("tests", lambda order, files: lost if order.look == "lands" else None)
    world.gates.flips[name] = lambda order: order.look == "control"
    world.run()
    assert len(world.all(e.TestQuarantined)) == 1
    assert world.states() == {"A": "failed"}


def test_a_named_test_is_never_quarantined() -> None:
    name = "tests/test_base.py::test_base"
    wanted = TestCriterion(test=name), CommandCriterion(command="grep right src/a.py")
    world = given(ticket("A", acceptance=wanted))
    world.gates.flips[name] = lambda order: order.look in ("lands", "control")
    world.run()
    assert world.all(e.TestQuarantined) == []
    assert world.states() == {"A": "failed"}


def test_a_trunk_that_others_made_red_is_nobodys_red_and_the_work_is_rebuilt_once_it_is_green() -> None:
    world = given(ticket("A"), ticket("Z")).slow("Z", 900_000)
    world.once(is_turn_of("A"), lambda w: w.push({"src/theirs.py": "wrong"}))
    world.once(moved("A", "held"), lambda w: w.push({"src/theirs.py": "right"}), lambda w: w.approve("A")).run()
    assert "fixing" not in world.moves("A")
    assert "trunk itself is red" in next(m.reason for m in world.all(e.TicketMoved) if m.to == "backoff")
    assert world.states() == {"A": "done", "Z": "done"}


def test_a_fast_red_stops_the_later_tiers() -> None:
    slow = GateSpec(name="e2e", command="e2e", tier="medium", digest="i" * 64)
    world = (
        given(ticket("A", risk="boundary"), gates=(TESTS, slow))
        .gate("e2e", exits("never"))
        .agent("A", red_then_fixed())
    )
    world.run()
    lands = [(o.gate, o.commit) for o in world.owed("gate") if o.look == "lands"]
    assert [gate for gate, _ in lands] == ["tests", "tests", "e2e"]


def test_what_a_gate_sees_by_its_exit_status_is_a_red_too() -> None:
    world = given(ticket("A"), gates=(TESTS, LINT)).gate("lint", exits("ugly"))
    ugly = lambda o, s: right()(o, s) if o.role == "fix" else Did(edits={**right()(o, s).edits, "src/a.py": "ugly"})  # noqa: E731
    world.agent("A", ugly).run()
    assert world.moves("A").count("fixing") == 1
    assert world.end_as == ("finished", 0)


# --- the lane -------------------------------------------------------------------------------------------------------


def test_a_conflict_is_fixed_from_the_conflicted_merge() -> None:
    world = given(ticket("A"), ticket("B")).agent("A", conflicts()).agent("B", conflicts()).run()
    (torn,) = world.all(e.CandidateConflicted)
    fix = next(o for o in world.owed("turn") if o.role == "fix")
    assert fix.start == torn.start
    assert world.end_as == ("finished", 0)
    assert world.repository.files(world.repository.trunk)["src/shared.py"].endswith("and others")


def test_a_stale_candidate_is_rebuilt_and_keeps_its_place() -> None:
    world = given(ticket("A"), ticket("B"), ticket("C"), limits=limits(window_start=3, gate_jobs_max=3)).run()
    stale = [m for m in world.all(e.TicketMoved) if m.cause == "stale"]
    entered = list(dict.fromkeys(m.ticket for m in world.all(e.TicketMoved) if m.to == "landing"))
    landed = [m.ticket for m in world.all(e.TicketMoved) if m.to == "done"]
    assert len(stale) >= 2
    assert landed == entered
    assert world.end_as == ("finished", 0)


def test_trunk_that_others_moved_is_never_claimed_and_work_is_rebuilt_on_it() -> None:
    world = given(ticket("A")).once(moved("A", "landing"), lambda w: w.push({"src/theirs.py": "right"})).run()
    files = world.repository.files(world.repository.trunk)
    assert (files["src/theirs.py"], files["src/a.py"]) == ("right", "right")
    assert world.end_as == ("finished", 0)


def test_landing_finds_trunk_moved_before_it_was_told() -> None:
    def secretly(world: World) -> None:
        files = world.repository.files(world.repository.trunk) | {"src/theirs.py": "right"}
        world.repository.trunk = world.repository.commit(files, world.repository.trunk)

    world = given(ticket("A")).once(moved("A", "landing"), secretly).run()
    assert [ended.outcome for ended in world.all(e.LandEnded)] == ["moved", "landed"]
    assert world.repository.files(world.repository.trunk)["src/theirs.py"] == "right"


def lands(world: World, times: int) -> Callable[[e.Record], bool]:
    return lambda r: moved("A", "landing")(r) and world.moves("A").count("landing") == times + 1


def push(n: int) -> Callable[[World], None]:
    return lambda world: world.push({f"src/theirs{n}.py": "right"})


def test_a_trunk_that_never_rests_holds_the_ticket() -> None:
    world = given(ticket("A"), limits=limits(stale_rows_max=2))
    for n in range(9):
        world.once(lands(world, n), push(n))
    world.run()
    assert world.states() == {"A": "held"}
    assert "faster" in world.why("A")


# --- environments ---------------------------------------------------------------------------------------------------

ENV = EnvSpec(name="py", setup="make env", inputs=("lock",))
IN_ENV = GateSpec(name="tests", command="pytest", env="py", digest="g" * 64)


def test_an_environment_is_built_once_per_digest() -> None:
    world = given(ticket("A"), ticket("B"), gates=(IN_ENV,), envs=(ENV,)).run()
    assert len(world.owed("env")) == 1
    assert world.end_as == ("finished", 0)


def test_an_environment_that_cannot_be_built_on_trunk_stops_the_run() -> None:
    world = given(ticket("A"), gates=(IN_ENV,), envs=(ENV,))
    world.broken_envs.add("1")
    world.run()
    assert world.end_as == ("stopped", 2)
    assert "environment py" in world.concluded().reason


def test_a_change_of_an_environments_inputs_waits_for_a_person() -> None:
    bump = lambda o, s: Did(edits={**right()(o, s).edits, "lock": "2"})  # noqa: E731
    world = given(ticket("A"), ticket("Z"), gates=(IN_ENV,), envs=(ENV,)).agent("A", bump).slow("Z", 900_000)
    world.once(moved("A", "held"), lambda w: w.approve("A")).run()
    assert len(world.owed("env")) >= 2
    assert world.states()["A"] in ("done", "held")


def test_an_environment_that_only_the_candidate_breaks_is_its_red() -> None:
    bump = lambda o, s: Did(edits={**right()(o, s).edits, "lock": "1" if o.role == "fix" else "2"})  # noqa: E731
    world = given(ticket("A"), ticket("Z"), gates=(IN_ENV,), envs=(ENV,)).agent("A", bump).slow("Z", 900_000)
    world.broken_envs.add("2")
    world.once(moved("A", "held"), lambda w: w.approve("A")).run()
    assert "candidate_broke_gate" in {m.cause for m in world.all(e.TicketMoved)}
    assert world.states() == {"A": "done", "Z": "done"}


# --- settings that change between two writers -----------------------------------------------------------------------


def resumed_with(*gates: GateSpec) -> Callable[[World], None]:
    """A new writer takes over, and finds these gates in the settings."""

    def take_over(world: World) -> None:
        world.policy = msgspec.structs.replace(world.policy, gates=gates)
        world.tell(e.RunResumed(version="0", epoch=2, policy=world.policy, envs=world.state.trunk.envs))

    return take_over


def looks_at_what_lands(world: World, gate: str) -> int:
    return sum(1 for order in world.owed("gate", "A") if (order.gate, order.look) == (gate, "lands"))


def has_seen_what_lands(record: e.Record) -> bool:
    return isinstance(record.event, e.GateEnded) and record.event.evidence.look == "lands"


def test_what_a_gate_saw_counts_no_more_once_the_gate_is_another() -> None:
    other = msgspec.structs.replace(TESTS, command="pytest -W error", digest="x" * 64)
    changed = given(ticket("A"), gates=(TESTS,)).once(has_seen_what_lands, resumed_with(other)).run()
    assert (changed.end_as, looks_at_what_lands(changed, "tests")) == (("finished", 0), 2)
    same = given(ticket("A"), gates=(TESTS,)).once(has_seen_what_lands, resumed_with(TESTS)).run()
    assert (same.end_as, looks_at_what_lands(same, "tests")) == (("finished", 0), 1)


def test_a_gate_that_is_new_must_be_passed_by_what_is_being_verified() -> None:
    world = given(ticket("A"), gates=(TESTS,)).once(has_seen_what_lands, resumed_with(TESTS, LINT)).run()
    assert (world.end_as, looks_at_what_lands(world, "lint")) == (("finished", 0), 1)
