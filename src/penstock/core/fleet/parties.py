"""What routing knows of: hives and what they offer, workers, requests; and what it orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta

from penstock.core.fleet.life import SERVING, WorkerState
from penstock.core.fleet.names import MODEL_WHOLE
from penstock.core.policy import Frozen

COUNT_MAX = 2**53 - 1
"""What every reader of JSON has room for."""
Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
Slots = Annotated[int, Meta(ge=1, le=4_096)]
ModelRef = Annotated[str, Meta(max_length=128, extra_json_schema={"pattern": f"^(?:{MODEL_WHOLE})$"})]
"""The grammar is for the documents; `names.is_model` checks it."""

PortsLeft = Literal["free", "own", "foreign"]
"""Of a hive's range: one can be had, as far as is known; or who has all: workers of its own too, or others alone."""

# --- what a hive says -----------------------------------------------------------------------------------------------


class Device(Frozen):
    """Where a model can be loaded. `cpu` stands for the memory of the machine. Bytes."""

    name: str
    memory_total: Count
    memory_free: Count


class Offer(Frozen):
    """A model that a hive can load. `memory_bytes`: what a worker of it takes, 0 where that is not known. `device`:
    where, or the kind of which it takes the one with most memory free (`gpu`).
    """

    name: ModelRef
    backend: str
    slots: Slots = 1
    workers_max: Count = 1
    memory_bytes: Count = 0
    device: str = "cpu"
    retry_ms: Count = 0
    """No spawn before so long: the model failed here."""


class Working(Frozen):
    """A worker as its hive sees it. `code` and `message`: why it failed; `log`: its last lines, where it did."""

    worker_id: str
    url: str
    model: str
    state: WorkerState
    slots: int = 1
    backend: str = ""
    device: str = "cpu"
    pid: int = 0
    memory_bytes: int = 0
    code: str = ""
    message: str = ""
    exit_code: int | None = None
    log: tuple[str, ...] = ()


# --- what is kept ---------------------------------------------------------------------------------------------------


@dataclass
class Hive:
    """A hive as last heard."""

    name: str
    url: str
    is_draining: bool
    devices: dict[str, Device]
    offers: dict[str, Offer]
    workers_free: int
    heard_ms: int
    ports: PortsLeft = "free"


@dataclass
class Worker:
    """A worker, and the requests that were given to it."""

    hive: str
    told: Working
    taken: set[str]
    ended_ms: int = 0
    """When its last request ended."""
    is_leaving: bool = False
    """We had it ended: no older report makes it serve again."""
    is_listed: bool = True
    """A report had it. False: known from the answer to the spawn alone, since `ended_ms`."""
    suspected_ms: int | None = None
    """Since when it is believed dead, until its hive says more."""
    full_until_ms: int = 0
    """It said that it has no slot."""

    def free(self, now_ms: int) -> int:
        """Slots that may be given."""
        is_out = self.told.state not in SERVING or self.suspected_ms is not None or now_ms < self.full_until_ms
        return 0 if is_out else max(0, self.told.slots - len(self.taken))


@dataclass(frozen=True)
class Failed:
    """A worker could not be had. `details`: of its end, or of what there is not."""

    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Held:
    """A hive is not asked for a worker before `until_ms`, as it refused one."""

    until_ms: int
    failed: Failed


@dataclass
class Asked:
    """A request that has not ended. `shunned`: workers that failed it; `failed_on`: hives that could not load it."""

    id: str
    model: str
    arrived_ms: int
    deadline_ms: int
    order: int
    tries: int = 0
    worker: str = ""
    given_ms: int = 0
    shunned: set[str] = field(default_factory=set)
    failed_on: dict[str, Failed] = field(default_factory=dict)


# --- what is to be done ---------------------------------------------------------------------------------------------


class Assign(Frozen):
    """Give the request to the worker."""

    request: str
    worker: str
    url: str


class Spawn(Frozen):
    """Ask the hive for a worker of the model."""

    hive: str
    model: str


class Evict(Frozen):
    """End an idle worker: its room is needed for another model."""

    worker: str
    hive: str


class Refuse(Frozen):
    """The request cannot be served, now or at all. `retry_after_s`: 0 where trying again does not help."""

    request: str
    code: str
    message: str
    retry_after_s: int = 0
    details: dict[str, Any] = {}


Order = Assign | Spawn | Evict | Refuse
