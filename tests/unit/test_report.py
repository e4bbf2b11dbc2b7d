"""What a report says of a log: the same records, the same bytes, and nothing that the log does not tell."""

from __future__ import annotations

import json

import pytest

from penstock.core import events as e
from penstock.core.policy import Spend
from penstock.core.tickets import TestCriterion
from penstock.evidence.render_html import render_html
from penstock.evidence.render_markdown import render_markdown
from penstock.evidence.report import build, read_report, to_json
from penstock.evidence.schema import TicketLine
from tests.golden.kept import FOLDER, RUNS, made
from tests.golden.runs import clean, troubled
from tests.golden.told import Told, ticket
from tests.model.chance import random_world
from tests.model.world import given
from tests.model.world import ticket as model_ticket


def ticket_of(records: list[e.Record], name: str) -> TicketLine:
    return next(t for t in build(records).tickets if t.id == name)


@pytest.mark.parametrize("run", RUNS)
def test_the_reports_are_word_for_word_what_was_kept(run: str) -> None:
    for name, text in made(run).items():
        assert text == (FOLDER / name).read_text(encoding="utf-8"), f"{name}: python -m tests.golden, read the diff"


@pytest.mark.parametrize("run", RUNS)
def test_the_json_has_what_the_product_promises(run: str) -> None:
    data = json.loads(to_json(build(RUNS[run]())))
    assert data["schema"] == "penstock-report/1"
    assert {"run", "outcome", "exit_code", "trunk", "tickets", "proof", "budget", "refusals"} <= set(data)
    assert {"before", "after"} <= set(data["trunk"])
    for line in data["tickets"]:
        assert {"id", "state", "reason", "attempts", "commit", "tree", "evidence"} <= set(line)
        for seen in line["evidence"]:
            assert {"gate", "verdict", "base", "tree", "gate_digest", "seq"} <= set(seen)
            assert seen["tree"] == line["tree"]
    assert [c["n"] for c in data["proof"]["clauses"]] == [1, 2, 3, 4, 5, 6]
    assert all({"text", "holds", "witness"} <= set(c) for c in data["proof"]["clauses"])
    assert all({"ticket", "kind", "seq", "reason"} <= set(r) for r in data["refusals"])


@pytest.mark.parametrize("run", RUNS)
def test_the_json_can_be_read_back(run: str) -> None:
    report = build(RUNS[run]())
    assert read_report(to_json(report)) == report


@pytest.mark.parametrize("run", RUNS)
def test_every_beginning_of_a_log_has_a_report(run: str) -> None:
    records = RUNS[run]()
    for n in range(len(records)):
        report = build(records[:n])
        assert report.proof.holds is not True
        assert render_markdown(report)
        assert render_html(report)


def test_what_landed_is_shown_with_the_evidence_of_exactly_its_tree() -> None:
    line = ticket_of(troubled(), "PARSE")
    assert [(x.gate, x.look, x.verdict) for x in line.evidence] == [
        ("lint", "lands", "pass"),
        ("tests", "lands", "pass"),
    ]
    assert [(x.gate, x.verdict) for x in line.earlier] == [("lint", "pass"), ("tests", "fail")]
    assert {x.tree for x in line.evidence} == {line.tree}
    assert line.earlier[1].failed[0].id == "tests/test_parse.py::test_sum"
    assert line.witness.kind == "criterion"


def test_the_witness_stands_beside_the_evidence() -> None:
    line = ticket_of(clean(), "MONEY")
    assert [(x.gate, x.look, x.telling) for x in line.looks] == [
        ("tests", "witness", ("tests/test_money.py::test_money",))
    ]
    assert line.witness.text.startswith("tests/test_money.py::test_money: red over base's code")


def test_kinds_that_tell_nothing_are_listed_so() -> None:
    assert ticket_of(clean(), "DOCS").witness.kind == "tells_nothing"


def test_a_look_that_was_taken_again_counts_with_its_newest_verdict() -> None:
    told = Told(ticket("A", kind="chore")).baseline().admit("A").turn("A")
    told.candidate("A")
    told.gate("A", "lint")
    told.gate("A", "tests", verdict="broken", why="no space left")
    told.gate("A", "tests")
    told.land("A")
    line = ticket_of(told.records, "A")
    assert [(x.gate, x.verdict) for x in line.evidence] == [("lint", "pass"), ("tests", "pass")]
    assert [x.verdict for x in line.earlier] == ["broken"]


def test_attempts_retries_and_turns_are_told() -> None:
    line = ticket_of(troubled(), "HACK")
    assert line.attempts == 2
    assert [(a.attempt, a.cause) for a in line.attempt_log] == [(1, "agent_crash"), (2, "gate_red")]
    assert [(t.attempt, t.outcome) for t in line.turns] == [(1, "crashed"), (2, "ended")]
    assert line.retries == {"agent_crash": 1, "gate_red": 1}
    assert (line.state, line.commit, line.tree, line.evidence) == ("failed", "", "", ())


def test_an_open_ticket_names_what_moves_it() -> None:
    assert ticket_of(troubled(), "VAGUE").frees == "penstock approve VAGUE --reason TEXT"
    assert [w.ticket for w in build(troubled()).open] == ["VAGUE", "AFTER"]


def test_money_is_settled_as_the_log_says() -> None:
    told = Told(ticket("A")).admit("A")
    told.turn("A", 10, usage=e.Usage(tokens=5, micro_dollars=7)).turn("A", 20, usage=e.Usage())
    order = e.TurnOrder(ticket="A", attempt=1, role="build", start="s", trunk="t")
    lost = told.owe("turn", "A", "A", order, Spend(tokens=1_000))
    told.tell(e.JobLost(key=lost, reason="died"))
    stopped = told.owe("turn", "A", "A", order, Spend(tokens=1_000))
    told.tell(e.JobCanceled(key=stopped, spent=Spend(tokens=11)))
    told.gate(None, "tests", "base", seconds=6)
    budget = build(told.records).budget
    assumed = told.policy.budget
    assert budget.spent.tokens == 5 + assumed.assumed_tokens_per_turn + 1_000 + 11
    assert budget.spent.micro_dollars == 7 + assumed.assumed_micro_dollars_per_turn
    assert (budget.spent.agent_ms, budget.spent.gate_ms) == (30_000, 6_000)
    assert budget.assumed_turns == 1
    assert [p.spent.tokens for p in budget.history] == sorted(p.spent.tokens or 0 for p in budget.history)
    assert ticket_of(told.records, "A").spent.gate_ms == 0


def test_a_raised_budget_is_told() -> None:
    told = Told(ticket("A"))
    told.tell(
        e.BudgetRaised(who="ann", add=Spend(tokens=9)), e.BudgetRaised(who="ann", add=Spend(tokens=4), ticket="A")
    )
    assert build(told.records).budget.raised.tokens == 9


def test_a_gate_that_never_was_red_is_marked_and_a_witness_shows_that_one_can_be() -> None:
    gates = {g.name: g for g in build(clean()).gates}
    assert gates["lint"].never_failed
    assert not gates["tests"].never_failed
    assert (gates["tests"].runs, gates["tests"].failed) == (6, 0)


def test_the_timeline_and_the_window_tell_what_happened_when() -> None:
    report = build(troubled())
    assert [w.size for w in report.window] == [2, 1]
    texts = [line.text for line in report.timeline if line.ticket == "HACK"]
    assert "build turn crashed: 0 lines exit status 139" in texts
    assert [x.seq for x in report.timeline] == sorted(x.seq for x in report.timeline)


def test_trunk_moves_of_others_are_never_claimed() -> None:
    moves = [m.ticket for m in build(troubled()).trunk.moves]
    assert moves == ["PARSE", ""]


# --- a second opinion on the core -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(1, 13))
def test_the_report_and_the_core_agree_on_busy_runs(seed: int) -> None:
    world = random_world(seed, count=6).run()
    seal = next((i for i, r in enumerate(world.records) if isinstance(r.event, e.ReportSealed)), len(world.records))
    report = build(world.records[:seal])
    assert {t.id: t.state for t in report.tickets} == world.states()
    assert {t.id: t.objections for t in report.tickets} == dict.fromkeys(world.states(), ())
    assert report.proof.objections == ()
    assert [(c.n, c.holds) for c in report.proof.clauses] == [(c.n, c.claimed) for c in report.proof.clauses]
    settled = world.state.settled
    spent = report.budget.spent
    assert (spent.tokens, spent.micro_dollars) == (settled.tokens, settled.micro_dollars)
    assert (spent.agent_ms, spent.gate_ms) == (settled.agent_ms, settled.gate_ms)
    assert (report.trunk.after, report.window[-1].size) == (world.state.trunk.commit, world.state.window)


def test_a_core_that_lands_what_is_red_is_caught() -> None:
    """The records of an honest run with one verdict turned: the claim stands, the evidence does not."""
    wanted = TestCriterion(test="tests/test_a.py::test_a")
    world = given(model_ticket("A", acceptance=(wanted,))).run()
    records = [turned_red(r) for r in world.records]
    (line,) = build(records).tickets
    assert line.state == "done"
    assert any("landed with gate tests (lands) fail" in o for o in line.objections)


def turned_red(record: e.Record) -> e.Record:
    event = record.event
    if not isinstance(event, e.GateEnded) or event.evidence.look != "lands":
        return record
    fields = {f: getattr(event.evidence, f) for f in event.evidence.__struct_fields__}
    seen = type(event.evidence)(**(fields | {"verdict": "fail"}))
    return e.Record(seq=record.seq, at_ms=record.at_ms, event=e.GateEnded(key=event.key, evidence=seen))
