"""The built-in agent: what it tells the model, when it ends a turn, and how it ends itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from penstock.core.redgreen import events as e
from penstock.core.redgreen.policy import Mode, RedGreenLimits
from penstock.kernel.agent_loop import Escalated, LoopLimits, ModelNames
from penstock.model_script import ScriptedCall, ScriptedReply
from tests.integration.agent_world import DONE, GREEN, RED, WRONG, call, calls, events_in, play, playing, spawns
from tests.integration.gate_world import MONEY, open_gate

LOOK = calls(call("list_files"))
TRIPLE = "\n\ndef triple(amount):\n    return amount * 3 + 1 + "
REFUSED = calls(call("write_file", path="app/other.txt", content="x = 1\n"))


# --- the main way ---------------------------------------------------------------------------------------------------


def test_a_test_first_then_the_edit_and_it_is_proven(tmp_path: Path) -> None:
    end, played = play(tmp_path, RED, GREEN, DONE)
    assert (end.outcome, end.text, end.rounds, end.calls) == ("done", DONE.text, 3, 3)
    assert end.tokens == 330
    assert "def triple" in played.gate.text("app/money.py")
    assert played.session.ledger.counts.edits == 2
    assert "proven: tests/test_triple.py::test_triple" in played.told(2)[-1]["content"]


def test_the_model_reads_the_tools_and_the_prompt_first(tmp_path: Path) -> None:
    _, played = play(tmp_path, DONE)
    asked = played.server.asked[0].told
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert asked["messages"][1]["content"] == "Add triple."
    assert {"edit_file", "run_tests", "end_turn"} <= {tool["function"]["name"] for tool in asked["tools"]}


def test_what_the_model_said_goes_back_unchanged_reasoning_and_all(tmp_path: Path) -> None:
    kept = {"reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0}], "new": [1.0]}
    first = calls(call("list_files"), text="I look.", reasoning="Where is it? é", message=kept)
    _, played = play(tmp_path, first, LOOK, DONE)
    bodies = [asked.body for asked in played.server.asked]
    said = played.told(1)[2]
    assert {name: said[name] for name in kept} == kept
    assert (said["reasoning_content"], said["content"]) == ("Where is it? é", "I look.")
    whole = bodies[1][bodies[1].index(b'"messages":[') : bodies[1].index(b'],"tools"')]
    assert bodies[2].count(whole) == 1, "what was sent once is sent again byte for byte"


@pytest.mark.parametrize("mode", ["warn", "off"])
def test_where_the_gate_only_warns_or_is_off_nothing_is_refused(mode: Mode, tmp_path: Path) -> None:
    end, played = play(tmp_path, GREEN, REFUSED, DONE, mode=mode)
    assert (end.outcome, end.refusals) == ("done", 0)
    assert played.gate.text("app/other.txt") == "x = 1\n"


# --- the end of a turn ----------------------------------------------------------------------------------------------


def test_many_edits_in_one_reply_make_one_spawn_per_runner(tmp_path: Path) -> None:
    edits = [
        call(
            "edit_file",
            path="app/money.py",
            old=ANCHOR_OF[n],
            new=ANCHOR_OF[n + 1],
            test="tests/test_triple.py::test_triple",
        )
        for n in range(4)
    ]
    _, played = play(tmp_path, RED, calls(*edits), DONE)
    assert all(answer.startswith("done: app/money.py") for answer in played.answers[2:6]), played.answers
    assert spawns(played, "flush") == 1
    assert len(played.desk.orders) == 3, "the red, once more to confirm it, and the flush"
    assert [event.turn for event in played.recorded if isinstance(event, e.TurnClosing)] == [1, 2]


ANCHOR_OF = [
    "    return amount * 2\n",
    "    return amount * 2\n\n\ndef triple(amount):\n    return amount * 4\n",
    "    return amount * 2\n\n\ndef triple(amount):\n    return amount * 5\n",
    "    return amount * 2\n\n\ndef triple(amount):\n    return amount * 6\n",
    "    return amount * 2\n\n\ndef triple(amount):\n    return amount * 3\n",
]


def test_looking_and_writing_tests_ends_no_turn(tmp_path: Path) -> None:
    _, played = play(tmp_path, LOOK, RED, DONE)
    assert spawns(played, "flush") == 0
    assert len(played.flushes) == 1, "the one at the end, which has nothing to run"


def test_no_model_call_is_made_over_an_unproven_edit(tmp_path: Path) -> None:
    _, played = play(tmp_path, RED, WRONG, calls(call("edit_file", path="app/money.py", old="* 4", new="* 3")), DONE)
    assert "tests/test_triple.py::test_triple is red_" in played.told(2)[-1]["content"]
    assert "proven: tests/test_triple.py::test_triple" in played.told(3)[-1]["content"]


def test_done_with_a_test_still_red_is_not_done(tmp_path: Path) -> None:
    end, played = play(tmp_path, RED, WRONG, DONE, DONE, DONE, limits=LoopLimits(unclean_ends_max=2))
    assert end.outcome == "unclean"
    assert "wait for the green of tests/test_triple.py::test_triple" in end.message
    assert played.told(4)[-1]["role"] == "user"
    assert len(played.server.asked) == 5


# --- abort ----------------------------------------------------------------------------------------------------------


def verdicts(directory: Path) -> list[object]:
    """What the closed turns of a ledger say, after it was opened again."""

    async def main() -> list[object]:
        gate = await open_gate(directory)
        try:
            told = list(events_in(gate.session))
            assert not gate.session.ledger.turn.is_closing
            flushed = [(r.purpose, r.test.wire, r.verdict) for r in told if isinstance(r, e.TestRun)]
            pairs = [(p.test.wire, p.is_weak) for p in told if isinstance(p, e.PairJudged)]
            closed = [t.turn for t in told if isinstance(t, e.TurnClosed)]
            return [sorted(set(map(str, flushed))), pairs, closed, gate.text("app/money.py")]
        finally:
            await gate.close()

    return asyncio.run(main())


def test_an_abort_in_the_flush_is_made_good_with_the_same_verdicts(tmp_path: Path) -> None:
    async def abort() -> None:
        async with playing(tmp_path / "aborted", RED, GREEN, DONE, holds=lambda number: number == 3) as played:
            work = asyncio.create_task(played.work(LoopLimits()))
            await played.desk.is_held.wait()
            assert played.session.ledger.turn.is_closing
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            assert played.session.ledger.turn.is_closing, "it stays closing"

    async def whole() -> None:
        async with playing(tmp_path / "whole", RED, GREEN, calls(call("list_files"), hold="NEVER")) as played:
            work = asyncio.create_task(played.work(LoopLimits()))
            await played.server.until(asked=3)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work

    asyncio.run(abort())
    asyncio.run(whole())
    assert verdicts(tmp_path / "aborted") == verdicts(tmp_path / "whole")


def test_an_abort_in_a_model_call_hangs_up_and_leaves_nothing_unproven(tmp_path: Path) -> None:
    async def main() -> None:
        async with playing(tmp_path, RED, GREEN, calls(call("list_files"), hold="NEVER")) as played:
            work = asyncio.create_task(played.work(LoopLimits()))
            await played.server.until(asked=3)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            await played.server.until(hung_up=1)
            turn = played.session.ledger.turn
            assert (turn.number, turn.is_closing, dict(turn.file_edits)) == (2, False, {})

    asyncio.run(main())


def test_an_abort_in_a_tool_leaves_the_turn_open(tmp_path: Path) -> None:
    async def main() -> None:
        async with playing(tmp_path, RED, DONE, holds=lambda number: number == 1) as played:
            work = asyncio.create_task(played.work(LoopLimits()))
            await played.desk.is_held.wait()
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            assert (played.session.ledger.turn.number, played.session.ledger.turn.is_closing) == (1, False)
            assert not played.gate.dispatcher.lock.locked()

    asyncio.run(main())


# --- another model --------------------------------------------------------------------------------------------------


def test_after_refusals_a_stronger_model_goes_on_with_the_same_messages(tmp_path: Path) -> None:
    names = ModelNames("small", "large")
    edit_and_refused = calls(*GREEN.calls, *REFUSED.calls, *REFUSED.calls)
    end, played = play(
        tmp_path, RED, edit_and_refused, LOOK, DONE, names=names, limits=LoopLimits(escalate_after_refusals=2)
    )
    assert [asked.told["model"] for asked in played.server.asked] == ["small", "small", "large", "large"]
    assert played.told(2)[: len(played.told(1))] == played.told(1)
    assert [event.model for event in played.events if isinstance(event, Escalated)] == ["large"]
    assert end.outcome == "done"
    assert "def triple" in played.gate.text("app/money.py"), "what the small model did in the turn stands"


def test_without_another_model_there_is_none_to_change_to(tmp_path: Path) -> None:
    _, played = play(tmp_path, REFUSED, REFUSED, DONE, limits=LoopLimits(escalate_after_refusals=1))
    assert {asked.told["model"] for asked in played.server.asked} == {"small"}


# --- limits ---------------------------------------------------------------------------------------------------------


def test_the_storm_breaker_ends_the_loop(tmp_path: Path) -> None:
    wrongs = [calls(call("write_file", path="app/money.py", content=MONEY + f"{TRIPLE}{n}\n")) for n in range(9)]
    end, played = play(
        tmp_path,
        RED,
        *wrongs,
        DONE,
        limits=LoopLimits(storms_max=2),
        gate_limits=RedGreenLimits(mutants_max=0, reds_per_test_max=2),
    )
    assert end.outcome == "storm", (end, played.answers, played.flushes)
    assert "no progress" in end.message
    assert [text for text in played.answers if "refused (reds_exhausted)" in text] != []
    assert len(played.server.asked) == 1 + 2 + 2, "the red, two edits, two refusals"


def test_refusals_in_a_row_end_it_and_an_edit_between_them_starts_anew(tmp_path: Path) -> None:
    free = calls(call("write_file", path="tests/test_b.py", content="def test_b():\n    pass\n"))
    look = calls(call("shell", command="ls"))
    script = (REFUSED, free, REFUSED, look, REFUSED, DONE)
    end, played = play(tmp_path, *script, limits=LoopLimits(refusals_in_a_row_max=2))
    assert (end.outcome, end.refusals, len(played.server.asked)) == ("refusals", 3, 5)


def test_rounds_and_tokens_are_limited(tmp_path: Path) -> None:
    end, _ = play(tmp_path / "a", LOOK, LOOK, LOOK, limits=LoopLimits(rounds_max=2))
    assert (end.outcome, end.rounds) == ("rounds", 2)
    end, _ = play(tmp_path / "b", LOOK, LOOK, LOOK, limits=LoopLimits(tokens_max=200))
    assert (end.outcome, end.tokens) == ("tokens", 220)


def test_tokens_that_nobody_reported_are_unknown(tmp_path: Path) -> None:
    end, _ = play(tmp_path, ScriptedReply(text="x", usage=None))
    assert (end.outcome, end.tokens) == ("done", None)


def test_the_wall_clock_and_a_silent_model_end_it(tmp_path: Path) -> None:
    silent = calls(call("list_files"), hold="NEVER")
    end, _ = play(tmp_path / "a", silent, limits=LoopLimits(wall_ms_max=50))
    assert end.outcome == "wall"
    end, _ = play(tmp_path / "b", silent, limits=LoopLimits(stall_ms_max=50))
    assert end.outcome == "stalled"


def test_long_answers_and_too_many_calls_are_cut(tmp_path: Path) -> None:
    listing = [call("list_files")] * 3
    _, played = play(
        tmp_path, calls(*listing), DONE, limits=LoopLimits(tool_output_chars_max=20, calls_per_reply_max=2)
    )
    told = [message["content"] for message in played.told(1) if message["role"] == "tool"]
    assert "characters left out" in told[0]
    assert told[2] == "not done: one reply may make 2 calls"


# --- what models and providers get wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        (ScriptedCall("edit_file", '{"path": "app/mon'), "its arguments are no JSON"),
        (ScriptedCall("edit_file", '"text"'), "Expected `object`"),
        (ScriptedCall("edit_file", '{"path": 3, "old": "a", "new": "b"}'), "$.path"),
        (ScriptedCall("edit_fiel", "{}"), "no tool 'edit_fiel'"),
    ],
)
def test_a_call_that_is_wrong_is_answered(made: ScriptedCall, complaint: str, tmp_path: Path) -> None:
    end, played = play(tmp_path, calls(made), DONE)
    assert complaint in played.told(1)[-1]["content"]
    assert played.told(1)[-1]["tool_call_id"] == "call_1_0"
    assert end.outcome == "done"


def test_no_arguments_at_all_are_an_empty_table(tmp_path: Path) -> None:
    _, played = play(tmp_path, calls(ScriptedCall("list_files", "")), DONE)
    assert "app/money.py" in played.told(1)[-1]["content"]


def test_a_reply_that_was_cut_at_its_length_is_not_done(tmp_path: Path) -> None:
    end, played = play(tmp_path, ScriptedReply(text="and so", finish="length"), DONE)
    assert "cut off at its length limit" in played.told(1)[-1]["content"]
    assert (end.outcome, end.rounds) == ("done", 2)


def test_a_model_that_will_not_is_not_done(tmp_path: Path) -> None:
    end, _ = play(tmp_path, ScriptedReply(message={"refusal": "I will not."}))
    assert (end.outcome, end.message) == ("declined", "I will not.")


@pytest.mark.parametrize(
    ("status", "code", "kind"), [(401, "", "auth"), (400, "context_length_exceeded", "context_length")]
)
def test_a_provider_that_fails_ends_it(status: int, code: str, kind: str, tmp_path: Path) -> None:
    end, _ = play(tmp_path, LOOK, ScriptedReply(status=status, error={"message": "no", "code": code}))
    assert end.outcome == "failed"
    assert end.failure is not None
    assert (end.failure.kind, end.rounds) == (kind, 1)


def test_429_and_a_cut_stream_are_passed_over(tmp_path: Path) -> None:
    busy = ScriptedReply(status=429, headers={"retry-after": "0"})
    end, played = play(tmp_path, busy, calls(call("list_files"), cut=3), LOOK, DONE)
    assert (end.outcome, end.calls, len(played.server.asked)) == ("done", 1, 4)


def test_lone_surrogates_are_no_reason_to_fall_over(tmp_path: Path) -> None:
    made = ScriptedCall("search", msgspec.json.encode({"pattern": "x"}).decode())
    end, _ = play(tmp_path, calls(made, ScriptedCall("search", '{"pattern": "\\ud800"}')), DONE)
    assert end.outcome == "done"
