"""What a fleet shows of itself, and to whom: measures, logs, ids, tokens, checks of what is sent."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any

from pytest_bdd import given, then, when

from tests.scenarios.http import Answer, ask
from tests.scenarios.steps.asking import place_of
from tests.scenarios.steps.phrases import line
from tests.scenarios.waiting import until
from tests.scenarios.world import World

FUZZ_SEED = 20_261_127


@then(line("the measures of {target} have {text}"))
def measures_have(world: World, target: str, text: str) -> None:
    at = place_of(world, target)
    until(lambda: any(_fits(text, name, value) for name, value in world.metrics(at).items()), f"{target}: {text}")


def _fits(wanted: str, name: str, value: float) -> bool:
    key, _, number = wanted.rpartition(" ")
    return name == key and (value > 0 if number == "+" else value == float(number))


@then(line("the queen says that {model} is {state}"))
def model_is(world: World, model: str, state: str) -> None:
    url = f"{world.queen.url}/v1/models/{model}"
    assert ask("GET", url, None, world.headers()).json()["state"] == state


@then(line("the measures of {target} are in Prometheus' format"))
def prometheus(world: World, target: str) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    at = place_of(world, target)
    url = at if at.startswith("http") else world.programs[at].url
    answer = ask("GET", f"{url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(answer.body.decode()))
    assert len(families) > 3 and all(family.documentation for family in families)


@then("no measure holds a token or a prompt")
def measures_hold_nothing(world: World) -> None:
    for program in world.programs.values():
        text = ask("GET", f"{program.url}/metrics").body.decode()
        assert world.token not in text and "attack at dawn" not in text


@when(line("{client} asks {model} as {name}"))
def asks_as(world: World, client: str, model: str, name: str) -> None:
    world.client(client, "/v1/inference", {"prompt": "go", "model": model}, x_request_id=name)


@then(line("the answer of {client} carries the id {name}"))
def carries_id(world: World, client: str, name: str) -> None:
    asked = world.clients[client]
    asked.over()
    assert asked.request_id == name
    assert json.loads(asked.events[0].data)["request_id"] == name


@then(line("the log of the queen has the line {state} of {name}"))
def has_line(world: World, state: str, name: str) -> None:
    world.queen.until_told(event=state, request_id=name)


@then(line("the log of the worker of {model} has the line {state} of {name}"))
def worker_has_line(world: World, model: str, state: str, name: str) -> None:
    (worker,) = world.live(model)
    wanted = f'"event": "{state}"'

    def told() -> list[str]:
        log = world.ask("GET", f"/v1/workers/{worker['worker_id']}/logs?lines=1000").body.decode()
        return [each for each in log.splitlines() if wanted in each and f'"request_id": "{name}"' in each]

    assert len(until(told, f"{state} of {name} in the log of the worker")) == 1


@then(line("the logs of the queen and of the worker of {model} name the same id for {client}"))
def same_id(world: World, model: str, client: str) -> None:
    asked = world.clients[client]
    asked.over()
    has_line(world, "inference", asked.request_id)
    worker_has_line(world, model, "inference", asked.request_id)


@when("a hive with another token starts")
def other_token(world: World) -> None:
    path = world.root / "other"
    path.write_text("another-0123456789\n")
    path.chmod(0o600)
    world.penstock("hive", "--name", "stranger", "--port", "0", "--ports", "any", "--token-file", str(path))


@then(line("the log of {target} has the id of the answer"))
def log_has_id(world: World, target: str) -> None:
    assert world.answer is not None
    assert re.fullmatch(r"r-[0-9a-f]{16}", world.answer.headers["x-request-id"])
    name = {"the queen": "queen", "the hive": "here"}[target]
    world.programs[name].until_told(request_id=world.answer.headers["x-request-id"])


@then("every line of every log is JSON with time, level, speaker and event")
def logs_are_json(world: World) -> None:
    for program in world.programs.values():
        assert program.log.lines
        for each in list(program.log.lines):
            assert {"at", "level", "who", "event"} <= set(json.loads(each))


@then("no log holds the token or the prompt")
def logs_hold_nothing(world: World) -> None:
    files = [path.read_text() for path in (world.root / "logs").glob("*.log")]
    texts = [*("\n".join(program.log.lines) for program in world.programs.values()), *files]
    assert files and all(world.token not in text and "attack at dawn" not in text for text in texts)


@then(line("the document of {target} names {text}"))
def document_names(world: World, target: str, text: str) -> None:
    world.ask("GET", "/openapi.json", at=place_of(world, target))
    assert world.answer is not None
    told = world.answer.json()
    assert told["openapi"].startswith("3.")
    assert set(text.split(", ")) <= set(told["paths"]), sorted(told["paths"])


# --- tokens ---------------------------------------------------------------------------------------------------------


def with_header(world: World, header: str | None, method: str, path: str, target: str, body: Any = None) -> Answer:
    """A question with this `Authorization`, or without any."""
    at = place_of(world, target)
    url = at if at.startswith("http") else world.programs[at].url
    headers = {} if header is None else {"authorization": header.replace("TOKEN", world.token)}
    world.answer = ask(method, f"{url}{path}", body, headers)
    return world.answer


@when(line("{method} {path} is asked of {target} without a token"))
def without_token(world: World, method: str, path: str, target: str) -> None:
    with_header(world, None, method, path, target, b"{}" if method == "POST" else None)


@when(line("{method} {path} is asked of {target} with the header {text}"))
def with_that_header(world: World, method: str, path: str, target: str, text: str) -> None:
    with_header(world, text, method, path, target)


@then(line("every path of {target} but the open ones wants a token"))
def every_path(world: World, target: str) -> None:
    document = json.loads(with_header(world, "Bearer TOKEN", "GET", "/openapi.json", target).body)
    wanted = 0
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            answer = with_header(world, None, method.upper(), re.sub(r"\{[^}]*\}", "x", path), target, b"{}")
            is_open = answer.status != 401
            assert is_open == (not told.get("security", document.get("security"))), (method, path, answer.status)
            wanted += not is_open
    assert wanted >= 2


@then(line("{n} questions with tokens and without, at once, are told apart"))
def told_apart(world: World, n: int) -> None:
    from tests.scenarios.world import at_once

    url = f"{world.queen.url}/v1/models"
    headers = [{"authorization": f"Bearer {world.token}"}, {"authorization": "Bearer no"}, {}]
    asked = [headers[number % 3] for number in range(n)]
    answers = at_once([lambda told=told: ask("GET", url, None, told) for told in asked])  # type: ignore[misc]
    assert [answer.status for answer in answers] == [(200, 401, 401)[number % 3] for number in range(n)]


@given(line("a token file {text}"))
def token_file(world: World, text: str) -> None:
    """Made as the words say."""
    path = world.root / "fleet.token"
    made = {
        "of mode 0600": (b"sesame-0123456789\n", 0o600),
        "of mode 0400": (b"sesame-0123456789\n", 0o400),
        "of mode 0644": (b"sesame-0123456789\n", 0o644),
        "of mode 0640": (b"sesame-0123456789\n", 0o640),
        "that is empty": (b"", 0o600),
        "of blanks": (b"  \n", 0o600),
        "of two lines": (b"one\ntwo\n", 0o600),
        "with bytes that no header carries": ("tök€n\n".encode(), 0o600),
        "with no end of its line": (b"sesame-0123456789", 0o600),
    }
    if text == "that is not there":
        return
    if text == "that is a folder":
        path.mkdir()
        return
    data, mode = made[text]
    path.write_bytes(data)
    path.chmod(mode)


@given("it lies where systemd lays credentials")
def credentials(world: World) -> None:
    world.env["CREDENTIALS_DIRECTORY"] = str(world.root)


# --- checks ---------------------------------------------------------------------------------------------------------

BODIES: dict[str, Any] = {
    "no JSON": b"{",
    "no object": b"[1, 2]",
    "no UTF-8": b'{"prompt": "\xff"}',
    "deep nesting": b'{"prompt": ' + b"[" * 100_000,
    "nothing": b"",
    "an unknown field": {"prompt": "x", "promt": "x"},
    "three wrong fields": {"prompt": 1, "max_tokens": 0, "temperature": 9},
    "no prompt": {"model": "tiny"},
    "two megabytes": {"prompt": "x" * 2_000_000},
}


@when(line("POST {path} gets {text}"))
def post_gets(world: World, path: str, text: str) -> None:
    """The body that the words name."""
    world.ask("POST", path, BODIES[text])


@when(line("a prompt names the model {text}"))
def names_model(world: World, text: str) -> None:
    world.known["sent"] = json.loads(text)
    world.ask("POST", "/v1/inference", {"prompt": "x", "model": world.known["sent"]})


@when(line("a prompt asks for the request id {text}"))
def names_request(world: World, text: str) -> None:
    world.known["sent"] = json.loads(text)
    world.ask("POST", "/v1/inference", {"prompt": "x", "model": "tiny", "request_id": world.known["sent"]})


@when(line("a hive registers with {name} {text}"))
def hive_with(world: World, name: str, text: str) -> None:
    from tests.scenarios.steps.trouble import report

    world.known["sent"] = json.loads(text)
    world.ask("POST", "/v1/hives", {**report("http://127.0.0.1:9"), name.replace("-", "_"): world.known["sent"]})


@when(line("a spawn is asked for with {name} {text}"))
def spawn_with(world: World, name: str, text: str) -> None:
    world.known["sent"] = json.loads(text)
    world.ask("POST", "/v1/workers/spawn", {name: world.known["sent"]})


@when(line("a callback comes with {limit} {text}"))
def callback_with(world: World, limit: str, text: str) -> None:
    from tests.scenarios.steps.trouble import callback

    world.known["sent"] = json.loads(text)
    callback(world, **{limit: world.known["sent"]})


@when(line("a prompt comes with the header {name} {text}"))
def header_with(world: World, name: str, text: str) -> None:
    world.known["sent"] = text
    world.ask("POST", "/v1/chat/completions", {"model": "tiny", "messages": [{}]}, **{name.replace("-", "_"): text})


@when(line("a prompt that is wrong in every way is sent to {target}"))
def wrong_prompt(world: World, target: str) -> None:
    world.known["sent"] = "leaked"
    stop = ["sound", "", {"leaked": 1}]
    body = {"prompt": 5, "model": "leaked..model", "request_id": "leaked id", "max_tokens": 0, "stop": stop}
    world.ask("POST", "/v1/inference", body, at=place_of(world, target), x_deadline_ms="leaked")


@when("a callback comes that is wrong in every way")
def wrong_callback(world: World) -> None:
    from tests.scenarios.steps.trouble import callback

    callback(world, worker_id="a b", url="ftp://x", model_ref="a..b", backend="magic", slots=0, pid="one")


@then("what was sent is nowhere in the answer")
def not_echoed(world: World) -> None:
    assert world.answer is not None
    sent = str(world.known["sent"])
    assert len(sent) < 3 or sent not in world.answer.body.decode(errors="replace"), world.answer.body


@then("the answer is an error with a code, a message and details")
def is_an_error(world: World) -> None:
    assert world.answer is not None
    error = world.answer.json()["error"]
    assert re.fullmatch(r"[A-Z][A-Z_]+", error["code"])
    assert error["message"] and isinstance(error["details"], dict)
    assert world.answer.headers["content-type"] == "application/json"
    assert world.answer.headers["x-request-id"]
    assert not re.search(r"Traceback|\.py|/tmp|\d+\.\d+\.\d+\.\d+", world.answer.body.decode())


@when(line("{n} bodies of chance are sent to {path} of {target}"))
def fuzzed(world: World, n: int, path: str, target: str) -> None:
    chance = random.Random(FUZZ_SEED)
    url = f"{world.programs[place_of(world, target)].url}{path}"
    world.known["statuses"] = {ask("POST", url, body, world.headers()).status for body in _bodies(chance, n)}


@then("each of them was refused as bad input")
def all_refused(world: World) -> None:
    assert world.known["statuses"] <= {400, 404, 413}, world.known["statuses"]


def _bodies(chance: random.Random, count: int) -> Iterator[bytes]:
    """Half of them noise, half of them JSON of the wrong kind."""
    keys = ("prompt", "model", "max_tokens", "stop", "name", "url", "worker_id", "x\r\ny", "\u202e", "__class__")
    values: tuple[Any, ...] = (
        "\x1b[31m",
        "a\0b",
        "../../etc/passwd",
        "' or 1=1 --",
        "<script>",
        -1,
        1e308,
        None,
        [],
        {},
        True,
        "ü" * 50,
    )
    for number in range(count):
        if number % 2:
            yield chance.randbytes(chance.randrange(1, 64))
        else:
            told = {chance.choice(keys): chance.choice(values) for _ in range(chance.randrange(1, 6))}
            yield json.dumps({**told, "prompt": chance.choice((0, None, [], {}))}).encode()
