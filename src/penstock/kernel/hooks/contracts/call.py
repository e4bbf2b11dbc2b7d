"""What a hook asks the gate and what it hears, as plain values.

A hook runs before every tool of an agent, so what it imports is paid for each time: no dataclasses, no typing, no enum
here and in the contracts.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    Op = Literal["before", "after", "batch", "stop", "session", "config"]
    Tool = Literal["edit", "write", "multi_edit", "delete", "move", "shell", "other", "read"]
    Edit = Mapping[str, object]

PAYLOAD_MS = 5_000
"""How long the agent has for its own JSON."""
DEADLINE_MS = {
    "before": 120_000,
    "after": 60_000,
    "batch": 280_000,
    "stop": 280_000,
    "session": 60_000,
    "config": 5_000,
}
"""How long a hook waits for the gate; then it refuses. The gate runs tests that were just written before an edit, and
those of the turn after a batch and at its end. Where no gate listens, a session that begins starts one; everything else
is refused at once."""
GRACE_S = 10
"""An agent kills its hook that much later, and goes on as if it had allowed: our own deadline has to come first."""


class NotUnderstood(Exception):
    """The agent sent what its contract does not know."""


class GateCall:
    """A question to the gate. `event`: the agent's own name of it; `again`: this stop was refused before."""

    __slots__ = ("again", "agent", "call", "command", "cwd", "edits", "event", "name", "op", "session", "tool")

    def __init__(
        self,
        op: Op,
        *,
        agent: str,
        event: str,
        session: str,
        cwd: str,
        tool: Tool = "other",
        name: str = "",
        call: str = "",
        edits: tuple[Edit, ...] = (),
        command: str | None = None,
        again: bool = False,
    ) -> None:
        self.op, self.agent, self.event, self.session, self.cwd = op, agent, event, session, cwd
        self.tool, self.name, self.call, self.edits, self.command = tool, name, call, edits, command
        self.again = again

    def request(self) -> dict[str, object]:
        """The line that goes to the gate."""
        return {
            "v": 1,
            "op": self.op,
            "session": self.session,
            "agent": self.agent,
            "tool": self.tool,
            "name": self.name,
            "call": self.call,
            "cwd": self.cwd,
            "edits": list(self.edits),
            "command": self.command,
        }


class Answer:
    """What the gate said. `reached` is false where it said nothing: then `allow` is false too."""

    __slots__ = ("allow", "code", "reached", "reason")

    def __init__(self, allow: bool, reason: str = "", code: str = "", reached: bool = True) -> None:
        self.allow, self.code, self.reached = allow, code, reached
        self.reason = reason if reason or allow else "refused by the gate"


class Said:
    """What the hook tells its agent: `stdout` is printed as JSON where there is one."""

    __slots__ = ("status", "stderr", "stdout")

    def __init__(self, status: int = 0, stdout: Mapping[str, object] | None = None, stderr: str = "") -> None:
        self.status, self.stdout, self.stderr = status, stdout, stderr


def replaced(path: str, old: str | None, new: str | None, every: bool = False) -> Edit:
    """`old` becomes `new` in a file; `old` None: something is put in, where is not told."""
    return _edit(path, "replace", old, new, every, None)


def written(path: str, content: str | None) -> Edit:
    """A whole file; `content` None: not known before it is done."""
    return _edit(path, "write", None, None, False, content)


def deleted(path: str) -> Edit:
    """A file that goes away."""
    return _edit(path, "delete", None, None, False, None)


def _edit(path: str, kind: str, old: str | None, new: str | None, every: bool, content: str | None) -> Edit:
    return {"path": path, "kind": kind, "old": old, "new": new, "all": every, "content": content}


def text(source: Mapping[str, object], key: str) -> str:
    """A text that has to be there. Raises `NotUnderstood`."""
    value = source.get(key)
    if not isinstance(value, str):
        raise NotUnderstood(f"{key} is no text")
    return value


def text_or(source: Mapping[str, object], key: str, otherwise: str) -> str:
    """A text that may be absent or null."""
    return otherwise if source.get(key) is None else text(source, key)


def table(source: Mapping[str, object], key: str) -> Mapping[str, object]:
    """An object that has to be there. Raises `NotUnderstood`."""
    value = source.get(key)
    if not isinstance(value, dict):
        raise NotUnderstood(f"{key} is no object")
    return value


def tables(source: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    """A list of objects that has to be there. Raises `NotUnderstood`."""
    value = source.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise NotUnderstood(f"{key} is no list of objects")
    return value
