"""Each law can fail: a forged record after a true history breaks the law it is forged against."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from penstock.core import events as e
from penstock.core.policy import BudgetCaps, BudgetPolicy, FailureClass, RetryRule, Spend
from penstock.core.tables import TICKET_MOVES
from tests.model.account import Book
from tests.model.agents import right, weakens, writes
from tests.model.indexes import differences
from tests.model.laws import LAWS, LEADS_TO
from tests.model.world import World, given, limits, retries, ticket

Seen = Callable[[e.Record], bool]


def after(kind: type[e.AnyEvent], name: str = "", to: str = "") -> Seen:
    def seen(record: e.Record) -> bool:
        event = record.event
        mine = not name or getattr(event, "ticket", name) == name
        return isinstance(event, kind) and mine and (not to or getattr(event, "to", to) == to)

    return seen


def moved(name: str, to: str) -> Seen:
    return after(e.TicketMoved, name, to)


def broken_by(world: World, seen: Seen, *forged: e.AnyEvent) -> set[str]:
    """The laws that break when the history goes on so, after the first record that is like that."""
    book, records = Book(), iter(world.run().records)
    for record in records:
        assert not [law.__name__ for law in LAWS if list(law(book, record))]
        book.write(record)
        if seen(record):
            break
    else:
        raise AssertionError("that never happened")
    names = set()
    for event in forged:
        record = e.Record(seq=book.seq + 1, at_ms=book.at_ms, event=event)
        names = {law.__name__[:3] for law in LAWS if list(law(book, record))}
        book.write(record)
    return names


def move(name: str, to: e.TicketStateName, cause: FailureClass | None = None) -> e.TicketMoved:
    return e.TicketMoved(ticket=name, to=to, reason="forged", cause=cause)


def turn(name: str, role: e.Role = "build", attempt: int = 1, tokens: int = 0) -> e.JobOwed:
    order = e.TurnOrder(ticket=name, attempt=attempt, role=role, start="c", trunk="c")
    return e.JobOwed(key=f"r1/turn/{name}/{attempt}/99", order=order, ticket=name, reserved=Spend(tokens=tokens))


def land(world: World, expected: str = "") -> e.JobOwed:
    """The landing of the first candidate, as if all were proven."""
    candidate = world.run().all(e.CandidateFormed)[0]
    order = e.LandOrder(ticket="A", commit=candidate.commit, tree=candidate.tree, expected=expected or candidate.base)
    return e.JobOwed(key="r1/land/A/1/99", order=order, ticket="A")


def test_S01_a_terminal_ticket_moves() -> None:
    assert "S01" in broken_by(given(ticket("A")), moved("A", "done"), move("A", "working"))


def test_S01_the_table_is_the_one_of_the_core() -> None:
    assert {here: set(to.split()) for here, to in LEADS_TO.items()} == {h: set(t) for h, t in TICKET_MOVES.items()}


def test_S02_work_before_its_dependency() -> None:
    world = given(ticket("A"), ticket("B", depends_on=("A",)))
    assert broken_by(world, moved("A", "ready"), move("B", "ready")) == {"S02"}


def test_S03_a_window_of_nothing_and_a_start_beyond_it() -> None:
    assert broken_by(given(ticket("A")), moved("A", "ready"), e.WindowChanged(size=0, reason="")) == {"S03"}
    world = given(ticket("A"), ticket("B"), limits=limits(window_start=1))
    assert broken_by(world, moved("A", "working"), move("B", "working")) == {"S03"}


def test_S03_a_shrink_that_ends_what_runs() -> None:
    world = given(ticket("A"))
    unwanted = e.JobUnwanted(key="r1/turn/A/1/1", reason="the window shrank")
    seen: Seen = lambda r: isinstance(r.event, e.JobOwed) and r.event.key == unwanted.key  # noqa: E731
    assert broken_by(world, seen, unwanted) == {"S03"}


def test_S04_a_builder_beyond_the_unverified() -> None:
    forged = move("B", "working"), e.AttemptStarted(ticket="B", attempt=1, base="c"), turn("B")
    world = given(ticket("A"), ticket("B"), limits=limits(unverified_diffs_max=1, window_start=1))
    assert broken_by(world, moved("A", "verifying"), *forged) == {"S04"}


def test_S05_a_second_attempt_beside_the_first() -> None:
    again = e.AttemptStarted(ticket="A", attempt=2, base="c")
    assert broken_by(given(ticket("A")), moved("A", "working"), again) == {"S05"}


def test_S06_a_start_beyond_the_budget() -> None:
    budget = BudgetPolicy(run=BudgetCaps(tokens=300_000))
    world = given(ticket("A"), budget=budget)
    assert "S06" in broken_by(world, moved("A", "working"), turn("A", tokens=300_001))


def test_S07_one_retry_too_many() -> None:
    world = given(ticket("A"), retries=retries(gate_red=RetryRule(cap=0)))
    assert "S07" in broken_by(world, moved("A", "verifying"), move("A", "fixing", "gate_red"))


def test_S08_something_new_after_a_red_and_a_start_on_a_red_trunk() -> None:
    world = given(ticket("A")).agent("A", lambda o, s: (writes("wrong") if o.role == "build" else right())(o, s))
    assert broken_by(world, moved("A", "fixing"), turn("A")) == {"S08"}
    red = given(ticket("A"), files={"src/old.py": "wrong"})
    assert broken_by(red, after(e.GateEnded), move("A", "working")) == {"S08"}


def test_S09_back_to_work_before_the_gate_has_run() -> None:
    assert "S09" in broken_by(given(ticket("A")), after(e.RiskAssessed), move("A", "working"))


def test_S10_done_on_its_word() -> None:
    assert broken_by(given(ticket("A")), moved("A", "ready"), move("A", "done")) == {"S10"}


def test_S11_a_landing_before_its_gates() -> None:
    world = given(ticket("A"))
    assert "S11" in broken_by(world, after(e.RiskAssessed), land(given(ticket("A"))))


def test_S12_a_landing_from_elsewhere() -> None:
    world = given(ticket("A"))
    assert broken_by(world, moved("A", "landing"), land(given(ticket("A")), expected="c-else")) == {"S12"}


def test_S13_a_fix_for_a_gate_that_nobody_saw_run_on_base() -> None:
    world = given(ticket("A")).agent("A", lambda o, s: (writes("breaks") if o.role == "build" else right())(o, s))
    seen: Seen = lambda r: isinstance(r.event, e.GateEnded) and r.event.evidence.verdict == "broken"  # noqa: E731
    seq = next(r.seq for r in world.run().records if seen(r))
    blamed = msgspec.structs.replace(move("A", "fixing", "candidate_broke_gate"), evidence=(seq,))
    assert broken_by(world, seen, blamed) == {"S13"}


def test_S15_a_key_twice() -> None:
    world = given(ticket("A"))
    owed = next(j for j in world.run().all(e.JobOwed) if j.ticket == "A")
    assert broken_by(given(ticket("A")), lambda r: r.event == owed, owed) >= {"S15"}


def test_S16_a_gap_in_the_log() -> None:
    book = Book()
    first, *_ = given(ticket("A")).run().records
    book.write(first)
    late = e.Record(seq=3, at_ms=first.at_ms - 1, event=e.PauseAsked(who="ann"))
    assert sum(len(list(law(book, late))) for law in LAWS) == 2


def test_S17_a_landing_that_weakens() -> None:
    world = given(ticket("A")).agent("A", weakens())
    assert "S17" in broken_by(world, after(e.CandidateFormed), land(given(ticket("A")).agent("A", weakens())))


@pytest.mark.parametrize("fields", [{"resources": ("db",)}, {"scope": ("src/x.py",)}])
def test_S18_two_at_the_same_thing(fields: dict[str, tuple[str, ...]]) -> None:
    world = given(ticket("A", **fields), ticket("B", **fields))
    assert broken_by(world, moved("A", "working"), move("B", "working")) == {"S18"}


def test_S19_a_start_after_a_cancellation() -> None:
    asked = e.CancelAsked(ticket="A", who="ann")
    world = given(ticket("A"))
    assert "S19" in broken_by(world, moved("A", "working"), asked, turn("A"))


def test_S20_refused_work_that_is_not_kept() -> None:
    world = given(ticket("A"))
    lost = e.Refused(ticket="A", kind="turn_too_large", reason="forged")
    assert broken_by(world, after(e.TurnEnded), lost) == {"S20"}


def test_S21_an_index_that_lies() -> None:
    world = given(ticket("A"), ticket("B", depends_on=("A",)))
    world.begin()
    assert not list(differences(world.state))
    for spoil in ("dependents", "open_count"):
        before = getattr(world.state, spoil)
        setattr(world.state, spoil, {} if spoil == "dependents" else 99)
        assert [d for d in differences(world.state) if d.startswith(spoil)]
        setattr(world.state, spoil, before)
    world.state.heaps.clear()
    world.state.tickets["A"].state = "ready"
    assert [d for d in differences(world.state) if "no heap" in d]


def test_S22_finished_before_its_time() -> None:
    concluded = e.RunConcluded(outcome="finished", exit_code=0, reason="forged", clauses=())
    assert broken_by(given(ticket("A")), moved("A", "working"), concluded) == {"S22"}
    assert broken_by(given(ticket("A")), after(e.RunConcluded), e.PauseAsked(who="ann")) == {"S22"}


def test_S26_a_landing_that_nothing_told_of() -> None:
    def make() -> World:
        return given(ticket("A")).agent("A", writes("right", "vacuous"))

    seen: Seen = lambda r: isinstance(r.event, e.GateEnded) and r.event.evidence.look == "witness"  # noqa: E731
    assert broken_by(make(), seen, land(make())) == {"S26"}
