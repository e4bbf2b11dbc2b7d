"""In which project a file lies, which runner its tests are for, and by which command."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from penstock.core.redgreen.commands import language_in, node_in, options_in, runner_in, split
from penstock.core.redgreen.policy import RedGreenPolicy
from penstock.wire.projects import Projects
from tests.integration.gate_world import write_files

PYTEST = "[tool.pytest.ini_options]\n"
VITEST = '{"devDependencies": {"vitest": "4"}}'
JEST = '{"devDependencies": {"jest": "30"}}'
NODE = '{"scripts": {"test": "node --test"}}'
CRATE = '[package]\nname = "x"\n'


def told(top: Path, path: str, **commands: str) -> str:
    """`runner in directory`, and the command behind a colon."""
    commands = {name.replace("__", "/"): line for name, line in commands.items()}
    project = Projects(top, RedGreenPolicy(test_commands=commands)).of(path)
    return "nobody" if project is None else project.words + (f": {project.command}" if project.command else "")


Case = tuple[dict[str, str], str, str]
CASES: dict[str, Case] = {
    "nothing but code": ({}, "tests/test_a.py", "pytest"),
    "no language of ours": ({"pyproject.toml": PYTEST}, "tests/test_a.rb", "nobody"),
    "the nearest": (
        {"pyproject.toml": PYTEST, "services/a/pyproject.toml": PYTEST},
        "services/a/tests/test_a.py",
        "pytest in services/a",
    ),
    "beside it": ({"services/a/pyproject.toml": PYTEST}, "services/b/tests/test_b.py", "pytest"),
    "a name that begins alike": ({"services/a/pytest.ini": ""}, "services/ab/test_b.py", "pytest"),
    "pytest.ini, empty": ({"a/pytest.ini": "", "pyproject.toml": PYTEST}, "a/test_a.py", "pytest in a"),
    "setup.cfg": ({"a/setup.cfg": "[tool:pytest]\n", "pyproject.toml": PYTEST}, "a/test_a.py", "pytest in a"),
    "tox.ini": ({"a/tox.ini": "[pytest]\n", "pyproject.toml": PYTEST}, "a/test_a.py", "pytest in a"),
    "a member that the root configures": (
        {"pyproject.toml": PYTEST, "packages/a/pyproject.toml": CRATE},
        "packages/a/tests/test_a.py",
        "pytest",
    ),
    "a package that nobody configures": (
        {"pyproject.toml": "[tool.ruff]\n", "backend/pyproject.toml": CRATE},
        "backend/tests/test_a.py",
        "pytest in backend",
    ),
    "a sample among tests": (
        {"pyproject.toml": PYTEST, "tests/sample/pyproject.toml": PYTEST},
        "tests/sample/test_a.py",
        "pytest",
    ),
    "vitest": ({"web/package.json": VITEST}, "web/src/a.test.ts", "vitest in web"),
    "two kinds": ({"web/package.json": VITEST, "api/package.json": JEST}, "api/a.test.js", "jest in api"),
    "node's own": ({"package.json": JEST, "api/package.json": NODE}, "api/a.test.js", "node in api"),
    "a script goes before what is installed": (
        {"package.json": '{"devDependencies": {"vitest": "4"}, "scripts": {"test": "node --test"}}'},
        "a.test.js",
        "node",
    ),
    "a file of configuration": (
        {"package.json": NODE, "web/package.json": "{}", "web/jest.config.js": ""},
        "web/a.test.js",
        "jest in web",
    ),
    "a member whose runner the root installs": (
        {"package.json": VITEST, "packages/a/package.json": '{"name": "a"}'},
        "packages/a/a.test.ts",
        "vitest",
    ),
    "a package and no more": ({"a/package.json": "{}"}, "a/a.test.js", "node in a"),
    "a package that cannot be read": ({"a/package.json": "{"}, "a/a.test.js", "node in a"),
    "no package": ({"a/package.json": VITEST}, "b/a.test.js", "nobody"),
    "only among tests": ({"tests/js/package.json": VITEST}, "tests/js/a.test.js", "vitest in tests/js"),
    "a crate": ({"rust/Cargo.toml": CRATE}, "rust/tests/a.rs", "cargo in rust"),
    "no crate": ({"rust/Cargo.toml": CRATE}, "other/a.rs", "nobody"),
    "a member of a workspace": (
        {"rs/Cargo.toml": '[workspace]\nmembers = ["a"]\n', "rs/a/Cargo.toml": CRATE},
        "rs/a/src/lib.rs",
        "cargo in rs",
    ),
    "excluded from it": (
        {"rs/Cargo.toml": '[workspace]\nexclude = ["a"]\n', "rs/a/Cargo.toml": CRATE},
        "rs/a/src/lib.rs",
        "cargo in rs/a",
    ),
    "a name like one excluded": (
        {"rs/Cargo.toml": '[workspace]\nexclude = ["a"]\n', "rs/ab/Cargo.toml": CRATE},
        "rs/ab/src/lib.rs",
        "cargo in rs",
    ),
    "a workspace within one": (
        {"Cargo.toml": "[workspace]\n", "rs/Cargo.toml": f"[workspace]\n{CRATE}"},
        "rs/src/lib.rs",
        "cargo in rs",
    ),
    "a manifest that cannot be read": (
        {"Cargo.toml": "[workspace", "rs/Cargo.toml": CRATE},
        "rs/a.rs",
        "cargo in rs",
    ),
    "a module of Go": ({"go.mod": "module a\n", "b/go.mod": "module b\n"}, "b/c/a_test.go", "go in b"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_nearest_project_that_says_how(case: Case, tmp_path: Path) -> None:
    files, path, expected = case
    write_files(tmp_path, files)
    assert told(tmp_path, path) == expected


def test_a_project_may_come_and_go(tmp_path: Path) -> None:
    projects = Projects(tmp_path, RedGreenPolicy())
    seen = []
    for text in (None, PYTEST, None):
        if text is None:
            (tmp_path / "a/pyproject.toml").unlink(missing_ok=True)
        else:
            write_files(tmp_path, {"a/pyproject.toml": text})
        project = projects.of("a/test_a.py")
        seen.append(project.words if project else "")
    assert seen == ["pytest", "pytest in a", "pytest"]


# --- all of them ----------------------------------------------------------------------------------------------------


def among(top: Path, files: dict[str, str], **commands: str) -> list[str]:
    write_files(top, files)
    found = Projects(top, RedGreenPolicy(test_commands=commands)).among(files)
    return [project.words for project in found]


def test_projects_are_those_with_tests(tmp_path: Path) -> None:
    files = {
        "pyproject.toml": PYTEST,
        "scripts/a.py": "",
        "services/a/pyproject.toml": PYTEST,
        "services/a/tests/test_a.py": "",
        "web/package.json": VITEST,
        "web/a.test.ts": "",
        "lib/package.json": JEST,
        "lib/a.js": "",
        "rs/Cargo.toml": CRATE,
        "rs/src/lib.rs": "",
    }
    assert among(tmp_path, files) == ["cargo in rs", "pytest in services/a", "vitest in web"]


def test_where_there_is_no_test_yet_the_root_is_asked(tmp_path: Path) -> None:
    assert among(tmp_path, {"a.py": "", "lib/package.json": JEST, "lib/a.js": ""}) == ["pytest"]
    assert among(tmp_path / "empty", {"README.md": ""}) == []


# --- commands -------------------------------------------------------------------------------------------------------


def test_a_glob_goes_before_the_runner_and_the_first_before_others(tmp_path: Path) -> None:
    commands = {
        "pytest": "py -m pytest",
        "services__a__slow__**": "slow/python -m pytest",
        "services__a__**": "uv run pytest -x",
        "services__**__old_*.py": "python -m unittest",
    }
    assert told(tmp_path, "services/a/slow/test_a.py", **commands) == "pytest: slow/python -m pytest"
    assert told(tmp_path, "services/a/test_a.py", **commands) == "pytest: uv run pytest -x"
    assert told(tmp_path, "services/a/old_a.py", **commands) == "pytest: uv run pytest -x"
    assert told(tmp_path, "services/b/old_a.py", **commands) == "unittest: python -m unittest"
    assert told(tmp_path, "services/b/test_a.py", **commands) == "pytest: py -m pytest"


def test_a_glob_says_nothing_about_files_of_another_language(tmp_path: Path) -> None:
    write_files(tmp_path, {"web/package.json": VITEST, "web/go.mod": "module a\n"})
    commands = {"web__**": "python -m pytest", "web__*.ts": "node --max-old-space-size=9 node_modules/.bin/vitest"}
    assert told(tmp_path, "web/a.test.js", **commands) == "vitest in web"
    assert told(tmp_path, "web/a.test.ts", **commands).startswith("vitest in web: node")
    assert told(tmp_path, "web/a_test.go", **commands) == "go in web"
    assert told(tmp_path, "web/test_a.py", **commands) == "pytest: python -m pytest"


def test_the_key_of_a_runner_chooses_it(tmp_path: Path) -> None:
    write_files(tmp_path, {"a/package.json": "{}", "a/pyproject.toml": CRATE})
    assert told(tmp_path, "a/a.test.js", jest="jest") == "jest in a: jest"
    assert told(tmp_path, "a/test_a.py", unittest="python") == "unittest in a: python"
    assert told(tmp_path, "a/test_a.py", **{"a__**": "python -m pytest", "unittest": "python"}) == (
        "pytest in a: python -m pytest"
    )


def test_two_commands_in_one_directory_are_two_projects(tmp_path: Path) -> None:
    files = {"tests/test_a.py": "", "tests/slow/test_b.py": ""}
    assert among(tmp_path, files, **{"tests/slow/**": "slow/python -m pytest"}) == ["pytest", "pytest"]


@pytest.mark.parametrize(
    ("command", "runner", "language"),
    [
        ("python -m pytest -x {tests}", "pytest", "python"),
        (".venv/bin/python3.12", None, "python"),
        ("uv run pytest", "pytest", "python"),
        ("pypy3", None, "python"),
        ("python-config", None, None),
        ("npx vitest run", "vitest", "javascript"),
        ("node_modules/.bin/jest", "jest", "javascript"),
        ("node --test", "node", "javascript"),
        ("/opt/node-20/bin/node --conditions=test", None, "javascript"),
        ("cargo test --all-features", "cargo", "rust"),
        ("go test -race", "go", "go"),
        ("./run-them", None, None),
    ],
)
def test_what_a_command_speaks_of(command: str, runner: str | None, language: str | None) -> None:
    words = split(command)
    assert "{tests}" not in words
    assert (runner_in(words), language_in(words)) == (runner, language)


def test_what_is_made_of_a_command() -> None:
    assert node_in(split("/opt/node --a --test -b file.js --c")) == ("/opt/node", "--a", "-b")
    assert node_in(split("npx vitest")) == node_in(()) == ("node",)
    assert options_in(split("cargo test --release -p a")) == ("--release", "-p", "a")
    assert options_in(split("go")) == ()


def test_globs_keep_their_order_in_the_ledger() -> None:
    commands = {"b/**": "python", "a/**": "python -m unittest", "pytest": "python"}
    kept = msgspec.json.decode(msgspec.json.encode(RedGreenPolicy(test_commands=commands)), type=RedGreenPolicy)
    assert list(kept.test_commands) == list(commands)
