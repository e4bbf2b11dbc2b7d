"""The real command line of the fleet, with an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

END_S = 60
COMMAND = (sys.executable, "-m", "penstock.cli")


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    exit_code: int
    out: str
    err: str

    def json(self) -> Any:
        """Its stdout as data."""
        return json.loads(self.out)


def environment(home: Path, **more: str) -> dict[str, str]:
    """Nothing of the user's own fleet."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "XDG_"))}
    return {**ours, "HOME": str(home), **more}


def penstock(home: Path, *words: str, stdin: str = "", **more: str) -> Ended:
    """Run it to its end."""
    ended = subprocess.run(
        [*COMMAND, *words],
        input=stdin,
        env=environment(home, **more),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=END_S,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@contextmanager
def running(home: Path, *words: str, stderr: Path | None = None, **more: str) -> Iterator[subprocess.Popen[str]]:
    """Start it; it does not outlive the block."""
    with (stderr or home / "stderr").open("ab") as errors:
        process = subprocess.Popen(
            [*COMMAND, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment(home, **more),
            cwd=home,
            text=True,
        )
    try:
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()
    finally:
        process.wait(END_S)


# --- a fleet of real processes --------------------------------------------------------------------------------------

PATIENCE_S = 30.0
LOOK_S = 0.02


@dataclass(frozen=True)
class Program:
    """A queen or a hive that serves."""

    process: subprocess.Popen[str]
    line: str

    @property
    def url(self) -> str:
        return self.line.split()[-1]


@contextmanager
def program(home: Path, *words: str, **more: str) -> Iterator[Program]:
    """Start one, and wait until it can be reached."""
    said = home / f"{words[0]}.stderr"
    with running(home, *words, stderr=said, **more) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert " at http://" in line, said.read_text()
        yield Program(process, line.strip())
        process.send_signal(SIGTERM)
        assert process.wait(PATIENCE_S) == 0, said.read_text()


def add_model(home: Path, name: str, script: str) -> Path:
    """A scripted model in the catalogue of `home`; its script."""
    path = home / f"{name}.yaml"
    path.write_text(script)
    added = penstock(home, "models", "add", name, "--path", str(path))
    assert added.exit_code == 0, added.err
    return path


def until(holds: Callable[[], Any]) -> Any:
    """What it gives, as soon as that is something."""
    deadline = time.monotonic() + PATIENCE_S
    waiting = threading.Event()
    while not (found := holds()):
        assert time.monotonic() < deadline, "never came to be"
        waiting.wait(LOOK_S)
    return found


def pids_in(home: Path) -> list[int]:
    """Processes that work in `home`; nobody else does."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == str(home) and (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def left_in(home: Path) -> list[str]:
    """The same, as `ps` shows them."""
    found = []
    for pid in pids_in(home):
        with suppress(OSError):
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def traceless(home: Path) -> None:
    """Nothing of it is left, or will be in a moment. What is left all the same is ended, and the test has failed."""
    try:
        until(lambda: not left_in(home))
    finally:
        for pid in pids_in(home):
            with suppress(ProcessLookupError):
                os.kill(pid, SIGKILL)
