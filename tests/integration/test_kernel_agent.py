"""The built-in agent as an agent of the harness: a brief in, a report out, a transcript for people."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from penstock.core.events import TurnOrder
from penstock.kernel.agent_loop import LoopLimits, ModelNames
from penstock.kernel.kernel_agent import KernelAgent
from penstock.kernel.model import Model
from penstock.kernel.model_openai import OpenAiLimits, OpenAiModel
from penstock.kernel.model_scripted import ScriptedModel
from penstock.kernel.tools.dispatcher import Dispatcher
from penstock.model_script import Conversation, ScriptedReply
from penstock.ports import AgentReport, Checkout, Confinement, TurnBrief
from tests.integration.agent_world import DONE, GREEN, QUICK_GATE, RED, Desk, call, calls
from tests.integration.gate_world import Gate, open_gate

HELD = calls(call("list_files"), hold="NEVER")


class Turn:
    """One turn of the agent, in a directory."""

    def __init__(self, directory: Path, *replies: ScriptedReply, wall_ms: int = 0, stall_ms: int = 0) -> None:
        self.directory = directory
        self.server = ScriptedModel([Conversation(replies)])
        self.job = directory / "job"
        self.job.mkdir(parents=True)
        order = TurnOrder(
            ticket="T-1", attempt=1, role="build", start="a", trunk="a", wall_ms=wall_ms, stall_ms=stall_ms
        )
        self.brief = TurnBrief(order=order, prompt="Add triple.", job_dir=str(self.job), output_bytes_max=20_000)
        self.models: list[OpenAiModel] = []
        self.gates: list[Gate] = []

    async def take(self) -> AgentReport:
        tree = str(self.directory / "tree")
        checkout = Checkout(path=tree, at=tree, commit="a", tree="a")
        agent = KernelAgent(self.open_gate, self.open_model, ModelNames("small"), LoopLimits())
        return await agent.turn(self.brief, Confinement(checkout=checkout, home=str(self.directory)))

    async def open_gate(self, brief: TurnBrief, confinement: Confinement) -> Dispatcher:
        self.gates.append(await open_gate(self.directory, runner=Desk(self.directory), limits=QUICK_GATE))
        return self.gates[-1].dispatcher

    def open_model(self) -> Model:
        self.models.append(OpenAiModel(self.server.base_url, limits=OpenAiLimits(backoff_base_ms=1)))
        return self.models[-1]

    def taken(self) -> AgentReport:
        async def main() -> AgentReport:
            async with self.server:
                return await self.take()

        return asyncio.run(main())

    @property
    def transcript(self) -> str:
        return (self.job / "stdout").read_text()


def test_a_turn_is_reported_with_its_sealed_ledger_and_told_to_people(tmp_path: Path) -> None:
    turn = Turn(tmp_path, RED, with_words(GREEN, "I add it."), DONE)
    report = turn.taken()
    assert (report.outcome, report.claims) == ("ended", (DONE.text,))
    assert (report.usage.tokens, report.usage.tool_calls, report.usage.edits) == (330, 3, 2)
    assert report.ledger is not None
    assert report.ledger.counts["pairs"] == 1
    assert report.ledger.head == turn.gates[0].session.head
    assert report.duration_ms > 0
    for words in ("> write_file", "| A thought.", "I add it.", "proven: tests/test_triple.py", DONE.text, "--- done"):
        assert words in turn.transcript, words


def with_words(reply: ScriptedReply, text: str) -> ScriptedReply:
    return calls(*reply.calls, text=text, reasoning="A thought.")


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (ScriptedReply(status=401, error={"message": "no"}), "provider_terminal"),
        (ScriptedReply(status=429, headers={"retry-after": "77"}), "provider_transient"),
        (ScriptedReply(status=400, error={"code": "context_length_exceeded"}), "crashed"),
        (ScriptedReply(message={"refusal": "no"}), "refused"),
    ],
)
def test_how_a_turn_ended_is_told_in_the_harnesses_words(reply: ScriptedReply, outcome: str, tmp_path: Path) -> None:
    report = Turn(tmp_path, reply).taken()
    assert report.outcome == outcome
    assert report.ledger is not None
    assert report.retry_after_ms == (77_000 if outcome == "provider_transient" else 0)


def test_the_orders_clocks_hold(tmp_path: Path) -> None:
    assert Turn(tmp_path / "a", HELD, wall_ms=50).taken().outcome == "timeout"
    assert Turn(tmp_path / "b", HELD, stall_ms=50).taken().outcome == "stalled"


def test_the_transcript_has_its_limit(tmp_path: Path) -> None:
    turn = Turn(tmp_path, *[ScriptedReply(text="x" * 1_900, finish="length")] * 15, DONE)
    turn.taken()
    assert len(turn.transcript) == 20_000


def test_cancelling_hangs_up_and_closes_the_session(tmp_path: Path) -> None:
    async def main() -> Turn:
        turn = Turn(tmp_path, RED, HELD)
        async with turn.server:
            work = asyncio.create_task(turn.take())
            await turn.server.until(asked=2)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            await turn.server.until(hung_up=1)
            again = await turn.open_gate(turn.brief, Confinement(checkout=CHECKOUT, home=""))
            assert again.session.ledger.turn.number == 1
            await again.session.close()
        return turn

    turn = asyncio.run(main())
    with pytest.raises(OSError, match="closed"):
        turn.gates[0].session.world.log.head()


CHECKOUT = Checkout(path="", at="", commit="", tree="")


def test_what_the_clock_left_unproven_is_judged_before_the_seal(tmp_path: Path) -> None:
    """A tool that outlasts the turn's time: the edit before it in the same reply was not judged yet."""

    class LateTurn(Turn):
        async def open_gate(self, brief: TurnBrief, confinement: Confinement) -> Dispatcher:
            dispatcher = await super().open_gate(brief, confinement)
            for made in RED.calls:
                await dispatcher.call(made.name, msgspec.json.decode(made.arguments))
            return dispatcher

    slow = calls(*GREEN.calls, call("shell", command="exec tail -f /dev/null"))
    report = LateTurn(tmp_path, slow, wall_ms=2_000).taken()
    assert report.outcome == "timeout"
    assert report.ledger is not None
    assert report.ledger.counts["pairs"] == 1
