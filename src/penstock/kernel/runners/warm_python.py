"""Keeps a fork server for one project: started when first needed, again when what it imported has changed.

What goes wrong with it costs time, never a verdict: the run is then a cold spawn, and says why.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.core.redgreen.test_id import RunnerName
from penstock.kernel.launching import Launcher, Served, make_nonce
from penstock.kernel.runner import Mutant, MutationOrder, MutationReport, RunOrder
from penstock.kernel.runners.python_spawn import SIDE, Asked, Heard, Interpreter, PythonRunner, asked_for

OPEN_WALL_MS = 60_000
SLACK_MS = 2_000
"""How long after a run's deadline its answer is waited for."""


class NotWarm(Exception):
    """There is no fork server; the text says why."""


class WarmPython:
    """One fork server at most, and one run at a time."""

    def __init__(self, interpreter: Interpreter, runner: str) -> None:
        self._interpreter = interpreter
        self._runner = runner
        self._served: Served | None = None
        self._env: Mapping[str, str] = {}
        self._turn = asyncio.Lock()
        self._refusal = ""

    async def carry_out(self, asked: Asked, wall_ms: int) -> Heard:
        """Carry out one order in a fork. Raises `NotWarm`."""
        begun = time.monotonic()
        nonce = make_nonce()
        request = {"do": "run", "order": asked, "nonce": nonce, "wall_ms": wall_ms}
        try:
            answer = await self.ask(request, wall_ms)
        except TimeoutError:
            ms = round((time.monotonic() - begun) * 1_000)
            return Heard(True, f"not done after {wall_ms} ms, nor was its fork server", b"", ms)
        return heard_from(answer, nonce, wall_ms)

    async def ask(self, request: Mapping[str, Any], wall_ms: int) -> dict[str, Any]:
        """The answer of a server that is not stale. Raises `NotWarm`, and `TimeoutError` where none came in time."""
        stale = ""
        async with self._turn:
            for _ in range(2):
                served = await self._open()
                answer = await self._exchange(served, request, wall_ms + SLACK_MS)
                if "stale" not in answer:
                    return answer
                stale = answer["stale"]
                await self._close()
        raise NotWarm(stale)

    async def _open(self) -> Served:
        env = {**self._interpreter.launcher.confinement.env, **self._interpreter.launcher.env}
        if self._served is not None and self._served.is_alive and env == self._env:
            return self._served
        await self._close()
        launcher = self._interpreter.launcher
        side = launcher.show(SIDE, "python")
        try:
            self._served = await launcher.serve(
                self._interpreter.start(side.at, "fork_server"),
                env={"PYTHONDONTWRITEBYTECODE": "1"},
                shown=(side,),
                cwd=self._interpreter.cwd,
            )
        except OSError as error:
            raise NotWarm(f"the fork server cannot be started: {error}") from error
        self._env = env
        opening = {"do": "open", "runner": self._runner, "root": launcher.root, "project": self._interpreter.cwd}
        answer = await self._exchange(self._served, opening, OPEN_WALL_MS)
        if answer["why"]:
            await self._close()
            raise NotWarm(answer["why"])
        return self._served

    async def _exchange(self, served: Served, request: Mapping[str, Any], wall_ms: int) -> dict[str, Any]:
        try:
            line = await served.ask(msgspec.json.encode(request), wall_ms)
            answer: dict[str, Any] = msgspec.json.decode(line)
            return answer
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            said = served.said().decode("utf-8", "replace").strip().splitlines()[-1:]
            await self._close()
            if isinstance(error, TimeoutError):
                raise
            raise NotWarm("; ".join(["the fork server ended", *said])) from error

    async def _close(self) -> None:
        served, self._served = self._served, None
        if served is not None:
            await served.close()

    async def close(self) -> None:
        """End the server and all below it; idempotent."""
        async with self._turn:
            await self._close()


def heard_from(answer: Mapping[str, Any], nonce: str, wall_ms: int) -> Heard:
    """What a fork told."""
    status = answer["status"]
    why = f"killed by signal {-status}" if status < 0 else f"exit status {status}" if status else ""
    if answer["is_killed"]:
        why = f"not done after {wall_ms} ms"
    heard = Heard(answer["is_killed"], why, base64.b64decode(answer["output"]), answer["ms"])
    heard.listen(answer["pipe"].encode("ascii", "replace"), nonce)
    return heard


class WarmPythonRunner(PythonRunner):
    """A runner of Python tests, and a mutator, that forks where it can and spawns where it cannot."""

    def __init__(
        self, name: RunnerName, launcher: Launcher, command: tuple[str, ...], directory: str, *, warm: bool
    ) -> None:
        super().__init__(name, launcher, command, directory)
        self._warm = WarmPython(self._interpreter, name) if warm else None

    async def mutate(self, order: MutationOrder) -> MutationReport:
        """Never raises: a failure is a `note`."""
        if self._warm is None:
            return MutationReport(note="there is no warm runner, and without it mutants take too long")
        asked = asked_for(RunOrder(tests=order.tests), self._name, self._interpreter)
        nonce = make_nonce()
        request = {
            "do": "mutate",
            "order": msgspec.structs.replace(asked, lines=False, until_noticed=True),
            "nonce": nonce,
            "lines": order.lines,
            "wall_ms": order.wall_ms,
            "mutants_max": order.mutants_max,
        }
        try:
            answer = await self._warm.ask(request, order.wall_ms)
        except (NotWarm, TimeoutError) as error:
            return MutationReport(note=str(error) or "the fork server did not answer in time")
        return _mutation_report(answer, nonce, order)

    async def close(self) -> None:
        """End what is kept warm; idempotent. No process is left."""
        if self._warm is not None:
            await self._warm.close()

    async def _carry_out(self, asked: Asked, wall_ms: int) -> tuple[Heard, bool, str]:
        if self._warm is None:
            return await super()._carry_out(asked, wall_ms)
        try:
            return await self._warm.carry_out(asked, wall_ms), True, ""
        except NotWarm as why:
            heard, _, _ = await super()._carry_out(asked, wall_ms)
            return heard, False, f"cold: {why}"


def _mutation_report(answer: Mapping[str, Any], nonce: str, order: MutationOrder) -> MutationReport:
    if not answer["planned"]:
        return MutationReport(note="nothing in these lines can be broken")
    if _is_noticed(answer["sound"], nonce):
        return MutationReport(note="the tests are not green within the budget even when nothing is broken")
    told, due = answer["mutants"], min(answer["planned"], order.mutants_max)
    note = "" if len(told) == due else f"{len(told)} of {due} mutants within {order.wall_ms} ms"
    mutants = (
        Mutant(path=each["path"], line=each["line"], what=each["what"], is_noticed=_is_noticed(each, nonce))
        for each in told
    )
    return MutationReport(mutants=tuple(mutants), note=note)


def _is_noticed(told: Mapping[str, Any], nonce: str) -> bool:
    """It hung, a test was not green, or the process did not live to say that all were."""
    heard = Heard(told["is_killed"], "", b"", 0)
    heard.listen(told["pipe"].encode("ascii", "replace"), nonce)
    is_green = heard.status is not None and all(each.verdict == "green" for each in heard.ended.values())
    return not is_green or not heard.ended
