"""A hive as a real process with a home of its own, for tests. It is followed by its log; nothing of it may be left.

Whatever it starts has its home as working directory: so what is left behind is found, whoever its parent is.
"""

from __future__ import annotations

import json
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from penstock.fleet.processes import tied_before_exec
from penstock.fleet.sse import Event, Reader, read_event
from tests.scenarios.traces import listening

REPOSITORY = Path(__file__).parents[2]
PATIENCE_S = 20.0
TRACELESS_S = 1.0
ECHO = {"name": "echo", "backend": "scripted", "workers_max": 8}
BETWEEN = "import subprocess, sys; subprocess.run(sys.argv[1:])"
"""A process that starts the hive, in its place."""
Fields = dict[str, Any]


def scripted(directory: Path, script: str, **fields: Any) -> Fields:
    """A model that follows a script."""
    path = directory / "script.yaml"
    path.write_text(script)
    return {"name": "scripted", "backend": "scripted", "path": str(path), **fields}


class HiveProcess:
    """One hive, running."""

    def __init__(self, home: Path, settings: Fields, *, is_child: bool = False, path_first: str = "") -> None:
        self.home = home
        (home / "settings.json").write_text(json.dumps(settings))
        words = [sys.executable, "-m", "tests.fleet.hive_entry", str(home / "settings.json")]
        if is_child:
            words = [sys.executable, "-c", BETWEEN, *words]
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": f"{path_first}:{REPOSITORY / 'src'}:{REPOSITORY}".lstrip(":"),
        }
        self.process = subprocess.Popen(
            words,
            cwd=home,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=tied_before_exec(os.getpid()),
        )
        self.said: list[Fields] = []
        """Its log, as far as it was looked at."""
        self.raw: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.sockets: dict[str, set[int]] = {}
        """Of its workers, by URL. A port may be somebody else's by the time it is looked for."""

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line.decode())
        self._lines.put(None)

    def reached(self) -> str:
        """Its URL, as it says it on stdout."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        assert " at " in line, self.log()
        self.url = line.rpartition(" at ")[2].strip()
        return self.url

    def until(self, **fields: Any) -> Fields:
        """The next line of its log that has these fields."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                line = self._lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"never said: {fields}\n{self.log()}") from None
            assert line is not None, f"it ended, and never said: {fields}\n{self.log()}"
            told = self._note(line)
            if all(told.get(name) == value for name, value in fields.items()):
                return told

    def _note(self, line: str) -> Fields:
        self.raw.append(line)
        try:
            told: Fields = json.loads(line)
        except ValueError:
            return {}
        self.said.append(told)
        return told

    def log(self) -> str:
        """All that it has said."""
        while not self._lines.empty():
            if (line := self._lines.get()) is not None:
                self._note(line)
        return "".join(self.raw)

    # --- its API ----------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Fields | None = None, token: str = "") -> httpx2.Response:
        """One request."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        with httpx2.Client(
            base_url=self.url, timeout=PATIENCE_S, trust_env=False, headers=headers, verify=False
        ) as client:
            return client.request(method, path, json=body)

    def spawn(self, *, wait: bool = True, **asked: Any) -> Fields:
        """A worker that serves, or, without `wait`, is on its way."""
        answer = self.call("POST", "/v1/workers/spawn", {"wait": wait, **asked})
        assert answer.status_code == 200, (answer.text, self.log())
        told: Fields = answer.json()
        self.watch(told["url"])
        return told

    def watch(self, url: str) -> None:
        """Nobody may listen with that socket at the end."""
        self.sockets[url] = {number for number, port in listening().items() if port == port_of(url)}

    def is_heard(self, url: str) -> bool:
        """Whether somebody still listens with the socket that was seen there."""
        return bool(self.sockets[url] & listening().keys())

    def falls_silent(self, url: str) -> bool:
        """Whether nobody does any more, within `TRACELESS_S`: the kernel closes sockets after the process has ended."""
        deadline = time.monotonic() + TRACELESS_S
        while self.is_heard(url) and time.monotonic() < deadline:
            os.sched_yield()
        return not self.is_heard(url)

    def refused(self, *, wait: bool = True, **asked: Any) -> tuple[int, Fields]:
        """Status and error of a spawn that does not come about."""
        answer = self.call("POST", "/v1/workers/spawn", {"wait": wait, **asked})
        assert answer.status_code >= 400, answer.text
        fault: Fields = answer.json()["error"]
        return answer.status_code, fault

    def workers(self) -> list[Fields]:
        """Those that are listed."""
        listed: list[Fields] = self.call("GET", "/v1/workers/list").json()["workers"]
        return listed

    def worker(self, worker_id: str) -> Fields:
        """One of them."""
        return next(worker for worker in self.workers() if worker["worker_id"] == worker_id)

    # --- its processes ----------------------------------------------------------------------------------------------

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal the hive alone."""
        self.process.send_signal(number)

    def ended(self) -> int:
        """Its exit status, awaited."""
        return self.process.wait(PATIENCE_S)

    def template(self) -> int:
        """Number of its template process."""
        return next(pid for pid in living_in(self.home) if b"penstock template" in command_of(pid))


@contextmanager
def hive(
    home: Path,
    models: list[Fields] | None = None,
    policy: Fields | None = None,
    *,
    is_child: bool = False,
    path_first: str = "",
    **options: Any,
) -> Iterator[HiveProcess]:
    """A hive that is reached; at the end it is told to end, if it has not, and nothing may be left."""
    home.mkdir(parents=True, exist_ok=True)
    worker_policy = options.pop("worker_policy", {})
    settings = {
        "options": {"name": "here", "port": 0, **options},
        "policy": {"port_first": 0, "port_last": 0, **(policy or {})},
        "worker_policy": worker_policy,
        "models": models or [ECHO],
    }
    running = HiveProcess(home, settings, is_child=is_child, path_first=path_first)
    with running.process:
        try:
            running.reached()
            yield running
            if running.process.poll() is None:
                running.kill(signal.SIGTERM)
                assert running.ended() == 0, running.log()
        finally:
            running.process.kill()
            running.process.wait(PATIENCE_S)
    assert_gone(home)
    assert [url for url in running.sockets if not running.falls_silent(url)] == []


def command_of(pid: int) -> bytes:
    """Its command line, as `ps` shows it; empty where it has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def living_in(home: Path) -> list[int]:
    """Numbers of the processes, zombies left out, whose working directory is `home`."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and _lives_in(name, home)]


def _lives_in(name: str, home: Path) -> bool:
    try:
        return os.readlink(f"/proc/{name}/cwd") == str(home)
    except OSError:
        return False


def assert_gone(home: Path) -> None:
    """Nothing that was started there is alive, within `TRACELESS_S`."""
    deadline = time.monotonic() + TRACELESS_S
    for pid in living_in(home):
        with _pidfd(pid) as pidfd:
            wait_for_end(pidfd, max(0.0, deadline - time.monotonic()))
    left = {pid: command_of(pid) for pid in living_in(home)}
    assert not left, left


@contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        yield -1
        return
    try:
        yield pidfd
    finally:
        os.close(pidfd)


def wait_for_end(pidfd: int, timeout_s: float = PATIENCE_S) -> bool:
    """Whether its process has ended within that time."""
    if pidfd < 0:
        return True
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1_000))


def has_ended(pid: int, timeout_s: float = PATIENCE_S) -> bool:
    """Whether the process has ended within that time."""
    with _pidfd(pid) as pidfd:
        return wait_for_end(pidfd, timeout_s)


def port_of(url: str) -> int:
    """`http://127.0.0.1:8001`: 8001."""
    return int(url.rpartition(":")[2])


def is_free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What they give, called at the same time."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(calls)) as pool:
        return [each.result() for each in [pool.submit(call) for call in calls]]


class Stream:
    """A request to a worker, read in the background."""

    def __init__(self, url: str, prompt: str = "go") -> None:
        self._url, self._prompt = url, prompt
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        reader = Reader()
        body = {"prompt": self._prompt}
        try:
            with (
                httpx2.Client(timeout=PATIENCE_S, trust_env=False, verify=False) as client,
                client.stream("POST", f"{self._url}/v1/inference", json=body) as answer,
            ):
                for data in answer.iter_raw():
                    for said in reader.feed(data):
                        if (event := read_event(said)) is not None:
                            self._events.put(event)
        except httpx2.HTTPError:
            pass
        self._events.put(None)

    def next(self) -> Event | None:
        """The next event; None where it has ended, or broke off."""
        return self._events.get(timeout=PATIENCE_S)

    def until(self, kind: type[Event]) -> Event:
        """The next event of that kind."""
        while True:
            event = self.next()
            assert event is not None, f"no {kind.__name__} came"
            if isinstance(event, kind):
                return event

    def rest(self) -> list[Event]:
        """All that comes still."""
        return list(iter(self.next, None))


def release(fifo: Path) -> None:
    """Let one who holds there go on."""
    with open(fifo, "wb", buffering=0) as file:
        file.write(b".")
