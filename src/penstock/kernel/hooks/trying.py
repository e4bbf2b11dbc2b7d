"""Fire the command that is installed, as its agent's shell does, at a gate that refuses, one that allows, and none."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from penstock.kernel.hooks.gate_socket import VARIABLE
from penstock.kernel.hooks.installing import Agent

TRIAL_S_MAX = 30
REASON = "penstock tries whether its hook refuses"


@dataclass(frozen=True)
class Trial:
    """One firing. `failure` is empty where it ended as it must."""

    what: str
    failure: str = ""


def self_test(agent: Agent, command: str, top: Path) -> tuple[Trial, ...]:
    """Try the installed `command`; a hook that is not seen to refuse is no hook."""
    with tempfile.TemporaryDirectory(prefix="penstock-hook-") as folder:
        nobody = Path(folder) / "nobody.sock"
        with _listening(Path(folder) / "no.sock", False):
            refused = _refusal(_fire(agent, command, top, Path(folder) / "no.sock"), REASON)
        with _listening(Path(folder) / "yes.sock", True):
            allowed = _fire(agent, command, top, Path(folder) / "yes.sock")
        alone = _refusal(_fire(agent, command, top, nobody), "")
    let = "" if allowed is not None and allowed.returncode == 0 else _told(allowed)
    return (
        Trial("refuses what the gate refuses", refused),
        Trial("lets go what the gate allows", let),
        Trial("refuses where there is no gate", alone),
    )


def sample(agent: Agent, top: Path) -> dict[str, object]:
    """An edit as that agent's hook is told of it."""
    path = str(top / "penstock-hook-trial.py")
    told = {"session_id": "penstock-trial", "tool_use_id": "trial", "cwd": str(top), "hook_event_name": "PreToolUse"}
    match agent:
        case "claude":
            return {**told, "tool_name": "Write", "tool_input": {"file_path": path, "content": ""}}
        case "codex":
            patch = f"*** Begin Patch\n*** Add File: {path}\n+\n*** End Patch\n"
            return {**told, "tool_name": "apply_patch", "tool_input": {"command": patch}}
        case "cursor":
            given = {"file_path": path, "content": ""}
            return {**told, "hook_event_name": "preToolUse", "tool_name": "Write", "tool_input": given}
        case "openhands":
            given = {"command": "create", "path": path, "file_text": ""}
            event = {"event_type": "PreToolUse", "session_id": "penstock-trial", "working_dir": str(top)}
            return {**event, "tool_name": "file_editor", "tool_input": given}


def _fire(agent: Agent, command: str, top: Path, gate: Path) -> subprocess.CompletedProcess[bytes] | None:
    environ = {**os.environ, VARIABLE: str(gate)}
    payload = json.dumps(sample(agent, top)).encode()
    words = ["/bin/sh", "-c", command]
    try:
        return subprocess.run(words, input=payload, env=environ, cwd=top, capture_output=True, timeout=TRIAL_S_MAX)
    except subprocess.TimeoutExpired:
        return None


def _refusal(ran: subprocess.CompletedProcess[bytes] | None, reason: str) -> str:
    if ran is None or ran.returncode != 2 or not ran.stderr.strip():
        return _told(ran)
    return "" if reason.encode() in ran.stderr else "its reason is not the gate's"


def _told(ran: subprocess.CompletedProcess[bytes] | None) -> str:
    if ran is None:
        return f"no answer in {TRIAL_S_MAX} s"
    shown = ran.stderr.decode(errors="replace").strip().split("\n")[-1][:200]
    return f"exit status {ran.returncode}" + (f": {shown}" if shown else "")


@contextlib.contextmanager
def _listening(path: Path, allow: bool) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        server.settimeout(TRIAL_S_MAX)
        thread = threading.Thread(target=_serve, args=(server, allow), daemon=True)
        thread.start()
        yield
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
    thread.join()


def _serve(server: socket.socket, allow: bool) -> None:
    with contextlib.suppress(OSError):
        connection, _ = server.accept()
        with connection:
            connection.makefile("rb").readline()
            answer = {"v": 1, "allow": allow, "reason": "" if allow else REASON, "code": "trial"}
            connection.sendall(json.dumps(answer).encode() + b"\n")
