"""What the harness itself costs per ticket: an agent and a gate that do nothing, 200 files, one ticket at a time.

Git's share is measured in a second run with a `git` on the path that writes down how long each call took; the first run
has no such thing in its way.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FILES = 200
TICKETS = 10
SETTINGS = """\
[agent]
command = "echo more >> notes.md"

[sandbox]
mode = "{mode}"

[limits]
window_start = 1
window_max = 1

[gates.nothing]
command = "true"
"""
SHIM = """\
#!/bin/sh
begun=$(date +%s%N)
"{git}" "$@"
status=$?
echo $(( $(date +%s%N) - begun )) >> "{times}"
exit $status
"""


def lay_out(top: Path, tickets: int, mode: str) -> None:
    """A repository of 200 files whose tickets need no witness: they are documentation."""
    for n in range(FILES):
        path = top / f"src/part{n % 20}/module{n}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"VALUE = {n}\n" * 20)
    (top / "notes.md").write_text("notes\n")
    (top / "penstock.toml").write_text(SETTINGS.format(mode=mode))
    (top / "tickets").mkdir()
    for n in range(tickets):
        (top / f"tickets/N{n}.md").write_text(f"---\nid: N{n}\ntitle: Note {n}\nkind: docs\n---\nOne more line.\n")
    for command in (
        ["init", "-q", "-b", "main"],
        ["config", "user.name", "Bench"],
        ["config", "user.email", "bench@localhost"],
        ["add", "-A"],
        ["commit", "-q", "-m", "start"],
    ):
        subprocess.run(["git", "-C", str(top), *command], check=True)


def run_s(top: Path, path: str) -> float:
    """Wall time of one whole run."""
    penstock = str(Path(sys.executable).parent / "penstock")
    begun = time.perf_counter()
    environment = {**os.environ, "PATH": path}
    subprocess.run([penstock, "-C", str(top), "run", "-q"], check=True, env=environment, capture_output=True)
    return time.perf_counter() - begun


def per_ticket_s(scratch: Path, mode: str, path: str, name: str) -> float:
    """Cost of one more ticket: the difference between a run of many and a run of one."""
    times = {}
    for count in (1, 1 + TICKETS):
        top = scratch / f"{name}-{count}"
        lay_out(top, count, mode)
        times[count] = run_s(top, path)
    return (times[1 + TICKETS] - times[1]) / TICKETS


def measure() -> dict[str, float]:
    """Seconds per ticket for each sandbox that works here, and git's share of them."""
    found: dict[str, float] = {}
    git = shutil.which("git")
    assert git is not None, "git is not installed"
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        scratch = Path(folder)
        for mode in ["bubblewrap", "none"] if shutil.which("bwrap") else ["none"]:
            found[f"{mode}_ticket_s"] = round(per_ticket_s(scratch, mode, os.environ["PATH"], mode), 3)
        times = scratch / "times"
        shim = scratch / "bin" / "git"
        shim.parent.mkdir()
        shim.write_text(SHIM.format(git=git, times=times))
        shim.chmod(0o755)
        top = scratch / "shimmed"
        lay_out(top, 1 + TICKETS, "none")
        whole = run_s(top, f"{shim.parent}:{os.environ['PATH']}")
        calls = [int(line) for line in times.read_text().split()]
        found["git_calls_per_ticket"] = round(len(calls) / (1 + TICKETS), 1)
        found["git_share"] = round(sum(calls) / 1e9 / whole, 2)
    return found
