"""A queen that answers as a test wants it to, byte by byte, over a real socket. What it is asked is kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from penstock.fleet.errors import FleetError
from penstock.fleet.schema import API_VERSION
from penstock.fleet.sse import DONE, Event, written

WAIT_S = 60
HEALTH = {"status": "ok", "state": "ready", "version": "test", "api_version": API_VERSION}


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    token: str
    body: Any


class Played(BaseHTTPRequestHandler):
    """One connection. `queen` is set on the class that a server is made with."""

    queen: PlayedQueen
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        told = json.loads(body) if body else None
        self.queen.asked.append(Asked(self.command, self.path, self.headers.get("authorization", ""), told))
        part = next((each for each in self.queen.parts if f"{self.command} {self.path}".startswith(each)), "")
        plays = self.queen.parts.get(part, [])
        if not plays:
            self.fail(FleetError("NOT_FOUND", "nothing here"))
            return
        (plays.pop(0) if len(plays) > 1 else plays[0])(self)

    def data(self, told: Any) -> None:
        """JSON."""
        self._head(200, "application/json")
        self.wfile.write(json.dumps(told).encode())

    def fail(self, error: FleetError) -> None:
        """As the fleet fails."""
        self._head(error.status, "application/json", error.headers())
        self.wfile.write(error.body())

    def stream(self) -> None:
        """Begin to."""
        self._head(200, "text/event-stream")

    def send(self, *events: Event) -> None:
        """More of the stream."""
        for event in events:
            self.wfile.write(written(event))
        self.wfile.flush()

    def done(self) -> None:
        """The end of the stream."""
        self.wfile.write(DONE)

    def _head(self, status: int, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()


Play = Callable[[Played], None]


@dataclass
class PlayedQueen:
    """`parts`: by method and beginning of the path, what is done for one request after the other, the last for all."""

    url: str
    parts: dict[str, list[Play]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    canceled: threading.Event = field(default_factory=threading.Event)
    """A DELETE of a request came."""

    def play(self, part: str, *plays: Play) -> None:
        """What to do from now on."""
        self.parts[part] = list(plays)

    def inferences(self) -> list[Asked]:
        """The prompts that came."""
        return [each for each in self.asked if (each.method, each.path) == ("POST", "/v1/inference")]


def events(*told: Event) -> Play:
    """A whole stream of them."""

    def play(to: Played) -> None:
        to.stream()
        to.send(*told)
        to.done()

    return play


def failing(code: str, retry_after_s: int = 0) -> Play:
    """An error in place of a stream."""
    return lambda to: to.fail(FleetError(code, "it is so", retry_after_s=retry_after_s))


def telling(told: Any) -> Play:
    """A body."""
    return lambda to: to.data(told)


@contextmanager
def played_queen() -> Iterator[PlayedQueen]:
    """One that is healthy, on any port, until the block ends."""
    handler = type("Handler", (Played,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = False
        queen = PlayedQueen(f"http://127.0.0.1:{server.server_address[1]}")
        handler.queen = queen  # type: ignore[attr-defined]
        queen.play("GET /v1/health", telling(HEALTH))

        def cancel(to: Played) -> None:
            queen.canceled.set()
            to.send_response(204)
            to.end_headers()

        queen.play("DELETE /v1/inference/", cancel)
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield queen
        finally:
            queen.canceled.set()
            server.shutdown()
            serving.join(WAIT_S)
