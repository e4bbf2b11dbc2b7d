"""What the core does for one ticket, told as histories: a world is given, it runs, its records say what happened."""

from __future__ import annotations

import pytest

from penstock.core import events as e
from penstock.core.comparison import Judgement, judge_exit
from penstock.core.criteria import files_of
from penstock.core.policy import RetryRule
from penstock.core.tickets import CommandCriterion, TestCriterion
from tests.model.agents import (
    Did,
    by_attempt,
    by_role,
    by_turn,
    crashes,
    ends,
    lies,
    never_right,
    red_then_fixed,
    right,
    scope_creep,
    vacuous,
    weakens,
    writes,
)
from tests.model.trees import Files
from tests.model.world import given, limits, retries, ticket

LANDED = ["ready", "working", "verifying", "landing", "done"]
NAMED = TestCriterion(test="tests/test_a.py::test_a")


def untold(order: e.TurnOrder, start: Files) -> Did:
    """Changes something in each turn, and never writes a test."""
    return Did(edits={f"src/a{order.turn}.py": "right"})


def test_one_ticket_lands() -> None:
    world = given(ticket("A")).run()
    assert world.moves("A") == LANDED
    assert world.end_as == ("finished", 0)
    assert world.repository.files(world.repository.trunk)["src/a.py"] == "right"


def test_after_a_red_only_a_fix_and_it_starts_at_the_red_candidate() -> None:
    world = given(ticket("A")).agent("A", red_then_fixed()).run()
    build, fix = world.owed("turn")
    red = world.all(e.CandidateFormed)[0]
    assert world.moves("A")[1:5] == ["working", "verifying", "fixing", "verifying"]
    assert (build.role, fix.role) == ("build", "fix")
    assert (fix.start, fix.trunk) == (red.commit, red.base)
    assert set(fix.allowed) >= {"/src/a.py", "/tests/test_a.py"}
    (seq,) = fix.evidence
    seen = world.records[seq - 1].event
    assert isinstance(seen, e.GateEnded)
    assert seen.evidence.verdict == "fail"
    assert world.end_as == ("finished", 0)


def test_a_fix_is_told_nothing_new_and_its_expansion_is_set_aside() -> None:
    """The file that it may not touch is not merged; it may have it after the one widening."""
    world = given(ticket("A")).agent("A", scope_creep()).run()
    assert world.refusals("A") == ["red", "expansion"]
    assert world.all(e.FixScopeWidened) == [e.FixScopeWidened(ticket="A", paths=("src/other.py",))]
    assert "src/other.py" not in world.repository.files(world.repository.trunk)
    assert world.end_as == ("finished", 0)


def test_there_is_one_widening_per_attempt_and_expansion_has_a_cap() -> None:
    def creeps(order: e.TurnOrder, start: Files) -> Did:
        return Did(edits={"tests/test_a.py": f"vacuous {order.turn}", f"src/new_{order.turn}.py": "x"})

    rules = retries(expansion=RetryRule(cap=2), gate_red=RetryRule(cap=9))
    world = given(ticket("A"), retries=rules).agent("A", by_role(writes("wrong"), creeps)).run()
    assert len(world.all(e.FixScopeWidened)) == 1
    assert world.states() == {"A": "failed"}
    assert "expansion" in world.why("A")


def test_the_agent_is_told_what_was_set_aside() -> None:
    def creeps(order: e.TurnOrder, start: Files) -> Did:
        edits: dict[str, str | None] = {"src/a.py": "wrong", "src/new.py": "x", "src/turn.py": str(order.turn)}
        return Did(edits=edits if order.turn < 3 else {"src/a.py": "right", "tests/test_a.py": "tells"})

    world = given(ticket("A")).agent("A", by_role(writes("wrong"), creeps)).run()
    notes = [order.notes for order in world.owed("turn")]
    assert any("set aside" in note for note in notes[2])


def test_weakening_a_test_is_refused_and_undone() -> None:
    world = given(ticket("A")).agent("A", weakens()).run()
    assert world.refusals("A") == ["weakened"]
    assert world.moves("A") == ["ready", "working", "verifying", "fixing", "verifying", "landing", "done"]
    assert world.repository.files(world.repository.trunk)["tests/test_base.py"] == "all"


def test_weakening_for_ever_fails() -> None:
    cheats = lambda order, start: Did(edits={"src/a.py": "wrong", "tests/test_base.py": "vacuous"})  # noqa: E731
    world = given(ticket("A")).agent("A", cheats).run()
    assert world.states() == {"A": "failed"}
    assert world.end_as == ("finished", 1)


def test_a_vacuous_test_goes_back_to_work() -> None:
    world = given(ticket("A")).agent("A", by_turn(vacuous(), right())).run()
    assert world.refusals("A") == ["vacuous"]
    assert world.moves("A") == ["ready", "working", "verifying", "working", "verifying", "landing", "done"]


def test_a_vacuous_change_is_held_and_lands_once_a_person_vouches_for_its_very_tree() -> None:
    world = given(ticket("A"), ticket("Z")).agent("A", untold).slow("Z", 3_600_000)
    world.once(lambda r: isinstance(r.event, e.TicketMoved) and r.event.to == "held", lambda w: w.approve("A")).run()
    assert world.refusals("A") == ["vacuous"] * 3
    assert world.moves("A")[-4:] == ["held", "verifying", "landing", "done"]
    assert world.all(e.Approved)[0].tree == world.all(e.CandidateFormed)[2].tree
    assert world.end_as == ("finished", 0)


def test_an_approval_of_another_tree_is_void() -> None:
    stale = e.Approved(ticket="A", who="ann", reason="looked", tree="t-of-yesterday")
    world = given(ticket("A"), ticket("Z")).agent("A", untold).slow("Z", 3_600_000)
    world.once(lambda r: isinstance(r.event, e.TicketMoved) and r.event.to == "held", stale).run()
    assert world.moves("A")[-3:] == ["held", "verifying", "held"]
    assert world.end_as == ("stopped", 3)
    assert "A" in world.concluded().reason


def test_kinds_that_tell_nothing_need_no_witness() -> None:
    world = given(ticket("A", kind="refactor")).agent("A", writes("right", None)).run()
    assert world.moves("A") == LANDED
    assert "witness" not in {order.look for order in world.owed("gate")}


def test_a_named_test_that_is_absent_on_base_has_to_be_red_without_the_change() -> None:
    """The attempt writes it: that it is there proves nothing."""
    world = given(ticket("A", acceptance=(NAMED,))).run()
    assert world.moves("A") == LANDED
    assert "witness" in {order.look for order in world.owed("gate")}
    world = given(ticket("A", acceptance=(NAMED,))).agent("A", vacuous()).run()
    assert "vacuous" in world.refusals("A")


def test_a_named_test_that_is_red_on_base_tells_and_is_no_red_trunk() -> None:
    world = given(ticket("A", acceptance=(NAMED,)), ticket("B"), files={"tests/test_a.py": "tells"})
    world.agent("A", writes("right", None)).run()
    assert world.states() == {"A": "done", "B": "done"}


def test_an_open_criterion_sends_the_ticket_back_to_work() -> None:
    wanted = CommandCriterion(command="grep right src/more.py")
    more = lambda order, start: Did(edits={"src/more.py": "right"})  # noqa: E731
    world = given(ticket("A", acceptance=(wanted,))).agent("A", by_turn(right(), more)).run()
    assert world.refusals("A") == ["criteria_open"]
    assert world.moves("A") == ["ready", "working", "verifying", "working", "verifying", "landing", "done"]
    assert world.owed("turn")[1].role == "build"


def test_work_that_goes_on_is_measured_against_the_trunk_it_was_merged_onto() -> None:
    wanted = CommandCriterion(command="grep right src/more.py")
    more = lambda order, start: Did(edits={"src/more.py": "right"})  # noqa: E731
    world = given(ticket("A", acceptance=(wanted,))).agent("A", by_turn(right(), more))
    world.once(lambda r: isinstance(r.event, e.TurnEnded), lambda w: w.push({"src/theirs.py": "right"})).run()
    second, formed = world.owed("turn")[1], world.all(e.CandidateFormed)
    assert second.trunk == next(c for c in formed if c.commit == second.start).base


@pytest.mark.parametrize(
    ("files", "criterion"),
    [
        ({"src/a.py": "right", "tests/test_a.py": "tells"}, NAMED),
        ({"src/a.py": "right"}, CommandCriterion(command="grep right src/a.py")),
    ],
)
def test_what_is_satisfied_already_costs_no_turn(
    files: dict[str, str], criterion: TestCriterion | CommandCriterion
) -> None:
    world = given(ticket("A", acceptance=(criterion,)), files=files).run()
    assert world.moves("A") == ["ready", "done"]
    assert world.owed("turn") == []
    assert world.end_as == ("finished", 0)


def test_an_empty_diff_is_no_progress_and_ends_as_one() -> None:
    world = given(ticket("A")).agent("A", lies()).run()
    assert set(world.refusals("A")) == {"no_change"}
    assert world.states() == {"A": "failed"}
    assert "no_progress" in world.why("A")
    assert len(world.owed("turn")) == 3


def test_a_fix_that_changes_nothing_is_no_progress() -> None:
    world = given(ticket("A")).agent("A", by_role(writes("wrong"), lies())).run()
    assert world.refusals("A") == ["red", "no_change", "no_change", "no_change"]
    assert world.states() == {"A": "failed"}


def test_a_criterion_that_cannot_run_on_the_candidate_alone_is_its_red() -> None:
    def sight(order: e.GateOrder, files: Files) -> Judgement | None:
        ill = order.look == "criterion" and files.get("src/a.py") == "odd"
        return Judgement(verdict="broken", why="grep died") if ill else None

    wanted = CommandCriterion(command="grep right src/a.py")
    world = given(ticket("A", acceptance=(wanted,))).gate("A#1", sight)
    world.agent("A", by_role(writes("odd", "vacuous"), right())).run()
    assert "candidate_broke_gate" in {m.cause for m in world.all(e.TicketMoved)}
    assert world.end_as == ("finished", 0)


def test_a_change_of_control_files_is_judged_by_bases() -> None:
    """Base's tests and control files over the new code: a look of its own, on a tree of its own."""
    agent = lambda order, start: Did(edits={**right()(order, start).edits, "tests/conftest.py": "new"})  # noqa: E731
    world = given(ticket("A"), files={"tests/conftest.py": "old"}).agent("A", agent).run()
    (judged,) = [order for order in world.owed("gate") if order.look == "judge"]
    assert world.repository.files(judged.commit)["tests/conftest.py"] == "old"
    assert world.repository.files(world.repository.trunk)["tests/conftest.py"] == "new"


def test_a_turn_that_is_too_large_is_refused_and_kept() -> None:
    def huge(order: e.TurnOrder, start: Files) -> Did:
        return Did(edits={"src/a.py": "right"}, lines=5_000)

    world = given(ticket("A")).agent("A", by_turn(huge, right())).run()
    (refused,) = world.all(e.Refused)
    assert (refused.kind, refused.salvage != "") == ("turn_too_large", True)
    assert world.owed("turn")[1].start == world.owed("turn")[0].start
    assert any("make it smaller" in note for note in world.owed("turn")[1].notes)
    assert world.end_as == ("finished", 0)


def test_never_right_fails_when_its_fixes_are_used_up() -> None:
    world = given(ticket("A"), ticket("B", depends_on=("A",))).agent("A", never_right()).run()
    assert world.states() == {"A": "failed", "B": "canceled"}
    assert world.moves("A").count("fixing") == world.policy.retries["gate_red"].cap
    assert world.end_as == ("finished", 1)


# --- agents that fail -----------------------------------------------------------------------------------------------


def test_a_crash_is_tried_again_later_in_a_new_attempt() -> None:
    world = given(ticket("A")).agent("A", crashes(1)).run()
    assert world.moves("A")[:4] == ["ready", "working", "backoff", "working"]
    assert [a.attempt for a in world.all(e.AttemptStarted)] == [1, 2]
    (backoff,) = [m for m in world.all(e.TicketMoved) if m.to == "backoff"]
    assert backoff.cause == "agent_crash"
    assert world.end_as == ("finished", 0)


def test_crashes_have_a_cap() -> None:
    world = given(ticket("A")).agent("A", crashes(9)).run()
    assert world.states() == {"A": "failed"}
    assert len(world.owed("turn")) == 3


def test_attempts_have_a_cap_of_their_own() -> None:
    rules = retries(agent_crash=RetryRule(cap=9, consumes_attempt=True))
    world = given(ticket("A"), retries=rules, limits=limits(attempts_per_ticket_max=2)).agent("A", crashes(9)).run()
    assert world.states() == {"A": "failed"}
    assert len(world.all(e.AttemptStarted)) == len(world.all(e.AttemptEnded)) == 2


def test_a_fix_that_crashes_begins_anew_with_a_builder_turn() -> None:
    agent = by_attempt(by_role(writes("wrong"), ends("crashed")), right())
    world = given(ticket("A")).agent("A", agent).run()
    assert [(o.attempt, o.role) for o in world.owed("turn")] == [(1, "build"), (1, "fix"), (2, "build")]
    assert world.end_as == ("finished", 0)


@pytest.mark.parametrize("outcome", ["timeout", "stalled", "flood"])
def test_a_turn_that_is_cut_off_is_a_timeout(outcome: str) -> None:
    world = given(ticket("A")).agent("A", by_attempt(ends(outcome), right())).run()  # type: ignore[arg-type]
    (backoff,) = [m for m in world.all(e.TicketMoved) if m.to == "backoff"]
    assert (backoff.cause, backoff.reason[:6]) == ("agent_timeout", "agent ")
    assert world.end_as == ("finished", 0)


def test_a_provider_that_is_busy_is_asked_again_no_sooner_than_it_said() -> None:
    calls: list[int] = []

    def agent(order: e.TurnOrder, start: Files) -> Did:
        calls.append(order.turn)
        return right()(order, start) if len(calls) > 2 else ends("provider_transient", "429", 90_000)(order, start)

    world = given(ticket("A")).agent("A", agent).run()
    backoffs = [r for r in world.records if isinstance(r.event, e.TicketMoved) and r.event.to == "backoff"]
    waits = [r.event.due_ms - r.at_ms for r in backoffs if isinstance(r.event, e.TicketMoved)]
    assert len(waits) == 2
    assert min(waits) >= 90_000
    assert len(world.all(e.AttemptStarted)) == 1
    assert world.end_as == ("finished", 0)


def test_a_provider_that_refuses_for_good_stops_the_run() -> None:
    world = given(ticket("A"), ticket("B"), limits=limits(window_start=1, window_max=1))
    world.agent("A", ends("provider_terminal", "no credit")).run()
    assert world.end_as == ("stopped", 3)
    assert world.concluded().reason == "no credit"
    assert len(world.owed("turn")) == 1
    assert {w.ticket for w in world.concluded().open} == {"A", "B"}


# --- the cancelled --------------------------------------------------------------------------------------------------


def test_dependents_of_the_failed_are_cancelled_down_to_the_last() -> None:
    world = given(ticket("A"), ticket("B", depends_on=("A",)), ticket("C", depends_on=("B",)))
    world.agent("A", lies()).run()
    assert world.states() == {"A": "failed", "B": "canceled", "C": "canceled"}
    assert world.end_as == ("finished", 1)


def test_dependents_of_the_failed_are_held_where_the_policy_says_so() -> None:
    tickets = ticket("A"), ticket("X"), ticket("B", depends_on=("A", "X"))
    world = given(*tickets, on_dependency_failed="held").agent("A", lies()).agent("X", lies()).run()
    assert world.states() == {"A": "failed", "X": "failed", "B": "held"}
    assert world.end_as == ("stopped", 3)


def test_approving_a_ticket_whose_dependency_failed_does_not_let_it_work() -> None:
    tickets = ticket("A"), ticket("B", depends_on=("A",)), ticket("C")
    world = given(*tickets, on_dependency_failed="held").agent("A", lies())
    world.once(lambda r: isinstance(r.event, e.TicketMoved) and r.event.to == "held", lambda w: w.approve("B")).run()
    assert world.states() == {"A": "failed", "B": "held", "C": "done"}
    assert world.end_as == ("stopped", 3)


# --- a command that the work itself changes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "files"),
    [
        ("sh bin/check.sh", {"sh", "bin/check.sh"}),
        ("X=1 ./check | grep -q done", {"check", "grep"}),
        (
            ".venv/bin/python -m pytest 'tests/test_a.py::test_b'",
            {".venv/bin/python", "-m", "pytest", "tests/test_a.py"},
        ),
        ("grep right src/a.py && true", {"grep", "true"}),
    ],
)
def test_what_a_command_runs_is_known_by_its_words(command: str, files: set[str]) -> None:
    assert files_of(CommandCriterion(command=command)) == files


def test_a_command_that_runs_what_the_work_changed_does_not_tell_by_itself() -> None:
    """`sh src/a.py` is red on base and green on the candidate, because the candidate wrote it."""

    def sight(order: e.GateOrder, files: Files) -> Judgement:
        return judge_exit(0 if files.get("src/a.py") == "right" else 1)

    def end(command: str, test: str | None) -> str:
        world = given(ticket("A", acceptance=(CommandCriterion(command=command),))).gate("A#1", sight)
        return world.agent("A", writes("right", test)).run().states()["A"]

    assert end("grep right src/a.py", None) == "done"
    assert end("sh src/a.py", None) != "done"
    assert end("sh src/a.py", "tells") == "done"
