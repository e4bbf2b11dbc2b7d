"""How commands ask the queen: what she refuses and that nobody answers end the command with 6 and 7."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from penstock.cli.main import Failing
from penstock.evidence.words import plain
from penstock.fleet.calling import Unreachable
from penstock.fleet.choices import Choices, choose
from penstock.fleet.client import QueenClient
from penstock.fleet.errors import FleetError, fix_of
from penstock.fleet.inferring import UNAVAILABLE, exit_code_of

T = TypeVar("T")
START_FIX = "start one with `penstock queen`, or say where it is: --queen URL"


def asked(queen: str | None, token_file: str | None, question: Callable[[QueenClient], Awaitable[T]]) -> T:
    """What the queen answers. Raises `Failing`, `BadInput`."""
    chosen = choose(os.environ, queen=queen, token_file=token_file)

    async def ask() -> T:
        async with QueenClient(chosen.queen, chosen.token(os.environ)) as client:
            await client.health()
            return await question(client)

    try:
        return asyncio.run(ask())
    except FleetError as error:
        raise refused(error) from None
    except Unreachable as error:
        raise unreachable(chosen, error) from None


@contextmanager
def ending() -> Iterator[None]:
    """What a queen answered to a program of ours, or that none did, ends it with 6 or 7."""
    try:
        yield
    except FleetError as error:
        raise refused(error) from None
    except Unreachable as error:
        raise Failing(f"no queen answers at {plain(str(error))}", UNAVAILABLE, START_FIX) from None


def refused(error: FleetError) -> Failing:
    """What somebody of the fleet answered, as the end of a command."""
    again = f"; try again in {error.retry_after_s} s" if error.retry_after_s else ""
    return Failing(f"{error.code}: {plain(error.message)}{again}", exit_code_of(error.code), fix_of(error.code))


def unreachable(chosen: Choices, error: Unreachable) -> Failing:
    """Nobody answers where the queen should be."""
    return Failing(f"no queen answers at {chosen.queen} ({plain(str(error))})", UNAVAILABLE, START_FIX)
