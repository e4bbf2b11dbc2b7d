"""What judges, and what it needs: gates, environments, resources."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import get_args

from msgspec.structs import replace

from penstock.core.digest import digest_of
from penstock.core.policy import TIERS, EnvSpec, GateSpec, Network, Oracle
from penstock.documents.fields import Fault, Fields, fault_of_glob, meant, shown
from penstock.documents.tickets import fault_of_blank, take_resources

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NETWORKS: tuple[Network, ...] = get_args(Network)
ORACLES: tuple[Oracle, ...] = get_args(Oracle)
GATE_S_MAX = 7 * 86_400
CAPACITY_MAX = 10_000
FIRST_GATE = 'write [gates.tests] with command = "...", or let `penstock init` propose one'


def take_gates(root: Fields, envs: tuple[EnvSpec, ...], resources: Mapping[str, int]) -> tuple[GateSpec, ...]:
    """Every `[gates.NAME]`; none at all is an error, for then nothing could be proven."""
    written = named_well(root, "gates", "gate")
    if not root.has("gates") or not root.table["gates"]:
        root.refuse("gates", "no gate: nothing can be proven", FIRST_GATE)
    return tuple(take_gate(name, section, envs, resources) for name, section in written)


def take_gate(name: str, section: Fields, envs: tuple[EnvSpec, ...], resources: Mapping[str, int]) -> GateSpec:
    default = GateSpec(name=name, command="")
    gate = GateSpec(
        name=name,
        command=section.text("command", needed='write command = "..."', lines=True, fault=fault_of_blank),
        tier=section.choice("tier", TIERS, default.tier),
        oracle=section.choice("oracle", ORACLES, default.oracle),
        timeout_ms=section.scaled("timeout_s", default.timeout_ms, 1_000, 0.1, GATE_S_MAX),
        env=section.text("env", fault=lambda env: fault_of_env(env, envs)) or None,
        network=section.choice("network", NETWORKS, default.network),
        when=section.texts("when", fault=fault_of_glob),
        golden=section.text("golden", fault=fault_of_glob) or None,
        resources=take_resources(section, resources),
    )
    check_golden(section, gate)
    section.refuse_unknown()
    return replace(gate, digest=digest_of(gate))


def check_golden(section: Fields, gate: GateSpec) -> None:
    """A snapshot needs what it is compared with; nothing else reads it."""
    if gate.oracle == "snapshot" and not section.has("golden"):
        section.refuse("golden", "is missing: a snapshot is compared with it", 'write golden = "PATH"')
    if gate.oracle != "snapshot" and section.has("golden"):
        section.refuse("golden", f"is read by no {gate.oracle} gate", 'write oracle = "snapshot", or remove it')


def take_envs(root: Fields) -> tuple[EnvSpec, ...]:
    """Every `[env.NAME]`."""
    return tuple(take_env(name, section) for name, section in named_well(root, "env", "environment"))


def take_env(name: str, section: Fields) -> EnvSpec:
    default = EnvSpec(name=name, setup="")
    env = EnvSpec(
        name=name,
        setup=section.text("setup", needed='write setup = "..."', lines=True, fault=fault_of_blank),
        inputs=section.texts("inputs", fault=fault_of_glob),
        paths=section.texts("paths", fault=fault_of_directory),
        scratch=section.texts("scratch", fault=fault_of_directory),
        network=section.choice("network", NETWORKS, default.network),
        timeout_ms=section.scaled("timeout_s", default.timeout_ms, 1_000, 0.1, GATE_S_MAX),
    )
    if not env.paths and not section.has("paths"):
        section.refuse("paths", "is missing: what does setup make?", 'write paths = [".venv"]')
    for index, path in enumerate(env.scratch):
        if not any(path == outer or path.startswith(f"{outer}/") for outer in env.paths):
            message = f"{shown(path)} is inside none of paths"
            section.refuse("scratch", message, "scratch holds directories inside paths", index)
    section.refuse_unknown()
    return env


def take_resources_of(section: Fields) -> dict[str, int]:
    """`[resources]`: capacity by name."""
    for name in section.table:
        if not NAME.fullmatch(name):
            section.refuse(name, f"{shown(name)} is no name", NAME_FIX)
    return {name: section.whole(name, 1, 1, CAPACITY_MAX) for name in section.table}


NAME_FIX = "use 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or digit"


def named_well(root: Fields, key: str, what: str) -> list[tuple[str, Fields]]:
    """The tables under `key`; one whose name could not be part of a file name is refused."""
    written = root.named(key)
    for name, section in written:
        if not NAME.fullmatch(name):
            section.refuse("", f"{shown(name)} is no name for a {what}", NAME_FIX)
    return written


def fault_of_env(name: str, envs: tuple[EnvSpec, ...]) -> Fault | None:
    names = [env.name for env in envs]
    if name in names:
        return None
    fix = meant(name, names) if names else f"write [env.{name}] with setup and paths"
    return f"there is no environment {shown(name)}", fix


def fault_of_directory(path: str) -> Fault | None:
    """One directory inside the repository, no pattern."""
    wrong = fault_of_glob(path)
    if wrong or not any(c in path for c in "*?["):
        return wrong
    return f"{shown(path)} is a glob", "name one directory"
