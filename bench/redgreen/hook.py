"""How long a hook takes: the installed command as an agent's shell runs it, against a gate that answers at once.

In the same run, alternating: the interpreter that does nothing, which no hook in Python can be quicker than.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from penstock.kernel.hooks.gate_socket import VARIABLE
from penstock.kernel.hooks.installing import Agent, hook_command
from penstock.kernel.hooks.trying import sample

AGENTS: tuple[Agent, ...] = ("claude", "codex", "cursor", "openhands")
ANSWER = b'{"v":1,"allow":true,"reason":"","code":""}\n'


def measure(runs: int = 100) -> dict[str, float]:
    """Milliseconds of the installed command of each agent, and of an interpreter that does nothing: the floor."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        address = Path(folder) / "gate.sock"
        server.bind(str(address))
        server.listen(64)
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        floor, taken = measured(runs, {**os.environ, VARIABLE: str(address)}, Path(folder))
    told = {"floor": floor, **{f"hook_{agent}": times for agent, times in taken.items()}}
    return {
        f"{name}_p{percent}_ms": round(percentile(times, percent), 1)
        for name, times in told.items()
        for percent in (50, 95)
    }


def measured(runs: int, environ: dict[str, str], top: Path) -> tuple[list[float], dict[Agent, list[float]]]:
    payloads = {agent: json.dumps(sample(agent, top)).encode() for agent in AGENTS}
    floor: list[float] = []
    taken: dict[Agent, list[float]] = {agent: [] for agent in AGENTS}
    for _ in range(runs):
        floor.append(timed([sys.executable, "-c", "pass"], b"", environ))
        for agent in AGENTS:
            taken[agent].append(timed(["/bin/sh", "-c", hook_command(agent)], payloads[agent], environ))
    return floor, taken


def timed(command: list[str], payload: bytes, environ: dict[str, str]) -> float:
    before = time.perf_counter()
    ran = subprocess.run(command, input=payload, env=environ, capture_output=True)
    assert ran.returncode == 0, ran
    return (time.perf_counter() - before) * 1000


def serve(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:  # it was closed: nobody asks any more
            return
        with connection:
            connection.makefile("rb").readline()
            connection.sendall(ANSWER)


def percentile(times: list[float], percent: int) -> float:
    return sorted(times)[min(len(times) - 1, len(times) * percent // 100)]
