"""A hive becomes its successor in place, and nobody whom it serves is disturbed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from penstock.fleet.schema import End, Token
from tests.fleet.hearing_queen import hearing_queen
from tests.fleet.hives import ECHO, HiveProcess, Stream, has_ended, hive, release
from tests.fleet.test_hive_life import QUICK, held


def upgrade(here: HiveProcess) -> None:
    here.kill(signal.SIGHUP)
    here.until(event="handing over")
    assert here.until(event="serving")["resumed"] is True


def test_a_generation_goes_on_through_an_upgrade(tmp_path: Path) -> None:
    with hive(tmp_path / "home", [held(tmp_path)], policy=QUICK) as here:
        spawned = here.spawn()
        before = here.worker(spawned["worker_id"])
        stream = Stream(spawned["url"])
        stream.until(Token)
        here.until(event="worker", state="busy")
        upgrade(here)
        assert here.worker(spawned["worker_id"])["pid"] == before["pid"]
        assert here.worker(spawned["worker_id"])["state"] == "busy"
        release(tmp_path / "GO")
        stream.until(End)
        here.until(event="worker", state="idle")


def test_after_two_upgrades_the_end_of_a_worker_is_seen_with_its_status_and_its_log(tmp_path: Path) -> None:
    with hive(tmp_path / "home", policy=QUICK, has_template=False) as here:
        spawned = here.spawn()
        pid = here.worker(spawned["worker_id"])["pid"]
        upgrade(here)
        upgrade(here)
        os.kill(pid, signal.SIGKILL)
        failed = here.until(event="worker", state="failed")
        assert "signal 9" in failed["why"]
        assert "loaded" in failed["log"][-1]
        here.until(event="worker", state="idle")
        assert here.falls_silent(spawned["url"])


def test_after_an_upgrade_workers_are_ended_spawned_and_known(tmp_path: Path) -> None:
    with hive(tmp_path / "home", [{**ECHO, "workers_max": 2}]) as here:
        first, second = here.spawn(), here.spawn()
        upgrade(here)
        assert here.refused()[1]["code"] == "WORKERS_EXHAUSTED"
        path = f"/v1/workers/{first['worker_id']}"
        assert here.call("DELETE", path).status_code == 204
        assert here.spawn()["state"] == "idle"
        upgrade(here)
        assert here.call("DELETE", path).status_code == 204
        assert second["worker_id"] in [worker["worker_id"] for worker in here.workers()]


def test_failures_and_what_is_owed_are_not_forgotten(tmp_path: Path) -> None:
    policy = {**QUICK, "backoff_base_ms": 4_000, "backoff_ms_max": 4_000}
    with hive(tmp_path / "home", policy=policy) as here:
        spawned = here.spawn()
        os.kill(here.worker(spawned["worker_id"])["pid"], signal.SIGKILL)
        here.until(event="worker", state="failed")
        upgrade(here)
        assert here.worker(spawned["worker_id"])["code"] == "WORKER_FAILED"
        replaced = here.until(event="worker", state="idle")
        assert here.worker(replaced["worker_id"])["restarts"] == 1


def test_a_hive_that_was_upgraded_is_the_same_to_its_queen(tmp_path: Path) -> None:
    with hearing_queen() as queen, hive(tmp_path / "home", queen=queen.url) as here:
        before = queen.until(lambda report: report["epoch"] == queen.epoch)
        upgrade(here)
        after = queen.until(lambda report: report["number"] > before["number"] + 1)
        here.until(event="registered")
        assert (after["instance"], after["epoch"]) == (before["instance"], queen.epoch)
        numbers = [report["number"] for report in queen.heard]
        assert numbers == sorted(set(numbers))


def test_what_belongs_to_an_upgraded_hive_dies_with_it(tmp_path: Path) -> None:
    with hive(tmp_path / "home") as here:
        pid = here.worker(here.spawn()["worker_id"])["pid"]
        upgrade(here)
        os.kill(pid, signal.SIGSTOP)
        here.kill()
        here.ended()
        assert has_ended(pid, 1.0)


def test_a_program_that_does_not_start_is_not_gone_over_to(tmp_path: Path) -> None:
    broken = tmp_path / "broken" / "penstock"
    broken.mkdir(parents=True)
    with hive(tmp_path / "home", path_first=str(broken.parent)) as here:
        here.spawn()
        (broken / "__init__.py").write_text("raise RuntimeError('half an upgrade')\n")
        here.kill(signal.SIGHUP)
        refused = here.until(event="no upgrade: the new program does not go on")
        assert "half an upgrade" in refused["why"]
        assert here.spawn()["state"] == "idle"


def test_a_signal_that_comes_in_between_is_not_lost(tmp_path: Path) -> None:
    with hive(tmp_path / "home") as here:
        here.spawn()
        here.kill(signal.SIGHUP)
        here.until(event="handing over")
        here.kill(signal.SIGTERM)
        assert here.ended() == 0
        assert '"ended": 1, "workers": 1' in here.log()


def test_a_worker_that_was_draining_is_ended_by_the_successor(tmp_path: Path) -> None:
    with hive(tmp_path / "home", [held(tmp_path)], policy={**QUICK, "term_ms_max": 1_000}) as here:
        spawned = here.spawn()
        stream = Stream(spawned["url"])
        stream.until(Token)
        assert here.call("DELETE", f"/v1/workers/{spawned['worker_id']}").status_code == 204
        upgrade(here)
        assert here.worker(spawned["worker_id"])["state"] == "draining"
        release(tmp_path / "GO")
        stream.until(End)
        assert here.until(event="worker", state="stopped")["exit_code"] == 0
