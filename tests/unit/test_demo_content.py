"""The example is what it says, as it is laid out. That each scripted turn is right or wrong as told, and is judged so,
is seen in `tests/e2e/test_demo.py`.
"""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from penstock.adapters.agents.script import Script, load_script
from penstock.adapters.tickets_markdown import MarkdownTickets
from penstock.core.paths import matches
from penstock.core.tickets import TestCriterion, Ticket
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


def statuses(place: Path) -> dict[str, str]:
    """Status by test id; a file that does not load is an `error` by its own name."""
    end = shell(place, TESTS)
    words = (line.split() for line in end.stdout.splitlines())
    return {w[1]: STATUSES[w[0]] for w in words if len(w) > 1 and w[0] in STATUSES}


@dataclass(frozen=True)
class Story:
    """A scenario that is laid out and ready to be worked on."""

    top: Path
    tickets: dict[str, Ticket]
    script: Script


def begin(directory: Path, scenario: str) -> Story:
    top = build(directory / "tally", scenario, "none")
    names = [gate.name for gate in load_settings(top / "penstock.toml").policy.gates]
    texts = MarkdownTickets(top / "tickets", known=KnownNames(gates=frozenset(names))).read()
    assert shell(top, setup_command()).returncode == 0
    script = load_script(top / AGENT, AGENT) if model_script(scenario) is None else Script({})
    return Story(top, {text.ticket.id: text.ticket for text in texts}, script)


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Story]:
    """Each is laid out once; nobody here writes into it."""
    return cache(lambda scenario: begin(tmp_path_factory.mktemp(scenario), scenario))


# --- what is laid out -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_everything_is_committed_and_can_be_read(scenario: str, stories: Callable[[str], Story]) -> None:
    story = stories(scenario)
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


def test_two_tickets_of_main_may_start_together(stories: Callable[[str], Story]) -> None:
    story = stories("main")
    free = [ticket for ticket in story.tickets.values() if not ticket.depends_on]
    first, second = sorted(free, key=lambda ticket: ticket.priority)[:2]
    assert (first.id, second.id) == ("TALLY-1", "TALLY-3")
    assert not set(first.scope) & set(second.scope)


# --- trouble --------------------------------------------------------------------------------------------------------


def test_the_budget_of_trouble_ends_before_the_last_ticket(stories: Callable[[str], Story]) -> None:
    story = stories("trouble")
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


def test_who_waits_for_the_one_that_fails(stories: Callable[[str], Story]) -> None:
    story = stories("trouble")
    policy = load_settings(story.top / "penstock.toml").policy
    assert story.tickets["TALLY-13"].depends_on == ("TALLY-12",)
    assert story.tickets["TALLY-14"].depends_on == ("TALLY-13",)
    assert len(story.script.turns["TALLY-12"][1]) == policy.retries["gate_red"].cap + 1
    assert len(story.script.turns["TALLY-15"][1]) == policy.retries["no_progress"].cap + 1


# --- wedge ----------------------------------------------------------------------------------------------------------


def test_the_trunk_of_wedge_is_red_and_nobody_repairs_it(stories: Callable[[str], Story]) -> None:
    story = stories("wedge")
    assert [test for test, status in statuses(story.top).items() if status != "green"] == [
        "tests/test_weeks.py::test_a_week_is_read"
    ]
    assert not any(ticket.repairs for ticket in story.tickets.values())
    assert story.script.turns == {}


# --- redgreen -------------------------------------------------------------------------------------------------------


def test_each_ticket_of_redgreen_has_a_conversation_and_a_test_that_is_not_there_yet(
    stories: Callable[[str], Story],
) -> None:
    story = stories("redgreen")
    matches_of = [conversation.match for conversation in load_model_script(story.top / MODEL, MODEL)]
    assert matches_of == [f"work on ticket {ticket}," for ticket in sorted(story.tickets)]
    there = statuses(story.top)
    assert set(there.values()) == {"green"}
    for ticket in story.tickets.values():
        (wanted,) = ticket.acceptance
        assert isinstance(wanted, TestCriterion)
        assert wanted.test not in there


def test_the_model_of_redgreen_is_asked_where_it_is_served(tmp_path: Path) -> None:
    served = load_settings(build(tmp_path / "a", "redgreen", "none", "http://127.0.0.1:4711/v1") / "penstock.toml")
    assert served.agent.model.base_url == "http://127.0.0.1:4711/v1"
    assert (served.agent.kind, served.redgreen.policy.mode, served.redgreen.is_mode_written) == (
        "kernel",
        "strict",
        True,
    )
