"""Relations between runs: what may differ between two of them, and what may not. Each counts where it had a premise."""

from __future__ import annotations

import msgspec
import pytest

from penstock.core import events as e
from penstock.core.codec import decode, encode
from penstock.core.digest import draw
from penstock.core.evolve import evolve
from penstock.core.owed import owed
from penstock.core.policy import BudgetCaps, BudgetPolicy, Policy, Spend
from penstock.core.state import State
from tests.model.chance import RandomWorld, random_world
from tests.model.world import World
from tests.property.seeds import seeds

ENDS = (e.TurnEnded, e.CandidateFormed, e.CandidateConflicted, e.GateEnded, e.EnvEnded, e.LandEnded, e.JobLost)


def folded(records: list[e.Record], state: State | None = None) -> State:
    state = state or State()
    for record in records:
        evolve(state, record)
    return state


def written(state: State) -> bytes:
    return msgspec.msgpack.encode(state)


# --- one run, read in other ways ------------------------------------------------------------------------------------


def test_M01_the_same_seed_gives_the_same_bytes() -> None:
    for seed in seeds(20):
        one, other = random_world(seed).run(), random_world(seed).run()
        assert [encode(r) for r in one.records] == [encode(r) for r in other.records]


def test_M01_what_is_stored_is_what_was_meant() -> None:
    for seed in seeds(10):
        records = random_world(seed).run().records
        assert [decode(encode(r)) for r in records] == records


def test_M04_a_result_delivered_again_changes_nothing_but_the_record() -> None:
    met = 0
    for seed in seeds(25):
        records = random_world(seed).run().records
        cut = 1 + draw(seed, "cut", "again", 0, len(records) - 1)
        state = folded(records[:cut])
        for end in (r.event for r in records[:cut] if isinstance(r.event, ENDS)):
            before = written(state)
            seq = state.seq
            evolve(state, e.Record(seq=seq + 1, at_ms=state.now_ms, event=end))
            state.seq = seq
            assert written(state) == before, f"PENSTOCK_SEED={seed}: {end}"
            met += 1
    print(f"{met} results were delivered again")
    assert met


def test_M07_a_snapshot_anywhere_changes_nothing() -> None:
    for seed in seeds(20):
        world = random_world(seed).run()
        cut = draw(seed, "cut", "snapshot", 0, len(world.records))
        half = folded(world.records[:cut])
        again = msgspec.msgpack.decode(written(half), type=State)
        assert written(again) == written(half)
        whole = folded(world.records)
        assert written(folded(world.records[cut:], again)) == written(whole)
        assert written(whole) == written(world.state)
        assert owed(whole) == ()


def test_M07_cut_at_any_record_the_core_goes_on_as_it_did() -> None:
    """Also in the middle of a cascade: what is owed is read from the state, so the same decision comes again."""
    for seed in seeds(6):
        records = random_world(seed, faults=False).run().records
        state = State()
        for n, record in enumerate(records[:-1]):
            evolve(state, record)
            following = records[n + 1].event
            if isinstance(following, e.DECISIONS) and not isinstance(record.event, e.DECISIONS):
                assert owed(msgspec.msgpack.decode(written(state), type=State))[0] == following


# --- crashes --------------------------------------------------------------------------------------------------------


def test_L05_after_a_crash_at_any_boundary_the_run_ends_the_same() -> None:
    crashes = 0
    for seed in seeds(3):
        calm = steady(seed).run()
        files = calm.repository.files(calm.repository.trunk)
        for boundary in range(0, steps_of(seed), 3):
            world = steady(seed).begin()
            for _ in range(boundary):
                world.step()
            world.crash()
            world.run()
            assert world.states() == calm.states(), f"PENSTOCK_SEED={seed} boundary {boundary}"
            if not conflicting(calm):
                assert world.repository.files(world.repository.trunk) == files
            crashes += 1
    print(f"{crashes} crashes")


def steady(seed: int) -> RandomWorld:
    return random_world(seed, faults=False, steady=True, count=4)


def conflicting(world: World) -> bool:
    """Did tickets write the same file? Then the order in which they land shows in it."""
    return bool(world.all(e.CandidateConflicted)) or "src/shared.py" in world.repository.files(world.repository.trunk)


def steps_of(seed: int) -> int:
    world, steps = steady(seed).begin(), 0
    while world.state.finished is None and world.step():
        steps += 1
    return steps


# --- liveness -------------------------------------------------------------------------------------------------------


def test_L01_L03_with_gates_that_can_pass_every_ticket_is_done() -> None:
    for seed in seeds(60):
        world = random_world(seed, faults=False, steady=True).run()
        assert set(world.states().values()) == {"done"}, f"PENSTOCK_SEED={seed}: {world.story()[-9:]}"
        assert world.end_as == ("finished", 0)


def test_L02_among_equals_nobody_is_overtaken_for_ever() -> None:
    """Ready at the same time and equally urgent: whoever may start does so in the order of ids."""
    met = 0
    for seed in seeds(40):
        world = random_world(seed, faults=False, steady=True).run()
        overtaken = 0
        for name, run in world.state.tickets.items():
            started = start_of(world, name)
            later = [o for o in world.state.tickets if start_of(world, o) > started]
            waited = [o for o in later if world.state.tickets[o].ready_ms + 7_200_000 < run.ready_ms]
            overtaken += len(waited)
            met += 1
        assert overtaken == 0
    assert met


def start_of(world: World, name: str) -> int:
    return next(
        r.seq
        for r in world.records
        if isinstance(r.event, e.TicketMoved) and (r.event.ticket, r.event.to) == (name, "working")
    )


# --- admission ------------------------------------------------------------------------------------------------------


def at_first_starts(world: RandomWorld, policy: Policy | None = None) -> list[str]:
    """The tickets that start in the first cascade in which any does, in order."""
    world.policy = policy or world.policy
    world.begin()
    while world.step():
        started = [m.ticket for m in world.all(e.TicketMoved) if m.to == "working"]
        if started:
            return started
    return []


def test_M02_who_is_dispatched_is_dispatched_when_more_urgent() -> None:
    met = 0
    for seed in seeds(60):
        for name in at_first_starts(plain(seed)):
            met += 1
            world = plain(seed)
            world.tickets = tuple(msgspec.structs.replace(t, priority=0) if t.id == name else t for t in world.tickets)
            assert name in at_first_starts(world), f"PENSTOCK_SEED={seed} {name}"
    print(f"{met} tickets were dispatched")
    assert met


@pytest.mark.parametrize("more", ["window", "budget"])
def test_M10_who_is_admitted_is_admitted_with_more(more: str) -> None:
    met = 0
    for seed in seeds(60):
        tight = BudgetPolicy(run=BudgetCaps(tokens=250_000))
        wide = BudgetPolicy(run=BudgetCaps(tokens=900_000))
        policy = msgspec.structs.replace(plain(seed).policy, budget=tight)
        limits = msgspec.structs.replace(policy.limits, window_start=policy.limits.window_start + 1)
        richer = msgspec.structs.replace(policy, **({"limits": limits} if more == "window" else {"budget": wide}))
        before = at_first_starts(plain(seed), policy)
        met += bool(before)
        assert set(before) <= set(at_first_starts(plain(seed), richer)), f"PENSTOCK_SEED={seed}"
    print(f"{met} seeds had a start")
    assert met


def plain(seed: int) -> RandomWorld:
    """Without criteria: what is under probe starts later than what is not, whatever its priority."""
    world = random_world(seed, faults=False, steady=True, count=8)
    world.tickets = tuple(msgspec.structs.replace(t, acceptance=()) for t in world.tickets)
    return world


def test_M05_no_schedule_of_retries_breaks_the_budget() -> None:
    """S06 is watched; what is left over shows that money was the limit."""
    for seed in seeds(20):
        world = random_world(seed)
        world.policy = msgspec.structs.replace(
            world.policy, budget=BudgetPolicy(run=BudgetCaps(tokens=400_000), ticket=BudgetCaps(tokens=250_000))
        )
        world.run()
        assert world.state.reserved == Spend()
