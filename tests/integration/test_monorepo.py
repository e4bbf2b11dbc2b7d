"""Projects beside each other in one repository, through one gate: each test runs where its project is."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.adapters.sandbox_bwrap import BubblewrapSandbox
from penstock.core.redgreen import events as e
from penstock.core.redgreen.policy import RedGreenPolicy
from penstock.core.redgreen.test_id import TestId
from penstock.kernel.runner import RunOrder
from penstock.kernel.runners.pytest_runner import PytestRunner
from penstock.kernel.runners.python_spawn import Interpreter
from penstock.kernel.runs import Asked
from tests.contract.runner_world import launcher_for
from tests.integration.gate_world import Gate, make_launcher, run, write_files
from tests.integration.monorepo import FILES, NODE, PYTEST, open_monorepo, python_project, spawns

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")

TESTS = ("services/a/checks/test_money.py", "services/b/checks/test_money.py", "frontend/src/money.test.js")
SOURCES = ("services/a/src/money.py", "services/b/src/money.py", "frontend/src/money.js")
ASKS = "\n\ndef test_tax():\n    assert money.tax(100) == 7\n"
GIVES = "\n\ndef tax(amount):\n    return amount * rate() // 100\n"
ASKS_JS = "\nimport * as money from './money.js'\ntest('tax', () => assert.equal(money.tax(100), 7))\n"
GIVES_JS = "export const tax = amount => (amount * rate()) / 100\n"
EVERYBODY = ["node frontend", "pytest services/a", "pytest services/b"]


def tax_of(path: str) -> Any:
    """The id of the test that is added, as it is claimed."""
    return ["node", path, ["tax"], None] if path.endswith(".js") else f"{path}::test_tax"


async def add(gate: Gate, path: str, text: str, test: Any = None) -> str:
    answer = await gate.call(
        "write_file", path=path, content=gate.text(path) + text, **({"test": test} if test else {})
    )
    return answer.text


async def make_red(gate: Gate, path: str) -> None:
    await add(gate, path, ASKS_JS if path.endswith(".js") else ASKS)
    answer = await gate.call("run_tests", tests=[path])
    assert ": red_" in answer.text, answer.text


def outcomes(gate: Gate, purpose: e.Purpose) -> dict[TestId, e.TestRun]:
    told = (record.event for record in gate.session.world.log.read())
    return {run.test: run for run in told if isinstance(run, e.TestRun) and run.purpose == purpose}


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_red_edit_and_green_in_each_and_one_spawn_each_at_the_end(tmp_path: Path, warm: bool) -> None:
    async def story() -> None:
        gate = await open_monorepo(tmp_path, warm=warm)
        for test, source in zip(TESTS, SOURCES, strict=True):
            await make_red(gate, test)
            said = await add(gate, source, GIVES_JS if source.endswith(".js") else GIVES, tax_of(test))
            assert said.startswith(f"done: {source}"), said
        ended = await gate.ended()
        assert not ended.is_error and ended.text.count("- proven: ") == 3, ended.text
        assert spawns(gate, "flush") == EVERYBODY
        ran = outcomes(gate, "flush")
        assert {test.path for test in ran} == set(TESTS)
        assert {run.verdict for run in ran.values()} == {"green"}
        assert [run.hits for test, run in ran.items() if test.chain[-1].endswith("tax")] == [
            (each,) for each in SOURCES[2:] + SOURCES[:2]
        ]
        await gate.close()

    run(story())


def test_the_next_turn_runs_only_the_project_that_it_concerns(tmp_path: Path) -> None:
    async def story() -> None:
        gate = await open_monorepo(tmp_path)
        assert not (await gate.call("enter_refactor")).is_error
        assert not (await gate.call("leave_refactor")).is_error
        await gate.ended()
        before = len(spawns(gate, "flush"))
        await make_red(gate, TESTS[1])
        await add(gate, SOURCES[1], GIVES, tax_of(TESTS[1]))
        assert "proven" in (await gate.ended()).text
        assert spawns(gate, "flush")[before:] == ["pytest services/b"]
        await gate.close()

    run(story())


def test_an_edit_that_breaks_another_project_is_reverted(tmp_path: Path) -> None:
    """`shared` is nobody's project; both read it, and its lines are seen to be run from either."""
    shared = {"shared/cents.py": "def cents():\n    return 100\n"}
    path = PYTEST.replace('["src"]', '["src", "../../shared"]')
    test = "import cents\n\n\ndef test_cents():\n    assert cents.cents() == 100\n"
    both = {f"services/{name}/pyproject.toml": path for name in "ab"}
    files = {
        **FILES,
        **shared,
        **both,
        "services/a/checks/test_cents.py": test,
        "services/b/checks/test_cents.py": test,
    }

    async def story() -> None:
        gate = await open_monorepo(tmp_path, files)
        assert not (await gate.call("enter_refactor")).is_error
        assert not (await gate.call("leave_refactor")).is_error
        await gate.ended()
        before = len(spawns(gate, "flush"))
        path = "services/a/checks/test_cents.py"
        await gate.call("write_file", path=path, content=test.replace("100", "1_000"))
        await gate.red(f"{path}::test_cents")
        wanted = shared["shared/cents.py"].replace("100", "1_000")
        said = await gate.call("write_file", path="shared/cents.py", content=wanted, test=f"{path}::test_cents")
        assert not said.is_error, said.text
        ended = await gate.ended()
        assert "reverted shared/cents.py" in ended.text, ended.text
        assert spawns(gate, "flush")[before:] == ["pytest services/a", "pytest services/b"]
        assert gate.text("shared/cents.py") == shared["shared/cents.py"]
        await gate.close()

    run(story())


def test_a_project_within_another_is_run_by_itself_alone(tmp_path: Path) -> None:
    """What lies in `plugin` can only be loaded from there: the one above it must not so much as look."""
    inner = python_project("plugin")
    inner["plugin/checks/test_money.py"] += (
        "\n\ndef test_place(pytestconfig):\n    assert pytestconfig.rootpath.name == 'plugin'\n"
    )
    files = {
        "pytest.ini": "[pytest]\naddopts = -p no:cacheprovider\npythonpath = .\n",
        "app.py": "def one():\n    return 1\n",
        "tests/test_app.py": "import app\n\n\ndef test_one():\n    assert app.one() == 1\n",
        **inner,
        "frontend/tests/test_views.py": "import app\n\n\ndef test_view():\n    assert app.one() == 1\n",
        "package.json": '{"type": "module", "scripts": {"test": "node --test"}}',
        "test/one.test.js": "import test from 'node:test'\ntest('one', () => {})\n",
        **NODE,
    }

    async def story() -> None:
        gate = await open_monorepo(tmp_path, files)
        assert "6 green tests" in (await gate.call("enter_refactor")).text
        assert spawns(gate, "baseline") == ["node ", "pytest ", "node frontend", "pytest plugin"]
        told = [record.event for record in gate.session.world.log.read()]
        counts = [event.tests for event in told if isinstance(event, e.SpawnEnded)]
        assert counts == [1, 2, 1, 2]
        await gate.close()

    run(story())


def test_a_project_within_another_is_not_so_much_as_loaded(tmp_path: Path) -> None:
    inner = {**python_project("plugin"), "plugin/checks/conftest.py": "open('../loaded', 'a').close()\n"}
    files = {**inner, "pytest.ini": "[pytest]\n", "tests/test_app.py": "def test_one():\n    pass\n"}

    async def story() -> None:
        gate = await open_monorepo(tmp_path, files)
        orders = gate.dispatcher.desk._orders(Asked(whole=True), 60_000)
        assert [(project.directory, order.without) for project, order in orders] == [("", ("plugin",)), ("plugin", ())]
        report = await gate.session.world.runners.at(orders[0][0]).run(orders[0][1])
        assert [outcome.test.path for outcome in report.outcomes] == ["tests/test_app.py"]
        assert not (tmp_path / "loaded").exists() and not (gate.top / "loaded").exists()
        await gate.close()

    run(story())


def test_two_commands_in_one_directory_tell_of_each_test_once(tmp_path: Path) -> None:
    files = {f"tests/test_{name}.py": "def test_it():\n    pass\n" for name in ("a", "b")}
    policy = RedGreenPolicy(test_commands={"tests/test_b.py": f"{sys.executable} -m pytest -p no:cacheprovider"})

    async def story() -> None:
        gate = await open_monorepo(tmp_path, files, policy)
        assert "2 green tests" in (await gate.call("enter_refactor")).text
        told = [record.event for record in gate.session.world.log.read()]
        ran = [event.test.path for event in told if isinstance(event, e.TestRun)]
        assert ran == ["tests/test_a.py", "tests/test_b.py"]
        await gate.close()

    run(story())


def test_a_project_that_is_made_in_a_session_runs_its_tests_from_then_on(tmp_path: Path) -> None:
    async def story() -> None:
        data = {"services/c/rate.txt": "7"}
        gate = await open_monorepo(tmp_path, {**python_project("services/a"), **data})
        for path, text in python_project("services/c").items():
            if "/src/" not in path and path not in data:
                assert not (await gate.call("write_file", path=path, content=text)).is_error
        await gate.red("services/c/checks/test_money.py::test_rate")
        source = "services/c/src/money.py"
        said = await gate.call("write_file", path=source, content=python_project("services/c")[source])
        assert not said.is_error, said.text
        ended = await gate.ended()
        assert "proven: services/c/checks/test_money.py::test_rate" in ended.text, ended.text
        await gate.close()

    run(story())


def test_a_refusal_names_a_test_file_of_the_project(tmp_path: Path) -> None:
    async def story() -> None:
        gate = await open_monorepo(tmp_path)
        refused = await add(gate, SOURCES[1], GIVES)
        assert "write one in services/b/tests/test_money.py" in refused
        refused = await add(gate, SOURCES[2], GIVES_JS)
        assert "write one in frontend/src/money.test.js" in refused
        await gate.close()

    run(story())


def test_settings_of_one_project_leave_the_server_of_another_warm(tmp_path: Path) -> None:
    async def story() -> None:
        gate = await open_monorepo(tmp_path, {**python_project("services/a"), **python_project("services/b")})
        await gate.call("run_tests", tests=list(TESTS[:2]))
        pids = {each: warm_pid(gate, each) for each in TESTS[:2]}
        await add(gate, "services/a/pyproject.toml", "xfail_strict = true\n")
        await gate.call("run_tests", tests=list(TESTS[:2]))
        assert warm_pid(gate, TESTS[0]) != pids[TESTS[0]]
        assert warm_pid(gate, TESTS[1]) == pids[TESTS[1]]
        assert pids[TESTS[0]] != pids[TESTS[1]]
        await gate.close()

    run(story())


def warm_pid(gate: Gate, path: str) -> int:
    project = gate.session.choose(path)
    assert project is not None
    served = gate.session.world.runners.at(project)._warm._served  # type: ignore[attr-defined]
    return int(served.pid)


# --- commands -------------------------------------------------------------------------------------------------------


def test_a_command_for_a_glob_is_what_its_tests_are_run_by(tmp_path: Path) -> None:
    other = (
        "import unittest\n\n\nclass It(unittest.TestCase):\n    def test_one(self):\n        self.assertEqual(1, 2)\n"
    )
    files = {**python_project("services/a"), "services/a/checks/test_old.py": other}
    files["services/a/checks/conftest.py"] = 'def pytest_addoption(parser):\n    parser.addoption("--rate")\n'
    files["services/a/checks/test_option.py"] = (
        "def test_it(pytestconfig):\n    assert pytestconfig.getoption('rate') == '9'\n"
    )
    commands = {
        "services/**/test_old.py": f"{sys.executable} -m unittest",
        "services/**/test_option.py": f"{sys.executable} -m pytest --rate=9",
    }

    async def story() -> None:
        gate = await open_monorepo(tmp_path, files, RedGreenPolicy(test_commands=commands))
        asked = [f"services/a/checks/test_{name}.py" for name in ("old", "option", "money")]
        await gate.call("run_tests", tests=asked)
        told = {test: run.verdict for test, run in outcomes(gate, "ask").items()}
        assert [(test.runner, test.chain[-1], told[test]) for test in told] == [
            ("unittest", "test_one", "red_assert"),
            ("pytest", "test_it", "unexpected_green"),
            ("pytest", "test_rate", "unexpected_green"),
        ]
        assert spawns(gate, "ask") == ["unittest services/a", "pytest services/a", "pytest services/a"]
        await gate.close()

    run(story())


@pytest.mark.parametrize(
    ("command", "started", "options"),
    [
        ((), "{top}/a/.venv/bin/python", []),
        ((".venv/bin/python", "-m", "pytest", "-x"), "{top}/a/.venv/bin/python", ["-x"]),
        (("tools/python",), "{top}/tools/python", []),
        (("uv", "run", "pytest", "-x"), "uv run python", ["-x"]),
        (("pytest", "-x"), "{top}/a/.venv/bin/python", ["-x"]),
        (("gone/python", "-m", "pytest"), "gone/python", []),
        (("/usr/bin/python3", "-I"), "/usr/bin/python3 -I", []),
    ],
)
def test_a_program_is_looked_for_upwards_from_the_project(
    tmp_path: Path, command: tuple[str, ...], started: str, options: list[str]
) -> None:
    top = tmp_path / "tree"
    write_files(top, {".venv/bin/python": "", "a/.venv/bin/python": "", "tools/python": "", "a/b/x": ""})
    interpreter = Interpreter(make_launcher(top, tmp_path / "scratch"), command, "a/b")
    words = interpreter.start("/side", "entry")
    assert " ".join(words[: words.index("-B")]) == started.format(top=top)
    assert interpreter.options == options
    assert interpreter.cwd == f"{top}/a/b"


# --- other doors ----------------------------------------------------------------------------------------------------

GO_TEST = (
    'package money\n\nimport "testing"\n\nfunc TestRate(t *testing.T) {\n\tif Rate() != 7 {\n\t\tt.Fatal()\n\t}\n}\n'
)
ASKS_GO = "\nfunc TestTax(t *testing.T) {\n\tif Tax(100) != 7 {\n\t\tt.Fatal()\n\t}\n}\n"


def go_module(name: str) -> dict[str, str]:
    return {
        f"{name}/go.mod": f"module example.org/{name}\n\ngo 1.20\n",
        f"{name}/money.go": "package money\n\nfunc Rate() int { return 7 }\n",
        f"{name}/money_test.go": GO_TEST,
    }


@pytest.mark.skipif(shutil.which("go") is None, reason="needs Go")
def test_modules_of_go_beside_each_other(tmp_path: Path) -> None:
    policy = RedGreenPolicy(test_commands={"b/**": "go test -tags extra"})
    extra = {"b/extra_test.go": f"//go:build extra\n\n{GO_TEST.replace('TestRate', 'TestExtra')}"}

    async def story() -> None:
        gate = await open_monorepo(tmp_path, {**go_module("a"), **go_module("b"), **extra}, policy)
        assert "3 green tests" in (await gate.call("enter_refactor")).text
        assert spawns(gate, "baseline") == ["go a", "go b"]
        await gate.call("leave_refactor")
        await add(gate, "a/money_test.go", ASKS_GO)
        answer = await gate.call("run_tests", tests=["a/money_test.go"])
        assert "TestTax: red_missing_target" in answer.text and "[concerns a/money.go]" in answer.text
        tax = ["go", "a/money_test.go", ["TestTax"], None]
        await add(gate, "a/money.go", "\nfunc Tax(n int) int { return n * Rate() / 100 }\n", tax)
        assert "proven: a/money_test.go::TestTax" in (await gate.ended()).text
        assert spawns(gate, "flush") == ["go a"]
        await gate.close()

    run(story())


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_a_project_is_run_from_its_directory_inside_the_sandbox(tmp_path: Path, warm: bool) -> None:
    sandbox = BubblewrapSandbox(readable=(sys.prefix, sys.base_prefix))
    assert sandbox.isolation().filesystem, sandbox.probe()
    launcher = launcher_for(tmp_path, sandbox=sandbox, at="/workspace/tree")
    write_files(launcher.top, python_project("services/a"))
    test = TestId(runner="pytest", path="services/a/checks/test_money.py", chain=("test_rate",))

    async def story() -> None:
        runner = PytestRunner(launcher, (sys.executable,), "services/a", warm=warm)
        report = await runner.run(RunOrder(tests=(test,)))
        await runner.close()
        [outcome] = report.outcomes
        assert (outcome.verdict, report.is_warm, report.note) == ("green", warm, "")
        assert tuple(outcome.executed) == ("services/a/checks/test_money.py", "services/a/src/money.py")

    run(story())
