"""Where a request goes: to a warm worker with a free slot, else a worker is asked for where it fits, else it waits.

`Routing` is owned by one caller and changed in place. Facts go in (`hear`, `arrive`, `end`, `lose_...`), and then
`owed` is asked what is to be done now: it is derived from the whole state, so the order in which facts came does not
matter, and a fact that came twice changes nothing. What `owed` answers has been taken account of: a slot that it gives
is taken, a spawn that it orders is under way. All times are milliseconds of one clock that never goes back.

What it is made of, each of which knows only those before it:
- `parties`: hives, workers, requests, orders; `queues`: who waits; `ledger`: all that is known;
- `room`: where a model fits; `making_way`: whose worker is ended for it; `refusals`: who waits in vain;
- here: what is done about it.

What must always hold, and is tested with random histories:
- a worker never has more requests than slots, and no request is with two workers;
- every request that arrived has been refused, is waiting, or is with a worker, until it ends;
- within a model, who came first is given a slot first, retries included; who has seen a worker fail may be overtaken
  at that worker, and nowhere else;
- one spawn at a time for a model, however many wait for it.
"""

from __future__ import annotations

from penstock.core.fleet.ledger import Ledger
from penstock.core.fleet.making_way import gives_way, impatient, victim
from penstock.core.fleet.parties import Asked, Assign, Evict, Hive, Order, Refuse, Spawn, Worker
from penstock.core.fleet.refusals import at_the_door, in_vain, no_place, no_port, too_large, unknown
from penstock.core.fleet.room import may_spawn, roomiest


class Routing(Ledger):
    """What is known, and what is to be done."""

    def arrive(self, request: str, model: str, now_ms: int, deadline_ms: int = 0) -> Refuse | None:
        """A request comes; refused at once where it could only wait in vain. `deadline_ms`: of the same clock."""
        assert request not in self.asked
        refused = at_the_door(self, request, model, now_ms)
        if refused is None:
            self.admit(request, model, now_ms, deadline_ms or now_ms + self.policy.request_deadline_ms)
        return refused

    def place(self, model: str, now_ms: int) -> Spawn | Refuse:
        """Where one more worker of the model fits; taken as ordered. For somebody who asks for just that."""
        offering = self.offering(model)
        able = self._able(offering, model, now_ms)
        if (hive := roomiest(self, able, model)) is not None:
            order = Spawn(hive=hive.name, model=model)
            self.take(order, now_ms)
            return order
        if not offering:
            return unknown(self, "", model)
        with_port = [hive for hive in able if hive.ports == "free"]
        refused = no_port(self, "", able) if able else None
        if with_port:
            refused = too_large(self, "", model, with_port, "now")
        return refused or no_place(self, model, offering, now_ms)

    def owed(self, now_ms: int) -> list[Order]:
        """What is to be done now; it is taken as done."""
        orders: list[Order] = []
        while self.queues:
            pressing = impatient(self, now_ms)
            for model in self.queues.models_in_turn():
                orders += self._given(model, pressing, now_ms)
            made_ready = [order for m in self.queues.models_in_turn() for order in self._made_ready(m, now_ms)]
            orders += made_ready
            if not made_ready:
                break  # else: who got what it needed may have kept a worker from others
        return orders

    # --- slots to who waits -----------------------------------------------------------------------------------------

    def _given(self, model: str, pressing: list[Asked], now_ms: int) -> list[Order]:
        """Free slots to who waits: an idle worker first, then the least loaded."""
        free = [w for w in self.serving(model) if w.free(now_ms) and not gives_way(self, w, pressing, now_ms)]
        orders: list[Order] = []
        for asked in self.waiting(model) if free else ():
            able = [worker for worker in free if worker.told.worker_id not in asked.shunned]
            if not able:
                continue
            worker = min(able, key=_load)
            orders.append(Assign(request=asked.id, worker=worker.told.worker_id, url=worker.told.url))
            self.take(orders[-1], now_ms)
            free = [worker for worker in free if worker.free(now_ms)]
        return orders

    # --- workers to who has none ------------------------------------------------------------------------------------

    def _made_ready(self, model: str, now_ms: int) -> list[Order]:
        """What the first who waits needs; and who waits in vain is told. Only who has seen failures differs from it."""
        orders: list[Order] = []
        while (first := self.queues.first(model)) and self._settled(first, orders, now_ms):
            pass
        for asked in self.waiting(model)[1:] if model in self.queues.wary else ():
            if asked.shunned or asked.failed_on:
                self._settled(asked, orders, now_ms)
        return orders

    def _settled(self, asked: Asked, orders: list[Order], now_ms: int) -> bool:
        """Order what it needs. True: it waits no more."""
        if (order := self._needed(asked, now_ms)) is not None:
            self.take(order, now_ms)
            orders.append(order)
        return isinstance(order, Refuse)

    def _needed(self, asked: Asked, now_ms: int) -> Order | None:
        if self.is_coming(asked.model):
            return None
        offering = self.offering(asked.model)
        untried = [hive for hive in offering if hive.name not in asked.failed_on]
        able = self._able(untried, asked.model, now_ms)
        if (hive := roomiest(self, able, asked.model)) is not None:
            return Spawn(hive=hive.name, model=asked.model)
        for hive in able:
            if (worker := victim(self, hive, asked, now_ms)) is not None:
                return Evict(worker=worker.told.worker_id, hive=hive.name)
        return in_vain(self, asked, offering, able, now_ms)

    def _able(self, hives: list[Hive], model: str, now_ms: int) -> list[Hive]:
        return [hive for hive in hives if may_spawn(self, hive, model, now_ms)]


def _load(worker: Worker) -> tuple[float, str]:
    return len(worker.taken) / worker.told.slots, worker.told.worker_id
