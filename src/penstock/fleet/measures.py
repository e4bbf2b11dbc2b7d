"""What `/metrics` shows. One registry a program, so that several can live in one process."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Measures:
    """Counters and gauges of one program; `who` is the prefix of their names: `penstock_queen_...`."""

    def __init__(self, who: str) -> None:
        self.registry = CollectorRegistry()
        self._prefix = f"penstock_{who}"
        self._seconds = self.histogram("request_seconds", "Time from a request to the end of its answer.", ("path",))
        self._answers = self.counter(
            "answers", "Answers by status; 0 where the client left before.", ("path", "status")
        )

    def answered(self, method: str, path: str, status: int, took_s: float) -> None:
        """Count one answer."""
        self._answers.labels(f"{method} {path}", str(status)).inc()
        self._seconds.labels(f"{method} {path}").observe(took_s)

    def counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        """A new counter."""
        return Counter(f"{self._prefix}_{name}", text, labels, registry=self.registry)

    def histogram(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Histogram:
        """A new histogram of seconds."""
        return Histogram(f"{self._prefix}_{name}", text, labels, registry=self.registry, buckets=SECONDS)

    def gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        """A new gauge."""
        return Gauge(f"{self._prefix}_{name}", text, labels, registry=self.registry)

    def reading(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        self.gauge(name, text).set_function(read)

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)
