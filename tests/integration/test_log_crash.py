"""A log whose writer is killed, or whose disk fails: what was acknowledged is there, and nothing was invented."""

import errno
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.adapters.log_sqlite import SqliteLog
from penstock.ports import BadInput
from tests.integration.log_writer import batch_after, batch_ends, record

ENDLESS = 1_000_000
STRACE = shutil.which("strace")
needs_strace = pytest.mark.skipif(STRACE is None, reason="strace is missing: faults cannot be injected")


def writer(path: Path, appends: int, *more: int) -> list[str]:
    return [sys.executable, "-m", "tests.integration.log_writer", str(path), str(appends), *map(str, more)]


def injecting(fault: str, command: list[str], path: Path) -> list[str]:
    """`command` with a fault at a system call, in strace's own words."""
    assert STRACE is not None
    syscall = fault.partition(":")[0]
    quietly = ["-f", "-qq", "-o", str(path.with_suffix(".strace")), "-e", f"trace={syscall}"]
    return [STRACE, *quietly, "-e", f"inject={fault}", *command]


def run(command: list[str]) -> tuple[int, list[str]]:
    """How the process ended, and the whole lines that it printed."""
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60)
    return process.returncode, process.stdout.splitlines()


def acknowledged(lines: list[str]) -> int:
    """The last seq that was acknowledged."""
    return max((int(line.split()[1]) for line in lines if line.startswith("acknowledged")), default=0)


def check(path: Path, lines: list[str]) -> int:
    """The log holds all that was acknowledged and at most one append more, whole; gives its last seq."""
    last = acknowledged(lines)
    try:
        log = SqliteLog.open_reader(path)
    except BadInput:  # killed before it was made
        assert last == 0
        return 0
    found = list(log.read())
    log.close()
    assert found == [record(seq) for seq in range(1, len(found) + 1)]
    assert last <= len(found) <= batch_after(last)[-1].seq
    assert len(found) in batch_ends(len(found))
    return len(found)


def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path, last = tmp_path / "log.sqlite", 0
    chance = random.Random(20)
    for _ in range(12):
        with subprocess.Popen(writer(path, ENDLESS), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(chance.randint(1, 60))]
            process.kill()
            lines += [line for line in process.stdout if line.endswith("\n")]
        assert process.returncode == -signal.SIGKILL
        assert acknowledged(lines) > last
        last = check(path, lines)
    assert last > 500


@needs_strace
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 17, 23, 30])
def test_killed_at_a_flush(tmp_path: Path, at: int) -> None:
    path = tmp_path / "log.sqlite"
    before, after = killed_then_goes_on(path, f"fdatasync:signal=SIGKILL:when={at}")
    assert after > before


@needs_strace
@pytest.mark.parametrize("at", [1, 2])
def test_killed_while_the_log_is_made(tmp_path: Path, at: int) -> None:
    path = tmp_path / "log.sqlite"
    before, after = killed_then_goes_on(path, f"fsync:signal=SIGKILL:when={at}")
    assert after > before


@needs_strace
@pytest.mark.parametrize("at", [1, 2, 5, 9, 14, 22, 37, 60])
def test_killed_in_the_midst_of_writing(tmp_path: Path, at: int) -> None:
    path = tmp_path / "log.sqlite"
    before, after = killed_then_goes_on(path, f"pwrite64:signal=SIGKILL:when={at}")
    assert after > before


def killed_then_goes_on(path: Path, fault: str) -> tuple[int, int]:
    """How much the log holds after the kill, and how much when three appends more were acknowledged."""
    status, lines = run(injecting(fault, writer(path, ENDLESS), path))
    assert status == -signal.SIGKILL
    before = check(path, lines)
    status, lines = run(writer(path, 3))
    assert (status, len(lines)) == (0, 3)
    return before, check(path, lines)


@needs_strace
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize(("syscall", "at"), [("fdatasync", 5), ("fdatasync", 24), ("pwrite64", 60), ("pwrite64", 81)])
def test_a_failing_disk_is_told_and_the_log_opens_again(tmp_path: Path, syscall: str, at: int, error: str) -> None:
    path = tmp_path / "log.sqlite"
    status, lines = run(injecting(f"{syscall}:error={error}:when={at}", writer(path, 40), path))
    assert status == 0
    failures = [line for line in lines if not line.startswith("acknowledged")]
    full = error == "ENOSPC" and syscall == "pwrite64"
    assert failures == [f"failed {errno.ENOSPC if full else errno.EIO}"]
    assert lines.index(failures[0]) > 0
    assert len(lines) == 40
    assert check(path, lines) == acknowledged(lines)


def test_a_file_that_may_not_grow_is_told_and_the_log_opens_again(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    status, lines = run(writer(path, 40, 100_000))
    assert status == 0
    assert len([line for line in lines if line.startswith("failed")]) == 1
    assert len([line for line in lines if line.startswith("acknowledged")]) == 39
    assert check(path, lines) == acknowledged(lines)


def test_a_healthy_disk_fails_nobody(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    status, lines = run(writer(path, 40))
    assert status == 0
    assert all(line.startswith("acknowledged") for line in lines)
    assert check(path, lines) == acknowledged(lines)
