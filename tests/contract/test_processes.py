"""What `Processes` promises: a tree runs within its limits, and when its end is told nobody of it is left.

Escapes are seen by a marker: an argument that nothing else on this machine has. Each way to escape is seen to work
where nobody keeps the tree.
"""

import asyncio
import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.adapters.processes import LocalProcesses
from penstock.ports import Command, ProcessEnd, ProcessIdentity, ProcessOrder

PATH = "/usr/local/bin:/usr/bin:/bin"
FORK_CHAIN = """
import os, sys
def flee():
    while True:
        if os.fork():
            os._exit(0)
        os.setsid()
if os.fork() == 0:
    flee()
"""
STAY = """python3 -c 'import time; print(file=open("ready", "w")); time.sleep(600)' $MARKER"""
DEAF = """sh -c 'trap "" TERM HUP INT; echo >ready; while :; do sleep 600; done' $MARKER"""
ESCAPES = {
    "background": f"{STAY} &",
    "nohup": f"nohup {STAY} >/dev/null 2>&1 &",
    "setsid": f"setsid {STAY} &",
    "double fork": f"(setsid setsid -f {STAY} &) &",
    "deaf": f"setsid {DEAF} &",
}
LEAVE_THE_GROUP = ("setsid", "double fork", "deaf")
UNTIL_READY = " read _ <ready"


@pytest.fixture
def marker() -> Iterator[str]:
    name = f"marker-{uuid.uuid4().hex}"
    yield name
    for pid in marked(name):
        os.kill(pid, signal.SIGKILL)


def marked(marker: str) -> list[int]:
    """Living processes that carry the marker."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and carries(entry, marker)]


def carries(process: Path, marker: str) -> bool:
    """A process that is dead, waited for or not, carries nothing."""
    try:
        return marker.encode() in (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


class Bench:
    """Runs shell lines, in one directory."""

    def __init__(self, place: Path, marker: str) -> None:
        self.place = place
        self.job = place / "job"
        self.env = {"PATH": PATH, "MARKER": marker}
        os.mkfifo(place / "ready")

    def order(self, line: str | tuple[str, ...], **limits: Any) -> ProcessOrder:
        argv = ("sh", "-c", line) if isinstance(line, str) else line
        command = Command(argv=argv, cwd=str(self.place), env=self.env)
        return ProcessOrder(command=command, job_dir=str(self.job), **limits)

    def run(self, line: str | tuple[str, ...], grace_ms: int = 200, **limits: Any) -> ProcessEnd:
        return asyncio.run(LocalProcesses(grace_ms=grace_ms).run(self.order(line, **limits)))

    def await_ready(self) -> None:
        """Return when the escape has come to its end."""
        assert (self.place / "ready").read_text()

    def said(self, name: str = "stdout") -> str:
        return (self.job / name).read_text()


@pytest.fixture
def bench(tmp_path: Path, marker: str) -> Bench:
    return Bench(tmp_path, marker)


def test_output_input_place_and_environment(bench: Bench) -> None:
    end = bench.run("cat; pwd; printenv PATH; echo no >&2", stdin=b"yes\n")
    assert (end.outcome, end.exit_status) == ("exited", 0)
    assert bench.said() == f"yes\n{bench.place}\n{PATH}\n"
    assert bench.said("stderr") == "no\n"


def test_without_input_there_is_an_end_of_file(bench: Bench) -> None:
    assert bench.run("cat").exit_status == 0


@pytest.mark.parametrize(
    ("line", "outcome", "status"),
    [
        ("exit 0", "exited", 0),
        ("exit 3", "exited", 3),
        ("exit 255", "exited", 255),
        ("nosuchprogram", "exited", 127),
        ("kill -KILL $$", "signaled", 137),
        ("kill -SEGV $$", "signaled", 139),
        ("sh -c 'kill -TERM $$'", "signaled", 143),
    ],
)
def test_the_end_is_told_as_it_was(bench: Bench, line: str, outcome: str, status: int) -> None:
    end = bench.run(line)
    assert (end.outcome, end.exit_status) == (outcome, status)


def test_what_cannot_be_started_is_a_value(bench: Bench) -> None:
    assert bench.run(("nosuchprogram",)).outcome == "not_started"
    order = ProcessOrder(command=Command(argv=("true",), cwd="/nosuch", env={"PATH": PATH}), job_dir=str(bench.job))
    end = asyncio.run(LocalProcesses().run(order))
    assert end.outcome == "not_started"
    assert "/nosuch" in end.message


def test_broken_pipes_and_cores_are_as_a_shell_has_them(bench: Bench) -> None:
    bench.run("ulimit -c; yes | head -1; grep SigIgn /proc/$$/status")
    cores, line, name, ignored = bench.said().split()
    assert (cores, line, name) == ("0", "y", "SigIgn:")
    assert not int(ignored, 16) & 1 << (signal.SIGPIPE - 1)  # whoever runs the tests may ignore others


def test_used_time_counts_the_whole_tree(bench: Bench) -> None:
    end = bench.run("python3 -c 'import time\nwhile time.process_time() < .3: pass' & wait")
    assert 300 <= end.cpu_ms < 5_000
    assert end.duration_ms >= 300


# --- limits ---------------------------------------------------------------------------------------------------------


def test_a_deadline_ends_the_tree(bench: Bench) -> None:
    end = bench.run("sleep 600", wall_ms=100)
    assert end.outcome == "timeout"
    assert end.exit_status == 128 + signal.SIGTERM
    assert "100 ms" in end.message
    assert end.duration_ms < 60_000


def test_term_comes_first_and_leaves_time_to_tidy_up(bench: Bench) -> None:
    line = "trap 'echo tidied; exit 5' TERM; sleep 600 & wait"
    end = bench.run(line, grace_ms=60_000, wall_ms=300)
    assert (end.outcome, end.exit_status, bench.said()) == ("timeout", 5, "tidied\n")


def test_term_is_heard_inside_a_pid_namespace(bench: Bench) -> None:
    namespace = ("bwrap", "--unshare-pid", "--die-with-parent", "--dev-bind", "/", "/", "--proc", "/proc", "--")
    line = "trap 'echo tidied; exit 5' TERM; sleep 600 & wait"
    end = bench.run((*namespace, "sh", "-c", line), grace_ms=60_000, wall_ms=500)
    assert (end.outcome, end.exit_status, bench.said()) == ("timeout", 5, "tidied\n")


def test_kill_comes_after_the_grace(bench: Bench, marker: str) -> None:
    end = bench.run(f"{DEAF} & {UNTIL_READY}; trap '' TERM; wait", wall_ms=500)
    assert (end.outcome, end.exit_status) == ("timeout", 128 + signal.SIGKILL)
    assert marked(marker) == []


def test_a_flood_is_stopped_and_cut_off(bench: Bench) -> None:
    end = bench.run("yes", output_bytes_max=10_000)
    assert end.outcome == "flood"
    assert len(bench.said()) == 10_000


def test_a_flood_that_ended_by_itself_is_one_too(bench: Bench) -> None:
    assert bench.run("echo 12345", output_bytes_max=5).outcome == "flood"
    assert bench.run("echo 1234", output_bytes_max=5).outcome == "exited"


def test_silence_is_a_stall(bench: Bench) -> None:
    end = bench.run("sleep 600", stall_ms=300)
    assert end.outcome == "stalled"
    assert end.duration_ms >= 300


@pytest.mark.parametrize(
    "progress",
    ["echo .", "touch watched/$i", "echo . >>watched/log", "python3 -c 'sum(range(6000000))'"],
    ids=["output", "new file", "grown file", "work"],
)
def test_progress_is_no_stall(bench: Bench, progress: str) -> None:
    (bench.place / "watched").mkdir()
    line = f"i=0; while [ $i -lt 8 ]; do i=$((i+1)); {progress}; sleep 0.15; done; exit 7"
    end = bench.run(line, stall_ms=1_000, watch=(str(bench.place / "watched"),))
    assert (end.outcome, end.exit_status) == ("exited", 7)
    assert end.duration_ms > 1_000


# --- the verdict pipe -----------------------------------------------------------------------------------------------

REPORT = "import os; os.write(int(os.environ['VERDICTS']), b'x' * {size})"


def report(size: int, then: str = "pass") -> tuple[str, ...]:
    return (sys.executable, "-I", "-c", f"{REPORT.format(size=size)}\n{then}")


def test_the_pipe_is_read_to_its_end(bench: Bench) -> None:
    end = bench.run(report(300_000), pipe_env="VERDICTS")
    assert (end.outcome, end.pipe) == ("exited", b"x" * 300_000)


def test_the_pipe_reaches_descendants_and_nobody_waits_for_its_end(bench: Bench, marker: str) -> None:
    inner = f"{REPORT.format(size=5)}; print(file=open('ready', 'w')); import time; time.sleep(600)"
    end = bench.run(f'setsid python3 -c "{inner}" $MARKER &' + UNTIL_READY, pipe_env="VERDICTS")
    assert (end.outcome, end.pipe) == ("exited", b"xxxxx")
    assert marked(marker) == []


def test_a_pipe_that_overflows_is_a_flood(bench: Bench) -> None:
    end = bench.run(report(1_000, "while True: pass"), pipe_env="VERDICTS", pipe_bytes_max=999)
    assert (end.outcome, len(end.pipe)) == ("flood", 999)


# --- nobody is left -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("escape", ESCAPES)
def test_nobody_survives_the_end_of_the_command(bench: Bench, marker: str, escape: str) -> None:
    assert bench.run(ESCAPES[escape] + UNTIL_READY, wall_ms=60_000).exit_status == 0
    assert marked(marker) == []


@pytest.mark.parametrize("escape", ESCAPES)
def test_the_escape_works_where_nobody_keeps_the_tree(bench: Bench, marker: str, escape: str) -> None:
    line = ESCAPES[escape] + " sleep 600"
    end = os.killpg if escape in LEAVE_THE_GROUP else os.kill
    with subprocess.Popen(["sh", "-c", line], cwd=bench.place, env=bench.env, start_new_session=True) as leader:
        bench.await_ready()
        end(leader.pid, signal.SIGKILL)
    assert marked(marker)


def test_nobody_outruns_the_end_by_forking(bench: Bench, marker: str) -> None:
    (bench.place / "chain.py").write_text(FORK_CHAIN)
    assert bench.run("python3 chain.py $MARKER", wall_ms=60_000).exit_status == 0
    assert marked(marker) == []


def test_a_thousand_orphans_leave_no_zombie_and_no_descriptor(bench: Bench) -> None:
    children, descriptors = children_of(os.getpid()), len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        bench.run("i=0; while [ $i -lt 200 ]; do i=$((i+1)); (setsid true &); done")
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert children_of(os.getpid()) == children


def children_of(pid: int) -> str:
    """Ids of the children, zombies among them."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


async def cancel_when_ready(bench: Bench, order: ProcessOrder) -> None:
    task = asyncio.create_task(LocalProcesses(grace_ms=200).run(order))
    await asyncio.to_thread(bench.await_ready)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_cancelling_ends_the_whole_tree_before_it_goes_on(bench: Bench, marker: str) -> None:
    asyncio.run(cancel_when_ready(bench, bench.order(ESCAPES["deaf"] + " wait")))
    assert marked(marker) == []


def test_a_listener_that_fails_ends_the_tree(bench: Bench, marker: str) -> None:
    def fail(_: ProcessIdentity) -> None:
        bench.await_ready()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(LocalProcesses(grace_ms=200).run(bench.order(ESCAPES["deaf"] + " wait"), fail))
    assert marked(marker) == []


# --- when we are killed ---------------------------------------------------------------------------------------------

HARNESS = """
import asyncio, os, sys
from penstock.adapters.processes import LocalProcesses
from penstock.ports import Command, ProcessOrder
place, line = sys.argv[1:3]
command = Command(argv=("sh", "-c", line), cwd=place, env={**os.environ, "PYTHONPATH": ""})
def tell(identity):
    print(identity.pid, identity.start_ticks, identity.boot, flush=True)
asyncio.run(LocalProcesses().run(ProcessOrder(command=command, job_dir=place + "/job"), tell))
"""


def start_harness(bench: Bench, line: str) -> tuple[subprocess.Popen[str], ProcessIdentity]:
    """A process of ours that runs one tree, and the tree's identity."""
    argv = [sys.executable, "-c", HARNESS, str(bench.place), line]
    env = {**bench.env, "PYTHONPATH": os.pathsep.join(sys.path)}
    harness = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True)
    assert harness.stdout is not None
    pid, ticks, boot = harness.stdout.readline().split()
    return harness, ProcessIdentity(pid=int(pid), start_ticks=int(ticks), boot=boot)


def await_end(pid: int) -> None:
    """Return when the process has ended; fails after a minute."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)
    assert ended.poll(60_000)
    os.close(pidfd)


@pytest.mark.parametrize("escape", ESCAPES)
def test_a_killed_harness_leaves_nobody(bench: Bench, marker: str, escape: str) -> None:
    harness, identity = start_harness(bench, ESCAPES[escape] + " sleep 600")
    with harness:
        bench.await_ready()
        harness.kill()
    await_end(identity.pid)
    assert marked(marker) == []


@pytest.mark.parametrize("moment", range(12))
def test_a_harness_killed_while_it_starts_a_tree_leaves_nobody(bench: Bench, marker: str, moment: int) -> None:
    namespace = "exec bwrap --unshare-pid --die-with-parent --dev-bind / / --proc /proc --"
    harness, identity = start_harness(bench, f"{namespace} {STAY}")
    with harness:
        for _ in range(moment * 50_000):
            pass
        harness.kill()
    await_end(identity.pid)
    assert marked(marker) == []


# --- sweeping -------------------------------------------------------------------------------------------------------


def test_a_tree_that_outlived_its_harness_is_swept(bench: Bench, marker: str) -> None:
    harness, identity = start_harness(bench, ESCAPES["setsid"] + " sleep 600")
    with harness:
        bench.await_ready()
        os.kill(identity.pid, signal.SIGSTOP)
        harness.kill()
    assert marked(marker)
    assert LocalProcesses().sweep(identity)
    assert marked(marker) == []
    assert not LocalProcesses().sweep(identity)


@pytest.mark.parametrize("wrong", [{"start_ticks": 1}, {"boot": "another"}], ids=["reused number", "earlier boot"])
def test_somebody_else_is_never_swept(bench: Bench, marker: str, wrong: dict[str, Any]) -> None:
    harness, identity = start_harness(bench, f"exec {STAY}")
    with harness:
        bench.await_ready()
        assert not LocalProcesses().sweep(msgspec.structs.replace(identity, **wrong))
        assert marked(marker)
        assert LocalProcesses().sweep(identity)
        assert marked(marker) == []
