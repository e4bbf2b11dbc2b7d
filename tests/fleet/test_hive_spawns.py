"""What a hive does when it is asked for a worker."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.fleet.hive.hive import LOGS_TOLD_MAX
from penstock.fleet.processes import child_pids
from tests.fleet.hives import ECHO, Fields, at_once, command_of, has_ended, hive, is_free, port_of, scripted
from tests.scenarios.waiting import until

MANY = 12


def test_a_worker_is_spawned_by_a_fork_and_serves(tmp_path: Path) -> None:
    with hive(tmp_path / "home") as here:
        spawned = here.spawn()
        assert spawned["state"] == "idle"
        told = here.worker(spawned["worker_id"])
        assert (told["model"], told["state"], told["restarts"]) == ("echo", "idle", 0)
        assert command_of(told["pid"]).startswith(f"penstock worker {told['worker_id']}".encode())
        assert here.until(event="spawned")["cold"] is False
        assert here.is_heard(spawned["url"])


def test_many_at_once_are_all_forked_and_none_has_what_another_one_was_given(tmp_path: Path) -> None:
    """The template stands still until it has them all, so that it forks several from one process."""
    with hive(tmp_path / "home", [{**ECHO, "workers_max": MANY}]) as here:
        here.until(event="the template is there")
        with ThreadPoolExecutor(MANY) as pool:
            os.kill(here.template(), signal.SIGSTOP)
            asked = [pool.submit(here.spawn) for _ in range(MANY)]
            until(lambda: len(here.workers()) == MANY)
            os.kill(here.template(), signal.SIGCONT)
            assert {each.result()["state"] for each in asked} == {"idle"}
        assert not any(here.until(event="spawned")["cold"] for _ in range(MANY))
        pids = [each["pid"] for each in here.workers()]
        assert set(pids) <= set(child_pids(here.process.pid))
        held = [_sockets_and_pipes(pid) for pid in pids]
        assert sum(map(len, held)) == len(set().union(*held))


def test_a_worker_is_spawned_cold_where_there_is_no_template(tmp_path: Path) -> None:
    with hive(tmp_path / "home", has_template=False) as here:
        spawned = here.spawn()
        assert here.until(event="spawned")["cold"] is True
        pid = here.worker(spawned["worker_id"])["pid"]
        assert command_of(pid).startswith(b"penstock worker")
        assert here.call("GET", "/v1/report").json()["workers"][0]["state"] == "idle"


def test_no_secret_stands_in_a_command_line(tmp_path: Path) -> None:
    with hive(tmp_path / "home", has_template=False, token="sesame-open-up") as here:
        answer = here.call("POST", "/v1/workers/spawn", {"wait": True}, token="sesame-open-up")
        assert answer.status_code == 200, here.log()
        told = here.until(event="spawned")
        assert b"sesame" not in command_of(told["pid"])
        assert "sesame" not in here.log()


def test_a_token_is_needed_for_all_but_health_and_metrics(tmp_path: Path) -> None:
    with hive(tmp_path / "home", token="sesame") as here:
        assert here.call("GET", "/v1/health").status_code == 200
        assert here.call("GET", "/metrics").status_code == 200
        for method, path in (
            ("GET", "/v1/workers/list"),
            ("GET", "/v1/report"),
            ("GET", "/v1/models"),
            ("POST", "/v1/workers/spawn"),
            ("POST", "/v1/workers/ready"),
            ("POST", "/v1/drain"),
            ("DELETE", "/v1/workers/w-1"),
        ):
            assert here.call(method, path, {}).status_code == 401, path


def test_of_two_spawns_at_once_beyond_the_limit_one_is_refused(tmp_path: Path) -> None:
    with hive(tmp_path / "home", [{**ECHO, "workers_max": 1}]) as here:

        def spawn() -> int:
            return here.call("POST", "/v1/workers/spawn", {"wait": True}).status_code

        assert sorted(at_once(spawn, spawn)) == [200, 503]
        assert here.refused()[1]["code"] == "WORKERS_EXHAUSTED"
        assert len(here.workers()) == 1


def test_the_hive_has_a_limit_of_its_own(tmp_path: Path) -> None:
    with hive(tmp_path / "home", policy={"workers_max": 1}) as here:
        here.spawn()
        assert here.refused()[1]["code"] == "WORKERS_EXHAUSTED"


def test_a_taken_port_is_skipped_and_a_full_range_is_an_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        first = taken.getsockname()[1]
        with hive(tmp_path / "home", policy={"port_first": first, "port_last": first + 1}) as here:
            assert here.call("GET", "/v1/report").json()["ports"] == "free"
            is_ours = is_free(first + 1)
            if is_ours:
                assert port_of(here.spawn()["url"]) == first + 1
            status, fault = here.refused()
            assert (status, fault["code"]) == (503, "PORTS_EXHAUSTED")
            assert fault["details"] == {"port_first": first, "port_last": first + 1, "workers": int(is_ours)}
            assert here.call("GET", "/v1/report").json()["ports"] == ("own" if is_ours else "foreign")
            status, fault = here.refused(port=first)
            assert (status, fault["code"]) == (409, "PORT_TAKEN")
            taken.close()
            assert here.call("GET", "/v1/report").json()["ports"] == "free"
            here.spawn()


def test_a_report_has_the_logs_of_the_last_that_could_not_come(tmp_path: Path) -> None:
    failing = scripted(tmp_path, "conversations:\n  - replies: [{text: never}]\nload: {fault: fail}\n", workers_max=9)
    with hive(tmp_path / "home", [failing], policy={"failures_max": 99}) as here:
        for _ in range(LOGS_TOLD_MAX + 1):
            assert here.refused()[1]["code"] == "LOAD_FAILED"
        told = here.call("GET", "/v1/report").json()["workers"]
        assert [worker["state"] for worker in told] == ["failed"] * (LOGS_TOLD_MAX + 1)
        assert sum(bool(worker["log"]) for worker in told) == LOGS_TOLD_MAX


def test_a_port_that_is_asked_for_is_had(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with hive(tmp_path / "home") as here:
        assert port_of(here.spawn(port=port)["url"]) == port


def test_what_cannot_be_had_is_refused_by_name(tmp_path: Path) -> None:
    models: list[Fields] = [
        {**ECHO, "name": "large", "memory_bytes": 2_000},
        {"name": "gguf", "backend": "llama", "argv": ["no-such-program"]},
        {"name": "elsewhere", "backend": "scripted", "device": "cuda0"},
    ]
    with hive(tmp_path / "home", models, memory_bytes=1_500) as here:
        status, fault = here.refused(model="large")
        assert (status, fault["code"]) == (503, "INSUFFICIENT_MEMORY")
        assert fault["details"] == {"device": "cpu", "required_bytes": 2_000, "available_bytes": 1_500}
        assert here.refused(model="gguf")[1]["code"] == "BACKEND_UNAVAILABLE"
        assert here.refused(model="elsewhere")[1]["code"] == "BACKEND_UNAVAILABLE"
        assert here.refused(model="none")[0] == 404
        assert here.refused()[1]["details"]["fields"][0]["field"] == "model"
        assert here.refused(model="large", backend="llama")[1]["code"] == "INVALID_REQUEST"
        assert here.workers() == []


def test_memory_that_a_worker_was_given_is_not_given_again(tmp_path: Path) -> None:
    with hive(tmp_path / "home", [{**ECHO, "memory_bytes": 1_000}], memory_bytes=1_500) as here:
        here.spawn()
        assert here.refused()[1]["details"]["available_bytes"] == 500
        assert here.call("GET", "/v1/report").json()["devices"][0]["memory_free"] == 500


def test_a_model_that_cannot_be_loaded_is_told_with_its_log_and_not_replaced(tmp_path: Path) -> None:
    model = scripted(tmp_path, "load: {fault: fail, message: no weights here}\nreplies: [{text: a}]\n")
    with hive(tmp_path / "home", [model], policy={"backoff_base_ms": 1, "failures_max": 100}) as here:
        for _ in range(3):
            status, fault = here.refused()
            assert (status, fault["code"]) == (502, "LOAD_FAILED")
            assert "no weights here" in fault["message"]
            assert has_ended(here.until(event="spawned")["pid"])
        assert [worker["code"] for worker in here.workers()] == ["LOAD_FAILED"] * 3


def test_a_crash_in_loading_is_told_with_its_signal(tmp_path: Path) -> None:
    model = scripted(tmp_path, "load: {fault: crash}\nreplies: [{text: a}]\n")
    with hive(tmp_path / "home", [model]) as here:
        status, fault = here.refused()
        assert status == 502
        assert fault["code"] in ("LOAD_FAILED", "START_FAILED")
        assert fault["details"]["exit_code"] == -signal.SIGKILL


@pytest.mark.parametrize("number", [1, 3])
def test_a_worker_that_ends_before_it_is_ready_is_told_with_status_and_lines(tmp_path: Path, number: int) -> None:
    cold = program(tmp_path, f"print('one')\nprint('two', flush=True)\nsys.exit({number})")
    with hive(tmp_path / "home", has_template=False, cold=cold) as here:
        status, fault = here.refused()
        assert (status, fault["code"]) == (502, "START_FAILED")
        assert fault["details"]["exit_code"] == number
        assert fault["details"]["log"] == ["one", "two"]


def test_what_a_worker_leaves_behind_is_killed(tmp_path: Path) -> None:
    leaves = "print(subprocess.Popen(['sleep', '1000'], start_new_session=True).pid, flush=True)\nsys.exit(1)"
    cold = program(tmp_path, leaves)
    with hive(tmp_path / "home", has_template=False, cold=cold) as here:
        _, fault = here.refused()
        assert has_ended(int(fault["details"]["log"][0]), 2.0)
        assert here.until(event="signal", reason="left behind")["signal"] == "SIGKILL"


def test_a_worker_that_never_calls_back_is_killed_in_time(tmp_path: Path) -> None:
    cold = program(tmp_path, "print('here', flush=True)\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nsignal.pause()")
    with hive(tmp_path / "home", has_template=False, cold=cold, policy={"start_ms_max": 700}) as here:
        status, fault = here.refused()
        assert (status, fault["code"]) == (502, "START_FAILED")
        assert "700 ms" in fault["message"]
        assert fault["details"]["log"] == ["here"]


def test_a_load_without_progress_ends_at_its_deadline(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "NEVER")
    model = scripted(tmp_path, "load: {hold: NEVER}\nreplies: [{text: a}]\n")
    with hive(tmp_path / "home", [model], policy={"load_ms_max": 300}) as here:
        status, fault = here.refused()
        assert (status, fault["code"]) == (502, "LOADING_TIMEOUT")
        assert has_ended(here.until(event="spawned")["pid"])


def test_progress_gives_a_load_more_time(tmp_path: Path) -> None:
    model = scripted(tmp_path, "load: {steps: 12, ms: 2400}\nreplies: [{text: a}]\n")
    with hive(tmp_path / "home", [model], policy={"load_ms_max": 1_000}) as here:
        assert here.spawn()["state"] == "idle"
        assert here.until(event="worker", state="idle")["took_ms"] >= 2_000


def test_a_model_that_fails_too_often_is_refused_for_a_while(tmp_path: Path) -> None:
    model = scripted(tmp_path, "load: {fault: fail}\nreplies: [{text: a}]\n")
    policy = {"failures_max": 2, "breaker_ms": 30_000}
    with hive(tmp_path / "home", [model], policy=policy) as here:
        assert [here.refused()[1]["code"] for _ in range(3)] == ["LOAD_FAILED", "LOAD_FAILED", "MODEL_FAILING"]
        answer = here.call("POST", "/v1/workers/spawn", {})
        assert 1 <= int(answer.headers["retry-after"]) <= 30
        offer = here.call("GET", "/v1/models").json()["offers"][0]
        assert 0 < offer["retry_ms"] <= 30_000


def test_the_breaker_lets_one_try_through_when_its_time_is_over(tmp_path: Path) -> None:
    model = scripted(tmp_path, "load: {fault: fail, once: BROKEN}\nreplies: [{text: a}]\n")
    (tmp_path / "BROKEN").touch()
    with hive(tmp_path / "home", [model], policy={"failures_max": 1, "breaker_ms": 1}) as here:
        assert here.refused()[1]["code"] == "LOAD_FAILED"
        assert here.spawn()["state"] == "idle"


def test_a_template_that_dies_costs_no_worker_and_is_started_anew(tmp_path: Path) -> None:
    with hive(tmp_path / "home") as here:
        first = here.spawn()
        here.until(event="spawned")
        os.kill(here.template(), signal.SIGKILL)
        here.until(event="the template is started anew")
        here.spawn()
        assert here.until(event="spawned")["cold"] is True
        here.until(event="the template is there")
        here.spawn()
        assert here.until(event="spawned")["cold"] is False
        assert here.worker(first["worker_id"])["state"] == "idle"


def test_a_template_that_stands_still_is_done_without(tmp_path: Path) -> None:
    with hive(tmp_path / "home") as here:
        here.spawn()
        here.until(event="spawned")
        os.kill(here.template(), signal.SIGSTOP)
        here.spawn()
        assert "does not fork" in here.until(event="spawning cold")["why"]
        assert here.until(event="spawned")["cold"] is True
        here.until(event="the template is started anew")


def test_the_log_of_a_worker_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    with hive(tmp_path / "home") as here:
        spawned = here.spawn()
        log = here.home / "logs" / f"worker-{spawned['worker_id']}.log"
        assert b"loaded" in log.read_bytes()
        assert stat.S_IMODE(log.stat().st_mode) == 0o600


def program(tmp_path: Path, text: str) -> list[str]:
    """A worker that is none."""
    path = tmp_path / "worker.py"
    path.write_text(f"import signal, subprocess, sys\n{text}\n")
    return [sys.executable, str(path)]


def test_a_device_that_the_hive_was_told_of_has_its_own_memory(tmp_path: Path) -> None:
    models: list[Fields] = [
        {**ECHO, "name": "first", "memory_bytes": 3_000, "device": "gpu0"},
        {**ECHO, "name": "second", "memory_bytes": 2_000, "device": "gpu0"},
        {**ECHO, "name": "beside", "memory_bytes": 1_000},
    ]
    with hive(tmp_path / "home", models, memory_bytes=1_000, devices={"gpu0": 4_000}) as here:
        here.spawn(model="first")
        status, fault = here.refused(model="second")
        assert (status, fault["code"]) == (503, "INSUFFICIENT_MEMORY")
        assert fault["details"] == {"device": "gpu0", "required_bytes": 2_000, "available_bytes": 1_000}
        here.spawn(model="beside")


def test_any_card_is_the_one_with_most_left_and_the_worker_is_told_which(tmp_path: Path) -> None:
    wanting = {**ECHO, "memory_bytes": 3_000, "device": "gpu", "workers_max": 9}
    devices = {"gpu0": 5_000, "gpu2": 8_000, "gpu10": 4_000, "cuda0": 90_000}
    with hive(tmp_path / "home", [wanting], devices=devices) as here:
        assert [here.spawn()["device"] for _ in range(4)] == ["gpu2", "gpu0", "gpu2", "gpu10"]
        status, fault = here.refused()
        assert (status, fault["code"]) == (503, "INSUFFICIENT_MEMORY")
        assert fault["details"] == {"device": "gpu0", "required_bytes": 3_000, "available_bytes": 2_000}
        assert sorted(worker["device"] for worker in here.workers()) == ["gpu0", "gpu10", "gpu2", "gpu2"]
        told = here.call("GET", "/v1/report").json()
        assert [device["name"] for device in told["devices"]] == ["cpu", "cuda0", "gpu0", "gpu2", "gpu10"]
        assert [offer["device"] for offer in told["offers"]] == ["gpu"]


def _sockets_and_pipes(pid: int) -> set[str]:
    """What it holds of them."""
    found = [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()]
    return {each for each in found if each.startswith(("socket:", "pipe:"))}
