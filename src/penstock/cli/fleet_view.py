"""The picture of a fleet, from what the queen said of it at one moment. Nothing here asks anybody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.styled import Styled
from rich.table import Table
from rich.text import Text

from penstock.evidence.words import plain
from penstock.fleet.schema import HiveInfo, WorkerInfo

STYLES = {
    "ready": "green",
    "lost": "red",
    "starting": "yellow",
    "loading": "yellow",
    "idle": "green",
    "busy": "cyan",
    "draining": "magenta",
    "stopped": "dim",
    "failed": "red",
}
SLOTS_SHOWN_MAX = 16
BAR = 16
TAKEN, FREE = "●", "○"
BYTES = (("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000))


@dataclass(frozen=True)
class FleetPicture:
    """`queued`: requests that wait, by model. `tokens_per_s`: lately, by worker. `away_s`: for how long the queen has
    not answered, so that all the rest is as old; None: she does.
    """

    queen: str
    hives: Sequence[HiveInfo]
    workers: Sequence[WorkerInfo]
    queued: Mapping[str, int] = field(default_factory=dict)
    tokens_per_s: Mapping[str, float] = field(default_factory=dict)
    away_s: int | None = None

    def speed_of(self, model: str) -> float:
        """Of all workers of a model."""
        mine = (worker.worker_id for worker in self.workers if worker.model == model)
        return sum(self.tokens_per_s.get(worker, 0.0) for worker in mine)


def drawn(fleet: FleetPicture) -> RenderableType:
    """For a terminal."""
    parts: list[RenderableType] = []
    if fleet.hives:
        parts.append(_hives(fleet.hives))
    if fleet.workers:
        parts.append(_workers(fleet))
    if _models(fleet):
        parts.append(_traffic(fleet))
    body = Group(*(each for part in parts for each in (part, Text(""))))
    return Group(_head(fleet), Text(""), body if fleet.away_s is None else Styled(body, "dim"))


def changes(before: FleetPicture | None, now: FleetPicture) -> Iterator[str]:
    """Plain lines: who is new, who is otherwise than before, who has gone; and that the queen is away, or back."""
    was_away = before is not None and before.away_s is not None
    if now.away_s is not None:
        yield from () if was_away else ["queen: away; what was told so far may be old"]
        return
    if was_away:
        yield "queen: back"
    old = dict(_states(before)) if before else {}
    new = dict(_states(now))
    for who, words in new.items():
        if old.get(who) != words:
            yield f"{who}: {words}"
    yield from (f"{who}: gone" for who in old if who not in new)


def _states(fleet: FleetPicture) -> Iterator[tuple[str, str]]:
    for hive in fleet.hives:
        yield f"hive {plain(hive.name)}", hive.state
    for worker in fleet.workers:
        why = f", {worker.code}: {_shown(worker.message)}" if worker.code or worker.message else ""
        told = f"{worker.state}, {worker.busy}/{worker.slots} slots, model {plain(worker.model)}{why}"
        yield f"worker {plain(worker.worker_id)}", told
    for model in _models(fleet):
        yield f"queue of {plain(model)}", str(fleet.queued.get(model, 0))


def _head(fleet: FleetPicture) -> Text:
    busy, slots = sum(w.busy for w in fleet.workers), sum(w.slots for w in fleet.workers)
    waiting, speed = sum(fleet.queued.values()), sum(fleet.tokens_per_s.values())
    told = Text.assemble(("queen ", "dim"), (plain(fleet.queen), "bold"))
    told.no_wrap, told.overflow = True, "ellipsis"
    if fleet.away_s is not None:
        told.append(f"   away for {fleet.away_s} s; as it was before:", style="bold red")
        return told
    told.append(f"   {busy}/{slots} slots taken   {waiting} waiting   {speed:.0f} tokens/s")
    return told


def _hives(hives: Sequence[HiveInfo]) -> Table:
    table = _table("hive", "state", "workers", "models", "memory")
    for hive in hives:
        table.add_row(
            plain(hive.name),
            _state(hive.state),
            str(hive.workers),
            str(len(hive.models)),
            _memory(hive) if hive.devices else Text("-", style="dim"),
        )
    return table


def _workers(fleet: FleetPicture) -> Table:
    table = _table("worker", "hive", "model", "state", "slots", "tokens/s", "restarts", "")
    for worker in sorted(fleet.workers, key=lambda each: (each.hive, each.worker_id)):
        table.add_row(
            plain(worker.worker_id),
            plain(worker.hive),
            plain(worker.model),
            _state(worker.state),
            _dots(worker),
            _speed(fleet.tokens_per_s.get(worker.worker_id, 0.0)),
            str(worker.restarts or ""),
            Text(_shown(worker.message), style="red" if worker.state == "failed" else "dim"),
        )
    return table


def _traffic(fleet: FleetPicture) -> Table:
    table = _table("model", "waiting", "tokens/s")
    for model in _models(fleet):
        waiting = fleet.queued.get(model, 0)
        table.add_row(
            plain(model), Text(str(waiting), style="yellow" if waiting else ""), _speed(fleet.speed_of(model))
        )
    return table


def _models(fleet: FleetPicture) -> list[str]:
    waiting = (model for model, count in fleet.queued.items() if count)
    return sorted({*waiting, *(worker.model for worker in fleet.workers)})


def _speed(tokens_per_s: float) -> Text:
    return Text(f"{tokens_per_s:.1f}" if tokens_per_s else "")


def _table(*head: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="bold")
    for name in head:
        table.add_column(name, overflow="ellipsis", no_wrap=True)
    return table


def _state(state: str) -> Text:
    return Text(state, style=STYLES.get(state, ""))


def _dots(worker: WorkerInfo) -> Text:
    if worker.slots > SLOTS_SHOWN_MAX:
        return Text(f"{worker.busy}/{worker.slots}")
    taken = min(worker.busy, worker.slots)
    return Text.assemble((TAKEN * taken, "cyan"), (FREE * (worker.slots - taken), "dim"))


def _memory(hive: HiveInfo) -> Text:
    told = Text()
    for device in hive.devices:
        used = max(0, device.memory_total - device.memory_free)
        share = used / device.memory_total if device.memory_total else 0.0
        filled = round(BAR * share)
        told.append(f"{'  ' if told else ''}{plain(device.name)} ")
        told.append("█" * filled, style="red" if share > 0.9 else "yellow" if share > 0.7 else "green")
        told.append("░" * (BAR - filled), style="dim")
        told.append(f" {size(used)} of {size(device.memory_total)}")
    return told


def _shown(message: str) -> str:
    return " ".join(plain(message).split())


def size(count: int) -> str:
    """`4.1 GB`."""
    return next((f"{count / scale:.1f} {unit}" for unit, scale in BYTES if count >= scale), f"{count} B")
