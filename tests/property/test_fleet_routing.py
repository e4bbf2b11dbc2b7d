"""Random histories of hives, workers and requests: what routing promises holds after every one of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.core.fleet.life import LIVE, WorkerState
from penstock.core.fleet.names import suits
from penstock.core.fleet.parties import Assign, Device, Evict, Failed, Hive, Offer, Order, Refuse, Spawn, Working
from penstock.core.fleet.policy import QueenPolicy
from penstock.core.fleet.routing import Routing

POLICY = QueenPolicy(queue_per_model_max=4, patience_ms=3_000, request_deadline_ms=60_000)
HIVES = ("east", "west")
MODELS = {"tiny": 2, "wide": 4, "huge": 1, "half": 2, "card": 1}
MEMORY = {"tiny": 10, "wide": 60, "huge": 90, "half": 40, "card": 70}
DEVICE = {"tiny": "cpu", "wide": "cpu", "huge": "cpu", "half": "gpu", "card": "gpu"}
DEVICES = {"cpu": 100, "gpu0": 80, "gpu1": 90}
SLOW: WorkerState = "loading"
STEPS_MAX = 80
SETTLES_MAX = 400


@dataclass
class Machine:
    """A hive as it really is."""

    name: str
    workers: dict[str, Working] = field(default_factory=dict)

    def free(self, device: str) -> int:
        taken = sum(worker.memory_bytes for worker in self.workers.values() if worker.device == device)
        return DEVICES[device] - taken

    def report(self, now_ms: int, retry_ms: int) -> Hive:
        offers = {
            model: Offer(
                name=model,
                backend="b",
                slots=MODELS[model],
                workers_max=2,
                memory_bytes=MEMORY[model],
                device=DEVICE[model],
                retry_ms=retry_ms,
            )
            for model in MODELS
        }
        devices = {
            name: Device(name=name, memory_total=total, memory_free=self.free(name)) for name, total in DEVICES.items()
        }
        return Hive(self.name, f"http://{self.name}", False, devices, offers, 4 - len(self.workers), now_ms)


@dataclass
class Fleet:
    """A world round one `Routing`. What happens is drawn; what must hold is looked at after every step."""

    data: st.DataObject
    routing: Routing = field(default_factory=lambda: Routing(POLICY))
    machines: dict[str, Machine] = field(default_factory=lambda: {name: Machine(name) for name in HIVES})
    now_ms: int = 1_000
    made: int = 0
    sent: int = 0
    refused: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    with_worker: dict[str, str] = field(default_factory=dict)
    orders: list[Spawn] = field(default_factory=list)

    def pick(self, found: list[str]) -> str | None:
        return self.data.draw(st.sampled_from(found)) if found else None

    # --- what may happen ---

    def arrive(self) -> None:
        self.sent += 1
        request, model = f"r{self.sent}", self.data.draw(st.sampled_from(list(MODELS)))
        waiting = len(self.routing.waiting(model))
        refuse = self.routing.arrive(request, model, self.now_ms)
        if refuse is None:
            self.accepted.add(request)
            free = sum(w.free(self.now_ms) for w in self.routing.workers.values() if w.told.model == model)
            assert waiting < max(POLICY.queue_per_model_max, free)
        else:
            self.refused.add(request)

    def report(self) -> None:
        machine = self.machines[self.data.draw(st.sampled_from(HIVES))]
        self.hear(machine, self.data.draw(st.sampled_from((0, 0, 0, 400, 60_000))))

    def hear(self, machine: Machine, retry_ms: int = 0) -> None:
        lost = self.routing.hear(machine.report(self.now_ms, retry_ms), list(machine.workers.values()))
        self.retry(lost)

    def retry(self, lost: set[str]) -> None:
        for request in sorted(lost):
            if self.data.draw(st.booleans()):
                continue  # it streams: its own connection decides
            del self.with_worker[request]
            if not self.routing.retry(request, self.now_ms):
                self.ended.add(request)

    def move_worker(self) -> None:
        machine = self.machines[self.data.draw(st.sampled_from(HIVES))]
        if (worker := self.pick(sorted(machine.workers))) is None:
            return
        told = machine.workers[worker]
        state: WorkerState = self.data.draw(st.sampled_from(("idle", "idle", "loading", "busy", "draining", "failed")))
        if state in LIVE:
            machine.workers[worker] = replace(told, state=state)
        else:
            del machine.workers[worker]

    def end(self) -> None:
        alive = sorted(self.accepted - self.ended)
        if (request := self.pick(alive)) is not None:
            self.finish(request)

    def finish(self, request: str) -> None:
        self.routing.end(request, self.now_ms, served=self.data.draw(st.booleans()))
        self.ended.add(request)
        self.with_worker.pop(request, None)

    def fail(self) -> None:
        if (request := self.pick(sorted(self.with_worker))) is None:
            return
        worker = self.with_worker.pop(request)
        if self.data.draw(st.booleans()):
            self.routing.bounced(request, self.now_ms)
            return
        self.routing.suspect(worker, self.now_ms)
        if not self.routing.retry(request, self.now_ms):
            self.ended.add(request)

    def answer_spawn(self) -> None:
        if not self.orders:
            return
        order = self.orders.pop(self.data.draw(st.integers(0, len(self.orders) - 1)))
        if self.data.draw(st.integers(0, 3)) == 0:
            code = self.data.draw(
                st.sampled_from(("WORKERS_EXHAUSTED", "PORTS_EXHAUSTED", "HIVE_UNREACHABLE", "START_FAILED"))
            )
            self.routing.spawn_failed(order.hive, order.model, Failed(code, "no"), self.now_ms)
        else:
            self.spawn(order, "starting")

    def spawn(self, order: Spawn, state: WorkerState) -> None:
        self.made += 1
        machine = self.machines[order.hive]
        device = max((name for name in DEVICES if suits(name, DEVICE[order.model])), key=machine.free)
        if machine.free(device) < MEMORY[order.model]:
            self.routing.spawn_failed(order.hive, order.model, Failed("INSUFFICIENT_MEMORY", "no"), self.now_ms)
            return
        worker = Working(
            worker_id=f"w{self.made}",
            url=f"http://w{self.made}",
            model=order.model,
            state=state,
            slots=MODELS[order.model],
            memory_bytes=MEMORY[order.model],
            device=device,
        )
        machine.workers[worker.worker_id] = worker
        self.routing.spawned(order.hive, order.model, worker, self.now_ms)

    def lose_hive(self) -> None:
        name = self.data.draw(st.sampled_from(HIVES))
        self.orders = [order for order in self.orders if order.hive != name]
        self.retry(self.routing.lose_hive(name))

    def wait(self) -> None:
        self.now_ms += self.data.draw(st.sampled_from((1, 60, 1_100, 3_100)))

    # --- what must hold ---

    def perform(self) -> None:
        for order in self.routing.owed(self.now_ms):
            self.performed(order)
        again = self.routing.owed(self.now_ms)
        assert not again, "what is owed has been taken account of"
        self.check()

    def performed(self, order: Order) -> None:
        match order:
            case Assign(request=request, worker=worker):
                assert request not in self.with_worker, "with two workers"
                self.with_worker[request] = worker
                model = self.routing.asked[request].model
                earlier = [a for a in self.routing.waiting(model) if a.order < self.routing.asked[request].order]
                assert all(worker in asked.shunned for asked in earlier), "overtaken"
            case Spawn():
                assert not [o for o in self.orders if o.model == order.model], "spawned twice"
                self.orders.append(order)
            case Evict(worker=worker, hive=hive):
                assert worker not in self.with_worker.values(), "ended while it serves"
                self.machines[hive].workers.pop(worker, None)
            case Refuse(request=request):
                self.ended.add(request)
                assert order.retry_after_s >= 0

    def check(self) -> None:
        known = self.routing.asked
        assert set(known) == self.accepted - self.ended
        assert len(self.accepted) + len(self.refused) == self.sent
        waiting = {asked.id for asked in self.routing.waiting()}
        assert waiting | set(self.with_worker) == set(known) and not waiting & set(self.with_worker)
        for worker_id, worker in self.routing.workers.items():
            assert worker.taken == {r for r, w in self.with_worker.items() if w == worker_id}
            assert len(worker.taken) <= worker.told.slots

    def settle(self) -> None:
        """Nothing fails any more: all that was accepted comes to its end."""
        for _ in range(SETTLES_MAX):
            if not self.accepted - self.ended:
                return
            self.now_ms += 500
            while self.orders:
                self.spawn(self.orders.pop(), "idle")
            for machine in self.machines.values():
                machine.workers = {
                    w: replace(told, state="idle") for w, told in machine.workers.items() if told.state != "draining"
                }
                self.hear_settled(machine)
            self.perform()
            for request in sorted(self.with_worker):
                self.finish(request)
        raise AssertionError(f"starved: {self.routing.waiting()}, with {self.routing.workers}")

    def hear_settled(self, machine: Machine) -> None:
        for request in sorted(self.routing.hear(machine.report(self.now_ms, 0), list(machine.workers.values()))):
            self.finish(request)


EVENTS = (
    "arrive",
    "arrive",
    "arrive",
    "report",
    "report",
    "move_worker",
    "end",
    "fail",
    "answer_spawn",
    "wait",
    "lose_hive",
)


@settings(max_examples=100, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(data=st.data())
def test_the_invariants_hold_and_nobody_starves(data: st.DataObject) -> None:
    fleet = Fleet(data)
    for machine in fleet.machines.values():
        fleet.hear(machine)
    for step in data.draw(st.lists(st.sampled_from(EVENTS), min_size=20, max_size=STEPS_MAX)):
        getattr(fleet, step)()
        fleet.perform()
    fleet.settle()
    assert not fleet.routing.waiting() and not fleet.routing.asked
    assert all(not worker.taken for worker in fleet.routing.workers.values())
