"""Watches a fleet: a picture that is redrawn on a terminal, a line for each change elsewhere. A queen that goes away
ends nothing: the last picture stays, as one that is old, until she is back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import click
from rich.console import Console
from rich.live import Live

from penstock.cli.fleet_view import FleetPicture, changes, drawn
from penstock.fleet.calling import Unreachable
from penstock.fleet.client import QueenClient
from penstock.fleet.errors import FleetError
from penstock.fleet.schema import WorkerInfo

LOOK_S = 1.0
ANSWER_S_MAX = 5.0
WEIGHT = 0.5
"""Of the newest speed: a hive tells how many tokens there were every few seconds, we ask more often."""


class Speeds:
    """How fast workers make tokens, from how many they have made."""

    def __init__(self) -> None:
        self._tokens: dict[str, tuple[int, float]] = {}
        """By worker: how many, and when that was first seen."""
        self._speeds: dict[str, float] = {}

    def hear(self, workers: Sequence[WorkerInfo], now_s: float) -> dict[str, float]:
        """Tokens a second, by worker."""
        for worker in workers:
            before, at_s = self._tokens.get(worker.worker_id, (worker.tokens_total, now_s))
            if worker.tokens_total != before and now_s > at_s:
                self._note(worker.worker_id, (worker.tokens_total - before) / (now_s - at_s))
            if worker.tokens_total != before or worker.worker_id not in self._tokens:
                self._tokens[worker.worker_id] = worker.tokens_total, now_s
            if not worker.busy:
                self._speeds.pop(worker.worker_id, None)
        return {worker.worker_id: self._speeds.get(worker.worker_id, 0.0) for worker in workers}

    def _note(self, worker: str, newest: float) -> None:
        self._speeds[worker] = WEIGHT * newest + (1 - WEIGHT) * self._speeds.get(worker, newest)


class Watching:
    """Asks the queen for the picture."""

    def __init__(self, client: QueenClient) -> None:
        self._client, self._speeds = client, Speeds()
        self._last: FleetPicture | None = None
        self._heard_s = 0.0

    async def look(self) -> FleetPicture:
        """The fleet now; as it was, where the queen is away. Raises `FleetError` for what she refuses, and where she
        was never heard `Unreachable`.
        """
        try:
            self._last = await self._within_time()
            self._heard_s = time.monotonic()
        except (FleetError, Unreachable) as error:
            is_refused = isinstance(error, FleetError) and error.status < 500
            if self._last is None or is_refused:
                raise
            self._last = replace(self._last, away_s=round(time.monotonic() - self._heard_s))
        return self._last

    async def _within_time(self) -> FleetPicture:
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                if self._last is not None and self._last.away_s is not None:
                    await self._client.health()  # another one may be of another version
                return await self._ask()
        except TimeoutError:
            raise Unreachable(f"{self._client.url}: no answer within {ANSWER_S_MAX:g} s") from None

    async def _ask(self) -> FleetPicture:
        hives, workers, models = await asyncio.gather(
            self._client.hives(), self._client.workers(), self._client.models()
        )
        queued = {model.id: model.waiting for model in models.data}
        speeds = self._speeds.hear(workers.workers, time.monotonic())
        return FleetPicture(self._client.url, hives.hives, workers.workers, queued, speeds)


async def watch(client: QueenClient) -> None:
    """Until cancelled. Raises as `Watching.look` does."""
    console = Console(highlight=False)
    watching = Watching(client)
    if not console.is_terminal:
        await _tell_changes(watching)
        return
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            live.update(drawn(await watching.look()), refresh=True)
            await asyncio.sleep(LOOK_S)


async def _tell_changes(watching: Watching) -> None:
    before = None
    while True:
        now = await watching.look()
        for line in changes(before, now):
            click.echo(line)
        before = now
        await asyncio.sleep(LOOK_S)
