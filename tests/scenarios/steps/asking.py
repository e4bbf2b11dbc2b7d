"""When: clients ask, leave, cancel."""

from __future__ import annotations

import json
from typing import Any

from pytest_bdd import given, when

from tests.scenarios.steps.phrases import line
from tests.scenarios.waiting import until
from tests.scenarios.world import World, at_once

NAMES = ("Ada", "Ben", "Cora", "Dan", "Eve", "Finn", "Gia", "Hal")


@given(line("{client} asks {model}"))
@when(line("{client} asks {model}"))
def asks(world: World, client: str, model: str) -> None:
    world.infer(client, model)


@when(line('{client} asks {model} "{text}"'))
def asks_prompt(world: World, client: str, model: str, text: str) -> None:
    world.infer(client, model, text)


@when(line("{client} asks {model} with the fields {text}"))
def asks_fields(world: World, client: str, model: str, text: str) -> None:
    world.infer(client, model, **json.loads(text))


@when(line("{client} asks the worker of {model}"))
def asks_worker(world: World, client: str, model: str) -> None:
    world.infer(client, model, at=world.worker(model)["url"])


@when(line("{client} reads"))
def reads(world: World, client: str) -> None:
    world.clients[client].read()


def chat_body(model: str, stream: bool, **more: Any) -> dict[str, Any]:
    """Of OpenAI's surface."""
    return {"model": model, "messages": [{"role": "user", "content": "go"}], "stream": stream, **more}


@when(line("{client} chats with {model}"))
def chats(world: World, client: str, model: str) -> None:
    world.client(client, "/v1/chat/completions", chat_body(model, True))


@when(line("{client} chats with {model} without a stream"))
def chats_whole(world: World, client: str, model: str) -> None:
    world.client(client, "/v1/chat/completions", chat_body(model, False))


@when(line("{client} chats with {model} for at most {n} ms"))
def chats_within(world: World, client: str, model: str, n: int) -> None:
    world.client(client, "/v1/chat/completions", chat_body(model, False), x_deadline_ms=str(n))


@when(line("{client} chats with {model} as {name} for at most {n} ms"))
def chats_as_within(world: World, client: str, model: str, name: str, n: int) -> None:
    world.client(client, "/v1/chat/completions", chat_body(model, False), x_deadline_ms=str(n), x_request_id=name)


@when(line("{client} chats with {model} by the tools {text}"))
def chats_with_tools(world: World, client: str, model: str, text: str) -> None:
    world.client(client, "/v1/chat/completions", chat_body(model, False, tools=json.loads(text)))


@when(line("{client} leaves"))
def leaves(world: World, client: str) -> None:
    world.clients[client].leave()


@when(line("the request of {client} is cancelled"))
def cancelled(world: World, client: str) -> None:
    asked = world.clients[client]
    asked.until(lambda: asked.request_id, "it has no id")
    world.ask("DELETE", f"/v1/inference/{asked.request_id}")


@when(line("{place} is released"))
def released(world: World, place: str) -> None:
    world.release(place)


@when(line("{place} is released {n} times"))
def released_often(world: World, place: str, n: int) -> None:
    world.release(place, n)


@when(line("{n} clients ask {model} at once"))
def many_ask(world: World, n: int, model: str) -> None:
    world.crowd += at_once([lambda: _one_of_many(world, model) for _ in range(n)])


@when(line("{n} clients chat with {model} at once"))
def many_chat(world: World, n: int, model: str) -> None:
    world.crowd += at_once([lambda: _one_of_many(world, model, chats=True) for _ in range(n)])


@when(line("{n} clients wait for {model}"))
def clients_wait(world: World, n: int, model: str) -> None:
    many_ask(world, n, model)
    until(lambda: world.waiting() == n, f"{n} wait")


@when(line("{n} clients ask {model} one after the other"))
def queue_up(world: World, n: int, model: str) -> None:
    """Each is sure to be behind the one before."""
    for number, name in enumerate(NAMES[:n], 1):
        world.infer(name, model)
        _until_asked(world, number)


def _until_asked(world: World, n: int) -> None:
    until(lambda: world.waiting() + world.flying() == n, f"{n} have asked")


@when(line("{n} clients ask the worker of {model} at once"))
def many_ask_worker(world: World, n: int, model: str) -> None:
    url = world.worker(model)["url"]
    world.crowd += at_once([lambda: _one_of_many(world, model, url) for _ in range(n)])


def _one_of_many(world: World, model: str, at: str = "", *, chats: bool = False) -> Any:
    from tests.scenarios.http import Client

    path = "/v1/chat/completions" if chats else "/v1/inference"
    body = chat_body(model, False) if chats else {"prompt": "go", "model": model}
    return Client(f"{at or world.door.url}{path}", body, world.headers())


@when(line("{method} {path} is asked of {target}"))
def asked(world: World, method: str, path: str, target: str) -> None:
    world.ask(method, path, at=place_of(world, target))


@when(line("{method} {path} is asked of {target} with the body {text}"))
def asked_with(world: World, method: str, path: str, target: str, text: str) -> None:
    world.ask(method, path, text.encode(), at=place_of(world, target))


def place_of(world: World, target: str) -> str:
    """Where it is reached."""
    if target.startswith("the worker of "):
        return str(world.worker(target.removeprefix("the worker of "))["url"])
    return program_of(world, target)


def program_of(world: World, target: str) -> str:
    """The name of a program."""
    return {"the queen": "queen", "the hive": "here"}.get(target, target.removeprefix("the hive "))
