"""A test of a file that does not load tells only if it is about what is missing."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from penstock.adapters.gates.mentions import SOURCE_BYTES_MAX, mentioning, read_sources
from penstock.core.comparison import Unloadable
from penstock.core.verdicts import TestResult

FILE = "tests/test_a.py"


def mentioned(source: str, *tests: str, line: int = 1, names: tuple[str, ...] = ("sub", "calc")) -> set[str]:
    new = tuple(TestResult(id=f"{FILE}::{test}", status="green", file=FILE) for test in tests)
    broken = (Unloadable(file=FILE, line=line, names=names),)
    found = mentioning(new, broken, {FILE: dedent(source).strip().encode()})
    return {id.removeprefix(f"{FILE}::") for id in found}


BODY = "def test_a(): assert sub(2, 1) == 1\ndef test_true(): assert True"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (f"from calc import sub\n{BODY}", {"test_a"}),
        (f"from calc import (\n  add,\n  sub,\n)\n{BODY}", {"test_a"}),
        (f"from calc import add, sub\ndef test_a(): add\n{BODY}", {"test_a"}),
        ("from calc import add, sub\ndef test_a(): assert add(1, 1) == 2", set()),
        ("from calc import sub as s\ndef test_a(): assert s", {"test_a"}),
        ("from calc import sub as s\ndef test_a(): assert sub", set()),
        ("import calc\ndef test_a(): assert calc.sub", {"test_a"}),
        ("import calc.deep as d\ndef test_a(): assert d", {"test_a"}),
        ("from tests.made import make\ndef test_a(): assert make()", {"test_a"}),
        ("MADE = calc.sub(1)\ndef test_a(): assert MADE", {"test_a"}),
        ("@calc.sub\ndef test_a(): ...\ndef test_true(): ...", {"test_a"}),
        ("from calc import sub\ndef use(): return sub\ndef test_a(): use()", {"test_a"}),
        ("from calc import sub\n@fixture\ndef s(): return sub\ndef test_a(s): ...", {"test_a"}),
        ("from calc import sub\n@fixture\ndef s(): return sub\n@usefixtures('s')\ndef test_a(): ...", {"test_a"}),
        ("from calc import sub\n@parametrize('f', [sub])\ndef test_a(f): ...", {"test_a"}),
        ("from calc import sub\nCASES = [sub]\n@parametrize('f', CASES)\ndef test_a(f): ...", {"test_a"}),
        ("from calc import *\ndef test_a(): sub", set()),
        ("def (", set()),
    ],
)
def test_only_what_reaches_the_missing_name(source: str, found: set[str]) -> None:
    assert mentioned(source, "test_a", "test_true") == found


def test_members_and_parameters() -> None:
    source = """
        from calc import sub
        class TestSub:
            def setup_method(self): self.sub = sub
            def test_a(self): assert self.sub
        class TestOther(Base):
            def test_a(self): ...
            def test_b(self, n=sub): ...
        def test_p(p): sub
        def test_pp(): ...
    """
    tests = ("TestSub::test_a", "TestOther::test_a", "TestOther::test_b", "test_p[a::b[c]]", "test_pp", "test_pp[1]")
    assert mentioned(source, *tests) == {"TestSub::test_a", "TestOther::test_b", "test_p[a::b[c]]"}


def test_ids_may_begin_below_the_checkout() -> None:
    new = (TestResult(id="test_a.py::test_a", status="green", file="part/tests/test_a.py"),)
    broken = (Unloadable(file="part/tests/test_a.py", line=1, names=("sub",)),)
    sources = {"part/tests/test_a.py": f"from calc import sub\n{BODY}".encode()}
    assert mentioning(new, broken, sources) == {"test_a.py::test_a"}


def test_what_did_not_fail_for_a_missing_name_mentions_nothing() -> None:
    assert mentioned(f"from calc import sub\n{BODY}", "test_a", names=()) == set()
    assert mentioned(f"from calc import sub\n{BODY}", "test_a", line=9) == set()


def test_only_plain_files_of_the_tree_are_read(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside.py"
    (tree / "tests").mkdir(parents=True)
    (tree / "tests/test_a.py").write_text("a")
    (tree / "big.py").write_bytes(b"#" * (SOURCE_BYTES_MAX + 1))
    outside.write_text("secret")
    (tree / "link.py").symlink_to(outside)
    (tree / "folder").symlink_to(tmp_path)
    asked = ["tests/test_a.py", "big.py", "link.py", "folder/outside.py", "../outside.py", "gone.py", "tests", "a.ts"]
    assert read_sources(str(tree), asked) == {"tests/test_a.py": b"a"}
