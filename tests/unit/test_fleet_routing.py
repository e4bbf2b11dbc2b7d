"""Histories of routing, told fact by fact."""

from __future__ import annotations

import time
from typing import Any

import pytest

from penstock.core.fleet.life import WorkerState
from penstock.core.fleet.parties import Assign, Device, Evict, Failed, Hive, Offer, Order, Refuse, Spawn, Working
from penstock.core.fleet.policy import QueenPolicy
from penstock.core.fleet.routing import Routing

POLICY = QueenPolicy()
EVER = 10**9


class History:
    """A routing, and the hives that it hears."""

    def __init__(self, policy: QueenPolicy = POLICY) -> None:
        self.routing = Routing(policy)
        self.now_ms = 1_000
        self.workers: dict[str, dict[str, Working]] = {}
        self.hives: dict[str, Hive] = {}

    def hive(
        self,
        name: str,
        *offers: Offer,
        free: int = EVER,
        total: int = EVER,
        places: int = 8,
        cards: tuple[int, ...] = (0,),
    ) -> History:
        """`free`: bytes of its memory; `cards`: of each of its cards."""
        devices = {"cpu": Device(name="cpu", memory_total=total, memory_free=free)} | {
            f"gpu{number}": Device(name=f"gpu{number}", memory_total=total, memory_free=left)
            for number, left in enumerate(cards)
        }
        self.hives[name] = Hive(
            name, f"http://{name}", False, devices, {o.name: o for o in offers or (offer(),)}, places, 0
        )
        self.workers.setdefault(name, {})
        return self.report(name)

    def worker(self, name: str, hive: str = "h", state: WorkerState = "idle", **fields: Any) -> History:
        told = {"model": "m", "url": name} | fields
        self.workers[hive][name] = Working(worker_id=name, state=state, **told)
        return self.report(hive)

    def gone(self, name: str, hive: str = "h") -> set[str]:
        del self.workers[hive][name]
        return self.heard(hive)

    def report(self, hive: str = "h") -> History:
        self.heard(hive)
        return self

    def heard(self, hive: str) -> set[str]:
        self.hives[hive].heard_ms = self.now_ms
        return self.routing.hear(self.hives[hive], list(self.workers[hive].values()))

    def arrive(self, *requests: str, model: str = "m") -> History:
        for request in requests:
            assert self.routing.arrive(request, model, self.now_ms) is None
        return self

    def after(self, ms: int) -> History:
        self.now_ms += ms
        return self

    def owed(self) -> list[Order]:
        return self.routing.owed(self.now_ms)

    def given(self) -> dict[str, str]:
        return {order.request: order.worker for order in self.owed() if isinstance(order, Assign)}

    def refused(self) -> dict[str, str]:
        return {order.request: order.code for order in self.owed() if isinstance(order, Refuse)}


def offer(name: str = "m", **fields: Any) -> Offer:
    return Offer(name=name, backend="b", **fields)


def test_an_idle_worker_comes_before_a_loaded_one_and_before_a_spawn() -> None:
    history = History().hive("h", offer(workers_max=3)).worker("w1", slots=2).worker("w2", slots=2)
    assert history.arrive("a", "b", "c").given() == {"a": "w1", "b": "w2", "c": "w1"}
    assert history.arrive("d").given() == {"d": "w2"}
    assert history.arrive("e").owed() == [Spawn(hive="h", model="m")]


def test_while_a_worker_is_on_its_way_no_other_is_asked_for() -> None:
    history = History().hive("h", offer(workers_max=9)).hive("i", offer(workers_max=9)).arrive("a", "b")
    assert len(history.owed()) == 1
    history.routing.spawned("h", "m", Working(worker_id="w", url="w", model="m", state="starting"), history.now_ms)
    assert history.owed() == [], "the answer came before the report"
    assert history.report("h").owed() == [], "and a report that is older than the worker"
    assert history.routing.phase("m") == "spawning"
    assert history.worker("w", state="loading").owed() == []
    assert history.routing.phase("m") == "loading"
    assert history.worker("w").given() == {"a": "w"}


def test_a_worker_that_no_report_has_for_long_is_gone() -> None:
    history = History().hive("h").arrive("a")
    history.owed()
    history.routing.spawned("h", "m", Working(worker_id="w", url="w", model="m", state="starting"), history.now_ms)
    assert history.after(POLICY.heartbeat_ms + 1).report().owed() == [Spawn(hive="h", model="m")]


def test_a_model_goes_where_there_is_most_room() -> None:
    history = History().hive("a", free=5).hive("b", free=9).hive("c", offer("x"), free=99).arrive("r")
    assert history.owed() == [Spawn(hive="b", model="m")]


def test_the_queue_is_bounded_for_loaded_models_too_and_the_wait_is_computed() -> None:
    history = History(QueenPolicy(queue_per_model_max=3)).hive("h").worker("w")
    history.arrive("a").owed()
    history.arrive("b", "c", "d")
    history.after(4_000).routing.end("a", history.now_ms, served=True)
    history.owed()
    history.arrive("e")
    refused = history.routing.arrive("f", "m", history.now_ms)
    assert refused is not None and (refused.code, refused.retry_after_s) == ("QUEUE_FULL", 16)


def test_a_free_slot_is_no_place_in_the_queue() -> None:
    history = History(QueenPolicy(queue_per_model_max=1)).hive("h").worker("w", slots=4).arrive("a", "b", "c", "d")
    assert history.routing.arrive("e", "m", history.now_ms) is not None
    assert len(history.given()) == 4


def test_who_is_tried_again_keeps_its_place() -> None:
    history = History().hive("h", offer(workers_max=2)).worker("w1").worker("w2").arrive("a", "b", "c")
    assert history.given() == {"a": "w1", "b": "w2"}
    history.routing.suspect("w1", history.now_ms)
    assert history.routing.retry("a", history.now_ms)
    history.routing.end("b", history.now_ms, served=True)
    assert history.given() == {"a": "w2"}, "before c"


def test_two_tries_and_no_more() -> None:
    history = History().hive("h", offer(workers_max=3)).worker("w1").worker("w2").worker("w3").arrive("a")
    history.owed()
    assert history.routing.retry("a", history.now_ms)
    assert history.given() == {"a": "w2"}, "not the one that failed it"
    assert not history.routing.retry("a", history.now_ms)
    assert not history.routing.asked


def test_a_worker_that_hung_up_is_waited_for_until_its_hive_says_more() -> None:
    history = History().hive("h").worker("w").arrive("a")
    history.owed()
    history.routing.suspect("w", history.now_ms)
    history.routing.retry("a", history.now_ms)
    assert history.owed() == []
    assert history.report().owed() == [], "that report may be older"
    history.gone("w")
    assert history.owed() == [Spawn(hive="h", model="m")]


def test_a_worker_that_lives_after_all_is_not_asked_by_the_same_again() -> None:
    history = History().hive("h").worker("w").arrive("a")
    history.owed()
    history.routing.suspect("w", history.now_ms)
    history.routing.retry("a", history.now_ms)
    history.after(POLICY.suspicion_ms + 1).report()
    assert history.refused() == {"a": "WORKER_FAILED"}
    assert history.arrive("b").given() == {"b": "w"}


def test_a_worker_that_is_full_after_all_costs_no_try_and_no_place() -> None:
    history = History().hive("h").worker("w").arrive("a", "b")
    for _ in range(5):
        assert history.given() == {"a": "w"}
        history.routing.bounced("a", history.now_ms)
        assert history.owed() == []
        history.after(POLICY.full_ms)


def test_a_slot_stays_taken_while_the_hive_is_out_of_reach() -> None:
    history = History().hive("h").worker("w").arrive("a")
    history.owed()
    assert history.routing.lose_hive("h") == {"a"}
    assert history.report().arrive("b").owed() == [], "a streams on"
    history.routing.end("a", history.now_ms, served=True)
    assert history.given() == {"b": "w"}


def test_a_hive_is_stale_when_it_was_not_heard() -> None:
    history = History().hive("h").after(POLICY.stale_ms)
    assert history.routing.stale(history.now_ms) == []
    assert history.routing.stale(history.now_ms + 1) == ["h"]


# --- room -----------------------------------------------------------------------------------------------------------


def two_models(state: WorkerState = "idle") -> History:
    both = offer(memory_bytes=60), offer("n", memory_bytes=60)
    return History().hive("h", *both, free=40, total=100).worker("w", state=state, memory_bytes=60)


def test_a_model_of_a_hive_that_is_not_heard_is_not_unknown() -> None:
    history = History().hive("h").hive("other", offer("n"))
    history.routing.lose_hive("h")
    refused = history.routing.arrive("a", "m", history.now_ms)
    assert refused is not None and (refused.code, refused.retry_after_s) == ("NO_HIVE", 2)
    history.routing.forget_hive("h")
    refused = history.routing.arrive("a", "m", history.now_ms)
    assert refused is not None and refused.code == "MODEL_NOT_FOUND"
    history.routing.lose_hive("other")
    history.report("other")
    assert history.routing.arrive("b", "n", history.now_ms) is None


def test_an_idle_worker_makes_way_and_no_older_report_brings_it_back() -> None:
    history = two_models().arrive("a", model="n")
    assert history.owed() == [Evict(worker="w", hive="h")]
    assert history.report().arrive("b").owed() == [], "b waits, though the report says that w is idle"
    history.routing.stayed("w")
    assert history.report().given() == {"b": "w"}


def test_a_worker_whose_model_is_waited_for_makes_way_only_for_the_impatient() -> None:
    history = two_models().arrive("z", model="n")
    history.routing.workers["w"].full_until_ms = EVER
    history.arrive("a")
    assert history.owed() == []
    assert history.after(POLICY.patience_ms + 1).owed() == [Evict(worker="w", hive="h")]


def test_of_two_impatient_models_the_one_that_came_first_keeps_its_worker() -> None:
    history = two_models()
    history.routing.workers["w"].full_until_ms = EVER
    history.arrive("a").arrive("z", model="n").after(POLICY.patience_ms + 1)
    assert history.owed() == []
    history.routing.workers["w"].full_until_ms = 0
    assert history.given() == {"a": "w"}
    history.routing.end("a", history.now_ms, served=True)
    assert history.owed() == [Evict(worker="w", hive="h")], "then it is the other's turn"


def test_a_busy_worker_gets_nothing_new_once_another_model_waited_too_long() -> None:
    history = two_models().arrive("a")
    assert history.given() == {"a": "w"}
    history.arrive("z", model="n").arrive("b")
    history.after(POLICY.patience_ms).routing.end("a", history.now_ms, served=True)
    assert history.given() == {"b": "w"}, "z is patient still"
    history.arrive("c").after(1).routing.end("b", history.now_ms, served=True)
    assert history.owed() == [Evict(worker="w", hive="h")]


def test_the_one_used_least_recently_goes_and_no_more_than_needed() -> None:
    offers = offer(memory_bytes=10), offer("n", memory_bytes=10)
    history = History().hive("h", *offers, free=0, total=30)
    for name, ended_ms in (("w1", 30), ("w2", 10), ("w3", 20)):
        history.worker(name, memory_bytes=10)
        history.routing.workers[name].ended_ms = ended_ms
    history.arrive("a", model="n")
    assert history.owed() == [Evict(worker="w2", hive="h")]
    assert history.owed() == []


def test_several_go_where_one_is_not_enough() -> None:
    offers = offer(memory_bytes=10), offer("n", memory_bytes=20)
    history = History().hive("h", *offers, free=0, total=20).worker("w1", memory_bytes=10).worker("w2", memory_bytes=10)
    assert history.arrive("a", model="n").owed() == [Evict(worker="w1", hive="h")]
    del history.workers["h"]["w1"]
    history.hive("h", *offers, free=10, total=20)
    assert history.owed() == [Evict(worker="w2", hive="h")]


def test_what_another_device_holds_does_not_help() -> None:
    offers = offer(memory_bytes=60, device="gpu0"), offer("n", memory_bytes=60)
    history = History().hive("h", *offers, free=40, total=100).worker("w", memory_bytes=60, device="gpu0")
    history.arrive("a", model="n").after(POLICY.spawn_again_ms)
    assert history.refused() == {"a": "INSUFFICIENT_MEMORY"}


def test_any_card_of_a_kind_will_do_and_the_hive_with_the_roomiest_is_asked() -> None:
    any_card = offer(memory_bytes=60, device="gpu")
    history = History().hive("h", any_card, free=0, cards=(10, 70, 20)).hive("i", any_card, free=0, cards=(40, 80))
    assert history.arrive("a").owed() == [Spawn(hive="i", model="m")]
    history = History().hive("h", any_card, cards=(50, 50), total=100).arrive("a").after(POLICY.spawn_again_ms)
    assert history.refused() == {"a": "INSUFFICIENT_MEMORY"}, "no one card has it, though all together have"


def test_what_is_ordered_on_any_card_is_taken_from_the_one_with_most_left() -> None:
    models = [offer(name, memory_bytes=60, device="gpu") for name in "mno"]
    history = History().hive("h", *models, cards=(70, 90), total=100)
    history.arrive("a").arrive("b", model="n").arrive("c", model="o")
    assert history.owed() == [Spawn(hive="h", model="m"), Spawn(hive="h", model="n")]
    history.routing.spawned("h", "m", working("w1", "m", 60, "gpu1"), history.now_ms)
    assert history.owed() == [], "where it is now, gpu0 is meant for n"
    history.routing.spawned("h", "n", working("w2", "n", 60, "gpu1"), history.now_ms)
    assert history.owed() == [Spawn(hive="h", model="o")], "it has room, as n went elsewhere"


def working(name: str, model: str, memory_bytes: int, device: str) -> Working:
    told = {"worker_id": name, "url": name, "model": model, "memory_bytes": memory_bytes, "device": device}
    return Working(state="starting", **told)  # type: ignore[arg-type]


def test_an_idle_worker_of_any_card_of_the_kind_makes_way() -> None:
    offers = offer(memory_bytes=60, device="gpu"), offer("n", memory_bytes=60, device="gpu"), offer("o")
    history = History().hive("h", *offers, cards=(10, 40), total=100)
    history.worker("w1", memory_bytes=99, device="cpu", model="o").worker("w2", memory_bytes=60, device="gpu1")
    assert history.arrive("a", model="n").owed() == [Evict(worker="w2", hive="h")]


def test_where_several_must_go_they_are_those_of_one_card() -> None:
    offers = offer("m", memory_bytes=10, device="gpu"), offer("n", memory_bytes=30, device="gpu")
    history = History().hive("h", *offers, cards=(0, 10), total=30)
    for name, ended_ms, device in (("w1", 1, "gpu0"), ("w2", 2, "gpu0"), ("w3", 3, "gpu0"), ("w4", 4, "gpu1")):
        history.worker(name, memory_bytes=10, device=device)
        history.routing.workers[name].ended_ms = ended_ms
    history.worker("w5", memory_bytes=10, device="gpu1")
    history.routing.workers["w5"].ended_ms = 5
    assert history.arrive("a", model="n").owed() == [Evict(worker="w4", hive="h")], "two of gpu1, not three of gpu0"
    del history.workers["h"]["w4"]
    history.hive("h", *offers, cards=(0, 20), total=30)
    assert history.owed() == [Evict(worker="w5", hive="h")]


def test_a_spawn_that_is_ordered_counts_as_memory() -> None:
    history = History().hive("h", offer(memory_bytes=60), offer("n", memory_bytes=60), free=100, total=100)
    assert history.arrive("a").arrive("b", model="n").owed() == [Spawn(hive="h", model="m")]


def test_too_large_for_any_machine_is_said_at_once_and_for_now_after_a_moment() -> None:
    history = History().hive("h", offer(memory_bytes=101), offer("n", memory_bytes=60), free=40, total=100)
    assert history.arrive("a").arrive("b", model="n").refused() == {"a": "INSUFFICIENT_MEMORY"}
    assert history.after(POLICY.spawn_again_ms).refused() == {"b": "INSUFFICIENT_MEMORY"}


# --- failures -------------------------------------------------------------------------------------------------------


def test_who_waited_for_a_load_that_failed_is_told_why_and_who_comes_later_is_not() -> None:
    history = History().hive("h").worker("w", state="loading").arrive("a")
    history.worker("w", state="failed", code="LOAD_FAILED", message="no layers", exit_code=3, log=("no", "way"))
    history.arrive("b")
    orders = history.owed()
    told = {"worker_id": "w", "exit_code": 3, "log": ["no", "way"]}
    assert Refuse(request="a", code="LOAD_FAILED", message="no layers", retry_after_s=1, details=told) in orders
    assert Spawn(hive="h", model="m") in history.owed() + orders


def test_a_load_that_failed_here_is_tried_there() -> None:
    history = History().hive("h").hive("i").worker("w", state="loading").arrive("a")
    history.worker("w", state="failed")
    assert history.owed() == [Spawn(hive="i", model="m")]
    history.routing.spawn_failed("i", "m", Failed("START_FAILED", "ended at once"), history.now_ms)
    assert history.refused() == {"a": "START_FAILED"}


@pytest.mark.parametrize("code", ["WORKERS_EXHAUSTED", "PORT_TAKEN"])
def test_no_room_is_no_failure(code: str) -> None:
    history = History().hive("h").arrive("a")
    history.owed()
    history.routing.spawn_failed("h", "m", Failed(code, "full"), history.now_ms, retry_ms=60_000)
    assert history.owed() == []
    assert history.after(POLICY.spawn_again_ms).owed() == [Spawn(hive="h", model="m")]


def test_where_others_have_every_port_who_waits_is_told_until_there_is_one() -> None:
    history = History().hive("h").arrive("a")
    assert history.owed() == [Spawn(hive="h", model="m")]
    history.routing.spawn_failed("h", "m", Failed("PORTS_EXHAUSTED", "all by others"), history.now_ms)
    (refused,) = history.owed()
    assert isinstance(refused, Refuse) and (refused.code, refused.retry_after_s) == ("PORTS_EXHAUSTED", 2)
    assert history.arrive("b").refused() == {"b": "PORTS_EXHAUSTED"}
    placed = history.routing.place("m", history.now_ms)
    assert isinstance(placed, Refuse) and placed.code == "PORTS_EXHAUSTED"
    history.hives["h"].ports = "free"
    assert history.report().arrive("c").owed() == [Spawn(hive="h", model="m")]


def test_where_one_hive_has_no_port_another_is_asked() -> None:
    history = History().hive("h").hive("i", free=10).arrive("a")
    assert history.owed() == [Spawn(hive="h", model="m")]
    history.routing.spawn_failed("h", "m", Failed("PORTS_EXHAUSTED", "all by others"), history.now_ms)
    assert history.owed() == [Spawn(hive="i", model="m")]


def test_an_idle_worker_of_another_model_gives_its_port() -> None:
    history = History().hive("h", offer(), offer("n")).worker("w", model="n").arrive("a")
    assert history.owed() == [Spawn(hive="h", model="m")]
    history.routing.spawn_failed("h", "m", Failed("PORTS_EXHAUSTED", "full", {"workers": 1}), history.now_ms)
    assert history.owed() == [Evict(worker="w", hive="h")]
    assert history.after(POLICY.spawn_again_ms).owed() == []
    history.hives["h"].ports = "free"
    history.gone("w")
    assert history.owed() == [Spawn(hive="h", model="m")]


def test_for_the_port_of_a_worker_that_serves_is_waited_and_nobody_is_asked_meanwhile() -> None:
    history = History().hive("h", offer(), offer("n")).worker("w", model="n").arrive("b", model="n")
    assert history.given() == {"b": "w"}
    assert history.arrive("a").owed() == [Spawn(hive="h", model="m")]
    history.routing.spawn_failed("h", "m", Failed("PORTS_EXHAUSTED", "full", {"workers": 1}), history.now_ms)
    for _ in range(5):
        assert history.after(POLICY.spawn_again_ms).report().owed() == []
    placed = history.routing.place("m", history.now_ms)
    assert isinstance(placed, Refuse) and (placed.code, placed.retry_after_s) == ("PORTS_EXHAUSTED", 1)
    history.routing.end("b", history.now_ms, served=True)
    assert history.owed() == [Evict(worker="w", hive="h")]


def test_who_asks_for_one_more_worker_is_told_why_there_is_none() -> None:
    def refused(history: History) -> tuple[str, int]:
        placed = history.routing.place("m", history.now_ms)
        assert isinstance(placed, Refuse)
        return placed.code, placed.retry_after_s

    assert refused(History().hive("h", offer(retry_ms=38_000))) == ("MODEL_FAILING", 38)
    assert refused(History().hive("h").worker("w")) == ("WORKERS_EXHAUSTED", 1)
    assert refused(History().hive("h", places=0)) == ("WORKERS_EXHAUSTED", 1)
    history = History().hive("h")
    assert isinstance(history.routing.place("m", history.now_ms), Spawn)
    assert refused(history) == ("NOT_READY", 1)
    no_program = Failed("BACKEND_UNAVAILABLE", "no llama-server", {"backend": "llama"})
    history.routing.spawn_failed("h", "m", no_program, history.now_ms, retry_ms=60_000)
    assert refused(history) == ("BACKEND_UNAVAILABLE", 1)
    assert isinstance(history.after(POLICY.spawn_again_ms).routing.place("m", history.now_ms), Spawn)


def test_a_backoff_is_waited_for_and_an_open_breaker_is_not() -> None:
    history = History().hive("h", offer(retry_ms=POLICY.backoff_patience_ms)).arrive("a")
    assert history.owed() == []
    assert history.after(POLICY.backoff_patience_ms).owed() == [Spawn(hive="h", model="m")]
    history = History().hive("h", offer(retry_ms=60_000)).arrive("a")
    (refused,) = history.owed()
    assert isinstance(refused, Refuse) and (refused.code, refused.retry_after_s) == ("MODEL_FAILING", 60)


def test_all_sixty_four_who_wait_in_vain_are_told_at_once() -> None:
    requests = [f"r{n}" for n in range(64)]
    history = History().hive("h", offer(retry_ms=60_000)).arrive(*requests)
    assert list(history.refused()) == requests
    assert history.routing.queued() == {}


def test_a_draining_queen_refuses_and_serves_who_waits() -> None:
    history = History().hive("h").worker("w").arrive("a", "b")
    assert history.given() == {"a": "w"}
    history.routing.is_draining = True
    refused = history.routing.arrive("c", "m", history.now_ms)
    assert refused is not None and refused.code == "DRAINING"
    history.routing.end("a", history.now_ms, served=True)
    assert history.given() == {"b": "w"}


# --- speed ----------------------------------------------------------------------------------------------------------


def test_ten_thousand_requests_against_full_queues_are_quick() -> None:
    models = [f"m{n}" for n in range(150)]
    history = History()
    history.hive("h", *(offer(model, memory_bytes=1) for model in models), places=150)
    for model in models:
        history.worker(f"w-{model}", model=model, slots=1)
    begun = time.process_time()
    for number in range(150 * 65):
        history.arrive(f"r{number}", model=models[number % 150])
        if number % 50 == 0:
            history.owed()
    for number in range(10_000):
        assert history.routing.arrive(f"x{number}", models[number % 150], history.now_ms) is not None
    for number in range(300):
        history.routing.end(f"r{number}", history.now_ms, served=True)
        history.owed()
    assert time.process_time() - begun < 4
