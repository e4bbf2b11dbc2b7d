"""What a program of the fleet answers to, as data: the server is made from it, and so is its OpenAPI document.

An endpoint gets a `Call` and gives back a `Wire` (answered as JSON), None (204), or an ASGI application that streams.
It may raise `FleetError`, which becomes the answer.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.fleet.bodies import read_body, read_query
from penstock.fleet.schema import FieldProblem, Wire

Method = Literal["GET", "POST", "DELETE"]
REQUEST_ID = "x-request-id"
"""The header of every answer."""


def made_request_id() -> str:
    """Where the client has not chosen one."""
    return f"r-{secrets.token_hex(8)}"


@dataclass(frozen=True)
class Call:
    """A request, its body and its query read and checked. `path`: what stood in the places of the path."""

    body: Any
    raw: bytes
    path: Mapping[str, str]
    headers: Mapping[str, str]
    request_id: str
    query: Any = None


Answer = Wire | bytes | ASGIApp | None
Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True)
class Endpoint:
    """One method at one path. `answers`: what a success is, `stream` in place of it where events come."""

    method: Method
    path: str
    summary: str
    handler: Handler
    body: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    answer: type[msgspec.Struct] | None = None
    status: int = 200
    content_type: str = "application/json"
    errors: Sequence[str] = ()
    is_open: bool = False
    """Needs no token: health, and what monitoring asks."""
    keeps_unknown: bool = False
    """The body is passed on: fields that we do not read are allowed."""
    may_stream: bool = False
    """Answers with events where the request asks for them."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Of the path: name to what it is."""
    glance: Callable[[bytes], None] | None = None
    """Looks at a body before anything else in it may be wrong. May raise `FleetError`."""
    heading: Callable[[Mapping[str, str]], Sequence[FieldProblem]] = lambda headers: ()
    """What is wrong with the headers, to be told with what is wrong in the body."""


class Json:
    """An answer with a body of JSON, or of any bytes."""

    def __init__(
        self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None, kind: str = "application/json"
    ) -> None:
        self.body, self.status = body, status
        told = {"content-type": kind, "content-length": str(len(body)), **(headers or {})}
        self.headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in told.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


def as_app(answer: Answer, endpoint: Endpoint) -> ASGIApp:
    """What an endpoint gave back, as what is sent."""
    if answer is None:
        return _nothing
    if isinstance(answer, Wire):
        return Json(msgspec.json.encode(answer), endpoint.status)
    if isinstance(answer, bytes):
        return Json(answer, endpoint.status, kind=endpoint.content_type)
    return answer


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def body_of(endpoint: Endpoint, raw: bytes, headers: Mapping[str, str]) -> Any:
    """The body, checked. Raises `FleetError`."""
    if endpoint.glance is not None:
        endpoint.glance(raw)
    return read_body(raw, endpoint.body, endpoint.heading(headers)) if endpoint.body is not None else None


def query_of(endpoint: Endpoint, raw: bytes) -> Any:
    """What stands after the `?`, checked; what is not read is not looked at. Raises `FleetError`."""
    return read_query(raw, endpoint.query) if endpoint.query is not None else None
