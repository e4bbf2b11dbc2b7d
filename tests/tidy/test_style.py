"""The repository keeps the rules, and each rule is seen to fail on a planted breach of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatch

import pytest

from tests.tidy import rules
from tests.tidy.repository import Source, read_sources


@dataclass(frozen=True)
class Rule:
    complain: Callable[[Source], rules.Complaints]
    covers: str
    breaches: tuple[Source, ...]
    keeps: tuple[Source, ...] = field(default=())

    def __str__(self) -> str:
        return self.complain.__name__


def ours(text: str, path: str = "src/penstock/shell/perform.py") -> Source:
    return Source(path, text)


def a_test(text: str) -> Source:
    return Source("tests/unit/test_driver.py", text)


def function_of(lines: int) -> Source:
    return ours("async def drive():\n" + "    pass\n" * (lines - 1))


RULES = [
    Rule(
        rules.names_say_something,
        covers="src/*.py",
        breaches=(
            ours("", path="src/penstock/shell/utils.py"),
            ours("", path="src/penstock/common/clock.py"),
            ours("", path="src/penstock/git_helpers.py"),
            ours("class RunManager: ..."),
            ours("def f():\n    class HTTPHelper: ..."),
        ),
        keeps=(ours("class Commonplace: ...", path="src/penstock/futility.py"),),
    ),
    Rule(
        rules.only_supervisors_catch_all,
        covers="src/*.py",
        breaches=(
            ours("try: f()\nexcept Exception: pass"),
            ours("try: f()\nexcept: pass"),
            ours("try: f()\nexcept (OSError, BaseException): pass"),
        ),
        keeps=(ours("try: f()\nexcept (OSError, ValueError): pass"),),
    ),
    Rule(
        rules.functions_are_short,
        covers="src/*.py",
        breaches=(function_of(81),),
        keeps=(function_of(80),),
    ),
    Rule(
        rules.no_machine_is_named,
        covers="*",
        breaches=(
            ours("HOME = '/" + "root/.cache'"),
            Source("docs/OPERATING.md", "cd /" + "work"),
            Source("Makefile", "\tpip install -i https://pypi" + ".org/simple"),
        ),
        keeps=(ours("x = '/workspace', 'git/work/tree', f'{base}/root', '//root'"),),
    ),
    Rule(
        rules.locks_say_what_not_where,
        covers="requirements/*",
        breaches=(
            Source("requirements/dev.txt", "--index-url https://index.example"),
            Source("requirements/dev.txt", "--find-links wheels"),
            Source("requirements/dev.txt", "rich @ file:///wheels/rich.whl"),
        ),
        keeps=(Source("requirements/dev.txt", "import-linter==2.16 \\\n    --hash=sha256:0\n    # via x"),),
    ),
    Rule(
        rules.tests_do_not_sleep,
        covers="tests/*.py",
        breaches=(a_test("time.sleep(1)"), a_test("await asyncio.sleep(0.1)"), a_test("sleep(delay)")),
        keeps=(a_test("await asyncio.sleep(0)\nrun(['sleep', '60'])"),),
    ),
    Rule(
        rules.tests_do_not_mock,
        covers="tests/*.py",
        breaches=(
            a_test("import unittest.mock"),
            a_test("from unittest import mock"),
            a_test("from unittest.mock import Mock"),
            a_test("def test_it(monkeypatch): ..."),
            a_test("with pytest.MonkeyPatch.context() as patch: ..."),
        ),
        keeps=(a_test("from unittest import TestCase\ndef test_it(tmp_path): ..."),),
    ),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_repository_keeps_the_rule(rule: Rule) -> None:
    covered = [source for source in read_sources() if fnmatch(source.path, rule.covers)]
    assert covered
    assert [complaint for source in covered for complaint in rule.complain(source)] == []


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_rule_is_seen_to_fail(rule: Rule) -> None:
    for breach in rule.breaches:
        assert list(rule.complain(breach)), breach
        assert fnmatch(breach.path, rule.covers)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_rule_refuses_nothing_else(rule: Rule) -> None:
    for source in rule.keeps:
        assert list(rule.complain(source)) == []


def test_whoever_may_catch_all_does() -> None:
    catching = {source.path for source in read_sources() if source.path in rules.MAY_CATCH_ALL}
    assert catching == rules.MAY_CATCH_ALL
    assert all(list(rules.catches_of_all(s)) for s in read_sources() if s.path in catching)
