"""Runs whose turns are held to red-green: the built-in agent on a scripted model, by the real command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.core import events as e
from tests.e2e.product import commit, environment, events, git, new_repository, penstock, quoted, records_of, require

pytestmark = [pytest.mark.slow]

MONEY = "def half(amount):\n    return amount / 2\n"
TEST = "from app import money\n\n\ndef test_half():\n    assert money.half(4) == 2\n"
THIRD = f"{TEST}\n\ndef test_third():\n    assert money.third(9) == 3\n"
WITH_THIRD = f"{MONEY}\n\ndef third(amount):\n    return amount / 3\n"
RED = "tests/test_money.py::test_third"

TICKET = f"""\
---
id: M-1
title: A third
acceptance:
  - test: {RED}
---
Say what a third of an amount is.
"""


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"name": tool, "arguments": arguments}


def reply(*calls: dict[str, Any], text: str = "") -> dict[str, Any]:
    return {"text": text, "tool_calls": list(calls)} if calls else {"text": text}


HONEST = [
    reply(call("read_file", path="app/money.py")),
    reply(call("write_file", path="app/money.py", content=WITH_THIRD)),  # refused: nothing asks for it
    reply(call("shell", command="echo 'def third(a): return a / 3' >> app/money.py")),  # taken back
    reply(call("write_file", path="tests/test_money.py", content=THIRD), call("run_tests", tests=[RED])),
    reply(call("write_file", path="app/money.py", content=WITH_THIRD)),
    reply(text="A third is there, with its test."),
]
CHEATING = [
    reply(call("shell", command=f"printf %s {quoted('x = 1')} > app/money.py")),
    reply(call("delete_file", path="tests/test_money.py"), call("shell", command="rm -rf app")),
    reply(text="Done, all tests pass."),
]


@contextmanager
def scripted_model(place: Path, replies: list[dict[str, Any]]) -> Iterator[str]:
    """The base URL of a model that gives `replies`; it ends with the block."""
    script = place / "model.json"
    script.write_bytes(msgspec.json.encode({"replies": replies}))
    words = [sys.executable, "-m", "penstock.kernel.model_scripted", str(script)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment()) as model:
        assert model.stdout is not None
        try:
            yield model.stdout.readline().strip()
        finally:
            model.kill()


def project(place: Path, url: str, sandbox: str, more: str = "") -> Path:
    settings = f"""\
[agent]
kind = "kernel"
model = "scripted"
base_url = {quoted(url)}

[gates.tests]
command = {quoted(f"{sys.executable} -m pytest -q")}

[sandbox]
mode = {quoted(sandbox)}
readable = [{quoted(sys.prefix)}]

[redgreen]
test_command_for = {{ pytest = {quoted(sys.executable)} }}
{more}
"""
    files = {"app/__init__.py": "", "app/money.py": MONEY, "tests/test_money.py": TEST}
    repository = new_repository(place / "repository")
    commit(repository, {**files, "penstock.toml": settings, "tickets/1.md": TICKET})
    return repository


def ledger_of(repository: Path) -> e.LedgerSealed:
    """Of the only turn."""
    (turn,) = [turn for turn in events(records_of(repository), e.TurnEnded) if turn.ledger is not None][:1]
    assert turn.ledger is not None
    return turn.ledger


@pytest.mark.parametrize("sandbox", ["none", "bubblewrap"])
def test_the_built_in_agent_lands_what_a_red_test_asked_for(tmp_path: Path, sandbox: Any) -> None:
    require(sandbox)
    with scripted_model(tmp_path, HONEST) as url:
        repository = project(tmp_path, url, sandbox)
        ended = penstock(repository, "run")
    assert ended.exit_code == 0, ended.err
    assert git(repository, "show", "penstock/main:app/money.py") == WITH_THIRD.rstrip("\n")
    ledger = ledger_of(repository)
    assert (ledger.mode, ledger.violations, ledger.counts["pairs"]) == ("strict", 1, 1)
    assert ledger.counts["refusals"] >= 1


def test_an_agent_that_only_cheats_lands_nothing(tmp_path: Path) -> None:
    with scripted_model(tmp_path, CHEATING) as url:
        repository = project(tmp_path, url, "none", more="[limits]\nattempts_per_ticket_max = 1\n")
        ended = penstock(repository, "run")
    assert ended.exit_code == 1, ended.err
    assert "penstock/main" not in git(repository, "branch", "--list", "--format=%(refname:short)") or (
        git(repository, "show", "penstock/main:app/money.py") == MONEY.rstrip("\n")
    )
    assert ledger_of(repository).violations >= 2
