"""The example is what it says: each scripted turn is right or wrong as told, by real pytest on the real package.

A story plays the turns of its tickets one after the other, asks the looks of the judge by hand, and lands what holds.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.adapters.agents.script import Script, load_script
from penstock.adapters.agents.scripted import PROGRAM
from penstock.adapters.tickets_markdown import MarkdownTickets
from penstock.core.paths import matches
from penstock.core.tickets import (
    KINDS_THAT_TELL_NOTHING,
    CommandCriterion,
    Criterion,
    GateCriterion,
    TestCriterion,
    Ticket,
)
from penstock.core.weakening import changed_tests
from penstock.demo.build import AGENT, MODEL, SCENARIOS, build, model_script, setup_command
from penstock.documents.tickets import KnownNames
from penstock.model_script import load_model_script
from penstock.ports import BadInput
from penstock.settings.reader import load_settings

TESTS = "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 .venv/bin/python -m pytest -q -rA --tb=no -p no:cacheprovider"
STATUSES = {"PASSED": "green", "FAILED": "red", "ERROR": "error"}


def shell(place: Path, line: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(["sh", "-c", line], cwd=place, env=env, capture_output=True, text=True)


def git(place: Path, line: str) -> str:
    end = shell(place, f"git {line}")
    assert end.returncode == 0, end.stderr
    return end.stdout.strip()


def statuses(place: Path, files: str = "") -> dict[str, str]:
    """Status by test id; a file that does not load is an `error` by its own name."""
    end = shell(place, f"{TESTS} {files}")
    words = (line.split() for line in end.stdout.splitlines())
    return {w[1]: STATUSES[w[0]] for w in words if len(w) > 1 and w[0] in STATUSES}


def greens(place: Path, files: str = "") -> set[str]:
    return {test for test, status in statuses(place, files).items() if status == "green"}


@dataclass
class Story:
    """A built scenario, its working tree in the hands of the scripted agent."""

    top: Path
    tickets: dict[str, Ticket]
    script: Script
    landed: list[str]
    base: set[str]
    """What is green on trunk."""

    def play(self, ticket: str, turn: int, attempt: int = 1) -> tuple[int, list[dict[str, object]]]:
        """Do a turn's steps; the exit status, and what was reported. Keeps to the ticket's scope and tests."""
        aside = self.top.parent / f"{ticket}-{attempt}-{turn}"
        aside.mkdir()
        (aside / "steps.json").write_text(json.dumps(self.script.steps(ticket, attempt, turn)))
        argv = [sys.executable, "-I", "-S", PROGRAM, str(aside / "steps.json")]
        env = {"PATH": os.environ["PATH"], "PENSTOCK_AGENT_REPORT": str(aside / "report")}
        end = subprocess.run(argv, cwd=self.top, env=env, input="", text=True, capture_output=True)
        assert end.returncode != 70, end.stderr
        allowed = (*self.tickets[ticket].scope, "tests/**")
        assert [path for path in self.changed() if not matches(allowed, path)] == []
        return end.returncode, [json.loads(line) for line in (aside / "report").read_text().splitlines()]

    def changed(self) -> list[str]:
        git(self.top, "add --intent-to-add --all")
        return git(self.top, "diff --name-only HEAD").splitlines()

    def is_green(self) -> bool:
        """Tests and style, on the tree as it is."""
        return set(statuses(self.top).values()) == {"green"} and self.keeps_style()

    def keeps_style(self) -> bool:
        return shell(self.top, ".venv/bin/python tools/style.py").returncode == 0

    def under_base_tests(self) -> set[str]:
        """Look 2: the greens of trunk's tests over the new production code."""
        return greens(self.export({path for path in self.changed() if not path.startswith("tests/")}))

    def telling(self) -> set[str]:
        """Look 3: new tests that are green here and not over trunk's production code."""
        tests = {path for path in self.changed() if path.startswith("tests/")}
        if not tests:
            return set()
        files = " ".join(sorted(tests))
        return greens(self.top, files) - self.base - greens(self.export(tests), files)

    def weakened(self) -> list[str]:
        modified = [path for path in self.changed() if git(self.top, f"ls-tree HEAD {path}")]
        return [
            test
            for path in modified
            if path.startswith("tests/")
            for test in changed_tests(path, git(self.top, f"show HEAD:{path}").encode(), (self.top / path).read_bytes())
        ]

    def export(self, overlay: set[str]) -> Path:
        """Trunk's tree, with these files as they are now."""
        place = self.top.parent / "exported"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        git(self.top, "archive HEAD | tar -x -C ../exported")
        (place / ".venv").symlink_to(self.top / ".venv")
        for path in overlay:
            shutil.copyfile(self.top / path, place / path)
        return place

    def land(self, ticket: str) -> None:
        """It holds by every look and criterion: make it trunk."""
        wanted = self.tickets[ticket]
        assert self.is_green()
        assert self.weakened() == []
        assert self.under_base_tests() == self.base
        assert bool(self.telling()) == (wanted.kind not in KINDS_THAT_TELL_NOTHING)
        here = greens(self.top)
        for criterion in wanted.acceptance:
            assert not fulfils(self.export(set()), criterion, self.base)
            assert fulfils(self.top, criterion, here)
        assert shell(self.top, ".venv/bin/python tools/smoke.py").returncode == 0
        git(self.top, f"add --all && git commit -q -m {ticket}")
        self.landed.append(ticket)
        self.base = here

    def undo(self) -> None:
        git(self.top, "reset -q --hard && git clean -fdq")


def fulfils(place: Path, criterion: Criterion, green: set[str]) -> bool:
    match criterion:
        case TestCriterion(test=test):
            return test in green
        case CommandCriterion(command=command):
            return shell(place, command).returncode == 0
        case GateCriterion():
            raise AssertionError("no ticket of the example names a gate")


def begin(directory: Path, scenario: str) -> Story:
    top = build(directory / "tally", scenario, "none")
    names = [gate.name for gate in load_settings(top / "penstock.toml").policy.gates]
    texts = MarkdownTickets(top / "tickets", known=KnownNames(gates=frozenset(names))).read()
    assert shell(top, setup_command()).returncode == 0
    script = load_script(top / AGENT, AGENT) if model_script(scenario) is None else Script({})
    return Story(top, {text.ticket.id: text.ticket for text in texts}, script, [], greens(top))


def claims(report: list[dict[str, object]]) -> str:
    return " ".join(str(line["text"]) for line in report if line["type"] == "claim")


# --- what is laid out -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_everything_is_committed_and_can_be_read(scenario: str, tmp_path: Path) -> None:
    story = begin(tmp_path, scenario)
    assert git(story.top, "status --porcelain") == ""
    assert git(story.top, "symbolic-ref HEAD") == "refs/heads/main"
    assert set(story.script.turns) <= set(story.tickets)
    policy = load_settings(story.top / "penstock.toml").policy
    assert [(gate.name, gate.tier) for gate in policy.gates] == [
        ("style", "fast"),
        ("tests", "fast"),
        ("smoke", "medium"),
    ]
    assert matches(policy.files.protected, AGENT)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_building_twice_gives_the_same_commit(scenario: str, tmp_path: Path) -> None:
    one, other = (build(tmp_path / name, scenario) for name in ("one", "other"))
    assert git(one, "rev-parse HEAD") == git(other, "rev-parse HEAD")


def test_the_sandbox_is_what_was_asked_for(tmp_path: Path) -> None:
    assert load_settings(build(tmp_path / "a", "main") / "penstock.toml").sandbox.mode == "bubblewrap"
    assert load_settings(build(tmp_path / "b", "main", "none") / "penstock.toml").sandbox.mode == "none"


def test_nothing_is_built_over_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(BadInput, match="not empty"):
        build(tmp_path, "main")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_unknown_scenario_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such scenario"):
        build(tmp_path, "sunshine")


# --- main: all end done ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_story_of_main(tmp_path: Path) -> None:
    story = begin(tmp_path, "main")
    assert story.is_green()

    story.play("TALLY-1", 1)
    story.land("TALLY-1")

    story.play("TALLY-2", 1)
    assert statuses(story.top)["tests/test_split.py::test_no_cent_is_lost"] == "red"
    story.play("TALLY-2", 2)
    story.land("TALLY-2")

    _, report = story.play("TALLY-3", 1)
    assert "all tests pass" in claims(report)
    assert statuses(story.top)["tests/test_text.py::test_no_text_gets_longer_than_its_width"] == "red"
    story.play("TALLY-3", 2)
    story.land("TALLY-3")

    story.play("TALLY-4", 1)
    assert story.is_green()
    assert story.weakened() == ["tests/test_units.py::test_a_long_duration_is_shown_in_hours"]
    assert "tests/test_units.py::test_a_long_duration_is_shown_in_hours" not in story.under_base_tests()
    story.play("TALLY-4", 2)
    story.land("TALLY-4")

    status, _ = story.play("TALLY-5", 1, attempt=1)
    assert status < 0
    assert not story.is_green()
    story.undo()
    story.play("TALLY-5", 1, attempt=2)
    story.land("TALLY-5")

    story.play("TALLY-6", 1)
    story.land("TALLY-6")

    (satisfied,) = story.tickets["TALLY-7"].acceptance
    assert fulfils(story.export(set()), satisfied, story.base)
    assert story.script.steps("TALLY-7", 1, 1) == ()

    story.play("TALLY-8", 1)
    story.land("TALLY-8")
    assert set(story.landed) | {"TALLY-7"} == set(story.tickets)


def test_two_tickets_of_main_may_start_together(tmp_path: Path) -> None:
    story = begin(tmp_path, "main")
    free = [ticket for ticket in story.tickets.values() if not ticket.depends_on]
    first, second = sorted(free, key=lambda ticket: ticket.priority)[:2]
    assert (first.id, second.id) == ("TALLY-1", "TALLY-3")
    assert not set(first.scope) & set(second.scope)


# --- trouble --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_story_of_trouble(tmp_path: Path) -> None:
    story = begin(tmp_path, "trouble")

    story.play("TALLY-11", 1)
    assert set(statuses(story.top).values()) == {"error"}
    story.play("TALLY-11", 2)
    story.land("TALLY-11")

    for turn in (1, 2, 3):
        story.play("TALLY-12", turn)
        assert "red" in statuses(story.top).values()
        assert story.keeps_style()
        assert story.weakened() == []
    story.undo()

    story.play("TALLY-16", 1)
    story.land("TALLY-16")

    for turn in (1, 2):
        story.play("TALLY-15", turn)
        assert story.is_green()
        assert story.telling() == set()


def test_the_budget_of_trouble_ends_before_the_last_ticket(tmp_path: Path) -> None:
    story = begin(tmp_path, "trouble")
    policy = load_settings(story.top / "penstock.toml").policy
    cap, turn = policy.budget.run.tokens, policy.budget.tokens_per_turn
    used = [n for ticket in ("TALLY-11", "TALLY-12", "TALLY-16", "TALLY-15") for n in tokens(story.script, ticket)]
    assert cap is not None
    assert sum(used[:-1]) + turn <= cap
    assert sum(used) + turn > cap
    assert story.tickets["TALLY-16"].priority < story.tickets["TALLY-15"].priority
    assert max(story.tickets.values(), key=lambda ticket: ticket.priority).id == "TALLY-17"
    assert policy.limits.window_max == 1


def tokens(script: Script, ticket: str) -> list[int]:
    """What each turn of the ticket says that it used."""
    used = []
    for steps in script.turns[ticket][1].values():
        for step in steps:
            if step["do"] == "usage":
                assert isinstance(step["amounts"], dict)
                used.append(step["amounts"]["tokens"])
    return used


def test_who_waits_for_the_one_that_fails(tmp_path: Path) -> None:
    story = begin(tmp_path, "trouble")
    policy = load_settings(story.top / "penstock.toml").policy
    assert story.tickets["TALLY-13"].depends_on == ("TALLY-12",)
    assert story.tickets["TALLY-14"].depends_on == ("TALLY-13",)
    assert len(story.script.turns["TALLY-12"][1]) == policy.retries["gate_red"].cap + 1
    assert len(story.script.turns["TALLY-15"][1]) == policy.retries["no_progress"].cap + 1


# --- wedge ----------------------------------------------------------------------------------------------------------


def test_the_trunk_of_wedge_is_red_and_nobody_repairs_it(tmp_path: Path) -> None:
    story = begin(tmp_path, "wedge")
    assert [test for test, status in statuses(story.top).items() if status != "green"] == [
        "tests/test_weeks.py::test_a_week_is_read"
    ]
    assert not any(ticket.repairs for ticket in story.tickets.values())
    assert story.script.turns == {}


# --- redgreen -------------------------------------------------------------------------------------------------------


def test_each_ticket_of_redgreen_has_a_conversation_and_a_test_that_is_not_there_yet(tmp_path: Path) -> None:
    story = begin(tmp_path, "redgreen")
    matches_of = [conversation.match for conversation in load_model_script(story.top / MODEL, MODEL)]
    assert matches_of == [f"work on ticket {ticket}," for ticket in sorted(story.tickets)]
    for ticket in story.tickets.values():
        (wanted,) = ticket.acceptance
        assert isinstance(wanted, TestCriterion)
        assert wanted.test not in story.base


def test_the_model_of_redgreen_is_asked_where_it_is_served(tmp_path: Path) -> None:
    served = load_settings(build(tmp_path / "a", "redgreen", "none", "http://127.0.0.1:4711/v1") / "penstock.toml")
    assert served.agent.model.base_url == "http://127.0.0.1:4711/v1"
    assert (served.agent.kind, served.redgreen.policy.mode, served.redgreen.is_mode_written) == (
        "kernel",
        "strict",
        True,
    )
