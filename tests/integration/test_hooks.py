"""Hooks as agents run them: real commands, a real socket, a gate of ten lines; and the settings that hold them."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from penstock.kernel.hooks import hook_client
from penstock.kernel.hooks.codex_trust import digest_of, problems_of_codex
from penstock.kernel.hooks.gate_socket import address_in, gate_address
from penstock.kernel.hooks.installing import (
    EVENTS,
    Agent,
    Home,
    Scope,
    guards,
    hook_command,
    install,
    installed_command,
    settings_file,
    status,
    uninstall,
)
from penstock.kernel.hooks.trying import sample, self_test
from penstock.ports import BadInput
from penstock.wire.hooks import install_hooks, uninstall_hooks

AGENTS: tuple[Agent, ...] = ("claude", "codex", "cursor", "openhands")
YES = {"v": 1, "allow": True, "reason": "", "code": ""}
NO = {"v": 1, "allow": False, "reason": "no red test asks for this", "code": "no_red"}
PROJECT_VARIABLES = ("CLAUDE_PROJECT_DIR", "CURSOR_PROJECT_DIR", "OPENHANDS_PROJECT_DIR", "PENSTOCK_GATE")


@dataclass
class Gate:
    """A gate that answers everything alike, and remembers what it was asked."""

    answer: bytes
    heard: list[dict[str, Any]] = field(default_factory=list)


@contextlib.contextmanager
def listening(path: Path, answer: object) -> Iterator[Gate]:
    """`answer`: an object to be sent as JSON, or bytes as they are."""
    gate = Gate(answer if isinstance(answer, bytes) else json.dumps(answer).encode() + b"\n")
    with socket.socket(socket.AF_UNIX) as server:
        bind(server, path)
        thread = threading.Thread(target=serve, args=(server, gate))
        thread.start()
        try:
            yield gate
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def bind(server: socket.socket, path: Path) -> None:
    """Listen on `path`, however long it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    server.bind(f"/proc/self/fd/{folder}/{path.name}")
    server.listen()
    os.close(folder)


def serve(server: socket.socket, gate: Gate) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            with connection:
                if line := connection.makefile("rb").readline():
                    gate.heard.append(json.loads(line))
                    connection.sendall(gate.answer)


@dataclass(frozen=True)
class Ran:
    status: int
    stdout: str
    stderr: str


def fire(command: str, payload: object, cwd: Path, **environ: str) -> Ran:
    """Run a hook's command as an agent's shell does."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    inherited = {name: value for name, value in os.environ.items() if name not in PROJECT_VARIABLES}
    ran = subprocess.run(
        ["/bin/sh", "-c", command], input=data, cwd=cwd, env={**inherited, **environ}, capture_output=True
    )
    return Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())


def git(*words: str, cwd: Path) -> None:
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=cwd, check=True, capture_output=True
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An empty repository."""
    top = tmp_path / "tree"
    top.mkdir()
    git("init", "-q", cwd=top)
    return top


@pytest.fixture
def home(tree: Path, tmp_path: Path) -> Home:
    """Settings of nobody else."""
    return Home(top=tree, user=tmp_path / "user", environ={})


def socket_of(top: Path) -> Path:
    return Path(gate_address(str(top), {}))


@pytest.mark.parametrize("agent", AGENTS)
def test_what_the_gate_refuses_is_refused_and_told_why(agent: Agent, tree: Path) -> None:
    with listening(socket_of(tree), NO) as gate:
        ran = fire(hook_command(agent), sample(agent, tree), tree)
    assert (ran.status, ran.stderr) == (2, "no red test asks for this\n")
    assert [(asked["op"], asked["agent"], asked["tool"]) for asked in gate.heard] == [("before", agent, "write")]
    if agent in ("claude", "codex"):
        assert json.loads(ran.stdout)["hookSpecificOutput"]["permissionDecision"] == "deny"


@pytest.mark.parametrize("agent", AGENTS)
def test_what_the_gate_allows_goes_on_by_the_agents_own_rules(agent: Agent, tree: Path) -> None:
    with listening(socket_of(tree), YES):
        ran = fire(hook_command(agent), sample(agent, tree), tree)
    assert ran == Ran(0, "{}\n" if agent == "cursor" else "", "")


@pytest.mark.parametrize("agent", AGENTS)
def test_no_gate_is_a_refusal(agent: Agent, tree: Path, tmp_path: Path) -> None:
    for place in (tree, tmp_path):
        ran = fire(hook_command(agent), sample(agent, place), place)
        assert ran.status == 2
        assert "penstock: refused: the gate does not answer" in ran.stderr


BAD_ANSWERS = [
    b"",
    b"\n",
    b"yes\n",
    b"[true]\n",
    b"{}\n",
    b'{"v":2,"allow":true,"reason":"","code":""}\n',
    b'{"v":1,"allow":1,"reason":"","code":""}\n',
    b'{"v":1,"allow":"true","reason":"","code":""}\n',
    b'{"v":1,"allow":true,"reason":"","code":""}',
    b'{"v":1,"allow":true,"reason":null}\n',
    b'{"v":1,"allow":true}\n{"v":1,"allow":true}\n',
    b'\xff{"v":1,"allow":true}\n',
]


@pytest.mark.parametrize("answer", BAD_ANSWERS)
def test_an_answer_that_is_not_understood_is_a_refusal(answer: bytes, tree: Path) -> None:
    with listening(socket_of(tree), answer):
        ran = fire(hook_command("claude"), sample("claude", tree), tree)
    assert ran.status == 2
    assert ran.stderr.startswith("penstock: refused: the gate")


BAD_PAYLOADS = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b'{"hook_event_name":"PreToolUse"}',
    b"[" * 100_000,
    b'{"a":NaN}',
]


@pytest.mark.parametrize("payload", BAD_PAYLOADS)
@pytest.mark.parametrize("agent", ["claude", "cursor"])
def test_a_payload_that_is_not_understood_is_a_refusal(agent: Agent, payload: bytes, tree: Path) -> None:
    with listening(socket_of(tree), YES) as gate:
        ran = fire(hook_command(agent), payload, tree)
    assert ran.status == 2
    assert "penstock: refused: the hook failed" in ran.stderr
    assert not gate.heard


def test_an_agent_without_a_contract_is_refused(tree: Path) -> None:
    for words in ("", "gemini"):
        ran = fire(hook_command("cursor").removesuffix("cursor") + words, sample("claude", tree), tree)
        assert (ran.status, "is none of the agents" in ran.stderr) == (2, True)


CHANGED = {"hook_event_name": "ConfigChange", "source": "local_settings"}


def test_a_gate_or_an_agent_that_says_nothing_is_a_refusal_in_time(tree: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        path = socket_of(tree)
        bind(silent, path)
        waiting = [subprocess.Popen(client("claude"), stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tree)]
        waiting.append(subprocess.Popen(client("claude"), stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tree))
        asked = waiting[0].stdin
        assert asked is not None
        asked.write(json.dumps({**sample("claude", tree), **CHANGED}).encode())
        asked.close()
        for process in waiting:  # nothing is ever written to the second
            assert process.wait(timeout=15) == 2
            assert process.stderr is not None
            assert process.stderr.read() == b"penstock: refused: nothing came in time\n"
            process.stderr.close()
        late = waiting[1].stdin
        assert late is not None
        late.close()


def client(agent: Agent) -> list[str]:
    return [sys.executable, "-I", "-S", hook_client.__file__, agent]


def test_a_refusal_that_nobody_reads_is_one_still(tree: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with listening(socket_of(tree), NO):
        payload = json.dumps(sample("claude", tree)).encode()
        ran = subprocess.run(client("claude"), input=payload, cwd=tree, stdout=writing, stderr=writing)
    os.close(writing)
    assert ran.returncode == 2


def test_an_allowance_that_cannot_be_said_is_a_refusal(tree: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with listening(socket_of(tree), YES):
        payload = json.dumps(sample("cursor", tree)).encode()
        ran = subprocess.run(client("cursor"), input=payload, cwd=tree, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (ran.returncode, b"BrokenPipeError" in ran.stderr) == (2, True)


def test_an_interpreter_that_is_gone_is_a_refusal(tree: Path) -> None:
    for agent in ("claude", "codex", "openhands"):
        command = hook_command(agent).replace(shlex.quote(sys.executable), "/nowhere/python", 1)
        assert fire(command, sample(agent, tree), tree).status == 2
    assert installed("cursor", tree)["failClosed"] is True, "there the agent itself refuses"


def installed(agent: Agent, tree: Path) -> dict[str, Any]:
    place = Home(tree, tree, {})
    install(agent, "project", place)
    found: dict[str, Any] = json.loads(settings_file(agent, "project", place).read_text())["hooks"]["preToolUse"][0]
    return found


def test_the_hook_lets_nothing_beside_it_into_its_start(tree: Path) -> None:
    (tree / "json.py").write_text("raise SystemExit(0)")
    (tree / "os.py").write_text("raise SystemExit(0)")
    (tree / "penstock").mkdir()
    (tree / "penstock" / "__init__.py").write_text("raise SystemExit(0)")
    ran = fire(hook_command("claude"), sample("claude", tree), tree, PYTHONPATH=str(tree), PYTHONSTARTUP="os.py")
    assert (ran.status, "does not answer" in ran.stderr) == (2, True)


def test_a_linked_working_tree_has_a_gate_of_its_own_and_long_paths_are_no_matter(tmp_path: Path) -> None:
    top = tmp_path / ("long" * 30)
    top.mkdir()
    git("init", "-q", cwd=top)
    git("commit", "-q", "--allow-empty", "-m", "first", cwd=top)
    git("worktree", "add", "-q", "../linked", cwd=top)
    (tmp_path / "linked" / "below").mkdir()
    linked = socket_of(tmp_path / "linked" / "below")
    assert linked == Path(address_in(str(top / ".git"), str(tmp_path / "linked")))
    assert linked != socket_of(top)
    assert len(str(linked)) > 108
    with listening(linked, NO) as gate:
        assert fire(hook_command("claude"), sample("claude", tmp_path / "linked"), tmp_path / "linked").status == 2
    assert gate.heard


def test_a_command_that_changes_the_directory_does_not_change_the_gate(tree: Path, tmp_path: Path) -> None:
    payload = {**sample("claude", tree), "cwd": str(tmp_path)}
    with listening(socket_of(tree), YES) as gate:
        assert fire(hook_command("claude"), payload, tmp_path, CLAUDE_PROJECT_DIR=str(tree)).status == 0
    assert gate.heard[0]["cwd"] == str(tmp_path)


def test_the_gate_of_the_environment_is_asked_before_any_other(tree: Path, tmp_path: Path) -> None:
    with listening(socket_of(tree), NO), listening(tmp_path / "own.sock", YES) as own:
        ran = fire(hook_command("claude"), sample("claude", tree), tree, PENSTOCK_GATE=str(tmp_path / "own.sock"))
    assert (ran.status, len(own.heard)) == (0, 1)


def test_cursor_is_understood_where_it_runs_claudes_hooks(tree: Path) -> None:
    payload = {**sample("cursor", tree), "cursor_version": "1.0.18"}
    with listening(socket_of(tree), NO) as gate:
        ran = fire(hook_command("claude"), payload, tree)
    assert (ran.status, ran.stdout, gate.heard[0]["agent"]) == (2, "", "cursor")


def test_a_big_file_goes_through(tree: Path) -> None:
    given = {"file_path": "a", "content": "x\n" * 3_000_000}
    with listening(socket_of(tree), YES) as gate:
        assert fire(hook_command("claude"), {**sample("claude", tree), "tool_input": given}, tree).status == 0
    assert gate.heard[0]["edits"][0]["content"] == given["content"]


PLACES: list[tuple[Agent, Scope]] = [(agent, scope) for agent in AGENTS for scope in ("project", "user")]


@pytest.mark.parametrize(("agent", "scope"), PLACES)
def test_hooks_are_put_in_once_and_taken_out_without_a_trace(agent: Agent, scope: Scope, home: Home) -> None:
    path = settings_file(agent, scope, home)
    assert install(agent, scope, home).events == tuple(EVENTS[agent])
    first = path.read_bytes()
    assert install(agent, scope, home).events == ()
    assert path.read_bytes() == first
    assert status(agent, scope, home).state == "installed"
    assert set(json.loads(first)["hooks"]) == set(EVENTS[agent])
    assert uninstall(agent, scope, home).events == tuple(EVENTS[agent])
    assert not path.exists()
    assert uninstall(agent, scope, home).events == ()


def test_every_tool_and_every_event_is_matched_and_an_agent_waits_longer_than_the_hook(home: Home) -> None:
    install("claude", "project", home)
    hooks = json.loads(settings_file("claude", "project", home).read_text())["hooks"]
    assert set(hooks) == {"PreToolUse", "PostToolUse", "PostToolBatch", "Stop", "SessionStart", "ConfigChange"}
    for event, (group,) in hooks.items():
        assert group["matcher"] == "*"
        assert set(group["hooks"][0]) == {"type", "command", "timeout"}, f"{event} has a filter"
    assert (hooks["PreToolUse"][0]["hooks"][0]["timeout"], hooks["Stop"][0]["hooks"][0]["timeout"]) == (130, 290)


SOMEBODYS = [
    '{"a":1}',
    "{}\n",
    '{\n    "permissions": {"allow": ["Bash(ls)"]},\n    "z": [1, 2.50, 1e3, "\\u00e9"],\n    "env": {}\n}\n',
    '{"hooks":{"Stop":[{"matcher":"x","hooks":[{"type":"command","command":"y"}]}],"Other":[]},"z":[1,2]}\r\n',
    '{\n\t"hooks": {\n\t\t"PreToolUse": [\n\t\t\t{"hooks": []}\n\t\t]\n\t}\n}',
]


@pytest.mark.parametrize("text", SOMEBODYS)
def test_what_was_there_keeps_its_bytes(text: str, home: Home) -> None:
    path = settings_file("claude", "project", home)
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode())
    path.chmod(0o640)
    before = json.loads(text)
    install("claude", "project", home)
    after = json.loads(path.read_text())
    assert {key: after[key] for key in before if key != "hooks"} == {k: v for k, v in before.items() if k != "hooks"}
    for event, groups in before.get("hooks", {}).items():
        assert after["hooks"][event][: len(groups)] == groups
    assert path.stat().st_mode & 0o777 == 0o640
    uninstall("claude", "project", home)
    assert (path.read_bytes().decode() if path.exists() else "{}\n") == text


def test_comments_stay_where_the_format_has_them(home: Home) -> None:
    text = '{ // mine\n  "version": 1,\n  "hooks": {\n    "stop": [{"command": "x"}] // last\n    /* end */\n  }\n}\n'
    path = settings_file("cursor", "project", home)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    install("cursor", "project", home)
    assert all(comment in path.read_text() for comment in ("// mine", "// last", "/* end */"))
    assert status("cursor", "project", home).state == "installed"
    uninstall("cursor", "project", home)
    assert path.read_text() == text


NO_JSON = [
    ('{\n  "a": 1,\n}\n', 2, "comma"),
    ('{\n  "a": 1\n  "b": 2\n}', 3, "comma"),
    ("{\n\n  // no comment here\n}", 3, "expected"),
    ('{"a": tru}', 1, "expected"),
    ('{"a":\n', 2, "too early"),
    ("[]", 1, "object"),
    ('{\n "hooks": []}', 2, "is not an object"),
    ('{\n "hooks": {\n "Stop": {}}}', 3, "is not a list"),
    ('{"a": 1}\n}', 2, "follows"),
    ("[" * 200, 1, "deep"),
]


@pytest.mark.parametrize(("text", "line", "what"), NO_JSON)
def test_what_is_not_json_is_refused_by_line_and_left_alone(text: str, line: int, what: str, home: Home) -> None:
    path = settings_file("claude", "project", home)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(BadInput) as refused:
        install("claude", "project", home)
    assert f"{path}:{line}:" in str(refused.value)
    assert what in str(refused.value)
    assert path.read_text() == text
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_settings_behind_a_link_are_written_where_they_are(home: Home, tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    real = tmp_path / "dotfiles" / "settings.json"
    real.write_text("{}\n")
    path = settings_file("claude", "user", home)
    path.parent.mkdir(parents=True)
    path.symlink_to(real)
    install("claude", "user", home)
    assert path.is_symlink()
    assert "hook_client.py" in real.read_text()


def test_hooks_of_an_older_installation_are_replaced(home: Home) -> None:
    install("claude", "project", home)
    path = settings_file("claude", "project", home)
    right = path.read_text()
    path.write_text(right.replace(sys.executable, "/old/python").replace('"matcher": "*"', '"matcher": "Edit"', 1))
    assert status("claude", "project", home).state == "partial"
    install("claude", "project", home)
    assert path.read_text() == right


@pytest.mark.parametrize("agent", AGENTS)
def test_what_is_installed_is_tried(agent: Agent, home: Home) -> None:
    install(agent, "project", home)
    command = installed_command(agent, "project", home)
    assert command == hook_command(agent)
    assert [trial.failure for trial in self_test(agent, command, home.top)] == ["", "", ""]


@pytest.mark.parametrize("command", ["true", "false", "/nowhere/python", "echo no >&2; exit 2"])
def test_a_command_that_does_not_ask_the_gate_fails_its_trial(command: str, home: Home) -> None:
    refused, allowed, _ = self_test("claude", command, home.top)
    assert refused.failure
    assert bool(allowed.failure) == (command != "true")


def test_a_change_of_settings_that_takes_the_hook_away_is_seen(home: Home) -> None:
    path = settings_file("claude", "project", home)
    assert not guards("claude", path, home)
    install("claude", "project", home)
    text = path.read_text()
    assert guards("claude", path, home)
    weaker = ['{"hooks":{}}', "{", text.replace('"*"', '"Edit"', 1), '{"disableAllHooks": true,' + text.strip()[1:]]
    for changed in weaker:
        path.write_text(changed)
        assert not guards("claude", path, home), changed
    path.write_text('{"model": "x",' + text.strip()[1:])
    assert guards("claude", path, home)


def test_hooks_that_another_file_turns_off_are_not_relied_on(home: Home) -> None:
    install("claude", "project", home)
    shared = home.top / ".claude/settings.json"
    shared.write_text('{"disableAllHooks": true}')
    assert status("claude", "project", home).problems == (f"{shared}: disableAllHooks is true",)
    assert not guards("claude", settings_file("claude", "project", home), home)


@pytest.mark.real_input
def test_codex_trust_is_known_by_the_digests_that_codex_gives() -> None:
    """As `hooks/list` of Codex 0.171.0 gave them."""
    handler = {"type": "command", "command": "python3 /tmp/hk/drv/probe.py", "timeout": 10}
    known = {
        "PreToolUse": "43eeed0714ed51aefc64e2fab3741c15c9eb37a71af2f9b7d3776ef7cb7a9439",
        "PostToolUse": "89e5a1949cc4b9d812b3d4ad0faaa342a8226da9db5d070c118b6400d95533de",
        "SessionStart": "187db0d71413710fd4ffa7a2cd94825a1dc816214cd967b0f2530135934d1e91",
        "Stop": "0d1ccad3c09f5c9ed12a5736b14417e648be5f8fd479e4e2d8650d2dbef8bda4",
    }
    assert {event: digest_of(event, "*", handler) for event in known} == {e: f"sha256:{d}" for e, d in known.items()}


def test_a_hook_that_codex_would_leave_out_is_told(home: Home) -> None:
    install("codex", "project", home)
    path = settings_file("codex", "project", home)
    config = home.user / ".codex" / "config.toml"
    config.parent.mkdir(parents=True)
    hooks = json.loads(path.read_text())
    states = {
        f"{path}:{key}:0:0": digest_of(event, "*", hooks["hooks"][event][0]["hooks"][0])
        for event, key in (("PreToolUse", "pre_tool_use"), ("PostToolUse", "post_tool_use"), ("Stop", "stop"))
    }
    trust = "".join(f'[hooks.state."{key}"]\ntrusted_hash = "{digest}"\n' for key, digest in states.items())
    config.write_text(trust)
    project, hook = status("codex", "project", home).problems
    assert "this project is not trusted" in project
    assert hook.startswith("not trusted, so left out: SessionStart;")
    start = digest_of("SessionStart", "*", hooks["hooks"]["SessionStart"][0]["hooks"][0])
    trust += f'[hooks.state."{path}:session_start:0:0"]\ntrusted_hash = "{start}"\n'
    config.write_text(f'{trust}[projects."{home.top}"]\ntrust_level = "trusted"\n')
    assert status("codex", "project", home).problems == ()
    right = config.read_text()
    config.write_text(right.replace(states[f"{path}:pre_tool_use:0:0"], "sha256:0"))
    assert "left out: PreToolUse;" in status("codex", "project", home).problems[0]
    config.write_text(right + "[features]\nhooks = false\n")
    assert "hooks = false" in status("codex", "project", home).problems[0]
    assert list(problems_of_codex({}, path, home.top / "none.toml", home.user)) == []


def penstock(tree: Path, user: Path, *words: str) -> Ran:
    code = "from penstock.cli.hook_command import hook; import sys; sys.exit(hook.main(standalone_mode=False))"
    command = shlex.join([sys.executable, "-c", code, *words])
    return fire(command, b"", tree, HOME=str(user), CODEX_HOME="", CLAUDE_CONFIG_DIR="")


def test_the_command_says_what_it_changed_and_whether_it_holds(tree: Path, tmp_path: Path) -> None:
    assert "no hooks are installed" in penstock(tree, tmp_path, "status").stderr
    ran = penstock(tree, tmp_path, "install", "claude")
    assert (ran.status, ran.stderr) == (0, "")
    path = tree / ".claude/settings.local.json"
    assert ran.stdout.startswith(f"{path}: hooks for PreToolUse, PostToolUse, ")
    assert penstock(tree, tmp_path, "install", "claude").stdout == f"{path}: nothing to change\n"
    assert penstock(tree, tmp_path, "status").stdout == f"claude (project): {path}: refuses\n"
    path.write_text(path.read_text().replace("hook_client.py claude ||", "hook_client.py claude; exit 0 ||"))
    ran = penstock(tree, tmp_path, "status", "--json")
    row = json.loads(ran.stdout)[0]
    assert (ran.status, row["state"]) == (1, "partial")
    assert any("refuses what the gate refuses: no" in problem for problem in row["problems"])
    assert "took out PreToolUse" in penstock(tree, tmp_path, "uninstall", "claude").stdout
    assert not path.parent.exists()


def test_hooks_are_not_put_in_under_a_gate_that_would_take_them_back(tree: Path) -> None:
    with listening(socket_of(tree), YES):
        with pytest.raises(BadInput, match=r"would take the change back"):
            install_hooks("claude", "project", tree)
        assert not (tree / ".claude").exists()
    _, seen = install_hooks("claude", "project", tree)
    assert [trial.failure for trial in seen.trials] == ["", "", ""]
    with listening(socket_of(tree), YES):
        assert install_hooks("claude", "project", tree)[0].events == (), "nothing to change is no matter"
        with pytest.raises(BadInput, match=r"would take the change back"):
            uninstall_hooks("claude", "project", tree)


def test_the_hook_can_be_run_by_name(tree: Path, tmp_path: Path) -> None:
    code = "from penstock.cli.hook_command import hook; hook()"
    with listening(socket_of(tree), NO):
        ran = fire(shlex.join([sys.executable, "-c", code, "codex"]), sample("codex", tree), tree)
    assert (ran.status, ran.stderr) == (2, "no red test asks for this\n")
