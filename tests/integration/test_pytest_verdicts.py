"""Real pytest, real projects: what each test did is seen, and what hides a red test is not believed.

Each attack has its control: by the exit status alone the same tree passes.

What stays unseen within one process, and who sees it:
- A `conftest.py` that swallows exceptions round the call, or calls another function than the test
  (`pytest_runtest_call`, `pytest_pyfunc_call`): base's judge, which brings base's conftest; for new tests the witness,
  in which they are as green as with the change.
- Tests, conftests or plugins that look for our reporter, its nonce or its descriptor (`gc`, `/proc/self`), tell
  forged results and leave: base's judge, and the witness as above.
- A helper of a test file, or a constant that it compares with, made harmless: base's judge.
- Production code that does any of this: no look, for it is in every look at the candidate. A witness still needs tests
  that are red without it; the risk rules and a review gate are what is left. Modules in the root that would be taken
  for pytest itself are refused outright.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.adapters.gates.pytest_watch import PLUGIN_DIR
from penstock.core.verdicts import Evidence, TestResult
from tests.integration.gate_bench import PYTEST, Bench, Files

GOOD = {
    "calc.py": "def add(a, b):\n    return a + b\n",
    "tests/test_add.py": """
        from calc import add

        def test_add():
            assert add(1, 1) == 2

        def test_zero():
            assert add(0, 0) == 0
    """,
}
BROKEN = {"calc.py": "def add(a, b):\n    return a * b\n"}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("gates"))
    yield bench
    bench.discard()


@pytest.fixture(scope="module")
def base(bench: Bench) -> Evidence:
    seen = bench.see(GOOD, look="base")
    assert seen.verdict == "pass", seen
    return seen


def by_name(bench: Bench, evidence: Evidence) -> dict[str, TestResult]:
    return {r.id.partition("::")[2]: r for r in bench.tests(evidence).results}


# --- what is seen ---------------------------------------------------------------------------------------------------

ALL_KINDS = """
    import unittest
    import pytest
    from calc import boom, Stack

    def test_green(): pass
    def test_red(): assert 1 == 2, "no"
    def test_fails(): pytest.fail("no")
    def test_no_raise():
        with pytest.raises(ValueError): pass
    def test_production(): boom()
    def test_own_fault(): {}["x"]
    def test_installed():
        import sys; sys.path.append("lib/site-packages")
        import dependency
    def test_no_import():
        from calc import missing
    def test_no_module(): import missing
    def test_no_attribute(): Stack().missing
    def test_no_name(): missing
    def test_no_parameter(): Stack(missing=1)
    def test_no_argument(): boom(1, 2)
    def test_unprintable():
        class Bad(Exception):
            def __str__(self): raise self
        raise Bad
    def test_exits(): raise SystemExit(0)

    @pytest.fixture
    def no_setup(): raise ValueError("x")
    def test_setup(no_setup): pass
    @pytest.fixture
    def no_teardown():
        yield
        assert False
    def test_teardown(no_teardown): pass

    @pytest.mark.skip
    def test_skip(): pass
    def test_skip_inside(): pytest.skip("now")
    @pytest.mark.xfail
    def test_xfail(): assert False
    def test_xfail_inside(): pytest.xfail("now")
    @pytest.mark.xfail(run=False)
    def test_xfail_unrun(): pass
    @pytest.mark.xfail(raises=ValueError)
    def test_xfail_other(): assert False
    @pytest.mark.xfail
    def test_xpass(): pass
    @pytest.mark.xfail(strict=True)
    def test_xpass_strict(): pass
    def test_subtest(subtests):
        with subtests.test("a"): assert False

    class TestOld(unittest.TestCase):
        def test_green(self): self.assertEqual(1, 1)
        def test_red(self): self.assertEqual(1, 2)
        def test_error(self): boom()
        def test_skip(self): self.skipTest("x")
        def test_raise_skip(self): raise unittest.SkipTest("x")
        def test_subtest(self):
            with self.subTest("x"): assert False
        @unittest.expectedFailure
        def test_xfail(self): assert False
        @unittest.expectedFailure
        def test_xpass(self): pass
"""
SEEN = {
    "test_green": ("green", "other"),
    "test_red": ("red", "assertion"),
    "test_fails": ("red", "assertion"),
    "test_no_raise": ("red", "assertion"),
    "test_production": ("red", "exception"),
    "test_own_fault": ("red", "other"),
    "test_installed": ("red", "other"),
    "test_no_import": ("red", "missing_target"),
    "test_no_module": ("red", "missing_target"),
    "test_no_attribute": ("red", "missing_target"),
    "test_no_name": ("red", "missing_target"),
    "test_no_parameter": ("red", "missing_target"),
    "test_no_argument": ("red", "missing_target"),
    "test_unprintable": ("red", "other"),
    "test_exits": ("red", "other"),
    "test_setup": ("error", "other"),
    "test_teardown": ("error", "assertion"),
    "test_skip": ("skipped", "other"),
    "test_skip_inside": ("skipped", "other"),
    "test_xfail": ("xfail", "other"),
    "test_xfail_inside": ("xfail", "other"),
    "test_xfail_unrun": ("xfail", "other"),
    "test_xfail_other": ("red", "assertion"),
    "test_xpass": ("xpass", "other"),
    "test_xpass_strict": ("red", "other"),
    "test_subtest": ("red", "assertion"),
    "TestOld::test_green": ("green", "other"),
    "TestOld::test_red": ("red", "assertion"),
    "TestOld::test_error": ("red", "exception"),
    "TestOld::test_skip": ("skipped", "other"),
    "TestOld::test_raise_skip": ("skipped", "other"),
    "TestOld::test_subtest": ("red", "assertion"),
    "TestOld::test_xfail": ("xfail", "other"),
    "TestOld::test_xpass": ("red", "assertion"),
}
KINDS_TREE = {
    "calc.py": "class Stack: ...\ndef boom():\n    raise KeyError('x')\n",
    "lib/site-packages/dependency.py": "{}['x']\n",
    "tests/test_kinds.py": ALL_KINDS,
}


@pytest.mark.parametrize("options", ["", " -p xdist -n 2", " -s --tb=no -W error --strict-markers"])
def test_each_way_to_end_is_seen(bench: Bench, options: str) -> None:
    evidence = bench.see(KINDS_TREE, PYTEST + options)
    assert evidence.verdict == "fail"
    seen = by_name(bench, evidence)
    assert {name: (r.status, r.kind) for name, r in seen.items()} == SEEN
    assert {r.file for r in seen.values()} == {"tests/test_kinds.py"}
    assert seen["test_production"].where == "calc.py:3"
    assert seen["test_production"].message == "KeyError: 'x'"
    assert "AssertionError: no" in seen["test_red"].message
    assert len(evidence.failed) == 20


def test_ids_are_as_pytest_gives_them(bench: Bench) -> None:
    tests = """
        import pytest
        @pytest.mark.parametrize("v", ["a/b", "c::d", "e f", "[g]", "ü", "n\\nl", b"\\xff", object(), len, "x", "x"])
        def test_v(v): pass
        @pytest.mark.parametrize("v", [])
        def test_none(v): pass
        @pytest.mark.parametrize("v", [1], ids=["l" * 3000])
        def test_long(v): pass
        def test_ünïcode(): pass
        class TestX:
            class TestY:
                def test_z(self): pass
    """
    evidence = bench.see({"tests/test_ids.py": tests})
    ids = {r.id for r in bench.tests(evidence).results}
    long = {id for id in ids if "test_long" in id}
    assert evidence.verdict == "pass"
    assert [len(id) for id in long] == [2000]
    values = ["a/b", "c::d", "e f", "[g]", "\\xfc", "n\\nl", "\\xff", "v7", "len", "x0", "x1"]
    assert ids - long - {f"tests/test_ids.py::test_v[{v}]" for v in values} == {
        "tests/test_ids.py::test_none[NOTSET]",
        "tests/test_ids.py::test_ünïcode",
        "tests/test_ids.py::TestX::TestY::test_z",
    }


def test_files_are_named_from_the_checkout_whatever_the_rootdir(bench: Bench) -> None:
    tree = {"part/pytest.ini": "[pytest]\n", "part/test_x.py": "def test_x(): assert 0\n"}
    evidence = bench.see(tree, f"cd part && {PYTEST}", ask=("test_x.py::test_x", "part/test_x.py::test_x"))
    [result] = bench.tests(evidence).results
    assert (result.id, result.file, result.where) == ("test_x.py::test_x", "part/test_x.py", "part/test_x.py:1")
    assert evidence.asked == {"test_x.py::test_x": "red", "part/test_x.py::test_x": "absent"}


def test_a_command_may_run_pytest_more_than_once(bench: Bench) -> None:
    tree = {"tests/test_a.py": "def test_a(): pass\n", "tests/test_b.py": "def test_b(): assert 0\n"}
    once = bench.see(tree, f"{PYTEST} tests/test_a.py && {PYTEST} tests/test_a.py")
    assert (once.verdict, once.counts and once.counts.green) == ("pass", 1)
    both = bench.see(tree, f"{PYTEST} tests/test_a.py; {PYTEST} tests/test_b.py; true")
    assert (both.verdict, both.exit_status) == ("fail", 0)


def test_a_pytest_inside_a_test_is_not_mistaken_for_the_gate(bench: Bench) -> None:
    tests = """
        import subprocess, sys
        import pytest
        def test_in_process(pytester):
            pytester.makepyfile("def test_inner(): assert 0")
            assert pytester.runpytest_inprocess().ret == 1
        def test_in_process_again(tmp_path):
            (tmp_path / "test_deep.py").write_text("def test_deep(): assert 0")
            assert pytest.main([str(tmp_path)]) == 1
        def test_in_subprocess(tmp_path):
            (tmp_path / "test_deeper.py").write_text("def test_deeper(): assert 0")
            assert subprocess.run([sys.executable, "-m", "pytest", tmp_path]).returncode == 1
    """
    evidence = bench.see({"tests/test_outer.py": tests}, f"{PYTEST} -p pytester")
    assert (evidence.verdict, evidence.why) == ("pass", "3 tests are green"), bench.output(evidence)


def test_a_green_suite_needs_a_zero_exit_status(bench: Bench) -> None:
    evidence = bench.see(GOOD, f"{PYTEST}; exit 3")
    assert (evidence.verdict, evidence.why) == ("fail", "no test is red, yet the exit status is 3")


@pytest.mark.parametrize(
    ("files", "options", "verdict", "why"),
    [
        ({"tests/test_bad.py": "import nothing\n"}, "", "fail", "1 test file cannot be loaded: ModuleNotFoundError"),
        (
            {"tests/test_add.py": "def ("},
            "",
            "broken",
            "no tests ran (exit status 2); 1 test file cannot be loaded: SyntaxError",
        ),
        ({"tests/test_add.py": ""}, "", "broken", "no tests ran (exit status 5)"),
        ({}, "--no-such-option", "broken", "exit status 4"),
        ({}, "tests/test_none.py", "broken", "pytest was called wrongly"),
        ({"conftest.py": "def pytest_runtest_setup(): 1/0\n"}, "", "fail", "2 of 2 tests are red"),
        ({"conftest.py": "def pytest_runtest_logreport(): 1/0\n"}, "", "broken", "pytest had an internal error"),
        ({"conftest.py": "def pytest_runtest_logstart(): raise KeyboardInterrupt\n"}, "", "broken", "interrupted"),
        (
            {"tests/test_add.py": "import pytest\n@pytest.mark.skip\ndef test_a(): ..."},
            "",
            "broken",
            "no test is green",
        ),
        (BROKEN, "-x", "fail", "1 of 2 tests is red"),
        ({"tests/test_slow.py": "def test_slow():\n    while True: pass\n"}, "", "broken", "timed out after 3000 ms"),
        ({"tests/test_die.py": "import os\ndef test_die(): os.abort()\n"}, "", "broken", "killed by signal 6"),
    ],
)
def test_a_run_that_cannot_tell_says_so(bench: Bench, files: Files, options: str, verdict: str, why: str) -> None:
    timeout = 3_000 if "tests/test_slow.py" in files else 60_000
    evidence = bench.see(GOOD | files, f"{PYTEST} {options}", spec={"timeout_ms": timeout})
    assert evidence.verdict == verdict, bench.output(evidence)
    assert why in evidence.why


def test_only_the_files_asked_for_are_run(bench: Bench) -> None:
    tree = GOOD | {"tests/test_red.py": "def test_red(): assert 0\n"}
    evidence = bench.see(tree, look="control", only_files=("tests/test_add.py",), ask=("tests/test_add.py::test_add",))
    assert (evidence.verdict, evidence.why) == ("pass", "2 tests are green")
    assert evidence.asked == {"tests/test_add.py::test_add": "green"}
    assert bench.see(tree, look="control").verdict == "fail"


# --- attacks --------------------------------------------------------------------------------------------------------

MARKED = (
    GOOD["tests/test_add.py"]
    .replace("def test_add", "{}\n        def test_add")
    .replace("from calc", "import os, pytest, sys\n        from calc")
)
SAYS = '{"t":"result","s":%d,"id":"tests/test_add.py::test_add","when":"call","outcome":"passed"}'

ATTACKS: dict[str, tuple[Files, str]] = {
    "conftest rewrites outcomes": (
        {
            "conftest.py": """
                import pytest
                @pytest.hookimpl(hookwrapper=True, tryfirst=True)
                def pytest_runtest_makereport(item, call):
                    call.excinfo = None
                    report = (yield).get_result()
                    report.outcome, report.longrepr = "passed", None
            """
        },
        "1 of 2 tests is red",
    ),
    "conftest hides exceptions from a plugin that comes late": (
        {
            "conftest.py": """
                import pytest
                class Late:
                    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
                    def pytest_runtest_makereport(self, call):
                        call.excinfo = None
                        yield
                def pytest_collection_modifyitems(config): config.pluginmanager.register(Late())
            """
        },
        "1 of 2 tests is red",
    ),
    "conftest says skipped": (
        {
            "conftest.py": """
                import pytest
                @pytest.hookimpl(hookwrapper=True)
                def pytest_runtest_makereport(item, call):
                    report = (yield).get_result()
                    if report.failed:
                        report.outcome, report.wasxfail = "skipped", "known"
            """
        },
        "1 of 2 tests is red",
    ),
    "conftest drops items": (
        {"conftest.py": "def pytest_collection_modifyitems(items): del items[0]\n"},
        "shrunk: 1 test green on base is missing or skipped",
    ),
    "session finish sets the exit status": (
        {"conftest.py": "def pytest_sessionfinish(session): session.exitstatus = 0\n"},
        "1 of 2 tests is red",
    ),
    "unconfigure leaves with 0": (
        {"conftest.py": "import os\ndef pytest_unconfigure(): os._exit(0)\n"},
        "1 of 2 tests is red",
    ),
    "session finish leaves with 0": (
        {
            "conftest.py": """
                import os, pytest
                @pytest.hookimpl(tryfirst=True)
                def pytest_sessionfinish(): os._exit(0)
            """
        },
        "1 of 2 tests is red|left before its session ended",
    ),
    "module skips itself": (
        {"tests/test_add.py": MARKED.format("pytestmark = pytest.mark.skip")},
        "shrunk: 2 tests green on base are missing or skipped",
    ),
    "module is expected to fail": (
        {"tests/test_add.py": MARKED.format("pytestmark = pytest.mark.xfail")},
        "shrunk: 2 tests green on base are missing or skipped",
    ),
    "module skips at import": (
        {
            "tests/test_add.py": "import pytest\npytest.skip(allow_module_level=True)\n",
            "test_b.py": "def test_b(): ...",
        },
        "shrunk: 2 tests",
    ),
    "conftest exits at import": ({"conftest.py": "import sys\nsys.exit(0)\n"}, "ended before its session began"),
    "module leaves at import": ({"tests/test_add.py": "import os\nos._exit(0)\n"}, "left before its session ended"),
    "test exits pytest": (
        {"tests/test_add.py": MARKED.format("def test_aaa(): pytest.exit('done', returncode=0)")},
        "no tests ran|left before its session ended",
    ),
    "test leaves": (
        {"tests/test_add.py": MARKED.format("def test_aaa(): os._exit(0)")},
        "left before its session ended",
    ),
    "an inner session ends for the outer": (
        {
            "conftest.py": """
                import os, pytest
                def pytest_runtest_protocol(nextitem):
                    pytest.main(["--collect-only", "-p", "no:conftest", os.devnull])
                    os._exit(0)
            """
        },
        "left before its session ended (exit status 0)",
    ),
    "test is deleted": (
        {"tests/test_add.py": "def test_zero(): assert True\n"},
        "shrunk: 1 test",
    ),
    "test is skipped": ({"tests/test_add.py": MARKED.format("@pytest.mark.skip")}, "shrunk: 1 test"),
    "test is expected to fail": ({"tests/test_add.py": MARKED.format("@pytest.mark.xfail")}, "shrunk: 1 test"),
    "test is renamed out of sight": (
        {"tests/test_add.py": GOOD["tests/test_add.py"].replace("test_add", "check_add")},
        "shrunk: 1 test",
    ),
    "options deselect": (
        {"pytest.ini": "[pytest]\naddopts = --deselect tests/test_add.py::test_add\n"},
        "shrunk: 1 test",
    ),
    "options only collect": ({"pytest.ini": "[pytest]\naddopts = --collect-only\n"}, "no tests ran"),
    "options forget the plugin": (
        {"pytest.ini": "[pytest]\naddopts = -p no:penstock_verdicts --deselect tests/test_add.py::test_add\n"},
        "shrunk: 1 test",
    ),
    "runner is shadowed": (
        {"pytest.py": "import sys\nsys.exit(0)\n"},
        "pytest.py would be taken for the test runner",
    ),
    "plugin is shadowed": (
        {"penstock_verdicts.py": "", "conftest.py": "def pytest_collection_modifyitems(items): del items[0]\n"},
        "penstock_verdicts.py would be taken for the test runner",
    ),
    "conftest replaces the runner's loop": (
        {"conftest.py": "def pytest_runtestloop(): return True\n"},
        "no tests ran",
    ),
    "conftest replaces the protocol": (
        {"conftest.py": "def pytest_runtest_protocol(): return True\n"},
        "no tests ran",
    ),
    "conftest unregisters the reporter": (
        {
            "conftest.py": """
                def pytest_runtest_protocol(item):
                    for plugin in list(item.config.pluginmanager.get_plugins()):
                        if type(plugin).__name__ == "Reporter":
                            item.config.pluginmanager.unregister(plugin)
                def pytest_sessionfinish(session): session.exitstatus = 0
            """
        },
        "left before its session ended|no tests ran",
    ),
    "results are printed and written to every descriptor": (
        {
            "conftest.py": f"""
                import os
                def pytest_runtest_setup(item):
                    for fd in range(3, 30):
                        for nonce in ("", "0" * 32 + " "):
                            try: os.write(fd, (nonce + {SAYS!r} % os.getpid() + "\\n").encode())
                            except OSError: pass
                    print({SAYS!r})
                def pytest_sessionfinish(session): session.exitstatus = 0
            """
        },
        "1 of 2 tests is red",
    ),
    "child goes on in its parent's name": (
        {
            "conftest.py": """
                import os
                def pytest_runtest_setup(item):
                    if child := os.fork():
                        os.waitpid(child, 0)
                        os._exit(0)
                    item.module.add = lambda a, b: a + b
            """
        },
        "left before its session ended",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_hides_a_red_test_is_not_believed(bench: Bench, base: Evidence, attack: str) -> None:
    files, whys = ATTACKS[attack]
    evidence = bench.see(GOOD | BROKEN | files, against=base.tests)
    assert evidence.verdict in ("fail", "broken"), bench.output(evidence)
    assert any(why in evidence.why for why in whys.split("|")), evidence.why


@pytest.mark.parametrize("attack", ATTACKS)
def test_by_exit_status_alone_the_same_passes(bench: Bench, attack: str) -> None:
    evidence = bench.see(GOOD | BROKEN | ATTACKS[attack][0], look="criterion", command=PYTEST)
    assert evidence.verdict == "pass", bench.output(evidence)


def test_the_honest_red_is_red_and_the_honest_green_is_green(bench: Bench, base: Evidence) -> None:
    red = bench.see(GOOD | BROKEN, against=base.tests)
    assert (red.verdict, red.missing) == ("fail", ("tests/test_add.py::test_add",))
    more = {"tests/test_more.py": "def test_more(): assert True\n"}
    assert bench.see(GOOD | more, against=base.tests).verdict == "pass"


def test_an_excused_test_may_vanish_and_no_other(bench: Bench, base: Evidence) -> None:
    tree = GOOD | {"tests/test_add.py": "def test_zero(): pass\n"}
    assert bench.see(tree, against=base.tests, excused=("tests/test_add.py::test_add",)).verdict == "pass"
    assert bench.see(tree, against=base.tests, excused=("tests/test_add.py::test_zero",)).verdict == "fail"


def test_neither_tests_nor_their_children_get_the_pipe(bench: Bench) -> None:
    tests = """
        import os, subprocess, sys
        LOOK = "import os; print([n for n in os.environ if n in ('PENSTOCK_NONCE', 'PENSTOCK_VERDICT_FD')])"
        FIFOS = "import os, stat; print(sum(stat.S_ISFIFO(os.fstat(f).st_mode) for f in range(3, 30) if is_open(f)))"
        IS_OPEN = '''def is_open(f):
            try: import os; os.fstat(f); return True
            except OSError: return False
        '''.replace("        def", "def").replace("            ", " ")
        def test_env():
            assert not {"PENSTOCK_NONCE", "PENSTOCK_VERDICT_FD"} & set(os.environ)
            assert subprocess.check_output([sys.executable, "-c", LOOK]) == b"[]\\n"
        def test_descriptor():
            probe = [sys.executable, "-c", IS_OPEN + FIFOS]
            assert subprocess.check_output(probe, close_fds=False) == b"0\\n"
    """
    evidence = bench.see({"tests/test_probe.py": tests}, f"{PYTEST} --capture=sys")
    assert evidence.verdict == "pass", bench.output(evidence)


# --- the other looks ------------------------------------------------------------------------------------------------


def test_a_swallowing_conftest_passes_as_it_is_and_not_before_bases_judge(bench: Bench, base: Evidence) -> None:
    conftest = "def pytest_pyfunc_call(): return True\n"
    assert bench.see(GOOD | BROKEN | {"conftest.py": conftest}, against=base.tests).verdict == "pass"
    judged = bench.see(GOOD | BROKEN, look="judge", against=base.tests)
    assert (judged.verdict, judged.why) == ("fail", "1 test of base is not green over the new code")


def test_bases_judge_does_not_mind_other_reds(bench: Bench, base: Evidence) -> None:
    tree = GOOD | {"tests/test_red.py": "def test_red(): assert 0\n", "tests/test_bad.py": "import nothing\n"}
    judged = bench.see(tree, look="judge", against=base.tests)
    assert (judged.verdict, judged.why) == ("pass", "all of base's 2 tests still green")


NEW_TESTS = {
    "tests/test_sub.py": """
        import pytest
        from calc import add
        try:
            from calc import sub
        except ImportError:
            sub = None
        import calc
        def test_sub(): assert sub is not None
        def test_attribute(): assert calc.sub(3, 1) == 2
        def test_local():
            from calc import sub
            assert sub(3, 1) == 2
        def test_true(): assert True
        def test_old(): assert add(1, 1) == 2
        @pytest.fixture
        def two(): return calc.sub(3, 1)
        def test_fixture(two): assert two == 2
    """
}
NEW_UNLOADABLE = {
    "tests/test_sub.py": """
        import pytest
        from calc import add, sub as minus
        LIMIT = minus
        @pytest.fixture
        def two(): return minus(3, 1)
        def middle(): return LIMIT(3, 1)
        def test_sub(): assert minus(3, 1) == 2
        @pytest.mark.parametrize("n", [1, 2])
        def test_each(n): assert minus(n, n) == 0
        def test_fixture(two): assert two == 2
        def test_through(): assert middle() == 2
        def test_true(): assert True
        def test_old(): assert add(1, 1) == 2
        class TestSub:
            def setup_method(self): self.sub = minus
            def test_method(self): assert self.sub(3, 1) == 2
    """
}
WITH_SUB = {"calc.py": GOOD["calc.py"] + "def sub(a, b):\n    return a - b\n"}


@pytest.mark.parametrize(
    ("tests", "telling"),
    [
        (NEW_TESTS, {"test_sub", "test_attribute", "test_local", "test_fixture"}),
        (
            NEW_UNLOADABLE,
            {"test_sub", "test_each[1]", "test_each[2]", "test_fixture", "test_through", "TestSub::test_method"},
        ),
        ({"tests/test_sub.py": "def test_true(): assert True\n"}, set()),
        ({"tests/test_sub.py": "from calc import sub\ndef test_true(): assert True\n"}, set()),
        ({"tests/test_sub.py": "import os\ndef test_own():\n    if 'sub' not in open('calc.py').read(): 1/0\n"}, set()),
        ({}, set()),
    ],
)
def test_new_tests_tell_only_what_they_are_about(bench: Bench, base: Evidence, tests: Files, telling: set[str]) -> None:
    candidate = bench.see(GOOD | WITH_SUB | tests, against=base.tests)
    assert candidate.verdict == "pass", bench.output(candidate)
    witness = bench.see(
        GOOD | tests,
        look="witness",
        against=base.tests,
        candidate_tests=candidate.tests,
        only_files=("tests/test_sub.py",),
    )
    assert {id.removeprefix("tests/test_sub.py::") for id in witness.telling} == telling
    assert witness.verdict == ("pass" if telling else "fail")
    assert telling or ("no new test" if not tests else "vacuous") in witness.why


def test_a_command_that_hides_our_plugin_is_run_without_it_and_then_proves_less(bench: Bench, base: Evidence) -> None:
    command = f"unset PYTHONPATH; {PYTEST}"
    plain = bench.see(GOOD, command)
    assert (plain.verdict, plain.counts, plain.why) == ("pass", None, "exit status 0")
    compared = bench.see(GOOD, command, against=base.tests)
    assert (compared.verdict, compared.why) == (
        "fail",
        "no per-test results although base has them (exit status 0)",
    )


def test_a_command_may_set_its_own_python_path(bench: Bench) -> None:
    tree = {"src/calc.py": GOOD["calc.py"], "tests/test_add.py": GOOD["tests/test_add.py"]}
    for path in ("src", '"$PWD/src"', "'src':other"):
        evidence = bench.see(tree, f"PYTHONPATH={path} {PYTEST}")
        assert (evidence.verdict, evidence.why) == ("pass", "2 tests are green"), bench.output(evidence)


def test_a_script_that_runs_no_tests_any_more_proves_nothing(bench: Bench, base: Evidence) -> None:
    for look in ("lands", "judge"):
        evidence = bench.see(GOOD | {"run": "exit 0\n"}, "sh run", look, against=base.tests)
        assert (evidence.verdict, evidence.counts) == ("fail", None)
    assert bench.see(GOOD | {"run": f"{PYTEST}\n"}, "sh run", against=base.tests).verdict == "pass"


def test_missing_results_of_base_are_not_taken_for_none(bench: Bench) -> None:
    evidence = bench.see(GOOD, against="f" * 64)
    assert (evidence.verdict, "are missing" in evidence.why) == ("broken", True)


def test_the_plugin_is_one_file_that_needs_nothing_of_ours() -> None:
    [plugin] = Path(PLUGIN_DIR).glob("*.py")
    assert "import penstock" not in plugin.read_text()
    assert "from penstock" not in plugin.read_text()


def test_the_plugin_is_python_3_8() -> None:
    [plugin] = Path(PLUGIN_DIR).glob("*.py")
    assert ast.parse(plugin.read_text(), feature_version=(3, 8)).body
