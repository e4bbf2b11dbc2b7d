"""`penstock infer`, the real command, against a queen that answers as the test wants it to."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.fleet.client import QueenClient
from penstock.fleet.inferring import DONE, FAILED, INTERRUPTED, REFUSED, UNAVAILABLE, Heard, infer
from penstock.fleet.schema import End, Failure, InferenceRequest, Metrics, Progress, Started, Token
from tests.fleet.command import COMMAND, END_S, environment, penstock, running
from tests.fleet.played_queen import WAIT_S, Play, Played, PlayedQueen, events, failing, played_queen

STARTED = Started(request_id="r-1")
WORDS = tuple(Token(t=word, i=number) for number, word in enumerate(("Once ", "upon ", "a ", "time\n")))
WELL = End(tokens_out=4, stop_reason="stop", ms=12)
CRASH = Failure(code="WORKER_CRASHED", message="it died")
WHOLE = events(STARTED, *WORDS, Metrics(tokens_out=4, first_token_ms=3, tokens_per_s=99.5), WELL)


@pytest.fixture
def queen() -> Iterator[PlayedQueen]:
    with played_queen() as playing:
        yield playing


def asked(home: Path, queen: PlayedQueen, *words: str, stdin: str = "", **more: str) -> tuple[int, str, str]:
    ended = penstock(home, "infer", "--queen", queen.url, *words, stdin=stdin, **more)
    return ended.exit_code, ended.out, ended.err


# --- what is printed ------------------------------------------------------------------------------------------------


def test_the_answer_is_on_stdout_and_nothing_else_is(queen: PlayedQueen, tmp_path: Path) -> None:
    queen.play("POST /v1/inference", WHOLE)
    assert asked(tmp_path, queen, "--prompt", "Tell", "--model", "tiny") == (0, "Once upon a time\n", "")
    (sent,) = queen.inferences()
    assert (sent.body["prompt"], sent.body["model"], sent.body["max_tokens"]) == ("Tell", "tiny", 256)


def test_the_prompt_may_come_on_stdin(queen: PlayedQueen, tmp_path: Path) -> None:
    queen.play("POST /v1/inference", WHOLE)
    assert asked(tmp_path, queen, stdin="Grüße\n")[0] == 0
    assert queen.inferences()[0].body["prompt"] == "Grüße\n"


@pytest.mark.parametrize(
    ("words", "stdin", "why"),
    [
        ((), "  \n", "the prompt is empty"),
        (("--prompt", ""), "", "the prompt is empty"),
        (("--prompt", "x" * 100_000, "--model", "a b"), "", "make a model's name"),
        (("--prompt", "x", "--max-tokens", "0"), "", "--max-tokens"),
    ],
)
def test_what_cannot_be_asked_is_not_asked(
    words: tuple[str, ...], stdin: str, why: str, queen: PlayedQueen, tmp_path: Path
) -> None:
    exit_code, out, err = asked(tmp_path, queen, *words, stdin=stdin)
    assert (exit_code, out) == (2, "")
    assert why in err
    assert queen.asked == []


def test_progress_is_on_stderr_a_line_each(queen: PlayedQueen, tmp_path: Path) -> None:
    before = (
        Progress(phase="queued", done=3),
        Progress(phase="queued", done=3),
        Progress(phase="loading", done=12, total=24, unit="layers"),
    )
    queen.play("POST /v1/inference", events(STARTED, *before, *WORDS, WELL))
    code, out, err = asked(tmp_path, queen, "--prompt", "Tell")
    assert (code, out) == (0, "Once upon a time\n")
    assert err.splitlines() == ["queued: 3 before it", "loading 12/24 layers [##########..........]"]
    assert asked(tmp_path, queen, "--prompt", "Tell", "--quiet")[2] == ""


def test_tokens_come_as_they_are_made(queen: PlayedQueen, tmp_path: Path) -> None:
    seen = threading.Event()

    def play(to: Played) -> None:
        to.stream()
        to.send(STARTED, WORDS[0])
        assert seen.wait(WAIT_S)
        to.send(*WORDS[1:], WELL)
        to.done()

    queen.play("POST /v1/inference", play)
    with running(tmp_path, "infer", "--queen", queen.url, "--prompt", "Tell") as process:
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 100) == b"Once "
        seen.set()
        assert process.stdout.read() == "upon a time\n"
        assert process.wait(END_S) == 0


def test_as_data_it_is_one_object(queen: PlayedQueen, tmp_path: Path) -> None:
    queen.play("POST /v1/inference", WHOLE)
    told = penstock(tmp_path, "infer", "--queen", queen.url, "--prompt", "Tell", "--json").json()
    assert (told["text"], told["tokens_out"], told["stop_reason"], told["error"]) == (
        "Once upon a time\n",
        4,
        "stop",
        None,
    )
    assert (told["tokens_per_s"], told["first_token_ms"], told["ms"]) == (99.5, 3, 12)


def test_what_nobody_has_measured_is_no_number(queen: PlayedQueen, tmp_path: Path) -> None:
    queen.play("POST /v1/inference", events(STARTED, *WORDS[:2], CRASH))
    ended = penstock(tmp_path, "infer", "--queen", queen.url, "--prompt", "Tell", "--json")
    told = ended.json()
    assert (ended.exit_code, told["tokens_out"], told["error"]["code"]) == (1, 2, "WORKER_CRASHED")
    assert (told["ms"], told["first_token_ms"], told["tokens_per_s"]) == (None, None, None)


def test_a_model_cannot_steer_the_terminal_and_a_pipe_gets_what_it_said(queen: PlayedQueen, tmp_path: Path) -> None:
    queen.play(
        "POST /v1/inference", events(STARTED, Token(t="a\x1b[2Jb", i=0), End(tokens_out=1, stop_reason="stop", ms=1))
    )
    assert asked(tmp_path, queen, "--prompt", "Tell")[1] == "a\x1b[2Jb\n"
    ours, theirs = pty.openpty()
    words = [*COMMAND, "infer", "--queen", queen.url, "--prompt", "Tell"]
    process = subprocess.Popen(words, stdout=theirs, stderr=subprocess.DEVNULL, env=environment(tmp_path), cwd=tmp_path)
    assert process.wait(END_S) == 0
    assert os.read(ours, 1_000).replace(b"\r\n", b"\n") == b"ab\n"
    os.close(ours)
    os.close(theirs)


# --- what goes wrong ------------------------------------------------------------------------------------------------


def cut(to: Played) -> None:
    to.stream()
    to.send(STARTED, *WORDS[:2])


def garbled(to: Played) -> None:
    to.stream()
    to.send(STARTED, *WORDS[:2])
    to.wfile.write(b"event: token\ndata: {]\n\n")


@pytest.mark.parametrize(
    ("play", "why"),
    [
        (events(STARTED, *WORDS[:2], CRASH), "WORKER_CRASHED: it died"),
        (cut, "ended without saying how"),
        (garbled, "cannot be read"),
    ],
)
def test_what_came_before_a_failure_is_kept_and_said_not_to_be_whole(
    play: Play, why: str, queen: PlayedQueen, tmp_path: Path
) -> None:
    queen.play("POST /v1/inference", play)
    code, out, err = asked(tmp_path, queen, "--prompt", "Tell", "--max-tokens", "20")
    assert (code, out) == (1, "Once upon \n")
    assert why in err
    assert "tokens 2/20: what was printed is not whole" in err
    assert len(queen.inferences()) == 1


def test_a_refusal_tells_what_to_do(queen: PlayedQueen, tmp_path: Path) -> None:
    queen.play("POST /v1/inference", failing("MODEL_NOT_FOUND"))
    code, out, err = asked(tmp_path, queen, "--prompt", "Tell", "--model", "nowhere")
    assert (code, out) == (6, "")
    said = "MODEL_NOT_FOUND: it is so\n    fix: See `penstock models`; add it to a hive with `penstock models add`.\n"
    assert err == f"error: {said}"


def test_a_wait_that_is_too_long_is_told_and_not_waited(queen: PlayedQueen, tmp_path: Path) -> None:
    queen.play("POST /v1/inference", failing("QUEUE_FULL", 300))
    code, _, err = asked(tmp_path, queen, "--prompt", "Tell")
    assert code == 6
    assert "try again in 300 s" in err
    assert len(queen.inferences()) == 1


def test_a_token_that_is_wrong_is_refused_and_never_shown(queen: PlayedQueen, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("sesame-0123456789\n")
    token.chmod(0o600)
    queen.play("POST /v1/inference", failing("INVALID_TOKEN"))
    code, _, err = asked(tmp_path, queen, "--prompt", "x", "--token-file", str(token))
    assert code == 6
    assert queen.inferences()[0].token == "Bearer sesame-0123456789"
    assert "sesame" not in err
    token.chmod(0o644)
    code, _, err = asked(tmp_path, queen, "--prompt", "x", PENSTOCK_FLEET_TOKEN_FILE=str(token))
    assert code == 2
    assert "chmod 600" in err and "sesame" not in err


def test_nobody_there_where_a_queen_was_named(tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        for words, more in ((("--queen", address), {}), ((), {"PENSTOCK_QUEEN": address})):
            ended = penstock(tmp_path, "infer", *words, "--prompt", "x", **more)
            assert (ended.exit_code, ended.out) == (7, "")
            assert "penstock queen" in ended.err and "penstock hive" in ended.err


def test_a_queen_of_another_version_is_not_spoken_to(queen: PlayedQueen, tmp_path: Path) -> None:
    queen.play(
        "GET /v1/health", lambda to: to.data({"status": "ok", "state": "x", "version": "9.9", "api_version": 99})
    )
    code, _, err = asked(tmp_path, queen, "--prompt", "x")
    assert code == 6
    assert "VERSION_MISMATCH" in err and "9.9" in err
    assert queen.inferences() == []


# --- Ctrl-C ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cancels_the_request_and_keeps_what_came(
    sent: signal.Signals, queen: PlayedQueen, tmp_path: Path
) -> None:
    def play(to: Played) -> None:
        to.stream()
        to.send(STARTED, WORDS[0])
        assert queen.canceled.wait(WAIT_S)

    queen.play("POST /v1/inference", play)
    with running(tmp_path, "infer", "--queen", queen.url, "--prompt", "Tell") as process:
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 100) == b"Once "
        process.send_signal(sent)
        assert process.wait(END_S) == 130
    (cancel,) = [each for each in queen.asked if each.method == "DELETE"]
    assert cancel.path == f"/v1/inference/{queen.inferences()[0].body['request_id']}"


def test_a_model_that_could_not_be_loaded_is_told_with_the_log_of_its_worker(
    queen: PlayedQueen, tmp_path: Path
) -> None:
    details = {"worker_id": "w-1", "exit_code": 3, "log": ["loads", "no such \x1b[31mweights"]}
    queen.play("POST /v1/inference", events(STARTED, Failure(code="LOAD_FAILED", message="no", details=details)))
    exit_code, out, err = asked(tmp_path, queen, "--prompt", "Tell")
    assert (exit_code, out) == (1, "")
    first, *lines, fix = err.splitlines()
    assert (first, lines[0], len(lines)) == ("error: LOAD_FAILED: no", "    | loads", 2)
    assert "weights" in lines[1] and "\x1b" not in lines[1]
    assert "`penstock workers logs w-1`" in fix


# --- asked again ----------------------------------------------------------------------------------------------------


class Kept:
    """`Shown`, for a test."""

    def __init__(self) -> None:
        self.text = ""
        self.waited: list[int] = []

    def token(self, text: str) -> None:
        self.text += text

    def progress(self, progress: Progress) -> None:
        pass

    def waits(self, why: str, seconds: int) -> None:
        self.waited.append(seconds)


async def ask(queen: PlayedQueen, kept: Kept) -> tuple[Heard, list[float]]:
    import asyncio

    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    async with QueenClient(queen.url) as client:
        request = InferenceRequest(prompt="x", request_id="c-1")
        return await infer(client, request, kept, asyncio.Event(), pause), paused


def tried(queen: PlayedQueen, *plays: Play) -> tuple[Heard, list[float], Kept]:
    import asyncio

    queen.play("POST /v1/inference", *plays)
    kept = Kept()
    heard, paused = asyncio.run(ask(queen, kept))
    assert kept.waited == paused
    return heard, paused, kept


def late(code: str) -> Play:
    return events(STARTED, Failure(code=code, message="it is so"))


@pytest.mark.parametrize("play", [failing("QUEUE_FULL", 1), late("QUEUE_FULL")])
def test_a_full_queue_is_asked_again_three_times_and_then_refuses(play: Play, queen: PlayedQueen) -> None:
    heard, paused, _ = tried(queen, play)
    assert (heard.exit_code, heard.code, paused) == (REFUSED, "QUEUE_FULL", [1, 2, 4])


@pytest.mark.parametrize("code", ["ALL_SLOTS_BUSY", "NO_HIVE", "DRAINING", "MODEL_FAILING"])
def test_what_cannot_be_served_now_is_asked_again_and_then_unavailable(code: str, queen: PlayedQueen) -> None:
    heard, paused, _ = tried(queen, failing(code, 1))
    assert (heard.exit_code, paused) == (UNAVAILABLE, [1, 2, 4])


def test_the_queens_own_wish_counts_where_it_is_longer(queen: PlayedQueen) -> None:
    heard, paused, kept = tried(queen, failing("QUEUE_FULL", 7), failing("QUEUE_FULL", 1), WHOLE)
    assert (heard.exit_code, paused, kept.text) == (DONE, [7, 2], "Once upon a time\n")


@pytest.mark.parametrize("code", ["INSUFFICIENT_MEMORY", "BACKEND_UNAVAILABLE", "PORTS_EXHAUSTED"])
def test_what_no_wait_mends_is_told_at_once(code: str, queen: PlayedQueen) -> None:
    heard, paused, _ = tried(queen, failing(code))
    assert (heard.exit_code, paused) == (UNAVAILABLE, [])


@pytest.mark.parametrize(
    ("play", "exit_code"),
    [
        (failing("INVALID_REQUEST"), 2),
        (failing("BODY_TOO_LARGE"), 2),
        (failing("DEADLINE_EXCEEDED"), FAILED),
        (late("LOAD_FAILED"), FAILED),
        (failing("INTERNAL"), FAILED),
        (late("CANCELED"), FAILED),
        (events(STARTED, WORDS[0], End(tokens_out=1, stop_reason="canceled", ms=1)), FAILED),
        (events(STARTED, WORDS[0], Failure(code="QUEUE_FULL", message="it is so")), FAILED),
    ],
)
def test_what_is_not_for_the_moment_is_not_asked_again(play: Play, exit_code: int, queen: PlayedQueen) -> None:
    heard, paused, _ = tried(queen, play)
    assert (heard.exit_code, paused) == (exit_code, [])


def test_an_interrupt_while_it_waits_ends_the_wait(queen: PlayedQueen, tmp_path: Path) -> None:
    queen.play("POST /v1/inference", failing("QUEUE_FULL", 20))
    told = tmp_path / "told"
    with running(tmp_path, "infer", "--queen", queen.url, "--prompt", "x", stderr=told) as process:
        while "asked again in 20 s" not in told.read_text():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == INTERRUPTED
