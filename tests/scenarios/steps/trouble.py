"""Callbacks that are forged, late or lost; ports that are taken; servers that do wrong."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pytest_bdd import given, then, when

from penstock.fleet.sse import DONE
from tests.scenarios.buffers import unread_bytes_max
from tests.scenarios.programs import COMMAND
from tests.scenarios.steps.asking import chat_body
from tests.scenarios.steps.phrases import line
from tests.scenarios.waiting import until
from tests.scenarios.world import TIED, World, at_once

# --- callbacks ------------------------------------------------------------------------------------------------------


def callback(world: World, **fields: Any) -> None:
    """As a worker would tell its hive."""
    told = {
        "worker_id": "w-by-hand",
        "url": "http://127.0.0.1:9",
        "model_ref": "tiny",
        "backend": "scripted",
        "device": "cpu",
        "slots": 1,
        "pid": os.getpid(),
        "nonce": "",
        "state": "loading",
        **fields,
    }
    world.ask("POST", "/v1/workers/ready", told, at="here")


@when(line("somebody without the nonce calls back as the worker of {model}"))
def forged(world: World, model: str) -> None:
    worker = world.worker(model)
    callback(world, worker_id=worker["worker_id"], nonce="0" * 32, state="failed")


@when("a worker that this hive never spawned calls back with a nonce")
def unknown(world: World) -> None:
    callback(world, nonce="0" * 32)


@when("a worker that was started by hand calls back")
@when("a worker that was started by hand calls back once more")
def by_hand(world: World) -> None:
    callback(world)


@given("a place where callbacks go that loses the first of them")
def losing_hive(world: World) -> None:
    server = _Server(_LosingHive)
    world.known["server"] = server
    world.stack.callback(server.close)


@when(line("a worker of {model} is started by hand for that place"))
def started_for_place(world: World, model: str) -> None:
    world.write_catalogue()
    words = ("worker", "--model", model, "--worker-id", "by-hand", "--hive-url", world.known["server"].url)
    world.start("by-hand", [*COMMAND, *words, *TIED]).reached()


@then("that place hears it once")
def heard_once(world: World) -> None:
    until(lambda: world.known["server"].told, "a callback is heard")
    assert world.known["server"].lost == 1
    assert world.known["server"].told[0]["worker_id"] == "by-hand"


@given(line("a worker of {model} that was started by hand"))
def worker_by_hand(world: World, model: str) -> None:
    hive = world.programs["here"].url
    words = ("worker", "--model", model, "--worker-id", "by-hand", "--hive-url", hive, *TIED)
    world.start("by-hand", [*COMMAND, *words]).reached()
    until(lambda: [w for w in world.live(model) if w["worker_id"] == "by-hand" and w["state"] == "idle"], "taken in")


class _Server(ThreadingHTTPServer):
    """On loopback, for as long as the scenario goes."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.told: list[Any] = []
        self.lost = 0
        self.asked: list[dict[str, str]] = []
        self.over = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self.over.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are no news."""


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", "0")))

    def say(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _LosingHive(_Quiet):
    def do_POST(self) -> None:
        told = json.loads(self.body())
        if not self.server.lost:
            self.server.lost += 1
            self.close_connection = True
            return
        self.server.told.append(told)
        self.say(200, json.dumps({"worker_id": told["worker_id"]}).encode())


# --- ports ----------------------------------------------------------------------------------------------------------


def _free_range(count: int) -> int:
    """The first of as many neighbours that are free now, below the range of the kernel."""
    for first in range(21_000 + os.getpid() % 10_000, 32_000, count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return first
    raise AssertionError("no neighbours are free")


@given(line("a hive may have {n} ports"))
def may_have_ports(world: World, n: int) -> None:
    first = _free_range(n)
    world.known["first port"] = first
    world.words["hive"] += ["--ports", f"{first}-{first + n - 1}"]


@given(line("a hive of its own with {n} ports"))
def hive_with_ports(world: World, n: int) -> None:
    may_have_ports(world, n)
    world.write_catalogue()
    world.start_hive("here", "none").reached()


@given("another program listens at the first of them")
def first_port_taken(world: World) -> None:
    other = world.stack.enter_context(socket.create_server(("127.0.0.1", world.known["first port"])))
    world.known["other program"] = other


@when("that program ends")
def other_program_ends(world: World) -> None:
    world.known["other program"].close()


@then(line("a chat with {model} is answered within {n} s"))
def chat_is_answered(world: World, model: str, n: int) -> None:
    def is_answered() -> bool:
        return world.ask("POST", "/v1/chat/completions", chat_body(model, False)).status == 200

    until(is_answered, f"{model} answers", n)


@when(line("somebody asks for a worker of {model} at the first of them"))
def at_first_port(world: World, model: str) -> None:
    world.spawn(model, port=world.known["first port"])


@then(line("the worker of {model} listens at the second of them"))
def at_second_port(world: World, model: str) -> None:
    assert world.worker(model)["url"].endswith(f":{world.known['first port'] + 1}")


@given(line("a second hive of its own with the same ports"))
def second_hive(world: World) -> None:
    world.start_hive("there", "none").reached()


@when(line("both hives are asked for {n} workers of {model} each at once"))
def both_asked(world: World, n: int, model: str) -> None:
    from tests.scenarios.http import ask

    body = {"model": model, "wait": True}
    places = [world.programs[name].url for name in ("here", "there") for _ in range(n)]
    answers = at_once(
        [lambda at=at: ask("POST", f"{at}/v1/workers/spawn", body) for at in places]  # type: ignore[misc]
    )
    world.known["answers"] = answers


@then(line("{n} workers of {model} serve at ports of their own, and {m} are refused with {code}"))
def ports_of_their_own(world: World, n: int, model: str, m: int, code: str) -> None:
    answers = world.known["answers"]
    urls = [answer.json()["url"] for answer in answers if answer.status == 200]
    assert len(set(urls)) == len(urls) == n
    assert [answer.code for answer in answers if answer.status != 200] == [code] * m
    listed = [worker["url"] for at in ("here", "there") for worker in world.live(model, at)]
    assert sorted(listed) == sorted(urls)


# --- a server behind a worker ---------------------------------------------------------------------------------------

UTF8 = "naïve 水车 🌾 ends"


class _Cutting(_Quiet):
    """Speaks OpenAI's protocol, and sends each byte by itself."""

    def do_GET(self) -> None:
        self.say(200, b'{"object": "list", "data": []}')

    def do_POST(self) -> None:
        self.body()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for byte in upstream_bytes():
            self.wfile.write(b"1\r\n" + bytes([byte]) + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


def upstream_bytes() -> bytes:
    """What such a server says."""
    deltas = [{"choices": [{"index": 0, "delta": {"content": char}, "finish_reason": None}]} for char in UTF8]
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return b"".join(f"data: {json.dumps(e, ensure_ascii=False)}\n\n".encode() for e in (*deltas, last)) + DONE


@given(line("a model {model} of a server that sends each byte by itself"))
def cutting_server(world: World, model: str) -> None:
    server = _Server(_Cutting)
    world.stack.callback(server.close)
    world.models[model] = {"backend": "upstream", "url": server.url}


@then(line("{client} has every byte that the server sent"))
def every_byte(world: World, client: str) -> None:
    asked = world.clients[client]
    asked.over()
    assert bytes(asked.raw) == upstream_bytes(), asked.told()
    assert asked.text == UTF8


FLOOD_CHUNK_BYTES = 64_000
FLOOD_SLACK_BYTES = 16_000_000
"""For the last connection, whose reader takes a quarter of a megabyte, and for what programs hold themselves."""
FLOOD_CHUNKS = (unread_bytes_max(2) + FLOOD_SLACK_BYTES) // FLOOD_CHUNK_BYTES


FEW_CHUNKS = 10
LOOKS = 400


class _Flooding(_Quiet):
    """Says more to the first who asks than fits into the buffers on the way, and little to the others."""

    def do_GET(self) -> None:
        self.say(200, b'{"object": "list", "data": []}')

    def do_POST(self) -> None:
        self.body()
        number = len(self.server.told)
        self.server.told.append(0)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for chunk in range(FEW_CHUNKS if number else FLOOD_CHUNKS):
            delta = {"choices": [{"index": 0, "delta": {"content": f"{chunk} " + "." * FLOOD_CHUNK_BYTES}}]}
            self.wfile.write(b"data: " + json.dumps(delta).encode() + b"\n\n")
            self.server.told[number] = chunk + 1
        self.wfile.write(DONE)


@given(line("a model {model} of a server that says more than buffers hold to the first who asks"))
def flooding_server(world: World, model: str) -> None:
    world.known["server"] = server = _Server(_Flooding)
    world.stack.callback(server.close)
    world.models[model] = {"backend": "upstream", "url": server.url, "slots": 2}


@when(line("{client} chats with {model}, and does not read"))
def chats_slowly(world: World, client: str, model: str) -> None:
    world.client(client, "/v1/chat/completions", chat_body(model, True), is_slow=True)
    until(lambda: world.known["server"].told, f"{client} is served")


@then(line("{client} has all that the server says to {text}, in order"))
def all_in_order(world: World, client: str, text: str) -> None:
    asked = world.clients[client]
    asked.over()
    said = asked.text.replace(".", "").split()
    assert len(said) == {"the first": FLOOD_CHUNKS, "others": FEW_CHUNKS}[text], asked.is_torn
    assert said == [str(number) for number in range(len(said))]


@then("the server is held back in what it says to the first of them")
def held_back(world: World) -> None:
    """It says no more while others are answered, again and again."""
    server, seen = world.known["server"], 0
    until(lambda: server.told[0], "it says something")
    while (now := server.told[0]) != seen:
        seen = now
        for _ in range(LOOKS):
            world.ask("GET", "/v1/health")
    assert seen < FLOOD_CHUNKS


STUBBORN = (
    "import os, signal, socketserver, sys, time\n"
    "from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "    signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    "    while True:\n"
    "        signal.pause()\n"
    "class Handler(BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        self.send_response(200); self.send_header('content-length', '2'); self.end_headers()\n"
    "        self.wfile.write(b'{}')\n"
    "    do_POST = do_GET\n"
    "ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()\n"
)
"""A server that leaves a grandchild in a session of its own, which takes no signal but the last."""


@given(line("a model {model} of a server that starts a process in a session of its own"))
def stubborn_server(world: World, model: str) -> None:
    (world.root / "stubborn.py").write_text(STUBBORN)
    argv = (sys.executable, str(world.root / "stubborn.py"), "{port}")
    world.models[model] = {"backend": "upstream", "argv": argv}


# --- strange hives --------------------------------------------------------------------------------------------------


def report(url: str, **fields: Any) -> dict[str, Any]:
    """Of a hive that might be."""
    return {"name": "strange", "url": url, "instance": "one", "version": "9.9.9", "api_version": 1, **fields}


@when(line("a hive of the API version {n} registers"))
def other_version(world: World, n: int) -> None:
    world.ask("POST", "/v1/hives", report("http://127.0.0.1:9", api_version=n))


@when(line("a hive of the API version {n} registers with what we do not know"))
def other_version_with_news(world: World, n: int) -> None:
    world.ask("POST", "/v1/hives", report("http://127.0.0.1:9", api_version=n, state="asleep", news=[1]))


@when("a hive registers at an address where nobody is")
def nobody_there(world: World) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        world.ask("POST", "/v1/hives", report(f"http://127.0.0.1:{bound.getsockname()[1]}"))


class _NoHive(_Quiet):
    def do_GET(self) -> None:
        self.say(200, b"<html>hello</html>", "text/html")


@when("a hive registers at an address where something else answers")
def something_else(world: World) -> None:
    server = _Server(_NoHive)
    world.stack.callback(server.close)
    world.ask("POST", "/v1/hives", report(server.url))


@when(line("{n} processes try to be the hive {name} at once"))
def same_name(world: World, n: int, name: str) -> None:
    for number in range(n):
        started = world.start_hive(name, world.queen.url)
        world.programs[f"{name}-{number}"] = world.programs.pop(name)
        assert started.process.poll() is None


@then(line("one of them is the hive {name}, and the others exit with {n} and {code}"))
def one_wins(world: World, name: str, n: int, code: str) -> None:
    tried = [program for key, program in world.programs.items() if key.startswith(f"{name}-")]
    until(lambda: sum(p.process.poll() is not None for p in tried) == len(tried) - 1, "the others end")
    world.until_listed(name)
    lost = [program for program in tried if program.process.poll() is not None]
    assert [program.process.returncode for program in lost] == [n] * len(lost)
    assert all(code in "\n".join(program.log.lines) for program in lost)


# --- a machine that stands still ------------------------------------------------------------------------------------


@then(line("the queen misses the hive {name}"))
def misses(world: World, name: str) -> None:
    world.until_listed(name, "lost")


@when(line("the worker of {model} stands still for a while"))
def stands_still(world: World, model: str) -> None:
    """As long as it takes to have a worker of another model."""
    pid = world.worker(model)["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        answer = world.spawn("other")
        assert answer.status == 200, answer.body
    finally:
        os.kill(pid, signal.SIGCONT)


@given("the registry cannot be opened")
def no_registry(world: World) -> None:
    (world.root / "registry.db").mkdir()
