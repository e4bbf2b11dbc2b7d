"""Cursor: its own hook runner, as published in its SDK 1.0.18, driven with our answers; not a whole turn, which needs
its service.

Told by that runner: a tool is refused by exit status 2, whose stdout would be shown in place of the reason, so that
stays empty; an empty answer counts as a failure, so content is said as `{}`; with `failClosed` every failure of the
hook refuses. A turn is held by a message to follow up with, five times at most. Every edit arrives as a `Write` of the
whole file. `sessionStart` and `stop` cannot be refused by status.
"""

from __future__ import annotations

from penstock.kernel.hooks.contracts.call import (
    Answer,
    GateCall,
    NotUnderstood,
    Said,
    deleted,
    table,
    text,
    text_or,
    written,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.kernel.hooks.contracts.call import Edit, Op, Tool

EVENTS: dict[str, Op] = {"preToolUse": "before", "postToolUse": "after", "stop": "stop", "sessionStart": "session"}
READS = frozenset({"Read", "Grep", "List", "ReadLints", "Fetch", "ListMcpResources"})


def read(payload: Mapping[str, object]) -> GateCall:
    """What Cursor's hook asks. Raises `NotUnderstood`."""
    event = text(payload, "hook_event_name")
    if event not in EVENTS:
        raise NotUnderstood(f"the event {event} is not one of ours")
    tool, name, edits, command = _tool(payload) if event.endswith("ToolUse") else ("other", "", (), None)
    return GateCall(
        EVENTS[event],
        agent="cursor",
        event=event,
        session=text_or(payload, "session_id", "") or text(payload, "conversation_id"),
        cwd=text_or(payload, "cwd", "") or _root(payload),
        tool=tool,
        name=name,
        call=text_or(payload, "tool_use_id", ""),
        edits=edits,
        command=command,
        again=payload.get("loop_count") not in (None, 0),
    )


def say(call: GateCall, answer: Answer) -> Said:
    """The gate's answer in Cursor's words."""
    if call.op == "stop":
        held = not answer.allow and not (call.again and not answer.reached)
        return Said(0, {"followup_message": answer.reason} if held else {})
    if call.op == "before" and not answer.allow:
        return Said(2, None, answer.reason)
    return Said(0, {"additional_context": answer.reason} if answer.reason else {})


def _root(payload: Mapping[str, object]) -> str:
    roots = payload.get("workspace_roots")
    if not isinstance(roots, list) or not roots or not isinstance(roots[0], str):
        raise NotUnderstood("workspace_roots names no directory")
    return roots[0]


def _tool(call: Mapping[str, object]) -> tuple[Tool, str, tuple[Edit, ...], str | None]:
    name, given = text(call, "tool_name"), table(call, "tool_input")
    if name == "Shell":
        return "shell", name, (), text(given, "command")
    if name == "Write":
        return "write", name, (written(text(given, "file_path"), text(given, "content")),), None
    if name == "Delete":
        return "delete", name, (deleted(text(given, "file_path")),), None
    return "read" if name in READS else "other", name, (), None
