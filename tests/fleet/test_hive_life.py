"""What a hive does with workers that live: it watches them, hears them, replaces them and ends them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from penstock.fleet import processes
from penstock.fleet.schema import End, Failure, Token
from penstock.wire.fleet import KEEPER
from tests.fleet.hives import (
    ECHO,
    REPOSITORY,
    Fields,
    HiveProcess,
    Stream,
    assert_gone,
    at_once,
    command_of,
    has_ended,
    hive,
    living_in,
    release,
    scripted,
)

QUICK = {"health_ms": 100, "backoff_base_ms": 20}
HELD = "replies: [{text: one two three, hold: GO, hold_after: 1}]\nrepeat: true\n"
HANGING = "replies: [{text: one two three, fault: {kind: hang, after: 1}}]\nrepeat: true\n"


def held(directory: Path, **fields: Any) -> Fields:
    """A model that says one token, and waits."""
    os.mkfifo(directory / "GO")
    return scripted(directory, f"conversations:\n  - {HELD.replace(chr(10), chr(10) + '    ')}", **fields)


def hanging(directory: Path) -> Fields:
    """A model that says one token, and no more."""
    return scripted(directory, f"conversations:\n  - {HANGING.replace(chr(10), chr(10) + '    ')}")


# --- watching and replacing -----------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_is_seen_at_once_and_replaced(tmp_path: Path) -> None:
    with hive(tmp_path / "home", policy=QUICK) as here:
        first = here.spawn()
        pid = here.worker(first["worker_id"])["pid"]
        begun = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        failed = here.until(event="worker", state="failed")
        assert time.monotonic() - begun < 1.0  # 100 ms on a quiet machine
        assert failed["code"] == "WORKER_FAILED"
        assert "signal 9" in failed["why"]
        second = here.until(event="worker", state="idle")
        assert here.worker(second["worker_id"])["restarts"] == 1
        assert here.worker(first["worker_id"])["exit_code"] == -signal.SIGKILL
        assert here.falls_silent(first["url"])
        here.watch(here.worker(second["worker_id"])["url"])


def test_replacements_wait_longer_each_time_and_stop_when_the_breaker_opens(tmp_path: Path) -> None:
    with hive(tmp_path / "home", policy={**QUICK, "failures_max": 2, "breaker_ms": 60_000}) as here:
        here.spawn()
        for _ in range(2):
            os.kill(here.until(event="spawned")["pid"], signal.SIGKILL)
            here.until(event="worker", state="failed")
        assert here.refused()[1]["code"] == "MODEL_FAILING"
        assert [worker["state"] for worker in here.workers()] == ["failed", "failed"]


def dies(here: HiveProcess) -> int:
    """The idle worker is killed: the wait before there is another, which then is."""
    (worker,) = [worker for worker in here.workers() if worker["state"] == "idle"]
    os.kill(worker["pid"], signal.SIGKILL)
    wait_ms: int = here.until(event="to be replaced", worker_id=worker["worker_id"])["wait_ms"]
    here.until(event="worker", state="idle")
    return wait_ms


def test_what_loads_and_dies_waits_twice_as_long_each_time_until_it_has_served(tmp_path: Path) -> None:
    with hive(tmp_path / "home", policy={**QUICK, "failures_max": 9}) as here:
        here.spawn()
        here.until(event="worker", state="idle")
        assert [dies(here) for _ in range(4)] == [20, 40, 80, 160]
        (worker,) = [worker for worker in here.workers() if worker["state"] == "idle"]
        Stream(worker["url"]).until(End)
        while not (told := here.worker(worker["worker_id"]))["tokens_total"] or told["busy"]:
            os.sched_yield()
        assert [dies(here) for _ in range(2)] == [20, 40]


def test_what_was_there_for_long_was_well(tmp_path: Path) -> None:
    with hive(tmp_path / "home", policy={**QUICK, "failures_max": 9, "proven_ms": 1}) as here:
        here.spawn()
        here.until(event="worker", state="idle")
        assert [dies(here) for _ in range(3)] == [20, 20, 20]


def test_a_spawn_that_is_asked_for_is_the_replacement_that_was_owed(tmp_path: Path) -> None:
    with hive(tmp_path / "home", [{**ECHO, "workers_max": 1}], policy={**QUICK, "backoff_base_ms": 30_000}) as here:
        first = here.spawn()
        os.kill(here.worker(first["worker_id"])["pid"], signal.SIGKILL)
        here.until(event="worker", state="failed")
        assert here.worker(here.spawn()["worker_id"])["restarts"] == 1


def test_a_stopped_worker_is_killed_and_replaced(tmp_path: Path) -> None:
    with hive(tmp_path / "home", policy=QUICK) as here:
        first = here.spawn()
        pid = here.worker(first["worker_id"])["pid"]
        os.kill(pid, signal.SIGSTOP)
        assert here.until(event="worker", state="failed")["code"] == "WORKER_HUNG"
        assert has_ended(pid)
        killed = here.until(event="signal", signal="SIGKILL")
        assert (killed["worker_id"], killed["pid"], killed["reason"]) == (first["worker_id"], pid, "WORKER_HUNG")
        here.until(event="worker", state="idle")


def test_a_worker_that_answers_but_makes_no_token_is_killed_and_replaced(tmp_path: Path) -> None:
    with hive(tmp_path / "home", [hanging(tmp_path)], policy={**QUICK, "stall_ms_max": 400}) as here:
        stream = Stream(here.spawn()["url"])
        stream.until(Token)
        failed = here.until(event="worker", state="failed")
        assert failed["code"] == "WORKER_HUNG"
        assert "no token" in failed["why"]
        here.until(event="worker", state="idle")
        assert not any(isinstance(event, End) for event in stream.rest())


def test_a_worker_at_work_is_busy_and_then_idle(tmp_path: Path) -> None:
    with hive(tmp_path / "home", [held(tmp_path)], policy=QUICK) as here:
        spawned = here.spawn()
        stream = Stream(spawned["url"])
        stream.until(Token)
        here.until(event="worker", state="busy")
        assert here.worker(spawned["worker_id"])["busy"] == 1
        release(tmp_path / "GO")
        stream.until(End)
        here.until(event="worker", was="busy", state="idle")
        assert here.worker(spawned["worker_id"])["tokens_total"] > 0


def test_a_worker_that_nobody_asks_is_ended_however_often_its_health_is_asked_for(tmp_path: Path) -> None:
    with hive(tmp_path / "home", policy={**QUICK, "health_ms": 20, "idle_ms_max": 600}) as here:
        here.spawn()
        idle = here.until(event="worker", state="idle")
        assert here.until(event="worker", state="draining")["reason"] == "idle"
        assert here.until(event="worker", state="stopped")["exit_code"] == 0
        assert idle["took_ms"] >= 0
        assert here.workers() == []
        assert "retry_ms" not in here.call("GET", "/v1/models").json()["offers"][0]


# --- what workers say -----------------------------------------------------------------------------------------------


def callback(here: HiveProcess, worker: Fields, **fields: Any) -> tuple[int, Fields]:
    told = {
        "worker_id": worker["worker_id"],
        "url": worker["url"],
        "model_ref": "echo",
        "backend": "scripted",
        "device": "cpu",
        "slots": 1,
        "pid": 1,
        "nonce": "",
        "state": "idle",
        **fields,
    }
    answer = here.call("POST", "/v1/workers/ready", told)
    return answer.status_code, answer.json()


def test_a_forged_callback_is_refused(tmp_path: Path) -> None:
    with hive(tmp_path / "home") as here:
        spawned = here.spawn()
        status, said = callback(here, spawned, nonce="0" * 32, state="failed")
        assert (status, said["error"]["code"]) == (403, "FORGED")
        assert callback(here, spawned, state="failed")[0] == 403
        assert here.worker(spawned["worker_id"])["state"] == "idle"
        assert callback(here, {**spawned, "worker_id": "w-unknown"}, nonce="0" * 32)[0] == 410


def test_a_callback_that_comes_twice_changes_nothing_and_one_that_is_late_is_told_so(tmp_path: Path) -> None:
    cold = telling_worker(tmp_path)
    with hive(tmp_path / "home", has_template=False, cold=cold) as here:
        spawned = here.spawn(wait=False)
        here.until(event="worker", state="loading")
        told = (tmp_path / "order").read_text().splitlines()
        nonce = told[0]
        assert callback(here, spawned, nonce=nonce, state="loading") == (200, {**told_of(spawned), "repeated": True})
        assert callback(here, spawned, nonce=nonce) == (200, {**told_of(spawned), "repeated": False})
        assert callback(here, spawned, nonce=nonce) == (200, {**told_of(spawned), "repeated": True})
        assert callback(here, spawned, nonce=nonce, state="loading") == (200, {**told_of(spawned), "repeated": True})
        assert here.worker(spawned["worker_id"])["state"] == "idle"
        assert here.call("DELETE", f"/v1/workers/{spawned['worker_id']}").status_code == 204
        status, said = callback(here, spawned, nonce=nonce)
        assert (status, said["error"]["code"]) == (410, "GONE")


def told_of(spawned: Fields) -> Fields:
    return {"worker_id": spawned["worker_id"]}


def telling_worker(directory: Path) -> list[str]:
    """A program that answers no questions; it writes down its nonce, calls back once, and waits for TERM."""
    path = directory / "telling.py"
    path.write_text(
        f"""import json, os, signal, sys, time, urllib.request
order = json.loads(os.read(int(sys.argv[-1]), 100_000))
open({str(directory / "order")!r}, "w").write(order["nonce"])
told = dict(worker_id=order["worker_id"], url=order["url"], model_ref="echo", backend="scripted", device="cpu",
            slots=1, pid=os.getpid(), nonce=order["nonce"], state="loading")
urllib.request.urlopen(urllib.request.Request(order["hive_url"] + "/v1/workers/ready", json.dumps(told).encode()))
signal.pause()
"""
    )
    return [sys.executable, str(path)]


def test_a_worker_that_was_started_by_hand_is_taken_in_and_never_ended(tmp_path: Path) -> None:
    by_hand = (
        "from penstock.fleet.worker.program import main_by_hand\nfrom penstock.fleet.orders import Model\nimport sys\n"
        "main_by_hand(Model(name='mine', backend='scripted'), worker_id='by-hand', hive_url=sys.argv[1])"
    )
    with hive(tmp_path / "home", policy={**QUICK, "idle_ms_max": 100}) as here:
        words = [sys.executable, "-c", by_hand, here.url]
        with subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as worker:
            try:
                here.until(event="taken in", worker_id="by-hand")
                told = here.worker("by-hand")
                assert (told["model"], told["pid"]) == ("mine", worker.pid)
                answer = here.call("DELETE", "/v1/workers/by-hand")
                assert (answer.status_code, answer.json()["error"]["code"]) == (409, "NOT_OURS")
                here.kill(signal.SIGTERM)
                assert here.ended() == 0
                assert worker.poll() is None
            finally:
                worker.kill()


def test_a_worker_that_was_started_by_hand_and_went_away_is_not_listed_as_alive(tmp_path: Path) -> None:
    with hive(tmp_path / "home", policy=QUICK) as here:
        nobody = {"worker_id": "by-hand", "url": "http://127.0.0.1:9"}
        assert callback(here, nobody)[0] == 200
        assert here.until(event="worker", state="failed")["code"] == "WORKER_HUNG"
        assert callback(here, {"worker_id": "by hand", "url": "file:///etc/passwd"})[0] == 400


# --- ending ---------------------------------------------------------------------------------------------------------


def test_a_worker_is_ended_once_however_often_it_is_asked_for(tmp_path: Path) -> None:
    with hive(tmp_path / "home") as here:
        spawned = here.spawn()
        path = f"/v1/workers/{spawned['worker_id']}"
        assert [answer.status_code for answer in at_once(*[lambda: here.call("DELETE", path)] * 3)] == [204] * 3
        assert here.workers() == []
        assert here.falls_silent(spawned["url"])
        assert here.call("DELETE", path).status_code == 204
        assert here.call("DELETE", "/v1/workers/w-none").status_code == 404
        assert [line["signal"] for line in here.said if line.get("event") == "signal"] == []
        here.until(event="worker", state="stopped")
        assert [line["signal"] for line in here.said if line.get("event") == "signal"] == ["SIGTERM"]


def test_what_is_active_may_finish_though_it_takes_longer_than_an_idle_worker_is_given(tmp_path: Path) -> None:
    with hive(tmp_path / "home", [held(tmp_path)], policy={**QUICK, "term_ms_max": 1_500}) as here:
        spawned = here.spawn()
        stream = Stream(spawned["url"])
        stream.until(Token)
        assert here.call("DELETE", f"/v1/workers/{spawned['worker_id']}").status_code == 204  # it takes long
        assert here.worker(spawned["worker_id"])["state"] == "draining"
        release(tmp_path / "GO")
        stream.until(End)
        assert here.until(event="worker", state="stopped")["exit_code"] == 0


def test_what_does_not_end_in_time_is_killed(tmp_path: Path) -> None:
    policy = {**QUICK, "term_ms_max": 300, "drain_ms_max": 1_000}
    with hive(tmp_path / "home", [held(tmp_path)], policy=policy) as here:
        stream = Stream(here.spawn()["url"])
        stream.until(Token)
        here.kill(signal.SIGTERM)
        killed = here.until(event="signal", signal="SIGKILL")
        assert killed["reason"] == "drain: it did not end"
        assert here.ended() == 0


def test_a_hive_that_is_told_to_end_ends_all_its_workers_at_the_same_time(tmp_path: Path) -> None:
    policy = {**QUICK, "term_ms_max": 700}
    with hive(tmp_path / "home", policy=policy) as here:
        pids = [here.worker(here.spawn()["worker_id"])["pid"] for _ in range(3)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)  # none of them hears a TERM
        here.kill(signal.SIGTERM)
        assert here.ended() == 0
        log = here.log()
        asked, killed = signals(here, "SIGTERM"), signals(here, "SIGKILL")
        assert len(asked) == len(killed) == 3
        assert killed[-1] - killed[0] < 0.7 <= killed[0] - asked[0] + 0.001
        assert '"event": "draining", "ended": 3, "workers": 3' in log
        assert all(has_ended(pid) for pid in pids)


def signals(here: HiveProcess, name: str) -> list[float]:
    """When each of them was sent, in seconds."""
    sent = [line["at"] for line in here.said if line.get("event") == "signal" and line["signal"] == name]
    return [datetime.fromisoformat(at).timestamp() for at in sent]


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with hive(tmp_path / "home", [held(tmp_path)]) as here:
        stream = Stream(here.spawn()["url"])
        stream.until(Token)
        here.kill(signal.SIGINT)
        here.until(event="signal", signal="SIGTERM")
        begun = time.monotonic()
        here.kill(signal.SIGINT)
        failure = stream.until(Failure)
        assert isinstance(failure, Failure) and failure.code == "DRAINING"
        assert here.ended() == 0
        assert time.monotonic() - begun < 3.0


def test_a_hive_can_be_drained_over_http(tmp_path: Path) -> None:
    with hive(tmp_path / "home") as here:
        here.spawn()
        assert here.call("POST", "/v1/drain", {}).json() == {"state": "draining", "workers": 1}
        assert here.ended() == 0


def test_to_be_asked_to_drain_again_is_no_signal(tmp_path: Path) -> None:
    with hive(tmp_path / "home", [held(tmp_path)]) as here:
        stream = Stream(here.spawn()["url"])
        stream.until(Token)
        for _ in range(3):
            assert here.call("POST", "/v1/drain", {}).json() == {"state": "draining", "workers": 1}
        release(tmp_path / "GO")
        stream.until(End)
        assert here.ended() == 0


def test_a_hive_that_drains_spawns_no_more(tmp_path: Path) -> None:
    with hive(tmp_path / "home", [held(tmp_path)]) as here:
        spawned = here.spawn()
        stream = Stream(spawned["url"])
        stream.until(Token)
        here.kill(signal.SIGTERM)
        here.until(event="worker", state="draining")
        status, fault = here.refused()
        assert (status, fault["code"]) == (503, "DRAINING")
        assert here.call("GET", "/v1/health").json()["state"] == "draining"
        release(tmp_path / "GO")
        stream.until(End)
        assert here.ended() == 0


def test_nothing_outlives_a_hive_that_is_killed_though_all_of_it_stands_still(tmp_path: Path) -> None:
    with hive(tmp_path / "home") as here:
        pids = [here.worker(here.spawn()["worker_id"])["pid"] for _ in range(2)]
        for pid in (*pids, here.template()):
            os.kill(pid, signal.SIGSTOP)
        here.kill()
        here.ended()
        assert all(has_ended(pid, 1.0) for pid in pids)


def test_no_engine_outlives_a_hive_that_is_killed_though_all_of_it_stands_still(tmp_path: Path) -> None:
    engine = "import subprocess, time\nsubprocess.Popen(['sleep', '999'], start_new_session=True)\ntime.sleep(999)"
    model = {"name": "engine", "backend": "upstream", "argv": [sys.executable, "-c", engine]}
    with hive(tmp_path / "home", [model], keeper=KEEPER) as here:
        here.spawn(wait=False)
        here.until(event="worker", state="loading")
        while not any(command_of(pid).startswith(b"sleep") for pid in living_in(here.home)):
            os.sched_yield()
        below = [process.pid for process in processes.descendants(here.process.pid)]
        for pid in below:
            os.kill(pid, signal.SIGSTOP)
            while not stands_still(pid):
                os.sched_yield()
        here.kill()
        here.ended()
        assert all(has_ended(pid, 1.0) for pid in below)


def stands_still(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_nothing_outlives_a_hive_that_is_killed_while_it_spawns(tmp_path: Path) -> None:
    with ExitStack() as at_last, hive(tmp_path / "home", has_template=False) as here:
        spawned = [here.spawn(wait=False) for _ in range(3)]
        stopped = processes.identify(spawned[-1]["pid"])
        assert stopped is not None
        at_last.callback(processes.signal_process, stopped, signal.SIGKILL)
        processes.signal_process(stopped, signal.SIGSTOP)  # it cannot end itself, nor has it bound itself to the hive
        assert all(here.is_heard(each["url"]) for each in spawned)
        here.kill()
        assert here.ended() == -signal.SIGKILL
        assert_gone(tmp_path / "home")
    assert not any(here.is_heard(each["url"]) for each in spawned)


def test_a_hive_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    with hive(tmp_path / "home", parent_pid=-1, is_child=True) as here:
        pid = here.until(event="serving")["pid"]
        assert pid != here.process.pid
        here.spawn()
        here.kill()
        assert has_ended(pid, 1.0)
