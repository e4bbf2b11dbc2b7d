"""What `doctor` says of red-green, line by line, about real repositories."""

from __future__ import annotations

import json
import venv
from collections.abc import Iterable
from pathlib import Path

import pytest

from penstock.core.redgreen import events as e
from penstock.core.redgreen.policy import Mode, RedGreenPolicy
from penstock.kernel.hooks.installing import Status, settings_file
from penstock.kernel.hooks.trying import Trial
from penstock.wire import doctor_redgreen as doctor
from penstock.wire.finding import Finding
from penstock.wire.gate_place import gate_place, policy_in_force
from penstock.wire.hooks import Seen, home_of, install_hooks
from penstock.wire.projects import Projects
from tests.e2e.product import commit, new_repository, penstock, write
from tests.integration.gate_world import PROJECT
from tests.integration.test_redgreen_commands import keep, stop
from tests.unit.redgreen_history import A, History

COLLECT_S = 60.0
FIX = f"  fix: {doctor.CHARACTERISE}"


def lines(findings: Iterable[Finding]) -> list[str]:
    """As `doctor` prints them."""
    told = []
    for finding in findings:
        told.append(f"{finding.level}: {finding.what}")
        told += [f"  fix: {finding.fix}"] if finding.level != "ok" else []
    return told


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return new_repository(tmp_path / "repository")


def bears(top: Path, mode: Mode = "warn", collect_s: float = COLLECT_S) -> list[str]:
    policy = RedGreenPolicy(mode=mode)
    return lines([doctor.bears_strict(top, policy, doctor.test_files(top, policy), collect_s)])


def runners_told(top: Path, policy: RedGreenPolicy) -> list[str]:
    return lines(doctor.runners_there(top, Projects(top, policy).among(doctor.files_known(top))))


# --- mode and runners -----------------------------------------------------------------------------------------------


def test_the_mode_in_force_and_from_where(top: Path) -> None:
    def told(**environ: str) -> str:
        return next(iter(lines(doctor.examine_redgreen(top, environ))))

    assert told() == "ok: red-green: mode warn, from the default"
    write(top, {"penstock.toml": '[redgreen]\nmode = "strict"\n[gates.a]\ncommand = "true"\n'})
    assert told() == "ok: red-green: mode strict, from penstock.toml"
    variable = "the environment (PENSTOCK_RED_GREEN)"
    assert told(PENSTOCK_RED_GREEN="off") == f"ok: red-green: mode off, from {variable}"
    assert lines(doctor.examine_redgreen(top, {"PENSTOCK_RED_GREEN": "loud"})) == [
        "bad: environment: [PENSTOCK_RED_GREEN] PENSTOCK_RED_GREEN='loud' is no mode",
        "  fix: one of off, warn, strict",
    ]


def test_settings_that_cannot_be_read_are_told_once_by_others(top: Path, tmp_path: Path) -> None:
    write(top, {"penstock.toml": "[redgreen]\nmode = 7\n"})
    assert list(doctor.examine_redgreen(top, {})) == []
    assert list(doctor.examine_redgreen(tmp_path, {})) == []


def test_runners_and_programs_that_are_missing(top: Path) -> None:
    write(top, {**PROJECT, "package.json": '{"devDependencies": {"vitest": "1"}}', "a.js": "", "tests/a.test.js": ""})
    inside = RedGreenPolicy(test_commands={"pytest": "bin/py -m pytest"})
    assert runners_told(top, inside)[1].startswith("warn: pytest: bin/py is missing")
    write(top, {"bin/py": "#!/bin/sh\n"})
    (top / "bin/py").chmod(0o755)
    assert not [line for line in runners_told(top, inside) if "bin/py" in line]
    policy = RedGreenPolicy(test_commands={"pytest": "no-such-python -m pytest"})
    told = runners_told(top, policy)
    assert told[:3] == [
        "ok: test runners: pytest, vitest",
        "warn: pytest: no-such-python is missing, so its tests cannot be run",
        "  fix: install it, or mend [redgreen.test_command_for] pytest",
    ]
    assert told[3].startswith("warn: vitest: ") and "is missing" in told[3]
    assert list(doctor.runners_there(top, ())) == []


def test_each_project_of_a_repository_is_named_with_its_place(top: Path) -> None:
    section = "[tool.pytest.ini_options]\n"
    own = {f"services/{name}/pyproject.toml": section for name in "ab"}
    tests = {f"services/{name}/tests/test_it.py": "def test_it():\n    pass\n" for name in "ab"}
    write(top, {**own, **tests, "web/package.json": '{"devDependencies": {"vitest": "4"}}', "web/a.test.js": ""})
    policy = RedGreenPolicy(test_commands={"services/a/**": "tools/python -m pytest"})
    assert runners_told(top, policy)[:4] == [
        "ok: test runners: pytest in services/a, pytest in services/b, vitest in web",
        "warn: pytest in services/a: tools/python is missing, so its tests cannot be run",
        "  fix: install it, or mend [redgreen.test_command_for] pytest",
        "warn: vitest in web: node_modules/vitest is missing, so its tests cannot be run",
    ]
    write(top, {"services/tools/python": "#!/bin/sh\n"})
    (top / "services/tools/python").chmod(0o755)
    assert not [line for line in runners_told(top, policy) if "tools/python" in line]
    (top / "web/a.test.js").unlink()
    assert bears(top) == ["ok: red-green: strict can be borne: 1 test collected in 1 file of 2"]


# --- strict mode ----------------------------------------------------------------------------------------------------


def test_a_repository_with_tests_bears_strict_and_nothing_is_written(top: Path) -> None:
    commit(top, PROJECT)
    assert bears(top) == ["ok: red-green: strict can be borne: 2 tests collected in 1 file of 1"]
    assert not [path for path in top.rglob("*") if path.name in ("__pycache__", ".pytest_cache")]


@pytest.mark.parametrize(("mode", "level"), [("warn", "warn"), ("strict", "bad")])
def test_a_repository_without_tests_cannot_bear_strict(top: Path, mode: Mode, level: str) -> None:
    write(top, {"app/money.py": "x = 1\n"})
    why = "red-green: strict cannot be borne, no test can be collected: "
    assert bears(top, mode) == [f"{level}: {why}there is no test file", FIX]
    write(top, {"tests/test_money.py": "def test_a(:\n"})
    broken, fix = bears(top, mode)
    assert broken.startswith(f"{level}: {why}") and "syntax" in broken.lower() and fix == FIX


def test_an_interpreter_without_the_runner_is_told_as_such(top: Path) -> None:
    write(top, PROJECT)
    venv.create(top / ".venv", with_pip=False)
    why = "red-green: strict cannot be borne, no test can be collected: "
    assert bears(top) == [
        f"warn: {why}pytest: ModuleNotFoundError: No module named 'pytest'",
        "  fix: install pytest where the tests run, or say how they run: [redgreen.test_command_for] pytest",
    ]


def test_tests_that_are_slow_to_collect_are_left_alone(top: Path) -> None:
    slow = "import signal\nsignal.pause()\n"
    write(top, {"tests/test_slow.py": slow})
    assert bears(top, collect_s=0.2) == [
        "warn: red-green: whether strict can be borne is not known: 0 test functions in 1 file, "
        "not collected within 0.2 s",
        "  fix: penstock gate start takes the time to tell",
    ]
    write(top, {"tests/test_slow.py": f"{slow}\ndef test_a():\n    pass\n"})
    assert bears(top, collect_s=0.2) == [
        "ok: red-green: strict can be borne, it seems: 1 test function in 1 file, not collected within 0.2 s"
    ]


def test_what_would_have_to_be_built_is_not_collected(top: Path) -> None:
    write(top, {"go.mod": "module a\n", "a_test.go": "package a\n"})
    what = "1 test file, which the gate collects when it starts"
    assert bears(top, "strict") == [f"ok: red-green: strict can be borne: {what}"]


# --- names ----------------------------------------------------------------------------------------------------------


def test_names_that_two_tests_have_are_told_with_both_places(top: Path) -> None:
    named = "# test-id: cents\ndef test_a():\n    pass\n"
    write(top, {"tests/test_a.py": named, "tests/test_b.py": f"\n{named}", "tests/test_c.py": "# test-id: none\n"})
    policy = RedGreenPolicy()
    found = doctor.names_given_twice(top, doctor.test_files(top, policy))
    fix = "  fix: give each test a name of its own, or take the comment out"
    assert lines(found) == [
        "bad: tests/test_c.py:1: test-id 'none' stands directly above no test",
        fix,
        "bad: test-id 'cents' is given more than once: tests/test_a.py:1 and tests/test_b.py:2",
        fix,
    ]


# --- the plan, other servers, hooks, the gate -----------------------------------------------------------------------


def test_a_step_whose_test_file_is_not_there(top: Path) -> None:
    story = History()
    step = e.PlanStep(text="a", test=A, test_file_path=A.path)
    story.add(e.PlanSubmitted(steps=(e.PlanStep(text="think"), step)))
    keep(gate_place(top).sessions / "20260101-000000-1.sqlite", "s", story)
    assert lines(doctor.plan_without_files(gate_place(top))) == [
        "warn: plan, step 2: its test file tests/test_a.py does not exist",
        "  fix: write it, or hand in another plan: penstock plan set FILE",
    ]
    write(top, {"tests/test_a.py": ""})
    assert list(doctor.plan_without_files(gate_place(top))) == []


def test_servers_of_others_that_can_write_are_named(top: Path) -> None:
    local, remote = {"command": "npx", "args": ["server-filesystem"]}, {"url": "https://example.org/mcp"}
    ours = {"command": "/usr/bin/penstock", "args": ["-C", ".", "mcp"]}
    allow = ["mcp__notes__write_note", "mcp__penstock__edit_file", "mcp__docs__search", "Bash(ls)"]
    write(
        top,
        {
            ".mcp.json": json.dumps({"mcpServers": {"files": local, "web": remote, "gate": ours, "off": local}}),
            ".claude/settings.json": json.dumps({"disabledMcpjsonServers": ["off"], "permissions": {"allow": allow}}),
            ".cursor/mcp.json": json.dumps({"mcpServers": {"files": local, "cursor-files": local}}),
            ".codex/config.toml": '[mcp_servers.shell]\ncommand = "mcp-shell"\n'
            '[mcp_servers.idle]\ncommand = "x"\nenabled = false\n',
        },
    )
    named = "files (.mcp.json), cursor-files (.cursor/mcp.json), shell (.codex/config.toml)"
    assert lines(doctor.foreign_writers(top)) == [
        "warn: writes by other MCP servers are judged after the fact: " + f"{named}, notes (.claude/settings.json)",
        "  fix: let agents write with the tools of `penstock mcp`, and take out what they do not need",
    ]


def test_settings_of_others_that_are_no_settings_name_no_server(top: Path) -> None:
    write(top, {".mcp.json": "{", ".cursor/mcp.json": "[]", ".codex/config.toml": "= 1", ".claude/settings.json": "7"})
    assert list(doctor.foreign_writers(top)) == []


def test_hooks_are_fired_and_those_that_do_not_refuse_are_bad(top: Path) -> None:
    assert [line for line in lines(doctor.hooks_tried(top)) if "(project)" in line] == []
    install_hooks("claude", "project", top)
    good = "ok: hooks of claude (project): seen to refuse what the gate refuses"
    assert good in lines(doctor.hooks_tried(top))
    file = settings_file("claude", "project", home_of(top))
    told = json.loads(file.read_text())
    del told["hooks"]["PreToolUse"]
    file.write_text(json.dumps(told))
    found = [line for line in lines(doctor.hooks_tried(top)) if "(project)" in line]
    assert found == ["bad: hooks of claude (project): not for PreToolUse"]
    file.write_text("{")
    assert any(line.startswith(f"bad: {file}:1: ") for line in lines(doctor.hooks_tried(top)))


def test_a_hook_that_failed_its_trial_says_how_to_put_it_in_anew() -> None:
    trial = Trial("refuses what the gate refuses", "exit status 0")
    seen = Seen("codex", "user", Status(Path("hooks.json"), "installed"), (trial,))
    assert lines([doctor.hook_in_words(seen)]) == [
        "bad: hooks of codex (user): refuses what the gate refuses: no (exit status 0)",
        "  fix: put them in anew: penstock hook install codex --user",
    ]


def test_a_gate_that_runs_says_its_mode_and_whether_it_is_the_settings_own(top: Path) -> None:
    commit(top, PROJECT)
    policy = policy_in_force(top, {}).policy
    assert list(doctor.gate_running(top, policy)) == []
    penstock(top, "gate", "start")
    try:
        (told,) = lines(doctor.gate_running(top, policy))
        assert told.startswith("ok: a gate guards this tree: mode warn, session 2")
        told, fix = lines(doctor.gate_running(top, RedGreenPolicy(mode="strict")))
        assert told.startswith("warn: ") and told.endswith("; the settings say strict")
        assert fix == "  fix: start it anew: penstock gate stop; penstock gate start"
    finally:
        stop(top)


def test_doctor_prints_it_all(top: Path) -> None:
    commit(top, {**PROJECT, "penstock.toml": '[gates.tests]\ncommand = "true"\n[sandbox]\nmode = "none"\n'})
    out = penstock(top, "doctor").out
    assert "ok    red-green: mode warn, from the default\nok    test runners: pytest\nok    red-green: " in out
