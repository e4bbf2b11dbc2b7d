"""A program of the fleet as a child process, followed by what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from tests.scenarios.waiting import PATIENCE_S

REPOSITORY = Path(__file__).parents[2]
PATH = f"{REPOSITORY / 'src'}:{REPOSITORY}"
COMMAND = (sys.executable, "-m", "penstock.cli")
Fields = dict[str, Any]


def environment(root: Path, **more: str) -> dict[str, str]:
    """Nothing of the user's own fleet; the folder is the mark by which everything is found again."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "XDG_", "PYTEST"))}
    return {**ours, "HOME": str(root), "PENSTOCK_FLEET_HOME": str(root), "PYTHONPATH": PATH, **more}


class Lines:
    """What comes through a pipe, as it comes. `lines`: those that are whole, or the last there will be."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.lines: list[str] = []
        self.is_over = False
        self.changed = threading.Condition()
        self._rest = b""
        self._thread = threading.Thread(target=self._read, args=(stream.fileno(),), daemon=True)
        self._thread.start()

    def _read(self, fd: int) -> None:
        while data := os.read(fd, 65_536):
            with self.changed:
                *whole, self._rest = (self._rest + data).split(b"\n")
                self.lines += [line.decode(errors="replace") for line in whole]
                self.changed.notify_all()
        with self.changed:
            self.lines += [self._rest.decode(errors="replace")] * bool(self._rest)
            self._rest, self.is_over = b"", True
            self.changed.notify_all()

    def text(self) -> str:
        """All of it."""
        return "\n".join([*self.lines, self._rest.decode(errors="replace")])

    def join(self) -> None:
        """Everybody who held the other end has closed it."""
        self._thread.join(PATIENCE_S)
        assert self.is_over, "somebody holds its output open still"


OWNER = "{owner}"
"""In an argument: the read end of a pipe that only we write to. Who watches it ends with us, however early we end."""


class Program:
    """One of them. `name`: `queen`, or that of the hive."""

    def __init__(self, name: str, argv: list[str], root: Path, env: dict[str, str]) -> None:
        self.name = name
        owner, self._owner = os.pipe()
        self.process = subprocess.Popen(
            [word.replace(OWNER, str(owner)) for word in argv],
            cwd=root,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=(owner,) if any(OWNER in word for word in argv) else (),
        )
        os.close(owner)
        assert self.process.stdout is not None and self.process.stderr is not None
        self._streams = (self.process.stdout, self.process.stderr)
        self.out, self.log = Lines(self.process.stdout), Lines(self.process.stderr)
        self.url = ""

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    def reached(self) -> str:
        """Its URL, as it says it on stdout."""
        with self.out.changed:
            self.out.changed.wait_for(lambda: self.out.lines or self.out.is_over, PATIENCE_S)
        assert self.out.lines, f"{self.name} did not start: {self.log.lines}"
        self.url = self.out.lines[0].rpartition(" at ")[2]
        assert self.url.startswith("http://"), self.out.lines
        return self.url

    def told(self, **fields: Any) -> list[Fields]:
        """Lines of its log that have these fields."""
        with self.log.changed:
            lines = [_read(line) for line in self.log.lines]
        return [line for line in lines if all(line.get(name) == value for name, value in fields.items())]

    def until_told(self, **fields: Any) -> Fields:
        """The first such line, awaited."""
        with self.log.changed:
            self.log.changed.wait_for(lambda: self.told(**fields) or self.log.is_over, PATIENCE_S)
        found = self.told(**fields)
        assert found, f"{self.name} never said {fields}: {self.log.lines}"
        return found[0]

    def send(self, number: signal.Signals) -> None:
        """Signal it alone."""
        self.process.send_signal(number)

    def ended(self, limit_s: float = PATIENCE_S) -> int:
        """Its exit status, awaited."""
        return self.process.wait(limit_s)

    def close(self) -> None:
        """It has ended: nobody holds its output open."""
        self.process.wait(PATIENCE_S)
        for lines in (self.out, self.log):
            lines.join()
        for stream in self._streams:
            stream.close()
        os.close(self._owner)


def _read(line: str) -> Fields:
    try:
        told = json.loads(line)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
