"""The built-in agent as `ports.Agent`: a gate round the clone, the loop in it, and a transcript for `penstock logs`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Literal, assert_never

import msgspec

from penstock.core.events import Usage
from penstock.kernel.agent_loop import (
    Called,
    Escalated,
    Flushed,
    LoopEnd,
    LoopEvent,
    LoopLimits,
    LoopOutcome,
    ModelNames,
    Said,
    clipped,
    run_agent,
)
from penstock.kernel.gated_agent import OpenGate
from penstock.kernel.model import Model
from penstock.kernel.tools.dispatcher import Dispatcher
from penstock.ports import AgentReport, Confinement, ProcessIdentity, TurnBrief

CLAIM_CHARS_MAX = 2_000
SHOWN_CHARS_MAX = 2_000
"""Of each thing that the transcript shows."""
REPORTED: dict[LoopOutcome, Literal["ended", "crashed", "timeout", "stalled", "refused"]] = {
    "done": "ended",
    "unclean": "ended",
    "rounds": "ended",
    "tokens": "ended",
    "wall": "timeout",
    "stalled": "stalled",
    "refusals": "refused",
    "storm": "refused",
    "declined": "refused",
    "failed": "crashed",
}
"""The outcome of the turn. What an agent leaves that only ran out of rounds is judged like any work."""


class KernelAgent:
    """`ports.Agent`: runs the loop once per turn. `open_model` gives the model of one turn, which is closed with it."""

    def __init__(
        self, open_gate: OpenGate, open_model: Callable[[], Model], names: ModelNames, limits: LoopLimits
    ) -> None:
        self._open_gate, self._open_model, self._names, self._limits = open_gate, open_model, names, limits

    async def turn(
        self,
        brief: TurnBrief,
        confinement: Confinement,
        started: Callable[[ProcessIdentity], None] | None = None,
    ) -> AgentReport:
        """One turn in the confinement's clone. Cancelling ends what runs for it, the gate and the connections."""
        began, model = monotonic(), self._open_model()
        dispatcher = await self._open_gate(brief, confinement)
        try:
            report = await self._work(brief, dispatcher, model)
            duration_ms = round((monotonic() - began) * 1_000)
            return msgspec.structs.replace(report, duration_ms=duration_ms, ledger=dispatcher.session.seal())
        finally:
            await asyncio.shield(_close(dispatcher, model))

    async def _work(self, brief: TurnBrief, dispatcher: Dispatcher, model: Model) -> AgentReport:
        with Transcript(Path(brief.job_dir, "stdout"), brief.output_bytes_max) as transcript:
            limits = within(self._limits, brief)
            end = await run_agent(dispatcher, model, self._names, brief.prompt, limits, transcript.observe)
            await self._settle(dispatcher, transcript)
            transcript.write(f"\n--- {end.outcome}{': ' if end.message else ''}{end.message}\n")
        return report_of(end, dispatcher)

    async def _settle(self, dispatcher: Dispatcher, transcript: Transcript) -> None:
        """Judge what the loop left unjudged: its time was over in mid-turn."""
        if dispatcher.session.ledger.is_open:
            ended = await dispatcher.call("end_turn", {})
            transcript.observe(Flushed(ended.text, not ended.is_error))


async def _close(dispatcher: Dispatcher, model: Model) -> None:
    try:
        await model.close()
    finally:
        await dispatcher.session.close()


def within(limits: LoopLimits, brief: TurnBrief) -> LoopLimits:
    """The limits, no wider than those of the turn; 0 there: none."""
    order = brief.order
    return replace(
        limits,
        wall_ms_max=min(limits.wall_ms_max, order.wall_ms or limits.wall_ms_max),
        stall_ms_max=min(limits.stall_ms_max, order.stall_ms or limits.stall_ms_max),
    )


def report_of(end: LoopEnd, dispatcher: Dispatcher) -> AgentReport:
    """The turn, without its duration and its ledger."""
    report = AgentReport(outcome=REPORTED[end.outcome], message=end.message)
    if end.failure is not None:
        report = end.failure.report()
    edits = dispatcher.session.ledger.counts.edits
    return msgspec.structs.replace(
        report,
        usage=Usage(tokens=end.tokens, edits=edits, tool_calls=end.calls),
        claims=(end.text[:CLAIM_CHARS_MAX],) if end.text else (),
    )


class Transcript:
    """What was said and done, for people; at most so many bytes. Use as `with`."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        self._path, self._left = path, bytes_max

    def __enter__(self) -> Transcript:
        self._file = self._path.open("ab", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def observe(self, event: LoopEvent) -> None:
        """Write down what happened in the loop."""
        match event:
            case Said():
                words = [_quoted(event.reply.reasoning), event.reply.text]
                self.write(f"\n--- round {event.round}\n" + "".join(f"{word}\n" for word in words if word))
            case Called():
                mark = "!" if event.is_error else "="
                self.write(f"> {event.call.name} {_line(event.call.arguments)}\n{_shown(event.text, mark)}")
            case Flushed():
                self.write(_shown(event.text, "=" if event.is_clean else "!"))
            case Escalated():
                self.write(f"\n--- {event.model} takes over\n")
            case _:
                assert_never(event)

    def write(self, text: str) -> None:
        """Add `text`, as far as there is room."""
        data = text.encode(errors="replace")[: self._left]
        self._left -= len(data)
        self._file.write(data)


def _quoted(reasoning: str) -> str:
    return "\n".join(f"  | {line}" for line in clipped(reasoning, SHOWN_CHARS_MAX).splitlines())


def _line(text: str) -> str:
    return clipped(" ".join(text.split()), SHOWN_CHARS_MAX).replace("\n", " ")


def _shown(text: str, mark: str) -> str:
    return "".join(f"  {mark} {line}\n" for line in clipped(text, SHOWN_CHARS_MAX).splitlines())
