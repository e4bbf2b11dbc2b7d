"""Hooks of other agents as pure translation: payloads as the real programs sent them, answers as they read them.

The payloads were recorded from Claude Code 2.1.332, Codex 0.171.0, the hook runner of Cursor's SDK 1.0.18 and the
OpenHands SDK 1.58.2, each in a turn against a scripted model; paths and ids are shortened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import pytest

from penstock.kernel.hooks import json_text
from penstock.kernel.hooks.contracts import patch
from penstock.kernel.hooks.contracts.call import Answer, GateCall, NotUnderstood, Said

pytestmark = pytest.mark.real_input

Payload = dict[str, Any]

CLAUDE: Payload = {
    "session_id": "s",
    "transcript_path": "/h/.claude/projects/p/s.jsonl",
    "cwd": "/p",
    "prompt_id": "73dbbc16",
    "permission_mode": "bypassPermissions",
    "effort": {"level": "medium"},
    "hook_event_name": "PreToolUse",
    "tool_use_id": "t",
}
CODEX: Payload = {
    "session_id": "s",
    "turn_id": "u",
    "transcript_path": "/h/sessions/r.jsonl",
    "cwd": "/p",
    "hook_event_name": "PreToolUse",
    "model": "gpt-5.5",
    "permission_mode": "bypassPermissions",
    "tool_use_id": "t",
}
CURSOR: Payload = {
    "conversation_id": "s",
    "generation_id": "g",
    "model": "m",
    "tool_use_id": "t",
    "session_id": "s",
    "hook_event_name": "preToolUse",
    "cursor_version": "1.0.18",
    "workspace_roots": ["/p"],
    "transcript_path": None,
}
OPENHANDS: Payload = {
    "event_type": "PreToolUse",
    "tool_response": None,
    "message": None,
    "session_id": "s",
    "working_dir": "/p",
    "metadata": {},
}
EDITOR: Payload = {
    "path": "/p/a.py",
    "file_text": None,
    "old_str": None,
    "new_str": None,
    "insert_line": None,
    "view_range": None,
    "kind": "FileEditorAction",
}
PATCH = "*** Begin Patch\n*** Update File: a.py\n@@\n-x = 1\n+x = 2\n*** End Patch\n"


def tool(base: Payload, name: str, given: object, **other: object) -> Payload:
    return {**base, "tool_name": name, "tool_input": given, **other}


def replace(old: str | None, new: str | None, path: str = "/p/a.py", every: bool = False) -> Payload:
    return {"path": path, "kind": "replace", "old": old, "new": new, "all": every, "content": None}


def write(content: str | None, path: str = "/p/a.py") -> Payload:
    return {"path": path, "kind": "write", "old": None, "new": None, "all": False, "content": content}


def delete(path: str) -> Payload:
    return {"path": path, "kind": "delete", "old": None, "new": None, "all": False, "content": None}


EDIT = {"file_path": "/p/a.py", "old_string": "x = 1", "new_string": "x = 2", "replace_all": False}
CHANGED = {"hook_event_name": "ConfigChange", "source": "local_settings", "file_path": "/p/.claude/settings.local.json"}
CASES: list[tuple[str, Payload, dict[str, object]]] = [
    ("claude", tool(CLAUDE, "Edit", EDIT), {"op": "before", "tool": "edit", "edits": [replace("x = 1", "x = 2")]}),
    (
        "claude",
        tool(CLAUDE, "Edit", {**EDIT, "replace_all": True}),
        {"tool": "edit", "edits": [replace("x = 1", "x = 2", every=True)]},
    ),
    (
        "claude",
        tool(CLAUDE, "Write", {"file_path": "/p/a.py", "content": "ok\n"}),
        {"tool": "write", "edits": [write("ok\n")], "call": "t", "session": "s", "cwd": "/p", "agent": "claude"},
    ),
    (
        "claude",
        tool(CLAUDE, "MultiEdit", {"file_path": "/p/a.py", "edits": [EDIT, EDIT]}),
        {"tool": "multi_edit", "edits": [replace("x = 1", "x = 2")] * 2},
    ),
    (
        "claude",
        tool(CLAUDE, "NotebookEdit", {"notebook_path": "/p/n.ipynb", "cell_id": "c", "new_source": "z"}),
        {"tool": "edit", "edits": [write(None, "/p/n.ipynb")]},
    ),
    (
        "claude",
        tool(CLAUDE, "Bash", {"command": "echo hi", "description": "d"}),
        {"tool": "shell", "name": "Bash", "command": "echo hi", "edits": []},
    ),
    ("claude", tool(CLAUDE, "Monitor", {"command": "x > y"}), {"tool": "shell", "command": "x > y"}),
    ("claude", tool(CLAUDE, "Read", {"file_path": "/p/a.py"}), {"tool": "read", "edits": []}),
    ("claude", tool(CLAUDE, "mcp__fs__write_file", {"path": "a"}), {"tool": "other", "name": "mcp__fs__write_file"}),
    ("claude", tool(CLAUDE, "ToolOfTomorrow", {}), {"tool": "other", "name": "ToolOfTomorrow"}),
    (
        "claude",
        tool(CLAUDE, "Write", {"file_path": "/p/a.py", "content": ""}, hook_event_name="PostToolUse", duration_ms=4),
        {"op": "after", "tool": "write", "edits": [write("")]},
    ),
    (
        "claude",
        {
            **CLAUDE,
            "hook_event_name": "PostToolBatch",
            "tool_calls": [
                {"tool_name": "Edit", "tool_input": EDIT, "tool_use_id": "1", "tool_response": "done"},
                {"tool_name": "Bash", "tool_input": {"command": "ls"}, "tool_use_id": "2", "tool_response": "a.py"},
            ],
        },
        {"op": "batch", "tool": "multi_edit", "edits": [replace("x = 1", "x = 2")]},
    ),
    ("claude", {**CLAUDE, "hook_event_name": "Stop", "stop_hook_active": False}, {"op": "stop"}),
    ("claude", {**CLAUDE, "hook_event_name": "SessionStart", "source": "startup"}, {"op": "session"}),
    (
        "claude",
        {**CLAUDE, **CHANGED},
        {"op": "config", "name": "local_settings", "edits": [write(None, "/p/.claude/settings.local.json")]},
    ),
    (
        "codex",
        tool(CODEX, "apply_patch", {"command": PATCH}),
        {"op": "before", "tool": "edit", "edits": [replace("x = 1", "x = 2", "a.py")], "agent": "codex", "call": "t"},
    ),
    ("codex", tool(CODEX, "Bash", {"command": "echo hi > a.py"}), {"tool": "shell", "command": "echo hi > a.py"}),
    ("codex", tool(CODEX, "mcp__fs__write", {"p": 1}), {"tool": "other", "name": "mcp__fs__write", "command": None}),
    ("codex", tool(CODEX, "Bash", {"command": "ls"}, hook_event_name="PostToolUse"), {"op": "after", "tool": "shell"}),
    ("codex", {**CODEX, "hook_event_name": "Stop", "stop_hook_active": True}, {"op": "stop"}),
    ("codex", {**CODEX, "hook_event_name": "SessionStart", "source": "startup"}, {"op": "session", "cwd": "/p"}),
    (
        "cursor",
        tool(CURSOR, "Write", {"file_path": "/p/a.py", "content": "ok\n"}),
        {"op": "before", "tool": "write", "edits": [write("ok\n")], "cwd": "/p", "session": "s", "agent": "cursor"},
    ),
    ("cursor", tool(CURSOR, "Delete", {"file_path": "/p/a.py"}), {"tool": "delete", "edits": [delete("/p/a.py")]}),
    ("cursor", tool(CURSOR, "Shell", {"command": "ls", "cwd": ""}, cwd="/p/q"), {"tool": "shell", "cwd": "/p/q"}),
    ("cursor", tool(CURSOR, "Grep", {"pattern": "x"}), {"tool": "read"}),
    ("cursor", tool(CURSOR, "WriteShellStdin", {"shell_id": 1, "chars_length": 9}), {"tool": "other"}),
    ("cursor", tool(CURSOR, "FetchMcpResource", {"download_path": "/p/a.py"}), {"tool": "other"}),
    ("cursor", tool(CURSOR, "MCP:write_file", {}), {"tool": "other", "name": "MCP:write_file"}),
    ("cursor", {**CURSOR, "hook_event_name": "stop", "status": "completed", "loop_count": 0}, {"op": "stop"}),
    (
        "openhands",
        tool(OPENHANDS, "file_editor", {**EDITOR, "command": "str_replace", "old_str": "x = 1", "new_str": "x = 2"}),
        {"op": "before", "tool": "edit", "edits": [replace("x = 1", "x = 2")], "cwd": "/p", "call": ""},
    ),
    (
        "openhands",
        tool(OPENHANDS, "file_editor", {**EDITOR, "command": "create", "file_text": "ok\n"}),
        {"tool": "write", "edits": [write("ok\n")]},
    ),
    (
        "openhands",
        tool(OPENHANDS, "file_editor", {**EDITOR, "command": "insert", "insert_line": 1, "new_str": "y = 1"}),
        {"tool": "edit", "edits": [replace(None, "y = 1")]},
    ),
    (
        "openhands",
        tool(OPENHANDS, "file_editor", {**EDITOR, "command": "undo_edit"}),
        {"tool": "edit", "edits": [write(None)]},
    ),
    ("openhands", tool(OPENHANDS, "file_editor", {**EDITOR, "command": "view"}), {"tool": "read", "edits": []}),
    (
        "openhands",
        tool(OPENHANDS, "terminal", {"command": "ls", "is_input": False, "timeout": None, "kind": "TerminalAction"}),
        {"tool": "shell", "command": "ls"},
    ),
    ("openhands", tool(OPENHANDS, "apply_patch", {"patch": PATCH}), {"edits": [replace("x = 1", "x = 2", "a.py")]}),
    ("openhands", tool(OPENHANDS, "write_file", {"file_path": "a", "content": "z"}), {"edits": [write("z", "a")]}),
    ("openhands", tool(OPENHANDS, "task", {"prompt": "write it"}), {"tool": "other", "name": "task"}),
    (
        "openhands",
        {**OPENHANDS, "event_type": "Stop", "tool_name": None, "tool_input": None},
        {"op": "stop", "name": "", "edits": []},
    ),
]


def contract(agent: str) -> Any:
    return import_module(f"penstock.kernel.hooks.contracts.{agent}")


@pytest.mark.parametrize(("agent", "payload", "asked"), CASES)
def test_what_an_agent_sent_is_asked_of_the_gate(agent: str, payload: Payload, asked: Mapping[str, object]) -> None:
    call: GateCall = contract(agent).read(json_text.object_of(json.dumps(payload).encode()))
    request = json.loads(json_text.line_of(call.request()))
    assert {key: request[key] for key in asked} == asked
    assert request["v"] == 1
    assert set(request) == {"v", "op", "session", "agent", "tool", "name", "call", "cwd", "edits", "command"}


BROKEN: list[tuple[str, Payload]] = [
    ("claude", {}),
    ("claude", {**CLAUDE, "hook_event_name": "preToolUse"}),
    ("claude", {**CLAUDE, "hook_event_name": "PermissionRequest"}),
    ("claude", tool(CLAUDE, "Edit", {"file_path": "/p/a.py", "old_string": "x"})),
    ("claude", tool(CLAUDE, "Edit", None)),
    ("claude", tool(CLAUDE, "Write", {"file_path": 3, "content": ""})),
    ("claude", {**CLAUDE, "hook_event_name": "PostToolBatch", "tool_calls": "all"}),
    ("codex", tool(CODEX, "apply_patch", {"command": "*** Begin Patch\n*** End Patch\n"})),
    ("codex", tool(CODEX, "apply_patch", {"input": PATCH})),
    ("codex", tool(CODEX, "Bash", {})),
    ("cursor", {**CURSOR, "hook_event_name": "beforeShellExecution", "command": "ls"}),
    ("cursor", tool({**CURSOR, "workspace_roots": []}, "Shell", {"command": "ls"})),
    ("cursor", tool(CURSOR, "Write", {"file_path": "/p/a.py"})),
    ("openhands", tool(OPENHANDS, "file_editor", {"command": "create", "path": "/p/a.py"})),
    ("openhands", {**OPENHANDS, "event_type": "UserPromptSubmit"}),
]


@pytest.mark.parametrize(("agent", "payload"), BROKEN)
def test_what_a_contract_does_not_know_is_not_guessed(agent: str, payload: Payload) -> None:
    with pytest.raises(NotUnderstood):
        contract(agent).read(payload)


def call_of(agent: str, op: str, again: bool = False) -> GateCall:
    names = {"before": "PreToolUse", "after": "PostToolUse", "session": "SessionStart", "batch": "PostToolBatch"}
    event = names.get(op, op.capitalize())
    return GateCall(op, agent=agent, event=event, session="s", cwd="/p", again=again)  # type: ignore[arg-type]


def said(agent: str, op: str, answer: Answer, again: bool = False) -> tuple[int, object, str]:
    told: Said = contract(agent).say(call_of(agent, op, again), answer)
    return told.status, told.stdout, told.stderr


NO = Answer(False, "no red test", "no_red")
NOBODY = Answer(False, "the gate does not answer", "gate_unreachable", reached=False)
DENIED = {"hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": "no red test"}
BLOCKED = {"decision": "block", "reason": "no red test"}
REFUSALS: list[tuple[str, str, tuple[int, object, str]]] = [
    ("claude", "before", (2, {"hookSpecificOutput": DENIED}, "no red test")),
    ("claude", "after", (2, BLOCKED, "no red test")),
    ("claude", "stop", (2, BLOCKED, "no red test")),
    ("claude", "config", (2, BLOCKED, "no red test")),
    ("codex", "before", (2, {"hookSpecificOutput": DENIED}, "no red test")),
    ("codex", "after", (2, BLOCKED, "no red test")),
    ("codex", "stop", (2, BLOCKED, "no red test")),
    ("cursor", "before", (2, None, "no red test")),
    ("cursor", "after", (0, {"additional_context": "no red test"}, "")),
    ("cursor", "stop", (0, {"followup_message": "no red test"}, "")),
    ("openhands", "before", (2, {"decision": "deny", "reason": "no red test"}, "no red test")),
    ("openhands", "stop", (2, {"decision": "deny", "reason": "no red test"}, "no red test")),
]


@pytest.mark.parametrize(("agent", "op", "expected"), REFUSALS)
def test_a_refusal_is_said_as_the_agent_reads_it(agent: str, op: str, expected: tuple[int, object, str]) -> None:
    assert said(agent, op, NO) == expected


def test_a_batch_is_answered_without_ending_the_turn_unless_the_gate_is_gone() -> None:
    told = {"hookEventName": "PostToolBatch", "additionalContext": "no red test"}
    assert said("claude", "batch", NO) == (0, {"hookSpecificOutput": told}, "")
    assert said("claude", "batch", NOBODY)[0] == 2


@pytest.mark.parametrize("agent", ["claude", "codex"])
def test_content_is_silence_so_that_the_users_own_rules_stay_in_force(agent: str) -> None:
    assert said(agent, "before", Answer(True)) == (0, None, "")
    told = {"hookEventName": "PreToolUse", "additionalContext": "would be refused"}
    assert said(agent, "before", Answer(True, "would be refused")) == (0, {"hookSpecificOutput": told}, "")
    assert said("cursor", "before", Answer(True)) == (0, {}, ""), "an empty answer counts as a failure there"


@pytest.mark.parametrize("agent", ["claude", "codex", "cursor"])
def test_a_turn_is_not_held_twice_for_a_gate_that_is_gone(agent: str) -> None:
    first, second = said(agent, "stop", NOBODY), said(agent, "stop", NOBODY, again=True)
    assert "the gate does not answer" in str(first[1])
    assert first[0] == 2 or "followup_message" in str(first[1])
    assert second[0] == 0
    assert "followup_message" not in str(second[1])
    assert said(agent, "stop", NO, again=True) == said(agent, "stop", NO), "a gate that answers may hold it again"


def test_a_session_begins_with_what_the_gate_has_to_say() -> None:
    told = {"hookEventName": "SessionStart", "additionalContext": "rules"}
    assert said("claude", "session", Answer(True, "rules")) == (0, {"hookSpecificOutput": told}, "")
    assert said("cursor", "session", Answer(True, "rules"))[1] == {"additional_context": "rules"}
    assert said("openhands", "session", Answer(True, "rules"))[1] == {"additionalContext": "rules"}


def test_a_patch_names_every_file_that_it_touches() -> None:
    text = (
        "*** Begin Patch\n*** Add File: new.py\n+one\n+*** Delete File: text\n+\n*** Delete File: old.py\n"
        "  *** Update File: b.py\n*** Move to: c.py\n@@ def f\n keep\n-a\n+b\n@@\n-c\n*** End of File\n*** End Patch"
    )
    kind, edits = patch.edits_of(text)
    assert kind == "move"
    assert list(edits) == [
        write("one\n*** Delete File: text\n\n", "new.py"),
        delete("old.py"),
        replace("keep\na", "keep\nb", "b.py"),
        replace("c", "", "b.py"),
        delete("b.py"),
        write(None, "c.py"),
    ]


def test_a_line_of_context_that_looks_like_a_header_costs_a_file_too_many_never_one_too_few() -> None:
    _, edits = patch.edits_of("*** Update File: a.py\n@@\n *** Update File: b.py\n-x\n+y\n")
    assert {edit["path"] for edit in edits} == {"a.py", "b.py"}


@pytest.mark.parametrize("text", ["", "[]", "{} {}", '{"a": NaN}', "nul", '{"a":1', "\ufeff{}", '"x"'])
def test_only_an_object_is_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        json_text.object_of(text.encode())


def test_json_is_read_and_written_as_the_standard_library_does() -> None:
    value = {"ü\ud800\n": [None, True, False, 12, '\x00"\\'], "deep": {"a": {}}, "list": []}
    assert json.loads(json_text.line_of(value)) == value
    assert json_text.object_of(json.dumps({**value, "f": 1.5e3}).encode()) == {**value, "f": 1500.0}
