"""The world of one scenario: a folder, the models in it, a fleet of real processes, and its clients.

When it is closed, nothing of it may be left: no process, no port, no open pipe. That is asserted after each scenario,
for the fleets that several scenarios share after the last of them.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.fleet.catalogue.catalogue import Catalogue
from penstock.fleet.orders import Model
from penstock.fleet.processes import identify, signal_process
from penstock.model_script import read_worker_script
from tests.scenarios.http import Answer, Client, ask
from tests.scenarios.programs import COMMAND, OWNER, Fields, Program, environment
from tests.scenarios.traces import Traces, living_in
from tests.scenarios.waiting import PATIENCE_S, until

TRACELESS_S = 1.0
TOLD = ("--verbose",)
TIED = ("--with-parent", "--owner-fd", OWNER)
END_S = 60.0
ONCE = re.compile(r"once: (\w+)")
LIVE = ("starting", "loading", "idle", "busy", "draining")


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    exit_code: int
    out: str
    err: str


@dataclass(repr=False)
class World:
    """`stack`: what is closed with it, before its programs are."""

    root: Path
    limits: dict[str, dict[str, int]] = field(default_factory=lambda: {"queen": {}, "hive": {}, "worker": {}})
    words: dict[str, list[str]] = field(default_factory=lambda: {"queen": [*TOLD], "hive": [*TOLD, "--ports", "any"]})
    """What their commands are given; of two that contradict each other the last one counts."""
    models: dict[str, Fields] = field(default_factory=dict)
    programs: dict[str, Program] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    crowd: list[Client] = field(default_factory=list)
    token: str = ""
    answer: Answer | None = None
    ended: Ended | None = None
    known: dict[str, Any] = field(default_factory=dict)
    """What a scenario saw of the fleet earlier, to be compared with what it sees later."""
    env: dict[str, str] = field(default_factory=dict)
    shared: bool = False
    """Several scenarios live in it, one after the other."""
    stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.traces = Traces(self.root)

    # --- models -----------------------------------------------------------------------------------------------------

    def add_model(self, name: str, script: str | None = None, **fields: Any) -> None:
        """A model of the catalogue, before the fleet is there. With a script it is a scripted one."""
        told: Fields = {"backend": "scripted", **fields}
        if script is not None:
            path = self.root / f"{name}.yaml"
            path.write_text(script)
            for place in read_worker_script(script.encode(), name).holds:
                with suppress(FileExistsError):
                    os.mkfifo(self.root / place)
            for place in ONCE.findall(script):
                (self.root / place).touch()
            told["path"] = str(path)
        self.models[name] = told

    def write_catalogue(self) -> None:
        """What was not written yet."""
        catalogue = Catalogue(self.root)
        listed = {model.name for model in catalogue.models()}
        catalogue.add_all([Model(name=name, **told) for name, told in self.models.items() if name not in listed])

    def release(self, place: str, times: int = 1) -> None:
        """Let go who holds there, as many as are said."""
        fifo = os.open(self.root / place, os.O_RDWR | os.O_NONBLOCK)
        try:
            os.write(fifo, b"." * times)
        finally:
            os.close(fifo)

    # --- programs ---------------------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """Of every process of it."""
        token = {"PENSTOCK_FLEET_TOKEN_FILE": str(self.root / "token")} if self.token else {}
        return environment(self.root, **token, **self.env)

    def start(self, name: str, argv: list[str]) -> Program:
        """A program, not waited for."""
        self.programs[name] = program = Program(name, argv, self.root, self.environment())
        return program

    def start_queen(self, port: int = 0) -> Program:
        """As it is told to be."""
        words = ("--port", str(port), *self.words["queen"], *self._limits("queen"))
        return self.start("queen", [*COMMAND, "queen", *words, *TIED])

    def start_hive(self, name: str, queen: str, port: int = 0) -> Program:
        """`queen`: its URL, `none` for a hive of its own."""
        words = ("--name", name, "--port", str(port), "--queen", queen, *self.words["hive"])
        limits = (*self._limits("hive"), *self._limits("worker", "worker."))
        return self.start(name, [*COMMAND, "hive", *words, *limits, *TIED])

    def _limits(self, kind: str, prefix: str = "") -> list[str]:
        return [word for name, n in self.limits[kind].items() for word in ("--limit", f"{prefix}{name}={n}")]

    def start_fleet(self, *hives: str) -> None:
        """A queen, and the hives that she is to hear of."""
        self.write_catalogue()
        url = self.start_queen().reached()
        for name in hives:
            self.start_hive(name, url)
        for name in hives:
            self.programs[name].reached()
            self.until_listed(name)

    def until_listed(self, name: str, state: str = "ready") -> None:
        """The queen lists it in that state; the one that is ours, where another had the name before."""
        url = self.programs[name].url if name in self.programs else ""

        def is_so(hive: Fields) -> bool:
            return hive["name"] == name and hive["state"] == state and url in ("", hive["url"])

        until(lambda: any(map(is_so, self.hives())), f"hive {name}: {state}")

    @property
    def queen(self) -> Program:
        """Of this world."""
        return self.programs["queen"]

    @property
    def door(self) -> Program:
        """Where clients ask: the queen, or the hive of its own."""
        return self.programs.get("queen") or next(iter(self.programs.values()))

    def penstock(self, *words: str, stdin: str = "", **env: str) -> Ended:
        """A command, run to its end."""
        queen = {"PENSTOCK_QUEEN": self.queen.url} if "queen" in self.programs else {}
        ended = subprocess.run(
            [*COMMAND, *words],
            input=stdin,
            cwd=self.root,
            env={**self.environment(), **queen, **env},
            capture_output=True,
            text=True,
            timeout=END_S,
        )
        self.ended = Ended(ended.returncode, ended.stdout, ended.stderr)
        return self.ended

    # --- what it is asked -------------------------------------------------------------------------------------------

    def headers(self, **more: str) -> dict[str, str]:
        """Those of every request: the token, where there is one."""
        token = {"authorization": f"Bearer {self.token}"} if self.token else {}
        return {**token, **{name.replace("_", "-"): value for name, value in more.items()}}

    def ask(self, method: str, path: str, body: Any = None, at: str = "", **headers: str) -> Answer:
        """A question to the queen, or to `at`: a name or a URL. Kept as `answer`."""
        url = at if at.startswith("http") else (self.programs[at] if at else self.door).url
        self.answer = ask(method, f"{url}{path}", body, self.headers(**headers))
        return self.answer

    def client(self, name: str, path: str, body: Any, at: str = "", *, is_slow: bool = False, **headers: str) -> Client:
        """A request under way."""
        made = Client(f"{at or self.door.url}{path}", body, self.headers(**headers), is_slow=is_slow)
        self.clients[name] = made
        return made

    def infer(self, name: str, model: str, prompt: str = "go", at: str = "", **fields: Any) -> Client:
        """A prompt, asked by a client of that name."""
        told = {"prompt": prompt, "model": model, **fields}
        return self.client(name, "/v1/inference", told, at)

    def spawn(self, model: str, *, wait: bool = True, at: str = "", **fields: Any) -> Answer:
        """Ask for a worker."""
        return self.ask("POST", "/v1/workers/spawn", {"model": model, "wait": wait, **fields}, at)

    # --- what it shows ----------------------------------------------------------------------------------------------

    def hives(self) -> list[Fields]:
        """As the queen lists them."""
        listed: list[Fields] = ask("GET", f"{self.queen.url}/v1/hives", None, self.headers()).json()["hives"]
        return listed

    def workers(self, model: str = "", at: str = "") -> list[Fields]:
        """As they are listed, those of one model or all."""
        url = self.programs[at].url if at else self.door.url
        listed: list[Fields] = ask("GET", f"{url}/v1/workers/list", None, self.headers()).json()["workers"]
        return [worker for worker in listed if model in ("", worker["model"])]

    def live(self, model: str = "", at: str = "") -> list[Fields]:
        """Workers that have not ended."""
        return [worker for worker in self.workers(model, at) if worker["state"] in LIVE]

    def worker(self, model: str) -> Fields:
        """The first that lives."""
        found = self.live(model)
        assert found and found[0]["pid"], f"no worker of {model}: {self.workers()}"
        return found[0]

    def metrics(self, at: str = "") -> dict[str, float]:
        """What monitoring sees."""
        url = at if at.startswith("http") else (self.programs[at] if at else self.door).url
        text = ask("GET", f"{url}/metrics").body.decode()
        lines = [line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    def waiting(self) -> int:
        """Requests that wait at the queen."""
        told = self.metrics("queen")
        return int(sum(value for name, value in told.items() if name.startswith("penstock_queen_queue_depth")))

    def flying(self) -> int:
        """Requests of the queen that a worker has."""
        return int(self.metrics("queen")["penstock_queen_requests_in_flight"])

    def health(self, worker: Fields) -> Fields:
        """What a worker says of itself."""
        told: Fields = ask("GET", f"{worker['url']}/v1/health").json()
        return told

    def story(self) -> str:
        """For a message: the last words of its programs, and how far its clients are."""
        told = [f"{name}: {client.told()}" for name, client in self.clients.items()]
        for name, program in self.programs.items():
            told += [f"{name}: {line[:600]}" for line in program.log.lines[-25:] if '"GET"' not in line]
        return "\n".join(told)

    # --- its end ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End everything, and see that nothing is left."""
        try:
            self.traces.note()
            for client in (*self.clients.values(), *self.crowd):
                client.leave()
            self.stack.close()
            self._end_programs()
            with suppress(AssertionError):
                until(lambda: not self.traces.left(), "no trace", TRACELESS_S)
            left = self.traces.left()
        finally:
            self._kill_all()
        assert not left, f"left behind: {left}"
        for program in self.programs.values():
            program.close()

    def _end_programs(self) -> None:
        """Drain them; who takes long is told once more, which is at once."""
        programs = [program for program in self.programs.values() if program.process.poll() is None]
        for number, limit_s in ((signal.SIGTERM, 3.0), (signal.SIGTERM, 10.0)):
            deadline = time.monotonic() + limit_s
            for program in programs:
                if program.process.poll() is None:
                    signal_all(program.pid, signal.SIGCONT)
                    program.send(number)
            for program in programs:
                with suppress(subprocess.TimeoutExpired):
                    program.ended(max(0.0, deadline - time.monotonic()))
        stubborn = [program.name for program in programs if program.process.poll() is None]
        assert not stubborn, f"two signals did not end {stubborn}"

    def _kill_all(self) -> None:
        """Whatever went wrong: the next scenario starts on clean ground."""
        for process in living_in(self.root):
            signal_process(process, signal.SIGKILL)
        for program in self.programs.values():
            program.process.wait(PATIENCE_S)


def signal_all(pid: int, number: signal.Signals) -> None:
    """Signal exactly that process, if it is there."""
    process = identify(pid)
    if process is not None:
        signal_process(process, number)


def new_world(*, shared: bool = False) -> World:
    """In a folder of its own, that the process of the test removes."""
    folder = tempfile.TemporaryDirectory(prefix="penstock-scenario-")
    world = World(Path(folder.name).resolve(), shared=shared)
    world.known["folder"] = folder
    return world


def dispose(world: World) -> None:
    """Close it, and remove its folder, however that goes."""
    try:
        world.close()
    finally:
        world.known["folder"].cleanup()


def settled(world: World) -> None:
    """A scenario of several in one world is over: nobody asks any more, and nothing is under way."""
    for client in (*world.clients.values(), *world.crowd):
        client.leave()
    world.clients.clear()
    world.crowd.clear()
    if "queen" in world.programs:
        until(lambda: (world.waiting(), world.flying()) == (0, 0), "nothing waits or is in flight")


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """What they give, called at the same time."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(calls)) as pool:
        return [each.result() for each in [pool.submit(call) for call in calls]]


def split(words: str) -> list[str]:
    """As a shell does."""
    return shlex.split(words)
