"""A server on loopback that has one file, and does wrong what it is told to, request by request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Turn:
    """How one request is answered. `bytes_max`: then the connection is cut, or stalls."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    bytes_max: int | None = None
    stalls: bool = False
    ignores_range: bool = False
    etag: str | None = None
    data: bytes | None = None
    is_chunked: bool = False
    content_range: str = ""


WELL = Turn()


@dataclass
class Shelf:
    """`turns`: of the first requests; then all goes well. `asked`: the headers of each request, in lower case."""

    data: bytes
    etag: str = '"one"'
    turns: list[Turn] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    entered: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ranges(self) -> list[str]:
        return [headers.get("range", "") for headers in self.asked]

    def next_turn(self, headers: dict[str, str]) -> Turn:
        with self.lock:
            self.asked.append(headers)
            return self.turns.pop(0) if self.turns else WELL


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    shelf: Shelf

    def do_GET(self) -> None:
        asked = {name.lower(): value for name, value in self.headers.items()}
        turn = self.shelf.next_turn(asked)
        self.shelf.entered.set()
        self.shelf.gate.wait(30)
        self.close_connection = True
        if turn.status:
            self._answer(turn.status, turn.headers, b"", turn)
            return
        whole = self.shelf.data if turn.data is None else turn.data
        etag = self.shelf.etag if turn.etag is None else turn.etag
        headers = ({"etag": etag} if etag else {}) | turn.headers
        start = 0 if turn.ignores_range else _start(asked, etag)
        if start is None or start > len(whole):
            self._answer(416, {"content-range": f"bytes */{len(whole)}"}, b"", turn)
        elif start:
            placed = turn.content_range or f"bytes {start}-{len(whole) - 1}/{len(whole)}"
            self._answer(206, headers | {"content-range": placed}, whole[start:], turn)
        else:
            self._answer(200, headers, whole, turn)

    def _answer(self, status: int, headers: dict[str, str], body: bytes, turn: Turn) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if not turn.is_chunked:
            self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body if turn.bytes_max is None else body[: turn.bytes_max])
        self.wfile.flush()
        if turn.stalls:
            self.shelf.over.wait(30)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _start(asked: dict[str, str], etag: str) -> int | None:
    wanted = asked.get("range", "")
    if not wanted or asked.get("if-range", etag) != etag:
        return 0
    return int(wanted.removeprefix("bytes=").removesuffix("-"))


@contextmanager
def serving(shelf: Shelf) -> Iterator[Shelf]:
    handler = type("Handler", (_Handler,), {"shelf": shelf})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    shelf.url = f"http://127.0.0.1:{server.server_address[1]}/tiny.gguf"
    shelf.gate.set()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield shelf
    finally:
        shelf.over.set()
        shelf.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
