"""How processes of the fleet are tied to their owner, and how only what is ours is signalled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from penstock.fleet import processes
from tests.fleet.hives import REPOSITORY, has_ended, living_in

TIED = """
import os, signal, subprocess, sys
from penstock.fleet import processes
processes.tie_to_parent(int(sys.argv[1]), int(sys.argv[2]))
below = subprocess.Popen(["sleep", "1000"], start_new_session=True)
print(below.pid, flush=True)
signal.pause()
"""
TREE = """
import os, subprocess, sys
subprocess.Popen(["sh", "-c", "setsid sleep 1000 & echo $!; wait"])
print("there", flush=True)
os.wait()
"""


@contextmanager
def running(*words: str, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=REPOSITORY, **options) as started:  # type: ignore[call-overload]
        try:
            yield started
        finally:
            started.kill()


def lines(started: subprocess.Popen[bytes], count: int) -> list[str]:
    assert started.stdout is not None
    return [started.stdout.readline().decode().strip() for _ in range(count)]


def test_a_process_ends_with_all_below_it_when_its_owner_hangs_up() -> None:
    owned, owner = os.pipe()
    with running(sys.executable, "-c", TIED, "0", str(owned), pass_fds=[owned]) as tied:
        os.close(owned)
        below = int(lines(tied, 1)[0])
        os.close(owner)
        assert tied.wait(5) == -signal.SIGKILL
        assert has_ended(below, 1.0)


def test_a_process_whose_parent_is_another_by_now_does_not_begin() -> None:
    with running(sys.executable, "-c", TIED, "1", "-1") as orphan:
        assert orphan.wait(20) == processes.ORPHANED
        assert lines(orphan, 1) == [""]


def test_a_stopped_process_dies_with_its_parent() -> None:
    parent = "import subprocess, sys, os\nsubprocess.run([sys.executable, *sys.argv[1:], str(os.getpid()), '-1'])"
    with running(sys.executable, "-c", parent, "-c", TIED) as between:
        below = int(lines(between, 1)[0])
        tied = processes.children(between.pid)[0]
        processes.signal_process(tied, signal.SIGSTOP)
        between.kill()
        assert has_ended(tied.pid, 1.0)
        os.kill(below, signal.SIGKILL)  # nobody adopts orphans in this test


def test_a_tree_is_killed_with_what_left_its_session_and_what_stands_still() -> None:
    with running(sys.executable, "-c", TREE, start_new_session=True) as root:
        told = lines(root, 2)
        grandchild = next(int(line) for line in told if line.isdigit())
        os.kill(grandchild, signal.SIGSTOP)
        found = processes.identify(root.pid)
        assert found is not None
        struck = processes.kill_tree(found)
        assert {process.pid for process in struck} >= {root.pid, grandchild}
        assert has_ended(grandchild, 1.0)
        assert root.wait(5) == -signal.SIGKILL


def test_a_number_that_is_somebody_elses_by_now_is_not_signalled() -> None:
    with running("sleep", "1000") as bystander:
        found = processes.identify(bystander.pid)
        assert found is not None
        earlier = found._replace(start_ticks=found.start_ticks - 1)
        assert not processes.signal_process(earlier, signal.SIGKILL)
        assert processes.kill_tree(earlier) == []
        assert bystander.poll() is None
        assert processes.signal_process(found, signal.SIGKILL)
        assert bystander.wait(5) == -signal.SIGKILL
        assert processes.identify(bystander.pid) is None


def test_only_what_lives_there_is_found_there() -> None:
    with running("sleep", "1000") as one:
        assert one.pid in living_in(REPOSITORY)
