"""Claude Code, driven: 2.1.332.

Told by running it: a refused edit leaves the file as it was; a block at `PostToolBatch` ends the whole turn, so what
the gate has to say about a batch goes to the model as context instead; settings that change behind its back are put to
`ConfigChange` with their path, and a block keeps the hooks that were read before.
"""

from __future__ import annotations

from penstock.kernel.hooks.contracts import nested
from penstock.kernel.hooks.contracts.call import (
    Answer,
    GateCall,
    NotUnderstood,
    Said,
    replaced,
    table,
    tables,
    text,
    text_or,
    written,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.kernel.hooks.contracts.call import Edit, Op, Tool

EVENTS: dict[str, Op] = {
    "PreToolUse": "before",
    "PostToolUse": "after",
    "PostToolBatch": "batch",
    "Stop": "stop",
    "SessionStart": "session",
    "ConfigChange": "config",
}
READS = frozenset(
    {
        "Agent",
        "AskUserQuestion",
        "BashOutput",
        "EnterPlanMode",
        "ExitPlanMode",
        "Glob",
        "Grep",
        "KillShell",
        "LS",
        "LSP",
        "ListAgents",
        "ListMcpResources",
        "NotebookRead",
        "Read",
        "ReadMcpResource",
        "ReportFindings",
        "SendMessage",
        "Skill",
        "Task",
        "TaskCreate",
        "TaskGet",
        "TaskList",
        "TaskOutput",
        "TaskStop",
        "TaskUpdate",
        "TodoWrite",
        "ToolSearch",
        "WebFetch",
        "WebSearch",
    }
)
"""Tools that write no file of the tree themselves. What a subagent does comes through these hooks again."""
SHELLS = frozenset({"Bash", "PowerShell", "Monitor"})


def read(payload: Mapping[str, object]) -> GateCall:
    """What Claude Code's hook asks. Raises `NotUnderstood`."""
    event = text(payload, "hook_event_name")
    if event not in EVENTS:
        raise NotUnderstood(f"the event {event} is not one of ours")
    tool, name, edits, command = _asked(payload, event)
    return GateCall(
        EVENTS[event],
        agent="claude",
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
    """The gate's answer in Claude Code's words."""
    if call.op == "stop":
        return nested.said_of_stop(call, answer)
    if answer.allow or call.op == "session":
        return nested.context(call, answer.reason)
    if call.op == "before":
        return nested.refusal(call, answer.reason)
    if call.op == "batch" and answer.reached:
        return nested.context(call, answer.reason)
    return nested.block(answer.reason)


def _asked(payload: Mapping[str, object], event: str) -> tuple[Tool, str, tuple[Edit, ...], str | None]:
    if event == "ConfigChange":
        path = text_or(payload, "file_path", "")
        return "other", text(payload, "source"), (written(path, None),) if path else (), None
    if event == "PostToolBatch":
        edits = [edit for call in tables(payload, "tool_calls") for edit in _tool(call)[2]]
        return "multi_edit" if edits else "other", "", tuple(edits), None
    if event in ("PreToolUse", "PostToolUse"):
        return _tool(payload)
    return "other", "", (), None


def _tool(call: Mapping[str, object]) -> tuple[Tool, str, tuple[Edit, ...], str | None]:
    name, given = text(call, "tool_name"), table(call, "tool_input")
    if name in SHELLS:
        return "shell", name, (), text_or(given, "command", "")
    if name == "Edit":
        return "edit", name, (_replaced(text(given, "file_path"), given),), None
    if name == "Write":
        return "write", name, (written(text(given, "file_path"), text(given, "content")),), None
    if name == "MultiEdit":
        path = text(given, "file_path")
        return "multi_edit", name, tuple(_replaced(path, edit) for edit in tables(given, "edits")), None
    if name == "NotebookEdit":
        return "edit", name, (written(text(given, "notebook_path"), None),), None
    return "read" if name in READS else "other", name, (), None


def _replaced(path: str, edit: Mapping[str, object]) -> Edit:
    return replaced(path, text(edit, "old_string"), text(edit, "new_string"), edit.get("replace_all") is True)
