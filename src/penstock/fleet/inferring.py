"""One prompt from a client's side: asked, shown as it comes, asked again where it was refused for the moment.

Ended in one of five ways, which are the exit codes of `penstock infer`: done, failed (what came is kept), bad input,
refused, unavailable; and interrupted, where the queen is told, so that the engine stops and its slot is free at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from penstock.core.fleet.names import is_worker
from penstock.fleet.calling import Unreachable
from penstock.fleet.client import Broken, QueenClient
from penstock.fleet.errors import ERRORS, FleetError, fix_of
from penstock.fleet.schema import End, Failure, InferenceRequest, Metrics, Progress, Started, Token

WAITS_S = (1, 2, 4)
"""Before each new try; longer where the queen asks for it."""
RETRY_AFTER_S_MAX = 20
"""Who is to wait longer than this is told so."""
CANCEL_S_MAX = 5.0
FOR_THE_MOMENT = (429, 503)
FOR_LONGER = frozenset({"INSUFFICIENT_MEMORY", "BACKEND_UNAVAILABLE", "PORTS_EXHAUSTED"})
NOTHING: Mapping[str, Any] = {}
DONE, FAILED, BAD_INPUT, REFUSED, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 6, 7, 130

Pause = Callable[[float], Awaitable[None]]


class Shown(Protocol):
    """Where it is shown."""

    def token(self, text: str) -> None:
        """More of the answer."""

    def progress(self, progress: Progress) -> None:
        """What happens before the first token."""

    def waits(self, why: str, seconds: int) -> None:
        """It was refused for the moment, and is asked again."""


@dataclass
class Heard:
    """What came of one request. `code` and `message`: why it is not whole. None: nobody has measured that."""

    request_id: str
    tokens: int = 0
    stop_reason: str = ""
    ms: int | None = None
    tokens_per_s: float | None = None
    first_token_ms: int | None = None
    code: str = ""
    message: str = ""
    retry_after_s: int = 0
    exit_code: int = FAILED
    text: list[str] = field(default_factory=list)
    worker_id: str = ""
    """Of the worker that could not be had; `log`: its last lines."""
    log: tuple[str, ...] = ()

    @property
    def fix(self) -> str:
        """What to do about `code`."""
        return fix_of(self.code).replace("WORKER", self.worker_id or "WORKER")


async def infer(
    client: QueenClient,
    asked: InferenceRequest,
    shown: Shown,
    interrupted: asyncio.Event,
    pause: Pause = asyncio.sleep,
) -> Heard:
    """Until it ended, or `interrupted` is set. Raises nothing that can happen."""
    heard = Heard(asked.request_id)
    work = asyncio.ensure_future(_ask(client, asked, shown, heard, pause))
    leaving = asyncio.ensure_future(interrupted.wait())
    try:
        await asyncio.wait((work, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            await _cancel(client, asked.request_id)
            heard.exit_code, heard.message = INTERRUPTED, "interrupted"
        else:
            await work
    finally:
        for task in (work, leaving):
            task.cancel()
        await asyncio.gather(work, leaving, return_exceptions=True)
    return heard


async def _cancel(client: QueenClient, request_id: str) -> None:
    with suppress(FleetError, Unreachable, TimeoutError):
        await asyncio.wait_for(client.cancel(request_id), CANCEL_S_MAX)


async def _ask(client: QueenClient, asked: InferenceRequest, shown: Shown, heard: Heard, pause: Pause) -> None:
    for wait_s in (*WAITS_S, None):
        heard.code = heard.message = ""
        await _once(client, asked, shown, heard)
        if wait_s is None or not _may_ask_again(heard):
            return
        wait_s = max(wait_s, heard.retry_after_s)
        shown.waits(heard.message, wait_s)
        await pause(wait_s)


def _may_ask_again(heard: Heard) -> bool:
    if heard.tokens or heard.code not in ERRORS or heard.code in FOR_LONGER:
        return False
    return ERRORS[heard.code].status in FOR_THE_MOMENT and heard.retry_after_s <= RETRY_AFTER_S_MAX


async def _once(client: QueenClient, asked: InferenceRequest, shown: Shown, heard: Heard) -> None:
    try:
        async for event in client.infer(asked):
            _take(event, shown, heard)
    except FleetError as error:
        heard.retry_after_s = error.retry_after_s
        _fail(heard, error.code, f"{error.message}{_fields_of(error)}", error.details)
    except Broken as error:
        _fail(heard, "", str(error))
    except Unreachable as error:
        heard.message, heard.exit_code = f"no queen answers: {error}", UNAVAILABLE


def _take(event: Started | Token | Progress | Metrics | End | Failure, shown: Shown, heard: Heard) -> None:
    match event:
        case Started():
            pass
        case Progress():
            shown.progress(event)
        case Token():
            heard.tokens += 1
            heard.text.append(event.t)
            shown.token(event.t)
        case Metrics():
            heard.tokens_per_s, heard.first_token_ms = event.tokens_per_s, event.first_token_ms
        case End():
            heard.stop_reason, heard.ms = event.stop_reason, event.ms
            heard.exit_code = DONE
            if event.stop_reason == "canceled":
                _fail(heard, "CANCELED", "somebody cancelled the request")
        case Failure():
            _fail(heard, event.code, event.message, event.details)


def _fail(heard: Heard, code: str, message: str, details: Mapping[str, Any] = NOTHING) -> None:
    heard.code, heard.message = code, message
    worker_id, log = details.get("worker_id"), details.get("log")
    heard.worker_id = worker_id if isinstance(worker_id, str) and is_worker(worker_id) else ""
    heard.log = tuple(map(str, log)) if isinstance(log, list) else ()
    heard.exit_code = FAILED if heard.tokens else exit_code_of(code)


def exit_code_of(code: str) -> int:
    """Of an error before the first token."""
    status = ERRORS[code].status if code in ERRORS else 500
    if status in (400, 413):
        return BAD_INPUT
    if status == 503:
        return UNAVAILABLE
    return REFUSED if status < 500 and status not in (408, 499) else FAILED


def _fields_of(error: FleetError) -> str:
    fields = error.details.get("fields")
    if not isinstance(fields, list):
        return ""
    told = [f"{each.get('field')} {each.get('message')}" for each in fields if isinstance(each, dict)]
    return f" ({'; '.join(told)})" if told else ""
