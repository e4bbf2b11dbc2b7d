"""What settings are once they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from penstock.core.policy import Frozen, Network, Policy
from penstock.core.redgreen.policy import RedGreenPolicy
from penstock.documents.fields import Origin

Source = Literal["markdown", "plan"]


class ModelSettings(Frozen):
    """The model of the built-in agent, and what one turn may use of it. Keys of `[agent]`."""

    model: str = ""
    """Empty: not set yet, as `base_url`; `needs_agent` says so. `fleet:NAME`: of the fleet, whose queen serves it."""
    escalation_model: str = ""
    """Takes over where the gate keeps refusing; empty: none does."""
    base_url: str = ""
    """Of an endpoint that speaks chat completions: what comes before `/chat/completions`."""
    fleet_url: str = ""
    """Of the queen, for a model of the fleet; empty: where `penstock infer` finds it."""
    key_env: str = ""
    """Name of the environment variable that holds the key; empty: none is sent."""
    rounds_max: int = 200
    tokens_max: int = 5_000_000
    tool_output_chars_max: int = 30_000
    refusals_in_a_row_max: int = 12
    escalate_after_refusals: int = 6
    storms_max: int = 3


class AgentSettings(Frozen):
    """Who does the work. Its deadlines are limits of the policy (`turn_wall_ms_max`, `turn_stall_ms_max`)."""

    kind: Literal["command", "scripted", "kernel"] = "command"
    command: tuple[str, ...] = ()
    """Argument vector (a command line becomes `sh -c LINE`); empty: not set yet, `needs_agent` says so."""
    script: str = ""
    """`scripted`: path of the script, relative to the repository."""
    model: ModelSettings = ModelSettings()
    """`kernel`: the built-in agent."""
    pass_env: tuple[str, ...] = ()
    """Names of the environment variables that it gets."""
    template: str = ""
    """`[agent.prompt] template`; empty: the built-in one."""


class SandboxSettings(Frozen):
    """How what we run is confined."""

    mode: Literal["bubblewrap", "none"] = "bubblewrap"
    readable: tuple[str, ...] = ()
    """Host paths (absolute, or from `~/`) that may be read besides the system's own."""
    agent_network: Network = "none"


class TicketsSettings(Frozen):
    """Where tickets come from: a directory of Markdown files, or one plan file; relative to the repository."""

    source: Source = "markdown"
    path: str = "tickets"


class NotifySettings(Frozen):
    """`command`: a command line that gets each occasion as JSON on stdin; empty: nobody is told."""

    command: str = ""


class RedGreenSettings(Frozen):
    """`[redgreen]`. Where no mode is written, tickets that name tests are worked on in strict mode, if they can be."""

    policy: RedGreenPolicy = RedGreenPolicy()
    is_mode_written: bool = False


@dataclass(frozen=True)
class Settings:
    """Everything in `penstock.toml`, defaults filled in."""

    policy: Policy
    agent: AgentSettings
    sandbox: SandboxSettings
    tickets: TicketsSettings
    notify: NotifySettings
    redgreen: RedGreenSettings
    file: str
    origins: tuple[Origin, ...] = ()
    """Each value in force in the file's own words, and the line it came from."""
