"""OpenHands, driven: its SDK 1.58.2 (on Python 3.11, where its newer syntax had to be written the old way).

Told by running it: a refused action is put back to the model as rejected and leaves the file as it was; what a hook
says after an action reaches nobody. A subagent (`task`, `delegate`, `workflow`) runs without the hooks of its parent:
those tools are passed on by name, for the gate to refuse.
"""

from __future__ import annotations

from penstock.kernel.hooks.contracts import patch
from penstock.kernel.hooks.contracts.call import (
    Answer,
    GateCall,
    NotUnderstood,
    Said,
    replaced,
    table,
    text,
    text_or,
    written,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.kernel.hooks.contracts.call import Edit, Op, Tool

EVENTS: dict[str, Op] = {"PreToolUse": "before", "PostToolUse": "after", "Stop": "stop", "SessionStart": "session"}
READS = frozenset({"finish", "think", "glob", "grep", "read_file", "list_directory", "task_tracker"})
EDITORS = frozenset({"file_editor", "planning_file_editor"})


def read(payload: Mapping[str, object]) -> GateCall:
    """What OpenHands' hook asks. Raises `NotUnderstood`."""
    event = text(payload, "event_type")
    if event not in EVENTS:
        raise NotUnderstood(f"the event {event} is not one of ours")
    tool, name, edits, command = _tool(payload) if event.endswith("ToolUse") else ("other", "", (), None)
    return GateCall(
        EVENTS[event],
        agent="openhands",
        event=event,
        session=text_or(payload, "session_id", ""),
        cwd=text(payload, "working_dir"),
        tool=tool,
        name=name,
        edits=edits,
        command=command,
    )


def say(call: GateCall, answer: Answer) -> Said:
    """The gate's answer in OpenHands' words."""
    if answer.allow or call.op == "session":
        return Said(0, {"additionalContext": answer.reason} if answer.reason else None)
    return Said(2, {"decision": "deny", "reason": answer.reason}, answer.reason)


def _tool(call: Mapping[str, object]) -> tuple[Tool, str, tuple[Edit, ...], str | None]:
    name, given = text(call, "tool_name"), table(call, "tool_input")
    if name == "terminal":
        return "shell", name, (), text(given, "command")
    if name in EDITORS:
        tool, edits = _edited(given)
        return tool, name, edits, None
    if name == "apply_patch":
        tool, edits = patch.edits_of(text(given, "patch"))
        return tool, name, edits, None
    if name == "edit":
        old = text(given, "old_string") or None
        return "edit", name, (replaced(text(given, "file_path"), old, text(given, "new_string")),), None
    if name == "write_file":
        return "write", name, (written(text(given, "file_path"), text(given, "content")),), None
    return "read" if name in READS else "other", name, (), None


def _edited(given: Mapping[str, object]) -> tuple[Tool, tuple[Edit, ...]]:
    command, path = text(given, "command"), text(given, "path")
    if command == "view":
        return "read", ()
    if command == "create":
        return "write", (written(path, text(given, "file_text")),)
    if command == "str_replace":
        return "edit", (replaced(path, text(given, "old_str"), text_or(given, "new_str", "")),)
    if command == "insert":
        return "edit", (replaced(path, None, text(given, "new_str")),)
    return "edit", (written(path, None),)
