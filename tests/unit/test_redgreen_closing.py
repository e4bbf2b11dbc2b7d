"""The end of a turn: what is owed next, after every history."""

from __future__ import annotations

from itertools import islice

import pytest

from penstock.core.redgreen import events as e
from penstock.core.redgreen.closing import CloseStep, MutateStep, RevertStep, RunStep, removals
from penstock.core.redgreen.pairs import dot_of, pair_red_green, plan_problems
from penstock.core.redgreen.policy import RedGreenLimits
from tests.unit.redgreen_history import A, B, C, History, named


def one_edit(limits: RedGreenLimits | None = None) -> tuple[History, e.FileEdit]:
    """Test A is red, one file was edited for it, and the turn is closing."""
    history = History(limits=limits)
    history.ran(A, "red_assert")
    edit = history.applied()
    history.closing()
    return history, edit


def edits(*paths: str, limits: RedGreenLimits | None = None) -> tuple[History, list[e.FileEdit]]:
    history = History(limits=limits)
    history.ran(A, "red_assert", executed=paths, hits=paths)
    made = [history.applied(path) for path in paths]
    history.closing()
    return history, made


def test_a_turn_without_edits_and_claims_owes_nothing() -> None:
    history = History()
    history.closing()
    assert history.owed() == CloseStep()


def test_what_nobody_knows_is_the_whole_suite() -> None:
    history, _ = one_edit()
    assert history.owed() == RunStep("flush", (A,), whole=True)


def test_what_covered_a_changed_file_is_run_with_what_was_claimed() -> None:
    history = History()
    history.ran(B, "unexpected_green", "flush")
    history.ran(C, "unexpected_green", "flush", executed=("app/other.py",))
    history.spawned("flush", whole=True)
    history.ran(A, "red_assert")
    history.applied()
    history.closing()
    assert history.owed() == RunStep("flush", (A, B))


def test_a_green_is_mutated_and_then_the_turn_closes() -> None:
    history, _ = one_edit()
    history.flushed(a="green")
    assert history.owed() == MutateStep(A)
    history.add(e.PairJudged(test=A, red=3, green=history.ledger.turn.greens[A], tried=2))
    assert history.owed() == CloseStep()
    assert not history.ledger.tests[A].open_edits


def test_a_target_that_is_still_red_stays_and_nothing_is_reverted() -> None:
    history, edit = one_edit()
    history.flushed(a="red_assert")
    assert history.owed() == RunStep("confirm", (A,))
    history.confirmed(a="red_assert")
    assert history.owed() == CloseStep()
    history.closed()
    life = history.ledger.tests[A]
    assert (list(life.open_edits), life.reds_after_edits) == ([edit], 1)


def test_a_red_that_is_green_at_once_is_flaky_and_no_regression() -> None:
    history, _ = one_edit()
    history.flushed(a="green", b="red_assert")
    history.confirmed(b="flaky")
    assert history.owed() == MutateStep(A)
    assert history.ledger.verdict(B) == "flaky"


def test_a_target_that_turned_flaky_has_lost_its_authority() -> None:
    history, edit = one_edit()
    history.flushed(a="red_assert")
    history.confirmed(a="flaky")
    owed = history.owed()
    assert isinstance(owed, RevertStep)
    assert (owed.edits, owed.why) == ((edit,), "red_void")


def test_a_red_that_was_there_without_the_edits_is_nobodys() -> None:
    history, edit = one_edit()
    history.flushed(a="green", b="red_assert")
    history.confirmed(b="red_assert")
    assert history.owed() == RunStep("control", (B,), without=(edit,))
    history.ran(B, "red_assert", "control")
    history.spawned("control", [edit])
    assert history.owed() == MutateStep(A)


def regressed(history: History, made: list[e.FileEdit]) -> None:
    history.flushed(a="green", b="red_assert")
    history.confirmed(b="red_assert")
    history.ran(B, "green", "control")
    history.spawned("control", made)


def test_the_only_edit_is_to_blame_without_a_trial() -> None:
    history, edit = one_edit()
    regressed(history, [edit])
    owed = history.owed()
    assert isinstance(owed, RevertStep)
    assert (owed.edits, owed.why, owed.because) == ((edit,), "regression", (B,))


def test_the_newest_edit_is_tried_first_and_only_the_offender_goes() -> None:
    history, (first, second) = edits("app/a.py", "app/b.py")
    regressed(history, [first, second])
    assert history.owed() == RunStep("trial", (B,), without=(second,))
    history.ran(B, "red_assert", "trial")
    history.spawned("trial", [second])
    assert history.owed() == RunStep("trial", (B,), without=(first,))
    history.ran(B, "green", "trial")
    history.spawned("trial", [first])
    owed = history.owed()
    assert isinstance(owed, RevertStep)
    assert owed.edits == (first,)


def test_where_no_trial_tells_the_whole_turn_goes() -> None:
    history, made = edits("app/a.py", "app/b.py", "app/c.py", limits=RedGreenLimits(attribution_runs_max=2))
    regressed(history, made)
    for _ in range(2):
        owed = history.owed()
        assert isinstance(owed, RunStep)
        history.ran(B, "red_assert", "trial")
        history.spawned("trial", owed.without)
    owed = history.owed()
    assert isinstance(owed, RevertStep)
    assert set(owed.edits) == set(made)


def test_after_the_revert_the_rest_of_the_turn_goes_on() -> None:
    history, edit = one_edit()
    regressed(history, [edit])
    history.add(e.EditReverted(edits=(edit,), why="regression", changes=(), because=(B,)))
    assert history.owed() == CloseStep()
    assert history.ledger.tests[B].reverts == 1
    assert A not in history.ledger.red


def test_an_edit_of_which_the_test_ran_nothing_is_reverted() -> None:
    history, (first, second) = edits("app/a.py", "app/b.py")
    history.ran(A, "green", "flush", hits=("app/a.py",))
    history.spawned("flush", whole=True)
    owed = history.owed()
    assert isinstance(owed, RevertStep)
    assert (owed.edits, owed.why) == ((second,), "claim_unrelated")
    assert first not in owed.edits


@pytest.mark.parametrize(("known", "goes"), [((), True), (("app/new.py",), False)])
def test_a_file_made_for_a_test_that_is_still_red_goes_unless_the_test_knows_it(
    known: tuple[str, ...], goes: bool
) -> None:
    history = History()
    history.ran(A, "red_assert")
    edit = history.applied("app/new.py", is_new=True)
    history.closing()
    history.ran(A, "red_assert", "flush", imported=known)
    history.spawned("flush", whole=True)
    history.confirmed(a="red_assert")
    owed = history.owed()
    assert isinstance(owed, RevertStep) == goes
    if isinstance(owed, RevertStep):
        assert (owed.edits, owed.why) == ((edit,), "claim_unrelated")


def test_S24_a_green_of_a_test_that_changed_discharges_nothing() -> None:
    history, edit = one_edit()
    history.ran(A, "green", "flush", binding=e.Binding(test_sha="t2", control_sha="c1"))
    history.spawned("flush", whole=True)
    owed = history.owed()
    assert isinstance(owed, RevertStep)
    assert (owed.edits, owed.why) == ((edit,), "red_void")


@pytest.mark.parametrize("verdict", ["not_run", "skipped", "xfail", "collect_error", "setup_error", "crash", "vacuous"])
def test_a_target_that_is_neither_green_nor_red_leaves_its_edits_unasked_for(verdict: str) -> None:
    history, edit = one_edit()
    history.flushed(a=verdict)  # type: ignore[arg-type]
    owed = history.owed()
    assert isinstance(owed, RevertStep)
    assert (owed.edits, owed.why) == ((edit,), "red_void")


@pytest.mark.parametrize("verdict", ["timeout", "runner_error"])
def test_a_runner_that_fails_is_nobodys_violation(verdict: str) -> None:
    history, edit = one_edit()
    history.flushed(a=verdict)  # type: ignore[arg-type]
    assert history.owed() == CloseStep()
    history.closed()
    assert edit in history.ledger.tests[A].open_edits


def test_a_strengthened_test_that_was_run_again_takes_the_open_edits_along() -> None:
    stronger = e.Binding(test_sha="t2", control_sha="c1")
    history = History()
    history.ran(A, "red_assert")
    history.applied()
    history.ran(A, "red_assert", binding=stronger)
    history.applied()
    history.closing()
    history.ran(A, "green", "flush", binding=stronger)
    history.spawned("flush", whole=True)
    assert history.owed() == MutateStep(A)


def test_warn_mode_reverts_nothing() -> None:
    history = History(mode="warn")
    history.ran(A, "red_assert")
    edit = history.applied()
    history.closing()
    regressed(history, [edit])
    assert history.owed() == MutateStep(A)


def test_removals_are_the_fewest_and_newest_first_and_never_merge() -> None:
    a1, b2, a3 = (e.FileEdit(edit=n, path=p) for n, p in ((1, "a"), (2, "b"), (3, "a")))
    found = list(removals([a1, b2, a3]))
    assert found == [(a3,), (b2,), (a3, a1), (a3, b2), (a3, a1, b2)]


def test_removals_of_a_long_turn_cost_what_is_looked_at() -> None:
    many = [e.FileEdit(edit=n, path=f"{n}") for n in range(300)]
    assert len(list(islice(removals(many), 400))) == 400


# --- pairs and plans ------------------------------------------------------------------------------------------------


def test_pairs_are_triples_of_red_edits_and_green() -> None:
    history, edit = one_edit()
    history.flushed(a="green", b="red_assert", c="unexpected_green")
    green = history.ledger.turn.greens[A]
    history.add(e.PairJudged(test=A, red=3, green=green, tried=4, survivors=("app/a.py:1 x",), is_weak=True))
    history.closed()
    (pair,) = pair_red_green(history.records)
    assert (pair.test, pair.red, pair.edits, pair.green) == (A, 3, (edit.edit,), green)
    assert (pair.is_weak, pair.paths) == (True, ("app/a.py",))


def test_what_was_reverted_or_never_green_is_no_pair() -> None:
    history, edit = one_edit()
    history.add(e.EditReverted(edits=(edit,), why="regression", changes=()))
    history.add(e.PairJudged(test=A, red=3, green=9, tried=0))
    assert pair_red_green(history.records) == ()


@pytest.mark.parametrize(
    ("verdict", "dot"),
    [("red_assert", "red"), ("green", "green"), ("vacuous", "vacuous"), ("flaky", "flaky"), ("not_run", "pending")],
)
def test_a_step_has_the_dot_of_its_test(verdict: str, dot: str) -> None:
    history = History()
    history.ran(A, verdict)  # type: ignore[arg-type]
    assert dot_of(history.ledger, e.PlanStep(text="it", test=A, test_file_path=A.path)) == dot
    assert dot_of(history.ledger, e.PlanStep(text="it")) == "pending"


def test_a_plan_names_what_is_wrong_with_each_step() -> None:
    steps = (
        e.PlanStep(text="right", test=A, test_file_path=A.path),
        e.PlanStep(text="no path", test=A),
        e.PlanStep(text="other path", test=A, test_file_path="tests/test_b.py"),
        e.PlanStep(text=" "),
    )
    problems = plan_problems(steps)
    assert [problem.partition(":")[0] for problem in problems] == ["step 2", "step 3", "step 4"]
    assert "test_file_path" in problems[0]


def test_the_same_ids_in_other_words_are_other_tests() -> None:
    assert named("test_a") == A
    assert len({A, B, C, named("test_a", "tests/test_b.py")}) == 4
