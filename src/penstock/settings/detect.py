"""Looks at a repository and says what could judge it: languages, their environments, their gates.

Only names and a few small files are read; nothing is run. What is uncertain is proposed but not switched on, because
one gate that is red on trunk holds up everybody.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILES_MAX = 20_000
FILE_BYTES_MAX = 1_000_000
NOT_OURS = frozenset({"node_modules", "target", "vendor", "venv", "__pycache__", "build", "dist", "site-packages"})
SYSTEM = ("/usr/", "/bin/", "/opt/", "/nix/")

Which = Callable[[str], str | None]
"""Where a tool lies, None where there is none: `shutil.which`."""


@dataclass(frozen=True)
class ProposedEnv:
    """An `[env.NAME]`. `why` is a comment for people."""

    name: str
    setup: str
    inputs: tuple[str, ...]
    paths: tuple[str, ...]
    why: str
    scratch: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProposedGate:
    """A `[gates.NAME]`; one with a `doubt` is written as a comment, with the doubt as its reason."""

    name: str
    command: str
    env: str = ""
    tier: str = "fast"
    doubt: str = ""


@dataclass(frozen=True)
class Findings:
    """What a repository seems to be, and how it could be judged."""

    languages: tuple[str, ...] = ()
    envs: tuple[ProposedEnv, ...] = ()
    gates: tuple[ProposedGate, ...] = ()
    readable: tuple[str, ...] = ()
    """Where tools lie that are outside the system's own directories."""
    missing: tuple[str, ...] = ()
    """Tools that are needed and not there."""


def detect(root: Path, which: Which) -> Findings:
    """What lies in `root`."""
    tree = Tree(root)
    found = [look(tree, which) for look in (look_at_python, look_at_node, look_at_rust, look_at_go)]
    return Findings(
        languages=tuple(name for f in found for name in f.languages),
        envs=tuple(e for f in found for e in f.envs),
        gates=distinct_names(tuple(g for f in found for g in f.gates)),
        readable=tuple(dict.fromkeys(p for f in found for p in f.readable)),
        missing=tuple(dict.fromkeys(m for f in found for m in f.missing)),
    )


def distinct_names(gates: tuple[ProposedGate, ...]) -> tuple[ProposedGate, ...]:
    """Two languages both have `tests`: the later ones are called after their environment."""
    named: dict[str, ProposedGate] = {}
    for gate in gates:
        name = gate.name if gate.name not in named else f"{gate.name}-{gate.env or len(named)}"
        named[name] = ProposedGate(name, gate.command, gate.env, gate.tier, gate.doubt)
    return tuple(named.values())


class Tree:
    """The files of a repository as far as they matter here."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = tuple(sorted(walk(root)))

    def has(self, *names: str) -> bool:
        """Whether one of these files lies at the top."""
        return any(name in self.files for name in names)

    def any(self, pattern: str) -> bool:
        """Whether a path, relative to the root, matches the regular expression."""
        return any(re.search(pattern, file) for file in self.files)

    def present(self, *names: str) -> tuple[str, ...]:
        """Those of the names that lie there, in the order asked."""
        return tuple(name for name in names if name in self.files)

    def text(self, name: str) -> str:
        """Content of a small file; empty where there is none."""
        path = self.root / name
        try:
            if path.is_file() and path.stat().st_size <= FILE_BYTES_MAX:
                return path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return ""

    def toml(self, name: str) -> dict[str, Any]:
        """A TOML file's table; empty where it cannot be read."""
        try:
            return tomllib.loads(self.text(name))
        except (ValueError, RecursionError):
            return {}

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file's object; empty where it cannot be read."""
        try:
            value = json.loads(self.text(name) or "{}")
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}


def walk(root: Path) -> Iterator[str]:
    """Relative paths, without hidden directories and what tools made."""
    count = 0
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in NOT_OURS)
        for file in sorted(files):
            count += 1
            if count > FILES_MAX:
                return
            yield (Path(folder) / file).relative_to(root).as_posix()


def table(value: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """A table inside tables; empty where something else is there."""
    inner: Any = value
    for key in keys:
        inner = inner.get(key) if isinstance(inner, dict) else None
    return inner if isinstance(inner, dict) else {}


def tools(which: Which, *names: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(directories that must be readable for these tools, tools that are not there)."""
    readable: list[str] = []
    missing: list[str] = []
    for name in names:
        place = which(name)
        if place is None:
            missing.append(name)
        else:
            readable += outside_system(place)
    return tuple(dict.fromkeys(readable)), tuple(missing)


def outside_system(place: str) -> list[str]:
    """Where the tool is called and where it really is, each with its surroundings, unless the system has them."""
    found = []
    for path in (Path(place), Path(place).resolve()):
        home = path.parent.parent if path.parent.name in ("bin", "shims") else path.parent
        if not f"{home}/".startswith(SYSTEM) and str(home) != "/":
            found.append(from_home(home))
    return found


def from_home(path: Path) -> str:
    """`~/...` where it lies under HOME: the settings are shared with people who have another."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) and path != home else str(path)


# --- Python ---------------------------------------------------------------------------------------------------------

REQUIREMENTS = (
    "requirements.txt",
    *(f"requirements-{n}.txt" for n in ("dev", "test", "tests", "testing")),
    *(f"{n}-requirements.txt" for n in ("dev", "test")),
    *(f"requirements_{n}.txt" for n in ("dev", "test")),
    *(f"requirements/{n}.txt" for n in ("base", "dev", "test", "tests")),
)
TEST_EXTRAS = ("test", "tests", "testing", "dev")
PIP = ".venv/bin/python -m pip install --quiet"


def look_at_python(tree: Tree, which: Which) -> Findings:
    if not (tree.has("pyproject.toml", "setup.py", "setup.cfg", *REQUIREMENTS) or tree.any(r"\.py$")):
        return Findings()
    project = tree.toml("pyproject.toml")
    lock = usable_lock(tree, which)
    readable, missing = tools(which, lock.removesuffix(".lock") or "python3")
    has_tests = tree.any(r"(^|/)(test_[^/]*|[^/]*_test)\.py$")
    tests = ProposedGate(
        "tests",
        ".venv/bin/python -m pytest -q",
        "python",
        doubt="" if has_tests else "no test_*.py was found: write a test first",
    )
    return Findings(
        ("Python",),
        (python_env(tree, project, lock),),
        (tests, *python_linters(tree, project, lock)),
        readable,
        missing,
    )


def usable_lock(tree: Tree, which: Which) -> str:
    """The lock file whose tool is there, empty where none is."""
    tool = next((t for t in ("uv", "poetry") if tree.has(f"{t}.lock") and which(t)), "")
    return tool and f"{tool}.lock"


def python_env(tree: Tree, project: dict[str, Any], lock: str) -> ProposedEnv:
    needs_pytest = not installs(tree, project, lock, "pytest")
    setup, inputs = pip_setup(tree, project, needs_pytest)
    if lock == "uv.lock":
        setup = "uv sync --frozen" + (" && uv pip install pytest" if needs_pytest else "")
    elif lock == "poetry.lock":
        add = f" && {PIP} pytest" if needs_pytest else ""
        setup = f"POETRY_VIRTUALENVS_IN_PROJECT=true poetry install --no-interaction{add}"
    why = "Makes .venv once and mounts it, read-only, wherever tests run."
    return ProposedEnv("python", setup, (lock, "pyproject.toml") if lock else inputs, (".venv",), why)


def pip_setup(tree: Tree, project: dict[str, Any], needs_pytest: bool) -> tuple[str, tuple[str, ...]]:
    """A set-up with nothing but Python, and the files that it reads."""
    requirements = tree.present(*REQUIREMENTS)
    wanted = [f"-r {name}" for name in requirements]
    extras, groups = extras_for_tests(project), groups_for_tests(project)
    if tree.has("setup.py") or table(project, "project") or table(project, "tool", "poetry"):
        wanted.append(f"-e '.[{','.join(extras)}]'" if extras else "-e .")
    wanted += [f"--group {group}" for group in groups]
    if needs_pytest:
        wanted.append("pytest")
    newer_pip = f" && {PIP} --upgrade pip" if groups else ""
    setup = f"python3 -m venv .venv{newer_pip} && {PIP} {' '.join(wanted)}"
    return setup, (*requirements, *tree.present("pyproject.toml", "setup.py", "setup.cfg"))


def extras_for_tests(project: dict[str, Any]) -> list[str]:
    return [e for e in TEST_EXTRAS if e in table(project, "project", "optional-dependencies")]


def groups_for_tests(project: dict[str, Any]) -> list[str]:
    return [g for g in TEST_EXTRAS if g in table(project, "dependency-groups")]


def installs(tree: Tree, project: dict[str, Any], lock: str, tool: str) -> bool:
    """Whether what the set-up installs names this tool."""
    written = [tree.text(name) for name in ((lock,) if lock else (*REQUIREMENTS, "setup.cfg"))]
    wanted = [table(project, "project").get("dependencies")]
    if not lock:
        wanted += [table(project, "project", "optional-dependencies")[e] for e in extras_for_tests(project)]
        wanted += [table(project, "dependency-groups")[g] for g in groups_for_tests(project)]
    named = "\n".join([*written, json.dumps(wanted, default=str)])
    return bool(re.search(rf"""(?m)(?:^\s*|["']){re.escape(tool)}(?![\w-])""", named))


def python_linters(tree: Tree, project: dict[str, Any], lock: str) -> tuple[ProposedGate, ...]:
    """The linters that the repository configures. Sure only where it also installs them."""
    gates = []
    for tool, command, files in (
        ("ruff", ".venv/bin/ruff check .", ("ruff.toml", ".ruff.toml")),
        ("mypy", ".venv/bin/python -m mypy .", ("mypy.ini", ".mypy.ini")),
    ):
        if tool in table(project, "tool") or tree.has(*files):
            doubt = (
                "" if installs(tree, project, lock, tool) else f"{tool} is configured, but nothing above installs it"
            )
            gates.append(ProposedGate(tool, command, "python", doubt=doubt))
    return tuple(gates)


# --- Node -----------------------------------------------------------------------------------------------------------


def look_at_node(tree: Tree, which: Which) -> Findings:
    if not tree.has("package.json"):
        return Findings()
    package = tree.json("package.json")
    scripts = table(package, "scripts")
    setup, inputs, tool = node_setup(tree)
    needs_env = bool(table(package, "dependencies") or table(package, "devDependencies")) or len(inputs) > 1
    env = ProposedEnv("node", setup, inputs, ("node_modules",), "Makes node_modules once and mounts it, read-only.")
    test = str(scripts.get("test", ""))
    doubt = "" if test and "no test specified" not in test else "package.json has no test script yet"
    gates = [ProposedGate("tests", f"{tool} test", "node" if needs_env else "", doubt=doubt)]
    if "lint" in scripts:
        gates.append(ProposedGate("lint", f"{tool} run lint", "node" if needs_env else ""))
    readable, missing = tools(which, "node", tool)
    return Findings(("JavaScript",), (env,) if needs_env else (), tuple(gates), readable, missing)


def node_setup(tree: Tree) -> tuple[str, tuple[str, ...], str]:
    """(set-up, its inputs, the package manager), by the lock file."""
    if tree.has("pnpm-lock.yaml"):
        return "pnpm install --frozen-lockfile", ("package.json", "pnpm-lock.yaml"), "pnpm"
    if tree.has("yarn.lock"):
        return "yarn install --frozen-lockfile", ("package.json", "yarn.lock"), "yarn"
    if tree.has("package-lock.json"):
        return "npm ci", ("package.json", "package-lock.json"), "npm"
    return "npm install --no-package-lock", ("package.json",), "npm"


# --- Rust and Go ----------------------------------------------------------------------------------------------------


def look_at_rust(tree: Tree, which: Which) -> Findings:
    if not tree.has("Cargo.toml"):
        return Findings()
    home = 'CARGO_HOME="$PWD/.cargo-home"'
    locked = " --locked" if tree.has("Cargo.lock") else ""
    inputs = tree.present("Cargo.lock", "Cargo.toml")
    env = ProposedEnv(
        "rust",
        f"mkdir -p .cargo-home && {home} cargo fetch{locked}",
        inputs,
        (".cargo-home",),
        "Downloads the crates once; each gate run gets a copy that it may write.",
        scratch=(".cargo-home",),
    )
    readable, missing = tools(which, "cargo")
    return Findings(
        ("Rust",), (env,), (ProposedGate("tests", f"{home} cargo test --offline", "rust"),), readable, missing
    )


def look_at_go(tree: Tree, which: Which) -> Findings:
    if not tree.has("go.mod"):
        return Findings()
    doubt = "" if tree.any(r"_test\.go$") else "no *_test.go was found: write a test first"
    readable, missing = tools(which, "go")
    if not tree.has("go.sum"):
        gate = ProposedGate("tests", "go test -count=1 ./...", doubt=doubt)
        return Findings(("Go",), (), (gate,), readable, missing)
    modules = 'GOMODCACHE="$PWD/.go-modules" GOFLAGS=-modcacherw'
    env = ProposedEnv(
        "go",
        f"{modules} go mod download",
        ("go.mod", "go.sum"),
        (".go-modules",),
        "Downloads the modules once and mounts them, read-only.",
    )
    gate = ProposedGate("tests", f"{modules} GOPROXY=off go test -count=1 ./...", "go", doubt=doubt)
    return Findings(("Go",), (env,), (gate,), readable, missing)
