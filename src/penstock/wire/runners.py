"""Which test runners a working tree has, and which of them a test file is for."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.adapters import keeper
from penstock.core.redgreen.policy import RedGreenPolicy, kind_of
from penstock.core.redgreen.test_id import RunnerName
from penstock.kernel.launching import Launcher
from penstock.kernel.runner import TestRunner

SCRIPT_SUFFIXES = (".js", ".jsx", ".ts", ".tsx", ".mjs", ".cjs", ".mts", ".cts")
LOOKED_AT_MAX = 5_000
RUNNER_GRACE_MS = 200
"""Between TERM and KILL: a test that hangs has had its time."""
NOT_LOOKED_AT = frozenset({".git", ".venv", "venv", "node_modules", "target", "__pycache__"})


@dataclass(frozen=True)
class Runners:
    """The runners of one tree, and the choice between them."""

    by_name: Mapping[RunnerName, TestRunner]
    choose: Callable[[str], RunnerName | None]


def runners_of(launcher: Launcher, policy: RedGreenPolicy, *, warm: bool = True) -> Runners:
    """The runners that the files of the tree call for."""
    names = names_for(launcher.top, policy)
    by_suffix = {suffix: name for name in names for suffix in suffixes_of(name)}

    def choose(path: str) -> RunnerName | None:
        if kind_of(policy, path) != "test":
            return None
        return by_suffix.get(os.path.splitext(path)[1])

    return Runners({name: make_runner(name, launcher, policy, warm=warm) for name in names}, choose)


def names_for(top: Path, policy: RedGreenPolicy) -> tuple[RunnerName, ...]:
    """Names of the runners, one per language."""
    names: list[RunnerName] = []
    if _has_python(top):
        names.append("unittest" if "unittest" in policy.test_commands else "pytest")
    script = _script_runner(top, policy)
    names += [script] if script else []
    if (top / "Cargo.toml").is_file():
        names.append("cargo")
    if (top / "go.mod").is_file():
        names.append("go")
    return tuple(names)


def suffixes_of(name: RunnerName) -> tuple[str, ...]:
    """Endings of the files that hold its tests."""
    match name:
        case "pytest" | "unittest":
            return (".py",)
        case "vitest" | "jest" | "node":
            return SCRIPT_SUFFIXES
        case "cargo":
            return (".rs",)
        case "go":
            return (".go",)


def make_runner(name: RunnerName, launcher: Launcher, policy: RedGreenPolicy, *, warm: bool) -> TestRunner:
    """The runner of that name; each is imported when it is needed."""
    command = tuple(shlex.split(policy.test_commands.get(name, "")))
    match name:
        case "pytest":
            from penstock.kernel.runners.pytest_runner import PytestRunner

            return PytestRunner(launcher, command, warm=warm)
        case "unittest":
            from penstock.kernel.runners.unittest_runner import UnittestRunner

            return UnittestRunner(launcher, command, warm=warm)
        case "vitest":
            from penstock.kernel.runners.vitest_runner import VitestRunner, WarmVitestRunner

            return WarmVitestRunner(launcher) if warm else VitestRunner(launcher)
        case "jest":
            from penstock.kernel.runners.jest_runner import JestRunner

            return JestRunner(launcher)
        case "node":
            from penstock.kernel.runners.node_runner import NodeRunner

            return NodeRunner(launcher)
        case "cargo":
            from penstock.kernel.runners.cargo_runner import CargoRunner

            return CargoRunner(launcher)
        case "go":
            from penstock.kernel.runners.go_runner import GoRunner

            return GoRunner(launcher)


async def why_not_strict(runners: Runners) -> str:
    """Why strict mode cannot be borne: no test can be collected; empty where it can."""
    notes = []
    for runner in runners.by_name.values():
        found = await runner.collect()
        if found.tests:
            return ""
        notes.append(f"{runner.name}: {found.note or next(iter(found.broken.values()), 'no test')}")
    return "; ".join(notes) or "no test runner here"


def keeper_command() -> tuple[str, ...]:
    """What a served process is started under: it ends with us, and takes all below it along."""
    if sys.platform != "linux":
        return ()
    return (sys.executable, "-I", "-S", os.path.abspath(keeper.__file__), str(os.getpid()), "--")


def _has_python(top: Path) -> bool:
    return _some(top, lambda name: name.endswith(".py"))


def _script_runner(top: Path, policy: RedGreenPolicy) -> RunnerName | None:
    manifest = top / "package.json"
    if not manifest.is_file():
        return None
    try:
        package = json.loads(manifest.read_bytes())
        known = {**package.get("dependencies", {}), **package.get("devDependencies", {})}
    except (ValueError, AttributeError, TypeError):
        known = {}
    for name in ("vitest", "jest"):
        if name in known or name in policy.test_commands:
            return name
    return "node"


def _some(top: Path, is_wanted: Callable[[str], bool]) -> bool:
    looked = 0
    for _, folders, files in os.walk(top):
        folders[:] = [folder for folder in folders if folder not in NOT_LOOKED_AT]
        if any(map(is_wanted, files)):
            return True
        looked += len(files)
        if looked > LOOKED_AT_MAX:
            return False
    return False
