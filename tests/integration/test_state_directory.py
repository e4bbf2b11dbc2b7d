"""One writer: the lock ends with its process and not with its children; the epoch only grows."""

import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.adapters.state_directory import StateDirectory
from penstock.ports import AlreadyRunning, BadInput

HOLDER = """
import subprocess, sys
from pathlib import Path
from penstock.adapters.state_directory import StateDirectory

state = StateDirectory(Path(sys.argv[1]))
epoch = state.acquire()
child = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)
print(epoch, child.pid, flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(directory: Path) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """Another process that holds the lock and has a child; with the epoch it got and the child's id."""
    command = [sys.executable, "-c", HOLDER, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        epoch, child = map(int, process.stdout.readline().split())
        try:
            yield process, epoch, child
        finally:
            subprocess.run(["kill", str(child)], check=True)
            process.kill()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDirectory]:
    state = StateDirectory(tmp_path)
    yield state
    state.release()


def test_a_live_holder_is_named(state: StateDirectory, tmp_path: Path) -> None:
    with holder(tmp_path) as (process, _, _), pytest.raises(AlreadyRunning, match=rf"process {process.pid}, since 20"):
        state.acquire()


def test_the_lock_ends_with_its_holder_though_a_child_lives_on(state: StateDirectory, tmp_path: Path) -> None:
    with holder(tmp_path) as (process, epoch, child):
        process.kill()
        process.wait()
        assert Path(f"/proc/{child}").exists() or not Path("/proc").exists()
        assert state.acquire() == epoch + 1


def test_within_one_process_there_is_one_writer_too(state: StateDirectory, tmp_path: Path) -> None:
    other = StateDirectory(tmp_path)
    assert state.acquire() == 1
    with pytest.raises(AlreadyRunning):
        other.acquire()
    state.release()
    state.release()
    assert other.acquire() == 2
    other.release()


def test_a_refused_writer_does_not_move_the_epoch(state: StateDirectory, tmp_path: Path) -> None:
    state.acquire()
    with pytest.raises(AlreadyRunning):
        StateDirectory(tmp_path).acquire()
    state.release()
    assert state.acquire() == 2


def test_an_epoch_that_cannot_be_read_is_refused_and_the_lock_let_go(state: StateDirectory) -> None:
    state.acquire()
    state.release()
    epoch = state.path / "epoch"
    epoch.write_text("seven")
    for _ in range(2):
        with pytest.raises(BadInput, match="epoch"):
            state.acquire()
    epoch.write_text("1000000")
    assert state.acquire() == 1_000_001


def test_everything_is_for_its_owner_only(state: StateDirectory) -> None:
    state.acquire()
    state.make_run(0)
    for path in (state.path, *state.path.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_runs_are_listed_newest_first(state: StateDirectory) -> None:
    assert state.runs() == []
    state.acquire()
    second = 1_770_000_000_000
    made = [state.make_run(at) for at in (second, second, second + 1_000, second + 86_400_000)]
    assert [run.run for run in made] == ["20260202-024000", "20260202-024000-02", "20260202-024001", "20260203-024000"]
    assert state.runs() == made[::-1]


def test_the_newest_run_that_is_wanted(state: StateDirectory) -> None:
    state.acquire()
    begun, empty = state.make_run(0), state.make_run(1_000)
    begun.log.touch()
    assert state.newest_run(lambda run: run.log.exists()) == begun
    assert state.newest_run(lambda run: True) == empty
    assert state.newest_run(lambda run: False) is None


def test_looking_makes_nothing(state: StateDirectory) -> None:
    assert state.runs() == []
    assert state.newest_run(lambda run: True) is None
    assert not state.path.exists()
