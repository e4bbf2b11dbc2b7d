"""What `init` proposes for a repository: our own reader takes it, and what is in force fits what lies there."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from penstock.ports import BadInput
from penstock.settings.detect import Findings, detect
from penstock.settings.proposal import propose
from penstock.settings.reader import read_settings

ALL_TOOLS = ("python3", "uv", "poetry", "node", "npm", "pnpm", "yarn", "cargo", "go")
PYPROJECT = '[project]\nname = "x"\nversion = "1"\n'

SAMPLES: dict[str, dict[str, str]] = {
    "nothing": {"README": "hello"},
    "loose python": {"tests/test_a.py": ""},
    "python without tests": {"a.py": ""},
    "requirements": {"requirements.txt": "flask\n", "requirements-dev.txt": "pytest>=8\n", "test_a.py": ""},
    "extras": {"pyproject.toml": PYPROJECT + "[project.optional-dependencies]\ntest = ['pytest']\n", "test_a.py": ""},
    "groups": {"pyproject.toml": PYPROJECT + "[dependency-groups]\ndev = ['pytest', 'ruff']\n[tool.ruff]\n"},
    "uv": {"pyproject.toml": PYPROJECT, "uv.lock": 'name = "pytest"', "tests/test_a.py": ""},
    "poetry": {"pyproject.toml": "[tool.poetry]\nname='x'", "poetry.lock": "", "tests/test_a.py": ""},
    "setup.py": {"setup.py": "", "tests/a_test.py": "", "mypy.ini": ""},
    "broken pyproject": {"pyproject.toml": "[", "test_a.py": ""},
    "node": {
        "package.json": '{"scripts": {"test": "vitest", "lint": "eslint"}, "devDependencies": {"vitest": "1"}}',
        "package-lock.json": "{}",
    },
    "node without anything": {"package.json": '{"scripts": {"test": "node --test"}}'},
    "node without tests": {"package.json": '{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}'},
    "pnpm": {"package.json": '{"scripts": {"test": "vitest"}}', "pnpm-lock.yaml": ""},
    "yarn": {"package.json": '{"scripts": {"test": "vitest"}}', "yarn.lock": ""},
    "broken package": {"package.json": "[1"},
    "rust": {"Cargo.toml": "[package]", "Cargo.lock": ""},
    "go": {"go.mod": "module x", "a_test.go": "", "go.sum": ""},
    "go alone": {"go.mod": "module x", "a_test.go": ""},
    "everything": {"pyproject.toml": PYPROJECT, "tests/test_a.py": "", "package.json": "{}", "Cargo.toml": ""},
}


def found_in(root: Path, files: Mapping[str, str], tools: tuple[str, ...] = ALL_TOOLS) -> Findings:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return detect(root, lambda tool: f"/usr/bin/{tool}" if tool in tools else None)


def setup_of(findings: Findings) -> str:
    return findings.envs[0].setup


@pytest.mark.parametrize("tools", [ALL_TOOLS, ()], ids=["all tools", "no tools"])
@pytest.mark.parametrize("sample", SAMPLES)
def test_what_is_proposed_is_what_our_reader_takes(sample: str, tools: tuple[str, ...], tmp_path: Path) -> None:
    findings = found_in(tmp_path, SAMPLES[sample], tools)
    text = propose(findings)
    in_force = [(g.name, g.command, g.env or None) for g in findings.gates if not g.doubt]
    if not in_force:
        with pytest.raises(BadInput) as bad:
            read_settings(text.encode())
        assert [p.message for p in bad.value.problems] == ["no gate: nothing can be proven"]
        text += '[gates.mine]\ncommand = "make test"\n'
        in_force = [("mine", "make test", None)]
    settings = read_settings(text.encode())
    assert [(g.name, g.command, g.env) for g in settings.policy.gates] == in_force
    assert [(e.name, e.setup, e.network) for e in settings.policy.envs] == [
        (e.name, e.setup, "host") for e in findings.envs
    ]
    assert settings.sandbox.mode == "bubblewrap"
    assert settings.agent.command == ()


@pytest.mark.parametrize("sample", SAMPLES)
def test_what_is_commented_out_is_right_once_the_comment_is_gone(sample: str, tmp_path: Path) -> None:
    text = propose(found_in(tmp_path, SAMPLES[sample]))
    starts = ("# [", "# command =", "# env =", "# timeout_s =", "# wall_s", "# agent_network", "# dollars")
    uncommented = "\n".join(line[2:] if line.startswith(starts) else line for line in text.splitlines())
    assert read_settings(uncommented.encode()).policy.gates


@pytest.mark.parametrize(
    ("sample", "gates", "setup"),
    [
        ("loose python", ["tests"], "python3 -m venv .venv && .venv/bin/python -m pip install --quiet pytest"),
        (
            "requirements",
            ["tests"],
            "python3 -m venv .venv && .venv/bin/python -m pip install --quiet"
            " -r requirements.txt -r requirements-dev.txt",
        ),
        ("extras", ["tests"], "python3 -m venv .venv && .venv/bin/python -m pip install --quiet -e '.[test]'"),
        (
            "groups",
            ["ruff"],
            "python3 -m venv .venv && .venv/bin/python -m pip install --quiet --upgrade pip"
            " && .venv/bin/python -m pip install --quiet -e . --group dev",
        ),
        ("uv", ["tests"], "uv sync --frozen"),
        (
            "poetry",
            ["tests"],
            "POETRY_VIRTUALENVS_IN_PROJECT=true poetry install --no-interaction"
            " && .venv/bin/python -m pip install --quiet pytest",
        ),
        ("setup.py", ["tests"], "python3 -m venv .venv && .venv/bin/python -m pip install --quiet -e . pytest"),
        ("node", ["tests", "lint"], "npm ci"),
        ("pnpm", ["tests"], "pnpm install --frozen-lockfile"),
        ("yarn", ["tests"], "yarn install --frozen-lockfile"),
        ("rust", ["tests"], 'mkdir -p .cargo-home && CARGO_HOME="$PWD/.cargo-home" cargo fetch --locked'),
        ("go", ["tests"], 'GOMODCACHE="$PWD/.go-modules" GOFLAGS=-modcacherw go mod download'),
    ],
)
def test_each_kind_is_set_up_its_own_way(sample: str, gates: list[str], setup: str, tmp_path: Path) -> None:
    findings = found_in(tmp_path, SAMPLES[sample])
    assert [g.name for g in findings.gates if not g.doubt] == gates
    assert setup_of(findings) == setup


@pytest.mark.parametrize("sample", ["uv", "poetry"])
def test_without_its_tool_a_lock_file_is_not_used(sample: str, tmp_path: Path) -> None:
    setup = setup_of(found_in(tmp_path, SAMPLES[sample], ("python3",)))
    assert setup == "python3 -m venv .venv && .venv/bin/python -m pip install --quiet -e . pytest"


@pytest.mark.parametrize("sample", ["node without anything", "go alone"])
def test_what_needs_nothing_gets_no_environment(sample: str, tmp_path: Path) -> None:
    findings = found_in(tmp_path, SAMPLES[sample])
    assert (findings.envs, findings.gates[0].env, findings.gates[0].doubt) == ((), "", "")


@pytest.mark.parametrize("sample", ["python without tests", "node without tests"])
def test_a_gate_that_would_be_red_at_once_is_left_out_with_its_reason(sample: str, tmp_path: Path) -> None:
    (gate,) = found_in(tmp_path, SAMPLES[sample]).gates
    assert gate.doubt
    assert f"# Not in force: {gate.doubt}" in propose(found_in(tmp_path, SAMPLES[sample]))


def test_a_linter_that_nothing_installs_is_left_out(tmp_path: Path) -> None:
    gates = found_in(tmp_path, SAMPLES["setup.py"]).gates
    assert [(g.name, bool(g.doubt)) for g in gates] == [("tests", False), ("mypy", True)]


def test_two_languages_share_no_gate_name(tmp_path: Path) -> None:
    names = [g.name for g in found_in(tmp_path, SAMPLES["everything"]).gates]
    assert len(set(names)) == len(names) == 3


def test_what_others_installed_is_not_looked_at(tmp_path: Path) -> None:
    files = {f"{folder}/test_a.py": "" for folder in (".venv/lib", "node_modules/x", "vendor", "venv")}
    assert found_in(tmp_path, files) == Findings()


def test_tools_outside_the_system_are_made_readable(tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo/test_a.py").write_text("")
    tool, real = tmp_path / "shims/bin/python3", tmp_path / "real/bin/python3"
    for path in (tool, real):
        path.parent.mkdir(parents=True)
    real.write_text("")
    tool.symlink_to(real)
    found = detect(tmp_path / "repo", lambda name: str(tool))
    assert found.readable == (str(tmp_path / "shims"), str(tmp_path / "real"))
    assert read_settings(propose(found).encode()).sandbox.readable == found.readable


def test_missing_tools_are_named(tmp_path: Path) -> None:
    assert found_in(tmp_path, SAMPLES["node"], ("node",)).missing == ("npm",)
