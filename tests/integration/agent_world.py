"""The built-in agent at work: a scripted model over HTTP, a real gate, real pytest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from penstock.core.redgreen import events as e
from penstock.core.redgreen.policy import Mode, RedGreenLimits
from penstock.kernel.agent_loop import Called, Flushed, LoopEnd, LoopEvent, LoopLimits, ModelNames, run_agent
from penstock.kernel.model_openai import OpenAiLimits, OpenAiModel
from penstock.kernel.model_scripted import ScriptedModel
from penstock.kernel.runner import RunOrder, RunReport
from penstock.kernel.runners.pytest_runner import PytestRunner
from penstock.kernel.session import GateSession
from penstock.model_script import Conversation, ScriptedCall, ScriptedReply
from tests.integration.gate_world import Gate, make_launcher, open_gate

TEST_TRIPLE = "from app import money\n\n\ndef test_triple():\n    assert money.triple(3) == 9\n"
TRIPLE = "\n\ndef triple(amount):\n    return amount * 3\n"
ANCHOR = "    return amount * 2\n"
NAMES = ModelNames("small")


def call(name: str, **arguments: Any) -> ScriptedCall:
    return ScriptedCall(name, msgspec.json.encode(arguments).decode())


def calls(*made: ScriptedCall, text: str = "", **rest: Any) -> ScriptedReply:
    return ScriptedReply(text=text, calls=made, **rest)


RED = calls(
    call("write_file", path="tests/test_triple.py", content=TEST_TRIPLE),
    call("run_tests", tests=["tests/test_triple.py"]),
)
"""Writes a test that fails, and sees it fail."""
WRONG = calls(call("edit_file", path="app/money.py", old=ANCHOR, new=ANCHOR + TRIPLE.replace("* 3", "* 4")))
GREEN = calls(call("edit_file", path="app/money.py", old=ANCHOR, new=ANCHOR + TRIPLE))
"""Makes the test pass that `RED` wrote."""
DONE = ScriptedReply(text="triple is there, and proven.")


class Desk(PytestRunner):
    """The real runner. Keeps the orders; holds the one that `holds` says, until it is cancelled."""

    def __init__(self, directory: Path, holds: Callable[[int], bool] = lambda number: False) -> None:
        super().__init__(make_launcher(directory / "tree", directory / "scratch"), warm=True)
        self.orders: list[RunOrder] = []
        self.holds = holds
        self.is_held = asyncio.Event()

    async def run(self, order: RunOrder) -> RunReport:
        self.orders.append(order)
        if self.holds(len(self.orders)):
            self.is_held.set()
            await asyncio.Event().wait()
        return await super().run(order)


@dataclass
class Played:
    """What there is to see of a loop that was played."""

    server: ScriptedModel
    gate: Gate
    desk: Desk
    events: list[LoopEvent] = field(default_factory=list)
    recorded: list[e.RedGreenEvent] = field(default_factory=list)
    """The ledger, once it is over."""

    @property
    def session(self) -> GateSession:
        return self.gate.session

    @property
    def answers(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Called)]

    @property
    def flushes(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Flushed)]

    def told(self, request: int) -> list[dict[str, Any]]:
        """The messages of a request, from 0."""
        messages: list[dict[str, Any]] = self.server.asked[request].told["messages"]
        return messages

    async def work(self, limits: LoopLimits, names: ModelNames = NAMES) -> LoopEnd:
        model = OpenAiModel(self.server.base_url, limits=OpenAiLimits(backoff_base_ms=1))
        try:
            return await run_agent(self.gate.dispatcher, model, names, "Add triple.", limits, self.events.append)
        finally:
            await model.close()


class playing(AbstractAsyncContextManager["Played"]):
    """A server with the script, and a gate in `directory`, for as long as it is open."""

    def __init__(
        self,
        directory: Path,
        *replies: ScriptedReply,
        holds: Callable[[int], bool] = lambda number: False,
        gate_limits: RedGreenLimits | None = None,
        mode: Mode = "strict",
    ) -> None:
        self.directory, self.holds = directory, holds
        self.gate_limits, self.mode = gate_limits or QUICK_GATE, mode
        self.server = ScriptedModel([Conversation(replies)])

    async def __aenter__(self) -> Played:
        desk = Desk(self.directory, self.holds)
        gate = await open_gate(self.directory, mode=self.mode, runner=desk, limits=self.gate_limits)
        await self.server.__aenter__()
        self.played = Played(self.server, gate, desk)
        return self.played

    async def __aexit__(self, *_: object) -> None:
        self.played.recorded += events_in(self.played.session)
        await self.server.__aexit__()
        await self.played.gate.close()


QUICK_GATE = RedGreenLimits(mutants_max=0)


def play(
    directory: Path, *replies: ScriptedReply, limits: LoopLimits | None = None, **rest: Any
) -> tuple[LoopEnd, Played]:
    """Play a script to its end."""
    names = rest.pop("names", NAMES)

    async def main() -> tuple[LoopEnd, Played]:
        async with playing(directory, *replies, **rest) as played:
            return await played.work(limits or LoopLimits(), names), played

    return asyncio.run(main())


def events_in(session: GateSession) -> Iterator[e.RedGreenEvent]:
    return (record.event for record in session.world.log.read())


def spawns(played: Played, purpose: e.Purpose) -> int:
    return sum(isinstance(event, e.SpawnEnded) and event.purpose == purpose for event in played.recorded)
