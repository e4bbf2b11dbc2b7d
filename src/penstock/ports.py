"""The ports: what the shell needs of the world, in domain words. Adapters implement them, one technology each.

Values that cross a port are immutable records. Failures of the world are values too (`outcome`, `ok`), so that they
become events; an exception from a port is `BadInput` (the user's), `Fenced` (ours no more), `Corrupt` or a bug.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, Protocol, TypeVar

from penstock.core.digest import Digest
from penstock.core.events import (
    CandidateConflicted,
    CandidateFailed,
    CandidateFormed,
    Chained,
    EnvEnded,
    EnvOrder,
    FileChange,
    GateOrder,
    LandEnded,
    LandOrder,
    LedgerSealed,
    MergeOrder,
    Record,
    TrunkPosition,
    TurnOrder,
    Usage,
)
from penstock.core.fleet.parties import Device
from penstock.core.policy import Frozen, GateSpec, Network
from penstock.core.tickets import Ticket
from penstock.core.verdicts import Evidence

# --- what can be wrong with an answer -------------------------------------------------------------------------------


class Problem(Frozen):
    """One thing that is wrong with what a user wrote, and its fix. `line` 0: the whole file."""

    file: str
    line: int
    field: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        field = f" [{self.field}]" if self.field else ""
        return f"{place}:{field} {self.message}" + (f"\n    fix: {self.fix}" if self.fix else "")


class BadInput(Exception):
    """The user's files or repository cannot be worked with: every problem at once. Exit 2, nothing started."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems))


class Fenced(Exception):
    """Another writer took the run over: this one appends nothing and moves no ref any more."""


class Corrupt(Exception):
    """A log whose bytes do not chain; names the longest valid prefix. Exit 4."""


class AlreadyRunning(Exception):
    """Another live `penstock run` holds this repository; the text names its process."""


# --- log and blobs --------------------------------------------------------------------------------------------------


R = TypeVar("R", bound=Chained)


class ChainedLog(Protocol[R]):
    """Append-only, hash-chained records: of one run, of one red-green session. One writer; readers may look on."""

    def append(self, records: Sequence[R]) -> Digest:
        """Make all records durable in one commit and give the new head; all or none. Seqs continue the log's own.

        Raises `Fenced` when another writer took over, `ValueError` when a seq or time does not continue.
        """

    def read(self, after: int = 0) -> Iterator[R]:
        """Records with seq > `after`, in order; the chain is checked on the way. Raises `Corrupt`."""

    def head(self) -> tuple[int, Digest]:
        """Seq and chain head of the last record; `(0, GENESIS)` when empty."""

    def close(self) -> None:
        """Release everything; idempotent."""


class EventLog(ChainedLog[Record], Protocol):
    """The log of one run, with its snapshots."""

    def save_snapshot(self, seq: int, code: Digest, state: bytes) -> None:
        """Keep a cache of the folded state at `seq`, made by code with digest `code`. Deleting it changes nothing."""

    def load_snapshot(self, code: Digest) -> tuple[int, bytes] | None:
        """The newest snapshot made by the same code, whose seq and head are in the log."""


class Blobs(Protocol):
    """Content-addressed bytes beside the log."""

    def put(self, data: bytes) -> Digest:
        """Store durably (idempotent) and give the digest."""

    def get(self, digest: Digest) -> bytes:
        """The bytes; `KeyError` where they are missing, `Corrupt` where they do not match their digest."""

    def has(self, digest: Digest) -> bool:
        """Whether the bytes are there."""


class Clock(Protocol):
    """Wall time in integer milliseconds that never goes back."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""

    async def sleep_until(self, due_ms: int) -> None:
        """Return when `now_ms() >= due_ms`."""


# --- tickets --------------------------------------------------------------------------------------------------------


class TicketText(Frozen):
    """A ticket with its body. `ticket.body` is the digest of `body`."""

    ticket: Ticket
    body: str


class Tickets(Protocol):
    """Where wanted work comes from."""

    def read(self) -> tuple[TicketText, ...]:
        """All tickets, in source order. Raises `BadInput` with every problem of every ticket."""


# --- processes and confinement --------------------------------------------------------------------------------------


class Mount(Frozen):
    """`source` on the host appears at `target` inside."""

    source: str
    target: str
    writable: bool = False


class Checkout(Frozen):
    """A working tree of ours. `path` is where it lies, `at` the absolute path it has for those who work in it."""

    path: str
    at: str
    commit: str
    tree: str


class Confinement(Frozen):
    """What a confined process may see: one working tree, some mounts, a clean HOME, a network or none."""

    checkout: Checkout
    home: str
    """Host directory that is its HOME: empty at the start, thrown away after."""
    mounts: tuple[Mount, ...] = ()
    network: Network = "none"
    env: dict[str, str] = {}
    """Added to the clean environment."""
    keep_fds: tuple[int, ...] = ()


CLEAN_ENV = {"LANG": "C.UTF-8", "TZ": "UTC", "TERM": "dumb", "PYTHONDONTWRITEBYTECODE": "1"}
"""What every confined process has in its environment besides PATH, HOME and TMPDIR; its confinement may override."""
TOOL_VARIABLES = ("JAVA_HOME", "PYENV_ROOT", "PYENV_VERSION", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "VOLTA_HOME")
"""Where the operator's toolchains lie: all that passes from the operator's own environment."""


class Isolation(Frozen):
    """What is in force, for the evidence and for `doctor`."""

    name: str
    """`bubblewrap` or `none`."""
    filesystem: bool
    network: bool
    processes: bool
    note: str = ""


class Command(Frozen):
    """An argument vector ready to be executed on the host."""

    argv: tuple[str, ...]
    cwd: str
    env: dict[str, str]


class Sandbox(Protocol):
    """Confines a process tree."""

    def isolation(self) -> Isolation:
        """What it gives here, found out by trying."""

    def wrap(self, argv: Sequence[str], confinement: Confinement, cwd: str | None = None) -> Command:
        """The command that runs `argv` confined; `cwd` as seen inside, the checkout's own by default."""


class ProcessOrder(Frozen):
    """One process tree to run. Its output goes to files `stdout` and `stderr` in `job_dir`."""

    command: Command
    job_dir: str
    stdin: bytes = b""
    wall_ms: int = 0
    """0: no deadline."""
    stall_ms: int = 0
    """Longest time without observable progress (output, watched files, CPU); 0: none."""
    output_bytes_max: int = 50_000_000
    watch: tuple[str, ...] = ()
    pipe_env: str = ""
    """If set: open a pipe, hand its write end to the tree, and name its descriptor in this variable."""
    pipe_bytes_max: int = 100_000_000


class ProcessEnd(Frozen):
    """How a process tree ended. When this exists, no process of the tree is left."""

    outcome: Literal["exited", "signaled", "timeout", "stalled", "flood", "not_started"]
    exit_status: int | None = None
    """128 + signal for `signaled`."""
    duration_ms: int = 0
    cpu_ms: int = 0
    pipe: bytes = b""
    message: str = ""


class ProcessIdentity(Frozen):
    """Names a process for ever: its number may be used again, the triple not."""

    pid: int
    start_ticks: int
    boot: str


class Processes(Protocol):
    """Runs process trees and lets none of their members survive."""

    async def run(self, order: ProcessOrder, started: Callable[[ProcessIdentity], None] | None = None) -> ProcessEnd:
        """Run to the end. Cancelling ends the whole tree (TERM, a grace, KILL) before the cancellation goes on."""

    def sweep(self, identity: ProcessIdentity) -> bool:
        """Kill what an earlier writer of ours left behind; True if it was still there."""


# --- git ------------------------------------------------------------------------------------------------------------


class ImportOrder(Frozen):
    """What to take over from a clone at the end of a turn."""

    ref: str
    """Where the work is kept, complete: `refs/penstock/salvage/RUN/TICKET/ATTEMPT-N`."""
    start: str
    trunk: str
    message: str
    allowed: tuple[str, ...] = ()


class Imported(Frozen):
    """What the turn made, against its start and against trunk. `head` equals the start where nothing changed."""

    head: str
    tree: str
    changes: tuple[FileChange, ...] = ()
    lines: int = 0
    total_lines: int = 0
    is_empty: bool = False
    pending_markers: int = 0
    set_aside: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    proposed: tuple[str, ...] = ()
    salvage: str = ""


class ImportRefused(Exception):
    """The clone's content is over a cap or is not a valid repository; the text says which. Nothing was imported."""


class Trunk(Protocol):
    """The target branch and the fence that guards it."""

    async def observe(self) -> TrunkPosition:
        """Where the landing ref is now. Made at the target branch's position when it does not exist."""

    async def land(self, order: LandOrder) -> LandEnded:
        """Compare-and-swap under the fence; idempotent: already there is `landed`. `key` is left empty."""

    async def done_tickets(self) -> dict[tuple[str, Digest], str]:
        """Commit by (ticket id, revision digest), from the trailers on trunk."""

    async def take_fence(self, epoch: int) -> None:
        """Move the fence ref: earlier writers can move no ref any more."""

    async def follow(self) -> str:
        """Fast-forward the user's checkout if settings and its state allow; else the command that does it, or ''."""


class Candidates(Protocol):
    """Forms what is verified: trees are made here, so that they are exactly what lands."""

    async def form(self, order: MergeOrder) -> CandidateFormed | CandidateConflicted | CandidateFailed:
        """Merge, force protected files from base, make the judge's and the witness's trees. `key` is left empty."""

    async def diff(self, base: str, commit: str) -> bytes:
        """Unified diff for people, at most 1 MB."""

    async def files(self, commit: str) -> dict[str, str]:
        """Object id by path, of every tracked file."""

    async def read_file(self, commit: str, path: str) -> bytes:
        """Content of one tracked file; `KeyError` where there is none."""


class Workspaces(Protocol):
    """Working trees of ours: clones that an agent may write, checkouts that a gate runs on."""

    async def open_clone(self, name: str, commit: str) -> Checkout:
        """A fresh repository of its own at `commit` (branch `work`), objects shared read-only with our store."""

    async def open_checkout(self, name: str, commit: str) -> Checkout:
        """A clean checkout of exactly `commit`, with tags, HEAD detached."""

    async def reopen(self, name: str, commit: str) -> Checkout | None:
        """The working tree that a writer which died left under that name; None where there is none."""

    async def import_work(self, clone: Checkout, order: ImportOrder) -> Imported:
        """Commit everything inside the sandbox, fetch it hardened, keep it under `order.ref`, restrict to `allowed`.

        Raises `ImportRefused`.
        """

    def mounts(self, checkout: Checkout) -> tuple[Mount, ...]:
        """What a confined process needs besides the tree itself: the shared objects, read-only."""

    async def discard(self, checkout: Checkout) -> None:
        """Delete the working tree; what was imported stays."""


# --- environments, agents, gates ------------------------------------------------------------------------------------


class Environments(Protocol):
    """Builds what gates and agents need besides the tree: once per digest, sealed, mounted read-only."""

    def digests(self, files: Mapping[str, str]) -> dict[str, Digest]:
        """Digest of each declared environment for a tree given as object id by path."""

    async def build(
        self,
        order: EnvOrder,
        checkout: Checkout,
        job_dir: str,
        started: Callable[[ProcessIdentity], None] | None = None,
    ) -> EnvEnded:
        """Run its set-up in `checkout`, sandboxed, and seal the result under its digest. `key` is left empty."""

    def mounts(self, env: str, digest: Digest, checkout: Checkout, job_dir: str) -> tuple[Mount, ...]:
        """Mounts that make the sealed environment appear in `checkout`; scratch paths as copies in `job_dir`."""

    async def prepare(self, env: str, checkout: Checkout, job_dir: str) -> EnvEnded | None:
        """Without a sandbox: set the environment up inside this very checkout. None where mounts do it."""


class TurnBrief(Frozen):
    """One agent invocation: what it is asked, where, within which limits."""

    order: TurnOrder
    prompt: str
    job_dir: str
    output_bytes_max: int
    named_tests: tuple[str, ...] = ()
    """Tests that the ticket's acceptance names, in the runner's own words."""
    red_tests: tuple[str, ...] = ()
    """Tests that a gate saw red on exactly the tree that the turn starts from."""


class AgentReport(Frozen):
    """What the agent's adapter saw. `claims` are the agent's words, recorded as such."""

    outcome: Literal[
        "ended",
        "crashed",
        "timeout",
        "stalled",
        "flood",
        "refused",
        "provider_transient",
        "provider_terminal",
        "infra",
    ]
    message: str = ""
    exit_status: int | None = None
    usage: Usage = Usage()
    claims: tuple[str, ...] = ()
    duration_ms: int = 0
    retry_after_ms: int = 0
    ledger: LedgerSealed | None = None
    """Its red-green ledger; None where it worked without one."""


class Agent(Protocol):
    """Turn in, report out; never trusted."""

    async def turn(
        self,
        brief: TurnBrief,
        confinement: Confinement,
        started: Callable[[ProcessIdentity], None] | None = None,
    ) -> AgentReport:
        """One turn in the confinement's clone. Cancelling ends its whole process tree."""


class GateRun(Frozen):
    """Everything one gate run needs. For `differential`, `base` is a second checkout."""

    spec: GateSpec
    order: GateOrder
    confinement: Confinement
    job_dir: str
    base: Confinement | None = None
    golden: bytes | None = None
    """`snapshot`: base's golden output; None where base has none."""


class Gates(Protocol):
    """Runs a gate and judges what it saw by its oracle."""

    async def run(self, run: GateRun, started: Callable[[ProcessIdentity], None] | None = None) -> Evidence:
        """One run, one piece of evidence; `broken` where it could not tell."""


class Notify(Protocol):
    """Tells a person, once per occasion."""

    async def tell(self, occasion: str, payload: Mapping[str, object]) -> None:
        """`occasion`: held, wedged, budget, ended. Failure to tell is not a failure of the run."""


# --- other machines -------------------------------------------------------------------------------------------------


class RemotePlace(Frozen):
    """Who is logged in to where. Empty or 0: as the technology's own settings have it."""

    host: str
    user: str = ""
    port: int = 0
    key_file: str = ""
    takes_new_host_key: bool = False
    """A host that was never met is believed, and remembered; one whose key has changed never is."""


class RemoteEnded(Frozen):
    """A command that was run there."""

    exit_code: int
    out: str
    err: str


RemoteFailedKind = Literal[
    "timeout", "authentication", "unknown_host_key", "changed_host_key", "no_such_host", "unreachable", "no_program"
]


class RemoteFailed(Exception):
    """The command was not run, or nobody knows how it ended. `no_program`: the client is not installed here."""

    def __init__(self, kind: RemoteFailedKind, message: str) -> None:
        super().__init__(message)
        self.kind: RemoteFailedKind = kind


class RemoteShell(Protocol):
    """Runs commands on other machines."""

    def run(self, place: RemotePlace, argv: Sequence[str], stdin: bytes = b"") -> RemoteEnded:
        """The words reach the program as they are, whatever they hold. Raises `RemoteFailed`."""


# --- devices --------------------------------------------------------------------------------------------------------


class FoundDevices(Frozen):
    """What models can be loaded on besides the CPU. `problems`: why there may be more, one line each."""

    devices: tuple[Device, ...] = ()
    problems: tuple[str, ...] = ()


class DeviceFinder(Protocol):
    """Looks what this machine has."""

    def find(self) -> FoundDevices:
        """Within a few seconds, whatever it asks; what goes wrong is among the problems."""
