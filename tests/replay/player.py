"""Plays a history through the gate, as an honest developer does, and writes down everything that he is refused.

A refusal is false unless the tests themselves say otherwise: whoever doubts the gate asks plain pytest, on a copy.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.core.redgreen.verdicts import RED
from penstock.kernel.tools.dispatcher import Answer
from tests.integration.gate_world import Gate
from tests.replay.editing import hunks

Texts = Mapping[str, str | None]
"""Files by path; None: gone."""
HONEST = {*RED, "green", "unexpected_green"}
ATTEMPTS_MAX = 2
UNLOADED_STATUSES = (2, 4)
"""Of pytest: a file could not be loaded, or has no test of that name for it."""


@dataclass(frozen=True)
class Refused:
    """One call that was refused, or whose work was taken back."""

    commit: str
    tool: str
    why: str

    def __str__(self) -> str:
        return f"{self.commit}: {self.tool}: {self.why}"


@dataclass
class Score:
    """What came of a history."""

    calls: int = 0
    passed: int = 0
    failed: int = 0
    false: list[Refused] = field(default_factory=list)
    deserved: list[Refused] = field(default_factory=list)
    """Work that plain pytest finds wrong, too."""
    broken: int = 0
    """Runs after wrong code that kept plain pytest, too, from loading the tests."""
    kinds: Counter[str] = field(default_factory=Counter)
    edits_per_red: Counter[int] = field(default_factory=Counter)
    reds_per_test: Counter[int] = field(default_factory=Counter)
    until_s: float = float("inf")
    """On the monotonic clock: no commit is begun after it."""
    weak: int = 0
    pairs: int = 0

    @property
    def commits(self) -> int:
        """How many were tried."""
        return self.passed + self.failed


class Player:
    """One developer at one gate. `chance`: how he goes about it."""

    def __init__(self, gate: Gate, chance: random.Random, score: Score, place: Path) -> None:
        self.gate, self.chance, self.score, self._place = gate, chance, score, place
        self.commit = ""
        self._edits = 0
        self._proven: list[Any] = []
        """Of this commit, in whichever of its turns."""

    # --- calls ------------------------------------------------------------------------------------------------------

    async def call(self, tool: str, **arguments: Any) -> Answer:
        """One call, counted."""
        self.score.calls += 1
        return await self.gate.call(tool, **arguments)

    def refused(self, tool: str, why: str) -> None:
        """Write down a false refusal."""
        self.score.false.append(Refused(self.commit, tool, " ".join(why.split())[:300]))

    async def must(self, tool: str, **arguments: Any) -> bool:
        """A call that is to succeed."""
        answer = await self.call(tool, **arguments)
        if answer.is_error:
            self.refused(tool, answer.text)
        return not answer.is_error

    async def write_freely(self, texts: Texts) -> None:
        """Tests, and what else is free."""
        for path, text in texts.items():
            if text is not None and text != self.now(path):
                await self.must("write_file", path=path, content=text)

    def now(self, path: str) -> str | None:
        """What stands at a path."""
        file = self.gate.top / path
        return file.read_text() if file.exists() else None

    async def run(self, tests: Sequence[str], *, is_wrong: bool = False) -> list[tuple[Any, str]]:
        """Ids on the wire and verdicts; a verdict that no honest test earns is written down.

        `is_wrong`: right after code that is wrong on purpose, which may keep tests from being loaded.
        """
        answer = await self.call("run_tests", tests=list(tests))
        if answer.is_error:
            self.refused("run_tests", answer.text)
        runs = [(run["test"], run["verdict"]) for run in answer.data.get("runs", ())]
        allowed = {*HONEST, "collect_error"} if {verdict for _, verdict in runs} & RED else HONEST
        odd = sorted({verdict for _, verdict in runs} - allowed)
        if odd == ["collect_error"] and is_wrong and self._plain_pytest(tests).returncode in UNLOADED_STATUSES:
            self.score.broken += 1
        elif odd:
            self.refused("run_tests", f"verdict {odd}: {answer.text}")
        return runs

    # --- edits ------------------------------------------------------------------------------------------------------

    async def edit(self, texts: Texts, test: Any, name: Any) -> bool:
        """Make the files so, in one or several calls. `name`: how the test is named; None: not at all.

        Once a turn had to be ended and the test is proven by then, nothing asks for the rest, and it is left out.
        """
        done = True
        for tool, arguments in self._calls(texts):
            if test not in self._proven:
                done = await self._licensed(tool, arguments, test, name) and done
        return done

    async def _licensed(self, tool: str, arguments: dict[str, Any], test: Any, name: Any) -> bool:
        named = {} if name is None else {"test": name}
        for attempt in range(ATTEMPTS_MAX):
            answer = await self.call(tool, **arguments, **named)
            if not answer.is_error:
                self._edits += 1
                return True
            self.refused(f"{tool} {attempt + 1}", answer.text)
            code = answer.data.get("refusal", {}).get("code", "")
            named = {"test": test}
            if code in ("edits_exhausted", "storm", "reds_exhausted"):
                await self._ended()
                if test in self._proven:
                    break
            elif code in ("red_stale", "not_red", "no_red", "no_verdict") and not attempt:
                await self.call("run_tests", tests=[test])
        return False

    def _calls(self, texts: Texts) -> list[tuple[str, dict[str, Any]]]:
        """How these texts come to be: new files are written, others edited in one of three ways."""
        calls: list[tuple[str, dict[str, Any]]] = []
        several: list[dict[str, Any]] = []
        for path, text in texts.items():
            before = self.now(path)
            edits = hunks(before, text) if before and text is not None else []
            if text == before:
                continue
            if text is None:
                calls.append(("delete_file", {"path": path}))
            elif not edits or self.chance.random() < 0.2:
                calls.append(("write_file", {"path": path, "content": text}))
            elif self.chance.random() < 0.5:
                calls += [("edit_file", {"path": path, "old": old, "new": new}) for old, new in edits]
            else:
                several += [{"path": path, "old": old, "new": new} for old, new in edits]
        if several:
            calls.append(("multi_edit", {"edits": several}))
        return calls

    # --- turns ------------------------------------------------------------------------------------------------------

    async def end_turn(self, expected: Sequence[Any], kind: str = "") -> bool:
        """Nothing may be taken back, and what was red must be proven. `expected`: empty where it may stay red."""
        before = self._tree()
        answer = await self._ended()
        missing = [test for test in expected if test not in self._proven]
        taken = bool(answer.data.get("reverted")) or "taken back" in answer.text
        if not (taken or missing):
            return True
        why = self.plainly(self._all_tests() if taken else [spelled(test) for test in missing], before)
        found = Refused(self.commit, "end_turn", " ".join(f"{kind} {answer.text} missing {missing}".split())[:400])
        (self.score.false if why is None else self.score.deserved).append(found)
        return False

    async def _ended(self) -> Answer:
        answer = await self.call("end_turn")
        pairs = answer.data.get("pairs", ())
        self._proven += [pair["test"] for pair in pairs]
        self.score.pairs += len(pairs)
        self.score.weak += sum(pair["weak"] for pair in pairs)
        return answer

    def repair(self, texts: Texts) -> None:
        """After a failure: the tree as it was to become, behind the gate's back, and nothing red."""
        for path, text in texts.items():
            file = self.gate.top / path
            if text is None:
                file.unlink(missing_ok=True)
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
        session = self.gate.session
        session.adopt("the history goes on")
        for test in [*session.ledger.red]:
            session.ledger.tests.pop(test)
            session.ledger.red.pop(test)

    def edited(self) -> None:
        """One more edit under the red in force."""
        self._edits += 1

    def count_edits(self) -> None:
        """The commit is done: its red is used up."""
        self._proven.clear()
        if self._edits:
            self.score.edits_per_red[self._edits] += 1
        self._edits = 0

    def _all_tests(self) -> list[str]:
        found = self.gate.top.rglob("test_*.py")
        return sorted(str(path.relative_to(self.gate.top)) for path in found)

    def _tree(self) -> dict[str, bytes]:
        session = self.gate.session
        return {path: session.content(entry) for path, entry in session.expected.items()}

    def plainly(self, tests: Sequence[str], tree: Mapping[str, bytes] | None = None) -> str | None:
        """What plain pytest has against these tests on a copy; None: nothing."""
        end = self._plain_pytest(tests, tree)
        return None if end.returncode == 0 else end.stdout[-600:]

    def _plain_pytest(
        self, tests: Sequence[str], tree: Mapping[str, bytes] | None = None
    ) -> subprocess.CompletedProcess[str]:
        self._place.mkdir(parents=True, exist_ok=True)
        copy = self._place / f"copy-{self.score.calls}-{len(self.score.deserved)}"
        for path, data in (tree or self._tree()).items():
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            (copy / path).write_bytes(data)
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )


def spelled(test: Any) -> str:
    """How plain pytest is asked for a test on the wire, with all of its rows."""
    return "::".join((test[1], *test[2]))
