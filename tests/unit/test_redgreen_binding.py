"""What binds evidence to a test: the eight cases of ids, what voids evidence, what is free, and names in comments."""

from __future__ import annotations

import ast
from collections.abc import Callable
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.redgreen.binding import annotations_in, duplicates, moved, test_sha
from penstock.core.redgreen.test_id import RunnerName, TestId

FILE = '''
import pytest
from app import add, tax as vat
from app.deep import *

CASES = [1, 2]
RATE = 3
CASES.append(RATE)
UNUSED = 4

pytestmark = pytest.mark.slow

@pytest.fixture
def three():
    return triple(1)

def triple(n):
    """Three times."""
    return n * 3

def close(a, b):
    return abs(a - b) < TOLERANCE

TOLERANCE = 0.1

def unused():
    return UNUSED

class Base:
    def setup_method(self):
        self.one = 1

@pytest.mark.parametrize("case", CASES)
def test_case(case, three):
    """Says."""
    # what it does
    assert close(add(case), three)

class TestSums(Base):
    factor = 2

    def made(self):
        return self.factor

    def test_sum(self):
        assert self.made() == vat(self.one)
'''


def case(*chain: str, path: str = "tests/test_a.py", runner: RunnerName = "pytest", param: str | None = None) -> TestId:
    return TestId(runner=runner, path=path, chain=chain, param=param)


CASE, SUM = case("test_case"), case("TestSums", "test_sum")


def sha(test: TestId, text: str = FILE) -> str:
    return test_sha(test, dedent(text).encode())


def edited(old: str, new: str, text: str = FILE) -> str:
    assert old in text
    return text.replace(old, new)


# --- the eight cases of the specification: what becomes of the id, and of the evidence ------------------------------

ROWS = '@pytest.mark.parametrize("n", [1, 2])\ndef test_n(n): assert n\n'
EIGHT: dict[str, tuple[TestId, str, TestId, str, bool]] = {
    "edit the body": (CASE, FILE, CASE, edited("add(case)", "add(1)"), False),
    "rename the test": (CASE, FILE, case("test_other"), edited("test_case", "test_other"), True),
    "rename the class": (SUM, FILE, case("TestX", "test_sum"), edited("TestSums", "TestX"), True),
    "move the file": (SUM, FILE, case("TestSums", "test_sum", path="b/test_b.py"), FILE, True),
    "reorder": (CASE, FILE, CASE, edited("TOLERANCE = 0.1\n", "", FILE) + "\nTOLERANCE = 0.1\n", True),
    "add a row": (
        case("test_n", param="1"),
        ROWS,
        case("test_n", param="1"),
        edited("[1, 2]", "[1, 2, 3]", ROWS),
        False,
    ),
    "change a row": (
        case("test_n", param="1"),
        ROWS,
        case("test_n", param="9"),
        edited("[1, 2]", "[9, 2]", ROWS),
        False,
    ),
    "annotate": (CASE, FILE, CASE, edited("@pytest.mark.param", "# test-id: sums\n@pytest.mark.param"), True),
}
"""Was and is; whether the evidence still holds."""


@pytest.mark.parametrize("name", EIGHT)
def test_the_eight_cases(name: str) -> None:
    was, before, now, after, holds = EIGHT[name]
    assert sha(was, before) and sha(now, after)
    assert (sha(was, before) == sha(now, after)) is holds
    follows = moved({was: sha(was, before)}, {now: sha(now, after)}) == [(was, now)]
    assert follows is holds


# --- what voids the evidence, and what is free ----------------------------------------------------------------------

VOIDS_CASE = {
    "its assertion": ("assert close(add(case), three)", "assert True"),
    "its decorator": (
        '@pytest.mark.parametrize("case", CASES)',
        '@pytest.mark.skip\n@pytest.mark.parametrize("case", CASES)',
    ),
    "its rows": ("CASES = [1, 2]", "CASES = [1]"),
    "what is done to its rows": ("CASES.append(RATE)", "CASES.clear()"),
    "what its rows name": ("RATE = 3", "RATE = 5"),
    "its fixture": ("return triple(1)", "return triple(2)"),
    "what its fixture names": ("return n * 3", "return n * 4"),
    "a function it names": ("abs(a - b) <", "abs(a - b) >"),
    "what that function names": ("TOLERANCE = 0.1", "TOLERANCE = 1e9"),
    "where a name comes from": ("from app import add,", "from lies import add,"),
    "a name that is bound anew": ("def unused():", "def add(n): return n\n\ndef unused():"),
    "names from a star": ("from app.deep import *", "from lies.deep import *"),
    "the module's marks": ("pytest.mark.slow", "pytest.mark.skip"),
    "a fixture for all": ("def unused():", "@pytest.fixture(autouse=True)\ndef lie(): ...\n\ndef unused():"),
    "a module's set-up": ("def unused():", "def setup_module(): ...\n\ndef unused():"),
    "a line that rebinds it": ("UNUSED = 4", "UNUSED = 4\ntest_case = print"),
    "the condition it stands under": ("def close(a, b):", "if 1:\n  def close(a, b):"),
}
VOIDS_SUM = {
    "a method it calls": ("return self.factor", "return 0"),
    "an attribute of its class": ("factor = 2", "factor = 3"),
    "a base's set-up": ("self.one = 1", "self.one = 2"),
    "its bases": ("class TestSums(Base)", "class TestSums"),
    "its class's decorator": ("class TestSums(Base)", "@skip\nclass TestSums(Base)"),
    "its class's own set-up": ("    def made(self)", "    def setup_method(self): ...\n    def made(self)"),
    "a name it is imported by": ("tax as vat", "lies as vat"),
}


@pytest.mark.parametrize(
    ("test", "what", "old", "new"),
    [(CASE, what, *edit) for what, edit in VOIDS_CASE.items()]
    + [(SUM, what, *edit) for what, edit in VOIDS_SUM.items()],
)
def test_evidence_is_void_when_it_changes(test: TestId, what: str, old: str, new: str) -> None:
    assert sha(test, edited(old, new)) != sha(test), what


FREE = {
    "a comment": ("# what it does", "# nothing"),
    "its docstring": ('"""Says."""', '"""Says otherwise."""'),
    "a docstring of what it names": ('    """Three times."""\n', ""),
    "layout": ("assert close(add(case), three)", "assert close(\n        add(case),\n\n        three)"),
    "a function that it does not name": ("return UNUSED", "return 0"),
    "a name that it does not use": ("UNUSED = 4", "UNUSED = 5"),
    "another import beside its own": ("from app import add, tax as vat", "import os\nfrom app import tax as vat, add"),
    "another test": ("class TestSums", "def test_new(): ...\n\nclass TestSums"),
}


@pytest.mark.parametrize("what", FREE)
def test_evidence_holds_whatever_becomes_of_it(what: str) -> None:
    after = edited(*FREE[what])
    assert (sha(CASE, after), sha(SUM, after)) == (sha(CASE), sha(SUM))


@pytest.mark.parametrize(
    "test",
    [case("test_absent"), case("TestAbsent", "test_sum"), case("TestSums", "test_sum", "deeper"), case("close", "x")],
)
def test_what_is_not_there_has_no_digest(test: TestId) -> None:
    assert sha(test) == ""
    assert sha(CASE, "def test_case(:") == ""


def test_an_inherited_or_made_test_is_bound_too() -> None:
    text = "class Base:\n  def test_x(self): assert 1\nclass TestA(Base): ...\ntest_made = make(1)\n"
    inherited, made = case("TestA", "test_x"), case("test_made")
    assert sha(inherited, text) != sha(inherited, edited("assert 1", "assert 2", text)) != ""
    assert sha(made, text) != sha(made, edited("make(1)", "make(2)", text)) != ""


def test_a_helper_named_like_an_attribute_is_not_the_tests_own() -> None:
    text = "def size(): return 1\ndef test_a(): assert box.size\n"
    assert sha(case("test_a"), text) == sha(case("test_a"), edited("return 1", "return 2", text))


def test_another_test_of_the_same_name_that_it_names_counts() -> None:
    text = "def test_a(): return 1\nclass TestX:\n    def test_a(self): assert test_a()\n"
    inner = case("TestX", "test_a")
    assert sha(inner, text) != sha(inner, edited("return 1", "return 2", text))


def test_names_in_a_circle_end() -> None:
    text = "def a(): return b()\ndef b(): return a()\ndef test_a(): assert test_a and a()\n"
    assert sha(case("test_a"), text) != sha(case("test_a"), edited("return a()", "return 1", text))


@pytest.mark.parametrize(
    "hostile", [b"\0", b"(" * 5_000, b"x = " + b"-" * 20_000 + b"1", b"# coding: nonsense\n", b"\xff"]
)
def test_hostile_source_raises_nothing(hostile: bytes) -> None:
    test_sha(CASE, hostile)
    assert annotations_in("pytest", b"# test-id: a\n" + hostile, "t.py").slugs == {}


def test_other_languages_are_bound_by_their_file() -> None:
    test = case("adds", path="a.test.ts", runner="vitest")
    assert (
        test_sha(test, b"test('adds',  f)\n") == test_sha(test, b"\ttest('adds', f)") != test_sha(test, b"test('a', f)")
    )


NAMES = st.sampled_from(["test_a", "test_other", "test_the_sum", "test_é"])
BODIES = st.sampled_from(["assert f(1)", "assert CASES", "x = 1\n    assert x", "return {name}", "assert 'test_a'"])


@given(one=NAMES, other=NAMES, body=BODIES, space=st.integers(0, 5))
def test_a_rename_with_other_layout_keeps_the_digest(one: str, other: str, body: str, space: int) -> None:
    shape = "CASES = [1]\n\ndef f(n): return CASES\n\n{gap}def {name}():\n    {body}\n"
    before = shape.format(name=one, body=body.format(name=one), gap="")
    after = shape.format(name=other, body=body.format(name=other), gap="# moved\n" * space)
    assert sha(case(one), before) == sha(case(other), after) != ""


@given(
    st.permutations(
        [ast.unparse(node) for node in ast.parse(FILE).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    )
)
def test_the_order_of_definitions_is_free(order: list[str]) -> None:
    rest = [ast.unparse(n) for n in ast.parse(FILE).body if not isinstance(n, ast.FunctionDef | ast.ClassDef)]
    shuffled = "\n".join([*rest, *order])
    assert (sha(CASE, shuffled), sha(SUM, shuffled)) == (sha(CASE), sha(SUM))


# --- moves ----------------------------------------------------------------------------------------------------------

A, B, C, D = (case(f"test_{name}") for name in "abcd")


def test_a_move_needs_one_that_vanished_and_one_that_appeared() -> None:
    assert moved({A: "1"}, {B: "1"}) == [(A, B)]
    assert moved({A: "1"}, {B: "2"}) == []
    assert moved({A: "1", C: "1"}, {B: "1"}) == []
    assert moved({A: "1"}, {B: "1", C: "1"}) == []
    assert moved({A: "1", C: "2"}, {B: "2", D: "1"}) == [(A, D), (C, B)]


def test_what_has_no_digest_never_moved() -> None:
    assert moved({A: ""}, {B: ""}) == []


def test_each_row_moves_to_the_row_of_its_own() -> None:
    was = {case("test_a", param=row): "1" for row in ("x", "y")}
    now = {case("test_b", param=row): "1" for row in ("x", "y")}
    assert moved(was, now) == list(zip(sorted(was), sorted(now), strict=True))


def test_a_test_does_not_move_to_another_runner() -> None:
    assert moved({A: "1"}, {case("test_a", runner="unittest"): "1"}) == []


# --- annotations ----------------------------------------------------------------------------------------------------

ANNOTATED: dict[str, tuple[str, str, str, dict[tuple[str, ...], str]]] = {
    "a function": ("pytest", "t.py", "# test-id: sums\ndef test_a(): ...\n", {("test_a",): "sums"}),
    "above decorators and other comments": (
        "pytest",
        "t.py",
        "# test-id: sums\n# more\n@mark\n@parametrize(\n  'n', [1])\ndef test_a(n): ...\n",
        {("test_a",): "sums"},
    ),
    "a method": (
        "unittest",
        "t.py",
        "class T:\n    # test-id:  a.b-c_1  \n    def test_a(self): ...\n",
        {("T", "test_a"): "a.b-c_1"},
    ),
    "a title": (
        "vitest",
        "a.test.ts",
        "describe('sums', { timeout: 1 }, () => {\n"
        "  // test-id: adds\n"
        "  it.only('it\\'s it', () => {})\n"
        "})\n"
        "// test-id: b\ntest(`b`, f)\n",
        {("sums", "it's it"): "adds", ("b",): "b"},
    ),
    "a Rust function": (
        "cargo",
        "src/money.rs",
        "mod tests {\n    // test-id: adds\n    #[test]\n    fn a() { }\n}\n",
        {("money", "tests", "a"): "adds"},
    ),
    "a Rust function of a test target": (
        "cargo",
        "tests/sums.rs",
        "// test-id: adds\n#[test]\nfn a() {}\n",
        {("a",): "adds"},
    ),
    "a Go function": (
        "go",
        "a_test.go",
        "package a\n// test-id: adds\nfunc TestA(t *testing.T) {}\n",
        {("TestA",): "adds"},
    ),
}


@pytest.mark.parametrize("what", ANNOTATED)
def test_a_comment_directly_above_names_a_test(what: str) -> None:
    runner, path, text, slugs = ANNOTATED[what]
    found = annotations_in(runner, text.encode(), path)
    assert (found.slugs, found.problems) == (slugs, ())


@pytest.mark.parametrize(
    ("runner", "text"),
    [
        ("pytest", 'TEXT = """\n# test-id: no\n"""\ndef test_a(): ...\n'),
        ("pytest", "x = 'test-id: no'\ndef test_a(): ...\n"),
        ("go", "package a\nvar x = `\n// test-id: no\n`\n"),
        ("vitest", "const x = `\n// test-id: no\n`\ntest('a', f)\n"),
    ],
)
def test_a_text_is_no_comment(runner: str, text: str) -> None:
    found = annotations_in(runner, text.encode(), "t")
    assert (found.slugs, found.problems) == ({}, ())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("# test-id: a\n\ndef test_a(): ...\n", "t.py:1: test-id 'a' stands directly above no test"),
        ("# test-id: a\nX = 1\n", "t.py:1: test-id 'a' stands directly above no test"),
        ("# test-id: a b\ndef test_a(): ...\n", "t.py:1: test-id 'a b' must be"),
        ("# test-id:\ndef test_a(): ...\n", "t.py:1: test-id '' must be"),
        ("# test-id: a\n# test-id: b\ndef test_a(): ...\n", "t.py:2: test-id 'b' is the second one of its test"),
    ],
)
def test_an_annotation_that_cannot_be_obeyed_is_told(text: str, told: str) -> None:
    [problem] = annotations_in("pytest", text.encode(), "t.py").problems
    assert problem.startswith(told)


def test_a_slug_that_stands_twice_names_nothing_and_both_places_are_told() -> None:
    text = "# test-id: a\ndef test_a(): ...\n# test-id: a\ndef test_b(): ...\n# test-id: c\ndef test_c(): ...\n"
    found = annotations_in("pytest", text.encode(), "t.py")
    assert found.slugs == {("test_c",): "c"}
    assert found.problems == ("test-id 'a' is given more than once: t.py:1 and t.py:3",)


def test_a_slug_that_stands_in_two_files_is_told_with_both_places() -> None:
    one = annotations_in("pytest", b"# test-id: a\ndef test_a(): ...\n", "a.py")
    other = annotations_in("pytest", b"\n# test-id: a\ndef test_b(): ...\n", "b.py")
    assert duplicates({"b.py": other, "a.py": one}) == ("test-id 'a' is given more than once: a.py:1 and b.py:2",)
    assert duplicates({"a.py": one}) == ()


READERS: tuple[Callable[[bytes], object], ...] = (
    *(
        lambda data, r=runner: annotations_in(r, b"// test-id: a\n" + data, "src/a")
        for runner in ("go", "cargo", "vitest")
    ),
    lambda data: annotations_in("pytest", b"# test-id: a\n" + data, "a.py"),
)


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read(data: bytes) -> None:
    for read in READERS:
        assert read(data) == read(data)
