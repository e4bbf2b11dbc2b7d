"""Where hives are, how much room they have, and when they were seen."""

from __future__ import annotations

import re
import shutil
import socket
import threading

import pytest
from pytest_bdd import given, then, when

from tests.scenarios.http import Answer, ask
from tests.scenarios.steps.phrases import line
from tests.scenarios.waiting import until
from tests.scenarios.world import World, at_once

SEEN = re.compile(r"(\d+\.\d) s ago")


@given(line("the hives here and there have {n} and {m} bytes for models"))
def hives_with_room(world: World, n: int, m: int) -> None:
    """A fleet of two."""
    world.start_fleet()
    for name, size in (("here", n), ("there", m)):
        world.words["hive"] += ["--memory-bytes", str(size)]
        world.start_hive(name, world.queen.url).reached()
        world.until_listed(name)


@then(line("the worker of {model} is at the hive {name}"))
def is_at(world: World, model: str, name: str) -> None:
    assert [worker["hive"] for worker in world.live(model)] == [name], world.workers()


@then(line("the devices of the workers of {model} are {text}"))
def devices_are(world: World, model: str, text: str) -> None:
    assert sorted(worker["device"] for worker in world.live(model)) == text.split(", "), world.workers()


@when(line("somebody has seen that it has {n} bytes free"))
def has_free(world: World, n: int) -> None:
    told = world.ask("GET", "/v1/report", at="here").json()
    assert [device["memory_free"] for device in told["devices"]] == [n], told


@when(line("workers of {model} and {name} are asked for at once"))
def both_asked(world: World, model: str, name: str) -> None:
    url = f"{world.door.url}/v1/workers/spawn"
    bodies = [{"model": each, "wait": True} for each in (model, name)]
    world.known["answers"] = at_once([lambda body=body: ask("POST", url, body) for body in bodies])  # type: ignore[misc]


@then(line("one of them is there, and the other is refused with {status} {code}: {n} required, {m} available"))
def one_of_two(world: World, status: int, code: str, n: int, m: int) -> None:
    answers: list[Answer] = sorted(world.known["answers"], key=lambda answer: answer.status)
    assert [(answer.status, answer.code) for answer in answers] == [(200, ""), (status, code)]
    details = answers[1].json()["error"]["details"]
    assert (details["required_bytes"], details["available_bytes"]) == (n, m), details
    assert len(world.live()) == 1


# --- as the command lists them --------------------------------------------------------------------------------------


@then(line("it prints the hive {name} as {state}, with its address, seen at most {n} ms ago"))
def seen_lately(world: World, name: str, state: str, n: int) -> None:
    assert _seen_ms(world, name, state) <= n


@then(line("it prints the hive {name} as {state}, with its address, seen at least {n} ms ago"))
def seen_long_ago(world: World, name: str, state: str, n: int) -> None:
    assert _seen_ms(world, name, state) >= n


def _seen_ms(world: World, name: str, state: str) -> float:
    """Of the hive's one row."""
    assert world.ended is not None
    (row,) = [row for row in world.ended.out.splitlines() if row.startswith(f"{name} ")]
    assert row.split()[1] == state and world.programs[name].url in row.split(), world.ended.out
    seen = SEEN.search(row)
    assert seen is not None, row
    return float(seen[1]) * 1_000


# --- a machine that does not speak ----------------------------------------------------------------------------------


class _Silent:
    """Takes every connection, and says nothing until it is closed."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.taken: list[socket.socket] = []
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        while True:
            try:
                self.taken.append(self._listening.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for each in (self._listening, *self.taken):
            each.close()


@given("a machine that takes connections and says nothing")
def silent_machine(world: World) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("no ssh here: install openssh-client")
    world.known["silent"] = silent = _Silent()
    world.stack.callback(silent.close)


@when(line("that machine is added as {name}, with a second for each try"))
def added(world: World, name: str) -> None:
    (world.root / "ssh_config").write_text("")
    place = f"nobody@127.0.0.1:{world.known['silent'].port}"
    ways = ("--ssh-config", str(world.root / "ssh_config"), "--timeout-s", "1", "--queen-url", world.queen.url)
    world.penstock("hives", "add", name, "--ssh", place, *ways)


@then(line("that machine was called {n} times"))
def was_called(world: World, n: int) -> None:
    until(lambda: len(world.known["silent"].taken) >= n, f"{n} calls")
    assert len(world.known["silent"].taken) == n
