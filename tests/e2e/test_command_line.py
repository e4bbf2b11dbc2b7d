"""The commands beside `run`, and the operator's hand on a live run: signals, its socket, its death.

The agent of the small repository here reads what it is to write from a named pipe, so that a test decides how long a
turn takes.
"""

import os
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from penstock.core import events as e
from penstock.core.events import Record
from tests.e2e.product import (
    commit,
    events,
    git,
    live,
    new_repository,
    penstock,
    processes_in,
    quoted,
    records_of,
    run_directories,
)

pytestmark = pytest.mark.slow

SETTINGS = """\
[agent]
command = {command}

[sandbox]
mode = "none"

[gates.tests]
command = "test ! -e broken"
"""
CHORE = "---\nid: {id}\ntitle: Something\nkind: chore\n---\nWanted.\n"
FEATURE = "---\nid: {id}\ntitle: Something\n---\nWanted.\n"
AT_ONCE = "echo it >made"


def repository(place: Path, command: str = AT_ONCE, more_settings: str = "", **tickets: str) -> Path:
    """A small one; `tickets`: the text of each by its id."""
    new_repository(place)
    files = {f"tickets/{name}.md": text.format(id=name) for name, text in (tickets or {"A": CHORE}).items()}
    commit(place, {"penstock.toml": SETTINGS.format(command=quoted(command)) + more_settings, **files})
    return place


@dataclass(frozen=True)
class Gate:
    """The named pipe that a slow agent reads: its turn lasts until `release`."""

    pipe: Path

    def release(self) -> None:
        """Let one turn that reads end. Blocks until it does read."""
        self.pipe.write_text("it\n")


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    os.mkfifo(tmp_path / "pipe")
    return Gate(tmp_path / "pipe")


def slow(gate: Gate) -> str:
    return f"cat {gate.pipe} >made"


def has_begun_a_turn(records: list[Record]) -> bool:
    owed = {o.key for o in events(records, e.JobOwed) if isinstance(o.order, e.TurnOrder)}
    ended = {turn.key for turn in events(records, e.TurnEnded)} | {lost.key for lost in events(records, e.JobLost)}
    return bool((owed & {job.key for job in events(records, e.JobStarted)}) - ended)


def has(kind: type[e.AnyEvent]) -> Callable[[list[Record]], bool]:
    return lambda records: bool(events(records, kind))


def has_moved(ticket: str, to: str) -> Callable[[list[Record]], bool]:
    return lambda records: any((m.ticket, m.to) == (ticket, to) for m in events(records, e.TicketMoved))


# --- looking --------------------------------------------------------------------------------------------------------


def test_what_can_be_looked_at_after_a_run(tmp_path: Path) -> None:
    place = repository(tmp_path / "repository")
    ran = penstock(place, "run", "--json", "--seed", "7")
    assert (ran.exit_code, ran.json()["exit_code"], ran.json()["seed"]) == (0, 0, 7)

    status = penstock(place, "status", "--json").json()
    assert [(t["id"], t["state"]) for t in status["tickets"]] == [("A", "done")]
    assert (status["outcome"], status["exit_code"]) == ("finished", 0)
    assert "A  done" in penstock(place, "status").out

    report = penstock(place, "report", "--json").json()
    assert report == ran.json()
    assert set(report) >= {"schema", "run", "outcome", "trunk", "tickets", "proof", "budget", "refusals"}
    assert "# " in penstock(place, "report").out
    page = tmp_path / "page.html"
    assert penstock(place, "report", "--html", str(page)).exit_code == 0
    assert page.read_text().startswith("<!DOCTYPE html>")

    logs = penstock(place, "logs", "A")
    assert logs.exit_code == 0
    assert "agent ended, 1 line in made" in logs.out and "done: landed" in logs.out
    assert penstock(place, "logs", "A", "--follow").out == logs.out


def test_the_backlog(tmp_path: Path) -> None:
    place = repository(tmp_path / "repository", A=CHORE, B=CHORE)
    added = penstock(place, "tickets", "add", "Third one", "--id", "C", "--depends-on", "A", "--body", "Why not.")
    assert (added.exit_code, added.out) == (0, "tickets/01-c.md\n")
    listed = penstock(place, "tickets", "list", "--json").json()
    assert sorted(t["id"] for t in listed) == ["A", "B", "C"]
    assert len(penstock(place, "tickets", "list").out.splitlines()) == 3
    shown = penstock(place, "tickets", "show", "C", "--json").json()
    assert (shown["depends_on"], shown["text"].strip()) == (["A"], "Why not.")
    assert penstock(place, "tickets", "check").exit_code == 0
    assert penstock(place, "tickets", "check", "--json").json() == {"tickets": 3, "problems": []}
    drawn = penstock(place, "tickets", "graph", "--format", "svg").out
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert "A" in penstock(place, "tickets", "graph").out
    assert penstock(place, "tickets", "graph", "--format", "mermaid").out.startswith(("graph", "flowchart"))


def test_what_would_run_is_told_and_not_run(tmp_path: Path) -> None:
    place = repository(tmp_path / "repository", A=CHORE, B=CHORE.replace("kind:", "depends_on: [A]\nkind:"))
    told = penstock(place, "run", "--dry-run")
    assert told.exit_code == 0
    assert "wave 1: A" in told.out and "wave 2: B" in told.out
    explained = penstock(place, "run", "--explain").out
    assert "sandbox.mode = none  # penstock.toml:5" in explained
    assert "limits.window_max = 4  # default" in explained
    assert not (place / ".git/penstock").exists()


def test_only_the_named_ticket_and_what_it_needs_is_done(tmp_path: Path) -> None:
    tickets = {"A": CHORE, "B": CHORE.replace("kind:", "depends_on: [A]\nkind:"), "C": CHORE}
    place = repository(tmp_path / "repository", "ls tickets made* | wc -l >made-$$", **tickets)
    assert penstock(place, "run", "B").exit_code == 0
    subjects = git(place, "log", "--format=%s", "main..penstock/main").splitlines()
    assert subjects == ["B: Something", "A: Something"]


def test_doctor_tells_what_is_missing(tmp_path: Path) -> None:
    place = repository(tmp_path / "repository")
    found = penstock(place, "doctor", "--json")
    assert found.exit_code == 0
    assert {finding["level"] for finding in found.json()} == {"ok", "warn"}
    (place / "penstock.toml").write_text("[gates.tests]\n")
    broken = penstock(place, "doctor")
    assert broken.exit_code == 2
    assert "BAD" in broken.out and "gates.tests.command" in broken.out and "fix: " in broken.out


def test_version_help_and_completion(tmp_path: Path) -> None:
    assert penstock(tmp_path, "--version").out.startswith("penstock, version ")
    top = penstock(tmp_path, "--help").out
    shown = ("init", "run", "status", "tickets", "approve", "report", "doctor", "demo")
    for command in (*shown, "gate", "hook", "mcp", "plan", "refactor", "events", "stats"):
        assert f"  {command} " in top
        assert penstock(tmp_path, command, "--help").exit_code == 0
    assert "_PENSTOCK_COMPLETE=bash_complete" in penstock(tmp_path, "completion", "bash").out


# --- init -----------------------------------------------------------------------------------------------------------


def test_init_in_an_empty_repository_says_what_is_left_to_do(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "repository")
    made = penstock(place, "init")
    assert made.exit_code == 0
    assert "write a gate in penstock.toml" in made.err and "set [agent] command" in made.err
    assert git(place, "status", "--porcelain") == "?? penstock.toml"
    before = (place / "penstock.toml").read_text()
    again = penstock(place, "init")
    assert again.exit_code == 2
    assert "is already there" in again.err
    assert (place / "penstock.toml").read_text() == before


def test_init_in_a_pytest_project_needs_nothing_but_an_agent(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "repository")
    commit(place, {"calc.py": "def add(a, b):\n    return a + b\n", "tests/test_calc.py": "import calc\n"})
    assert penstock(place, "init", "--commit", "--example").exit_code == 0
    assert git(place, "status", "--porcelain") == ""
    (place / "tickets/example.md").write_text(CHORE.format(id="A"))
    refused = penstock(place, "run")
    assert refused.exit_code == 2
    assert [line for line in refused.err.splitlines() if "error:" in line] == [
        "error: penstock.toml: [agent.command] no agent command: nobody would do the work"
    ]
    settings = (place / "penstock.toml").read_text()
    (place / "penstock.toml").write_text(settings.replace('command = ""', f"command = {quoted(AT_ONCE)}"))
    assert penstock(place, "run", "--dry-run").out.startswith(
        "gate tests (fast, assertion): .venv/bin/python -m pytest"
    )


# --- the operator's hand on a live run ------------------------------------------------------------------------------


def test_a_second_run_is_refused_while_one_is_alive(tmp_path: Path, gate: Gate) -> None:
    place = repository(tmp_path / "repository", slow(gate))
    with live(place, "run") as first:
        first.until(has_begun_a_turn)
        second = penstock(place, "run")
        assert second.exit_code == 2
        assert f"process {first.process.pid}" in second.err
        assert penstock(place, "status", "--json").json()["outcome"] == "running"
        gate.release()
        assert first.end() == 0
    assert len(run_directories(place)) == 1


def test_cancel_reaches_a_live_run(tmp_path: Path, gate: Gate) -> None:
    place = repository(tmp_path / "repository", slow(gate))
    with live(place, "run") as run:
        run.until(has_begun_a_turn)
        canceled = penstock(place, "cancel", "A", "--reason", "not wanted any more")
        assert canceled.exit_code == 0
        assert "taken as seq" in canceled.err
        assert run.end() == 1
    assert penstock(place, "status", "--json").json()["tickets"][0]["state"] == "canceled"
    assert "not wanted any more" in penstock(place, "status").out
    assert processes_in(place) == []


def test_approve_reaches_a_live_run(tmp_path: Path, gate: Gate) -> None:
    agent = f"if grep -q 'ticket A,'; then echo it >made-a; else cat {gate.pipe} >made; fi"
    place = repository(tmp_path / "repository", agent, "\n[retries]\nno_progress.cap = 0\n", A=FEATURE, B=CHORE)
    with live(place, "run") as run:
        run.until(has_moved("A", "held"))
        assert "penstock approve A" in penstock(place, "status").out
        refused = penstock(place, "approve", "B", "--reason", "x")
        assert (refused.exit_code, "only a held ticket" in refused.err) == (2, True)
        assert penstock(place, "approve", "A", "--reason", "seen").exit_code == 0
        run.until(has_moved("A", "done"))
        gate.release()
        assert run.end() == 0
    (ticket,) = [t for t in penstock(place, "report", "--json").json()["tickets"] if t["id"] == "A"]
    assert ticket["approvals"][0]["reason"] == "seen"


def test_pause_and_resume_reach_a_live_run(tmp_path: Path, gate: Gate) -> None:
    tickets = {"A": CHORE, "B": CHORE.replace("kind:", "depends_on: [A]\nkind:")}
    agent = f"if grep -q 'ticket B,'; then echo it >made-b; else cat {gate.pipe} >made; fi"
    place = repository(tmp_path / "repository", agent, **tickets)
    with live(place, "run") as run:
        run.until(has_begun_a_turn)
        assert penstock(place, "pause").exit_code == 0
        gate.release()
        paused = run.until(has_moved("A", "verifying"))
        assert not has_moved("B", "working")(paused)
        assert penstock(place, "resume").exit_code == 0
        assert run.end() == 0
    records = records_of(place)
    asked = [n for n, record in enumerate(records) if isinstance(record.event, e.ResumeAsked)]
    begun = [n for n, record in enumerate(records) if has_moved("B", "working")([record])]
    assert asked < begun


# --- the end of a run -----------------------------------------------------------------------------------------------


def test_an_agent_that_never_makes_it_is_exit_1(tmp_path: Path) -> None:
    place = repository(tmp_path / "repository", "echo x >>broken", "\n[retries]\ngate_red.cap = 1\n")
    assert penstock(place, "run").exit_code == 1
    assert [refused.kind for refused in events(records_of(place), e.Refused)] == ["red", "red"]


def test_ctrl_c_drains_and_the_next_run_finishes(tmp_path: Path, gate: Gate) -> None:
    place = repository(tmp_path / "repository", slow(gate))
    with live(place, "run") as run:
        run.until(has_begun_a_turn)
        run.tell(signal.SIGINT)
        run.until(has(e.DrainAsked))
        assert "draining" in run.said
        gate.release()
        assert run.end() == 3
    assert has(e.TurnEnded)(records_of(place))
    assert penstock(place, "run").exit_code == 0
    assert git(place, "show", "penstock/main:made") == "it"
    assert events(records_of(place), e.TurnEnded) == []  # the work of the first run was carried over


def test_ctrl_c_twice_stops_at_once_and_run_continues(tmp_path: Path, gate: Gate) -> None:
    place = repository(tmp_path / "repository", slow(gate))
    with live(place, "run") as run:
        run.until(has_begun_a_turn)
        run.tell(signal.SIGINT)
        run.until(has(e.DrainAsked))
        run.tell(signal.SIGINT)
        assert run.end() == 130
    assert processes_in(place) == []
    assert "interrupted" in penstock(place, "status", "--json").json()["outcome"]
    assert continued(place, gate) in (0, 3)
    assert len(run_directories(place)) == 1


def continued(place: Path, gate: Gate) -> int:
    """Let `penstock run` go on to the end of the run, whose turn is begun again or not."""
    with live(place, "run") as again:
        records = again.until(lambda records: has_begun_a_turn(records) or has(e.RunFinished)(records))
        if not has(e.RunFinished)(records):
            gate.release()
        return again.end()


def test_a_killed_run_is_finished_by_the_next_with_the_same_result(tmp_path: Path, gate: Gate) -> None:
    undisturbed = repository(tmp_path / "undisturbed", AT_ONCE)
    assert penstock(undisturbed, "run").exit_code == 0
    place = repository(tmp_path / "repository", slow(gate))
    with live(place, "run") as run:
        run.until(has_begun_a_turn)
        run.tell(signal.SIGKILL)
        assert run.end() == -signal.SIGKILL
    assert "interrupted" in penstock(place, "status", "--json").json()["outcome"]
    assert continued(place, gate) == 0
    records = records_of(place)
    assert [lost.reason for lost in events(records, e.JobLost)] == ["the harness died while it ran"]
    assert len(events(records, e.RunResumed)) == 1
    assert penstock(place, "report", "--json").json()["proof"]["holds"]
    made = [git(one, "rev-parse", "penstock/main:made") for one in (place, undisturbed)]
    assert made[0] == made[1]
    assert len(run_directories(place)) == 1
    assert processes_in(place) == []
    assert list((place / ".git/penstock/clones").glob("*/*")) == []


def test_a_log_of_a_later_format_is_left_alone(tmp_path: Path) -> None:
    place = repository(tmp_path / "repository")
    assert penstock(place, "run").exit_code == 0
    alter_log(place, "update meta set format = format + 1")
    for words in (("run",), ("status",), ("report",)):
        end = penstock(place, *words)
        assert (end.exit_code, "use the penstock that wrote it" in end.err) == (2, True), end
    assert len(run_directories(place)) == 1


def test_a_log_that_was_tampered_with_is_exit_4(tmp_path: Path) -> None:
    place = repository(tmp_path / "repository")
    assert penstock(place, "run").exit_code == 0
    alter_log(place, "update records set bytes = cast(replace(bytes, 'pass', 'fail') as blob)")
    assert penstock(place, "report").exit_code == 4


def alter_log(place: Path, statement: str) -> None:
    (run,) = run_directories(place)
    for cache in run.glob("*snapshot*"):
        cache.unlink()
    connection = sqlite3.connect(run / "log.sqlite")
    with connection:
        assert connection.execute(statement).rowcount
    connection.close()
