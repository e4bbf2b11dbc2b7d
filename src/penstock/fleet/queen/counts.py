"""What the queen measures."""

from __future__ import annotations

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from penstock.core.fleet.life import STATES
from penstock.core.fleet.routing import Routing
from penstock.fleet.measures import Measures


class Counts:
    """Of requests; what stands (queues, workers, hives) is read from `routing` when it is asked for."""

    def __init__(self, measures: Measures, routing: Routing) -> None:
        self.measures = measures
        self._requests = measures.counter(
            "requests", "Requests by how they ended: `ok`, or the code of the error.", ("model", "outcome")
        )
        self._first_token = measures.histogram("first_token_seconds", "From arrival to the first token.", ("model",))
        self._tokens = measures.counter("tokens", "Tokens passed on; events of that kind, with OpenAI's.", ("model",))
        self._retries = measures.counter("retries", "Requests given to a second worker, unseen.", ("model",))
        measures.registry.register(_Standing(routing))
        self._routing = routing

    def ended(self, model: str, outcome: str) -> None:
        """A request ended."""
        self._requests.labels(self._known(model), outcome).inc()

    def first_token(self, model: str, after_s: float) -> None:
        """The first token of a request went out."""
        self._first_token.labels(self._known(model)).observe(after_s)

    def tokens(self, model: str, count: int) -> None:
        """Tokens went out."""
        self._tokens.labels(self._known(model)).inc(count)

    def retried(self, model: str) -> None:
        """A worker failed before the first token."""
        self._retries.labels(self._known(model)).inc()

    def _known(self, model: str) -> str:
        """So that clients do not make up labels."""
        return model if any(model in hive.offers for hive in self._routing.hives.values()) else "(unknown)"


class _Standing(Collector):
    def __init__(self, routing: Routing) -> None:
        self._routing = routing

    def collect(self) -> list[GaugeMetricFamily]:
        routing = self._routing
        queued = GaugeMetricFamily("penstock_queen_queue_depth", "Requests that wait, by model.", labels=["model"])
        for model, count in sorted(routing.queued().items()):
            queued.add_metric([model], count)
        workers = GaugeMetricFamily("penstock_queen_workers", "Workers by state.", labels=["state"])
        states = [worker.told.state for worker in routing.workers.values()]
        for state in STATES:
            workers.add_metric([state], states.count(state))
        waiting = sum(routing.queued().values())
        flying = GaugeMetricFamily(
            "penstock_queen_requests_in_flight", "Requests with a worker.", value=len(routing.asked) - waiting
        )
        hives = GaugeMetricFamily("penstock_queen_hives", "Hives that are heard.", value=len(routing.hives))
        spawning = GaugeMetricFamily("penstock_queen_spawning", "Spawns under way.", value=len(routing.spawning))
        return [queued, workers, flying, hives, spawning]
