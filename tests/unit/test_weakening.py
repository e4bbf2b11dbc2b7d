"""Each way to disarm a test of base is seen; each honest change beside it is free."""

from __future__ import annotations

from textwrap import dedent

import pytest

from penstock.core.weakening import changed_tests

BASE = '''
import pytest
from calc import add

CASES = [1, 2]

@pytest.fixture
def three():
    return 3

@pytest.fixture
def six(three):
    return three + three

def close(a, b):
    return abs(a - b) < 0.1

def test_add(limit=2):
    """Adds."""
    assert add(1, 1) == limit

@pytest.mark.parametrize("case", CASES)
def test_case(case):
    assert add(case, 0) == case

def test_six(six):
    assert add(3, 3) == six

async def test_later():
    assert close(await add(1, 1), 2)

class TestAdd(Base):
    def setup_method(self):
        self.one = 1

    def test_one(self):
        assert add(self.one, 0) == 1

    class TestDeep:
        def test_deep(self):
            assert add(0, 0) == 0
'''

TESTS = ["test_add", "test_case", "test_six", "test_later", "TestAdd::test_one", "TestAdd::TestDeep::test_deep"]
OF_THE_CLASS = TESTS[4:]


def changed(old: str, new: str, base: str = BASE) -> list[str]:
    assert old in base
    candidate = base.replace(old, new)
    return [
        id.removeprefix("tests/test_a.py::")
        for id in changed_tests("tests/test_a.py", base.encode(), candidate.encode())
    ]


@pytest.mark.parametrize(
    ("old", "new", "tests"),
    [
        ("assert add(1, 1) == limit", "assert add(1, 1)", ["test_add"]),
        ("assert add(1, 1) == limit", "assert (add(1, 1) == limit, 'message')", ["test_add"]),
        (
            "    assert add(1, 1) == limit",
            "    try:\n        assert add(1, 1) == limit\n    except: pass",
            ["test_add"],
        ),
        ("limit=2", "limit=3", ["test_add"]),
        ("def test_add(", "def test_sum(", ["test_add"]),
        ("def test_add(", "@pytest.mark.skip\ndef test_add(", ["test_add"]),
        ("def test_add(", "@pytest.mark.xfail\ndef test_add(", ["test_add"]),
        ("def test_add(", "if False:\n  def test_add(", ["test_add"]),
        ('"case", CASES', '"case", []', ["test_case"]),
        ("async def test_later", "def test_later", ["test_later"]),
        ("return three + three", "return 7", ["test_six"]),
        ("return 3\n", "return 4\n", ["test_six"]),
        ("def six(three)", "def seven(three)", ["test_six"]),
        ("class TestAdd(Base)", "class TestAdd", OF_THE_CLASS),
        ("class TestAdd(Base)", "@pytest.mark.skip\nclass TestAdd(Base)", OF_THE_CLASS),
        ("class TestAdd(Base)", "class TestSum(Base)", OF_THE_CLASS),
        ("self.one = 1", "self.one = 2", OF_THE_CLASS),
        ("    def setup_method", "    pytestmark = pytest.mark.skip\n    def setup_method", OF_THE_CLASS),
        ("    def setup_method", "    test_one = None\n    def setup_method", ["TestAdd::test_one"]),
        ("import pytest\n", "import pytest\npytestmark = pytest.mark.xfail\n", TESTS),
        ("import pytest\n", "import pytest\n__test__ = False\n", TESTS),
        ("CASES = ", "def setup_module():\n    add.__code__ = None\nCASES = ", TESTS),
        ("CASES = ", "@pytest.fixture(autouse=True)\ndef tame(): ...\nCASES = ", TESTS),
        ("class TestAdd", "test_add = lambda: None\nclass TestAdd", ["test_add"]),
        ("class TestAdd", "del test_add\nclass TestAdd", ["test_add"]),
        ("class TestAdd", "test_add.__test__ = False\nclass TestAdd", ["test_add"]),
        ("class TestAdd", "def test_add(): ...\nclass TestAdd", ["test_add"]),
        ("import pytest\n", "import pytest,\n", TESTS),
    ],
)
def test_what_disarms_a_test_is_named(old: str, new: str, tests: list[str]) -> None:
    assert changed(old, new) == tests


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import pytest", "import os\nimport pytest"),
        ("def test_add", "# a comment\n\n\ndef test_add"),
        ("assert add(1, 1) == limit", "assert (\n        add(1, 1)\n        == limit\n    )  # two"),
        ('"""Adds."""', '"""Adds two numbers."""'),
        ('    """Adds."""\n', ""),
        ("def test_add", "def test_new():\n    assert True\n\ndef test_add"),
        ("    def test_one", "    def test_two(self): ...\n\n    def test_one"),
        ("return abs(a - b) < 0.1", "return abs(a - b) < 0.01"),
        ("CASES = [1, 2]", "CASES = [1, 2, 3]"),
        ("CASES = ", "@pytest.fixture\ndef four(): return 4\nCASES = "),
        ("\nclass TestAdd", "\ndef make(): ...\n\nclass TestMore:\n    def test_more(self): ...\n\nclass TestAdd"),
    ],
)
def test_what_only_adds_or_formats_is_free(old: str, new: str) -> None:
    assert changed(old, new) == []


def test_order_is_free() -> None:
    first, second = "def test_a():\n    assert 1\n", "def test_b():\n    assert 2\n"
    assert changed_tests("test_a.py", (first + second).encode(), (second + first).encode()) == ()


def test_a_deleted_file_loses_all_its_tests() -> None:
    gone = changed_tests("tests/test_a.py", BASE.encode(), None)
    assert gone == tuple(f"tests/test_a.py::{test}" for test in TESTS)


def test_methods_of_unittest_are_tests() -> None:
    base = dedent("""
        class Sums(unittest.TestCase):
            def setUp(self): self.x = 1
            def test_x(self): self.assertEqual(self.x, 1)
    """)
    assert changed("self.assertEqual(self.x, 1)", "pass", base) == ["Sums::test_x"]
    assert changed("self.x = 1", "self.x = 2", base) == ["Sums::test_x"]


@pytest.mark.parametrize("decorator", ["fixture", "fixture()", "pytest.fixture", "pytest.fixture(scope='module')"])
def test_fixtures_of_a_conftest_stand_for_themselves(decorator: str) -> None:
    base = f"@{decorator}\ndef db():\n    return 1\n\ndef other(): ...\n"
    assert changed("return 1", "return 2", base) == ["db"]
    assert changed("def other", "def another", base) == []
    assert changed_tests("conftest.py", base.encode(), None) == ("conftest.py::db",)


@pytest.mark.parametrize(
    "use",
    [
        "@pytest.mark.usefixtures('db')\ndef test_a(): ...",
        "pytestmark = pytest.mark.usefixtures('db')\ndef test_a(): ...",
        "@pytest.mark.parametrize('db', [1], indirect=True)\ndef test_a(db): ...",
    ],
)
def test_a_fixture_counts_however_it_is_asked_for(use: str) -> None:
    base = f"@pytest.fixture\ndef database(): return 1\n@pytest.fixture(name='db')\ndef _db(database): ...\n{use}\n"
    assert changed("return 1", "return 2", base) == ["test_a"]
    assert changed("name='db'", "name='dc'", base) == ["test_a"]


def test_an_overriding_fixture_counts() -> None:
    base = "def test_a(db): ...\n"
    assert changed(base, "@fixture\ndef db(): ...\n" + base, base) == ["test_a"]


def test_what_is_no_python_is_compared_as_text() -> None:
    broken = "def test_(:\n  print 'x'\n"
    assert changed_tests("test_a.py", broken.encode(), broken.replace("x", "y").encode()) == ("test_a.py",)
    assert changed_tests("test_a.py", broken.encode(), (broken + "\n").encode()) == ()
    assert changed_tests("test_a.py", broken.encode(), None) == ("test_a.py",)


def test_other_languages_are_left_to_bases_judge_unless_deleted() -> None:
    assert changed_tests("a.test.ts", b"test('a', f)", b"test('a', f); test('b', g)") == ()
    assert changed_tests("a.test.ts", b"test('a', f)", None) == ("a.test.ts",)


@pytest.mark.parametrize("hostile", [b"\0", b"(" * 5_000, b"x = " + b"-" * 20_000 + b"1", b"# coding: nonsense\n"])
def test_hostile_source_changes_all_and_raises_nothing(hostile: bytes) -> None:
    assert changed_tests("test_a.py", b"def test_a(): ...", hostile) == ("test_a.py::test_a",)
    assert changed_tests("test_a.py", hostile, hostile) == ()
    assert changed_tests("test_a.py", hostile, b"") == ("test_a.py",)
