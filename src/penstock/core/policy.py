"""Every limit of a run, typed, with its unit in its name. Read once, recorded as an input, never ambient."""

from __future__ import annotations

from typing import Literal, dataclass_transform

import msgspec

from penstock.core.digest import Digest

Tier = Literal["fast", "medium", "slow", "formal"]
TIERS: tuple[Tier, ...] = ("fast", "medium", "slow", "formal")
Oracle = Literal["assertion", "differential", "snapshot"]
Risk = Literal["low", "boundary", "high"]
RISKS: tuple[Risk, ...] = ("low", "boundary", "high")
Network = Literal["none", "host"]

FailureClass = Literal[
    "gate_red",
    "candidate_broke_gate",
    "agent_crash",
    "agent_timeout",
    "agent_refused",
    "no_progress",
    "expansion",
    "conflict",
    "stale",
    "lost",
    "infra",
    "flaky",
    "provider_transient",
    "provider_terminal",
    "budget",
    "canceled",
]
FAILURE_CLASSES: tuple[FailureClass, ...] = FailureClass.__args__  # type: ignore[attr-defined]


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Frozen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of every recorded value: immutable, strict, small on disk."""


class GateSpec(Frozen):
    """A named check: what is run and what decides. `digest` covers every other field."""

    name: str
    command: str
    """Shell command line, run with `sh -c` at the root of a clean checkout."""
    tier: Tier = "fast"
    oracle: Oracle = "assertion"
    timeout_ms: int = 600_000
    env: str | None = None
    """Name of the `[env.NAME]` that is mounted, None for none."""
    network: Network = "none"
    when: tuple[str, ...] = ()
    """Globs: the gate is required only for changes that touch one; empty means always."""
    golden: str | None = None
    """`snapshot` only: path of the golden output, taken from base."""
    resources: tuple[str, ...] = ()
    digest: Digest = ""


class EnvSpec(Frozen):
    """An environment that gates and agents need: built once per digest, mounted read-only."""

    name: str
    setup: str
    inputs: tuple[str, ...] = ()
    """Globs of tracked files whose content enters the digest (lock files)."""
    paths: tuple[str, ...] = ()
    """Directories, relative to the repository, that `setup` makes."""
    scratch: tuple[str, ...] = ()
    """Writable copies inside `paths`, one per gate run."""
    network: Network = "none"
    """`host`: the set-up may use the network (it downloads packages)."""
    timeout_ms: int = 1_200_000


class RetryRule(Frozen):
    """What follows a failure of one class: at most `cap` retries per ticket revision, with full jitter."""

    cap: int
    backoff_base_ms: int = 0
    backoff_max_ms: int = 60_000
    consumes_attempt: bool = False


class Limits(Frozen):
    """Caps of a run. A cap of 0 means none may happen."""

    window_start: int = 2
    window_max: int = 4
    gate_jobs_max: int = 2
    attempts_per_ticket_max: int = 3
    turns_per_attempt_max: int = 8
    turn_wall_ms_max: int = 1_800_000
    turn_stall_ms_max: int = 300_000
    turn_output_bytes_max: int = 50_000_000
    turn_diff_lines_max: int = 4_000
    unverified_diffs_max: int = 4
    unverified_lines_max: int = 12_000
    pending_markers_max: int = 20
    """TODO and FIXME markers added by one ticket, still open in its candidate."""
    no_progress_max: int = 2
    stale_rows_max: int = 5
    age_step_ms: int = 600_000
    """One step of priority is worth this much waiting."""
    bypass_ms_max: int = 1_800_000
    lost_jobs_max: int = 5
    drain_ms_max: int = 600_000


class Spend(Frozen):
    """An amount of every budgeted thing. Money in integer micro-dollars, time in integer milliseconds."""

    tokens: int = 0
    micro_dollars: int = 0
    agent_ms: int = 0
    gate_ms: int = 0

    def plus(self, other: Spend) -> Spend:
        """The sum, field by field."""
        return Spend(
            tokens=self.tokens + other.tokens,
            micro_dollars=self.micro_dollars + other.micro_dollars,
            agent_ms=self.agent_ms + other.agent_ms,
            gate_ms=self.gate_ms + other.gate_ms,
        )

    def minus(self, other: Spend) -> Spend:
        """The difference, field by field."""
        return Spend(
            tokens=self.tokens - other.tokens,
            micro_dollars=self.micro_dollars - other.micro_dollars,
            agent_ms=self.agent_ms - other.agent_ms,
            gate_ms=self.gate_ms - other.gate_ms,
        )


class BudgetCaps(Frozen):
    """Upper bounds on a `Spend`; None is no bound."""

    tokens: int | None = None
    micro_dollars: int | None = None
    agent_ms: int | None = None
    gate_ms: int | None = None


class BudgetPolicy(Frozen):
    """Caps per run and per ticket, and what a turn that reports no usage is charged."""

    run: BudgetCaps = BudgetCaps()
    ticket: BudgetCaps = BudgetCaps()
    tokens_per_turn: int = 100_000
    """Reserved for a turn before it starts."""
    micro_dollars_per_turn: int = 500_000
    assumed_tokens_per_turn: int = 50_000
    assumed_micro_dollars_per_turn: int = 250_000


class RiskRules(Frozen):
    """How a change earns its checks: path globs and size give its class."""

    boundary: tuple[str, ...] = ()
    high: tuple[str, ...] = ()
    boundary_lines_min: int = 400
    high_lines_min: int = 1_500


class FileClasses(Frozen):
    """Globs that tell test, control and protected files from production code."""

    test_files: tuple[str, ...] = (
        "**/tests/**",
        "test/**",
        "spec/**",
        "**/__tests__/**",
        "**/__snapshots__/**",
        "**/testdata/**",
        "**/tests.py",
        "**/test_*.py",
        "**/*_test.*",
        "**/*_spec.*",
        "**/*.test.*",
        "**/*.spec.*",
    )
    control_files: tuple[str, ...] = (
        "**/conftest.py",
        "**/pytest.ini",
        "**/.pytest.ini",
        "**/pytest.toml",
        "**/.pytest.toml",
        "**/tox.ini",
        "**/noxfile.py",
        "**/setup.cfg",
        "**/pyproject.toml",
        "**/sitecustomize*",
        "**/usercustomize*",
        "**/*.pth",
        "**/.coveragerc",
        "**/mypy.ini",
        "**/.mypy.ini",
        "**/pyrightconfig.json",
        "**/.pylintrc",
        "**/pylintrc",
        "**/ruff.toml",
        "**/.ruff.toml",
        "**/.flake8",
        "**/package.json",
        "**/vitest.config.*",
        "**/jest.config.*",
        "**/vite.config.*",
        "**/babel.config.*",
        "**/.mocharc.*",
        "**/eslint.config.*",
        "**/.eslintrc*",
        "**/tsconfig*.json",
        "**/.npmrc",
        "**/[Mm]akefile",
        "**/GNUmakefile",
        "**/*.mk",
        "**/justfile",
    )
    protected: tuple[str, ...] = (
        "penstock.toml",
        "tickets/**",
        ".penstock/**",
        ".github/**",
        ".gitlab-ci.yml",
        ".ci/**",
        ".gitattributes",
        "**/uv.lock",
        "**/poetry.lock",
        "**/package-lock.json",
    )


class Landing(Frozen):
    """Where proven work goes. `mode`: `squash` (one commit a ticket) or `merge`."""

    target: str = ""
    """Target branch; empty: the branch that is checked out."""
    mode: Literal["squash", "merge"] = "squash"
    follow: bool = False
    """Fast-forward the user's checkout when it is clean and at our last position."""


DEFAULT_RETRIES: dict[FailureClass, RetryRule] = {
    "gate_red": RetryRule(cap=4),
    "candidate_broke_gate": RetryRule(cap=3),
    "agent_crash": RetryRule(cap=2, backoff_base_ms=1_000, consumes_attempt=True),
    "agent_timeout": RetryRule(cap=1, backoff_base_ms=1_000, consumes_attempt=True),
    "agent_refused": RetryRule(cap=1, backoff_base_ms=1_000, consumes_attempt=True),
    "no_progress": RetryRule(cap=2),
    "expansion": RetryRule(cap=3),
    "conflict": RetryRule(cap=3),
    "stale": RetryRule(cap=1_000_000),
    "lost": RetryRule(cap=5, backoff_base_ms=500),
    "infra": RetryRule(cap=3, backoff_base_ms=2_000),
    "flaky": RetryRule(cap=3),
    "provider_transient": RetryRule(cap=8, backoff_base_ms=2_000, backoff_max_ms=300_000),
    "provider_terminal": RetryRule(cap=0),
    "budget": RetryRule(cap=0),
    "canceled": RetryRule(cap=0),
}


class Policy(Frozen):
    """The policy in force: recorded as an input, so that a replay needs nothing else."""

    limits: Limits = Limits()
    retries: dict[FailureClass, RetryRule] = msgspec.field(default_factory=lambda: dict(DEFAULT_RETRIES))
    budget: BudgetPolicy = BudgetPolicy()
    risk: RiskRules = RiskRules()
    files: FileClasses = FileClasses()
    landing: Landing = Landing()
    gates: tuple[GateSpec, ...] = ()
    envs: tuple[EnvSpec, ...] = ()
    resources: dict[str, int] = msgspec.field(default_factory=dict)
    """Capacity of each named resource."""
    baseline: Literal["must_pass", "no_new_failures"] = "must_pass"
    on_dependency_failed: Literal["canceled", "held"] = "canceled"
    stop_waiting: bool = False
    digest: Digest = ""

    def gate(self, name: str) -> GateSpec | None:
        """The gate of that name, None where there is none."""
        return next((g for g in self.gates if g.name == name), None)
