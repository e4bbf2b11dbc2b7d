"""The real command line of the fleet, with an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
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
