"""The commands round a fleet of real processes: one queen and one hive, started and asked as a person would."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.fleet.command import (
    COMMAND,
    Ended,
    Program,
    add_model,
    environment,
    left_in,
    penstock,
    program,
    running,
    traceless,
    until,
)
from tests.fleet.hives import release
from tests.fleet.played_queen import failing, played_queen, telling

TELLS = "repeat: true\nreplies: [{text: Nothing was left behind.}]\n"
ANY = ("--port", "0", "--ports", "any")
LOGS = Path(".local", "share", "penstock", "fleet", "logs")


@dataclass(frozen=True)
class Fleet:
    """A queen, with one hive called `here`."""

    home: Path
    queen: Program
    hive: Program

    def __call__(self, *words: str) -> Ended:
        """A client's command."""
        return penstock(self.home, *words, PENSTOCK_QUEEN=self.queen.url)

    def done(self, *words: str) -> str:
        """One that goes well; what it prints."""
        ended = self(*words)
        assert ended.exit_code == 0, ended.err
        return ended.out

    def spawned(self) -> str:
        """A worker of tiny, loaded; its id."""
        return self.done("workers", "spawn", "tiny", "--wait").strip()

    def end_all(self) -> None:
        """Whoever was left to work by those before."""
        for worker in self("workers", "list", "--json").json():
            if worker["state"] != "failed":
                self.done("workers", "end", worker["worker_id"])


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    home = tmp_path_factory.mktemp("fleet")
    add_model(home, "tiny", TELLS)
    with (
        program(home, "queen", "--port", "0") as queen,
        program(home, "hive", "--name", "here", *ANY, "--queen", queen.url) as hive,
    ):
        started = Fleet(home, queen, hive)
        until(lambda: "ready" in started("hives", "list").out)
        yield started
    traceless(home)


# --- programs -------------------------------------------------------------------------------------------------------


def test_each_says_in_one_line_where_it_is(fleet: Fleet) -> None:
    assert fleet.queen.line == f"queen at {fleet.queen.url}"
    assert fleet.hive.line == f"hive here at {fleet.hive.url}"


@pytest.mark.parametrize("words", [("queen", "--port", "0"), ("hive", *ANY, "--queen", "none")])
def test_as_many_descriptors_are_had_as_the_system_gives(words: tuple[str, ...], tmp_path: Path) -> None:
    few = ("sh", "-c", 'ulimit -Sn 256 && exec "$@"', "sh", *COMMAND, *words, "--with-parent")
    with subprocess.Popen(few, env=environment(tmp_path), cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert " at http://" in process.stdout.readline()
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        [line] = [line for line in limits.splitlines() if line.startswith("Max open files")]
        process.terminate()
        assert process.wait(20) == 0
    soft, hard = line.split()[3:5]
    assert soft == hard


def test_a_worker_by_hand_serves_until_it_is_told_to_end(fleet: Fleet) -> None:
    with program(fleet.home, "worker", "--model", "tiny", "--worker-id", "w-mine") as worker:
        assert worker.line == f"worker w-mine at {worker.url}"


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (("queen", "--port", "0", "--host", "0.0.0.0"), 2, "a token is needed"),
        (("hive", *ANY, "--host", "0.0.0.0", "--queen", "none"), 2, "a token is needed"),
        (("queen", "--port", "70000"), 2, "--port"),
        (("queen", "--token-file", "absent"), 2, "does not exist"),
        (("hive", *ANY, "--name", "No_Name", "--queen", "none"), 2, "is no name of a hive"),
        (("hive", "--ports", "9-8"), 2, "write FIRST-LAST"),
        (("hive", *ANY, "--queen", "ftp://x"), 2, "--queen: is no address"),
        (("hive", *ANY, "--advertise", "no host", "--queen", "none"), 2, "--advertise"),
        (("hive", *ANY, "--device", "none", "--device", "gpu0=1", "--queen", "none"), 2, "or none alone"),
        (("worker", "--model", "nowhere"), 2, "no model is called so"),
        (("worker",), 2, "--model NAME"),
        (("worker", "--model", "tiny", "--worker-id", "a b"), 2, "--worker-id"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_started_says_why(words: tuple[str, ...], exit_code: int, said: str, fleet: Fleet) -> None:
    ended = penstock(fleet.home, *words)
    assert (ended.exit_code, ended.out) == (exit_code, ""), ended.err
    assert said in ended.err


def test_a_port_that_is_taken_is_told(fleet: Fleet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = penstock(fleet.home, "queen", "--port", str(taken.getsockname()[1]))
    assert ended.exit_code == 2
    assert "cannot be bound" in ended.err and "--port" in ended.err


def test_a_second_queen_at_one_home_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with program(tmp_path, "queen", "--port", "0") as first:
        ended = penstock(tmp_path, "queen", "--port", "0")
        assert (ended.exit_code, ended.out) == (6, "")
        assert f"process {first.process.pid}" in ended.err and "--home" in ended.err
    with program(tmp_path, "queen", "--port", "0"):
        assert penstock(tmp_path, "queen", "--port", "0").exit_code == 6, "the file alone is no lock"


def test_a_name_that_another_hive_has_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    ended = penstock(tmp_path, "hive", "--name", "here", *ANY, "--queen", fleet.queen.url)
    assert ended.exit_code == 6, ended.err
    assert "HIVE_NAME_TAKEN" in ended.err and "--name" in ended.err


def test_with_parent_it_ends_as_its_parent_does(tmp_path: Path) -> None:
    started = " ".join((*COMMAND, "queen", "--port", "0", "--with-parent"))
    shell = subprocess.Popen(
        ["sh", "-c", f"{started} & read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(tmp_path),
        cwd=tmp_path,
        text=True,
    )
    with shell:
        assert shell.stdout is not None
        assert shell.stdout.readline().startswith("queen at http://")
        assert len(left_in(tmp_path)) == 2
        shell.kill()
    traceless(tmp_path)


@pytest.mark.parametrize(
    "words",
    [("queen", "--port", "0"), ("hive", *ANY, "--queen", "none"), ("worker", "--model", "tiny")],
    ids=lambda words: words[0],
)
def test_a_parent_that_ends_while_its_program_is_still_being_imported_takes_it_along(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    add_model(tmp_path, "tiny", TELLS)
    started = " ".join((*COMMAND, *words, "--with-parent"))
    shell = subprocess.Popen(
        ["sh", "-c", f"{started} & echo $!; read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(tmp_path),
        cwd=tmp_path,
        text=True,
    )
    with shell:
        assert shell.stdout is not None
        pid = int(shell.stdout.readline())
        until(lambda: "msgspec" in Path(f"/proc/{pid}/maps").read_text())
        os.kill(pid, signal.SIGSTOP)
        shell.kill()
        shell.wait()
        os.kill(pid, signal.SIGCONT)
        traceless(tmp_path)
        assert shell.stdout.read() == ""


def test_a_hive_that_is_detached_goes_on_and_writes_its_log(fleet: Fleet, tmp_path: Path) -> None:
    ended = penstock(tmp_path, "hive", "--name", "apart", *ANY, "--queen", fleet.queen.url, "--detach")
    assert ended.exit_code == 0, ended.err
    line, process = ended.out.splitlines()
    assert line.startswith("hive apart at http://127.0.0.1:")
    pid = int(process.removeprefix("process "))
    try:
        until(lambda: "apart" in fleet.done("hives", "list"))
        assert os.getsid(pid) == pid
        assert '"serving"' in (tmp_path / ".local/share/penstock/fleet/logs/hive-apart.log").read_text()
        refused = fleet("hives", "remove", "apart")
        assert refused.exit_code == 6
        assert "--drain" in refused.err
        fleet.done("hives", "remove", "apart", "--drain")
        assert "apart" not in fleet.done("hives", "list")
    finally:
        traceless(tmp_path)


def test_a_hive_that_cannot_be_detached_says_its_last_words(fleet: Fleet, tmp_path: Path) -> None:
    ended = penstock(
        tmp_path, "hive", "--name", "here", *ANY, "--queen", fleet.queen.url, "--detach", "--host", "0.0.0.0"
    )
    assert (ended.exit_code, ended.out) == (2, "")
    assert "a token is needed" in ended.err


# --- hives ----------------------------------------------------------------------------------------------------------


def test_hives_are_listed(fleet: Fleet) -> None:
    assert "here" in fleet.done("hives")
    (hive,) = [each for each in fleet("hives", "list", "--json").json() if each["name"] == "here"]
    assert (hive["state"], hive["models"], hive["url"]) == ("ready", ["tiny"], fleet.hive.url)
    assert hive["devices"][0]["memory_total"] > 0


@pytest.mark.parametrize("group", ["hives", "workers"])
def test_the_queen_may_be_named_before_a_command_and_without_one(group: str, fleet: Fleet) -> None:
    for words in ((), ("list",)):
        ended = penstock(fleet.home, group, "--queen", fleet.queen.url, *words)
        assert ended.exit_code == 0, ended.err
        assert "here" in ended.out or group == "workers"


def test_a_hive_that_nobody_knows_cannot_be_removed(fleet: Fleet) -> None:
    ended = fleet("hives", "remove", "nowhere")
    assert (ended.exit_code, ended.out) == (6, "")
    assert "penstock hives list" in ended.err


# --- workers --------------------------------------------------------------------------------------------------------


def test_a_worker_is_spawned_shown_and_ended(fleet: Fleet) -> None:
    worker = fleet.spawned()
    assert worker in fleet.done("workers")
    shown = fleet("workers", "show", worker, "--json").json()
    assert (shown["worker_id"], shown["model"], shown["state"], shown["hive"]) == (worker, "tiny", "idle", "here")
    assert f"pid: {shown['pid']}" in fleet.done("workers", "show", worker)
    assert "loaded" in fleet.done("models")
    fleet.done("workers", "end", worker)
    until(lambda: f"{worker} " not in fleet.done("workers", "list") or "stopped" in fleet.done("workers", "list"))


@pytest.mark.parametrize("verb", ["show", "end"])
def test_a_worker_that_nobody_knows_is_refused(verb: str, fleet: Fleet) -> None:
    ended = fleet("workers", verb, "w-nowhere")
    assert (ended.exit_code, ended.out) == (6, "")
    assert "penstock workers" in ended.err


def test_a_model_that_nobody_has_is_not_spawned(fleet: Fleet) -> None:
    ended = fleet("workers", "spawn", "nowhere")
    assert (ended.exit_code, ended.out) == (6, "")
    assert "MODEL_NOT_FOUND" in ended.err


def test_the_log_of_a_worker_is_read_and_followed(fleet: Fleet) -> None:
    worker = fleet.spawned()
    assert worker in fleet.done("workers", "logs", worker)
    assert len(fleet.done("workers", "logs", worker, "-n", "1").splitlines()) <= 1
    with running(fleet.home, "workers", "logs", worker, "--follow", PENSTOCK_QUEEN=fleet.queen.url) as following:
        assert following.stdout is not None
        assert worker in following.stdout.readline()
        fleet.done("workers", "end", worker)
        assert '"ended"' in list(following.stdout)[-1]
        assert following.wait(20) == 0
    assert '"ended"' in fleet.done("workers", "logs", worker)
    gone = fleet("workers", "logs", "w-nowhere")
    assert (gone.exit_code, gone.out) == (6, "")
    assert "UNKNOWN_WORKER" in gone.err


def test_following_ends_with_ctrl_c(fleet: Fleet) -> None:
    worker = fleet.spawned()
    with running(fleet.home, "workers", "logs", worker, "--follow", PENSTOCK_QUEEN=fleet.queen.url) as following:
        assert following.stdout is not None
        assert worker in following.stdout.readline()
        following.send_signal(signal.SIGINT)
        assert following.wait(20) == 130
    fleet.done("workers", "end", worker)


def test_the_log_of_a_worker_is_read_on_another_machine(fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.spawned()
    read = penstock(tmp_path, "workers", "logs", worker, PENSTOCK_QUEEN=fleet.queen.url)
    assert (read.exit_code, read.err) == (0, "")
    assert worker in read.out
    assert list(tmp_path.iterdir()) == []
    assert penstock(tmp_path, "workers", "logs", worker, "--queen", "http://127.0.0.1:1").exit_code == 7
    fleet.done("workers", "end", worker)


@pytest.mark.parametrize("ending", [b"\n", b""])
def test_nothing_that_a_terminal_would_obey_is_printed_of_a_log(ending: bytes, fleet: Fleet) -> None:
    (fleet.home / LOGS).mkdir(parents=True, exist_ok=True)
    (fleet.home / LOGS / "worker-w-rude.log").write_bytes(b"one\x1b[2J\r\n\xff\x07two" + ending)
    assert fleet.done("workers", "logs", "w-rude") == "one\n\ufffdtwo\n"


def test_every_answer_of_every_program_has_the_id_of_its_request(fleet: Fleet) -> None:
    worker = fleet("workers", "show", fleet.spawned(), "--json").json()["url"]
    asked = 0
    for url in (fleet.queen.url, fleet.hive.url, worker):
        paths = {*httpx2.get(f"{url}/openapi.json").json()["paths"], "/openapi.json", "/nowhere"}
        for path in sorted(paths - {"/v1/drain"}):
            for method in ("GET", "POST", "DELETE", "PUT"):
                told = httpx2.request(
                    method, url + path.replace("{", "").replace("}", ""), headers={"x-request-id": "r-1"}
                )
                assert told.headers.get_list("x-request-id") == ["r-1"], (method, path, told.status_code)
                asked += told.status_code >= 400
    assert asked > 50


@pytest.mark.parametrize("body", [{}, {"request_id": "of-the-body"}], ids=["header", "body"])
def test_started_has_the_id_that_the_head_of_its_stream_has(body: dict[str, str], fleet: Fleet) -> None:
    asked = {"model": "tiny", "prompt": "go", **body}
    told = httpx2.post(f"{fleet.queen.url}/v1/inference", json=asked, headers={"x-request-id": "of-the-header"})
    expected = body.get("request_id", "of-the-header")
    assert told.text.startswith(f'event: started\ndata: {{"request_id":"{expected}"}}\n')
    assert told.headers.get_list("x-request-id") == [expected]


def test_watching_without_a_terminal_tells_what_changes(fleet: Fleet) -> None:
    fleet.end_all()
    with running(fleet.home, "workers", "--watch", PENSTOCK_QUEEN=fleet.queen.url) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline() == "hive here: ready\n"
        worker = fleet.spawned()
        assert any(line.startswith(f"worker {worker}: idle, 0/1 slots, model tiny") for line in watching.stdout)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 130


def test_watching_goes_on_over_a_restart_of_the_queen(tmp_path: Path) -> None:
    def said(line: str) -> bool:
        return watching.stdout is not None and any(each == line for each in watching.stdout)

    with running(tmp_path, "queen", "--port", "0") as first:
        assert first.stdout is not None
        queen = first.stdout.readline().split()[-1]
        with running(
            tmp_path, "hive", "--name", "here", *ANY, "--queen", queen, stderr=tmp_path / "hive.stderr"
        ) as hive:
            assert hive.stdout is not None and " at http://" in hive.stdout.readline()
            until(lambda: "ready" in penstock(tmp_path, "hives", "list", "--queen", queen).out)
            with running(tmp_path, "workers", "--watch", PENSTOCK_QUEEN=queen) as watching:
                assert said("hive here: ready\n")
                first.kill()
                assert said("queen: away; what was told so far may be old\n")
                with program(tmp_path, "queen", "--port", queen.rpartition(":")[2]):
                    assert said("queen: back\n")
                    watching.send_signal(signal.SIGINT)
                    assert watching.wait(20) == 130
    traceless(tmp_path)


def test_what_a_queen_refuses_ends_the_watching(tmp_path: Path) -> None:
    with played_queen() as queen:
        for place in ("hives", "workers/list"):
            queen.play(
                f"GET /v1/{place}",
                telling({place.partition("/")[0]: []}),
                failing("DRAINING"),
                failing("INVALID_TOKEN"),
            )
        queen.play("GET /v1/models", telling({"data": []}))
        ended = penstock(tmp_path, "workers", "--watch", PENSTOCK_QUEEN=queen.url)
    assert (ended.exit_code, ended.out) == (6, "queen: away; what was told so far may be old\n")
    assert "INVALID_TOKEN" in ended.err


def test_who_waits_for_a_model_is_told_how_far_it_is(fleet: Fleet) -> None:
    os.mkfifo(fleet.home / "LOADED")
    add_model(fleet.home, "slow", "load: {steps: 7, hold: LOADED}\n" + TELLS)
    until(lambda: "slow" in httpx2.get(f"{fleet.queen.url}/v1/models").text)
    said = fleet.home / "slow.stderr"
    with running(
        fleet.home, "infer", "--model", "slow", "--prompt", "go", stderr=said, PENSTOCK_QUEEN=fleet.queen.url
    ) as asking:
        until(lambda: "loading 7/7 layers" in said.read_text())
        release(fleet.home / "LOADED")
        assert asking.stdout is not None
        assert asking.stdout.read() == "Nothing was left behind.\n"


# --- nobody there ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [("workers",), ("workers", "--watch"), ("hives",), ("workers", "spawn", "tiny"), ("hives", "remove", "x")]
)
def test_where_no_queen_answers_it_is_said_how_to_start_one(words: tuple[str, ...], tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        ended = penstock(tmp_path, *words, PENSTOCK_QUEEN=f"http://127.0.0.1:{bound.getsockname()[1]}")
    assert (ended.exit_code, ended.out) == (7, "")
    assert "penstock queen" in ended.err
    assert "Traceback" not in ended.err
