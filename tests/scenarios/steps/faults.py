"""What clients are told of what goes wrong and of what goes on, and what they are not told."""

from __future__ import annotations

import json
import re

from pytest_bdd import given, then, when

from tests.fleet.gguf_files import TINY
from tests.fleet.model_server import Shelf, Turn, serving
from tests.scenarios.http import Client
from tests.scenarios.steps.phrases import line
from tests.scenarios.waiting import until
from tests.scenarios.world import World

PLACES = re.compile(r"/(?:tmp|proc|dev|home|root|usr|v1)\b|\b\d{1,3}(?:\.\d{1,3}){3}\b|\blocalhost\b|\.py\b|Traceback")


@then(line("{client} is told no path, no address and no token"))
def told_no_place(world: World, client: str) -> None:
    """In the message. The last lines of a worker's log are what its engine wrote."""
    message = _message(world.clients[client])
    assert message and not PLACES.search(message), message
    assert str(world.root) not in message and (not world.token or world.token not in message), message


def _message(client: Client) -> str:
    client.over()
    if client.status >= 400:
        return str(json.loads(client.raw)["error"]["message"])
    told = [json.loads(said.data) for said in client.events if said.data != "[DONE]"]
    (fault,) = [each.get("error", each) for each in told if "code" in each.get("error", each)]
    return str(fault["message"])


@then(line("the head of the answer of {client} has the id {name}"))
def head_has_id(world: World, client: str, name: str) -> None:
    assert world.clients[client].request_id == name, world.clients[client].headers


# --- names that lead elsewhere --------------------------------------------------------------------------------------


@when("somebody puts a link to the catalogue in place of its log")
def link_for_log(world: World) -> None:
    log = world.root / "logs" / f"worker-{world.known['ended']}.log"
    until(log.is_file, "its log")
    log.unlink()
    log.symlink_to(world.root / "models.json")


@then("nothing of the catalogue is in the answer")
def nothing_of_catalogue(world: World) -> None:
    assert world.answer is not None
    assert b"models" in (world.root / "models.json").read_bytes()
    assert b"version" not in world.answer.body and b"scripted" not in world.answer.body, world.answer.body


# --- progress -------------------------------------------------------------------------------------------------------


@when(line("{client} follows the loading of the worker of {model}"))
def follows(world: World, client: str, model: str) -> None:
    url = f"{world.worker(model)['url']}/v1/loading/progress"
    world.clients[client] = Client(url, None, world.headers(), method="GET")


@then(line("{client} hears that {n} of {m} layers are loaded, and of no end yet"))
def hears_progress(world: World, client: str, n: int, m: int) -> None:
    asked = world.clients[client]
    asked.until(lambda: (n, m) in _layers(asked), f"{client} hears of {n} of {m} layers")
    assert set(asked.names) == {"progress"} and not asked.is_over, asked.told()


@then(line("{client} hears of the end of it"))
def hears_end(world: World, client: str) -> None:
    asked = world.clients[client]
    asked.over()
    assert asked.names[-2:] == ["end", "[DONE]"] and not asked.is_torn, asked.told()


def _layers(client: Client) -> list[tuple[int, int]]:
    told = [json.loads(said.data) for said in client.events if said.name == "progress"]
    return [(each["done"], each["total"]) for each in told if each["unit"] == "layers"]


@given(line("a server that has a file of {n} MB, and breaks off once in its middle"))
def large_file(world: World, n: int) -> None:
    data = TINY + bytes(n * 1_000_000)
    shelf = Shelf(data, turns=[Turn(bytes_max=len(data) // 2)])
    world.known["shelf"] = world.stack.enter_context(serving(shelf))
