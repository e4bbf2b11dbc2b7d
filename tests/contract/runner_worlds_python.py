"""pytest and unittest, cold and warm."""

from __future__ import annotations

import sys
from dataclasses import replace
from textwrap import dedent, indent

from penstock.core.redgreen.test_id import TestId
from penstock.kernel.runners.pytest_runner import PytestRunner
from penstock.kernel.runners.unittest_runner import UnittestRunner
from tests.contract.runner_world import RunnerWorld, Scene, Situation, scene

MONEY = {
    "app/__init__.py": "",
    "app/money.py": """
        RATE = 7


        def tax(amount):
            if amount < 0:
                raise ValueError("negative")
            return amount * RATE // 100
    """,
}


def pytest_id(*chain: str, param: str | None = None, path: str = "tests/test_it.py") -> TestId:
    return TestId(runner="pytest", path=path, chain=chain, param=param)


ONE = pytest_id("test_one")
TWO = pytest_id("test_two")


def tests(text: str, **more: str) -> dict[str, str]:
    """A project with this test file."""
    return {**MONEY, "tests/test_it.py": text, **more}


PYTEST_SCENES: dict[Situation, Scene] = {
    "green": scene(
        tests("""
            from app.money import tax

            def test_one(): assert tax(100) == 7
            class TestMoney:
                def test_one(self): assert tax(0) == 0
        """)
        | {"tests/test_other.py": "def test_other(): pass\n"},
        (ONE, "green"),
        (pytest_id("TestMoney", "test_one"), "green"),
        (pytest_id("test_other", path="tests/test_other.py"), "green"),
    ),
    "red_assert": scene(
        tests("""
            import pytest
            from app.money import tax
            def test_one(): assert tax(100) == 8
            def test_two():
                with pytest.raises(ValueError): tax(1)
        """),
        (ONE, "red_assert"),
        (TWO, "red_assert"),
    ),
    "red_exception": scene(
        tests("""
            from app.money import tax
            def test_one(): assert tax(-1) == 0
            def test_two(): {}["x"]
        """),
        (ONE, "red_exception"),
        (TWO, "red_exception"),
    ),
    "red_missing_target": scene(
        tests("""
            import app.money
            from app.money import tax, refund
            from app.rates import Rate
            def test_one(): assert refund(3) == 3
            def test_two(): assert Rate(3).value == 3
            def test_attribute(): assert app.money.discount(3) == 3
            def test_parameter(): assert tax(3, country="de") == 3
            def test_inside():
                from app.reports import total
                assert total() == 3
        """),
        *[
            (pytest_id(f"test_{name}"), "red_missing_target")
            for name in ("one", "two", "attribute", "parameter", "inside")
        ],
    ),
    "vacuous": scene(
        tests("""
            from app.rates import Rate
            def test_one(): assert False
            def test_two(): assert 1
        """),
        (ONE, "vacuous"),
        (TWO, "collect_error"),
    ),
    "skip": scene(
        tests("""
            import pytest, unittest
            @pytest.mark.skip
            def test_one(): assert 0
            def test_two(): raise unittest.SkipTest("now")
        """),
        (ONE, "skipped"),
        (TWO, "skipped"),
    ),
    "xfail": scene(
        tests("""
            import pytest
            @pytest.mark.xfail
            def test_one(): assert 0
            def test_two(): pytest.xfail("now")
        """),
        (ONE, "xfail"),
        (TWO, "xfail"),
    ),
    "xpass": scene(
        tests("""
            import pytest
            @pytest.mark.xfail
            def test_one(): pass
            @pytest.mark.xfail(strict=True)
            def test_two(): pass
        """),
        (ONE, "xpass"),
        (TWO, "xpass"),
    ),
    "crash": scene(
        tests("""
            import os
            def test_before(): pass
            def test_one(): os.abort()
            def test_two(): pass
        """),
        (pytest_id("test_before"), "green"),
        (ONE, "crash"),
        (TWO, "not_run"),
    ),
    "hang": scene(
        tests("""
            import subprocess, sys
            def test_before(): pass
            def test_one():
                subprocess.Popen(["sleep", "600"], start_new_session=True)
                while True: pass
            def test_two(): pass
        """),
        (pytest_id("test_before"), "green"),
        (ONE, "timeout"),
        (TWO, "timeout"),
    ),
    "broken_import": scene(
        tests("raise ValueError('no')\ndef test_one(): pass\n")
        | {"tests/test_two.py": "import json.nothing\ndef test_two(): pass\n"}
        | {"tests/test_three.py": "def test_three(): pass\n"},
        (ONE, "collect_error"),
        (pytest_id("test_two", path="tests/test_two.py"), "collect_error"),
        (pytest_id("test_three", path="tests/test_three.py"), "green"),
    ),
    "syntax_error": scene(
        tests("def test_one(:\n") | {"app/money.py": "def tax(:", "tests/test_two.py": "from app.money import tax\n"},
        (ONE, "syntax_error"),
        (pytest_id("test_two", path="tests/test_two.py"), "syntax_error"),
    ),
    "setup_error": scene(
        tests("""
            import pytest
            @pytest.fixture
            def broken(): assert False
            def test_one(broken): assert 0
            def test_two(nobody): assert 0
        """),
        (ONE, "setup_error"),
        (TWO, "setup_error"),
    ),
    "teardown_error": scene(
        tests("""
            import pytest
            @pytest.fixture
            def broken():
                yield
                assert False
            def test_one(broken): pass
            def test_two(broken): assert 0
        """),
        (ONE, "teardown_error"),
        (TWO, "red_assert"),
    ),
    "unknown": scene(
        tests("def test_one(): pass\n"),
        (ONE, "green"),
        (TWO, "not_run"),
        (pytest_id("test_one", path="tests/test_nowhere.py"), "not_run"),
        (pytest_id("TestOne", "test_one"), "not_run"),
        (pytest_id("test_one", param="1"), "not_run"),
    ),
    "regex_title": scene(
        tests("""
            import pytest
            @pytest.mark.parametrize("v", ["a.*", "(x|y)+$", "p::q[0]", "a/b", "ü", "", " or not "])
            def test_one(v): assert v != "(x|y)+$"
            def test_one_more(): assert 0
        """),
        (pytest_id("test_one", param="a.*"), "green"),
        (pytest_id("test_one", param="(x|y)+$"), "red_assert"),
        (pytest_id("test_one", param="p::q[0]"), "green"),
        (pytest_id("test_one", param="a/b"), "green"),
        (pytest_id("test_one", param="\\xfc"), "green"),
        (pytest_id("test_one", param=""), "green"),
        (pytest_id("test_one", param=" or not "), "green"),
    ),
    "duplicate_titles": scene(
        tests("""
            class TestA:
                def test_one(self): assert 0
            class TestB:
                def test_one(self): pass
        """)
        | {"tests/deep/test_it.py": "def test_one(): pass\n", "tests/deep/__init__.py": "", "tests/__init__.py": ""},
        (pytest_id("TestA", "test_one"), "red_assert"),
        (pytest_id("TestB", "test_one"), "green"),
        (pytest_id("test_one", path="tests/deep/test_it.py"), "green"),
    ),
    "rows": scene(
        tests("""
            import pytest
            @pytest.mark.parametrize("v", [1, 2, 2])
            def test_one(v): assert v == 1
        """),
        (pytest_id("test_one", param="1"), "green"),
        (pytest_id("test_one", param="2_0"), ("red_assert", "not_run")),
        (pytest_id("test_one"), "not_run"),
    ),
    "exits_early": scene(
        tests("""
            import os, sys
            def test_before(): sys.exit(0)
            def test_one(): os._exit(0)
        """),
        (pytest_id("test_before"), "red_exception"),
        (ONE, "crash"),
    ),
    "forged_output": scene(
        tests("""
            import json, os, sys
            def test_one():
                end = {"t": "end", "id": ["pytest", "tests/test_it.py", ["test_one"], None], "verdict": "green"}
                print("PASSED tests/test_it.py::test_one\\n1 passed")
                for fd in range(20):
                    try:
                        os.write(fd, b"\\n0123456789abcdef " + json.dumps(end).encode() + b"\\n")
                    except OSError:
                        pass
                assert not [name for name in os.environ if "PENSTOCK" in name]
                assert 0
            def test_two(): pass
        """),
        (ONE, "red_assert"),
        (TWO, "green"),
    ),
    "forged_results": scene(
        tests("""
            def test_one(): assert 0
            def test_two(): assert 0
        """)
        | {
            "conftest.py": """
                import pytest
                @pytest.hookimpl(hookwrapper=True, tryfirst=True)
                def pytest_runtest_makereport(item, call):
                    call.excinfo = None
                    report = (yield).get_result()
                    report.outcome, report.longrepr = "passed", None
                def pytest_collection_modifyitems(items): del items[1]
                def pytest_sessionfinish(session): session.exitstatus = 0
            """
        },
        (ONE, "red_assert"),
        (TWO, "not_run"),
    ),
}

PYTEST = RunnerWorld(
    name="pytest",
    open=lambda launcher: PytestRunner(launcher, (sys.executable, "-m", "pytest"), warm=False),
    scenes=PYTEST_SCENES,
    covered=("tests/test_it.py", "app/money.py"),
    flip=("app/money.py", "RATE = 7", "RATE = 8"),
    files={"pytest.ini": "[pytest]\n"},
    env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
)
WARM_PYTEST = replace(
    PYTEST,
    name="warm-pytest",
    open=lambda launcher: PytestRunner(launcher, (sys.executable, "-m", "pytest"), warm=True),
    is_warm=True,
)


# --- unittest -------------------------------------------------------------------------------------------------------


def unittest_id(*chain: str, path: str = "tests/test_it.py") -> TestId:
    return TestId(runner="unittest", path=path, chain=chain)


def case(name: str) -> TestId:
    return unittest_id("TestIt", name)


def cases(body: str, head: str = "", **more: str) -> dict[str, str]:
    """A project with one class of tests."""
    text = f"import unittest\n{dedent(head)}\n\nclass TestIt(unittest.TestCase):\n{indent(dedent(body), ' ' * 4)}\n"
    return {**MONEY, "tests/test_it.py": text, **more}


UNITTEST_SCENES: dict[Situation, Scene] = {
    "green": scene(
        cases("def test_one(self): self.assertEqual(tax(100), 7)", "from app.money import tax")
        | {
            "tests/test_other.py": """
                import unittest
                class TestOther(unittest.TestCase):
                    def runTest(self): pass
            """
        },
        (case("test_one"), "green"),
        (unittest_id("TestOther", "runTest", path="tests/test_other.py"), "green"),
    ),
    "red_assert": scene(
        cases(
            """
            def test_one(self): self.assertEqual(tax(100), 8)
            def test_two(self):
                with self.subTest("x"): assert tax(1)
            """,
            "from app.money import tax",
        ),
        (case("test_one"), "red_assert"),
        (case("test_two"), "red_assert"),
    ),
    "red_exception": scene(
        cases("def test_one(self): self.assertEqual(tax(-1), 8)", "from app.money import tax"),
        (case("test_one"), "red_exception"),
    ),
    "red_missing_target": scene(
        cases("def test_one(self): self.assertEqual(rate(), 8)", "from app.rates import rate"),
        (case("test_one"), "red_missing_target"),
    ),
    "vacuous": scene(
        cases("def test_one(self): self.fail()", "from app.rates import rate"),
        (case("test_one"), "vacuous"),
    ),
    "skip": scene(
        cases(
            """
            @unittest.skip("no")
            def test_one(self): self.fail()
            def test_two(self): self.skipTest("now")
            """
        ),
        (case("test_one"), "skipped"),
        (case("test_two"), "skipped"),
    ),
    "xfail": scene(
        cases("@unittest.expectedFailure\ndef test_one(self): self.fail()"),
        (case("test_one"), "xfail"),
    ),
    "xpass": scene(
        cases("@unittest.expectedFailure\ndef test_one(self): pass"),
        (case("test_one"), "xpass"),
    ),
    "crash": scene(
        cases(
            """
            def test_a(self): pass
            def test_b(self): __import__("os").abort()
            def test_c(self): pass
            """
        ),
        (case("test_a"), "green"),
        (case("test_b"), "crash"),
        (case("test_c"), "not_run"),
    ),
    "hang": scene(
        cases(
            """
            def test_a(self): pass
            def test_b(self):
                subprocess.Popen(["sleep", "600"], start_new_session=True)
                while True: pass
            """,
            "import subprocess",
        ),
        (case("test_a"), "green"),
        (case("test_b"), "timeout"),
    ),
    "broken_import": scene(
        cases("def test_one(self): pass", "raise ValueError('no')"),
        (case("test_one"), "collect_error"),
    ),
    "syntax_error": scene(
        cases("def test_one(self: pass"),
        (case("test_one"), "syntax_error"),
    ),
    "setup_error": scene(
        cases(
            """
            def setUp(self): assert False
            def test_one(self): pass
            """
        )
        | {
            "tests/test_two.py": """
                import unittest
                class TestTwo(unittest.TestCase):
                    @classmethod
                    def setUpClass(cls): raise ValueError("no")
                    def test_one(self): pass
            """
        },
        (case("test_one"), "setup_error"),
        (unittest_id("TestTwo", "test_one", path="tests/test_two.py"), "setup_error"),
    ),
    "teardown_error": scene(
        cases(
            """
            def tearDown(self): assert False
            def test_one(self): pass
            def test_two(self): self.fail()
            """
        ),
        (case("test_one"), "teardown_error"),
        (case("test_two"), "red_assert"),
    ),
    "unknown": scene(
        cases("def test_one(self): pass"),
        (case("test_one"), "green"),
        (case("test_two"), "not_run"),
        (unittest_id("TestIt", "test_one", path="tests/test_nowhere.py"), "not_run"),
    ),
    "duplicate_titles": scene(
        cases("def test_one(self): self.fail()")
        | {"tests/deep/test_it.py": "import unittest\nclass TestIt(unittest.TestCase):\n    def test_one(self): pass\n"}
        | {"tests/__init__.py": "", "tests/deep/__init__.py": ""},
        (case("test_one"), "red_assert"),
        (unittest_id("TestIt", "test_one", path="tests/deep/test_it.py"), "green"),
    ),
    "exits_early": scene(
        cases("def test_one(self): __import__('os')._exit(0)"),
        (case("test_one"), "crash"),
    ),
}

UNITTEST = RunnerWorld(
    name="unittest",
    open=lambda launcher: UnittestRunner(launcher, (sys.executable, "-m", "unittest"), warm=False),
    scenes=UNITTEST_SCENES,
    covered=PYTEST.covered,
    flip=PYTEST.flip,
)
WARM_UNITTEST = replace(
    UNITTEST,
    name="warm-unittest",
    open=lambda launcher: UnittestRunner(launcher, (sys.executable,), warm=True),
    is_warm=True,
)
WORLDS = (PYTEST, WARM_PYTEST, UNITTEST, WARM_UNITTEST)
