"""Watches a fleet: a picture that is redrawn on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import click
from rich.console import Console
from rich.live import Live

from penstock.cli.fleet_view import FleetPicture, changes, drawn
from penstock.fleet.client import QueenClient

LOOK_S = 1.0
QUEUED, TOKENS = "penstock_queen_queue_depth", "penstock_queen_tokens"


class Watching:
    """Asks, and keeps what is needed to tell how fast things go."""

    def __init__(self, client: QueenClient) -> None:
        self._client = client
        self._tokens: Mapping[str, float] = {}
        self._at_s = 0.0

    async def look(self) -> FleetPicture:
        """The fleet now. Raises `FleetError`, `Unreachable`."""
        hives, workers, metrics = await asyncio.gather(
            self._client.hives(), self._client.workers(), self._client.metrics()
        )
        queued = {model: int(count) for model, count in read_metric(metrics, QUEUED).items()}
        return FleetPicture(self._client.url, hives.hives, workers.workers, queued, self._speeds(metrics))

    def _speeds(self, metrics: str) -> dict[str, float]:
        now, tokens = time.monotonic(), read_metric(metrics, TOKENS)
        took_s, before = now - self._at_s, self._tokens
        self._at_s, self._tokens = now, tokens
        return {model: max(0.0, count - before[model]) / took_s for model, count in tokens.items() if model in before}


def read_metric(text: str, name: str) -> dict[str, float]:
    """Its values by model; empty where there are none."""
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        if family.name == name:
            for sample in family.samples:
                if sample.name in (name, f"{name}_total") and "model" in sample.labels:
                    found[sample.labels["model"]] = sample.value
    return found


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
