"""A queen, a hive and workers as they are, and what measures them."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.fleet import litellm
from bench.fleet.load import MARK, Order
from penstock.fleet.processes import tied_before_exec
from tests.fleet.command import COMMAND, environment
from tests.fleet.hives import Fields, HiveProcess, hive

POLICY = {"workers_max": 1_000, "failures_max": 1_000_000, "backoff_base_ms": 60_000, "idle_ms_max": 0}
WAIT_S_MAX = 60.0
Loaded = dict[str, Fields]
TICK_HZ = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Fleet:
    """What runs."""

    queen: str
    queen_pid: int
    hive: HiveProcess
    folder: Path

    def workers(self, model: str = "") -> list[Fields]:
        """As the queen sees them, those that can serve."""
        listed = called(self.queen, "GET", "/v1/workers/list")["workers"]
        return [each for each in listed if each["state"] in ("idle", "busy") and model in ("", each["model"])]

    def spawn(self, model: str) -> Fields:
        """One more worker, known to the queen."""
        made = called(self.hive.url, "POST", "/v1/workers/spawn", {"model": model, "wait": True})
        soon(lambda: any(each["worker_id"] == made["worker_id"] for each in self.workers()))
        return made


@contextmanager
def fleet(models: dict[str, str], slots: int = 64, workers_max: int = 1_000, **options: Any) -> Iterator[Fleet]:
    """Models by name, with the script of each."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-")))
        url, pid = stack.enter_context(queen(folder / "queen"))
        known: list[Fields] = []
        for name, script in models.items():
            (folder / f"{name}.yaml").write_text(script)
            path = str(folder / f"{name}.yaml")
            known.append(
                {"name": name, "backend": "scripted", "path": path, "slots": slots, "workers_max": workers_max}
            )
        here = stack.enter_context(hive(folder / "hive", known, POLICY, queen=url, **options))
        soon(lambda: called(url, "GET", "/v1/models")["data"])
        yield Fleet(url, pid, here, folder)


@contextmanager
def queen(home: Path, *words: str) -> Iterator[tuple[str, int]]:
    """A queen alone, with these options as well: her address, and her process."""
    home.mkdir()
    command = [*COMMAND, "queen", "--home", str(home), "--port", "0", *words]
    with (home / "queen.log").open("ab") as log:
        tie, env = tied_before_exec(os.getpid()), environment(home)
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=log, text=True, preexec_fn=tie)
    with process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1], process.pid
        finally:
            process.kill()


def paced(tokens: int, first_ms: int, every_ms: int) -> str:
    """A script that says so many tokens, for ever. No two are the same: LiteLLM ends what repeats itself."""
    said = [f" {MARK.decode()}{number}" for number in range(tokens)]
    pace = f"{{first_ms: {first_ms}, every_ms: {every_ms}}}"
    return f"repeat: true\nreplies: [{{tokens: {json.dumps(said)}, pace: {pace}, usage: false}}]\n"


def body_for(model: str) -> bytes:
    """A chat, streamed."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "go"}], "stream": True}).encode()


def loaded(targets: dict[str, list[str]], model: str, clients: int, requests: int, spread_s: float = 0) -> Loaded:
    """What the clients of `load` found."""
    body = body_for(model).decode()
    order = Order(targets=targets, body=body, clients=clients, requests=requests, key=litellm.KEY, spread_s=spread_s)
    command = [sys.executable, "-m", "bench.fleet.load"]
    played = subprocess.run(command, input=json.dumps(asdict(order)), stdout=subprocess.PIPE, text=True, check=True)
    told: Loaded = json.loads(played.stdout)
    return told


def called(url: str, method: str, path: str, body: Fields | None = None) -> Fields:
    """The answer to one request, with as little of a client as there is."""
    asking = http.client.HTTPConnection(urlsplit(url).netloc, timeout=WAIT_S_MAX)
    try:
        asking.request(method, path, None if body is None else json.dumps(body))
        answer = asking.getresponse()
        raw = answer.read()
        assert answer.status < 300, (answer.status, raw)
        told: Fields = json.loads(raw) if raw else {}
        return told
    finally:
        asking.close()


def soon(holds: Callable[[], Any]) -> None:
    """Ask until it is so: as fast as it goes, for that is what is measured."""
    deadline = time.monotonic() + WAIT_S_MAX
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def processor_s(pid: int) -> float:
    """Of a processor, that the process has had."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK_HZ


def percentile(times: list[float], percent: int) -> float:
    """The one of a hundred below which so many are."""
    assert times
    return sorted(times)[min(len(times) - 1, len(times) * percent // 100)]
