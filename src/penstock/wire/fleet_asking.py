"""One prompt, from the command line: the queen that was named, else one that runs here, else a chain of our own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from penstock.fleet.calling import Unreachable
from penstock.fleet.choices import Choices
from penstock.fleet.client import QueenClient
from penstock.fleet.errors import FleetError
from penstock.fleet.inferring import INTERRUPTED, UNAVAILABLE, Heard, Shown, exit_code_of, infer
from penstock.fleet.schema import InferenceRequest
from penstock.wire.fleet_chain import NotStarted, started_chain, until_listed

SIGNALS = (signal.SIGINT, signal.SIGTERM)
START_HINT = "start one: penstock queen, and on the machine with the models: penstock hive"


class Screen(Shown, Protocol):
    """Where it is shown, with what happens round it."""

    def say(self, text: str) -> None:
        """One line of progress."""


def ask_fleet(chosen: Choices, asked: InferenceRequest, screen: Screen) -> Heard:
    """Ask, and show what comes. Raises `BadInput` for a token that cannot be used."""
    token = chosen.token(os.environ)
    return asyncio.run(_ask(chosen, token, asked, screen))


async def _ask(chosen: Choices, token: str, asked: InferenceRequest, screen: Screen) -> Heard:
    interrupt = _Interrupt(asyncio.Event(), asyncio.current_task())
    with interrupt.heard():
        try:
            async with _queen(chosen, token, screen) as client:
                interrupt.is_asking = True
                return await infer(client, asked, screen, interrupt.event)
        except (_NoQueen, NotStarted) as error:
            return _not_asked(asked, str(error), UNAVAILABLE)
        except FleetError as error:
            return _not_asked(asked, error.message, exit_code_of(error.code), error.code)
        except asyncio.CancelledError:
            return _not_asked(asked, "interrupted", INTERRUPTED)


def _not_asked(asked: InferenceRequest, message: str, exit_code: int, code: str = "") -> Heard:
    return Heard(asked.request_id, message=message, exit_code=exit_code, code=code)


class _NoQueen(Exception):
    """The one that was named does not answer."""


@asynccontextmanager
async def _queen(chosen: Choices, token: str, screen: Screen) -> AsyncIterator[QueenClient]:
    async with QueenClient(chosen.queen, token) as client:
        if await _answers(client, chosen):
            yield client
            return
    screen.say("no queen runs here: one is started for this prompt, with a hive")
    name = f"infer-{os.getpid()}"
    async with started_chain(chosen.home, chosen.token_file, name) as chain, QueenClient(chain.url, token) as client:
        if not await until_listed(client, name):
            raise NotStarted("the hive did not register with the queen")
        yield client


async def _answers(client: QueenClient, chosen: Choices) -> bool:
    try:
        await client.health()
    except Unreachable as error:
        if chosen.is_queen_asked:
            raise _NoQueen(f"no queen answers at {error}\n    fix: {START_HINT}") from None
        return False
    return True


@dataclass
class _Interrupt:
    """The first Ctrl-C or TERM: what was asked is cancelled, what is still being started is given up."""

    event: asyncio.Event
    task: asyncio.Task[Heard] | None
    is_asking: bool = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """The second signal has its usual effect."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._come)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    def _come(self) -> None:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.remove_signal_handler(number)
        self.event.set()
        if not self.is_asking and self.task is not None:
            self.task.cancel()
