"""Codex, driven: 0.171.0.

Told by running it: a refused `apply_patch` and a refused command leave the files as they were. What it types into a
command that runs already (`write_stdin`) comes through no hook: the command's own `PostToolUse` does, when it ends.
There is no event for a batch and none for changed settings. A hook that its user has not trusted is left out in
silence.
"""

from __future__ import annotations

from penstock.kernel.hooks.contracts import nested, patch
from penstock.kernel.hooks.contracts.call import (
    Answer,
    GateCall,
    NotUnderstood,
    Said,
    table,
    text,
    text_or,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.kernel.hooks.contracts.call import Edit, Op, Tool

EVENTS: dict[str, Op] = {"PreToolUse": "before", "PostToolUse": "after", "Stop": "stop", "SessionStart": "session"}
READS = frozenset({"update_plan", "view_image", "web_search", "request_user_input", "tool_search"})


def read(payload: Mapping[str, object]) -> GateCall:
    """What Codex's hook asks. Raises `NotUnderstood`."""
    event = text(payload, "hook_event_name")
    if event not in EVENTS:
        raise NotUnderstood(f"the event {event} is not one of ours")
    tool, name, edits, command = _tool(payload) if event.endswith("ToolUse") else ("other", "", (), None)
    return GateCall(
        EVENTS[event],
        agent="codex",
        event=event,
        session=text(payload, "session_id"),
        cwd=text(payload, "cwd"),
        tool=tool,
        name=name,
        call=text_or(payload, "tool_use_id", ""),
        edits=edits,
        command=command,
        again=payload.get("stop_hook_active") is True,
    )


def say(call: GateCall, answer: Answer) -> Said:
    """The gate's answer in Codex's words."""
    if call.op == "stop":
        return nested.said_of_stop(call, answer)
    if answer.allow or call.op == "session":
        return nested.context(call, answer.reason)
    return nested.refusal(call, answer.reason) if call.op == "before" else nested.block(answer.reason)


def _tool(call: Mapping[str, object]) -> tuple[Tool, str, tuple[Edit, ...], str | None]:
    name = text(call, "tool_name")
    if name == "Bash":
        return "shell", name, (), text(table(call, "tool_input"), "command")
    if name == "apply_patch":
        tool, edits = patch.edits_of(text(table(call, "tool_input"), "command"))
        return tool, name, edits, None
    return "read" if name in READS else "other", name, (), None
