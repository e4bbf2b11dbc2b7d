"""Real HTTP: one question, or a stream that is read in the background."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from penstock.fleet.sse import Reader, Said
from tests.scenarios.waiting import PATIENCE_S

BROKEN = (OSError, http.client.HTTPException, ValueError, AttributeError)
"""What a connection raises that the other side breaks off, or that is closed here while it is read."""


@dataclass(frozen=True)
class Answer:
    """A whole one. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Its body as data."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of its error; empty for none."""
        try:
            return str(self.json()["error"]["code"])
        except (ValueError, KeyError, TypeError):
            return ""


def encoded(body: Any) -> bytes | None:
    """JSON, unless it is bytes."""
    return body if body is None or isinstance(body, bytes) else json.dumps(body).encode()


def ask(method: str, url: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
    """One question. Raises `OSError` where nobody answers."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE_S)
    try:
        path = (place.path or "/") + (f"?{place.query}" if place.query else "")
        connection.request(method, path, encoded(body), dict(headers or {}))
        answer = connection.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, told, answer.read())
    finally:
        connection.close()


class Client:
    """One request. It is sent at once, and read in the background, or when it is told to."""

    def __init__(
        self,
        url: str,
        body: Any,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "POST",
        is_slow: bool = False,
    ) -> None:
        self.url, self._method, self._body, self._sent = url, method, encoded(body), dict(headers or {})
        self.status = 0
        self.headers: dict[str, str] = {}
        self.raw = bytearray()
        self.events: list[Said] = []
        self.is_over = self.is_torn = False
        self.began_s = self.ended_s = time.monotonic()
        self.changed = threading.Condition()
        self._reads = threading.Event()
        if not is_slow:
            self._reads.set()
        place = urlsplit(url)
        self._connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE_S)
        self._connection.connect()
        assert isinstance(self._connection.sock, socket.socket)
        self._socket = self._connection.sock
        if is_slow:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 262_144)
        self._thread = threading.Thread(target=self._run, args=(place.path,), daemon=True)
        self._thread.start()

    def _run(self, path: str) -> None:
        is_torn = True
        try:
            self._connection.request(self._method, path, self._body, self._sent)
            self._reads.wait()
            answer = self._connection.getresponse()
            with self.changed:
                self.status = answer.status
                self.headers = {name.lower(): value for name, value in answer.getheaders()}
                self.changed.notify_all()
            self._read(answer)
            is_torn = False
        except BROKEN:
            pass
        with self.changed:
            self.ended_s = time.monotonic()
            self.is_over, self.is_torn = True, is_torn
            self.changed.notify_all()

    def _read(self, answer: http.client.HTTPResponse) -> None:
        reader = Reader()
        while data := answer.read1(65_536):
            with self.changed:
                self.raw += data
                self.events += reader.feed(data)
                self.changed.notify_all()

    def read(self) -> None:
        """Begin to read, where it did not."""
        self._reads.set()

    def leave(self) -> None:
        """Hang up."""
        self._reads.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE_S)
        self._connection.close()

    def until(self, holds: Callable[[], Any], what: str) -> None:
        """Wait until it holds; what comes is what is waited for."""
        with self.changed:
            self.changed.wait_for(lambda: holds() or self.is_over, PATIENCE_S)
        assert holds(), f"{what}: {self.told()}"

    def over(self) -> None:
        """Wait for the end of the answer."""
        self.until(lambda: self.is_over, "it has not ended")

    def told(self) -> str:
        """For a message."""
        ends = "torn" if self.is_torn else "over" if self.is_over else "open"
        return f"status {self.status}, {ends}: {bytes(self.raw[-2_000:])!r}"

    # --- what it heard ----------------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """Of the events, `[DONE]` as it is."""
        return [said.name or said.data for said in self.events]

    @property
    def text(self) -> str:
        """What the model said."""
        if not self.events and self.is_over and self.status == 200:
            return str(json.loads(self.raw)["choices"][0]["message"]["content"])
        return "".join(_text_of(said) for said in self.events)

    @property
    def code(self) -> str:
        """Of the error that it was told, as a status or in the stream; empty for none."""
        return str(self._fault.get("code", ""))

    @property
    def details(self) -> dict[str, Any]:
        """Of that error."""
        return dict(self._fault["details"])

    @property
    def _fault(self) -> dict[str, Any]:
        if self.status >= 400:
            return dict(json.loads(self.raw)["error"]) if self.is_over else {}
        for said in self.events:
            told = _data(said)
            if said.name == "error":
                return told
            if isinstance(told.get("error"), dict):
                return dict(told["error"])
        return {}

    @property
    def stop_reason(self) -> str:
        """Of the `end`; empty where none has come."""
        return next((str(_data(said)["stop_reason"]) for said in self.events if said.name == "end"), "")

    @property
    def request_id(self) -> str:
        """As the answer has it."""
        return self.headers.get("x-request-id", "")


def _data(said: Said) -> dict[str, Any]:
    try:
        told = json.loads(said.data)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _text_of(said: Said) -> str:
    told = _data(said)
    if said.name == "token":
        return str(told["t"])
    choices = told.get("choices") or [{}]
    return str(choices[0].get("delta", {}).get("content") or "")
