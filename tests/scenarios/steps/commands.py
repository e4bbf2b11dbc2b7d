"""Commands, and the files that they are about."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest
from pytest_bdd import given, then, when

from tests.fleet.gguf_files import DATA_BYTES, PAIRS, TENSORS, TINY, U32, gguf, pair
from tests.fleet.model_server import Shelf, Turn, serving
from tests.scenarios.http import ask
from tests.scenarios.programs import COMMAND, Program
from tests.scenarios.steps.asking import place_of
from tests.scenarios.steps.phrases import line
from tests.scenarios.traces import living_in, told
from tests.scenarios.waiting import until
from tests.scenarios.world import World, at_once, split


def filled(world: World, words: str) -> list[str]:
    """`{url}`: of the server with the file; `{root}`: the folder; `{worker}`: the id of the worker of tiny."""
    shelf = world.known.get("shelf")
    worker = world.worker("tiny")["worker_id"] if "{worker}" in words else ""
    for name, value in (("url", shelf.url if shelf else ""), ("root", str(world.root)), ("worker", worker)):
        words = words.replace(f"{{{name}}}", value)
    return split(words)


@given(line("someone runs penstock {words}"))
@when(line("someone runs penstock {words}"))
def runs(world: World, words: str) -> None:
    world.penstock(*filled(world, words))


@when(line("someone without a queen runs penstock {words}"))
def runs_alone(world: World, words: str) -> None:
    world.penstock(*filled(world, words), PENSTOCK_QUEEN="")


@when(line("someone pipes {text} into penstock {words}"))
def pipes(world: World, text: str, words: str) -> None:
    world.penstock(*filled(world, words), stdin=text)


@when(line("someone starts penstock {words}"))
def starts(world: World, words: str) -> None:
    """It goes on meanwhile."""
    queen = {"PENSTOCK_QUEEN": world.queen.url} if "queen" in world.programs else {}
    env = {**world.environment(), **queen}
    world.programs["command"] = Program("command", [*COMMAND, *filled(world, words)], world.root, env)


@then(line("it exits with {n}"))
def exits(world: World, n: int) -> None:
    if "command" in world.programs:
        said = world.programs["command"].log.lines
        assert world.programs["command"].ended() == n, said
        return
    assert world.ended is not None
    assert world.ended.exit_code == n, (world.ended.out, world.ended.err)


@then(line("it prints {text}"))
def prints(world: World, text: str) -> None:
    out = _out(world)
    assert text in out, (out, world.ended.err if world.ended else "")


@then("its output is empty")
def prints_nothing(world: World) -> None:
    assert _out(world).strip() == ""


@then(line("it says {text}"))
def says(world: World, text: str) -> None:
    if "command" in world.programs:
        lines = world.programs["command"].log
        with lines.changed:
            lines.changed.wait_for(lambda: text in "\n".join(lines.lines) or lines.is_over, 20)
        assert text in "\n".join(lines.lines), lines.lines
        return
    assert world.ended is not None
    assert text in world.ended.err, world.ended.err


def _out(world: World) -> str:
    if "command" in world.programs:
        world.programs["command"].ended()
        return "\n".join(world.programs["command"].out.lines)
    assert world.ended is not None
    return world.ended.out


@when(line("{signal} hits the command"))
def hits_command(world: World, signal: str) -> None:
    world.programs["command"].send(_signals()[signal])


def _signals() -> dict[str, signal.Signals]:
    return {each.name: each for each in signal.Signals}


@then("nothing runs in its folder any more")
def nothing_runs(world: World) -> None:
    until(lambda: not living_in(world.root), "nothing of it is left", 1.0)


@then(line("{n} programs run in its folder"))
def programs_run(world: World, n: int) -> None:
    """The template of a hive is one of them."""
    until(lambda: len(living_in(world.root)) >= n, f"{n} programs: {told(living_in(world.root))}")
    world.traces.note()


@then(line("its data has {key} {text}"))
def data_has(world: World, key: str, text: str) -> None:
    """Of a path through the JSON on stdout: `gguf.architecture`."""
    assert world.ended is not None
    found: Any = json.loads(world.ended.out)
    for part in key.split("."):
        found = found[int(part)] if part.isdigit() else found[part]
    assert str(found) == text, found


# --- files ----------------------------------------------------------------------------------------------------------

TYPES = {"Q4_K_M": 15, "Q5_K_M": 17, "Q8_0": 7}


@given(line("a GGUF file {name}"))
def gguf_file(world: World, name: str) -> None:
    (world.root / f"{name}.gguf").write_bytes(TINY)


@given(line("a GGUF file {name} quantized as {text}"))
def gguf_quantized(world: World, name: str, text: str) -> None:
    pairs = [each for each in PAIRS if b"general.file_type" not in each]
    data = gguf([*pairs, pair("general.file_type", U32, TYPES[text])], TENSORS, DATA_BYTES)
    (world.root / f"{name}.gguf").write_bytes(data)


@when(line("somebody changes the file {name}"))
def changes_file(world: World, name: str) -> None:
    path = world.root / f"{name}.gguf"
    path.write_bytes(path.read_bytes()[:-1] + b"!")


@given(line("a server that has the file"))
def file_server(world: World) -> None:
    _serve(world, [])


@given(line("a server that answers {status} for the file"))
def failing_server(world: World, status: int) -> None:
    _serve(world, [Turn(status=status)] * 20)


@given(line("a server that breaks off after {n} bytes, once"))
def breaking_server(world: World, n: int) -> None:
    _serve(world, [Turn(bytes_max=n)])


@given(line("a server that breaks off after {n} bytes, always"))
def always_breaking(world: World, n: int) -> None:
    _serve(world, [Turn(bytes_max=n, ignores_range=True)] * 100)


def _serve(world: World, turns: list[Turn]) -> None:
    shelf = Shelf(TINY, turns=turns)
    world.known["shelf"] = world.stack.enter_context(serving(shelf))
    world.known["sha256"] = hashlib.sha256(TINY).hexdigest()


@then(line("the server was asked for the ranges {text}"))
def ranges(world: World, text: str) -> None:
    wanted = [] if text == "none" else [each.strip("- ") for each in text.split(", ")]
    asked = [each.removeprefix("bytes=").strip("-") for each in world.known["shelf"].ranges]
    assert asked == wanted, asked


@then(line("the server was asked {n} times"))
def asked_times(world: World, n: int) -> None:
    assert len(world.known["shelf"].asked) == n


@then(line("the file {name} is whole"))
def file_is_whole(world: World, name: str) -> None:
    found = list((world.root / "models").glob(f"{name}*"))
    assert [path.read_bytes() for path in found] == [TINY], found


@then("no file of it is left")
def no_file(world: World) -> None:
    assert not [path for path in (world.root / "models").glob("*") if path.suffix == ".gguf"]


@when(line("{n} people run penstock {words} at once"))
def people_run(world: World, n: int, words: str) -> None:
    argv = [*COMMAND, *filled(world, words)]
    env = world.environment()

    def one() -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, cwd=world.root, env=env, capture_output=True, text=True, timeout=60)

    world.known["people"] = at_once([one] * n)


@then(line("all of them exit with {n}"))
def all_exit(world: World, n: int) -> None:
    people = world.known["people"]
    assert [each.returncode for each in people] == [n] * len(people), [each.stderr for each in people]


@when("the catalogue is damaged")
def catalogue_damaged(world: World) -> None:
    (world.root / "models.json").write_text('{"version": 1, "models": [')


@then(line("the damaged catalogue is kept as {text}"))
def catalogue_kept(world: World, text: str) -> None:
    assert (world.root / text).read_text() == '{"version": 1, "models": ['


@given(line("the user's own file says {text}"))
def own_file(world: World, text: str) -> None:
    path = world.root / ".config" / "penstock" / "fleet.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text.replace("\\n", "\n") + "\n")


@given("an address where nobody listens")
def nobody_listens(world: World) -> None:
    with contextlib.closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        world.env["PENSTOCK_QUEEN"] = f"http://127.0.0.1:{bound.getsockname()[1]}"


@given("a test runner that has started a fleet")
def runner(world: World) -> None:
    words = [sys.executable, "-m", "tests.orphans.runner", str(world.root)]
    world.programs["runner"] = Program("runner", words, world.root, world.environment())
    out = world.programs["runner"].out
    with out.changed:
        out.changed.wait_for(lambda: out.lines or out.is_over, 60)
    assert out.lines == ["up"], world.programs["runner"].log.lines
    world.traces.note()


@when(line("{signal} hits the test runner"))
def hits_runner(world: World, signal: str) -> None:
    world.programs["runner"].send(_signals()[signal])


@then("the command serves")
def command_serves(world: World) -> None:
    assert ask("GET", f"{world.programs['command'].reached()}/v1/health").status == 200


@then(line("the command has printed {text}"))
def has_printed(world: World, text: str) -> None:
    """Whole lines, or what of a line has come."""
    out = world.programs["command"].out
    with out.changed:
        out.changed.wait_for(lambda: text in out.text() or out.is_over, 30)
    assert text in out.text(), (out.text(), world.programs["command"].log.lines)


@then(line("it ends by {signal}"))
def ends_by(world: World, signal: str) -> None:
    """130 where it could say so."""
    wanted = {"SIGINT": 130, "SIGKILL": -9}[signal]
    assert world.programs["command"].ended() == wanted, world.programs["command"].log.lines


@given("nobody is at the usual place")
def usual_place_free(world: World) -> None:
    with socket.socket() as looking:
        if looking.connect_ex(("127.0.0.1", 8080)) == 0:
            pytest.skip("somebody listens at 127.0.0.1:8080")


@when(line("the log of that worker is asked of {target}"))
def its_log_is_asked(world: World, target: str) -> None:
    world.ask("GET", f"/v1/workers/{world.known['ended']}/logs", at=place_of(world, target))


@then("it is the whole log, byte by byte")
def whole_log(world: World) -> None:
    assert world.answer is not None
    assert world.answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert world.answer.body == (world.root / "logs" / f"worker-{world.known['ended']}.log").read_bytes()


@given(line("nvidia-smi that {text}"))
def nvidia_smi(world: World, text: str) -> None:
    """As its manual has it: a line a card."""
    ways = {"fails": "echo no driver\nexit 9", "says nonsense": "echo '|=====+=====|'"}
    cards = "\n".join(f"echo '{card}'" for card in text.removeprefix("says ").split(" and "))
    path = world.root / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{ways.get(text, cards)}\n")
    path.chmod(0o755)
    world.env["PATH"] = f"{world.root}:{os.environ['PATH']}"
