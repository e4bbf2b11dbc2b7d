"""The proof is recomputed from the records: what a run says of itself is not believed."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from penstock.core import events as e
from penstock.core.digest import digest_of_bytes
from penstock.core.policy import GateSpec, Spend
from penstock.core.tickets import CommandCriterion, TestCriterion
from penstock.core.verdicts import Counts
from penstock.evidence.proof import head_after
from penstock.evidence.report import build, sealed_bytes, to_json
from penstock.evidence.schema import ClauseLine, Report
from tests.golden.runs import clean, troubled
from tests.golden.told import POLICY, Told, oid, ticket


def clause(report: Report, n: int) -> ClauseLine:
    return next(c for c in report.proof.clauses if c.n == n)


def contradicted(records: list[e.Record], n: int) -> str:
    """What is told of clause `n`, which the run claims, where the records say otherwise."""
    report = build(records)
    found = clause(report, n)
    assert (found.holds, found.claimed) == (False, True)
    assert "the run says the contrary" in found.witness
    assert report.proof.holds is False
    return found.witness


def begun() -> Told:
    return Told(ticket("A")).baseline()


# --- an honest run --------------------------------------------------------------------------------------------------


def test_an_honest_run_is_proven() -> None:
    report = build(clean())
    assert report.proof.holds is True
    assert [c.holds for c in report.proof.clauses] == [True] * 6
    assert (report.outcome, report.exit_code) == ("finished", 0)


def test_a_stopped_run_is_sealed_and_names_the_clause_that_fails() -> None:
    report = build(troubled())
    assert report.proof.holds is False
    assert [c.n for c in report.proof.clauses if not c.holds] == [5]
    assert "VAGUE is held; AFTER is waiting" in clause(report, 5).witness
    assert clause(report, 5).claimed is False


def test_an_unfinished_run_proves_nothing() -> None:
    report = build(begun().records)
    assert (report.outcome, report.exit_code, report.proof.holds) == ("unfinished", None, False)
    assert "did not conclude" in clause(report, 1).witness


def test_before_the_seal_the_proof_is_open_and_has_five_clauses() -> None:
    records = clean()[:-2]
    report = build(records)
    assert report.proof.holds is None
    assert [c.n for c in report.proof.clauses] == [1, 2, 3, 4, 5]
    assert report.seal is None


# --- lies about clauses 1 to 5 --------------------------------------------------------------------------------------


def test_a_ready_ticket_is_runnable() -> None:
    told = begun()
    told.move("A", "ready")
    assert "A" in contradicted(told.end(), 1)


def test_a_job_in_flight_is_seen() -> None:
    told = begun().build("A")
    order = e.GateOrder(gate="tests", look="base", commit=told.trunk.commit, tree=told.trunk.tree)
    key = told.owe("gate", "tests@late", None, order)
    assert key in contradicted(told.end(), 2)


def test_a_lost_job_is_not_in_flight() -> None:
    told = begun().build("A")
    order = e.GateOrder(gate="tests", look="base", commit=told.trunk.commit, tree=told.trunk.tree)
    told.tell(e.JobLost(key=told.owe("gate", "tests@late", None, order), reason="died"))
    assert build(told.end()).proof.holds is True


def test_a_retry_that_is_scheduled_is_seen() -> None:
    told = begun().admit("A").turn("A", outcome="crashed")
    told.move("A", "backoff", "it crashed", cause="agent_crash", due_ms=told.now_ms + 9_000)
    assert "A" in contradicted(told.end(), 3)


@pytest.mark.parametrize("end", ["done", "failed"])
def test_a_ticket_that_its_dependency_freed_is_seen(end: str) -> None:
    told = Told(ticket("A"), ticket("B", depends_on=("A",))).baseline()
    if end == "done":
        told.build("A")
    else:
        told.admit("A").move("A", "failed")
    assert "B" in contradicted(told.end(), 4)


def test_an_open_ticket_is_seen() -> None:
    told = Told(ticket("A"), ticket("B")).baseline().build("A")
    told.move("B", "held")
    assert "B is held" in contradicted(told.end(), 5)


def test_no_ticket_is_no_proof() -> None:
    assert "there is no ticket" in contradicted(Told().baseline().end(), 5)


# --- lies about what is done ----------------------------------------------------------------------------------------


def without_evidence(told: Told) -> None:
    told.admit("A").turn("A").candidate("A")
    told.gate("A", "lint", why="")
    told.land("A")


def nothing_landed(told: Told) -> None:
    told.admit("A").turn("A").move("A", "done", "trust me", commit=oid("nowhere"))


def red_gate(told: Told) -> None:
    told.admit("A").turn("A").candidate("A")
    told.gate("A", "lint", why="")
    told.gate("A", "tests", verdict="fail", why="1 of 31 is red", counts=Counts(green=30, red=1))
    told.land("A")


def no_gate_was_chosen(told: Told) -> None:
    formed = told.admit("A").turn("A").candidate("A")
    told.tell(e.RiskAssessed(ticket="A", tree=formed.tree, risk="low", gates=(), why="trust me"))
    told.land("A")


def evidence_after_landing(told: Told) -> None:
    told.admit("A").turn("A").candidate("A")
    told.gate("A", "lint", why="")
    told.land("A")
    told.gate("A", "tests")


def evidence_of_another_tree(told: Told) -> None:
    told.admit("A").turn("A").verify("A")
    told.candidate("A")
    told.land("A")


def nothing_tells(told: Told) -> None:
    told.admit("A").turn("A").candidate("A")
    told.gate("A", "lint", why="")
    told.gate("A", "tests")
    told.land("A")


def trunk_was_elsewhere(told: Told) -> None:
    told.admit("A").turn("A").verify("A")
    told.tell(e.TrunkMoved(position=e.TrunkPosition(commit=oid("theirs"), tree=oid("their tree"))))
    told.land("A")


def judge_was_not_asked(told: Told) -> None:
    told.admit("A").turn("A")
    told.verify("A")
    formed = told.candidates["A"]
    told.records = [
        msgspec.structs.replace(r, event=msgspec.structs.replace(formed, judge_commit="j", judge_tree="judge tree"))
        if r.event == formed
        else r
        for r in told.records
    ]
    told.land("A")


def weakens_tests(told: Told) -> None:
    told.admit("A").turn("A").verify("A")
    formed = told.candidates["A"]
    told.records = [
        msgspec.structs.replace(r, event=msgspec.structs.replace(formed, weakened=("tests/test_a.py::test_all",)))
        if r.event == formed
        else r
        for r in told.records
    ]
    told.land("A")


LIES: dict[Callable[[Told], None], str] = {
    without_evidence: "A has no evidence of gate tests (lands)",
    nothing_landed: "A is done at seq",
    red_gate: "A landed with gate tests (lands) fail",
    no_gate_was_chosen: "A has no evidence of gate lint (lands)",
    evidence_after_landing: "A has no evidence of gate tests (lands)",
    evidence_of_another_tree: "A has no evidence of gate lint (lands)",
    nothing_tells: "A landed and nothing tells",
    trunk_was_elsewhere: "A was tested on",
    judge_was_not_asked: "A has no evidence of gate lint (judge)",
    weakens_tests: "A landed although it weakens tests/test_a.py::test_all",
}


@pytest.mark.parametrize(("lie", "witness"), LIES.items(), ids=[lie.__name__ for lie in LIES])
def test_done_is_not_believed(lie: Callable[[Told], None], witness: str) -> None:
    told = begun()
    lie(told)
    records = told.end()
    assert witness in contradicted(records, 5)
    assert any(witness in o for o in build(records).tickets[0].objections)


def test_a_criterion_that_was_not_looked_at_is_open() -> None:
    told = Told(ticket("A", acceptance=(CommandCriterion(command="true"),))).baseline().build("A")
    assert "A landed with command `true` unknown" in contradicted(told.end(), 5)


def test_satisfied_is_believed_only_where_it_was_green_on_trunk() -> None:
    wanted = TestCriterion(test="tests/test_a.py::test_a")
    for status, holds in (("green", True), ("red", False)):
        told = Told(ticket("A", acceptance=(wanted,)))
        told.gate(None, "tests", "base", tests="5" * 64, asked={wanted.test: status})
        told.move("A", "ready")
        told.move("A", "done", "already satisfied", commit=told.trunk.commit)
        report = build(told.end())
        assert report.proof.holds is holds
        assert (report.tickets[0].witness.kind == "already_satisfied") is holds


# --- what lets a ticket be done -------------------------------------------------------------------------------------


def test_a_criterion_that_was_red_on_base_tells() -> None:
    wanted = TestCriterion(test="tests/test_a.py::test_a")
    told = Told(ticket("A", acceptance=(wanted,)))
    base = told.gate(None, "tests", "base", tests="5" * 64, asked={wanted.test: "red"})
    told.admit("A").turn("A").candidate("A")
    told.gate("A", "lint")
    seq = told.gate("A", "tests", tests="6" * 64, asked={wanted.test: "green"})
    told.land("A")
    report = build(told.end())
    assert (report.tickets[0].witness.kind, report.tickets[0].witness.seqs) == ("criterion", (base, seq))
    assert report.proof.holds is True


def test_a_person_may_vouch_for_exactly_that_tree() -> None:
    for tree, holds in (("its own", True), ("yesterday's", False)):
        told = begun().admit("A").turn("A")
        formed = told.candidate("A")
        told.gate("A", "lint")
        told.gate("A", "tests")
        vouched = formed.tree if tree == "its own" else oid(tree)
        told.tell(e.Approved(ticket="A", who="ann", reason="looked", tree=vouched))
        told.land("A")
        report = build(told.end())
        assert report.proof.holds is holds
        assert (report.tickets[0].witness.kind == "approved") is holds


def test_an_earlier_run_may_have_landed_it() -> None:
    told = begun()
    told.tell(e.TicketFoundDone(ticket="A", commit=oid("earlier")))
    told.move("A", "done", "trunk has it already", commit=oid("earlier"))
    report = build(told.end())
    assert (report.tickets[0].witness.kind, report.proof.holds) == ("earlier_run", True)


def test_a_repair_may_land_while_less_is_red() -> None:
    for reds, holds in ((1, True), (2, False)):
        told = Told(ticket("A", kind="chore", repairs=("tests",)))
        told.gate(None, "tests", "base", verdict="fail", counts=Counts(green=9, red=2))
        told.admit("A").turn("A").candidate("A")
        told.gate("A", "lint")
        told.gate("A", "tests", verdict="fail", counts=Counts(green=9, red=reds))
        told.land("A")
        assert build(told.end()).proof.holds is holds


def test_a_gate_of_a_later_tier_is_asked_only_where_the_risk_earned_it() -> None:
    slow = GateSpec(name="e2e", command="make e2e", tier="slow")
    policy = msgspec.structs.replace(POLICY, gates=(*POLICY.gates, slow))
    for earned, holds in ((("lint", "tests"), True), (("lint", "tests", "e2e"), False)):
        told = Told(ticket("A"), policy=policy).baseline().admit("A").turn("A").verify("A")
        tree = told.candidates["A"].tree
        told.tell(e.RiskAssessed(ticket="A", tree=tree, risk="low", gates=earned, why="small"))
        told.land("A")
        assert build(told.end()).proof.holds is holds


# --- clause 6 -------------------------------------------------------------------------------------------------------


def told_to_the_end() -> Told:
    return begun().build("A").conclude()


def wrong_seal(records: list[e.Record]) -> str:
    """What is told of clause 6 where all others hold."""
    report = build(records)
    assert clause(report, 6).holds is False
    assert report.proof.holds is False
    assert all(c.holds for c in report.proof.clauses[:5])
    return clause(report, 6).witness


def test_nothing_stands_between_the_seal_and_the_end() -> None:
    told = told_to_the_end().seal()
    told.tell(e.PauseAsked(who="ann"))
    assert "record 38 is PauseAsked: it stands between the seal and the end" in wrong_seal(told.finish())


def test_nothing_stands_after_the_end() -> None:
    told = told_to_the_end().seal()
    told.finish()
    told.tell(e.PauseAsked(who="ann"))
    assert "PauseAsked: it stands after the end" in wrong_seal(told.records)


def test_a_sealed_run_that_did_not_finish_is_not_finished() -> None:
    assert "did not finish" in wrong_seal(told_to_the_end().seal().records)


def test_the_seal_names_the_very_report() -> None:
    assert "the seal names 000000000000" in wrong_seal(told_to_the_end().seal(digest="0" * 64).finish())


def test_a_report_in_other_words_is_believed_where_it_was_kept_and_tells_the_same_story() -> None:
    told = told_to_the_end()
    other = sealed_bytes(told.records) + b" "
    records = told.seal(digest=digest_of_bytes(other)).finish()
    assert build(records, kept=lambda digest: other).proof.holds is True
    assert build(records, kept=lambda digest: None).proof.holds is False
    assert build(records, kept=lambda digest: other + b" ").proof.holds is False


def test_a_kept_report_that_tells_another_story_is_not_believed() -> None:
    told = told_to_the_end()
    lie = sealed_bytes(told.records).replace(b'"exit_code":0', b'"exit_code":1', 1)
    records = told.seal(digest=digest_of_bytes(lie)).finish()
    assert build(records, kept=lambda digest: lie).proof.holds is False


def test_the_seal_names_the_head() -> None:
    assert "the head at 36 is" in wrong_seal(told_to_the_end().seal(head="0" * 64).finish())


def test_the_seal_covers_everything_before_it() -> None:
    assert "covers 1..12, but is sealed by record 37" in wrong_seal(told_to_the_end().seal(n=12).finish())


def test_the_end_is_what_was_concluded() -> None:
    records = told_to_the_end().seal().finish("stopped", 3)
    assert "concluded as finished, but record 38 says stopped" in wrong_seal(records)


def test_a_changed_record_breaks_the_seal() -> None:
    records = clean()
    place = next(i for i, r in enumerate(records) if isinstance(r.event, e.TurnEnded))
    honest = records[place].event
    assert isinstance(honest, e.TurnEnded)
    changed = msgspec.structs.replace(honest, lines=honest.lines + 1)
    records[place] = msgspec.structs.replace(records[place], event=changed)
    assert "the head at" in wrong_seal(records)


def test_stored_heads_are_used_where_they_are_given() -> None:
    records = clean()
    heads = {n: head_after(records[:n]) for n in range(len(records) + 1)}
    assert build(records, heads.__getitem__).proof.holds is True
    assert build(records, lambda n: "0" * 64).proof.holds is False


# --- what is sealed -------------------------------------------------------------------------------------------------


def test_sealed_bytes_are_made_again_from_the_log_alone() -> None:
    records = clean()
    n = len(records) - 2
    sealed = records[n].event
    assert isinstance(sealed, e.ReportSealed)
    assert sealed_bytes(records[:n]) == sealed_bytes(list(records[:n]))
    whole, before = build(records), build(records[:n])
    open_proof = msgspec.structs.replace(whole.proof, holds=None, clauses=whole.proof.clauses[:5])
    assert to_json(msgspec.structs.replace(whole, seal=None, proof=open_proof)) == to_json(before)


def test_records_that_make_no_sense_are_named_and_read_over() -> None:
    told = begun().build("A")
    told.move("A", "working", "again")
    told.move("A", "done", "again", commit=told.trunk.commit)
    told.move("NOBODY", "done")
    told.tell(e.JobCanceled(key="never/owed", spent=Spend()))
    report = build(told.end())
    assert report.proof.holds is False
    assert [o.split(" ", 2)[2] for o in report.proof.objections] == [
        "moves A, which is done",
        "names NOBODY, which is no ticket of this run",
        "ends never/owed, which was never owed",
    ]


def test_a_late_end_of_a_job_changes_nothing() -> None:
    told = begun().build("A")
    late = next(r.event for r in told.records if isinstance(r.event, e.GateEnded))
    spent = build(told.records).budget.spent
    told.tell(late)
    report = build(told.end())
    assert report.budget.spent == spent
    assert report.proof.holds is True
