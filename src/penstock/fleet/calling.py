"""Calls from one program of the fleet to another: typed answers, and errors that are those of the other side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import httpx2
import msgspec

from penstock import __version__
from penstock.fleet.errors import heard
from penstock.fleet.leaving import gone as gone
from penstock.fleet.leaving import unless_gone as unless_gone
from penstock.fleet.versions import refuse_other

Answer = TypeVar("Answer", bound=msgspec.Struct)

CONNECT_S_MAX = 2.0
ANSWER_S_MAX = 10.0
CONNECTIONS_MAX = 1_024


class Unreachable(Exception):
    """Nobody answers there: refused, timed out, or hung up before an answer was whole."""


class Caller:
    """One other program. Use as `async with`, or `close` it. `token`: sent with every call, where there is one."""

    def __init__(self, url: str, token: str = "", answer_s_max: float = ANSWER_S_MAX) -> None:
        self.url = url.rstrip("/")
        headers = {"user-agent": f"penstock/{__version__}", "accept-encoding": "identity"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        self._client = httpx2.AsyncClient(
            base_url=self.url,
            headers=headers,
            limits=httpx2.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX),
            timeout=httpx2.Timeout(answer_s_max, connect=CONNECT_S_MAX),
            trust_env=False,
            verify=self.url.startswith("https:"),
        )

    async def __aenter__(self) -> Caller:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Release every connection; idempotent."""
        await self._client.aclose()

    async def get(self, path: str, kind: type[Answer]) -> Answer:
        """Raises `FleetError`, `Unreachable`."""
        return _read(await self._send("GET", path, None), kind)

    async def post(self, path: str, body: msgspec.Struct | None, kind: type[Answer]) -> Answer:
        """Raises `FleetError`, `Unreachable`."""
        return _read(await self._send("POST", path, body), kind)

    async def delete(self, path: str) -> None:
        """Raises `FleetError`, `Unreachable`."""
        await self._send("DELETE", path, None)

    @asynccontextmanager
    async def stream(
        self, path: str, body: bytes, request_id: str = "", silence_s_max: float | None = None
    ) -> AsyncIterator[httpx2.Response]:
        """POST, and what comes back as it comes. Raises `FleetError` where that is an error, `Unreachable`."""
        headers = {"content-type": "application/json"} | ({"x-request-id": request_id} if request_id else {})
        async with self._streamed("POST", path, body, headers, silence_s_max) as response:
            yield response

    @asynccontextmanager
    async def listen(self, path: str, silence_s_max: float | None = None) -> AsyncIterator[httpx2.Response]:
        """GET, and what comes back as it comes. Raises as `stream` does."""
        async with self._streamed("GET", path, None, {}, silence_s_max) as response:
            yield response

    @asynccontextmanager
    async def _streamed(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], silence_s_max: float | None
    ) -> AsyncIterator[httpx2.Response]:
        timeout = httpx2.Timeout(silence_s_max, connect=CONNECT_S_MAX)
        try:
            async with self._client.stream(method, path, content=body, headers=headers, timeout=timeout) as response:
                if response.status_code >= 400:
                    whole = await response.aread()
                    raise heard(response.status_code, whole, response.headers.get("retry-after", ""))
                yield response
        except httpx2.HTTPError as error:
            raise Unreachable(f"{self.url}: {_said(error)}") from None

    async def _send(self, method: str, path: str, body: msgspec.Struct | None) -> httpx2.Response:
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if content is None else {"content-type": "application/json"}
        try:
            response = await self._client.request(method, path, content=content, headers=headers)
        except httpx2.HTTPError as error:
            raise Unreachable(f"{self.url}: {_said(error)}") from None
        if response.status_code >= 400:
            raise heard(response.status_code, response.content, response.headers.get("retry-after", ""))
        return response


def _read(response: httpx2.Response, kind: type[Answer]) -> Answer:
    try:
        return msgspec.json.decode(response.content, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        refuse_other(response.content, "client", "server")
        raise Unreachable(f"{response.request.url}: is no program of this version ({error})") from None


def _said(error: httpx2.HTTPError) -> str:
    return str(error) or type(error).__name__
