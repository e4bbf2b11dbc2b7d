"""What goes over the wire between clients, queen, hives and workers. The one place: the checks of the servers, the
clients and the OpenAPI documents are all made from these types.

Times are whole milliseconds, sizes are bytes. Fields that a reader does not know are ignored in answers, and refused
in requests, so that a typing error is not silently nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from penstock.core.fleet import names
from penstock.core.fleet.life import WorkerState
from penstock.core.fleet.parties import COUNT_MAX, Count, Device, Offer, PortsLeft, Slots

API_VERSION = 1
"""Programs of other API versions are not spoken to."""

DEADLINE_MS_MAX = 86_400_000
TEXT_CHARS_MAX = 1_000_000
TOKENS_MAX = 1_000_000

Backend = Literal["scripted", "llama", "upstream"]
Short = Annotated[str, Meta(max_length=256)]
Port = Annotated[int, Meta(ge=1_024, le=65_535)]


def _like(grammar: str, *, may_be_empty: bool = False) -> Meta:
    """Says in the documents what is checked elsewhere, where it is told in better words."""
    return Meta(extra_json_schema={"pattern": f"^(?:{grammar}){'?' if may_be_empty else ''}$"})


ModelName = Annotated[str, Meta(max_length=128), _like(names.MODEL_WHOLE, may_be_empty=True)]


WORD = r"[0-9A-Fa-f]{1,4}"
NAME = r"[A-Za-z0-9_-]{1,63}"
HOST = rf"(?:{NAME}(?:\.{NAME})*|\[::1\]|\[{WORD}(?::{WORD}){{7}}\]|\[{WORD}(?::{WORD}){{0,4}}::{WORD}\])"
PORT = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
ADDRESS = rf"https?://{HOST}(?::(?:{PORT}))?(?:/v1)?/?"
"""As documents can say it; `choices.is_address` knows every form of IPv6 too."""
Address = Annotated[str, Meta(max_length=256), _like(ADDRESS)]
WorkerId = Annotated[str, Meta(max_length=64), _like(names.WORKER.pattern)]


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all of them."""


class Health(Wire, frozen=True, kw_only=True):
    """A program is alive. `status` is `ok`, or `degraded` when it works with less than it should have."""

    status: Literal["ok", "degraded"]
    state: str
    version: str
    api_version: int = API_VERSION


# --- worker ---------------------------------------------------------------------------------------------------------


class WorkerHealth(Wire, frozen=True, kw_only=True):
    """`stalled_ms`: since the last token (or the start) while a request is active; 0 where none is."""

    status: Literal["ok", "degraded"]
    state: WorkerState
    version: str
    api_version: int
    worker_id: str
    model: str
    slots: int
    busy: int
    tokens_total: int
    stalled_ms: int
    idle_ms: int
    """Since the end of the last request; 0 while one is active."""


class Ready(Wire, frozen=True, kw_only=True):
    """Whether a request would be served now."""

    ready: bool
    state: WorkerState
    model_loaded: bool
    progress_url: str


class InferenceRequest(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A prompt, to be continued. `request_id`: of the client's own choice, to cancel by, before that of the header
    `x-request-id`. `deadline_ms`: from now.
    """

    prompt: Annotated[str, Meta(min_length=1, max_length=TEXT_CHARS_MAX)]
    model: ModelName = ""
    max_tokens: Annotated[int, Meta(ge=1, le=TOKENS_MAX)] = 256
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.0
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] | None = None
    stop: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...], Meta(max_length=16)] = ()
    request_id: Annotated[str, Meta(max_length=128), _like(names.REQUEST.pattern, may_be_empty=True)] = ""
    deadline_ms: Annotated[int, Meta(ge=1, le=DEADLINE_MS_MAX)] | None = None


class Started(Wire, frozen=True, kw_only=True):
    """The first event of a stream."""

    request_id: str


class Token(Wire, frozen=True, kw_only=True):
    """`t`: text; `i`: its number, from 0."""

    t: str
    i: int


class Progress(Wire, frozen=True, kw_only=True):
    """What happens before the first token. `done` of `total` in `unit`; 0 where nothing can be counted."""

    phase: Literal["queued", "spawning", "loading", "prompt"]
    done: int = 0
    total: int = 0
    unit: str = ""
    message: str = ""


class Metrics(Wire, frozen=True, kw_only=True):
    """Of one request, before its end."""

    tokens_out: int
    first_token_ms: int
    tokens_per_s: float


class End(Wire, frozen=True, kw_only=True):
    """A terminal event: all went well."""

    tokens_out: int
    stop_reason: Literal["stop", "length", "canceled"]
    ms: int


class Failure(Wire, frozen=True, kw_only=True, omit_defaults=True):
    """A terminal event: it did not. `code` is one of `errors.ERRORS`; `details`: as of `Fault`, where there are any."""

    code: str
    message: str
    details: dict[str, Any] = {}


# --- hive -----------------------------------------------------------------------------------------------------------


class SpawnRequest(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to spawn. `model`: of the catalogue; empty where it has one alone. `wait`: answer when it is idle."""

    model: ModelName = ""
    backend: Backend | None = None
    port: Port | None = None
    wait: bool = False


class Spawned(Wire, frozen=True, kw_only=True):
    """A worker that was spawned. `device`: where it is loaded."""

    worker_id: str
    url: str
    state: WorkerState
    pid: int = 0
    device: Short = "cpu"


LOG_LINES_TOLD_MAX = 100
LogLine = Annotated[str, Meta(max_length=1_000)]


class WorkerInfo(Wire, frozen=True, kw_only=True):
    """A worker as its hive sees it. `code` (one of `errors.ERRORS`) and `message`: why it failed."""

    worker_id: WorkerId
    url: Address
    state: WorkerState
    model: str
    backend: str
    device: str
    slots: Slots
    busy: Count
    pid: Count
    hive: str = ""
    memory_bytes: Count = 0
    restarts: Count = 0
    exit_code: int | None = None
    code: str = ""
    message: str = ""
    tokens_total: Count = 0
    """Made so far, as its hive last heard."""
    loading: Progress | None = None
    """How far it is, while it loads."""
    log: Annotated[tuple[LogLine, ...], Meta(max_length=LOG_LINES_TOLD_MAX)] = ()
    """Its last lines, where it failed before it could serve."""


class WorkerList(Wire, frozen=True, kw_only=True):
    """Workers, by id."""

    workers: tuple[WorkerInfo, ...]


class ReadyCallback(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A worker tells its hive that its socket accepts. `nonce`: of its spawn, known to nobody else."""

    worker_id: Annotated[Short, _like(names.WORKER.pattern)]
    url: Address
    model_ref: Annotated[Short, _like(names.MODEL_WHOLE)]
    backend: Annotated[Short, _like("scripted|llama|upstream")]
    device: Short
    slots: Slots
    pid: Annotated[int, Meta(ge=1)]
    nonce: Short
    state: Literal["loading", "idle", "failed"]
    message: Annotated[str, Meta(max_length=4_096)] = ""


class Acknowledged(Wire, frozen=True, kw_only=True):
    """Heard. `repeated`: this was known already."""

    worker_id: str
    repeated: bool = False


LOG_LINES_MAX = 10_000


class LogQuery(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of a worker's log. `lines`: the last ones. `follow`: and what is written until the worker has ended."""

    lines: Annotated[int, Meta(ge=0, le=LOG_LINES_MAX)] = 100
    follow: bool = False


class OfferList(Wire, frozen=True, kw_only=True):
    """What a hive can load, by name."""

    offers: tuple[Offer, ...]


class Drained(Wire, frozen=True, kw_only=True):
    """How far draining is."""

    state: Literal["draining", "stopped"]
    workers: int


# --- queen ----------------------------------------------------------------------------------------------------------


class HiveReport(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a hive says of itself, whole, at every change and every heartbeat. `instance`: made anew at every start.

    `epoch`: what the queen gave to this instance, 0 before. `number` grows: an older report is not believed. No id
    stands twice in `workers`.
    """

    name: Annotated[str, Meta(max_length=63), _like(names.HIVE.pattern)]
    url: Address
    instance: Annotated[str, Meta(min_length=1, max_length=256)]
    epoch: Annotated[int, Meta(ge=0, le=COUNT_MAX)] = 0
    number: Annotated[int, Meta(ge=0, le=COUNT_MAX)] = 0
    version: Short
    api_version: Annotated[int, Meta(extra_json_schema={"const": API_VERSION})]
    """Another one is told before all else that may be wrong: VERSION_MISMATCH."""
    state: Literal["ready", "draining"] = "ready"
    devices: tuple[Device, ...] = ()
    problems: Annotated[tuple[Short, ...], Meta(max_length=200)] = ()
    """Why there may be more devices."""
    offers: tuple[Offer, ...] = ()
    workers: tuple[WorkerInfo, ...] = ()
    workers_max: Count = 0
    ports: PortsLeft = "free"
    """Whether its workers may have another port; else who has them all."""
    started_by: Short = ""
    """`ssh://user@host` where it was started so."""


class Registered(Wire, frozen=True, kw_only=True):
    """The hive speaks for its name, in `epoch`. Its next report is awaited within `heartbeat_ms`."""

    name: str
    epoch: int
    heartbeat_ms: int
    version: str = ""
    api_version: int = API_VERSION
    """Of the queen."""


class HiveInfo(Wire, frozen=True, kw_only=True):
    """A hive as the queen sees it. `seen_ms`: since it was last heard; None: never by this queen."""

    name: str
    url: str
    state: Literal["ready", "draining", "lost"]
    epoch: int
    version: str = ""
    seen_ms: int | None = None
    models: tuple[str, ...] = ()
    workers: int = 0
    devices: tuple[Device, ...] = ()
    problems: tuple[str, ...] = ()
    """Why it may have more devices than that."""
    started_by: str = ""
    """`ssh://user@host` where it was started so."""


class HiveList(Wire, frozen=True, kw_only=True):
    """Hives, by name."""

    hives: tuple[HiveInfo, ...]


# --- OpenAI's surface: only what we read; everything else is passed on as it came -----------------------------------


class ChatRequest(Wire, frozen=True, kw_only=True):
    """The fields of a chat completion that routing reads."""

    model: Annotated[str, Meta(min_length=1, max_length=128), _like(names.MODEL_WHOLE)]
    messages: Annotated[tuple[dict[str, Any], ...], Meta(min_length=1)]
    stream: bool = False


class ModelInfo(Wire, frozen=True, kw_only=True):
    """A model that can be asked for. `state`: `loaded`, or `cold`. `waiting`: requests without a worker yet."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "penstock"
    state: Literal["loaded", "cold"] = "cold"
    waiting: int = 0


class ModelList(Wire, frozen=True, kw_only=True):
    """Models, by id."""

    data: tuple[ModelInfo, ...]
    object: Literal["list"] = "list"


# --- errors ---------------------------------------------------------------------------------------------------------


class FieldProblem(Wire, frozen=True, kw_only=True):
    """A field that is wrong, and how. Never what it held."""

    field: str
    message: str


class Fault(Wire, frozen=True, kw_only=True):
    """What is wrong. `details`: fields that are wrong, sizes, a request id."""

    code: str
    message: str
    details: dict[str, Any] = {}


class ErrorBody(Wire, frozen=True, kw_only=True):
    """The body of every answer from 400 on."""

    error: Fault
