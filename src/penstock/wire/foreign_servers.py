"""MCP servers of others that the agents of a project are told to use: their tools write past the gate's own doors.

A server that runs on this machine can write into the tree, whatever its tools are called; one at an address cannot.
What they write is judged after the fact, as everything is that no edit explains.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.kernel.hooks.json_places import NoJson, parse

CLAUDE_SETTINGS = (".claude/settings.json", ".claude/settings.local.json")
SERVERS = (".mcp.json", ".cursor/mcp.json", *CLAUDE_SETTINGS)
CODEX = ".codex/config.toml"
ALLOWED = re.compile(r"mcp__(?P<server>.+?)__(?P<tool>.+)")
WRITES = re.compile(r"write|edit|create|delete|remove|move|rename|copy|patch|replace|insert|apply|exec|shell|run", re.I)


@dataclass(frozen=True)
class ForeignServer:
    """One, and the file that names it."""

    name: str
    file: str


def foreign_servers(top: Path) -> tuple[ForeignServer, ...]:
    """Those that may write into the tree; a file that cannot be read names none."""
    found: dict[str, ForeignServer] = {}
    off = {name for file in CLAUDE_SETTINGS for name in _texts(_json(top / file).get("disabledMcpjsonServers"))}
    for file in SERVERS:
        for name, server in _tables(_json(top / file).get("mcpServers")):
            if _may_write(server) and not (file == ".mcp.json" and name in off):
                found.setdefault(name, ForeignServer(name, file))
    for name, server in _tables(_toml(top / CODEX).get("mcp_servers")):
        if _may_write(server) and server.get("enabled") is not False:
            found.setdefault(name, ForeignServer(name, CODEX))
    for file in CLAUDE_SETTINGS:
        for name in _let_through(_json(top / file)):
            found.setdefault(name, ForeignServer(name, file))
    return tuple(found.values())


def _may_write(server: Mapping[str, Any]) -> bool:
    words = [server.get("command"), *_texts(server.get("args"))]
    return isinstance(words[0], str) and bool(words[0]) and not _is_ours(words)


def _is_ours(words: list[Any]) -> bool:
    """`penstock mcp`, however it is started."""
    plain = [word for word in words if isinstance(word, str)]
    return "mcp" in plain and any(re.search(r"(^|/)penstock(\.cli)?$", word) for word in plain)


def _let_through(settings: Mapping[str, Any]) -> Iterator[str]:
    """Servers of which a tool that writes may be called without asking."""
    permissions = settings.get("permissions")
    for rule in _texts(permissions.get("allow") if isinstance(permissions, dict) else None):
        found = ALLOWED.match(rule)
        if found and "penstock" not in found["server"] and WRITES.search(found["tool"]):
            yield found["server"]


def _tables(value: object) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, table in value.items() if isinstance(value, dict) else ():
        if isinstance(table, dict):
            yield str(name), table


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _json(path: Path) -> dict[str, Any]:
    try:
        value = parse(path.read_text(encoding="utf-8"), with_comments=True).value
    except (OSError, UnicodeDecodeError, NoJson):
        return {}
    return value if isinstance(value, dict) else {}


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}
