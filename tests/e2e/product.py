"""The real `penstock` command, driven from outside as its users do, and small repositories for it to work on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest

from penstock import wire
from penstock.adapters.sandbox_bwrap import BubblewrapSandbox
from penstock.core.events import AnyEvent, Record

PENSTOCK = Path(sys.executable).with_name("penstock")
SandboxMode = Literal["none", "bubblewrap"]
PYTEST = f"PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 {sys.executable} -m pytest -q -p no:cacheprovider"
"""A gate that needs no environment: the interpreter that runs these tests has a pytest, and every sandbox shows it."""
LOOK_S = 0.1
E = TypeVar("E", bound=AnyEvent)


# --- the command ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    exit_code: int
    out: str
    err: str

    def json(self) -> Any:
        """What it printed, as data."""
        return json.loads(self.out)


def environment() -> dict[str, str]:
    """Ours, with a git that has nobody's own settings."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTEST_"))}
    return {**mine, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def penstock(place: Path, *words: str, timeout_s: float = 110) -> Ended:
    """Run it in `place` to its end."""
    end = subprocess.run(
        [PENSTOCK, *words],
        cwd=place,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert "Traceback" not in end.stderr, end.stderr
    return Ended(end.returncode, end.stdout, end.stderr)


class Live:
    """A command that goes on while the test looks at it."""

    def __init__(self, place: Path, words: Sequence[str], talk: Path) -> None:
        self.place = place
        self._talk = talk
        with talk.open("wb") as file:
            self.process = subprocess.Popen(
                [PENSTOCK, *words], cwd=place, env=environment(), stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )

    @property
    def said(self) -> str:
        """All that it printed so far."""
        return self._talk.read_text(errors="replace")

    def until(self, holds: Callable[[list[Record]], bool], timeout_s: float = 60) -> list[Record]:
        """Wait until its log holds something; the log then. Fails where it ends before."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            records = records_of(self.place)
            if holds(records):
                return records
            assert self._is_alive(), f"ended with {self.process.returncode} before:\n{self.said}"
        raise AssertionError(f"not within {timeout_s} s:\n{self.said}")

    def _is_alive(self) -> bool:
        try:
            self.process.wait(LOOK_S)
        except subprocess.TimeoutExpired:
            return True
        return False

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self, timeout_s: float = 90) -> int:
        """Wait for its end; its exit code."""
        return self.process.wait(timeout_s)


@contextmanager
def live(place: Path, *words: str, talk: Path | None = None) -> Iterator[Live]:
    """Start the command; whatever happens, it does not outlive the block."""
    started = Live(place, words, talk or place.with_name(f"{place.name}-talk"))
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()


# --- its log --------------------------------------------------------------------------------------------------------


def records_of(place: Path) -> list[Record]:
    """The log of the newest run; empty where there is none yet."""
    runs = place / ".git/penstock/runs"
    if not runs.is_dir() or not any((run / "log.sqlite").exists() for run in runs.iterdir()):
        return []
    return wire.open_run(place).records()


def events(records: Sequence[Record], kind: type[E]) -> list[E]:
    """Those of one kind, in order."""
    return [record.event for record in records if isinstance(record.event, kind)]


def run_directories(place: Path) -> list[Path]:
    """Every run that was ever begun."""
    runs = place / ".git/penstock/runs"
    return sorted(runs.iterdir()) if runs.is_dir() else []


def processes_in(place: Path) -> list[str]:
    """Command lines of live processes that work in `place` or name it, other than this one's."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            is_inside = os.readlink(process / "cwd").startswith(str(place))
        except OSError:
            continue
        if int(process.name) != os.getpid() and (is_inside or str(place) in words):
            found.append(f"{process.name}: {words}")
    return found


# --- git and files --------------------------------------------------------------------------------------------------


def git(place: Path, *words: str) -> str:
    """What git prints, without the last line break."""
    end = subprocess.run(["git", *words], cwd=place, env=environment(), capture_output=True, text=True, check=True)
    return end.stdout.removesuffix("\n")


def new_repository(place: Path) -> Path:
    """An empty one with an author."""
    place.mkdir(parents=True, exist_ok=True)
    git(place, "init", "--quiet", "--template=", "--initial-branch=main")
    git(place, "config", "user.name", "Ada")
    git(place, "config", "user.email", "ada@example.org")
    return place


def write(place: Path, files: dict[str, str]) -> None:
    """Text by path."""
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)


def commit(place: Path, files: dict[str, str], message: str = "A change") -> str:
    """Write, add all, commit; the commit's id."""
    write(place, files)
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message", message)
    return git(place, "rev-parse", "HEAD")


def tree_of(place: Path, commit: str) -> str:
    """The id of its tree."""
    return git(place, "rev-parse", f"{commit}^{{tree}}")


def quoted(text: str) -> str:
    """A text of TOML or YAML."""
    return json.dumps(text)


# --- sandboxes ------------------------------------------------------------------------------------------------------


def require(sandbox: SandboxMode) -> None:
    """Skip by name where this machine cannot confine."""
    if sandbox == "bubblewrap":
        answer = BubblewrapSandbox().probe()
        if isinstance(answer, str):
            pytest.skip(answer)
