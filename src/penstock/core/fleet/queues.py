"""Who waits for which model, in the order in which they came; who waits again has its old place."""

from __future__ import annotations

import bisect

from penstock.core.fleet.parties import Asked


class Queues:
    """By model; none is empty."""

    def __init__(self) -> None:
        self._queues: dict[str, list[Asked]] = {}
        self.wary: set[str] = set()
        """Models for which somebody waits who has seen a failure."""

    def __contains__(self, model: str) -> bool:
        return model in self._queues

    def __bool__(self) -> bool:
        return bool(self._queues)

    def join(self, asked: Asked) -> None:
        """It waits, in the place in which it came."""
        bisect.insort(self._queues.setdefault(asked.model, []), asked, key=_order)

    def leave(self, asked: Asked) -> None:
        """It waits no more."""
        queue = self._queues[asked.model]
        del queue[bisect.bisect_left(queue, asked.order, key=_order)]
        if not queue:
            del self._queues[asked.model]
            self.wary.discard(asked.model)

    def of(self, model: str) -> list[Asked]:
        """Who waits for it now, the first first."""
        return list(self._queues.get(model, ()))

    def first(self, model: str) -> Asked | None:
        """Who has waited longest for it."""
        queue = self._queues.get(model)
        return queue[0] if queue else None

    def firsts(self) -> list[Asked]:
        """Of every model who has waited longest."""
        return [queue[0] for queue in self._queues.values()]

    def everyone(self) -> list[Asked]:
        """Who waits, whatever for, the first first."""
        return sorted((asked for queue in self._queues.values() for asked in queue), key=_order)

    def lengths(self) -> dict[str, int]:
        """How many wait, by model."""
        return {model: len(queue) for model, queue in self._queues.items()}

    def length(self, model: str) -> int:
        """How many wait for it."""
        return len(self._queues.get(model, ()))

    def models_in_turn(self) -> list[str]:
        """Models take turns by their oldest request."""
        return [asked.model for asked in sorted(self.firsts(), key=_order)]


def _order(asked: Asked) -> int:
    return asked.order
