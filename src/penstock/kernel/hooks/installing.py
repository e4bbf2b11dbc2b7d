"""Hooks in the settings of an agent: put in, taken out, looked at, tried.

Only what is ours is touched; what is ours is told by the file that its command runs. A file that is not JSON is
refused as it is. An agent kills a hook that is late and goes on without it, so each has more time than the hook takes
for itself; and a hook that cannot even start is a refusal too: `|| exit 2`, or the agent's own word for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from penstock.durable import write_whole
from penstock.kernel.hooks import hook_client
from penstock.kernel.hooks.contracts import claude, codex, cursor, openhands
from penstock.kernel.hooks.contracts.call import DEADLINE_MS, GRACE_S
from penstock.kernel.hooks.json_places import Node, NoJson, parse, put_in, take_out
from penstock.ports import BadInput, Problem

if TYPE_CHECKING:
    from penstock.kernel.hooks.contracts.call import Op

Agent = Literal["claude", "codex", "cursor", "openhands"]
Scope = Literal["project", "user"]
State = Literal["absent", "partial", "installed"]

EVENTS: Mapping[Agent, Mapping[str, Op]] = {
    "claude": claude.EVENTS,
    "codex": codex.EVENTS,
    "cursor": cursor.EVENTS,
    "openhands": openhands.EVENTS,
}
CLIENT = "penstock/kernel/hooks/hook_client.py"


@dataclass(frozen=True)
class Home:
    """Where settings lie. `top` is the working tree's."""

    top: Path
    user: Path
    environ: Mapping[str, str]


@dataclass(frozen=True)
class Change:
    """What was done to a file; `events` are those whose hooks were put in or taken out."""

    path: Path
    events: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Status:
    """What lies in a file. `missing`: events without our hook as it is written now."""

    path: Path
    state: State
    missing: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """Why the hooks do not work although they are there."""


def settings_file(agent: Agent, scope: Scope, home: Home) -> Path:
    """Where an agent reads hooks."""
    if scope == "project":
        project = {
            "claude": ".claude/settings.local.json",
            "codex": ".codex/hooks.json",
            "cursor": ".cursor/hooks.json",
            "openhands": ".openhands/hooks.json",
        }
        return home.top / project[agent]
    match agent:
        case "claude":
            return Path(home.environ.get("CLAUDE_CONFIG_DIR") or home.user / ".claude") / "settings.json"
        case "codex":
            return codex_home(home) / "hooks.json"
        case "cursor":
            return home.user / ".cursor/hooks.json"
        case "openhands":
            return home.user / ".openhands/hooks.json"


def codex_home(home: Home) -> Path:
    """Codex's own directory."""
    return Path(home.environ.get("CODEX_HOME") or home.user / ".codex")


def hook_command(agent: Agent) -> str:
    """What the agent's shell runs. Cursor hands its payload over as a here-document behind it, so it stays one word."""
    client = Path(hook_client.__file__).resolve()
    words = shlex.join([sys.executable, "-I", "-S", str(client), agent])
    return words if agent == "cursor" else f"{words} || exit 2"


def install(agent: Agent, scope: Scope, home: Home) -> Change:
    """Put our hook to every event, once. Raises `BadInput`; then nothing is written."""
    path = settings_file(agent, scope, home)
    before = _text(path)
    text = _emptied(before, agent, path) if _state(before, agent, path)[0] == "partial" else before
    events = _state(text, agent, path)[1]
    for event in events:
        text = _with(text, agent, event, path)
    if events:
        _write(path, text)
    return Change(path, events, tuple(_notes(agent, scope, home)))


def uninstall(agent: Agent, scope: Scope, home: Home) -> Change:
    """Take our hooks out. A file that has nothing else goes away. Raises `BadInput`; then nothing is written."""
    path = settings_file(agent, scope, home)
    before = _text(path)
    events = tuple(dict.fromkeys(ours.event for ours in _ours(_root(before, agent, path), agent)))
    if not events:
        return Change(path, ())
    text = _emptied(before, agent, path)
    if _root(text, agent, path).value in ({}, {"version": 1}):
        path.unlink()
        if scope == "project" and not any(path.parent.iterdir()):
            path.parent.rmdir()
    else:
        _write(path, text)
    return Change(path, events)


def status(agent: Agent, scope: Scope, home: Home) -> Status:
    """What is installed. Raises `BadInput` where the file is not JSON."""
    path = settings_file(agent, scope, home)
    text = _text(path)
    state, missing = _state(text, agent, path)
    problems = tuple(_problems(_root(text, agent, path), agent, path, home)) if state != "absent" else ()
    return Status(path, state, missing if state == "partial" else (), problems)


def guards(agent: Agent, path: Path, home: Home) -> bool:
    """Whether the settings in `path` have all our hooks in force: what a gate asks when settings change."""
    try:
        text = _text(path)
        state, _ = _state(text, agent, path)
        return state == "installed" and not any(_problems(_root(text, agent, path), agent, path, home))
    except BadInput:
        return False


def installed_command(agent: Agent, scope: Scope, home: Home) -> str | None:
    """The command that stands in the file, for a trial of it; None where there is none."""
    path = settings_file(agent, scope, home)
    return next((ours.command for ours in _ours(_root(_text(path), agent, path), agent)), None)


def _state(text: str, agent: Agent, path: Path) -> tuple[State, tuple[str, ...]]:
    root = _root(text, agent, path)
    there = list(_ours(root, agent))
    right = {ours.event for ours in there if ours.event in EVENTS[agent] and ours.entry == _entry(agent, ours.event)}
    missing = tuple(event for event in EVENTS[agent] if event not in right)
    clean = len(there) == len(right)
    if not there:
        return "absent", missing
    return ("partial", missing) if missing or not clean else ("installed", ())


def _entry(agent: Agent, event: str) -> dict[str, object]:
    timeout_s = -(-DEADLINE_MS[EVENTS[agent][event]] // 1000) + GRACE_S
    handler: dict[str, object] = {"type": "command", "command": hook_command(agent), "timeout": timeout_s}
    if agent == "cursor":
        return {**handler, "failClosed": True}
    return {"matcher": "*", "hooks": [handler]}


@dataclass(frozen=True)
class _Ours:
    event: str
    entry: object
    """What stands in the event's list: the handler with its matcher."""
    command: str
    links: tuple[tuple[Node, str | int], ...]
    """From the root down: each container, and what in it holds the handler."""


def _ours(root: Node, agent: Agent) -> Iterator[_Ours]:
    if "hooks" not in root:
        return
    for event in root["hooks"].items:
        for entry in event.node.items:
            links = ((root, "hooks"), (root["hooks"], event.key), (event.node, entry.key))
            if agent == "cursor":
                yield from _if_ours(str(event.key), entry.node, entry.node, links)
            elif "hooks" in entry.node:
                within = entry.node["hooks"]
                for handler in within.items:
                    yield from _if_ours(str(event.key), entry.node, handler.node, (*links, (within, handler.key)))


def _if_ours(event: str, entry: Node, handler: Node, links: tuple[tuple[Node, str | int], ...]) -> Iterator[_Ours]:
    command = handler.value.get("command") if isinstance(handler.value, dict) else None
    if isinstance(command, str) and CLIENT in command:
        yield _Ours(event, entry.value, command, links)


def _with(text: str, agent: Agent, event: str, path: Path) -> str:
    root = _root(text, agent, path)
    if agent == "cursor" and "version" not in root:
        return _with(put_in(text, root, "version", 1, 0), agent, event, path)
    if "hooks" not in root:
        return put_in(text, root, "hooks", {event: [_entry(agent, event)]}, 0)
    hooks = _container(root["hooks"], dict, path, text, "hooks")
    if event not in hooks:
        return put_in(text, hooks, event, [_entry(agent, event)], 1)
    return put_in(text, _container(hooks[event], list, path, text, f"hooks.{event}"), None, _entry(agent, event), 2)


def _container(node: Node, kind: type, path: Path, text: str, field: str) -> Node:
    if not isinstance(node.value, kind):
        what = "an object" if kind is dict else "a list"
        raise _bad(path, text.count("\n", 0, node.start) + 1, f"is not {what}", field)
    return node


def _emptied(text: str, agent: Agent, path: Path) -> str:
    """Without our handlers, and without what only they kept in being."""
    while (found := next(_ours(_root(text, agent, path), agent), None)) is not None:
        links = list(found.links)
        while len(links) > 1 and len(links[-1][0].items) == 1:
            links.pop()
        container, key = links[-1]
        text = take_out(text, container, next(item for item in container.items if item.key == key))
    return text


def _problems(root: Node, agent: Agent, path: Path, home: Home) -> Iterator[str]:
    value = root.value
    if agent == "claude":
        yield from _disabled(value, path, home)
    if agent == "codex":
        from penstock.kernel.hooks.codex_trust import problems_of_codex

        yield from problems_of_codex(value, path, codex_home(home) / "config.toml", home.top)


def _disabled(value: object, path: Path, home: Home) -> Iterator[str]:
    """Any of its settings files can turn every hook off."""
    if isinstance(value, dict) and value.get("disableAllHooks") is True:
        yield f"{path}: disableAllHooks is true"
    user = settings_file("claude", "user", home)
    for other in (home.top / ".claude/settings.json", home.top / ".claude/settings.local.json", user):
        if other == path:
            continue
        with contextlib.suppress(OSError, ValueError):
            told = json.loads(other.read_bytes())
            if isinstance(told, dict) and told.get("disableAllHooks") is True:
                yield f"{other}: disableAllHooks is true"


def _notes(agent: Agent, scope: Scope, home: Home) -> Iterator[str]:
    path = settings_file(agent, scope, home)
    if scope == "user":
        yield "every repository that this agent works in needs a gate now: without one its tools are refused"
    elif agent != "claude":
        yield f"{path.relative_to(home.top)} names this machine's interpreter: do not commit it"
    if agent == "codex":
        yield "Codex leaves out a hook that is not trusted: start codex, open /hooks, and trust these"
    if agent == "openhands" and scope == "user":
        yield "OpenHands reads this file only where the project has no .openhands/hooks.json"


def _root(text: str, agent: Agent, path: Path) -> Node:
    try:
        root = parse(text, with_comments=agent == "cursor")
    except NoJson as error:
        raise _bad(path, error.line, f"is not JSON: {error.message}") from None
    if not isinstance(root.value, dict):
        raise _bad(path, 1, "is not a JSON object")
    return root


def _text(path: Path) -> str:
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return "{}\n"
    except UnicodeDecodeError as error:
        raise _bad(path, 0, f"is not UTF-8: {error.reason}") from None
    except OSError as error:
        raise _bad(path, 0, f"cannot be read: {error.strerror}") from None
    return text if text.strip() else "{}\n"


def _write(path: Path, text: str) -> None:
    json_of = parse(text, with_comments=True)
    assert isinstance(json_of.value, dict), json.dumps(text)
    real = Path(os.path.realpath(path))
    real.parent.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(real.stat().st_mode) if real.exists() else 0o644
    write_whole(real, text.encode())
    real.chmod(mode)


def _bad(path: Path, line: int, message: str, field: str = "") -> BadInput:
    fix = "mend it, or move it away; nothing was written"
    return BadInput([Problem(file=str(path), line=line, field=field, message=message, fix=fix)])
