"""An agent that the sandbox does not show is told before a run starts, for it would use up every attempt."""

import shutil
from pathlib import Path

import pytest

from penstock.adapters.sandbox_bwrap import BubblewrapSandbox
from penstock.adapters.sandbox_none import NoSandbox
from penstock.settings.reader import load_settings
from penstock.wire.agent_program import agent_problem, program_of

SETTINGS = "[agent]\n# which\ncommand = {}\n\n[gates.tests]\ncommand = 'true'\n"


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    program = tmp_path / "hidden" / "my-agent"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


def problem_of(tmp_path: Path, command: str, sandbox: BubblewrapSandbox | NoSandbox) -> str:
    file = tmp_path / "penstock.toml"
    file.write_text(SETTINGS.format(command))
    return str(agent_problem(load_settings(file), sandbox, str(tmp_path / "repository")) or "")


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap")
@pytest.mark.parametrize("command", ["'{} --fast'", "['{}', '--fast']"])
def test_a_program_out_of_sight_is_told_with_its_place(tmp_path: Path, agent: Path, command: str) -> None:
    told = problem_of(tmp_path, command.format(agent), BubblewrapSandbox())
    assert "penstock.toml:3: [agent.command]" in told
    assert f'readable = ["{agent.parent}"]' in told
    assert problem_of(tmp_path, command.format(agent), BubblewrapSandbox(readable=[str(agent.parent)])) == ""
    assert problem_of(tmp_path, command.format(agent), NoSandbox()) == ""


def test_a_program_that_is_nowhere_is_told(tmp_path: Path) -> None:
    assert "`no-such-agent` is not on PATH" in problem_of(tmp_path, "'no-such-agent -x'", NoSandbox())
    assert problem_of(tmp_path, "'cat -'", NoSandbox()) == ""
    assert problem_of(tmp_path, "'exec no-such-agent'", NoSandbox()) == ""  # the shell's own word: only trying can tell
    assert "write its whole path: /" in problem_of(tmp_path, "'~/bin/agent'", NoSandbox())


@pytest.mark.parametrize(
    ("line", "program"),
    [
        ("my-agent --fast", "my-agent"),
        ("A=1 B='x y' my-agent", "my-agent"),
        ("tools/agent.sh", ""),
        ("./agent.sh", ""),
        ("$AGENT --fast", ""),
        ("(cd sub; agent)", ""),
        ("~/bin/agent", "~/bin/agent"),
        ("exec agent", "exec"),
        ("'unfinished", ""),
        ("", ""),
    ],
)
def test_only_a_plain_first_word_is_looked_for(line: str, program: str) -> None:
    assert program_of(("sh", "-c", line)) == program


@pytest.mark.parametrize(("variable", "told"), [("NO_SUCH_KEY_OF_A_MODEL", "is not set"), ("PATH", "")])
def test_a_key_that_is_not_in_the_environment_is_told_before_a_run(tmp_path: Path, variable: str, told: str) -> None:
    file = tmp_path / "penstock.toml"
    agent = f'kind = "kernel"\nmodel = "m"\nbase_url = "http://127.0.0.1:9/v1"\nkey_env = "{variable}"'
    file.write_text(f"[agent]\n{agent}\n\n[gates.tests]\ncommand = 'true'\n")
    problem = str(agent_problem(load_settings(file), NoSandbox(), str(tmp_path)) or "")
    assert told in problem
    assert ("penstock.toml:5: [agent.key_env]" in problem, variable in problem) == (bool(told), bool(told))
