"""`penstock infer` where no queen runs: it starts a queen and a hive of real processes, and leaves nothing of them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from signal import SIGINT, SIGKILL

import pytest

from tests.fleet.command import add_model, left_in, penstock, program, running, traceless, until

TELLS = "repeat: true\nreplies: [{text: Nothing was left behind.}]\n"
SLOW = "replies: [{tokens: [one, ' two', ' three'], hold: GO, hold_after: 1}]\n"


@pytest.fixture(autouse=True)
def nobody_at_the_usual_place() -> None:
    with socket.socket() as looking:
        if looking.connect_ex(("127.0.0.1", 8080)) == 0:
            pytest.skip("somebody listens at 127.0.0.1:8080")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    traceless(tmp_path)


def test_a_prompt_without_a_fleet_is_answered_and_nothing_is_left(home: Path) -> None:
    add_model(home, "tiny", TELLS)
    ended = penstock(home, "infer", "--prompt", "Tell")
    assert (ended.exit_code, ended.out) == (0, "Nothing was left behind.\n"), ended.err
    assert "a queen" in ended.err or "no queen runs here" in ended.err
    assert left_in(home) == []


def test_with_a_token_the_chain_has_it_too(home: Path) -> None:
    add_model(home, "tiny", TELLS)
    token = home / "token"
    token.write_text("sesame-0123456789\n")
    token.chmod(0o600)
    ended = penstock(home, "infer", "--prompt", "Tell", PENSTOCK_FLEET_TOKEN_FILE=str(token))
    assert (ended.exit_code, ended.out) == (0, "Nothing was left behind.\n"), ended.err


def test_a_model_that_nobody_has_is_refused(home: Path) -> None:
    ended = penstock(home, "infer", "--prompt", "Tell", "--model", "tiny")
    assert (ended.exit_code, ended.out) == (6, "")
    assert "penstock models add" in ended.err
    assert left_in(home) == []


@pytest.mark.parametrize(("sent", "exit_code"), [(SIGINT, 130), (SIGKILL, -9)])
def test_in_the_middle_of_an_answer_it_ends_with_all_of_its_chain(sent: int, exit_code: int, home: Path) -> None:
    os.mkfifo(add_model(home, "slow", SLOW).with_name("GO"))
    with running(home, "infer", "--prompt", "Tell") as process:
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 100) == b"one"
        until(lambda: len(left_in(home)) >= 4)
        process.send_signal(sent)
        assert process.wait(20) == exit_code
        traceless(home)


def test_while_the_chain_comes_up_an_interrupt_ends_it(home: Path) -> None:
    add_model(home, "tiny", TELLS)
    with running(home, "infer", "--prompt", "Tell") as process:
        until(lambda: len(left_in(home)) >= 2)
        process.send_signal(SIGINT)
        assert process.wait(20) == 130


def test_a_queen_that_runs_is_asked_and_left_running(home: Path) -> None:
    add_model(home, "tiny", TELLS)
    with (
        program(home, "queen", "--port", "0") as queen,
        program(home, "hive", "--port", "0", "--ports", "any", "--queen", queen.url),
    ):
        until(lambda: "cold" in penstock(home, "models", "list", "--queen", queen.url, "--json").out)
        ended = penstock(home, "infer", "--prompt", "Tell", PENSTOCK_QUEEN=queen.url)
        assert (ended.exit_code, ended.out) == (0, "Nothing was left behind.\n"), ended.err
        assert penstock(home, "infer", "--prompt", "Tell", PENSTOCK_QUEEN=queen.url).err == ""
        assert queen.process.poll() is None
