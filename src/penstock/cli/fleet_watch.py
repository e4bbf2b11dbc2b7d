"""Watches a fleet: a picture that is redrawn on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import click
from rich.console import Console
from rich.live import Live

from penstock.cli.fleet_view import FleetPicture, changes, drawn
from penstock.fleet.client import QueenClient
from penstock.fleet.schema import WorkerInfo

LOOK_S = 1.0
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

    async def look(self) -> FleetPicture:
        """The fleet now. Raises `FleetError`, `Unreachable`."""
        hives, workers, models = await asyncio.gather(
            self._client.hives(), self._client.workers(), self._client.models()
        )
        queued = {model.id: model.waiting for model in models.data}
        speeds = self._speeds.hear(workers.workers, time.monotonic())
        return FleetPicture(self._client.url, hives.hives, workers.workers, queued, speeds)


async def watch(client: QueenClient) -> None:
    """Until cancelled. Raises `FleetError`, `Unreachable`."""
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
