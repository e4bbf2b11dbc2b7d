"""The built-in agent: ask the model, call the tools that it wants, tell it what they said, until it wants none.

One round is one reply of the model. All of its tool calls are made, in order, and then, if any of them edited
production code, the turn is ended once: however many edits a reply makes, the tests run in one spawn per runner, and
the model reads what they said before it is asked again. So no model call is ever made over an unproven edit, and what
is lost by an abort is at most the words: edits, claims and a closing that was begun are in the ledger, where the next
opening of the session finds them. For the same reason a stronger model can take over in mid-turn with nothing but the
messages.

The model's word that it is done is a claim. It is believed when the turn ends clean and nothing that it edited for a
test waits for that test's green; otherwise it is told what is missing, a few times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from penstock.core.redgreen.test_id import spell
from penstock.kernel.model import Call, Failed, Message, Model, Reply, Request, answer, system, user
from penstock.kernel.tools.dispatcher import TOOLS, Answer, Dispatcher

STORMS = frozenset({"storm", "reds_exhausted"})
"""Refusals that say: this way leads nowhere."""

SYSTEM = """\
You are a programmer in a git working tree. You see and change it with the tools alone.

A gate stands before production code: it may be edited only for a test that was seen to fail. So work in this order.
1. Look: list_files, read_file, search.
2. Write a test for the behaviour that is asked for. Tests are free to write; those that are there stay as they are.
3. run_tests: see it fail, by an assertion or because what it needs is missing.
4. Edit what that test runs. If several tests are red, name the one that the edit is for in `test`, or claim it.
5. When your calls are answered, the tests run by themselves and you read what they said: what is green is proven; an
   edit that broke another test is taken back.
A refusal says what is missing and which call is next: do that, do not try the same again. Small steps: one behaviour,
one test, the edit. To change code without changing what it does, use enter_refactor and leave_refactor.
When all is done and green, answer without a tool call: say in a few sentences what you did.
"""


@dataclass(frozen=True)
class LoopLimits:
    """What one run of the loop may use. Reaching a limit ends it."""

    rounds_max: int = 200
    """Replies of the model."""
    tokens_max: int = 5_000_000
    """Prompt and completion tokens, as far as they are reported."""
    wall_ms_max: int = 1_800_000
    stall_ms_max: int = 300_000
    """Longest silence of the model."""
    calls_per_reply_max: int = 50
    """Tool calls of one reply that are made; the rest is answered with a complaint."""
    tool_output_chars_max: int = 30_000
    refusals_in_a_row_max: int = 12
    """Refusals by the gate with no edit between them."""
    escalate_after_refusals: int = 6
    """From so many refusals in a row on the stronger model is asked, where there is one."""
    storms_max: int = 3
    """Refusals because a test was tried too often."""
    unclean_ends_max: int = 3
    """How often the model hears that it is not done."""


@dataclass(frozen=True)
class ModelNames:
    """Which model is asked, and which one takes over when the gate keeps refusing."""

    first: str
    escalation: str = ""


# --- what is told ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """The model replied."""

    round: int
    reply: Reply


@dataclass(frozen=True)
class Called:
    """A tool was called, and this is its answer, as the model reads it."""

    call: Call
    text: str
    is_error: bool


@dataclass(frozen=True)
class Flushed:
    """The tests of the turn ran, and this is what came of it."""

    text: str
    is_clean: bool


@dataclass(frozen=True)
class Escalated:
    """Another model is asked from now on."""

    model: str


LoopEvent = Said | Called | Flushed | Escalated
Observe = Callable[[LoopEvent], None]
LoopOutcome = Literal[
    "done", "unclean", "rounds", "tokens", "wall", "stalled", "refusals", "storm", "declined", "failed"
]
"""`unclean`: it says that it is done, and stays with it; `declined`: it will not; `failed`: see `failure`."""


@dataclass(frozen=True)
class LoopEnd:
    """How it ended. `text`: the last words of the model; `message`: why, where it did not end by itself."""

    outcome: LoopOutcome
    text: str = ""
    message: str = ""
    failure: Failed | None = None
    rounds: int = 0
    calls: int = 0
    refusals: int = 0
    tokens: int | None = None


@dataclass
class _Counts:
    rounds: int = 0
    calls: int = 0
    refusals: int = 0
    refusals_in_a_row: int = 0
    storms: int = 0
    unclean_ends: int = 0
    tokens: int | None = None


async def run_agent(
    dispatcher: Dispatcher,
    model: Model,
    names: ModelNames,
    prompt: str,
    limits: LoopLimits,
    observe: Observe = lambda event: None,
) -> LoopEnd:
    """Work on `prompt` until the model is done or a limit is reached. Cancelling leaves the ledger as it is."""
    loop = _Loop(dispatcher, model, names, limits, observe, [system(SYSTEM), user(prompt)])
    wall = asyncio.timeout(limits.wall_ms_max / 1_000)
    try:
        async with wall:
            return await loop.work()
    except TimeoutError:
        assert wall.expired(), "a timeout that nobody set"
        return loop.end("wall", f"stopped after {limits.wall_ms_max // 1_000} s")


@dataclass
class _Loop:
    dispatcher: Dispatcher
    model: Model
    names: ModelNames
    limits: LoopLimits
    observe: Observe
    messages: list[Message]
    counts: _Counts = field(default_factory=_Counts)
    text: str = ""
    is_escalated: bool = False

    async def work(self) -> LoopEnd:
        while True:
            over = self._over()
            if over is not None:
                return over
            reply = await self._ask()
            if isinstance(reply, Failed):
                return self._failed(reply)
            if reply.calls:
                await self._perform(reply.calls)
            elif reply.refusal or reply.finish == "content_filter":
                return self.end("declined", reply.refusal or "its provider filtered what it said")
            elif reply.finish == "length":
                self.messages.append(user("Your reply was cut off at its length limit. Go on, in smaller steps."))
            elif (end := await self._leave()) is not None:
                return end

    def end(self, outcome: LoopOutcome, message: str = "", failure: Failed | None = None) -> LoopEnd:
        counts = self.counts
        return LoopEnd(
            outcome, self.text, message, failure, counts.rounds, counts.calls, counts.refusals, counts.tokens
        )

    # --- limits -----------------------------------------------------------------------------------------------------

    def _over(self) -> LoopEnd | None:
        """The end, where a limit is reached. Asked between rounds: every edit was judged by its tests."""
        counts, limits = self.counts, self.limits
        if counts.storms >= limits.storms_max:
            return self.end("storm", f"no progress: edits for the same tests failed again and again ({counts.storms})")
        if counts.refusals_in_a_row >= limits.refusals_in_a_row_max:
            return self.end("refusals", f"no progress: refused {counts.refusals_in_a_row} times in a row")
        if counts.rounds >= limits.rounds_max:
            return self.end("rounds", f"stopped after {counts.rounds} rounds")
        if (counts.tokens or 0) >= limits.tokens_max:
            return self.end("tokens", f"stopped after {counts.tokens} tokens")
        return None

    # --- the model --------------------------------------------------------------------------------------------------

    async def _ask(self) -> Reply | Failed:
        """The next reply, already part of the conversation."""
        reply = await self._complete()
        if isinstance(reply, Failed):
            return reply
        self.counts.rounds += 1
        if reply.tokens is not None:
            self.counts.tokens = (self.counts.tokens or 0) + reply.tokens
        self.text = reply.text or self.text
        self.messages.append(reply.message)
        self.observe(Said(self.counts.rounds, reply))
        return reply

    async def _complete(self) -> Reply | Failed:
        request = Request(model=self._choose(), messages=tuple(self.messages), tools=TOOL_SCHEMAS)
        stall_s = self.limits.stall_ms_max / 1_000
        silence, now = asyncio.timeout(stall_s), asyncio.get_running_loop().time
        try:
            async with silence:
                return await self.model.complete(
                    request, lambda quiet_ms: silence.reschedule(now() + stall_s + quiet_ms / 1_000)
                )
        except TimeoutError:
            assert silence.expired(), "a timeout that nobody set"
            return STALLED

    def _choose(self) -> str:
        names, counts = self.names, self.counts
        if not self.is_escalated and names.escalation:
            self.is_escalated = counts.refusals_in_a_row >= self.limits.escalate_after_refusals
            if self.is_escalated:
                self.observe(Escalated(names.escalation))
        return names.escalation if self.is_escalated else names.first

    def _failed(self, failed: Failed) -> LoopEnd:
        if failed is STALLED:
            return self.end("stalled", f"the model was silent for {self.limits.stall_ms_max // 1_000} s")
        return self.end("failed", failed.message, failed)

    # --- tools ------------------------------------------------------------------------------------------------------

    async def _perform(self, calls: tuple[Call, ...]) -> None:
        """Make the calls in order, end the turn once if it has edits, and tell the model all of it."""
        most = self.limits.calls_per_reply_max
        told = [await self._call(call) for call in calls[:most]]
        told += [f"not done: one reply may make {most} calls" for _ in calls[most:]]
        if self.dispatcher.session.ledger.turn.file_edits:
            told[-1] = f"{told[-1]}\n\n{(await self._flush()).text}"
        self.messages += [answer(call, text) for call, text in zip(calls, told, strict=True)]

    async def _call(self, call: Call) -> str:
        edits = self.dispatcher.session.ledger.counts.edits
        said = await self._dispatch(call)
        self.counts.calls += 1
        self._count(said, made=self.dispatcher.session.ledger.counts.edits - edits)
        text = clipped(said.text, self.limits.tool_output_chars_max)
        self.observe(Called(call, text, said.is_error))
        return text

    async def _dispatch(self, call: Call) -> Answer:
        try:
            arguments = msgspec.json.decode(call.arguments) if call.arguments.strip() else {}
        except (msgspec.DecodeError, UnicodeError) as wrong:
            return Answer(f"{call.name}: its arguments are no JSON: {wrong}; nothing was done", is_error=True)
        return await self.dispatcher.call(call.name, arguments)

    def _count(self, said: Answer, made: int) -> None:
        refusal = said.data.get("refusal")
        if refusal is not None:
            self.counts.refusals += 1
            self.counts.refusals_in_a_row += 1
            self.counts.storms += refusal["code"] in STORMS
        elif made:
            self.counts.refusals_in_a_row = 0

    async def _flush(self) -> Answer:
        ended = await self.dispatcher.call("end_turn", {})
        self.observe(Flushed(ended.text, not ended.is_error))
        return ended

    # --- the end ----------------------------------------------------------------------------------------------------

    async def _leave(self) -> LoopEnd | None:
        """The model says that it is done: the end, or None after it was told what is missing."""
        missing = await self._missing()
        if not missing:
            return self.end("done")
        if self.counts.unclean_ends >= self.limits.unclean_ends_max:
            return self.end("unclean", missing)
        self.counts.unclean_ends += 1
        self.messages.append(user(f"You are not done yet.\n{clipped(missing, self.limits.tool_output_chars_max)}"))
        return None

    async def _missing(self) -> str:
        """Close the turn; what is not as it must be at the end, in words."""
        ledger = self.dispatcher.session.ledger
        lines = []
        if ledger.refactor is not None:
            left = await self.dispatcher.call("leave_refactor", {})
            lines += [left.text] if left.is_error else []
        ended = await self._flush()
        lines += [ended.text] if ended.is_error else []
        waiting = [spell(test) for test, life in ledger.tests.items() if life.open_edits]
        lines += [f"edits wait for the green of {', '.join(waiting[:10])}"] if waiting else []
        return "\n".join(lines)


STALLED = Failed("network", "silent")
TOOL_SCHEMAS = tuple(
    {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.schema}}
    for t in TOOLS
)


def clipped(text: str, most: int) -> str:
    """`text` with its middle left out where it is too long."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
