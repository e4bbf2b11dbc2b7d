"""The HTTP side of queen, hive and worker: endpoints behind the same doors.

    request id ─► token, or whose page ─► size ─► body ─► endpoint

Every 429 and 503 has a whole `Retry-After`. Every answer carries `x-request-id`: that of the body, else of the
request's header, else one that is made. It is the one that `started` has, and by which the request is cancelled.
Every failure is an `ErrorBody`. What nobody foresaw is logged with that id and answered with INTERNAL, which says
nothing of what it was.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from starlette.datastructures import Headers
from starlette.routing import Match, Route
from starlette.types import Message, Receive, Scope, Send

from penstock.core.fleet.names import is_request
from penstock.core.fleet.policy import BODY_BYTES_MAX, BODY_S_MAX
from penstock.fleet.errors import FleetError
from penstock.fleet.logs import Log
from penstock.fleet.measures import Measures
from penstock.fleet.openapi import document
from penstock.fleet.pages import is_foreign
from penstock.fleet.routes import REQUEST_ID, Call, Endpoint, Json, as_app, body_of, made_request_id, query_of
from penstock.fleet.schema import InferenceRequest

OPEN_PATHS = ("/openapi.json",)
AGAIN_STATUSES = (429, 503)
AGAIN_S = 5
"""Where an engine that is passed on says nothing that a client could count on."""
ENDED_RETRY_S = 5
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class App:
    """An ASGI application. `token`: empty where none is needed. `measures`: counted into, and shown at `/metrics`."""

    def __init__(
        self,
        title: str,
        endpoints: Sequence[Endpoint],
        log: Log,
        measures: Measures,
        token: str = "",
        body_s_max: float = BODY_S_MAX,
    ) -> None:
        self._log, self._measures, self._token, self._body_s_max = log, measures, token, body_s_max
        self._title, self._described = title, [*endpoints, self._metrics_endpoint()]
        openapi = Endpoint("GET", "/openapi.json", "This document.", self._openapi, is_open=True)
        self._all = [*self._described, openapi]
        self._fixed = {(e.method, e.path): e for e in self._all if "{" not in e.path}

    @cached_property
    def document(self) -> bytes:
        """OpenAPI, made when it is asked for: a worker starts in few milliseconds."""
        return document(self._title, self._described, needs_token=bool(self._token))

    @cached_property
    def _routes(self) -> list[tuple[Route, Endpoint]]:
        return [(Route(e.path, _no_endpoint, methods=[e.method]), e) for e in self._all]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            assert scope["type"] == "lifespan"
            return
        answering = _Answering(scope, send)
        begun = time.monotonic()
        endpoint: Endpoint | None = None
        try:
            endpoint, path = self._find(scope)
            await self._answer(endpoint, path, answering, scope, receive)
        except FleetError as error:
            await answering.fail(error)
        except _Left:
            pass
        except asyncio.CancelledError:
            await answering.cut_off()
            raise
        except Exception as error:  # the supervisor of one request: the process goes on, and the log has it
            self._log.error("request failed", request_id=answering.request_id, error=repr(error), where=_where(error))
            await answering.fail(FleetError("INTERNAL", "an error of ours", {"request_id": answering.request_id}))
        finally:
            took_s = time.monotonic() - begun
            shown = endpoint.path if endpoint else "(none)"
            self._measures.answered(scope["method"], shown, answering.status, took_s)
            self._log.access(scope["method"], scope["path"], answering.status, took_s, answering.request_id)

    def _find(self, scope: Scope) -> tuple[Endpoint, dict[str, str]]:
        if found := self._fixed.get((scope["method"], scope["path"])):
            return found, {}
        allowed = [method for method, path in self._fixed if path == scope["path"]]
        for route, endpoint in [] if allowed else self._routes:
            match, child = route.matches(scope)
            if match is Match.FULL and endpoint.method == scope["method"]:
                return endpoint, child["path_params"]
            if match is not Match.NONE:
                allowed.append(endpoint.method)
        if allowed:
            raise _NotAllowed(allowed)
        raise FleetError("NOT_FOUND", "there is nothing at this path")

    async def _answer(
        self, endpoint: Endpoint, path: dict[str, str], answering: _Answering, scope: Scope, receive: Receive
    ) -> None:
        headers = Headers(scope=scope)
        self._let_in(endpoint, headers)
        raw = await _read(headers, receive, self._body_s_max) if endpoint.method == "POST" else b""
        query = query_of(endpoint, scope.get("query_string", b""))
        body = body_of(endpoint, raw, headers)
        if isinstance(body, InferenceRequest) and is_request(body.request_id):
            answering.request_id = body.request_id
        call = Call(body, raw, path, headers, answering.request_id, query)
        answer = await endpoint.handler(call)
        await as_app(answer, endpoint)(scope, receive, answering.send)

    def _let_in(self, endpoint: Endpoint, headers: Headers) -> None:
        if not self._token and is_foreign(headers):
            raise FleetError("FOREIGN_PAGE", "a page of another machine asks, and there is no token")
        if self._token and not endpoint.is_open and not has_token(headers.get("authorization", ""), self._token):
            raise FleetError("INVALID_TOKEN", "a token is needed, or this is not the one")

    async def _openapi(self, call: Call) -> bytes:
        return self.document

    def _metrics_endpoint(self) -> Endpoint:
        async def metrics(call: Call) -> bytes:
            return self._measures.text()

        return Endpoint("GET", "/metrics", "Prometheus' text format.", metrics, content_type=METRICS_TYPE, is_open=True)


class _Left(Exception):
    """The client is gone before its request was whole."""


class _NotAllowed(FleetError):
    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__("METHOD_NOT_ALLOWED", "this path has other methods")
        self._allowed = ", ".join(sorted(set(allowed)))

    def headers(self) -> dict[str, str]:
        return {"allow": self._allowed}


class _Answering:
    """What was sent so far; puts the request's id on it."""

    def __init__(self, scope: Scope, send: Send) -> None:
        given = Headers(scope=scope).get(REQUEST_ID, "")
        self.request_id = given if is_request(given) else made_request_id()
        self.status = 0
        """0 until the answer has begun."""
        self._scope, self._send = scope, send

    async def send(self, message: Message) -> None:
        """As ASGI."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            told = [pair for pair in message.get("headers", []) if pair[0].lower() != REQUEST_ID.encode()]
            told = _with_retry_after(told) if self.status in AGAIN_STATUSES else told
            message = {**message, "headers": [*told, (REQUEST_ID.encode(), self.request_id.encode())]}
        await self._send(message)

    async def cut_off(self) -> None:
        """The program ends before it has answered."""
        if not self.status:
            await self.fail(FleetError("DRAINING", "it ended before this was done", retry_after_s=ENDED_RETRY_S))

    async def fail(self, error: FleetError) -> None:
        """Answer with it; where the answer has begun already, nothing can be said any more: break it off."""
        if self.status:
            raise ConnectionError("the answer had begun")  # the server closes the connection
        await Json(error.body(), error.status, error.headers())(self._scope, _nothing_more, self.send)


def _with_retry_after(told: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Whole seconds, whoever answers."""
    if any(name.lower() == b"retry-after" and value.isdigit() for name, value in told):
        return told
    rest = [pair for pair in told if pair[0].lower() != b"retry-after"]
    return [*rest, (b"retry-after", str(AGAIN_S).encode())]


async def _read(headers: Headers, receive: Receive, body_s_max: float) -> bytes:
    """The body. Raises `FleetError` as soon as it is over the cap, or does not come; `_Left`."""
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > BODY_BYTES_MAX:
        raise FleetError("BODY_TOO_LARGE", f"a body has at most {BODY_BYTES_MAX} bytes")
    try:
        async with asyncio.timeout(body_s_max):
            return await _received(receive)
    except TimeoutError:
        raise FleetError("DEADLINE_EXCEEDED", "the body of the request did not come") from None


async def _received(receive: Receive) -> bytes:
    data = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Left
        data += message.get("body", b"")
        if len(data) > BODY_BYTES_MAX:
            raise FleetError("BODY_TOO_LARGE", f"a body has at most {BODY_BYTES_MAX} bytes")
        if not message.get("more_body"):
            return bytes(data)


def has_token(header: str, token: str) -> bool:
    """Whether an `Authorization` header, decoded as Latin-1, brings the token. In constant time."""
    scheme, _, given = header.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), token.encode())


def _where(error: BaseException) -> str:
    """The last line of ours that it came through."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


async def _no_endpoint(request: Any) -> Any:
    raise AssertionError("routes are only matched")


async def _nothing_more() -> Message:
    return {"type": "http.disconnect"}
