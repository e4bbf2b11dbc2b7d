"""Then: what clients are told."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from pytest_bdd import then, when

from tests.scenarios.http import Client
from tests.scenarios.steps.phrases import line
from tests.scenarios.waiting import until
from tests.scenarios.world import World


@then(line("{client} has read {text}"))
def has_read(world: World, client: str, text: str) -> None:
    asked = world.clients[client]
    asked.until(lambda: asked.text == text, f"{client} reads {text!r}")


@then(line("{client} is answered {text}"))
def is_answered(world: World, client: str, text: str) -> None:
    asked = world.clients[client]
    asked.over()
    assert (asked.status, asked.is_torn, asked.code) == (200, False, ""), asked.told()
    assert asked.text == text, asked.told()


@then(line("{client} is not answered yet"))
def is_not_answered(world: World, client: str) -> None:
    asked = world.clients[client]
    assert not asked.is_over and not asked.text, asked.told()


@then(line("{client} is told {code}"))
def is_told(world: World, client: str, code: str) -> None:
    asked = world.clients[client]
    asked.over()
    assert (asked.code, asked.is_torn) == (code, False), asked.told()


@then(line("{client} is told {code} after {text}"))
def is_told_after(world: World, client: str, code: str, text: str) -> None:
    is_told(world, client, code)
    assert world.clients[client].text == text
    assert world.clients[client].names[-1] == "[DONE]"


@then(line("{client} is told {code} within {n} ms"))
def is_told_within(world: World, client: str, code: str, n: int) -> None:
    is_told(world, client, code)
    asked = world.clients[client]
    assert (asked.ended_s - asked.began_s) * 1_000 < n


@then(line("{client} is refused with {status} {code}"))
def is_refused(world: World, client: str, status: int, code: str) -> None:
    is_told(world, client, code)
    assert world.clients[client].status == status, world.clients[client].told()


@then(line("the answer of {client} has a whole Retry-After"))
def has_retry_after(world: World, client: str) -> None:
    _whole_seconds(world.clients[client].headers)


@then("the answer has a whole Retry-After")
def answer_has_retry_after(world: World) -> None:
    assert world.answer is not None
    _whole_seconds(dict(world.answer.headers))


def _whole_seconds(headers: dict[str, str]) -> int:
    said = headers.get("retry-after", "")
    assert said.isdigit() and 1 <= int(said) <= 600, headers
    return int(said)


@then(line("{client} ends with {state}"))
def ends_with(world: World, client: str, state: str) -> None:
    asked = world.clients[client]
    asked.over()
    assert asked.stop_reason == state, asked.told()


@then(line("{client} sees the events {text}"))
def sees_events(world: World, client: str, text: str) -> None:
    asked = world.clients[client]
    asked.over()
    assert asked.names == text.split(", "), asked.told()


@then(line("{client} sees the phases {text}"))
def sees_phases(world: World, client: str, text: str) -> None:
    asked = world.clients[client]
    asked.over()
    said = [json.loads(said.data)["phase"] for said in asked.events if said.name == "progress"]
    assert list(dict.fromkeys(said)) == text.split(", "), asked.told()


@then(line("{client} waits for {state}"))
def waits_for(world: World, client: str, state: str) -> None:
    """Its stream says so."""
    asked = world.clients[client]

    def says() -> bool:
        return any(said.name == "progress" and json.loads(said.data)["phase"] == state for said in asked.events)

    asked.until(says, f"{client} waits for {state}")


@then(line("{client} has a place"))
def has_place(world: World, client: str) -> None:
    asked = world.clients[client]
    asked.until(lambda: "started" in asked.names, f"{client} was accepted")


@then("each of them is answered")
def each_answered(world: World) -> None:
    ends = outcomes(world)
    assert set(ends) == {"ok"}, ends


@then(line("{n} of them are answered, and {m} are told {code}"))
def some_answered(world: World, n: int, m: int, code: str) -> None:
    assert outcomes(world) == Counter({"ok": n, code: m})


@then(line("all of them are answered or told {code}, and {n} were sent"))
def accepted_and_refused(world: World, code: str, n: int) -> None:
    ends = outcomes(world)
    assert set(ends) == {"ok", code} and ends.total() == n, ends
    served = sum(value for name, value in world.metrics("queen").items() if 'outcome="ok"' in name and "_total" in name)
    assert served == ends["ok"]


def outcomes(world: World) -> Counter[str]:
    """How the requests of a crowd ended."""
    for each in world.crowd:
        each.over()
    return Counter(_outcome(each) for each in world.crowd)


def _outcome(client: Client) -> str:
    return "torn" if client.is_torn else client.code or ("ok" if client.text else "nothing")


@then(line("{n} of them are answered, as {target} counts them too"))
def counted(world: World, n: int, target: str) -> None:
    assert outcomes(world)["ok"] == n


@then(line("the answer is {status}"))
def answer_is(world: World, status: int) -> None:
    assert world.answer is not None
    assert world.answer.status == status, world.answer.body


@then(line("the answer is {status} {code}"))
def answer_is_code(world: World, status: int, code: str) -> None:
    assert world.answer is not None
    assert (world.answer.status, world.answer.code) == (status, code), world.answer.body


@then(line("its {name} is {text}"))
def field_is(world: World, name: str, text: str) -> None:
    assert _field(world, name) == _value(text)


@then(line("its message says {text}"))
def message_says(world: World, text: str) -> None:
    assert world.answer is not None
    assert text in world.answer.json()["error"]["message"], world.answer.body


@then(line("its details have {name} {text}"))
def details_have(world: World, name: str, text: str) -> None:
    assert world.answer is not None
    details = world.answer.json()["error"]["details"]
    assert details[name.replace("-", "_")] == _value(text), details


@then(line("its details name the fields {text}"))
def details_name(world: World, text: str) -> None:
    assert world.answer is not None
    fields = [each["field"] for each in world.answer.json()["error"]["details"]["fields"]]
    assert fields == text.split(", ")


def _field(world: World, name: str) -> Any:
    assert world.answer is not None
    return world.answer.json()[name.replace("-", "_")]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@then(line("each {place} that is released answers one of {text}, in this order"))
def in_order(world: World, place: str, text: str) -> None:
    """Nobody has begun whose turn it is not."""
    names = text.split(", ")
    for number, name in enumerate(names):
        assert not any(world.clients[later].text for later in names[number + 1 :])
        world.release(place)
        world.clients[name].over()
        assert world.clients[name].text and not world.clients[name].code, world.clients[name].told()


@then(line("{client} has the numbers 0 to {n} in order"))
def numbered(world: World, client: str, n: int) -> None:
    asked = world.clients[client]
    asked.over()
    numbers = [json.loads(said.data)["i"] for said in asked.events if said.name == "token"]
    assert numbers == list(range(n + 1)), (len(numbers), asked.told()[:300])


@then(line("the queen counts {n} waiting and {m} in flight"))
def queen_counts(world: World, n: int, m: int) -> None:
    until(lambda: (world.waiting(), world.flying()) == (n, m), f"{n} wait and {m} are in flight")


@then(line("{client} is told {code} within {n} ms of that"))
def is_told_soon(world: World, client: str, code: str, n: int) -> None:
    """After what was done last."""
    is_told(world, client, code)
    took_ms = (world.clients[client].ended_s - world.known["hit at"]) * 1_000
    assert 0 < took_ms < n, took_ms


@then(line("{client} is given the tool call {name} with {text}"))
def is_given_call(world: World, client: str, name: str, text: str) -> None:
    asked = world.clients[client]
    asked.over()
    choice = json.loads(asked.raw)["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], call["function"]) == ("tool_calls", {"name": name, "arguments": text})


@when(line("{n} of them are refused"))
def are_refused(world: World, n: int) -> None:
    """Those who wait are not disturbed."""
    until(lambda: sum(each.is_over for each in world.crowd) == n, f"{n} are refused")


@then(line("{client} is to come again after {n} to {m} seconds"))
def comes_again(world: World, client: str, n: int, m: int) -> None:
    assert n <= _whole_seconds(world.clients[client].headers) <= m, world.clients[client].headers


@then(line("the answer is to come again after {n} to {m} seconds"))
def is_to_come_again(world: World, n: int, m: int) -> None:
    assert world.answer is not None
    assert n <= _whole_seconds(dict(world.answer.headers)) <= m, world.answer.headers


@then(line("{client} is shown the log of its worker, with {text}"))
def is_shown_log(world: World, client: str, text: str) -> None:
    details = world.clients[client].details
    written = world.ask("GET", f"/v1/workers/{details['worker_id']}/logs?lines=1000").body.decode()
    assert text in "\n".join(details["log"]) and "\n".join(details["log"]) in written, (details, written)


@then("new requests are refused")
def new_refused(world: World) -> None:
    """By an answer, or by a door that is closed."""
    try:
        answer = world.ask("POST", "/v1/inference", {"prompt": "go"})
    except OSError:
        return
    assert (answer.status, answer.code) == (503, "DRAINING")
    _whole_seconds(dict(answer.headers))
