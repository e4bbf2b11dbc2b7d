"""What the demo of the fleet promises: tickets worked on by the built-in agent, whose model a real queen, hive and
worker serve, and nothing of them left at its end, however it ends.
"""

from __future__ import annotations

import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from signal import SIGINT, SIGKILL

import pytest

from penstock.core.events import JobOwed, Record, TurnOrder
from penstock.core.redgreen import events as e
from penstock.wire.sessions import chosen_sessions
from tests.e2e.product import events, live, penstock, processes_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

DEMO_S = 200
GONE_S = 120
TICKETS = ("TALLY-41", "TALLY-42")


def is_at_work(records: list[Record]) -> bool:
    return any(isinstance(owed.order, TurnOrder) for owed in events(records, JobOwed))


def soon(holds: Callable[[], bool]) -> bool:
    """Whether it comes to be, in time."""
    deadline, waiting = time.monotonic() + GONE_S, threading.Event()
    while not holds():
        if time.monotonic() > deadline:
            return False
        waiting.wait(0.05)
    return True


def titles(place: Path) -> set[str]:
    """Which programs of the fleet work in `place`."""
    words = [line.partition(": ")[2] for line in processes_in(place)]
    return {name for name in ("queen", "hive", "worker") for line in words if f"penstock {name}" in line}


def test_every_ticket_is_done_by_a_model_of_the_fleet_and_nothing_is_left(tmp_path: Path) -> None:
    place = tmp_path / "demo"
    place.mkdir()
    with live(place, "demo", "--dir", str(place), "--scenario", "fleet") as running:
        assert soon(lambda: titles(place) == {"queen", "hive", "worker"}), running.said
        assert running.end(DEMO_S) == 0, running.said
    assert processes_in(place) == []
    report = penstock(place, "report", "--json").json()
    assert {ticket["id"]: ticket["state"] for ticket in report["tickets"]} == dict.fromkeys(TICKETS, "done")
    assert report["proof"]["holds"]
    for ticket in TICKETS:
        (session,) = chosen_sessions(place, "", "", ticket)
        judged = [r.event for r in session.records() if isinstance(r.event, e.PairJudged)]
        assert judged and not any(pair.is_weak for pair in judged)
    agent = tomllib.loads((place / "penstock.toml").read_text())["agent"]
    assert (agent["model"], "base_url" in agent) == ("fleet:tally", False)
    assert "penstock events red-green --run" in running.said


@pytest.mark.parametrize("sent", [SIGKILL, SIGINT])
def test_the_fleet_ends_with_a_demo_that_is_stopped(sent: int, tmp_path: Path) -> None:
    place = tmp_path / "demo"
    place.mkdir()
    with live(place, "demo", "--dir", str(place), "--scenario", "fleet", "--sandbox", "none") as running:
        running.until(is_at_work)
        assert {"queen", "hive"} <= titles(place)
        running.process.send_signal(sent)
        if sent == SIGINT:
            running.process.send_signal(sent)
            running.end()
        assert soon(lambda: not titles(place)), titles(place)


def test_what_is_only_laid_out_says_how_to_go_on(tmp_path: Path) -> None:
    place = tmp_path / "demo"
    place.mkdir()
    ended = penstock(place, "demo", "--dir", str(place), "--scenario", "fleet", "--build-only")
    assert ended.exit_code == 0
    assert "penstock models add tally" in ended.err and "penstock queen" in ended.err
