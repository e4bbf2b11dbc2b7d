"""The door for agents that write files themselves: before a tool, after it, and when the agent wants to stop.

An edit that is announced is judged before it is made; what was really written is judged after, by files. A hooked agent
runs its tests in a shell where nobody sees them, so when nothing red asks for an edit, the test files that were written
since they were last run are run first, and the question is put again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from penstock.core.redgreen import events as e
from penstock.core.redgreen.gate import judge_edit, refusal_text
from penstock.core.redgreen.policy import Mode
from penstock.kernel.closing import end_turn
from penstock.kernel.hooks.installing import Agent, Home, Scope, guards, settings_file
from penstock.kernel.runs import Asked
from penstock.kernel.tools.dispatcher import Dispatcher, settled_words
from penstock.kernel.tree.names import BadPath, plain_parts

REASON_CHARS_MAX = 400
AGAIN = "; this was written before your call: make it again"
AGENTS: tuple[Agent, ...] = get_args(Agent)
SCOPES: tuple[Scope, ...] = get_args(Scope)
UNSEEN = frozenset({("openhands", "task"), ("openhands", "delegate"), ("openhands", "workflow")})
"""Tools whose own tools run without the hooks of who called them."""
ASKS_FOR_A_RED = frozenset({"no_test_in_scope", "no_red", "red_stale", "not_red", "claim_unrelated"})

INTRODUCTION = (
    "Penstock guards this repository: production code changes only when a failing test asks for it. Write the test "
    "first; it is run for you when you then edit the code it concerns. Files written by other ways are judged the "
    "same. At the end of the turn the tests run: what broke is reverted."
)
INTRODUCTIONS: dict[Mode, str] = {
    "strict": INTRODUCTION,
    "warn": "Penstock looks on: it records where production code changes with no failing test that asks for it.",
    "off": "",
}


class Knock(msgspec.Struct, kw_only=True):
    """One question of a hook; see `kernel.hooks`. Unknown fields are let pass: the client may be newer."""

    v: int
    op: Literal["before", "after", "batch", "stop", "session", "config"]
    session: str = ""
    agent: str = ""
    tool: str = "other"
    name: str = ""
    call: str = ""
    cwd: str = ""
    edits: list[dict[str, Any]] = []
    command: str | None = None


class Reply(msgspec.Struct, kw_only=True):
    """What the gate says. `reason` is for the model."""

    v: int = 1
    allow: bool
    reason: str = ""
    code: str = ""


class Door:
    """Answers hooks for one session."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._session = dispatcher.session
        self._guarding = self._settings_that_guard()

    async def answer(self, knock: Knock) -> Reply:
        """One answer. Waits for whoever uses the session."""
        async with self._dispatcher.lock:
            self._session.takes_newest = True
            try:
                return await self._answer(knock)
            finally:
                self._session.takes_newest = False

    async def _answer(self, knock: Knock) -> Reply:
        match knock.op:
            case "before":
                return await self._before(knock)
            case "after":
                return self._after(knock)
            case "batch":
                return await self._batch(knock)
            case "stop":
                return await self._close(knock)
            case "session":
                return Reply(allow=True, reason=INTRODUCTIONS[self._session.policy.mode])
            case "config":
                return self._config(knock)

    async def _before(self, knock: Knock) -> Reply:
        settled = self._session.settle(f"{knock.agent} before {knock.name}")
        if settled.unclaimed and self._is_strict:
            words = "; ".join(settled_words(settled))[: REASON_CHARS_MAX - len(AGAIN)]
            return _denied("unclaimed_write", words + AGAIN)
        if self._is_strict and (knock.agent, knock.name) in UNSEEN:
            return _denied("unseen", f"{knock.name} works where no hook sees it: do the work yourself")
        paths = self._paths(knock)
        if not paths:
            return Reply(allow=True)
        await self._see_reds(knock.name, paths)
        verdict = self._session.judge(knock.name, paths)
        if isinstance(verdict, e.Refusal):
            return _denied(verdict.code, refusal_text(verdict))
        warning = refusal_text(verdict.would_refuse) if verdict.would_refuse else ""
        return Reply(allow=True, reason=warning[:REASON_CHARS_MAX])

    async def _see_reds(self, tool: str, paths: list[str]) -> None:
        """Nothing asks for the edit yet: run what was written since it was last run, and else, once, everything."""
        if self._needs_a_red(tool, paths) and self._session.fresh_tests():
            await self._dispatcher.desk.ask(Asked(files=self._session.fresh_tests()))
        if self._needs_a_red(tool, paths) and not self._session.ledger.has_suite:
            await self._dispatcher.desk.ask(Asked(whole=True))

    def _needs_a_red(self, tool: str, paths: list[str]) -> bool:
        verdict = judge_edit(self._session.ledger, self._session.ask(tool, paths), "strict")
        return isinstance(verdict, e.Refusal) and verdict.code in ASKS_FOR_A_RED

    def _after(self, knock: Knock) -> Reply:
        settled = self._session.settle(f"{knock.agent} {knock.name}")
        words = settled_words(settled)
        if settled.unclaimed and self._is_strict:
            return _denied("unclaimed_write", "; ".join(words))
        return Reply(allow=True, reason="; ".join(words)[:REASON_CHARS_MAX])

    async def _batch(self, knock: Knock) -> Reply:
        """All that the model wanted in one reply is done: the tests of the turn are run."""
        after = self._after(knock)
        if not self._session.ledger.turn.file_edits:
            return after
        closed = await self._close(knock)
        return closed if after.allow else after

    async def _close(self, knock: Knock) -> Reply:
        end = await end_turn(self._session, self._dispatcher.desk)
        if end.is_clean or not self._is_strict:
            return Reply(allow=True, reason=end.words()[:REASON_CHARS_MAX])
        return _denied("turn", end.words())

    def _config(self, knock: Knock) -> Reply:
        """Settings of the agent changed: its hooks must still be in those that had them."""
        lost = [str(path) for agent, path in self._guarding if not guards(agent, path, self._home)]
        if lost and self._is_strict:
            return _denied("config", f"{', '.join(lost)}: the hooks of Penstock are no more in it; put them back")
        return Reply(allow=True)

    @property
    def _home(self) -> Home:
        return Home(top=self._session.world.launcher.top, user=Path.home(), environ=os.environ)

    def _settings_that_guard(self) -> tuple[tuple[Agent, Path], ...]:
        places = [(agent, settings_file(agent, scope, self._home)) for agent in AGENTS for scope in SCOPES]
        return tuple((agent, path) for agent, path in places if path.exists() and guards(agent, path, self._home))

    @property
    def _is_strict(self) -> bool:
        return self._session.policy.mode == "strict"

    def _paths(self, knock: Knock) -> list[str]:
        """Files of the tree that the tool says it will write; others are none of ours."""
        top = self._session.world.launcher.top
        found = (_inside(top, knock.cwd, str(edit.get("path", ""))) for edit in knock.edits)
        return [path for path in found if path]


def _inside(top: Path, cwd: str, path: str) -> str:
    """`path` relative to `top`, where its directory really lies; empty outside."""
    whole = os.path.join(cwd or str(top), path)
    real = os.path.join(os.path.realpath(os.path.dirname(whole)), os.path.basename(whole))
    inside = os.path.relpath(real, os.path.realpath(top))
    try:
        plain_parts(inside)
    except BadPath:
        return ""
    return inside


def _denied(code: str, reason: str) -> Reply:
    return Reply(allow=False, reason=reason[:REASON_CHARS_MAX], code=code)


def knock_of(fields: dict[str, Any]) -> Knock:
    """The question in decoded JSON. Raises `msgspec.ValidationError`."""
    return msgspec.convert(fields, Knock)


__all__: Sequence[str] = ["Door", "Knock", "Reply", "knock_of"]
