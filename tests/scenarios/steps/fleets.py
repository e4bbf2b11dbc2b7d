"""Given: models, limits, programs."""

from __future__ import annotations

import os
import secrets

from pytest_bdd import given, when

from tests.scenarios.http import ask
from tests.scenarios.steps.phrases import line
from tests.scenarios.waiting import until
from tests.scenarios.world import World, at_once, split


@given(line("a model {model} that says {text}"))
def model_says(world: World, model: str, text: str) -> None:
    assert ", and waits for" not in text, "the place is not well written"
    first, *rest = text.split(" ")
    tokens = [first, *(f" {word}" for word in rest)]
    world.add_model(model, f"repeat: true\nreplies: [{{tokens: {tokens!r}}}]\n")


@given(line("a model {model} with the script"))
def model_with_script(world: World, model: str, docstring: str) -> None:
    world.add_model(model, docstring)


@given(line("a model {model} that says {text}, and waits for {place} after {n}"))
def model_waits(world: World, model: str, text: str, place: str, n: int) -> None:
    first, *rest = text.split(" ")
    tokens = [first, *(f" {word}" for word in rest)]
    world.add_model(model, f"repeat: true\nreplies: [{{tokens: {tokens!r}, hold: {place}, hold_after: {n}}}]\n")


@given(line("a model {model} that waits for {place} while it loads"))
def model_loads(world: World, model: str, place: str) -> None:
    script = f"repeat: true\nreplies: [{{tokens: [loaded]}}]\nload: {{steps: 2, ms: 20, hold: {place}}}\n"
    world.add_model(model, script)


@given(line("{model} has {n} slots"))
def has_slots(world: World, model: str, n: int) -> None:
    world.models[model]["slots"] = n


@given(line("{model} may have {n} workers"))
def may_have_workers(world: World, model: str, n: int) -> None:
    world.models[model]["workers_max"] = n


@given(line("{model} takes {n} bytes"))
def takes_bytes(world: World, model: str, n: int) -> None:
    world.models[model]["memory_bytes"] = n


@given(line("{model} wants the device {name}"))
def wants_device(world: World, model: str, name: str) -> None:
    world.models[model]["device"] = name


@given(line("a model {model} that is served by the command {words}"))
def model_of_command(world: World, model: str, words: str) -> None:
    argv = [word.replace("{root}", str(world.root)) for word in split(words)]
    world.models[model] = {"backend": "upstream", "argv": tuple(argv)}


@given(line("the {program} keeps {limit} at {n}"))
def keeps_limit(world: World, program: str, limit: str, n: int) -> None:
    world.limits[program][limit] = n


@given(line("the machine has {n} bytes for models"))
def has_memory(world: World, n: int) -> None:
    world.words["hive"] += ["--memory-bytes", str(n)]


@given("a hive without a template")
def no_template(world: World) -> None:
    world.words["hive"].append("--no-template")


@given("the fleet has a token")
def has_token(world: World) -> None:
    world.token = secrets.token_hex(16)
    path = world.root / "token"
    path.write_text(world.token + "\n")
    path.chmod(0o600)


@given("a fleet")
def fleet(world: World) -> None:
    if not world.programs:  # several scenarios may share one
        world.start_fleet("here")


@given(line("a fleet with the hives {name} and {other}".replace("{other}", "there")))
def fleet_of_two(world: World, name: str) -> None:
    world.start_fleet(name, "there")


@given("a queen")
def queen(world: World) -> None:
    world.start_fleet()


@given("a hive of its own")
def lone_hive(world: World) -> None:
    world.write_catalogue()
    world.start_hive("here", "none").reached()


@given(line("a hive of its own at the ports {n} to {m}"))
def lone_hive_at(world: World, n: int, m: int) -> None:
    world.words["hive"] += ["--ports", f"{n}-{m}"]
    lone_hive(world)


@given(line("the hive {name} joins"))
@when(line("the hive {name} joins"))
def joins(world: World, name: str) -> None:
    world.write_catalogue()
    world.start_hive(name, world.queen.url).reached()
    world.until_listed(name)


@given(line("a worker of {model}"))
@when(line("a worker of {model} is spawned"))
def spawned(world: World, model: str) -> None:
    if world.shared and world.live(model):
        return
    answer = world.spawn(model)
    assert answer.status == 200, answer.body
    world.known[f"worker of {model}"] = told = answer.json()
    listed = {worker["worker_id"]: worker for worker in world.live(model)}[told["worker_id"]]
    assert (told["state"], listed["state"], listed["pid"]) == ("idle", "idle", told["pid"]), listed
    world.traces.note()


@given(line("{n} workers of {model}"))
@when(line("{n} workers of {model} are spawned"))
def several_spawned(world: World, n: int, model: str) -> None:
    for _ in range(n):
        spawned(world, model)


@when(line("somebody asks for a worker of {model}"))
def asked_for_worker(world: World, model: str) -> None:
    world.spawn(model)


@when(line("somebody asks for a worker of {model}, and does not wait"))
def asked_without_waiting(world: World, model: str) -> None:
    world.spawn(model, wait=False)


@when(line("somebody asks for a worker of {model} at the port {n}"))
def asked_at_port(world: World, model: str, n: int) -> None:
    world.spawn(model, port=n)


@given(line("the command {name} is no program that can be run"))
def not_executable(world: World, name: str) -> None:
    path = world.root / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o644)
    world.env["PATH"] = f"{world.root}:{os.environ['PATH']}"


@given("the catalogue is written")
def catalogue_written(world: World) -> None:
    world.write_catalogue()


@when(line("a model {model} that says {text} is added"))
def model_added(world: World, model: str, text: str) -> None:
    model_says(world, model, text)
    world.write_catalogue()


@when(line("the queen offers {model}"))
def queen_offers(world: World, model: str) -> None:
    """At the next heartbeat of the hive."""
    until(lambda: world.ask("GET", f"/v1/models/{model}").status == 200, f"{model} is offered")


@when(line("{n} workers of {model} are asked for at once"))
def asked_at_once(world: World, n: int, model: str) -> None:
    url, headers = world.door.url, world.headers()
    body = {"model": model, "wait": True}
    answers = at_once([lambda: ask("POST", f"{url}/v1/workers/spawn", body, headers)] * n)
    assert [answer.status for answer in answers] == [200] * n, [answer.body for answer in answers]


@when(line("the worker of {model} is ended by its id"))
def ended_by_id(world: World, model: str) -> None:
    world.known["ended"] = world.worker(model)["worker_id"]
    world.ask("DELETE", f"/v1/workers/{world.known['ended']}")


@when("the same worker is ended once more")
def ended_again(world: World) -> None:
    world.ask("DELETE", f"/v1/workers/{world.known['ended']}", at="here")


@when(line("{n} workers of {model} are ended by their ids"))
def several_ended(world: World, n: int, model: str) -> None:
    ids = [worker["worker_id"] for worker in world.live(model)[:n]]
    for worker_id in ids:
        assert world.ask("DELETE", f"/v1/workers/{worker_id}").status == 204
    assert not {worker["worker_id"] for worker in world.live(model)} & set(ids)
