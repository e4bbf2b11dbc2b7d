"""Red-green seen from the command line: a real gate round a real repository, asked as its users ask it."""

from __future__ import annotations

import asyncio
import json
import os
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.adapters.log_sqlite import SqliteLedger
from penstock.ports import BadInput
from penstock.wire.gate_client import connect
from penstock.wire.plan_card import read_steps
from penstock.wire.sessions import chosen_sessions
from penstock.wire.turn_gate import LEDGER
from tests.e2e.product import commit, new_repository, penstock, processes_in, quoted
from tests.integration.gate_world import PROJECT, TEST_MONEY
from tests.unit.redgreen_history import History

PLAN = """\
- text: halve amounts
  test_id: tests/test_money.py::test_half
  test_file_path: tests/test_money.py
- text: double them
  test_id: tests/test_money.py::test_double
  test_file_path: tests/test_money.py
- text: tidy up
"""
EDIT = {"path": "app/money.py", "old": "amount * 2", "new": "amount * 2 + amount // 4"}


RED = {**PROJECT, "tests/test_money.py": TEST_MONEY.replace("== 8", "== 9")}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A repository with one red test, whose gate does not outlive the test."""
    top = new_repository(tmp_path / "repository")
    commit(top, RED)
    yield top
    stop(top)
    assert not processes_in(top)


def stop(top: Path) -> None:
    """End the gate, if one is there, and wait for the end of its processes."""
    living = [os.pidfd_open(int(process.partition(":")[0])) for process in processes_in(top)]
    if living:
        assert penstock(top, "gate", "stop").err == "the gate has ended\n"
    for process in living:
        ended, _, _ = select.select([process], [], [], 30)
        os.close(process)
        assert ended, processes_in(top)


def call(top: Path, tool: str, **arguments: Any) -> str:
    """What the gate's tool says."""

    async def ask() -> str:
        client = await connect(top)
        answer = await client.call(tool, arguments)
        await client.close()
        return answer.text

    return asyncio.run(ask())


def rows(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


# --- plan -----------------------------------------------------------------------------------------------------------


def test_a_plan_is_handed_in_through_the_gate_and_followed(place: Path, tmp_path: Path) -> None:
    nothing = penstock(place, "plan")
    assert (nothing.exit_code, nothing.out) == (1, "") and "penstock plan set" in nothing.err
    assert penstock(place, "plan", "--json").json()["steps"] == []
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    taken = penstock(place, "plan", "set", str(file))
    assert (taken.exit_code, taken.err) == (0, "")
    assert taken.out.splitlines()[:3] == [
        "○ pending 1. halve amounts",
        "             tests/test_money.py::test_half",
        "             not run yet",
    ]
    call(place, "run_tests", tests=["tests/test_money.py"])
    steps = penstock(place, "plan", "--json").json()["steps"]
    assert [(s["number"], s["dot"], s["verdict"]) for s in steps] == [
        (1, "green", "unexpected_green"),
        (2, "red", "red_assert"),
        (3, "pending", None),
    ]
    assert steps[1]["test"] == ["pytest", "tests/test_money.py", ["test_double"], None]
    assert "● red     2. double them" in penstock(place, "plan").out
    assert "● red     2. double them" in penstock(place, "gate", "status").out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- text: a\n- txt: b\n", "plan.yaml:2: [step 2.text] is missing"),
        ("- text: a\n- text: b\n  txet: c\n", 'plan.yaml:3: [step 2.txet] unknown key "txet"'),
        ("- just words\n", "plan.yaml:1: [step 1] must be a table"),
        ("steps:\n- text: ''\n", "plan.yaml:2: [step 1.text] is empty"),
        ("[]\n", "plan.yaml: has no step"),
        ("- text: [\n", "plan.yaml:2: is not YAML"),
        ("- text: a\n  text: b\n", "plan.yaml:2: [step 1.text] is there twice"),
    ],
)
def test_what_is_wrong_with_the_text_of_a_plan_names_its_step(text: str, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_steps(text.encode(), "plan.yaml")
    assert said in str(refused.value)


def test_a_plan_may_be_a_list_or_stand_under_steps_in_yaml_or_json() -> None:
    told = '[{"text": "a", "test_id": ["pytest", "t.py", ["test_a"], null], "test_file_path": "t.py"}]'
    (step,) = read_steps(told.encode(), "plan.json")
    assert step == {"text": "a", "test_id": ["pytest", "t.py", ["test_a"], None], "test_file_path": "t.py"}
    assert read_steps(f'{{"steps": {told}}}'.encode(), "plan.json") == [step]


def test_what_the_gate_refuses_of_a_plan_names_its_step(place: Path, tmp_path: Path) -> None:
    steps = (
        ("test_id: tests/test_a.py::test_b", "step 2: has a test_id and no test_file_path"),
        ("test_id: some words\n  test_file_path: tests/test_a.py", "step 2: 'some words': write it as"),
        ("test_id: tests/b.py::test_b\n  test_file_path: tests/a.py", "step 2: its test is in tests/b.py"),
    )
    for step, said in steps:
        (tmp_path / "plan.yaml").write_text(f"- text: a\n- text: b\n  {step}\n")
        refused = penstock(place, "plan", "set", str(tmp_path / "plan.yaml"))
        assert (refused.exit_code, refused.out) == (2, "")
        assert said in refused.err
    assert penstock(place, "plan").exit_code == 1


# --- events, statistics, refactor mode ------------------------------------------------------------------------------


def test_a_pair_is_seen_in_events_and_statistics(place: Path) -> None:
    before = penstock(place, "events", "red-green")
    assert before.exit_code == 2 and "penstock gate start" in before.err
    penstock(place, "gate", "start")
    call(place, "run_tests", tests=["tests/test_money.py::test_double"])
    assert penstock(place, "events", "red-green").out == ""
    call(place, "edit_file", **EDIT)
    call(place, "end_turn")

    (pair,) = rows(penstock(place, "events", "red-green", "--jsonl").out)
    assert (pair["test"], pair["paths"]) == (["pytest", "tests/test_money.py", ["test_double"], None], ["app/money.py"])
    assert pair["red"] < pair["edits"][0] < pair["green"]
    table = penstock(place, "events", "red-green").out
    assert f"tests/test_money.py::test_double  {pair['red']} " in table and "app/money.py" in table

    records = rows(penstock(place, "events", "red-green", "--all", "--jsonl").out)
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))
    assert records[pair["red"] - 1]["event"]["verdict"] == "red_assert"
    told = penstock(place, "events", "red-green", "--all").out
    assert f"edit_file app/money.py applied for tests/test_money.py::test_double, red at seq {pair['red']}" in told

    stats = penstock(place, "stats", "--json").json()["red_green"]
    assert (stats["sessions"], stats["edits"], stats["pairs"], stats["refusals"]) == (1, 1, 1, 0)
    assert stats["spawns_warm"]["number"] + stats["spawns_cold"]["number"] >= 2
    assert "pairs                1" in penstock(place, "stats").out


def test_refactor_mode_from_entering_to_leaving(place: Path) -> None:
    assert penstock(place, "refactor", "status").exit_code == 1
    refused = penstock(place, "refactor", "enter")
    assert refused.exit_code == 1 and "refused (no_green_baseline)" in refused.err
    assert penstock(place, "refactor", "status").out == "refactor mode is off\n"
    call(place, "edit_file", path="tests/test_money.py", old="== 9", new="== 8")
    call(place, "end_turn")
    assert penstock(place, "refactor", "enter").out == "refactor mode is on: 2 green tests must stay green\n"
    call(place, "edit_file", path="app/money.py", old="amount * 2", new="2 * amount")
    seen = penstock(place, "refactor", "status", "--json").json()
    assert (seen["is_on"], seen["baseline_tests"], seen["edits"]) == (True, 2, 1)
    assert "1 of 40 edits made, 29" in penstock(place, "refactor", "status").out
    assert penstock(place, "refactor", "leave").exit_code == 0
    assert "return 2 * amount" in (place / "app/money.py").read_text()
    again = penstock(place, "refactor", "leave")
    assert again.exit_code == 1 and "refused (no_refactor)" in again.err


# --- ledgers without a gate -----------------------------------------------------------------------------------------


def keep(path: Path, name: str, story: History) -> None:
    """A ledger as a gate would have left it."""
    path.parent.mkdir(parents=True)
    log = SqliteLedger.create(path, name, 1)
    log.append(story.records)
    log.close()


def of_turn(top: Path, run: str, name: str) -> Path:
    """The ledger of a turn of a run."""
    path = top / f".git/penstock/runs/{run}/jobs/{run}-turn-{name.replace('/', '-')}/{LEDGER}"
    keep(path, "redgreen", History(session=name))
    return path


def test_turns_of_runs_are_found_by_run_ticket_and_name(place: Path) -> None:
    for run, name in (("r1", "A/1.1"), ("r2", "A/1.1"), ("r2", "B/1.1"), ("r2", "A/1.2"), ("r3", "B/1.1")):
        of_turn(place, run, name)

    def sessions(session: str = "", run: str = "", ticket: str = "") -> list[tuple[str, str, str]]:
        return [(s.run, s.name, s.ticket) for s in chosen_sessions(place, session, run, ticket)]

    assert sessions(run="r2") == [("r2", "A/1.1", "A"), ("r2", "A/1.2", "A"), ("r2", "B/1.1", "B")]
    assert sessions(ticket="A") == [("r2", "A/1.1", "A"), ("r2", "A/1.2", "A")]
    assert sessions(ticket="A", run="r1") == [("r1", "A/1.1", "A")]
    assert sessions("A/1.2") == [("r2", "A/1.2", "A")]
    for wrong in ({"session": "C/1.1"}, {"ticket": "C"}, {"run": "r4"}):
        with pytest.raises(BadInput):
            sessions(**wrong)
    unknown = penstock(place, "events", "red-green", "--session", "C/1.1")
    assert unknown.exit_code == 2 and "A/1.2 (of r2)" in unknown.err
    told = penstock(place, "events", "red-green", "--ticket", "A", "--all", "--jsonl")
    assert [(row["session"], row["seq"]) for row in rows(told.out)] == [
        ("A/1.1", 1),
        ("A/1.1", 2),
        ("A/1.2", 1),
        ("A/1.2", 2),
    ]
    assert penstock(place, "stats", "--json").json()["red_green"]["sessions"] == 5


def test_a_ledger_that_was_changed_is_refused(place: Path) -> None:
    path = of_turn(place, "r1", "A/1.1")
    changed = path.read_bytes().replace(b'"turn":1', b'"turn":7')
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    for words in (("events", "red-green", "--ticket", "A"), ("stats",)):
        refused = penstock(place, *words)
        assert (refused.exit_code, refused.out) == (4, "") and LEDGER in refused.err


# --- a run ----------------------------------------------------------------------------------------------------------


def test_a_run_tells_what_its_turns_came_to_under_red_green(place: Path) -> None:
    settings = f'[agent]\ncommand = {quoted("echo x = 1 >app/more.py")}\n\n[sandbox]\nmode = "none"\n\n'
    settings += '[gates.tests]\ncommand = "true"\n\n[redgreen]\nmode = "warn"\n'
    ticket = "---\nid: A\ntitle: Something\nkind: chore\n---\nWanted.\n"
    commit(place, {"penstock.toml": settings, "tickets/A.md": ticket})
    ran = penstock(place, "run", "--json")
    (told,) = ran.json()["tickets"]
    assert told["red_green"]["modes"] == ["warn"] and told["red_green"]["unclaimed"] >= 1
    line = f"red-green (warn): 0 pairs, 0 weak, {told['red_green']['unclaimed']} unclaimed write"
    assert line in penstock(place, "logs", "A").out
    assert line in penstock(place, "report").out
    events = penstock(place, "events", "red-green", "--ticket", "A", "--all").out
    assert "app/more.py written by" in events and "left there" in events


def test_the_commands_are_listed(tmp_path: Path) -> None:
    top = penstock(tmp_path, "--help").out
    for command in ("plan", "events", "refactor", "stats", "gate", "hook", "mcp"):
        assert f"  {command} " in top
    assert "red-green" in penstock(tmp_path, "events", "--help").out
