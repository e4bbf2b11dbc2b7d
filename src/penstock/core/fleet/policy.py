"""Every limit of the fleet, with its unit."""

from __future__ import annotations

from penstock.core.policy import Frozen


class QueenPolicy(Frozen):
    """Routing, queues, and when a hive is believed gone."""

    queue_per_model_max: int = 64
    """Requests that may wait for one model, whether it is loaded or not."""
    request_deadline_ms: int = 600_000
    """For a request that names none: from arrival to its last byte."""
    tries_max: int = 2
    """Workers that a request may be given to, as long as nothing was sent."""
    patience_ms: int = 30_000
    """After so long the oldest request of a model that finds no room makes a busy worker of another model give way."""
    spawn_again_ms: int = 1_000
    """Before a hive that refused a spawn is asked for the same again."""
    backoff_patience_ms: int = 5_000
    """A model that is tried again within so long is waited for."""
    full_ms: int = 50
    """For how long a worker that said that all its slots are busy is believed."""
    suspicion_ms: int = 1_000
    """A report that came so long after a worker hung up tells whether it lives; earlier ones may be older than that."""
    heartbeat_ms: int = 2_000
    stale_ms: int = 6_000
    """A hive that was not heard for so long gets no new work, and what it serves is lost."""
    retry_after_s_max: int = 600
    service_ms_assumed: int = 2_000
    """How long a request holds a slot, before any was seen."""
    drain_ms_max: int = 30_000
    connect_ms_max: int = 2_000
    silence_ms_max: int = 120_000
    """Longest time without a byte of a worker, once it streams."""


class HivePolicy(Frozen):
    """Workers of one machine: ports, deadlines, restarts."""

    port_first: int = 8001
    port_last: int = 8099
    workers_max: int = 32
    start_ms_max: int = 30_000
    """From the spawn to the callback."""
    load_ms_max: int = 300_000
    """From the callback to `idle`, without any progress reported."""
    idle_ms_max: int = 300_000
    """From the end of the last request; 0: for ever."""
    health_ms: int = 1_000
    """Between two questions to a worker."""
    health_misses_max: int = 3
    """Unanswered in a row: the worker hangs."""
    stall_ms_max: int = 60_000
    """A request is active and no token was made for so long: the worker hangs."""
    drain_ms_max: int = 30_000
    """For all workers together; then they are killed."""
    term_ms_max: int = 5_000
    """From TERM to KILL for one worker."""
    backoff_base_ms: int = 500
    backoff_ms_max: int = 30_000
    proven_ms: int = 60_000
    """A worker that was there for so long, or served a request, was well: if it fails, the backoff begins anew."""
    failures_max: int = 5
    """So many failures of a model within `failures_window_ms` open its breaker."""
    failures_window_ms: int = 60_000
    breaker_ms: int = 60_000
    """How long an open breaker refuses; then one try is let through."""
    log_bytes_max: int = 10_000_000
    log_files_max: int = 3
    log_lines_told: int = 20


class WorkerPolicy(Frozen):
    """One worker process."""

    drain_ms_max: int = 30_000
    ended_kept_ms: int = 600_000
    """A cancel of a request that ended so long ago at most is still answered with 204."""
    callback_tries_max: int = 5
    callback_backoff_ms: int = 100


BODY_BYTES_MAX = 1_048_576
"""Of a request; above it: 413."""
BODY_S_MAX = 60
"""From the head of a request to the end of its body; then: 408."""
HEAD_BYTES_MAX = 65_536
"""Of a request: its address and its headers; above it: 431."""
HEAD_S_MAX = 20
"""For a request's head to come whole; then the connection is closed."""
