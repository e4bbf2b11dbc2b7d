"""A hive that goes on when whoever started it has gone: over SSH, or from a shell that is closed."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock.fleet.choices import choose
from penstock.fleet.tokens import TOKEN_BYTES_MAX
from penstock.wire.fleet import hive_name, say

START_S_MAX = 30.0
TOLD_LINES = 20
TOLD_BYTES_MAX = 20_000
NOT_OURS = ("--detach", "--token-stdin")


@dataclass(frozen=True)
class Going:
    """A process on its own. `line`: its first, empty where there was none."""

    process: subprocess.Popen[bytes]
    line: str


def detach_hive(words: Sequence[str], *, name: str | None, home: str | None, token_stdin: bool) -> int:
    """Start the hive of these words; prints its line and its process id, or its last words, with its exit code.

    `token_stdin`: the token comes on stdin, and is handed on as a file that has no name.
    """
    place = Path(choose(os.environ, home=home).home) / "logs"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = place / f"hive-{hive_name(name)}.log"
    token = _token_file() if token_stdin else -1
    more = () if token < 0 else ("--token-file", f"/proc/self/fd/{token}")
    with log.open("ab") as errors:
        begun = errors.tell()
        going = _start([word for word in words if word not in NOT_OURS] + list(more), errors.fileno(), token)
    if going.line.startswith("hive "):
        sys.stdout.write(f"{going.line}process {going.process.pid}\n")
        sys.stdout.flush()
        say(f"its log: {log}")
        return 0
    if going.process.poll() is None:
        going.process.terminate()
    code = going.process.wait()
    for line in _last_lines(log, begun):
        say(line)
    return code if code > 0 else 1


def _start(words: list[str], errors: int, token: int) -> Going:
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock.cli", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        start_new_session=True,
        pass_fds=() if token < 0 else (token,),
    )
    assert process.stdout is not None
    return Going(process, _first_line(process.stdout.fileno()))


def _first_line(output: int) -> str:
    """Empty where it ends before, or is silent too long."""
    line, deadline = b"", time.monotonic() + START_S_MAX
    while not line.endswith(b"\n"):
        if not select.select([output], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return ""
        if not (more := os.read(output, 1)):
            return ""
        line += more
    return line.decode(errors="replace")


def _token_file() -> int:
    token = os.memfd_create("token", os.MFD_CLOEXEC)
    os.fchmod(token, 0o600)
    os.write(token, sys.stdin.buffer.read(TOKEN_BYTES_MAX + 1))
    return token


def _last_lines(log: Path, begun: int) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(begun, os.fstat(file.fileno()).st_size - TOLD_BYTES_MAX))
        return file.read().decode(errors="replace").splitlines()[-TOLD_LINES:]
