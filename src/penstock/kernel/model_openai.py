"""Any endpoint that speaks OpenAI's chat completions, streamed where it can.

Providers differ in what they refuse, so an endpoint that takes no `stream_options`, or no stream, is asked without, and
is so from then on. Failures of the moment are tried again a few times, no earlier than the provider says; a wait that
is too long for that is the caller's to make. A reply that was cut is asked for anew: nothing was done with it yet.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import msgspec

from penstock import __version__
from penstock.kernel.model import Failed, FailedKind, Heard, Reply, Request, read_completion
from penstock.kernel.model_stream import Assembly

HTTP_OK: Final = 200
AGAIN: frozenset[FailedKind] = frozenset({"rate_limited", "server", "network", "bad_reply"})
"""Failures that another try may not meet."""
TOO_LONG = re.compile(
    r"context.?length|context window|maximum context|prompt is too long|too many (?:input )?tokens", re.IGNORECASE
)
NO_MONEY = re.compile(r"insufficient.?(?:quota|balance|credit|fund)|billing|exceeded your current quota", re.IGNORECASE)
LOOPBACK = ("localhost", "127.0.0.1", "::1")
MESSAGE_CHARS_MAX = 500


@dataclass(frozen=True)
class OpenAiLimits:
    """Limits of one model call."""

    tries_max: int = 4
    backoff_base_ms: int = 500
    retry_wait_ms_max: int = 30_000
    """A longer wait is not waited here: the failure goes to the caller, with what the provider asked for."""
    connect_ms_max: int = 15_000
    silence_ms_max: int = 600_000
    """Longest time without a byte."""
    reply_bytes_max: int = 20_000_000


STREAMED: tuple[dict[str, Any], ...] = (
    {"stream": True, "stream_options": {"include_usage": True}},
    {"stream": True},
    {},
)
"""How a reply is asked for, the best way first."""


class OpenAiModel:
    """`model.Model` over HTTP. `key_env` names the environment variable that holds the key; empty: there is none."""

    def __init__(
        self,
        base_url: str,
        key_env: str = "",
        *,
        env: Mapping[str, str] = os.environ,
        limits: OpenAiLimits = OpenAiLimits(),
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._key_env, self._env, self._limits = key_env, env, limits
        self._way = 0
        """Index into `STREAMED`."""
        self._client: httpx2.AsyncClient | None = None

    async def close(self) -> None:
        """Release every connection; idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def complete(self, request: Request, heard: Heard = lambda quiet_ms: None) -> Reply | Failed:
        """One reply. Cancelling closes the connection."""
        key = self._key()
        if isinstance(key, Failed):
            return key
        tries = 0
        while True:
            way = self._way
            seen = await self._once(request, key, heard)
            if isinstance(seen, Reply):
                return seen
            if self._way != way:
                continue  # it was asked in a way that it does not know
            tries += 1
            wait_ms = max(seen.retry_after_ms, self._limits.backoff_base_ms * 2 ** (tries - 1))
            if seen.kind not in AGAIN or tries >= self._limits.tries_max or wait_ms > self._limits.retry_wait_ms_max:
                return self._without_key(seen, key)
            heard(wait_ms)
            await asyncio.sleep(wait_ms / 1_000)

    def _key(self) -> str | Failed:
        if not self._key_env:
            return ""
        key = self._env.get(self._key_env, "").strip()
        if not key:
            return Failed("auth", f"the environment variable {self._key_env} holds no key")
        if not (key.isascii() and key.isprintable()):
            return Failed("auth", f"what the environment variable {self._key_env} holds can be no key")
        return key

    def _without_key(self, failed: Failed, key: str) -> Failed:
        message = failed.message.replace(key, f"${self._key_env}") if key else failed.message
        return Failed(failed.kind, message[:MESSAGE_CHARS_MAX], failed.retry_after_ms)

    # --- one try ----------------------------------------------------------------------------------------------------

    async def _once(self, request: Request, key: str, heard: Heard) -> Reply | Failed:
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        headers |= {"authorization": f"Bearer {key}"} if key else {}
        client = await self._opened()
        try:
            async with client.stream("POST", self._url, content=self._body(request), headers=headers) as response:
                if response.status_code != HTTP_OK:
                    return self._refused(response, await self._whole(response, heard))
                if response.headers.get("content-type", "").startswith("text/event-stream"):
                    return await self._streamed(response, heard)
                return _completed(await self._whole(response, heard))
        except (httpx2.HTTPError, httpx2.InvalidURL) as wrong:
            return Failed("network", f"{type(wrong).__name__}: {wrong}")
        except _TooLarge:
            return Failed("bad_reply", f"is over {self._limits.reply_bytes_max} bytes")

    async def _opened(self) -> httpx2.AsyncClient:
        """The client. Reading the certificates of the system takes long, so it is done beside the loop, if at all."""
        if self._client is None:
            limits, place = self._limits, urlsplit(self._url)
            verify = await asyncio.to_thread(httpx2.create_ssl_context) if place.scheme == "https" else False  # no TLS
            timeout = httpx2.Timeout(limits.silence_ms_max / 1_000, connect=limits.connect_ms_max / 1_000)
            agent = {"user-agent": f"penstock/{__version__}"}
            is_here = place.hostname in LOOPBACK
            self._client = httpx2.AsyncClient(verify=verify, timeout=timeout, headers=agent, trust_env=not is_here)
        return self._client

    def _body(self, request: Request) -> bytes:
        body: dict[str, Any] = {"model": request.model, "messages": list(request.messages)}
        if request.tools:
            body["tools"] = list(request.tools)
        return msgspec.json.encode({**body, **STREAMED[self._way]})

    async def _whole(self, response: httpx2.Response, heard: Heard) -> bytes:
        data = bytearray()
        async for piece in response.aiter_bytes():
            heard(0)
            data += piece
            self._bound(response, len(data))
        return bytes(data)

    async def _streamed(self, response: httpx2.Response, heard: Heard) -> Reply | Failed:
        assembly = Assembly()
        async for event in httpx2.EventSource(response, max_event_size=self._limits.reply_bytes_max):
            heard(0)
            self._bound(response)
            if event.data == "[DONE]":
                break
            wrong = _error_in(event.data) or assembly.add(event.data)
            if wrong is not None:
                return wrong
        if not assembly.is_finished:
            return Failed("network", "the stream of its reply was cut")
        return assembly.reply()

    def _bound(self, response: httpx2.Response, unpacked: int = 0) -> None:
        if max(response.num_bytes_downloaded, unpacked) > self._limits.reply_bytes_max:
            raise _TooLarge

    def _refused(self, response: httpx2.Response, body: bytes) -> Failed:
        said = _said(body)
        failed = _classified(response.status_code, said, _retry_after_ms(response.headers))
        is_about_streams = failed.kind == "bad_request" and "stream" in said.words
        if is_about_streams and self._way + 1 < len(STREAMED):
            self._way += 1
        return failed


class _TooLarge(Exception):
    """A reply over its cap."""


# --- what a provider says -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Said:
    """An error body, whatever its shape."""

    message: str
    code: str = ""
    is_error: bool = True

    @property
    def words(self) -> str:
        return f"{self.code} {self.message}"


def _said(body: bytes) -> _Said:
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Said(body[:MESSAGE_CHARS_MAX].decode(errors="replace").strip(), is_error=False)
    error = told.get("error") if isinstance(told, dict) else None
    if isinstance(error, dict):
        codes = (error.get("code"), error.get("type"), error.get("param"))
        return _Said(str(error.get("message") or ""), " ".join(str(code) for code in codes if code is not None))
    message = told.get("message") or told.get("detail") if isinstance(told, dict) else None
    return _Said(str(error or message or told)[:MESSAGE_CHARS_MAX], is_error=bool(error))


def _completed(body: bytes) -> Reply | Failed:
    """A reply that came at once, or the error that some send with status 200."""
    reply = read_completion(body)
    return (_error_in(body.decode(errors="replace")) or reply) if isinstance(reply, Failed) else reply


def _error_in(data: str) -> Failed | None:
    """The error that a provider sends in place of a reply, or of the rest of it."""
    if '"error"' not in data:
        return None
    said = _said(data.encode())
    if not said.is_error:
        return None
    status = next((int(word) for word in said.code.split() if re.fullmatch(r"[45]\d\d", word)), 500)
    return _classified(status, said, 0)


def _classified(status: int, said: _Said, retry_after_ms: int) -> Failed:
    return Failed(_kind(status, said.words), f"HTTP {status}: {said.message}"[:MESSAGE_CHARS_MAX], retry_after_ms)


def _kind(status: int, words: str) -> FailedKind:
    if status in (401, 403):
        return "auth"
    if status == 402 or (status == 429 and NO_MONEY.search(words)):
        return "quota"
    if status in (400, 413, 422) and TOO_LONG.search(words):
        return "context_length"
    if status == 429:
        return "rate_limited"
    if status == 404:
        return "no_model"
    return "server" if status >= 500 or status in (408, 409, 425) else "bad_request"


def _retry_after_ms(headers: Mapping[str, str]) -> int:
    """`retry-after-ms`, or `retry-after` in seconds or as a date; 0 where it says nothing."""
    for name, unit in (("retry-after-ms", 1), ("retry-after", 1_000)):
        written = headers.get(name, "")
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", written):
            return round(float(written) * unit)
    try:
        return max(0, round((parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time()) * 1_000))
    except ValueError:
        return 0
