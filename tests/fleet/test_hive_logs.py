"""What a worker says is kept, but not for ever."""

from __future__ import annotations

import os
from pathlib import Path

from penstock.core.fleet.policy import HivePolicy
from penstock.fleet.hive.worker_log import LINE_CHARS_MAX, WorkerLog, forget_old


def test_a_log_is_rotated_and_the_oldest_part_goes(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "worker-w.log", HivePolicy(log_bytes_max=10, log_files_max=3))
    for number in range(5):
        log.write(f"line {number}\n".encode())
    log.close()
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"worker-w.log": "line 4\n", "worker-w.log.1": "line 3\n", "worker-w.log.2": "line 2\n"}


def test_one_file_alone_is_begun_anew(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "worker-w.log", HivePolicy(log_bytes_max=10, log_files_max=1))
    for number in range(3):
        log.write(f"line {number}\n".encode())
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"worker-w.log": "line 2\n"}


def test_the_last_lines_are_at_hand_wherever_they_were_cut(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "worker-w.log", HivePolicy(log_lines_told=3))
    for piece in ("on", "e\ntwo\nthr", "ee\nfo", "ur"):
        log.write(piece.encode())
    assert log.lines() == ["two", "three", "four"]
    log.write(b"\n" + b"x" * 10_000 + b"\n\xff\n")
    assert log.lines() == ["four", "x" * LINE_CHARS_MAX, "�"]


def test_a_directory_that_cannot_be_written_costs_the_file_and_not_the_lines(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    log = WorkerLog(tmp_path / "file" / "worker-w.log", HivePolicy())
    log.write(b"one\n")
    assert log.lines() == ["one"]


def test_old_logs_go(tmp_path: Path) -> None:
    for number in range(5):
        path = tmp_path / f"worker-{number}.log"
        path.touch()
        os.utime(path, (number, number))
    forget_old(tmp_path, kept=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["worker-3.log", "worker-4.log"]
