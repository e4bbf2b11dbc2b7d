"""Lays out the example: a git repository with a package, its tests, settings, tickets and the agent's script.

How `penstock run --seed 1` ends there:

- `main`: exit 0, finished, all 8 done. TALLY-1 right at first, beside TALLY-3 · TALLY-2 red, then fixed · TALLY-3 is
  claimed to pass and is red, then fixed · TALLY-4 weakens a test (`Refused(weakened)`), then fixed · TALLY-5 crashes,
  attempt 2 lands · TALLY-6 by its own command, and gate `smoke`, which a boundary path earns · TALLY-7 satisfied
  already, no turn · TALLY-8 documentation, which nothing tells.
- `trouble`: exit 3, stopped by the budget. TALLY-11 breaks gate `tests` (`Refused(broken)`), repaired, done · TALLY-12
  failed (`gate_red`, 3 turns), so TALLY-13 and TALLY-14 canceled · TALLY-16 done, far over its reserve · TALLY-15
  `Refused(vacuous)` twice, held for `penstock approve TALLY-15`; nothing lands after it, so that what is approved is
  what the next run lands · TALLY-17 ready, not affordable.
- `wedge`: exit 5, wedged. Gate `tests` is red on trunk and no ticket repairs it: no turn is started.
- `redgreen`: exit 0, finished, all 4 done, by the built-in agent on a scripted model, under the gate in strict mode.
  TALLY-31 red, edit, green · TALLY-32 edits without a test (refused), then by `sed` (taken back), then for a red test ·
  TALLY-33 breaks another test (its file goes back), then right · TALLY-34 has a test that is green at once (refused),
  then one that notices nothing of the change (a weak pair), then one that tells.
- `fleet`: exit 0, finished, both done, as in `redgreen`, by a model that a queen, a hive and a worker of theirs serve.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from penstock.ports import BadInput, Problem

Scenario = Literal["main", "trouble", "wedge", "redgreen", "fleet"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)
SandboxMode = Literal["bubblewrap", "none"]

HERE = Path(__file__).resolve().parent
AGENT = ".penstock/demo-agent.yaml"
MODEL = ".penstock/demo-model.yaml"
ENDPOINT = "http://127.0.0.1:8000/v1"
"""Where chat completions are asked for, unless somebody says where they are served."""
QUEEN = "http://127.0.0.1:8080"
"""The same of a fleet."""
SYSTEM = Path("/usr")
"""What lies below is shown by every sandbox."""
BORN = "2026-01-01T00:00:00Z"


def build(directory: Path, scenario: str, sandbox: SandboxMode = "bubblewrap", base_url: str = "") -> Path:
    """Make the repository of a scenario in `directory`, which is empty or does not exist; everything is committed.

    Its tests run on the pytest that is installed beside Penstock, without a network. `base_url`: where its model is
    served, where it has one; empty: the usual place. Gives the repository's path. Raises `BadInput`.
    """
    top = _empty(directory)
    if scenario not in SCENARIOS:
        raise _bad(scenario, "no such scenario", f"known: {', '.join(SCENARIOS)}")
    ours = HERE / "scenarios" / scenario
    shutil.copytree(HERE / "package", top, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".venv"))
    for folder in ("tickets", "tests"):
        if (ours / folder).is_dir():
            shutil.copytree(ours / folder, top / folder, dirs_exist_ok=True)
    model = model_script(scenario)
    (top / AGENT).parent.mkdir()
    shutil.copyfile(model or ours / "agent.yaml", top / (MODEL if model else AGENT))
    settings = (top / "penstock.toml").read_text() + (ours / "limits.toml").read_text()
    agent = (HERE / "agents" / f"{_agent_of(scenario)}.toml").read_text().strip()
    served = base_url or (QUEEN if scenario == "fleet" else ENDPOINT)
    (top / "penstock.toml").write_text(_filled_in(settings.replace("@AGENT@", agent), sandbox, served))
    _commit(top)
    return top


def model_script(scenario: str) -> Path | None:
    """What the scripted model of a scenario answers; None where its agents follow a script themselves."""
    script = HERE / "scenarios" / scenario / "model.yaml"
    return script if script.is_file() else None


def _agent_of(scenario: str) -> str:
    if scenario == "fleet":
        return "fleet"
    return "scripted" if model_script(scenario) is None else "kernel"


def _empty(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _bad(str(directory), f"cannot be made: {error.strerror}", "choose another directory") from None
    if any(directory.iterdir()):
        raise _bad(str(directory), "is not empty", "choose a new directory")
    return directory.resolve()


def _bad(what: str, message: str, fix: str) -> BadInput:
    return BadInput([Problem(file=what, line=0, field="", message=message, fix=fix)])


# --- what depends on the machine ------------------------------------------------------------------------------------


def _filled_in(settings: str, sandbox: SandboxMode, base_url: str) -> str:
    """The settings with this machine's interpreter and pytest in place. JSON texts and lists are TOML's too."""
    values = {
        "SANDBOX": json.dumps(sandbox),
        "BASE_URL": json.dumps(base_url),
        "READABLE": json.dumps([str(place) for place in _readable()], ensure_ascii=False),
        "SETUP": json.dumps(setup_command(), ensure_ascii=False),
    }
    for name, value in values.items():
        settings = settings.replace(f"@{name}@", value)
    return settings


def setup_command() -> str:
    """Makes `.venv` in a moment and offline: no pip, and a line that says where pytest is."""
    python, packages = _interpreter(), _packages()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    link = f".venv/lib/{version}/site-packages/pytest.pth"
    make = f"{shlex.quote(str(python))} -m venv --without-pip .venv"
    return f"{make} && printf '%s\\n' {shlex.quote(str(packages))} > {link}"


def _interpreter() -> Path:
    """The interpreter itself, outside any virtual environment."""
    return Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))


def _packages() -> Path:
    """Where the pytest is that we have."""
    found = find_spec("pytest")
    return Path(found.origin).parents[1] if found and found.origin else Path(sysconfig.get_path("purelib"))


def _readable() -> list[Path]:
    """What a sandbox must show besides the system: our interpreter and our packages, where those are elsewhere."""
    places = (Path(os.path.realpath(sys.base_prefix)), _packages())
    return [place for place in dict.fromkeys(places) if not place.is_relative_to(SYSTEM)]


# --- git ------------------------------------------------------------------------------------------------------------


def _commit(top: Path) -> None:
    _git(top, "init", "--quiet", "--template=", "--initial-branch=main")
    _git(top, "config", "user.name", "Penstock Demo")
    _git(top, "config", "user.email", "demo@example.org")
    _git(top, "add", "--all")
    _git(top, "commit", "--quiet", "--message=A small toolbox and its backlog")


def _git(top: Path, *arguments: str) -> None:
    """Git without anybody's own settings: no signing, no hooks, no templates."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    ours = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_DATE": BORN,
        "GIT_COMMITTER_DATE": BORN,
    }
    try:
        subprocess.run(["git", *arguments], cwd=top, env=env | ours, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise _bad("git", "is not installed", "install git") from None
    except subprocess.CalledProcessError as error:
        raise _bad(str(top), f"git {arguments[0]}: {error.stderr.strip()}", "see what git says") from None
