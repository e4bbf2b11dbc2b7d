"""The hook itself: one JSON object from the agent, one question to the gate, one answer in the agent's words.

It fails closed. Whatever goes wrong ends in exit status 2 with a reason on stderr, which every agent reads as a
refusal: no gate, a gate that says nothing in time, an answer or a payload that is not understood, our own mistake. The
deadline is an alarm, so that nothing it waits for (stdin, the socket, a full pipe) outlasts it.
"""

from __future__ import annotations

import os
import sys

from penstock.kernel.hooks import gate_socket, json_text
from penstock.kernel.hooks.contracts.call import DEADLINE_MS, PAYLOAD_MS, Answer, GateCall, NotUnderstood, Said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

AGENTS = ("claude", "codex", "cursor", "openhands")
PROJECT_VARIABLES = ("CLAUDE_PROJECT_DIR", "CURSOR_PROJECT_DIR", "OPENHANDS_PROJECT_DIR")
"""Where an agent says which project is open: a command that changes the directory does not change the gate."""
PAYLOAD_BYTES_MAX = 64_000_000
REFUSED = 2


def attend(arguments: list[str]) -> int:
    """Answer the agent named in `arguments`; the exit status. Every exception is a refusal: see `hook_client`."""
    set_deadline(PAYLOAD_MS)
    agent = arguments[0] if arguments else ""
    if agent not in AGENTS:
        raise NotUnderstood(f"{agent!r} is none of the agents {', '.join(AGENTS)}")
    payload = json_text.object_of(_all_of_stdin())
    contract = contract_of(agent, payload)
    call: GateCall = contract.read(payload)
    set_deadline(DEADLINE_MS[call.op])
    said: Said = contract.say(call, answer_of(call, os.environ))
    _print(said)
    return said.status


def contract_of(agent: str, payload: Mapping[str, object]) -> ModuleType:
    """Cursor runs the hooks in Claude Code's settings as well, and speaks its own words there."""
    spoken = "cursor" if agent == "claude" and "cursor_version" in payload else agent
    return __import__(f"penstock.kernel.hooks.contracts.{spoken}", fromlist=["read"])


def answer_of(call: GateCall, environ: Mapping[str, str]) -> Answer:
    """What the gate says; a refusal where it says nothing that can be understood."""
    named = (environ.get(name) for name in PROJECT_VARIABLES)
    place = next((project for project in named if project), call.cwd)
    try:
        address = gate_socket.gate_address(place, environ)
        if call.op == "session" and not environ.get(gate_socket.VARIABLE) and not gate_socket.is_listening(address):
            _start_gate(place, environ)
        line = gate_socket.ask(address, json_text.line_of(call.request()))
    except (OSError, gate_socket.NoGate) as error:
        return _silence(f"the gate does not answer ({getattr(error, 'strerror', None) or error})")
    try:
        return _understood(json_text.object_of(line))
    except (ValueError, NotUnderstood) as error:
        return _silence(f"the gate's answer is not understood ({error})")


def _start_gate(place: str, environ: Mapping[str, str]) -> None:
    """Start the gate of the working tree around `place`, and wait until it listens. Its words are not for the agent."""
    nowhere = ((os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0), (os.POSIX_SPAWN_DUP2, 1, 2))
    words = [sys.executable, "-m", "penstock.cli", "-C", place, "gate", "start"]
    os.waitpid(os.posix_spawn(sys.executable, words, environ, file_actions=nowhere), 0)


def set_deadline(after_ms: int) -> None:
    """Refuse when the time is over, whatever this process waits for."""
    signals = __import__("_signal")  # the module `signal` would import enum
    signals.signal(signals.SIGALRM, _too_late)
    signals.setitimer(signals.ITIMER_REAL, after_ms / 1000)


def _too_late(*_: object) -> None:
    try:
        os.write(2, b"penstock: refused: nothing came in time\n")
    finally:
        os._exit(REFUSED)


def _silence(what: str) -> Answer:
    reason = f"penstock: refused: {what}; `penstock gate start` starts it"
    return Answer(False, reason, "gate_unreachable", reached=False)


def _understood(said: Mapping[str, object]) -> Answer:
    allow, reason, code = said.get("allow"), said.get("reason", ""), said.get("code", "")
    if said.get("v") != 1 or not isinstance(allow, bool):
        raise NotUnderstood("it is of another version")
    if not isinstance(reason, str) or not isinstance(code, str):
        raise NotUnderstood("its reason is no text")
    return Answer(allow, reason, code)


def _all_of_stdin() -> bytes:
    parts, size = [], 0
    while part := os.read(0, 1 << 20):
        parts.append(part)
        size += len(part)
        if size > PAYLOAD_BYTES_MAX:
            raise NotUnderstood(f"the payload has more than {PAYLOAD_BYTES_MAX:,} bytes")
    return b"".join(parts)


def _print(said: Said) -> None:
    if said.stdout is not None:
        _write(1, json_text.line_of(said.stdout))
    if said.stderr:
        _write(2, (said.stderr.strip() + "\n").encode("utf-8", "backslashreplace"))


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
