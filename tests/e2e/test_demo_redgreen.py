"""What the red-green demo promises, seen in the ledgers of a real run of the real command.

It runs in the sandbox that this machine can give; those that are stopped in the middle run in none.
"""

from __future__ import annotations

import os
import socket
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, SIGKILL
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest

from penstock.core.events import DrainAsked, JobOwed, Record, TurnOrder
from penstock.core.redgreen import events as e
from penstock.core.redgreen.test_id import spell
from penstock.wire.sessions import chosen_sessions
from tests.e2e.product import Live, events, git, live, penstock, processes_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

DEMO_S = 200
ANSWER_S = 20
E = TypeVar("E", bound=e.RedGreenEvent)


@dataclass(frozen=True)
class Demo:
    """A demo that has ended."""

    place: Path
    exit_code: int
    said: str

    def events(self, ticket: str, kind: type[E]) -> list[E]:
        """Those of one kind in the ledger of the ticket's only turn."""
        (session,) = chosen_sessions(self.place, "", "", ticket)
        return [record.event for record in session.records() if isinstance(record.event, kind)]

    def pairs(self, ticket: str) -> dict[str, bool]:
        """Tests that were red and became green, and whether the pair is weak."""
        return {name(judged.test): judged.is_weak for judged in self.events(ticket, e.PairJudged)}

    def report(self) -> Any:
        """As data."""
        return penstock(self.place, "report", "--json").json()


def name(test: Any) -> str:
    return spell(test).rpartition("::")[2]


def address_of(place: Path) -> tuple[str, int]:
    """Where the model of the demo listens, or listened."""
    url = urlsplit(tomllib.loads((place / "penstock.toml").read_text())["agent"]["base_url"])
    assert url.hostname and url.port
    return url.hostname, url.port


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    place = tmp_path_factory.mktemp("demo")
    with live(place, "demo", "--dir", str(place), "--scenario", "redgreen") as running:
        yield Demo(place, running.end(DEMO_S), running.said)


def test_everything_is_done_and_the_proof_holds(demo: Demo) -> None:
    assert demo.exit_code == 0, demo.said
    report = demo.report()
    assert {ticket["id"]: ticket["state"] for ticket in report["tickets"]} == {
        f"TALLY-{n}": "done" for n in (31, 32, 33, 34)
    }
    assert report["proof"]["holds"]


def test_the_honest_one_is_never_refused(demo: Demo) -> None:
    assert demo.pairs("TALLY-31") == {"test_a_negative_amount_has_a_leading_minus": False}
    assert demo.events("TALLY-31", e.EditRefused) == []
    assert demo.events("TALLY-31", e.UnclaimedWrite) == []


def test_the_hasty_one_is_refused_and_its_shell_is_taken_back(demo: Demo) -> None:
    (refused,) = demo.events("TALLY-32", e.EditRefused)
    assert (refused.tool, refused.paths, refused.refusal.code) == (
        "edit_file",
        ("tally/units.py",),
        "no_test_in_scope",
    )
    (write,) = demo.events("TALLY-32", e.UnclaimedWrite)
    assert ([change.path for change in write.changes], write.is_restored) == (["tally/units.py"], True)
    assert demo.pairs("TALLY-32")["test_days_are_read"] is False
    assert "86400" not in git(demo.place, "show", "penstock/main:tally/units.py")


def test_an_edit_that_breaks_another_test_goes_back(demo: Demo) -> None:
    (revert,) = demo.events("TALLY-33", e.EditReverted)
    assert (revert.why, [change.path for change in revert.changes]) == ("regression", ["tally/text.py"])
    assert list(map(name, revert.because)) == ["test_no_text_gets_longer_than_its_width"]
    assert demo.pairs("TALLY-33")["test_a_text_is_cut_between_words"] is False


def test_a_test_that_is_green_at_once_opens_no_door_and_one_that_notices_nothing_is_weak(demo: Demo) -> None:
    first = next(run for run in demo.events("TALLY-34", e.TestRun) if run.verdict != "not_run")
    assert (name(first.test), first.verdict) == ("test_everybody_gets_a_share", "unexpected_green")
    assert [refused.refusal.code for refused in demo.events("TALLY-34", e.EditRefused)] == ["no_red"]
    assert demo.pairs("TALLY-34") == {
        "test_everybody_gets_a_share": True,
        "test_shares_differ_by_a_cent_at_most": False,
    }


def test_what_it_says_to_look_at_is_there(demo: Demo) -> None:
    run = next(words.split()[4] for words in demo.said.splitlines() if "penstock events red-green --run" in words)
    shown = penstock(demo.place, "events", "red-green", "--run", run)
    assert shown.exit_code == 0, shown.err
    assert "test_everybody_gets_a_share" in shown.out and "weak" in shown.out
    assert "taken back" in penstock(demo.place, "logs", "TALLY-32").out
    assert "penstock logs TALLY-32" in demo.said


def test_nothing_is_left_running(demo: Demo) -> None:
    assert processes_in(demo.place) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address_of(demo.place), ANSWER_S)


# --- the model is nobody's orphan -----------------------------------------------------------------------------------


def is_at_work(records: list[Record]) -> bool:
    return any(isinstance(owed.order, TurnOrder) for owed in events(records, JobOwed))


@contextmanager
def under_way(place: Path) -> Iterator[tuple[Live, socket.socket]]:
    """A demo in the middle of its run, and a connection to its model."""
    place.mkdir()
    with live(place, "demo", "--dir", str(place), "--scenario", "redgreen", "--sandbox", "none") as running:
        running.until(is_at_work)
        with served_by(running) as served, socket.create_connection(address_of(place), ANSWER_S) as line:
            assert served
            yield running, line


@contextmanager
def served_by(running: Live) -> Iterator[list[int]]:
    """The processes below it that serve its model, or keep the one that does. None outlives a test that fails."""
    pid = running.process.pid
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    served = [int(child) for child in below if serves_a_model(int(child))]
    try:
        yield served
    finally:
        for left in filter(serves_a_model, served):
            os.kill(left, SIGKILL)


def serves_a_model(pid: int) -> bool:
    try:
        return b"model_scripted" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def is_over(line: socket.socket) -> bool:
    """Waits for the other side to end. False: it says something."""
    try:
        return line.recv(1) == b""
    except ConnectionResetError:
        return True


def test_the_model_ends_with_a_demo_that_is_killed(tmp_path: Path) -> None:
    with under_way(tmp_path / "demo") as (running, line):
        running.tell(SIGKILL)
        assert is_over(line)


def test_the_model_ends_with_a_demo_that_is_interrupted(tmp_path: Path) -> None:
    with under_way(tmp_path / "demo") as (running, line):
        running.tell(SIGINT)
        running.until(lambda records: bool(events(records, DrainAsked)))
        running.tell(SIGINT)
        assert is_over(line)
        assert running.end() == 130
