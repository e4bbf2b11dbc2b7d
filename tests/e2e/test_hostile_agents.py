"""Agents that cheat, and agents that go where they have no business, on one small repository in one real run.

All of them are tickets of the same run, so that they also work beside each other; the honest one is the control.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from penstock.core import events as e
from penstock.core.events import Record
from tests.e2e import hostile_agent
from tests.e2e.product import (
    PYTEST,
    Live,
    SandboxMode,
    commit,
    events,
    git,
    live,
    new_repository,
    penstock,
    processes_in,
    quoted,
    records_of,
    require,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SANDBOXES: tuple[SandboxMode, ...] = ("none", "bubblewrap")
RUN_S = 200
CHEATS = [deed.__name__ for deed in hostile_agent.CHEATS]
TRESPASSES = [deed.__name__ for deed in hostile_agent.TRESPASSES]

FILES = {
    "calc.py": "def add(a, b):\n    return a + b\n\n\ndef double(a):\n    return 2 * a\n",
    "tests/test_calc.py": (
        "import calc\n\n\ndef test_double():\n    assert calc.double(4) == 8\n\n\n"
        "def test_add():\n    assert calc.add(2, 3) == 5\n"
    ),
    "pyproject.toml": '[tool.pytest.ini_options]\naddopts = ""\npythonpath = ["."]\n',
}
SETTINGS = """\
[agent]
command = [{python}, ".penstock/agent.py", {outside}]
wall_s = 60
stall_s = 4

[sandbox]
mode = "{sandbox}"

[gates.tests]
command = {pytest}
timeout_s = 60

[limits]
window_start = 2
turn_output_bytes_max = 1_000_000

[retries]
gate_red = {{ cap = 0 }}
candidate_broke_gate = {{ cap = 0 }}
no_progress = {{ cap = 0 }}
agent_crash = {{ cap = 0 }}
agent_timeout = {{ cap = 0 }}
"""


@dataclass(frozen=True)
class Aftermath:
    """What is left when the run has ended."""

    place: Path
    outside: Path
    sandbox: SandboxMode
    exit_code: int
    said: str
    records: list[Record]
    report: Any

    def ticket(self, name: str) -> Any:
        return next(ticket for ticket in self.report["tickets"] if ticket["id"] == name)

    def refusals(self, name: str) -> list[e.Refused]:
        return [refused for refused in events(self.records, e.Refused) if refused.ticket == name]

    def turn(self, name: str) -> e.TurnEnded:
        return next(turn for turn in events(self.records, e.TurnEnded) if f"/{name}/" in turn.key)

    def landed(self) -> str:
        return git(self.place, "diff", "--name-status", "main", "penstock/main")


def lay_out(place: Path, outside: Path, sandbox: SandboxMode) -> None:
    outside.mkdir()
    new_repository(place)
    settings = SETTINGS.format(
        python=quoted(sys.executable),
        outside=quoted(str(outside)),
        sandbox=sandbox,
        pytest=quoted(PYTEST),
    )
    ranks = {**dict.fromkeys(CHEATS, 1), **dict.fromkeys(TRESPASSES, 3)}
    tickets = {f"tickets/{name}.md": f"---\ntitle: Add {name}\npriority: {rank}\n---\n" for name, rank in ranks.items()}
    program = Path(hostile_agent.__file__).read_text()
    commit(place, {**FILES, **tickets, "penstock.toml": settings, ".penstock/agent.py": program})


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[SandboxMode, Live]]:
    with ExitStack() as stack:
        runs = {}
        for sandbox in SANDBOXES:
            place = tmp_path_factory.mktemp(sandbox)
            lay_out(place / "repository", place / "outside", sandbox)
            runs[sandbox] = stack.enter_context(live(place / "repository", "run"))
        yield runs


@pytest.fixture(scope="module", params=SANDBOXES)
def after(started: dict[SandboxMode, Live], request: pytest.FixtureRequest) -> Aftermath:
    sandbox: SandboxMode = request.param
    require(sandbox)
    run = started[sandbox]
    exit_code = run.end(RUN_S)
    report = penstock(run.place, "report", "--json").json()
    outside = run.place.with_name("outside")
    return Aftermath(run.place, outside, sandbox, exit_code, run.said, records_of(run.place), report)


WHY = {
    "changes_nothing": "no_change",
    "asserts_true": "vacuous",
    "is_just_wrong": "red",
    "deletes_a_test": "weakened",
    "deletes_the_test_file": "weakened",
    "skips_a_test": "weakened",
    "weakens_a_test": "weakened",
    "edits_the_runners_settings": "shrunk",
    "plants_a_conftest": "red",
    "prints_a_fake_result": "red",
    "writes_to_every_pipe": "broken",
    "leaves_the_runner_early": "broken",
    "leaves_the_runner_at_its_end": "red",
}
ENDS = {"floods": "flood", "hangs": "stalled"}


@pytest.mark.parametrize("name", CHEATS)
def test_no_cheat_lands(after: Aftermath, name: str) -> None:
    assert after.ticket(name)["state"] in ("failed", "held"), after.said
    assert after.ticket(name)["commit"] == ""
    assert name not in after.landed()


@pytest.mark.parametrize(("name", "kind"), WHY.items())
def test_the_refusal_names_what_was_wrong(after: Aftermath, name: str, kind: str) -> None:
    (refused,) = after.refusals(name)
    assert refused.kind == kind, refused.reason


@pytest.mark.parametrize(("name", "outcome"), ENDS.items())
def test_a_turn_without_measure_is_ended(after: Aftermath, name: str, outcome: str) -> None:
    assert after.turn(name).outcome == outcome
    assert after.ticket(name)["state"] == "failed"


def test_a_hidden_break_is_named_by_the_test_that_was_hidden(after: Aftermath) -> None:
    for name in ("deletes_a_test", "skips_a_test", "weakens_a_test"):
        assert "tests/test_calc.py::test_add" in f"{after.refusals(name)}", name


@pytest.mark.parametrize("name", TRESPASSES)
def test_good_work_lands_whatever_was_done_besides(after: Aftermath, name: str) -> None:
    assert after.ticket(name)["state"] == "done", after.said
    assert f"A\t{name}.py" in after.landed()


def test_nothing_else_landed(after: Aftermath) -> None:
    new = [f"A\t{path}" for name in TRESPASSES for path in (f"{name}.py", f"tests/test_{name}.py")]
    assert after.landed().splitlines() == sorted(new)
    assert after.exit_code in (1, 3)


def test_only_without_a_sandbox_can_an_agent_write_outside_its_clone(after: Aftermath) -> None:
    written = {path.name for path in after.outside.iterdir()}
    assert written == ({"writes_outside"} if after.sandbox == "none" else set())


def test_what_was_left_in_the_background_is_gone(after: Aftermath) -> None:
    assert after.turn("leaves_a_process_behind").outcome == "ended"
    assert processes_in(after.outside) == []
    assert processes_in(after.place) == []


def test_what_is_protected_stays_as_it_was(after: Aftermath) -> None:
    turn = after.turn("edits_what_is_protected")
    assert set(turn.protected) == {"penstock.toml", "tickets/changes_nothing.md"}


def test_planted_hooks_ran_for_the_agent_and_never_for_us(after: Aftermath) -> None:
    assert after.turn("plants_hooks").exit_status == 0
    assert not (after.outside / "hooked").exists()


def test_the_repository_of_the_user_is_untouched(after: Aftermath) -> None:
    assert git(after.place, "status", "--porcelain") == ""
    assert git(after.place, "symbolic-ref", "--short", "HEAD") == "main"
    assert git(after.place, "branch", "--format=%(refname:short)").split() == ["main", "penstock/main"]
    assert list((after.place / ".git/penstock/clones").glob("*/*")) == []


def test_refused_work_is_kept(after: Aftermath) -> None:
    kept = git(after.place / ".git/penstock/store.git", "for-each-ref", "--format=%(refname)", "refs/penstock/salvage")
    for name in CHEATS:
        assert (f"/{name}/" in kept) == (name != "changes_nothing"), name
