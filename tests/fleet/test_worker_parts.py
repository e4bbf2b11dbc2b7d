"""The parts of a worker that need no process: its flights, its scripts, its echo."""

from __future__ import annotations

import asyncio

import pytest

from penstock.fleet.errors import FleetError
from penstock.fleet.worker.flights import ENDED_MAX, Flights
from penstock.fleet.worker.scripted import echo, until_stop
from penstock.model_script import (
    Conversation,
    Pace,
    ScriptedFault,
    ScriptedLoad,
    ScriptedReply,
    read_model_script,
    read_worker_script,
)
from penstock.ports import BadInput

WHOLE = """
load: {steps: 3, ms: 30, hold: LOAD, fault: crash, once: BROKEN}
conversations:
  - match: fox
    repeat: true
    replies:
      - tokens: [a, "b\\n", a]
        pace: {first_ms: 5, every_ms: 2}
        hold: GO
        hold_after: 1
        fault: {kind: exit, after: 2, code: 3}
        once: CRASH
  - replies: [{text: "a text that is longer than one piece"}]
"""


class Hands:
    """A clock that is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_id_that_ended_is_known_for_a_while() -> None:
    async def story() -> list[bool]:
        hands = Hands()
        flights = Flights(1, 600_000, hands)
        flights.land(flights.enter("r-1"))
        known = []
        for hands.now in (100.0, 699.0, 701.0):
            known.append(await flights.cancel("r-1"))
        return known

    assert asyncio.run(story()) == [True, True, False]


def test_no_more_ids_are_kept_than_there_is_room_for() -> None:
    async def story() -> tuple[bool, bool]:
        flights = Flights(1, 600_000, Hands())
        for number in range(ENDED_MAX + 1):
            flights.land(flights.enter(f"r-{number}"))
        return await flights.cancel("r-0"), await flights.cancel("r-1")

    assert asyncio.run(story()) == (False, True)


def test_a_slot_comes_back_once() -> None:
    flights = Flights(2, 600_000)
    first, _second = flights.enter("a"), flights.enter("b")
    with pytest.raises(FleetError, match="ALL_SLOTS_BUSY"):
        flights.enter("c")
    flights.land(first)
    flights.land(first)
    assert flights.busy == 1
    flights.enter("a")
    with pytest.raises(FleetError, match="ALL_SLOTS_BUSY"):
        flights.enter("c")


def test_only_the_time_that_the_engine_takes_is_a_stall() -> None:
    hands = Hands()
    flights = Flights(2, 600_000, hands)
    flight = flights.enter("a")
    hands.now = 103.0
    assert (flights.stalled_ms(), flights.idle_ms()) == (3_000, 0)
    flight.token()
    assert (flights.stalled_ms(), flights.tokens_total) == (0, 1)
    flight.beat()
    hands.now = 104.5
    assert flights.stalled_ms() == 1_500
    flights.land(flight)
    hands.now = 106.5
    assert (flights.stalled_ms(), flights.idle_ms(), flights.tokens_total) == (0, 2_000, 1)


def test_who_is_ended_before_it_runs_does_not_begin() -> None:
    flights = Flights(1, 600_000)
    flight = flights.enter("a")
    flights.end_all(FleetError("DRAINING", "it ends"))
    with pytest.raises(FleetError, match="DRAINING"):
        flight.run()


@pytest.mark.parametrize(
    ("pieces", "stops", "kept", "is_whole"),
    [
        (("ab", "cd"), (), ("ab", "cd"), True),
        (("ab", "cd"), ("x",), ("ab", "cd"), True),
        (("ab", "cd", "ef"), ("c",), ("ab",), False),
        (("ab", "cd", "ef"), ("de",), ("ab", "c"), False),
        (("ab", "cd"), ("cd", "b"), ("a",), False),
        (("ab",), ("ab",), (), False),
    ],
)
def test_a_text_stops_before_the_first_of_its_ends(
    pieces: tuple[str, ...], stops: tuple[str, ...], kept: tuple[str, ...], is_whole: bool
) -> None:
    assert until_stop(pieces, stops) == (kept, is_whole)


def test_an_echo_depends_on_the_question_alone_and_has_its_limit() -> None:
    assert echo("a", 1, 1_000) == echo("a", 1, 1_000)
    assert echo("a", 1, 1_000) != echo("a", 2, 1_000)
    assert echo("a", 1, 1_000) != echo("b", 1, 1_000)
    assert echo("a", 1, 1_000).finish == "stop"
    assert (len(echo("a", 1, 3).tokens), echo("a", 1, 3).finish) == (3, "length")


def test_a_script_says_all_that_a_worker_does() -> None:
    script = read_worker_script(WHOLE.encode(), "script.yaml")
    assert script.load == ScriptedLoad(steps=3, ms=30, hold="LOAD", fault="crash", once="BROKEN")
    assert script.holds == ("LOAD", "GO")
    first, second = script.conversations
    (reply,) = first.replies
    assert (first.match, first.repeat, second.repeat) == ("fox", True, False)
    assert (reply.text, reply.pieces, reply.pace) == ("ab\na", ("a", "b\n", "a"), Pace(5, 2))
    assert (reply.hold, reply.hold_after, reply.once) == ("GO", 1, "CRASH")
    assert reply.fault == ScriptedFault("exit", 2, 3)
    assert second.replies[0].pieces == ("a text that ", "is longer th", "an one piece")


def test_what_is_wrong_in_a_script_is_told_at_once_with_its_line() -> None:
    replies = ("text: a, tokens: [b]", "tokens: [1]", "fault: {after: 1}", "hold: ../a")
    script = "load: {fault: burn}\nreplies:\n" + "".join(f"- {{{reply}}}\n" for reply in replies)
    with pytest.raises(BadInput) as wrong:
        read_worker_script(script.encode(), "script.yaml")
    assert [(each.line, each.field) for each in wrong.value.problems] == [
        (1, "load.fault"),
        (3, "replies[0].text"),
        (4, "replies[1].tokens[0]"),
        (5, "replies[2].fault.kind"),
        (6, "replies[3].hold"),
    ]


def test_what_only_a_worker_does_is_refused_elsewhere() -> None:
    with pytest.raises(BadInput, match=r"script.yaml:1: .*unknown key \"pace\""):
        read_model_script(b"replies: [{text: a, pace: {first_ms: 1}}]", "script.yaml")


def test_the_last_reply_may_be_told_for_ever() -> None:
    one, two = ScriptedReply(text="1"), ScriptedReply(text="2")
    once, ever = Conversation((one, two)), Conversation((one, two), repeat=True)
    assert [once.reply(n) for n in range(3)] == [one, two, None]
    assert [ever.reply(n) for n in range(4)] == [one, two, two, two]
    assert Conversation((), repeat=True).reply(0) is None
