"""A restore that is killed at any of its steps, or whose disk fails: each file is the old one or the new one."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.adapters.blobs_files import FileBlobs
from penstock.kernel.tree.scanner import LeftAside, TreeScanner
from penstock.kernel.tree.writer import TreeWriter
from tests.integration.tree_restorer import NEW, OLD, batch, entries, prepare
from tests.integration.tree_world import seen_plainly

STRACE = shutil.which("strace")
needs_strace = pytest.mark.skipif(STRACE is None, reason="strace is missing: faults cannot be injected")
STEPS = "write,pwrite64,fchmod,fsync,rename,renameat,renameat2,mkdir,mkdirat,symlink,symlinkat,unlink,unlinkat,rmdir"
SHARES = 4


def restoring(place: Path, *inject: str) -> subprocess.CompletedProcess[str]:
    """Restore `place` in another process, with faults in strace's own words."""
    assert STRACE is not None
    traced = [STRACE, "-qq", "-f", "-o", str(place / "calls"), "-e", f"trace={STEPS}"]
    faults = [word for fault in inject for word in ("-e", f"inject={fault}")]
    command = [sys.executable, "-B", "-m", "tests.integration.tree_restorer", str(place)]
    return subprocess.run([*traced, *faults, *command], stdout=subprocess.PIPE, text=True, timeout=60)


def check(top: Path) -> list[str]:
    """Every path is as it was or as it is to be; gives the files that were left aside."""
    aside = [problem.path for problem in TreeScanner(top).scan().problems if isinstance(problem, LeftAside)]
    found = seen_plainly(top)
    old, new = entries(OLD), entries(NEW)
    for path in (old | new).keys() | found.keys() - set(aside):
        assert found.get(path) in (old.get(path), new.get(path)), path
    return aside


def steps_of(place: Path) -> list[str]:
    """The steps of a restore that nobody disturbs, each as strace wants it: `fsync:when=3`."""
    prepare(place)
    assert restoring(place).returncode == 0
    assert seen_plainly(place / "top") == entries(OLD)
    calls = [line.split()[1].partition("(")[0] for line in (place / "calls").read_text().splitlines()]
    return [f"{call}:when={calls[: at + 1].count(call)}" for at, call in enumerate(calls)]


@needs_strace
@pytest.mark.parametrize("share", range(SHARES))
def test_killed_at_any_step_it_leaves_old_or_new_and_is_begun_again(tmp_path: Path, share: int) -> None:
    steps = steps_of(tmp_path / "whole")
    assert len(steps) >= 30
    for step in steps[share::SHARES]:
        place = tmp_path / step
        top = prepare(place)
        assert restoring(place, f"{step}:signal=SIGKILL").returncode == -signal.SIGKILL
        aside = check(top)
        writer = TreeWriter(top, FileBlobs(place / "blobs"))
        assert list(writer.sweep()) == aside
        assert len(aside) <= 1
        assert writer.restore(batch()).refused == ()
        assert seen_plainly(top) == entries(OLD)


@needs_strace
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("syscall", ["write", "fsync", "fchmod", "renameat", "symlinkat", "unlinkat", "mkdirat"])
def test_a_failing_disk_is_told_and_nothing_is_left_aside(tmp_path: Path, syscall: str, error: str) -> None:
    top = prepare(tmp_path)
    ended = restoring(tmp_path, f"{syscall}:error={error}:when=1")
    assert ended.returncode == 0
    assert [line.split()[1] for line in ended.stdout.splitlines()] == ["failed"]
    assert check(top) == []
    assert TreeWriter(top, FileBlobs(tmp_path / "blobs")).restore(batch()).refused == ()
    assert seen_plainly(top) == entries(OLD)
