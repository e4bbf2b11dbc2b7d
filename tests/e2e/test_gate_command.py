"""The gate as its users meet it: started by hand or by a hook, asked by hooks, and never left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from penstock.kernel.hooks import hook_client
from tests.e2e.product import commit, environment, new_repository, penstock, processes_in

MONEY = "def half(amount):\n    return amount / 2\n"
TEST = "from app import money\n\n\ndef test_half():\n    assert money.half(4) == 2\n"
SETTINGS = '[gates.tests]\ncommand = "python3 -m pytest"\n[redgreen]\nmode = "strict"\n'
RUNNER = f"test_command_for = {{ pytest = {json.dumps(sys.executable)} }}\n"


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Path]:
    place = new_repository(tmp_path / "repository")
    files = {"app/__init__.py": "", "app/money.py": MONEY, "tests/test_money.py": TEST}
    commit(place, {**files, "penstock.toml": SETTINGS + RUNNER})
    yield place
    penstock(place, "gate", "stop")


def hook(place: Path, event: str, tool: str = "", **tool_input: Any) -> tuple[int, dict[str, Any]]:
    """What Claude Code's hook answers: its exit status and its JSON."""
    payload = {
        "session_id": "s",
        "cwd": str(place),
        "hook_event_name": event,
        "tool_name": tool,
        "tool_input": tool_input,
        "tool_use_id": "t",
        "source": "startup",
    }
    words = [sys.executable, "-I", "-S", hook_client.__file__, "claude"]
    ended = subprocess.run(
        words, input=json.dumps(payload), capture_output=True, text=True, env=environment(), timeout=100
    )
    return ended.returncode, json.loads(ended.stdout) if ended.stdout.strip() else {}


def edit(place: Path) -> tuple[int, dict[str, Any]]:
    path = str(place / "app/money.py")
    return hook(place, "PreToolUse", "Edit", file_path=path, old_string="amount / 2", new_string="amount // 2")


def test_a_session_that_begins_starts_the_gate(repository: Path) -> None:
    status, _ = edit(repository)
    assert status == 2, "no gate, no edit"
    status, _ = hook(repository, "SessionStart")
    assert status == 0
    status, said = edit(repository)
    assert (status, said["hookSpecificOutput"]["permissionDecision"]) == (2, "deny")
    assert "no_red" in said["hookSpecificOutput"]["permissionDecisionReason"]


def test_a_whole_story_by_hooks(repository: Path) -> None:
    assert penstock(repository, "gate", "start").exit_code == 0
    third = f"{TEST}\n\ndef test_third():\n    assert money.third(9) == 3\n"
    (repository / "tests/test_money.py").write_text(third)
    path = str(repository / "tests/test_money.py")
    assert hook(repository, "PostToolUse", "Write", file_path=path, content=third)[0] == 0
    assert edit(repository)[0] == 0
    (repository / "app/money.py").write_text(f"{MONEY}\n\ndef third(amount):\n    return amount / 3\n")
    path = str(repository / "app/money.py")
    assert hook(repository, "PostToolUse", "Edit", file_path=path, old_string="a", new_string="b")[0] == 0
    (repository / "app/evil.py").write_text("x = 1\n")
    status, said = hook(repository, "PostToolUse", "Bash", command="echo 'x = 1' > app/evil.py")
    assert status == 2 and said["decision"] == "block"
    assert not (repository / "app/evil.py").exists()
    assert hook(repository, "Stop")[0] == 0
    listed = penstock(repository, "gate", "kept").out
    assert "app/evil.py" in listed
    again = repository.parent / "again"
    assert penstock(repository, "gate", "kept", listed.split()[0], "--into", str(again)).exit_code == 0
    assert (again / "app/evil.py").read_text() == "x = 1\n"
    told = penstock(repository, "gate", "status", "--json").json()
    assert (told["counts"]["pairs"], told["violations"]) == (1, 1)


def test_one_gate_guards_a_tree_and_none_is_left(repository: Path) -> None:
    assert penstock(repository, "gate", "start").exit_code == 0
    assert penstock(repository, "gate", "start").exit_code == 0, "it is there already"
    second = penstock(repository, "gate", "serve")
    assert second.exit_code == 2 and "another gate guards" in second.err
    assert penstock(repository, "gate", "stop").exit_code == 0
    assert penstock(repository, "gate", "status").exit_code == 1
    assert processes_in(repository) == []


def test_strict_mode_needs_a_test(repository: Path) -> None:
    (repository / "tests/test_money.py").unlink()
    refused = penstock(repository, "gate", "start")
    assert refused.exit_code == 2
    assert "needs a test that can be collected" in refused.err


def test_what_the_user_wrote_while_no_gate_was_there_stays(repository: Path) -> None:
    penstock(repository, "gate", "start")
    penstock(repository, "gate", "stop")
    (repository / "app/money.py").write_text("mine = 1\n")
    penstock(repository, "gate", "start")
    assert hook(repository, "PostToolUse", "Bash", command="true")[0] == 0
    assert (repository / "app/money.py").read_text() == "mine = 1\n"


def test_of_two_who_start_the_gate_at_once_one_does(repository: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: penstock(repository, "gate", "start"), range(2)))
    assert [ended.exit_code for ended in both] == [0, 0], [ended.err for ended in both]


def test_refactor_mode_ends_with_the_gate(repository: Path) -> None:
    assert penstock(repository, "refactor", "enter").exit_code == 0
    (repository / "app/money.py").write_text("def half(amount):\n    return amount\n")
    assert hook(repository, "PostToolUse", "Bash", command="true")[0] == 0
    penstock(repository, "gate", "stop")
    assert penstock(repository, "gate", "start").exit_code == 0
    assert (repository / "app/money.py").read_text() == MONEY
