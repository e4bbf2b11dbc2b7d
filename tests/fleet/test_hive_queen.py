"""What a hive tells the queen, and what it does with her answers."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.fleet.hearing_queen import Report, hearing_queen
from tests.fleet.hives import has_ended, hive, port_of


def states(report: Report) -> list[str]:
    return [worker["state"] for worker in report["workers"]]


def test_a_hive_registers_and_keeps_its_epoch(tmp_path: Path) -> None:
    with hearing_queen() as queen, hive(tmp_path / "home", queen=queen.url) as here:
        first = queen.until(lambda report: True)
        assert (first["name"], first["url"], first["epoch"]) == ("here", here.url, 0)
        assert [offer["name"] for offer in first["offers"]] == ["echo"]
        assert first["devices"][0]["memory_free"] > 0
        second = queen.until(lambda report: report["epoch"] == queen.epoch)
        assert second["instance"] == first["instance"]
        assert second["number"] > first["number"]
        assert here.until(event="registered")["epoch"] == queen.epoch


def test_every_change_is_told_at_once_and_together(tmp_path: Path) -> None:
    with hearing_queen() as queen, hive(tmp_path / "home", queen=queen.url) as here:
        here.until(event="registered")
        spawned = here.spawn()
        queen.until(lambda report: states(report) == ["idle"])
        os.kill(here.worker(spawned["worker_id"])["pid"], signal.SIGKILL)
        failed = queen.until(lambda report: states(report) == ["failed"])
        assert failed["workers"][0]["code"] == "WORKER_FAILED"
        here.kill(signal.SIGTERM)
        assert here.ended() == 0
        last = queen.until(lambda report: report["state"] == "draining")
        assert [state for state in states(last) if state != "failed"] == []
        numbers = [report["number"] for report in queen.heard]
        assert numbers == sorted(set(numbers))


def test_a_hive_without_its_queen_goes_on_and_finds_her_when_she_comes(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with hive(tmp_path / "home", queen=f"http://127.0.0.1:{port}") as here:
        here.until(event="the queen does not hear us")
        here.spawn()
        with hearing_queen(port) as queen:
            assert states(queen.until(lambda report: True)) == ["idle"]
            here.until(event="registered")
        here.until(event="the queen does not hear us")
        with hearing_queen(port) as queen:
            assert queen.until(lambda report: True)["epoch"] == queen.epoch


@pytest.mark.parametrize(
    ("status", "code"), [(409, "HIVE_NAME_TAKEN"), (426, "VERSION_MISMATCH"), (401, "INVALID_TOKEN")]
)
def test_a_hive_that_cannot_join_says_why_and_ends(tmp_path: Path, status: int, code: str) -> None:
    with hearing_queen() as queen:
        queen.refusing = (status, code)
        with hive(tmp_path / "home", queen=queen.url) as here:
            assert here.ended() == 6
            assert here.until(event="the queen does not have this hive; it ends")["code"] == code


@pytest.mark.parametrize("told", [{"epoch": 7, "heartbeat_ms": 200, "name": "here"}, {"era": "7"}])
def test_a_queen_of_another_version_is_told_so_whatever_she_answers(tmp_path: Path, told: Report) -> None:
    with hearing_queen() as queen:
        queen.answer = {**told, "api_version": 2, "version": "9.8.7"}
        with hive(tmp_path / "home", queen=queen.url) as here:
            assert here.ended() == 6
            said = here.until(event="the queen does not have this hive; it ends")
            assert said["code"] == "VERSION_MISMATCH"
            assert "9.8.7" in said["why"]


def test_a_hive_that_was_overtaken_ends_with_its_workers(tmp_path: Path) -> None:
    with hearing_queen() as queen, hive(tmp_path / "home", queen=queen.url) as here:
        pid = here.worker(here.spawn()["worker_id"])["pid"]
        queen.until(lambda report: report["epoch"] == queen.epoch)
        queen.refusing = (409, "FENCED")
        assert here.ended() == 6
        assert has_ended(pid, 0)
        assert here.until(level="error")["code"] == "FENCED"


def test_a_queen_that_refuses_later_is_asked_again(tmp_path: Path) -> None:
    with hearing_queen() as queen, hive(tmp_path / "home", queen=queen.url) as here:
        queen.until(lambda report: report["epoch"] == queen.epoch)
        queen.refusing = (426, "VERSION_MISMATCH")
        refused = here.until(event="the queen does not hear us")
        assert "VERSION_MISMATCH" in refused["why"]
        queen.refusing = None
        assert here.until(event="registered")["epoch"] == queen.epoch


def test_what_the_queen_asks_for_has_a_number_of_its_own(tmp_path: Path) -> None:
    with hearing_queen() as queen, hive(tmp_path / "home", queen=queen.url) as here:
        before = queen.until(lambda report: report["epoch"] == queen.epoch)
        asked = [here.call("GET", "/v1/report").json()["number"] for _ in range(2)]
        assert before["number"] < asked[0] < asked[1]
        queen.until(lambda report: report["number"] > asked[1])
        numbers = [report["number"] for report in queen.heard] + asked
        assert len(numbers) == len(set(numbers))


def test_a_report_that_the_queen_has_passed_by_is_no_silence(tmp_path: Path) -> None:
    with hearing_queen() as queen, hive(tmp_path / "home", queen=queen.url) as here:
        queen.until(lambda report: report["epoch"] == queen.epoch)
        queen.refusing = (409, "STALE_REPORT")
        for _ in range(3):
            queen.until(lambda report: True)
        here.kill(signal.SIGTERM)
        assert here.ended() == 0
        assert "the queen does not hear us" not in here.log()


def test_others_reach_a_hive_only_with_a_token(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="a token is needed"), hive(tmp_path / "home", host="0.0.0.0"):
        pass


def test_the_address_that_is_told_is_the_one_that_was_given(tmp_path: Path) -> None:
    with hearing_queen() as queen, hive(tmp_path / "home", queen=queen.url, advertise="localhost") as here:
        told = queen.until(lambda report: True)["url"]
        assert told == here.url == f"http://localhost:{port_of(told)}"
        assert port_of(told) > 0
        assert here.spawn()["url"].startswith("http://localhost:")
