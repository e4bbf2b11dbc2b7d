"""One kill after the other, and what is left of each.

Before a kill there are workers in every state: one idle, one that loads, one that streams, one that is stopped, and one
with a server below it which has started a process in a session of its own. Now and then the kill comes in the middle of
their start. What was owned has a second to go; what was not owned has to live on.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from penstock.fleet.processes import Process, identify
from tests.scenarios.programs import COMMAND, Program
from tests.scenarios.steps.trouble import stubborn_server
from tests.scenarios.traces import command_of, told
from tests.scenarios.waiting import until
from tests.scenarios.world import World, at_once, dispose, new_world, signal_all

GONE_S = 1.0
TOLD_EVERY = 10
STATES = ("idle", "cold", "slow", "stopped", "up")
IN_THE_MIDDLE = 0.25
START_S_MAX = 1.5


def fleet_models(world: World) -> None:
    """One for each state."""
    script = "repeat: true\nreplies: [{tokens: [one, ' two']}]\n"
    world.add_model("idle", script)
    world.add_model("stopped", script)
    world.add_model("slow", "repeat: true\nreplies: [{tokens: [one, ' two'], hold: GO, hold_after: 1}]\n")
    world.add_model("cold", script + "load: {hold: LOAD}\n")
    stubborn_server(world, "up")


def bring_up(world: World) -> None:
    """A worker in each state."""
    at_once([lambda model=model: _bring_one(world, model) for model in STATES])  # type: ignore[misc]
    os.kill(world.worker("stopped")["pid"], signal.SIGSTOP)
    world.clients["streaming"].until(lambda: world.clients["streaming"].text == "one", "it streams")
    world.traces.note()


def _bring_one(world: World, model: str) -> None:
    if model == "slow":
        world.infer("streaming", "slow")
    elif model == "cold":
        world.spawn("cold", wait=False)
        until(lambda: world.worker("cold")["state"] == "loading", "it loads")
    else:
        answer = world.spawn(model)
        assert answer.status == 200, answer.body


@dataclass
class Kills:
    """Of one kind. `left`: how many of them left something behind, or ended what should have lived on."""

    kind: str
    chance: random.Random
    deadline: float
    done: int = 0
    left: int = 0
    slowest_s: float = 0.0
    lives: dict[str, Process] = field(default_factory=dict)

    def run(self, times: int) -> None:
        """As often as that, or until the time is over."""
        with KINDS[self.kind]() as kill:
            for number in range(1, times + 1):
                if time.monotonic() > self.deadline:
                    print(f"{self.kind}: the time is over after {self.done}", flush=True)
                    return
                self._note(number, kill(self.chance))
                if number % TOLD_EVERY == 0 or number == times:
                    self._tell(times)

    def _note(self, number: int, outcome: Outcome) -> None:
        self.done += 1
        self.slowest_s = max(self.slowest_s, outcome.took_s)
        if outcome.left:
            self.left += 1
            print(f"{self.kind} {number}: {outcome.left}", flush=True)

    def _tell(self, times: int) -> None:
        ms = round(self.slowest_s * 1_000)
        print(f"{self.kind}: {self.done} of {times}, {self.left} left, the slowest gone in {ms} ms", flush=True)


@dataclass(frozen=True)
class Outcome:
    """`left`: what is wrong; empty where nothing is."""

    took_s: float
    left: list[str]


Kill = Callable[[random.Random], Outcome]


def _gone(world: World, living: list[Process]) -> Outcome:
    """Wait until nobody but those is there, and no port of others; at most a second."""
    begun = time.monotonic()
    world.traces.leave_out(living)

    def left() -> list[str]:
        ours = tuple(f"{process.pid}: " for process in living)
        return [each for each in world.traces.left() if not each.startswith(ours)]

    with suppress(AssertionError):
        until(lambda: not left(), "nothing is left", GONE_S)
    dead = [f"{process.pid} has ended, and should not" for process in living if identify(process.pid) != process]
    outcome = Outcome(time.monotonic() - begun, left() + dead)
    for process in _all_of(world):
        if process not in living:
            signal_all(process.pid, signal.SIGKILL)
    return outcome


def _identified(*pids: int) -> list[Process]:
    found = [identify(pid) for pid in pids]
    assert all(found), [command_of(pid) for pid in pids]
    return [process for process in found if process is not None]


def _forget(world: World, name: str) -> None:
    """A program that was killed: close what is open of it."""
    for client in world.clients.values():
        client.leave()
    world.clients.clear()
    world.programs.pop(name).close()
    world.traces.sockets.clear()


@contextmanager
def hive_kills() -> Iterator[Kill]:
    """The queen stays, and gets a new hive each time."""
    world = new_world()
    fleet_models(world)
    world.start_fleet()
    queen = _identified(world.queen.pid)

    def kill(chance: random.Random) -> Outcome:
        hive = world.start_hive("here", world.queen.url)
        hive.reached()
        world.until_listed("here")
        _bring_up_or_half(world, chance)
        hive.send(signal.SIGKILL)
        outcome = _gone(world, queen)
        _forget(world, "here")
        return outcome

    with contextlib.closing(contextlib.ExitStack()) as stack:
        stack.callback(dispose, world)
        yield kill


def _bring_up_or_half(world: World, chance: random.Random) -> None:
    """All of it, or as much as comes in a moment."""
    if chance.random() > IN_THE_MIDDLE:
        bring_up(world)
        return
    for model in STATES:
        world.spawn(model, wait=False)
    threading.Event().wait(chance.random() * START_S_MAX)
    world.traces.note()


@contextmanager
def queen_kills() -> Iterator[Kill]:
    """The hive and its workers stay, and hear of a new queen each time."""
    world = new_world()
    fleet_models(world)
    world.start_fleet("here")
    bring_up(world)

    def kill(chance: random.Random) -> Outcome:
        pids = [worker["pid"] for worker in world.live(at="here")]
        living = [process for process in _all_of(world) if process.pid != world.queen.pid]
        port = int(world.queen.url.rpartition(":")[2])
        world.queen.send(signal.SIGKILL)
        outcome = _gone(world, living)
        missing = [str(pid) for pid in pids if identify(pid) is None]
        _forget(world, "queen")
        world.start_queen(port).reached()
        world.until_listed("here")
        world.infer("streaming", "slow")
        return Outcome(outcome.took_s, outcome.left + [f"worker {pid} has ended" for pid in missing])

    with contextlib.closing(contextlib.ExitStack()) as stack:
        stack.callback(dispose, world)
        yield kill


def _all_of(world: World) -> list[Process]:
    from tests.scenarios.traces import living_in

    return living_in(world.root)


@contextmanager
def client_kills() -> Iterator[Kill]:
    """The fleet stays as it is, and its slot comes back."""
    world = new_world()
    fleet_models(world)
    world.start_fleet("here")
    assert world.spawn("slow").status == 200

    def kill(chance: random.Random) -> Outcome:
        living = _all_of(world)
        env = {**world.environment(), "PENSTOCK_QUEEN": world.queen.url}
        words = [*COMMAND, "infer", "--model", "slow", "--prompt", "go"]
        client = Program("client", words, world.root, env)
        if chance.random() > IN_THE_MIDDLE:
            until(lambda: world.flying() == 1, "it is served")
        else:
            threading.Event().wait(chance.random())
        client.send(signal.SIGKILL)
        outcome = _gone(world, living)
        client.close()
        begun = time.monotonic()
        with suppress(AssertionError):
            until(lambda: not world.flying() and not world.waiting() and not _busy(world), "its slot is free", GONE_S)
        taken = ["a slot is taken"] if world.flying() or world.waiting() or _busy(world) else []
        return Outcome(max(outcome.took_s, time.monotonic() - begun), outcome.left + taken)

    with contextlib.closing(contextlib.ExitStack()) as stack:
        stack.callback(dispose, world)
        yield kill


def _busy(world: World) -> int:
    return int(world.health(world.worker("slow"))["busy"])


@contextmanager
def chain_kills() -> Iterator[Kill]:
    """A client that started a queen and a hive for itself."""
    world = new_world()
    fleet_models(world)
    world.write_catalogue()

    def kill(chance: random.Random) -> Outcome:
        words = [*COMMAND, "infer", "--prompt", "go", "--model", chance.choice(("slow", "cold", "up", "idle"))]
        client = Program("client", words, world.root, world.environment())
        if chance.random() > IN_THE_MIDDLE:
            until(lambda: client.process.poll() is not None or _has_worker(world), "a worker is there")
        else:
            threading.Event().wait(chance.random() * START_S_MAX)
        world.traces.note()
        client.send(signal.SIGKILL)
        outcome = _gone(world, [])
        client.close()
        world.traces.sockets.clear()
        return outcome

    with contextlib.closing(contextlib.ExitStack()) as stack:
        stack.callback(dispose, world)
        yield kill


def _has_worker(world: World) -> bool:
    return any("penstock worker" in line for line in told(_all_of(world)))


@contextmanager
def runner_kills() -> Iterator[Kill]:
    """A process that has made a world, as the runner of the tests does."""

    def kill(chance: random.Random) -> Outcome:
        world = new_world()
        words = [sys.executable, "-m", "tests.orphans.runner", str(world.root)]
        runner = subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)
        with runner:
            assert runner.stdout is not None
            if chance.random() > IN_THE_MIDDLE:
                assert runner.stdout.readline() == b"up\n"
            else:
                threading.Event().wait(0.5 + chance.random() * START_S_MAX)
            world.traces.note()
            signal_all(runner.pid, signal.SIGKILL)
            outcome = _gone(world, [])
        dispose(world)
        return outcome

    yield kill


KINDS: dict[str, Callable[[], contextlib.AbstractContextManager[Kill]]] = {
    "hive": hive_kills,
    "queen": queen_kills,
    "client": client_kills,
    "chain": chain_kills,
    "runner": runner_kills,
}
