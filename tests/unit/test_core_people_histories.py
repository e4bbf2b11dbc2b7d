"""What the core does when people, budgets, earlier runs and the harness itself come into it, told as histories."""

from __future__ import annotations

import pytest

from penstock.core import events as e
from penstock.core.done import conclude
from penstock.core.policy import BudgetCaps, BudgetPolicy, EnvSpec, GateSpec, RetryRule, Spend
from tests.model.agents import Did, crashes, ends, lies, red_then_fixed, right
from tests.model.world import World, given, is_turn_of, limits, moved, retries, ticket

ONE = limits(window_start=1, window_max=1)
ENV = EnvSpec(name="py", setup="make env", inputs=("lock",))
IN_ENV = GateSpec(name="tests", command="pytest", env="py", digest="g" * 64)


# --- budgets --------------------------------------------------------------------------------------------------------


def test_the_runs_budget_stops_the_run() -> None:
    budget = BudgetPolicy(run=BudgetCaps(tokens=150_000))
    world = given(ticket("A"), ticket("B"), ticket("C"), budget=budget, limits=ONE)
    world.agent("A", lambda o, s: spends(right()(o, s), 60_000)).run()
    assert world.states() == {"A": "done", "B": "ready", "C": "ready"}
    assert world.end_as == ("stopped", 3)
    assert world.concluded().reason.startswith("budget: tokens")
    assert all(w.what.startswith("the next `penstock run` (budget: tokens") for w in world.concluded().open)


def spends(did: Did, tokens: int) -> Did:
    did.usage = e.Usage(tokens=tokens)
    return did


def test_the_runs_budget_can_be_raised() -> None:
    budget = BudgetPolicy(run=BudgetCaps(tokens=150_000))
    world = given(ticket("A"), ticket("B"), budget=budget, limits=ONE)
    world.agent("A", lambda o, s: spends(right()(o, s), 60_000))
    world.once(is_turn_of("A"), e.BudgetRaised(who="ann", add=Spend(tokens=100_000))).run()
    assert world.end_as == ("finished", 0)


def test_a_tickets_budget_ends_that_ticket_only() -> None:
    world = given(ticket("A", budget=BudgetCaps(tokens=120_000)), ticket("B"))
    world.agent("A", lambda o, s: spends(red_then_fixed()(o, s), 60_000)).run()
    assert world.states() == {"A": "failed", "B": "done"}
    assert "budget" in world.why("A")


def test_a_budget_may_be_used_to_the_last() -> None:
    budget = BudgetPolicy(run=BudgetCaps(tokens=100_000), tokens_per_turn=100_000)
    assert given(ticket("A"), budget=budget).run().end_as == ("finished", 0)


def test_no_usage_is_charged_as_assumed() -> None:
    silent = lambda o, s: spends_nothing(right()(o, s))  # noqa: E731
    world = given(ticket("A")).agent("A", silent).run()
    assert world.state.settled.tokens == world.policy.budget.assumed_tokens_per_turn


def spends_nothing(did: Did) -> Did:
    did.usage = e.Usage()
    return did


def test_a_gate_starts_only_within_the_budget_of_gate_time() -> None:
    budget = BudgetPolicy(run=BudgetCaps(gate_ms=1_500))
    world = given(ticket("A"), budget=budget).run()
    assert world.end_as == ("stopped", 3)
    assert len(world.owed("gate")) < 3


def test_a_tickets_budget_of_gate_time_ends_it() -> None:
    world = given(ticket("A", budget=BudgetCaps(gate_ms=4_000))).agent("A", red_then_fixed()).run()
    assert world.states() == {"A": "failed"}


# --- people ---------------------------------------------------------------------------------------------------------


def test_a_pause_starts_nothing_until_it_is_over() -> None:
    world = given(ticket("A"), ticket("B", depends_on=("A",))).once(is_turn_of("A"), e.PauseAsked(who="ann"))
    world.at(900_000, e.ResumeAsked(who="ann")).run()
    resumed = next(r.at_ms for r in world.records if isinstance(r.event, e.ResumeAsked))
    gates = [r.at_ms for r in world.records if isinstance(r.event, e.JobOwed) and r.event.ticket == "A"]
    assert min(at for at in gates[1:]) >= resumed
    assert world.end_as == ("finished", 0)


def test_a_retry_that_comes_due_during_a_pause_waits_without_spinning() -> None:
    world = given(ticket("A")).agent("A", crashes(1)).once(moved("A", "backoff"), e.PauseAsked(who="ann"))
    world.at(900_000, e.ResumeAsked(who="ann")).run()
    assert world.end_as == ("finished", 0)


def test_a_drain_ends_what_runs_and_then_the_run() -> None:
    world = given(ticket("A"), ticket("B", depends_on=("A",))).once(is_turn_of("A"), e.DrainAsked(who="ann")).run()
    assert world.end_as == ("stopped", 3)
    assert len(world.all(e.TurnEnded)) == 1
    assert world.states()["A"] == "verifying"


def test_a_run_that_ends_with_a_ticket_open_claims_no_more_than_holds() -> None:
    world = given(ticket("A")).once(is_turn_of("A"), e.DrainAsked(who="ann")).run()
    assert [clause.holds for clause in world.concluded().clauses] == [True, True, True, True, False]
    assert world.concluded().clauses[4].witness.endswith(": A")
    assert all(clause.holds for clause in given(ticket("A")).run().concluded().clauses)


def test_a_drain_is_bounded() -> None:
    world = given(ticket("A"), limits=limits(drain_ms_max=1_000)).once(is_turn_of("A"), e.DrainAsked(who="ann")).run()
    asked = next(r.at_ms for r in world.records if isinstance(r.event, e.DrainAsked))
    assert world.records[-1].at_ms - asked <= 1_000
    assert world.all(e.JobCanceled) != []
    assert world.end_as == ("stopped", 3)


def test_a_landing_that_is_under_way_outlives_the_drain() -> None:
    world = (
        given(ticket("A"), limits=limits(drain_ms_max=50)).once(moved("A", "landing"), e.DrainAsked(who="ann")).run()
    )
    assert world.all(e.JobUnwanted) == []
    assert world.states() == {"A": "done"}


def test_what_a_cancelled_turn_still_made_is_not_taken_over() -> None:
    world = given(ticket("A"), ticket("Z"))
    world.once(is_turn_of("A"), lambda w: w.tell(e.CancelAsked(ticket="A", who="ann")), late_end).run()
    assert world.states() == {"A": "canceled", "Z": "done"}
    assert world.state.tickets["A"].turns == 0


def late_end(world: World) -> None:
    """The turn's end comes before the word that it was stopped."""
    key = next(key for key in world.state.jobs if "/turn/A/" in key)
    world.tell(world.end_of(key, world.state.jobs[key].order))


@pytest.mark.parametrize("state", ["ready", "working", "verifying", "fixing", "landing", "backoff", "held"])
def test_a_ticket_can_be_cancelled_wherever_it_is(state: str) -> None:
    agents = {"fixing": red_then_fixed(), "backoff": crashes(1), "held": ends("provider_transient")}
    rules = retries(
        agent_crash=RetryRule(cap=2, backoff_base_ms=100_000),
        provider_transient=RetryRule(cap=9, backoff_base_ms=9_000),
    )
    world = given(ticket("A"), ticket("B", depends_on=("A",)), ticket("Z"), retries=rules)
    world.agent("A", agents.get(state, right()))
    if state == "held":
        world.agent("A", lambda o, s: Did(edits={f"src/a{o.turn}.py": "x"})).slow("Z", 3_600_000)
    world.once(moved("A", state), e.CancelAsked(ticket="A", who="ann", reason="no")).run()
    states = world.states()
    if state == "landing":  # the landing was under way: it stands
        assert states["A"] in ("done", "canceled")
    else:
        assert states == {"A": "canceled", "B": "canceled", "Z": "done"}
    after = False
    for record in world.records:
        after = after or isinstance(record.event, e.CancelAsked)
        assert not (after and isinstance(record.event, e.JobOwed) and record.event.ticket == "A")


def test_a_cancelled_ticket_starts_nothing_while_its_jobs_end_one_by_one() -> None:
    """The end of the first makes room for a gate that has not run yet."""
    gates = tuple(GateSpec(name=name, command="pytest", digest="g" * 64) for name in ("a", "b", "c"))
    world = given(ticket("A"), gates=gates)
    world.begin()
    while len([o for o in world.owed("gate") if o.look == "lands"]) < 2:
        assert world.step()
    world.tell(e.CancelAsked(ticket="A", who="ann"))
    unwanted = [key for key, job in world.state.jobs.items() if job.unwanted]
    assert len(unwanted) == 2
    for key in unwanted:
        world.tell(e.JobCanceled(key=key))
    assert len([o for o in world.owed("gate") if o.look == "lands"]) == 2
    assert world.states() == {"A": "canceled"}


def test_a_waiting_ticket_can_be_cancelled() -> None:
    world = given(ticket("A"), ticket("B", depends_on=("A",)), ticket("C", depends_on=("B",)))
    world.once(is_turn_of("A"), e.CancelAsked(ticket="B", who="ann")).run()
    assert world.states() == {"A": "done", "B": "canceled", "C": "canceled"}


def test_only_held_tickets_left_stops_the_run_and_names_them() -> None:
    agent = lambda order, start: Did(edits={f"src/a{order.turn}.py": "right"})  # noqa: E731
    world = given(ticket("A"), ticket("B"), ticket("C", depends_on=("A",))).agent("A", agent).run()
    assert world.states() == {"A": "held", "B": "done", "C": "waiting"}
    assert world.end_as == ("stopped", 3)
    assert "A" in world.concluded().reason
    frees = {w.ticket: w.what for w in world.concluded().open}
    assert "penstock approve A" in frees["A"]
    assert frees["C"] == "its dependencies: A"


def test_a_held_ticket_beside_one_that_nothing_can_move_is_a_wedge() -> None:
    state = given(ticket("A"), ticket("B")).begin().state
    state.tickets["A"].state, state.tickets["B"].state = "held", "ready"
    assert conclude(state).outcome == "wedged"
    state.tickets["B"].state = "held"
    assert conclude(state).outcome == "stopped"


def test_stop_waiting_fails_what_would_be_tried_again_later() -> None:
    world = given(ticket("A"), stop_waiting=True).agent("A", crashes(1)).run()
    assert world.states() == {"A": "failed"}
    assert "stop_waiting" in world.why("A")


# --- runs before this one -------------------------------------------------------------------------------------------


def test_attempts_of_earlier_runs_count() -> None:
    a = ticket("A")
    world = given(a).earlier(attempts={a.digest: 2}).agent("A", crashes(9)).run()
    assert [s.attempt for s in world.all(e.AttemptStarted)] == [3]
    spent = given(a).earlier(attempts={a.digest: 3}).run()
    assert spent.states() == {"A": "failed"}
    assert spent.owed("turn") == []


def test_retries_of_earlier_runs_count() -> None:
    a = ticket("A")
    world = given(a).earlier(retries={a.digest: {"no_progress": 2}}).agent("A", lies()).run()
    assert len(world.owed("turn")) == 1
    assert world.states() == {"A": "failed"}


def test_work_that_an_earlier_run_left_is_taken_up_without_a_turn() -> None:
    a = ticket("A")
    world = given(a)
    base = world.repository.trunk
    work = world.repository.commit(
        world.repository.files(base) | {"src/a.py": "right", "tests/test_a.py": "tells"}, base
    )
    world.earlier(work={a.digest: e.WorkLeft(ticket="A", head=work, base=base, lines=20)}).run()
    assert world.owed("turn") == []
    assert world.end_as == ("finished", 0)


def test_approvals_of_an_earlier_run_hold_for_the_same_tree() -> None:
    agent = lambda order, start: Did(edits={"src/a.py": "right"})  # noqa: E731
    first = given(ticket("A")).agent("A", agent).run()
    tree = first.all(e.CandidateFormed)[0].tree
    approval = e.Approved(ticket="A", who="ann", reason="fine", tree=tree)
    world = given(ticket("A")).agent("A", agent).earlier(approvals=(approval,)).run()
    assert world.end_as == ("finished", 0)
    assert world.refusals("A") == []


def test_what_trunk_has_already_is_done_without_a_baseline() -> None:
    world = given(ticket("A"), ticket("B", depends_on=("A",))).found_done("A").found_done("B").run()
    assert world.states() == {"A": "done", "B": "done"}
    assert world.all(e.JobOwed) == []
    assert world.end_as == ("finished", 0)


def test_a_run_without_a_ticket_proves_nothing() -> None:
    assert given().run().end_as == ("stopped", 2)


# --- faults of the harness ------------------------------------------------------------------------------------------


def lose(world: World, key: str) -> None:
    world.running.pop(key, None)
    world.tell(e.JobLost(key=key, reason="it vanished"))


def test_a_lost_turn_is_begun_again_in_the_same_attempt() -> None:
    world = given(ticket("A")).once(is_turn_of("A"), lambda w: lose(w, "r1/turn/A/1/1")).run()
    assert [j.key for j in world.all(e.JobOwed) if "turn" in j.key] == ["r1/turn/A/1/1", "r1/turn/A/1/2"]
    assert len(world.all(e.AttemptStarted)) == 1
    assert world.end_as == ("finished", 0)


@pytest.mark.parametrize("kind", ["turn", "gate", "env"])
def test_jobs_that_are_lost_again_and_again_come_to_an_end(kind: str) -> None:
    world = given(ticket("A"), gates=(IN_ENV,), envs=(ENV,))

    def watch(w: World) -> None:
        w.once(is_owed, watch)
        for key in [k for k in w.state.jobs if k.split("/")[1] == kind]:
            lose(w, key)

    def is_owed(record: e.Record) -> bool:
        return isinstance(record.event, e.JobOwed) and record.event.key.split("/")[1] == kind

    world.once(is_owed, watch).run()
    assert world.end_as[0] in ("stopped", "wedged")
    assert len(world.all(e.JobLost)) <= 12


def test_a_late_result_of_a_lost_job_changes_nothing() -> None:
    world = given(ticket("A")).once(is_turn_of("A"), lambda w: lose(w, "r1/turn/A/1/1")).run()
    late = e.TurnEnded(key="r1/turn/A/1/1", outcome="crashed")
    again = given(ticket("A")).once(is_turn_of("A"), lambda w: lose(w, "r1/turn/A/1/1")).at(30_000, late).run()
    assert again.moves("A") == world.moves("A")
    assert again.state.settled == world.state.settled
