"""From the text of `penstock.toml` to `Settings`, or to everything that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from msgspec.structs import fields, replace

from penstock.core.digest import digest_of
from penstock.core.fleet.names import is_model
from penstock.core.policy import FileClasses, Landing, Policy
from penstock.documents.document import TEXT_BYTES_MAX, Unreadable, decoded
from penstock.documents.fields import Fault, Fields, fault_of_glob, kind_of, root_of, shown
from penstock.documents.toml import read_toml
from penstock.ports import BadInput, Problem
from penstock.settings.gates import NETWORKS, take_envs, take_gates, take_resources_of
from penstock.settings.limits import take_budget, take_limits, take_retries, take_risk
from penstock.settings.redgreen import take_redgreen
from penstock.settings.schema import (
    AgentSettings,
    ModelSettings,
    NotifySettings,
    SandboxSettings,
    Settings,
    Source,
    TicketsSettings,
)

FILE = "penstock.toml"
BRANCH = re.compile(
    r"(?!/)(?!.*(?:\.\.|//|@\{|\.lock(?:/|$)))[^\s~^:?*\[\\\x00-\x1f-][^\s~^:?*\[\\\x00-\x1f]*(?<![./])"
)
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
KINDS: tuple[Literal["command", "scripted", "kernel"], ...] = ("command", "scripted", "kernel")
ENDPOINT = re.compile(r"https?://[^\s/?#@]+(?:/[^\s?#@]*)?")
FLEET = "fleet:"
"""Before the name of a model that the fleet serves."""
QUEEN = re.compile(r"https?://[^\s/?#@]+(?:/v1)?/?")
SOURCES: tuple[Source, ...] = get_args(Source)
TEMPLATE_CHARS_MAX = 64 * 1024
SET_AGENT = 'write [agent] command = "..." in penstock.toml: it gets the prompt on stdin, in its own clone'


def load_settings(path: Path, shown_as: str = FILE) -> Settings:
    """Settings of a file. Raises `BadInput` with every problem."""
    try:
        with path.open("rb") as stream:
            data = stream.read(TEXT_BYTES_MAX + 1)
    except FileNotFoundError:
        raise one(shown_as, 0, "does not exist", "let `penstock init` write it") from None
    except OSError as error:
        raise one(shown_as, 0, f"cannot be read: {error.strerror}", "make it readable") from None
    return read_settings(data, shown_as)


def read_settings(data: bytes, shown_as: str = FILE) -> Settings:
    """Settings of the file's bytes. Raises `BadInput` with every problem."""
    try:
        root = root_of(read_toml(decoded(data), shown_as))
    except Unreadable as error:
        raise one(shown_as, error.line, error.message, error.fix) from None
    settings = take_settings(root, shown_as)
    if root.reading.problems:
        raise BadInput(sorted(root.reading.problems, key=lambda p: p.line))
    return settings


def one(file: str, line: int, message: str, fix: str) -> BadInput:
    return BadInput([Problem(file=file, line=line, field="", message=message, fix=fix)])


def needs_agent(settings: Settings) -> Problem | None:
    """What is wrong when a run is asked for and nobody can do the work; None where somebody can."""
    agent = settings.agent
    if agent.kind == "command" and not agent.command:
        message = "no agent command: nobody would do the work"
        return Problem(file=settings.file, line=0, field="agent.command", message=message, fix=SET_AGENT)
    return needs_model(settings) if agent.kind == "kernel" else None


def needs_model(settings: Settings) -> Problem | None:
    """What the built-in agent misses."""
    said, file = settings.agent.model, settings.file
    if not said.model:
        message = "no model: the built-in agent asks one"
        return Problem(file=file, line=0, field="agent.model", message=message, fix='write [agent] model = "NAME"')
    if not said.base_url and not said.model.startswith(FLEET):
        message = "no endpoint: nobody would answer for the model"
        fix = 'write [agent] base_url = "http://127.0.0.1:8000/v1", or wherever chat completions are spoken'
        return Problem(file=file, line=0, field="agent.base_url", message=message, fix=fix)
    return None


def needs_key(settings: Settings, environ: Mapping[str, str]) -> Problem | None:
    """What is wrong when the model's key is to come from the environment and is not there; never shows what is."""
    name = settings.agent.model.key_env
    if settings.agent.kind != "kernel" or not name or environ.get(name, "").strip():
        return None
    line = next((origin.line for origin in settings.origins if origin.key == "agent.key_env"), 0)
    state = "is empty" if name in environ else "is not set"
    message = f"the environment variable {name}, which is to hold the model's key, {state}"
    fix = f"export {name}=... before you start Penstock, or remove key_env where the endpoint wants no key"
    return Problem(file=settings.file, line=line, field="agent.key_env", message=message, fix=fix)


def explain(settings: Settings) -> list[tuple[str, object, str]]:
    """Each value in force as `(key, value, where)`; where is `penstock.toml:12` or `default`."""
    return [(o.key, o.value, f"{settings.file}:{o.line}" if o.line else "default") for o in settings.origins]


def take_settings(root: Fields, file: str) -> Settings:
    """Ask for every section there is; what is left over is unknown."""
    agent = root.sub("agent")
    tickets = take_tickets(root.sub("tickets"))
    redgreen = root.sub("redgreen")
    policy = take_policy(root, agent, tickets, take_files(redgreen, root.sub("protected"), tickets))
    settings = Settings(
        policy=replace(policy, digest=digest_of(policy)),
        agent=take_agent(agent),
        sandbox=take_sandbox(root.sub("sandbox")),
        tickets=tickets,
        notify=take_notify(root.sub("notify")),
        redgreen=take_redgreen(redgreen, policy.files),
        file=file,
        origins=tuple(root.reading.origins),
    )
    root.refuse_unknown()
    return settings


def take_policy(root: Fields, agent: Fields, tickets: TicketsSettings, files: FileClasses) -> Policy:
    """What the core decides by, without its digest."""
    default = Policy()
    envs = take_envs(root)
    resources = take_resources_of(root.sub("resources"))
    return Policy(
        baseline=root.choice("baseline", ("must_pass", "no_new_failures"), default.baseline),
        on_dependency_failed=root.choice("on_dependency_failed", ("canceled", "held"), default.on_dependency_failed),
        stop_waiting=root.flag("stop_waiting", default.stop_waiting),
        gates=take_gates(root, envs, resources),
        envs=envs,
        resources=resources,
        limits=take_limits(root.sub("limits"), agent),
        retries=take_retries(root),
        budget=take_budget(root.sub("budget")),
        risk=take_risk(root.sub("risk")),
        files=files,
        landing=take_landing(root.sub("landing")),
    )


def take_files(redgreen: Fields, protected: Fields, tickets: TicketsSettings) -> FileClasses:
    """The globs of `[redgreen]` and `[protected]`. The settings and the tickets are protected whatever is written."""
    default = FileClasses()
    own = (FILE, f"{tickets.path}/**" if tickets.source == "markdown" else tickets.path)
    others = tuple(g for g in default.protected if g not in (FILE, "tickets/**"))
    written = protected.texts("paths", others, fault=fault_of_glob)
    files = FileClasses(
        test_files=redgreen.texts("test_files", default.test_files, fault=fault_of_glob),
        control_files=redgreen.texts("control_files", default.control_files, fault=fault_of_glob),
        protected=tuple(dict.fromkeys((*own, *written))),
    )
    protected.refuse_unknown()
    return files


def take_landing(section: Fields) -> Landing:
    landing = Landing(
        target=section.text("target", fault=fault_of_branch),
        mode=section.choice("mode", ("squash", "merge"), "squash"),
        follow=section.flag("follow", False),
    )
    section.refuse_unknown()
    return landing


def take_agent(section: Fields) -> AgentSettings:
    """`[agent]` without its clocks, which `take_limits` took."""
    prompt = section.sub("prompt")
    agent = AgentSettings(
        kind=section.choice("kind", KINDS, "command"),
        command=take_command(section),
        script=section.text("script", fault=fault_of_glob),
        model=take_model(section),
        pass_env=section.texts("pass_env", fault=fault_of_variable),
        template=prompt.text("template", chars_max=TEMPLATE_CHARS_MAX, lines=True),
    )
    if agent.kind == "scripted" and not section.has("script"):
        section.refuse("script", "is missing: a scripted agent follows it", 'write script = "PATH"')
    if agent.kind != "kernel":
        refuse_model(section)
    prompt.refuse_unknown()
    section.refuse_unknown()
    return agent


def take_model(section: Fields) -> ModelSettings:
    """What the built-in agent reads of `[agent]`."""
    default = ModelSettings()
    settings = ModelSettings(
        model=section.text("model", fault=fault_of_model),
        escalation_model=section.text("escalation_model", fault=fault_of_model),
        base_url=section.text("base_url", fault=fault_of_endpoint),
        fleet_url=section.text("fleet_url", fault=fault_of_queen),
        key_env=section.text("key_env", fault=fault_of_key_env),
        rounds_max=section.whole("rounds_max", default.rounds_max, 1),
        tokens_max=section.whole("tokens_max", default.tokens_max, 1),
        tool_output_chars_max=section.whole("tool_output_chars_max", default.tool_output_chars_max, 200),
        refusals_in_a_row_max=section.whole("refusals_in_a_row_max", default.refusals_in_a_row_max, 1),
        escalate_after_refusals=section.whole("escalate_after_refusals", default.escalate_after_refusals, 1),
        storms_max=section.whole("storms_max", default.storms_max, 1),
    )
    refuse_mixture(section, settings)
    return settings


def refuse_mixture(section: Fields, settings: ModelSettings) -> None:
    """A model is served by the fleet or by an endpoint; what is for the other would change nothing."""
    if not settings.model.startswith(FLEET):
        if settings.fleet_url:
            section.refuse("fleet_url", "is for a model of the fleet", 'write model = "fleet:NAME", or remove it')
        if settings.escalation_model.startswith(FLEET):
            section.refuse("escalation_model", "is of the fleet, and the model is not", "take both from one place")
        return
    if settings.base_url:
        section.refuse("base_url", "is not for a model of the fleet", "remove it; fleet_url says where the queen is")
    if settings.key_env:
        fix = "remove it; name the token's file in PENSTOCK_FLEET_TOKEN_FILE"
        section.refuse("key_env", "is not for a model of the fleet", fix)
    if settings.escalation_model and not settings.escalation_model.startswith(FLEET):
        section.refuse("escalation_model", "is not of the fleet, and the model is", "take both from one place")


def refuse_model(section: Fields) -> None:
    """Keys that would change nothing, because another agent works."""
    for field in fields(ModelSettings):
        if section.has(field.name):
            section.refuse(field.name, "is read by the built-in agent alone", 'write kind = "kernel", or remove it')


def take_command(section: Fields) -> tuple[str, ...]:
    """A command line for the shell, or an argument vector."""
    written = section.raw("command")
    if isinstance(written, list):
        return section.texts("command", repeats=True)
    if written is not None and not isinstance(written, str):
        section.refuse("command", f"must be text or a list, not {kind_of(written)}", 'write command = "..."')
        return ()
    line = section.text("command", lines=True)
    return ("sh", "-c", line) if line.strip() else ()


def take_sandbox(section: Fields) -> SandboxSettings:
    sandbox = SandboxSettings(
        mode=section.choice("mode", ("bubblewrap", "none"), "bubblewrap"),
        readable=section.texts("readable", fault=fault_of_host_path),
        agent_network=section.choice("agent_network", NETWORKS, "none"),
    )
    section.refuse_unknown()
    return sandbox


def take_tickets(section: Fields) -> TicketsSettings:
    source = section.choice("source", SOURCES, "markdown")
    if source == "plan":
        path = section.text("path", needed='write path = "plan.yaml"', fault=fault_of_glob)
    else:
        path = section.text("path", "tickets", fault=fault_of_glob).rstrip("/")
    section.refuse_unknown()
    return TicketsSettings(source=source, path=path)


def take_notify(section: Fields) -> NotifySettings:
    notify = NotifySettings(command=section.text("command", lines=True))
    section.refuse_unknown()
    return notify


def fault_of_branch(name: str) -> Fault | None:
    """A name that git takes for a branch; empty: the one that is checked out."""
    if not name or BRANCH.fullmatch(name):
        return None
    return f"{shown(name)} is no branch name", 'write the short name: target = "main"'


def fault_of_endpoint(url: str) -> Fault | None:
    """What comes before `/chat/completions`; empty: not set yet."""
    if not url or ENDPOINT.fullmatch(url):
        return None
    return f"{shown(url)} is no base URL", "write http:// or https://, the host, and the path before /chat/completions"


def fault_of_model(name: str) -> Fault | None:
    """A name as the endpoint knows it, or `fleet:NAME`."""
    if not name.startswith(FLEET) or is_model(name.removeprefix(FLEET)):
        return None
    return f"{shown(name)} names no model", 'write model = "fleet:NAME", as `penstock models list` has it'


def fault_of_queen(url: str) -> Fault | None:
    """Where a queen is; empty: not said here."""
    if not url or QUEEN.fullmatch(url):
        return None
    return f"{shown(url)} is no address of a queen", 'write fleet_url = "http://HOST:PORT"'


def fault_of_key_env(name: str) -> Fault | None:
    """Does not show what was written: it may be the key itself."""
    if not name or VARIABLE.fullmatch(name):
        return None
    return "is no name of an environment variable", "write the name of the variable that holds the key, not the key"


def fault_of_variable(name: str) -> Fault | None:
    if VARIABLE.fullmatch(name):
        return None
    return f"{shown(name)} is no name of an environment variable", "write the name alone, without its value"


def fault_of_host_path(path: str) -> Fault | None:
    if path.startswith(("/", "~/")) and ".." not in path.split("/"):
        return None
    return f"{shown(path)} is no absolute path", "begin it with / or ~/"
