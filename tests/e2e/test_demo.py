"""Each behaviour that the bundled demo promises, seen in the log and in git of a real run of the real command.

All six demos (three scenarios, two sandboxes) are started at once and waited for where they are needed.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from penstock.core import events as e
from penstock.core.events import Record
from penstock.core.verdicts import Evidence
from tests.e2e.product import (
    Live,
    SandboxMode,
    events,
    git,
    live,
    penstock,
    processes_in,
    records_of,
    require,
    tree_of,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SANDBOXES: tuple[SandboxMode, ...] = ("none", "bubblewrap")
DEMO_S = 200
LANDED = "penstock/main"


@dataclass(frozen=True)
class Demo:
    """A demo that has ended, as it was then."""

    place: Path
    exit_code: int
    said: str
    records: list[Record]
    report: Any

    def ticket(self, name: str) -> Any:
        return next(ticket for ticket in self.report["tickets"] if ticket["id"] == name)

    def states(self) -> dict[str, str]:
        return {ticket["id"]: ticket["state"] for ticket in self.report["tickets"]}

    def turns(self, ticket: str) -> list[e.TurnOrder]:
        orders = [owed.order for owed in events(self.records, e.JobOwed)]
        return [order for order in orders if isinstance(order, e.TurnOrder) and order.ticket == ticket]

    def roles(self, ticket: str) -> list[str]:
        return [order.role for order in self.turns(ticket)]

    def refusals(self, ticket: str) -> list[str]:
        return [refused.kind for refused in events(self.records, e.Refused) if refused.ticket == ticket]

    def evidence(self) -> list[Evidence]:
        return [ended.evidence for ended in events(self.records, e.GateEnded)]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Live]]:
    place = tmp_path_factory.mktemp("demos")
    with ExitStack() as stack:
        demos = {}
        for sandbox in SANDBOXES:
            for scenario in ("main", "trouble", "wedge"):
                name = f"{scenario}-{sandbox}"
                words = ("demo", "--dir", str(place / name), "--scenario", scenario, "--sandbox", as_asked(sandbox))
                demos[name] = stack.enter_context(live(place, *words, talk=place / f"{name}-talk"))
        yield demos


def as_asked(sandbox: SandboxMode) -> str:
    return "auto" if sandbox == "bubblewrap" else sandbox


def ended(started: dict[str, Live], scenario: str, sandbox: SandboxMode) -> Demo:
    require(sandbox)
    demo = started[f"{scenario}-{sandbox}"]
    exit_code = demo.end(DEMO_S)
    place = demo.place / f"{scenario}-{sandbox}"
    return Demo(place, exit_code, demo.said, records_of(place), penstock(place, "report", "--json").json())


@pytest.fixture(scope="module", params=SANDBOXES)
def main(started: dict[str, Live], request: pytest.FixtureRequest) -> Demo:
    return ended(started, "main", request.param)


@pytest.fixture(scope="module", params=SANDBOXES)
def trouble(started: dict[str, Live], request: pytest.FixtureRequest) -> Demo:
    return ended(started, "trouble", request.param)


@pytest.fixture(scope="module", params=SANDBOXES)
def wedge(started: dict[str, Live], request: pytest.FixtureRequest) -> Demo:
    return ended(started, "wedge", request.param)


# --- main: all is done, and proven ----------------------------------------------------------------------------------


def test_everything_is_done_and_the_proof_holds(main: Demo) -> None:
    assert main.exit_code == 0, main.said
    assert set(main.states().values()) == {"done"}
    assert [clause["n"] for clause in main.report["proof"]["clauses"] if clause["holds"]] == [1, 2, 3, 4, 5, 6]
    assert main.report["proof"]["holds"]


def test_what_landed_has_passing_evidence_of_every_required_gate_on_exactly_its_tree(main: Demo) -> None:
    landed = [run for run in main.report["tickets"] if run["id"] != "TALLY-7"]
    passed = {(seen.gate, seen.tree) for seen in main.evidence() if seen.look == "lands" and seen.verdict == "pass"}
    for ticket in landed:
        tree = tree_of(main.place, ticket["commit"])
        assert ticket["tree"] == tree
        assert {"style", "tests"} <= set(ticket["gates"])
        assert {(gate, tree) for gate in ticket["gates"]} <= passed
    assert set(main.ticket("TALLY-6")["gates"]) == {"style", "tests", "smoke"}
    commits = git(main.place, "rev-list", "--reverse", f"main..{LANDED}").split()
    assert sorted(commits) == sorted(ticket["commit"] for ticket in landed)


def test_the_isolation_in_the_evidence_is_the_one_that_was_asked_for(main: Demo) -> None:
    wanted = main.place.name.partition("-")[2]
    assert {seen.isolation for seen in main.evidence()} == {wanted}


def test_one_is_right_at_first(main: Demo) -> None:
    assert main.roles("TALLY-1") == ["build"]
    assert main.refusals("TALLY-1") == []


def test_a_red_leads_to_fix_turns_only(main: Demo) -> None:
    build, fix = main.turns("TALLY-2")
    assert (build.role, fix.role) == ("build", "fix")
    assert main.refusals("TALLY-2") == ["red"]
    red = next(seen for seen in main.evidence() if seen.verdict == "fail" and seen.commit == fix.start)
    assert [test.id for test in red.failed] == ["tests/test_split.py::test_no_cent_is_lost"]
    shown = [record.event for record in main.records if record.seq in fix.evidence]
    assert [shown_one.evidence for shown_one in shown if isinstance(shown_one, e.GateEnded)] == [red]


def test_a_claim_that_tests_pass_does_not_make_them_pass(main: Demo) -> None:
    first = next(turn for turn in events(main.records, e.TurnEnded) if "/TALLY-3/" in turn.key)
    assert first.claims == ("I ran the whole test suite and all tests pass.",)
    assert main.refusals("TALLY-3") == ["red"]
    assert main.roles("TALLY-3") == ["build", "fix"]


def test_a_weakened_test_is_refused_and_what_landed_has_the_test_of_before(main: Demo) -> None:
    (refused,) = [refused for refused in events(main.records, e.Refused) if refused.ticket == "TALLY-4"]
    assert refused.kind == "weakened"
    assert refused.paths == ("tests/test_units.py::test_a_long_duration_is_shown_in_hours",)
    before, after = (git(main.place, "show", f"{branch}:tests/test_units.py") for branch in ("main", LANDED))
    assert after.startswith(before)
    assert 'units.human(90_000) == "25h"' in after


def test_a_crash_leads_to_a_new_attempt(main: Demo) -> None:
    assert [turn.outcome for turn in events(main.records, e.TurnEnded) if "/TALLY-5/" in turn.key] == [
        "crashed",
        "ended",
    ]
    assert [order.attempt for order in main.turns("TALLY-5")] == [1, 2]
    assert main.ticket("TALLY-5")["attempts"] == 2


def test_whatever_else_was_done_was_right_at_once(main: Demo) -> None:
    refused = {ticket: main.refusals(ticket) for ticket in main.states()}
    assert {ticket: kinds for ticket, kinds in refused.items() if kinds} == {
        "TALLY-2": ["red"],
        "TALLY-3": ["red"],
        "TALLY-4": ["weakened"],
    }
    assert [main.roles(ticket) for ticket in ("TALLY-6", "TALLY-8")] == [["build"], ["build"]]


def test_two_tickets_are_in_flight_at_the_same_time(main: Demo) -> None:
    assert max(in_flight(main.records)) >= 2


def in_flight(records: list[Record]) -> Iterator[int]:
    """How many tickets an agent is asked to work on and has not ended with, after each record."""
    working: dict[str, str] = {}
    for record in records:
        match record.event:
            case e.JobOwed(order=e.TurnOrder(ticket=ticket), key=key):
                working[key] = ticket
            case e.TurnEnded(key=key):
                del working[key]
            case _:
                pass
        yield len(set(working.values()))


def test_what_is_satisfied_already_costs_no_turn_and_no_commit(main: Demo) -> None:
    assert main.turns("TALLY-7") == []
    assert main.ticket("TALLY-7")["state"] == "done"
    assert "TALLY-7" not in git(main.place, "log", "--format=%B", LANDED)


def test_the_branch_and_the_files_that_are_checked_out_stay_where_they_were(main: Demo) -> None:
    assert git(main.place, "symbolic-ref", "--short", "HEAD") == "main"
    assert git(main.place, "rev-list", "--count", "main") == "1"
    assert git(main.place, "status", "--porcelain") == ""
    assert "git merge --ff-only penstock/main" in main.said


def test_nothing_is_left_running_and_no_clone_lies_about(main: Demo) -> None:
    assert processes_in(main.place) == []
    assert list((main.place / ".git/penstock/clones").glob("*/*")) == []


def test_a_second_run_does_nothing_again_and_lets_a_dirty_file_lie(main: Demo) -> None:
    before = git(main.place, "show-ref", "--heads")
    readme = main.place / "README.md"
    readme.write_text("mine\n")
    again = penstock(main.place, "run")
    assert again.exit_code == 0, again.err
    assert readme.read_text() == "mine\n"
    records = records_of(main.place)
    assert len(events(records, e.TicketFoundDone)) == 7
    assert not [owed for owed in events(records, e.JobOwed) if isinstance(owed.order, e.TurnOrder | e.LandOrder)]
    assert git(main.place, "show-ref", "--heads") == before
    assert git(main.place, "status", "--porcelain") == " M README.md"


# --- trouble: stopped by the budget, and freed by a person ----------------------------------------------------------


def test_the_budget_stops_the_run_and_everybody_is_where_they_should_be(trouble: Demo) -> None:
    assert trouble.exit_code == 3, trouble.said
    assert trouble.states() == {
        "TALLY-11": "done",
        "TALLY-12": "failed",
        "TALLY-13": "canceled",
        "TALLY-14": "canceled",
        "TALLY-15": "held",
        "TALLY-16": "done",
        "TALLY-17": "ready",
    }
    assert trouble.report["reason"].startswith("budget: tokens of the run")
    assert not trouble.report["proof"]["holds"]


def test_why_each_was_refused(trouble: Demo) -> None:
    assert trouble.refusals("TALLY-11") == ["broken"]
    assert trouble.refusals("TALLY-12") == ["red", "red", "red"]
    assert trouble.refusals("TALLY-15") == ["vacuous", "vacuous"]
    assert [trouble.turns(ticket) for ticket in ("TALLY-13", "TALLY-14", "TALLY-17")] == [[], [], []]
    assert "TALLY-15" in trouble.said and "penstock approve TALLY-15" in trouble.said


def test_what_a_person_approves_lands_as_exactly_that_tree(trouble: Demo) -> None:
    held = [formed for formed in events(trouble.records, e.CandidateFormed) if "/TALLY-15/" in formed.key][-1]
    settings = trouble.place / "penstock.toml"
    settings.write_text(settings.read_text().replace("tokens = 205_000", "tokens = 405_000"))
    approved = penstock(trouble.place, "approve", "TALLY-15", "--reason", "the tests cannot tell names apart")
    assert approved.exit_code == 0, approved.err
    again = penstock(trouble.place, "run", "--json")
    assert again.exit_code == 1, again.err  # TALLY-12 fails once more, TALLY-17 has no script
    report = again.json()
    ticket = next(ticket for ticket in report["tickets"] if ticket["id"] == "TALLY-15")
    assert ticket["state"] == "done"
    assert ticket["tree"] == tree_of(trouble.place, ticket["commit"]) == held.tree
    assert tree_of(trouble.place, LANDED) == held.tree
    assert report["budget"]["cap"]["tokens"] == 405_000
    assert report["budget"]["spent"]["tokens"] < 205_000


# --- wedge: nobody can work -----------------------------------------------------------------------------------------


def test_a_red_trunk_that_nobody_repairs_starts_nothing(wedge: Demo) -> None:
    assert wedge.exit_code == 5, wedge.said
    assert "trunk is red and no open ticket repairs it" in wedge.said
    assert [wedge.turns(ticket) for ticket in ("TALLY-21", "TALLY-22")] == [[], []]
    assert wedge.states() == {"TALLY-21": "ready", "TALLY-22": "waiting"}
    assert git(wedge.place, "rev-parse", LANDED) == git(wedge.place, "rev-parse", "main")
    assert processes_in(wedge.place) == []
