"""Live progress: a table that is redrawn on a terminal, plain lines everywhere else."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from penstock.cli.narrate import line
from penstock.core import events as e
from penstock.core.budget import FIELDS
from penstock.core.scheduling import in_flight
from penstock.core.state import Job, State, TicketRun

REDRAW_S = 0.25
ROWS_MAX = 30
STYLES = {
    "done": "green",
    "failed": "red",
    "canceled": "dim",
    "held": "yellow",
    "fixing": "red",
    "backoff": "yellow",
    "working": "cyan",
    "verifying": "blue",
    "landing": "magenta",
}


class Progress(Protocol):
    """What the run command shows while it waits."""

    def observe(self, record: e.Record, state: State) -> None:
        """A record is durable."""

    def say(self, text: str) -> None:
        """Something that is no record."""

    async def redraw(self) -> None:
        """Keep the picture current until cancelled."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def open_progress(quiet: bool) -> Progress:
    """The live table on a terminal, lines otherwise; nothing when `quiet`."""
    console = Console(stderr=True)
    return LiveTable(console) if console.is_terminal and not quiet else Lines(quiet)


class Lines:
    """One plain line per record that matters, on stderr."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def observe(self, record: e.Record, state: State) -> None:
        text = line(record, state)
        if text is not None:
            self.say(text)

    def say(self, text: str) -> None:
        if not self._quiet:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    async def redraw(self) -> None:
        await asyncio.Event().wait()

    def close(self) -> None:
        sys.stderr.flush()


class LiveTable:
    """Tickets, jobs, window and budgets, with the lines of what happened scrolling above."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._state: State | None = None
        self._begun: dict[str, float] = {}
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._live.start()

    def observe(self, record: e.Record, state: State) -> None:
        self._state = state
        if isinstance(record.event, e.JobOwed):
            self._begun[record.event.key] = time.monotonic()
        text = line(record, state)
        if text is not None:
            self._console.print(Text(text, style=_style_of(record.event)), highlight=False)

    def say(self, text: str) -> None:
        self._console.print(Text(text), highlight=False)

    async def redraw(self) -> None:
        while True:
            self._draw()
            await asyncio.sleep(REDRAW_S)

    def close(self) -> None:
        self._draw()
        self._live.stop()

    def _draw(self) -> None:
        if (state := self._state) is not None:
            shared = [self._job(job) for job in state.jobs.values() if job.ticket is None]
            rows = [Text(f"for all: {', '.join(shared)}", no_wrap=True, overflow="ellipsis")] if shared else []
            self._live.update(Group(self._tickets(state), *rows, _footer(state)), refresh=True)

    def _tickets(self, state: State) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, expand=True)
        table.add_column("ticket", no_wrap=True, overflow="ellipsis", max_width=self._console.width // 2)
        table.add_column("state", no_wrap=True, min_width=max(map(len, STYLES)))
        table.add_column("try", no_wrap=True, min_width=len("try"), style="dim")
        table.add_column("now", no_wrap=True, overflow="ellipsis", ratio=1)
        for run in _most_interesting(state):
            table.add_row(
                run.ticket.id,
                Text(run.state, style=STYLES.get(run.state, "")),
                str(run.attempt or ""),
                self._doing(state, run),
            )
        return table

    def _doing(self, state: State, run: TicketRun) -> str:
        if not run.live:
            return run.reason
        return ", ".join(self._job(state.jobs[key]) for key in run.live if key in state.jobs)

    def _job(self, job: Job) -> str:
        seconds = int(time.monotonic() - self._begun.get(job.key, time.monotonic()))
        what: str = job.order.role if isinstance(job.order, e.TurnOrder) else job.kind
        if isinstance(job.order, e.GateOrder):
            what = f"{job.order.gate} ({job.order.look})"
        elif isinstance(job.order, e.EnvOrder):
            what = f"environment {job.order.env}"
        return f"{what} {seconds} s"


def _most_interesting(state: State) -> list[TicketRun]:
    order = {"fixing": 0, "working": 0, "verifying": 0, "landing": 0, "backoff": 1, "held": 1, "ready": 2, "waiting": 3}
    runs = sorted(state.tickets.values(), key=lambda r: order.get(r.state, 4))
    return runs[:ROWS_MAX]


def _footer(state: State) -> Text:
    done = sum(1 for run in state.tickets.values() if run.state == "done")
    parts = [
        f"{done}/{len(state.tickets)} done",
        f"window {in_flight(state)}/{state.window}",
        f"gates {state.gate_live}",
        f"unverified {len(state.unverified)}",
    ]
    caps = state.policy.budget.run
    for field in FIELDS:
        cap = getattr(caps, field)
        if cap is not None:
            parts.append(f"{field} {getattr(state.settled, field)}/{cap + getattr(state.raised, field)}")
    if state.paused:
        parts.append("paused")
    if state.draining:
        parts.append("draining")
    return Text("  ".join(parts), style="bold")


def _style_of(event: e.AnyEvent) -> str:
    match event:
        case e.TicketMoved():
            return STYLES.get(event.to, "")
        case e.Refused():
            return "red"
        case e.GateEnded():
            return "green" if event.evidence.verdict == "pass" else "red"
        case _:
            return "dim"
