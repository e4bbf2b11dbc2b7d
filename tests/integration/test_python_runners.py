"""What only the Python runners promise: warmth, phantoms, lines, and defects that are planted in memory.

What holds for every runner is in `tests/contract/test_runners.py`.
"""

from __future__ import annotations

import ast
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Iterator
from importlib.util import source_hash
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from penstock.adapters.sandbox_bwrap import BubblewrapSandbox
from penstock.core.redgreen.test_id import TestId
from penstock.kernel.launching import Launcher
from penstock.kernel.runner import MutationOrder, MutationReport, RunOrder, RunReport, TestOutcome
from penstock.kernel.runners.pytest_runner import PytestRunner
from penstock.kernel.runners.python_spawn import SIDE, Heard
from tests.contract.runner_world import launcher_for, write

T = TypeVar("T")
NO_AUTOLOAD = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
FLIPS = int(os.environ.get("PENSTOCK_FLIPS", "20"))
"""Edits of the same size within the same second; 1,000 for the figure in the documentation."""


def of(name: str, path: str = "test_it.py", row: str | None = None) -> TestId:
    return TestId(runner="pytest", path=path, chain=(name,), param=row)


class Project:
    """A tree and one warm runner that lives as long as the module's tests."""

    def __init__(self, place: Path, *, warm: bool = True, launcher: Launcher | None = None) -> None:
        self.launcher = launcher or launcher_for(place, NO_AUTOLOAD)
        self.top = self.launcher.top
        self.loop = asyncio.new_event_loop()
        self.runner = PytestRunner(self.launcher, (sys.executable, "-m", "pytest"), warm=warm)

    def write(self, **files: str) -> None:
        """Make this the whole tree; a name without an ending is that of a module."""
        for old in sorted(self.top.rglob("*"), reverse=True):
            old.rmdir() if old.is_dir() else old.unlink()
        for name, text in files.items():
            write(self.top / (name if "." in name else f"{name}.py"), text)

    def date(self) -> None:
        """Give every source the same time."""
        for path in self.top.glob("*.py"):
            os.utime(path, (1_700_000_000, 1_700_000_000))

    def do(self, work: Awaitable[T]) -> T:
        return self.loop.run_until_complete(work)

    def run(self, *names: str, wall_ms: int = 30_000) -> RunReport:
        return self.do(self.runner.run(RunOrder(tests=tuple(map(of, names)), wall_ms=wall_ms)))

    def one(self, name: str = "test_one") -> TestOutcome:
        [outcome] = self.run(name).outcomes
        return outcome

    def mutate(self, lines: dict[str, str], **more: int) -> MutationReport:
        return self.do(self.runner.mutate(MutationOrder(tests=(of("test_one"),), lines=lines, **more)))

    def close(self) -> None:
        self.do(self.runner.close())
        self.loop.close()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("warm"))
    yield project
    project.close()


# --- warmth ---------------------------------------------------------------------------------------------------------


def test_the_server_stays_and_has_nothing_of_the_project(project: Project) -> None:
    project.write(
        app="SEEN = []", test_it="import app\ndef test_one():\n    app.SEEN.append(1)\n    assert len(app.SEEN) == 1"
    )
    reports = [project.run("test_one") for _ in range(3)]
    assert [(r.is_warm, r.note, r.outcomes[0].verdict) for r in reports] == [(True, "", "green")] * 3


def test_a_test_that_nobody_asked_for_is_not_run(project: Project) -> None:
    project.write(
        app="SEEN = []",
        test_it="""
        import app
        def test_other(): app.SEEN.append(1)
        def test_one(): assert app.SEEN == []
        """,
    )
    assert project.one().verdict == "green"


def test_edits_of_the_same_size_within_a_second_never_give_a_stale_verdict(project: Project) -> None:
    project.write(app="VALUE = 1\n", test_it="from app import VALUE\ndef test_one(): assert VALUE == 1\n")
    seen, due = [], []
    for turn in range(FLIPS):
        value, wanted = turn % 2, turn % 3 % 2
        (project.top / "app.py").write_text(f"VALUE = {value}\n")
        (project.top / "test_it.py").write_text(f"from app import VALUE\ndef test_one(): assert VALUE == {wanted}\n")
        project.date()
        seen.append(project.one().verdict)
        due.append("green" if value == wanted else "red_assert")
    assert seen == due


@pytest.mark.parametrize(("file", "edit"), [("app.py", "VALUE = 2\n"), ("test_it.py", "{}assert VALUE == 3\n")])
def test_bytecode_in_the_tree_is_not_believed(project: Project, file: str, edit: str) -> None:
    head = "from app import VALUE\ndef test_one(): "
    project.write(app="VALUE = 1\n", test_it=f"{head}assert VALUE == 1\n")
    project.date()
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=."]
    subprocess.run(words, cwd=project.top, env={"PATH": os.environ["PATH"], **NO_AUTOLOAD}, check=True)
    assert len(list((project.top / "__pycache__").iterdir())) == 2
    (project.top / file).write_text(edit.format(head))
    project.date()
    forge_rewritten(project.top)
    assert project.one().verdict == "red_assert"


def forge_rewritten(top: Path) -> None:
    """Let the rewritten bytecode of the test say that it was made of the source as it is now."""
    [path] = (top / "__pycache__").glob("test_it*")
    data = path.read_bytes()
    path.write_bytes(data[:8] + source_hash((top / "test_it.py").read_bytes()) + data[16:])


def test_a_change_of_what_is_declared_starts_a_new_server(project: Project) -> None:
    project.write(test_it="import os, pytest\ndef test_one(): pytest.fail(str(os.getppid()))\n")
    first = project.one().message
    assert project.one().message == first
    (project.top / "requirements.txt").write_text("pandas\n")
    assert project.one().message != first


def test_a_hung_run_ends_with_all_below_it_and_the_server_lives(project: Project) -> None:
    seconds = f"600.{os.getpid()}"  # a sleep of its own: others may have theirs
    project.write(
        test_it="""
        import os, subprocess, pytest
        def test_hang():
            subprocess.Popen(["sleep", "LONG"], start_new_session=True)
            while True: pass
        def test_one(): pytest.fail(str(os.getppid()))
        """.replace("LONG", seconds)
    )
    server = project.one().message
    begun = time.monotonic()
    report = project.run("test_hang", wall_ms=400)
    assert time.monotonic() - begun < 0.4 + 0.5
    assert report.outcomes[0].verdict == "timeout"
    assert project.one().message == server
    assert [pid for pid in os.listdir("/proc") if pid.isdigit() and command_of(pid) == f"sleep {seconds}"] == []


def command_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def test_where_no_server_can_be_had_the_run_is_cold_and_says_so(tmp_path: Path) -> None:
    launcher = launcher_for(tmp_path, {**NO_AUTOLOAD, "PYTHONPATH": str(tmp_path / "lib")})
    write(tmp_path / "lib/threaded.py", "import threading\nthreading.Thread(target=input, daemon=True).start()\n")
    write(
        tmp_path / "lib/threaded.py",
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n",
    )
    project = Project(tmp_path, launcher=launcher)
    project.write(test_it="import threaded\ndef test_one(): pass\n")
    report = project.run("test_one")
    project.close()
    assert (report.is_warm, report.outcomes[0].verdict) == (False, "green")
    assert "cold" in report.note and "thread" in report.note


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_it_runs_inside_the_sandbox(tmp_path: Path, warm: bool) -> None:
    sandbox = BubblewrapSandbox(readable=(sys.prefix, sys.base_prefix))
    assert sandbox.isolation().filesystem, sandbox.probe()
    project = Project(tmp_path, warm=warm, launcher=launcher_for(tmp_path, NO_AUTOLOAD, sandbox, at="/workspace/tree"))
    project.write(app="def one(): return 1", test_it="import app\ndef test_one(): assert app.one() == 2\n")
    report = project.run("test_one")
    project.close()
    [outcome] = report.outcomes
    assert (report.is_warm, report.note) == (warm, ""), report
    assert (outcome.verdict, outcome.where, outcome.imported) == ("red_assert", "test_it.py:2", ("app.py",))


# --- settings that would hide tests ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ("--deselect test_it.py::test_one", "not_run"),
        ("--collect-only", "not_run"),
        ("-p no:python", "runner_error"),
        ("--ignore test_it.py", "red_assert"),
        ("-k other", "not_run"),
        ("--setup-only", "not_run"),
        ("-x --maxfail=1 -q --tb=no -p no:terminal", "red_assert"),
        ("--no-such-option", "runner_error"),
    ],
)
def test_options_of_the_project_never_make_a_red_test_green(project: Project, options: str, verdict: str) -> None:
    project.write(**{"pytest.ini": f"[pytest]\naddopts = {options}\n", "test_it": "def test_one(): assert 0\n"})
    assert project.one().verdict == verdict


def test_options_of_the_environment_are_dropped(tmp_path: Path) -> None:
    project = Project(tmp_path, launcher=launcher_for(tmp_path, {**NO_AUTOLOAD, "PYTEST_ADDOPTS": "--collect-only"}))
    project.write(test_it="def test_one(): pass\n")
    outcome = project.one()
    project.close()
    assert outcome.verdict == "green"


def test_a_conftest_that_cannot_be_loaded_breaks_its_tests(project: Project) -> None:
    project.write(conftest="1 / 0", test_it="def test_one(): pass\n")
    outcome = project.one()
    assert (outcome.verdict, outcome.exception, outcome.where) == (
        "collect_error",
        "ZeroDivisionError",
        "conftest.py:1",
    )


# --- phantoms -------------------------------------------------------------------------------------------------------

MONEY = "class Money:\n    def __init__(self, v): self.v = v\n\ndef tax(a): return a\n"
PACKAGE = {"app/__init__": "", "app/money": MONEY}

TOUCHES = {
    "call": "assert new(3) == 4",
    "attribute": "assert new.rate == 4",
    "comparison": "assert new == 4",
    "arithmetic": "assert 1 + new == 4",
    "iteration": "assert list(new) == []",
    "context": "\n    with new: pass",
    "raises": "\n    with pytest.raises(new): pass",
    "isinstance": "assert isinstance(3, new)",
    "truth": "assert not new",
    "item": "assert new['x'] == 1",
    "swallowed": "\n    try: new()\n    except Exception: pass",
}


@pytest.mark.parametrize("way", TOUCHES)
def test_a_phantom_that_is_touched_asks_for_its_file(project: Project, way: str) -> None:
    project.write(**PACKAGE, test_it=f"import pytest\nfrom app.rates import new\ndef test_one(): {TOUCHES[way]}\n")
    outcome = project.one()
    assert (outcome.verdict, outcome.phantoms) == ("red_missing_target", ("app/rates.py", "app/rates/__init__.py"))


@pytest.mark.parametrize(
    ("head", "body", "verdict", "phantoms"),
    [
        ("from app.money import new", "assert new(1)", "red_missing_target", ("app/money.py",)),
        (
            "from app import new",
            "assert new.x",
            "red_missing_target",
            ("app/__init__.py", "app/new.py", "app/new/__init__.py"),
        ),
        ("import wholly.new", "assert wholly.new.x", "red_missing_target", ("wholly/new.py", "wholly/new/__init__.py")),
        ("import app.money", "assert app.money.new(1)", "red_missing_target", ("app/money.py",)),
        ("from app.money import Money", "assert Money(1).new()", "red_missing_target", ("app/money.py",)),
        ("from app.money import Money", "assert Money.new()", "red_missing_target", ("app/money.py",)),
        ("from app.money import Money", "assert Money()", "red_missing_target", ("app/money.py",)),
        ("from app.money import tax", "assert tax(1, 2)", "red_missing_target", ("app/money.py",)),
        ("", "import app.new", "red_missing_target", ("app/new.py", "app/new/__init__.py")),
        ("from app.rates import new", "assert False", "vacuous", ()),
        ("from app.rates import new", "{}['x']", "vacuous", ()),
        ("", "assert None.new", "red_exception", ()),
        ("", "assert undefined", "red_exception", ()),
        ("", "import json.new", "red_exception", ()),
        ("", "import requests_that_is_declared", "red_exception", ()),
        ("import requests_that_is_declared", "pass", "collect_error", ()),
        ("import json.new", "assert json", "collect_error", ()),
    ],
)
def test_what_is_missing_is_told_from_what_is_wrong(
    project: Project, head: str, body: str, verdict: str, phantoms: tuple[str, ...]
) -> None:
    declared = {"requirements.txt": "requests-that-is-declared==1\n"}
    project.write(**PACKAGE, **declared, **{"space/other": ""}, test_it=f"{head}\ndef test_one():\n    {body}\n")
    outcome = project.one()
    assert (outcome.verdict, outcome.phantoms) == (verdict, phantoms), outcome


def test_an_import_inside_a_test_touches_nothing(project: Project) -> None:
    test = "from app.rates import old\ndef test_one():\n    from app.rates import new\n    assert False\n"
    project.write(**PACKAGE, test_it=test)
    assert project.one().verdict == "vacuous"


def test_phantoms_can_be_used_while_the_file_is_loaded(project: Project) -> None:
    project.write(
        **PACKAGE,
        test_it="""
        import pytest
        from app.rates import CASES, decorate, Base
        LIMIT = CASES.limit + 1
        @pytest.mark.skipif(LIMIT, reason="asks a phantom")
        def test_skipped(): pass
        class Sub(Base): pass
        def test_one(): assert LIMIT == 4
        """,
    )
    assert project.one().verdict == "red_missing_target"


# --- lines ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="lines are told by sys.monitoring, once each")
def test_a_long_loop_is_not_followed_to_its_end(project: Project) -> None:
    project.write(
        app="""
        import sys
        def loop(turns):
            while turns:
                turns -= 1
                if turns < 0:
                    return None
            return sys._getframe().f_trace_lines
        """,
        test_it="""
        import app
        def test_short(): assert app.loop(10) is True
        def test_long(): assert app.loop(60_000) is False
        """,
    )
    report = project.run("test_short", "test_long")
    assert [(o.verdict, o.unfollowed) for o in report.outcomes] == [("green", ()), ("green", ("app.py",))]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="lines are told by sys.monitoring, once each")
def test_a_test_of_very_many_calls_runs_on_at_its_own_speed(project: Project) -> None:
    project.write(
        app="def small(): pass\ndef late():\n    return 1\n",
        test_it="""
        import sys
        import app
        def test_many():
            for _ in range(600_000): app.small()
            assert app.late() == 1 and sys.gettrace() is None
        def test_next():
            assert app.late() == 1 and sys.gettrace() is not None
        """,
    )
    many, after = project.run("test_many", "test_next").outcomes
    assert (many.verdict, many.executed["app.py"], many.unfollowed) == ("green", "1", ("app.py", "test_it.py"))
    assert (after.verdict, after.executed["app.py"], after.unfollowed) == ("green", "2-3", ())


def test_of_very_many_failed_parts_of_a_test_some_are_shown_with_their_source(project: Project) -> None:
    project.write(
        test_it="""
        import unittest
        class TestParts(unittest.TestCase):
            def test_parts(self):
                for part in range(100):
                    with self.subTest(part=part):
                        assert part < 0
        def test_next():
            assert "shown" == 0
        """
    )
    parts = TestId(runner="pytest", path="test_it.py", chain=("TestParts", "test_parts"))
    report = project.do(project.runner.run(RunOrder(tests=(parts, of("test_next")))))
    assert [outcome.verdict for outcome in report.outcomes] == ["red_assert", "red_assert"]
    assert report.output.count(b"    assert part < 0") == 5
    assert report.output.count(b'    assert "shown" == 0') == 1


def test_each_test_has_its_own_lines_and_imports_theirs(project: Project) -> None:
    project.write(
        app="""
        import threading
        LIMIT = 3

        def lazy():
            import late
            return late.value()

        def threaded():
            found = []
            thread = threading.Thread(target=lambda: found.append(inner()))
            thread.start()
            thread.join()
            return found

        def inner():
            return LIMIT

        def unused():
            return 0
        """,
        late="BASE = 1\ndef value():\n    return BASE\n",
        conftest="import pytest\nimport shared\n@pytest.fixture\ndef three():\n    return shared.three()\n",
        shared="def three():\n    return 3\n",
        unrelated="",
        test_it="""
        import app
        def test_one(three): assert app.threaded() == [three]
        def test_lazy(): assert app.lazy() == 1
        """,
    )
    report = project.run("test_one", "test_lazy")
    one, lazy = report.outcomes
    assert one.executed == {"app.py": "8-13,15-16", "conftest.py": "3,5", "shared.py": "1-2", "test_it.py": "2"}
    assert lazy.executed == {"app.py": "4-6", "late.py": "2-3", "test_it.py": "3"}
    assert set(one.imported) == {"app.py", "conftest.py", "shared.py"}
    assert set(lazy.imported) == {"app.py", "conftest.py", "shared.py", "late.py"}
    assert report.import_lines["late.py"] == "1-2"
    assert report.import_lines["app.py"] == "1-2,4,8,15,18"


# --- planted defects ------------------------------------------------------------------------------------------------


def test_defects_are_planted_in_memory_and_noticed_or_not(project: Project) -> None:
    source = "def grade(score):\n    if score > 90:\n        return 'a'\n    return 'b'\n"
    project.write(app=source, test_it="from app import grade\ndef test_one(): assert grade(95) == 'a'\n")
    report = project.mutate({"app.py": "2-4"}, wall_ms=20_000)
    told = {(m.line, m.what): m.is_noticed for m in report.mutants}
    assert told[2, "score > 90 -> score >= 90"] is False
    assert told[3, "'a' -> 'ax'"] is True
    assert told[4, "return 'b' -> return None"] is False
    assert (project.top / "app.py").read_text() == source
    assert project.one().verdict == "green"


def test_defects_keep_to_their_budget(project: Project) -> None:
    lines = "\n".join(f"    a = {n} + 1" for n in range(200))
    project.write(app=f"def f():\n{lines}\n    return 1\n", test_it="import app\ndef test_one(): assert app.f() == 1\n")
    few = project.mutate({"app.py": "2-201"}, wall_ms=20_000, mutants_max=3)
    assert [mutant.is_noticed for mutant in few.mutants] == [False] * 3
    begun = time.monotonic()
    short = project.mutate({"app.py": "2-201"}, wall_ms=300, mutants_max=1_000)
    assert time.monotonic() - begun < 1.5
    assert "within 300 ms" in short.note
    assert project.mutate({"app.py": "900"}).note == "nothing in these lines can be broken"


def test_under_a_red_test_no_defect_is_planted(project: Project) -> None:
    project.write(app="def f():\n    return 1\n", test_it="import app\ndef test_one(): assert app.f() == 2\n")
    report = project.mutate({"app.py": "2"}, wall_ms=20_000)
    assert (report.mutants, "not green" in report.note) == ((), True)


def test_a_defect_that_hangs_is_noticed(project: Project) -> None:
    project.write(
        app="def f():\n    n = 0\n    while n < 3:\n        n += 1\n    return n\n",
        test_it="import app\ndef test_one(): assert app.f() == 3\n",
    )
    report = project.mutate({"app.py": "4"}, wall_ms=20_000)
    assert {(m.what, m.is_noticed) for m in report.mutants} == {("n += 1 -> n -= 1", True), ("1 -> 2", True)}


def test_without_a_warm_runner_there_are_no_mutants(tmp_path: Path) -> None:
    project = Project(tmp_path, warm=False)
    assert "no warm runner" in project.mutate({"app.py": "1"}).note
    project.close()


# --- what is believed -----------------------------------------------------------------------------------------------


def ended(verdict: str) -> bytes:
    """What the plugin writes at the end of a test."""
    said = dict.fromkeys(("exception", "where", "message"), "")
    record = {"t": "end", "id": of("test_one").wire, "verdict": verdict, "phantoms": [], **said}
    return b" " + msgspec.json.encode(record) + b"\n"


def listened(*lines: bytes) -> str:
    heard = Heard(is_killed=False, why="", output=b"", duration_ms=1)
    heard.listen(b"".join(lines), "nonce")
    return heard.outcome_of(of("test_one")).verdict


def test_a_line_without_the_nonce_is_not_believed() -> None:
    assert listened(b"nonce" + ended("green")) == "green"
    assert listened(b"other" + ended("green"), b"nonce {}\n", b"nonce [1\n", ended("green")) == "runner_error"
    assert listened(b"nonce" + ended("splendid")) == "runner_error"


def test_of_two_words_about_a_test_the_worse_counts() -> None:
    words = [b"nonce" + ended(verdict) for verdict in ("red_assert", "green")]
    assert {listened(*words), listened(*reversed(words))} == {"red_assert"}


# --- inside the project's interpreter -------------------------------------------------------------------------------


def test_the_files_shown_are_valid_for_old_pythons() -> None:
    paths = sorted(SIDE.rglob("*.py"))
    assert len(paths) > 8
    for path in paths:
        ast.parse(path.read_text(), feature_version=(3, 9))
