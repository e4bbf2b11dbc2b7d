"""Machines behind SSH: a real sshd on loopback, and a home of its own for what it starts."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from pytest_bdd import given, then, when

from tests.contract.ssh_world import HOST, Sshd, running_sshd
from tests.scenarios.programs import PATH
from tests.scenarios.steps.phrases import line
from tests.scenarios.traces import living_in, told
from tests.scenarios.waiting import until
from tests.scenarios.world import World

FAR = """\
#!/bin/sh
# What is Penstock there: the same sources, a home of its own, and nothing of the environment that ssh brings.
cd {far} && exec env HOME={far} PENSTOCK_FLEET_HOME={far} PYTHONPATH={path} {python} -m penstock.cli "$@"
"""


@given("a machine that SSH reaches")
def machine(world: World) -> None:
    far = world.root / "far"
    far.mkdir()
    (far / "penstock").write_text(FAR.format(far=far, path=PATH, python=sys.executable))
    (far / "penstock").chmod(0o755)
    place = world.root / "sshd"
    place.mkdir()
    world.known["sshd"] = world.stack.enter_context(running_sshd(place))


def _add(world: World, name: str, key: str = "key", command: str = "") -> None:
    sshd: Sshd = world.known["sshd"]
    place = f"{getpass.getuser()}@{HOST}:{sshd.port}"
    ways = ("--key", str(sshd.place / key), "--ssh-config", str(sshd.client), "--port", "0", "--ports", "any")
    far = command or str(world.root / "far" / "penstock")
    world.penstock("hives", "add", name, "--ssh", place, *ways, "--command", far, "--queen", world.queen.url)
    world.traces.note()


@when(line("the machine is added as {name}"))
def added(world: World, name: str) -> None:
    _add(world, name)


@when(line("the machine is added as {name} with another key"))
def added_with_key(world: World, name: str) -> None:
    _add(world, name, key="other_key")


@when(line("the machine is added as {name} with a command that is not there"))
def added_with_command(world: World, name: str) -> None:
    _add(world, name, command="/nowhere/penstock")


@then("no process of the machine was told the token as an argument")
def token_hidden(world: World) -> None:
    running = told(living_in(_far(world)))
    assert running and not any(world.token in words for words in running)


@then("nothing runs on the machine")
def nothing_runs(world: World) -> None:
    until(lambda: not living_in(_far(world)), "nothing is left on the machine", 3.0)


def _far(world: World) -> Path:
    return world.root / "far"
