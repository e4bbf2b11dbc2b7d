"""From what people and models write to test ids: a list is the id itself, a text is found by collection."""

from __future__ import annotations

import re
from collections.abc import Sequence

from penstock.core.redgreen.test_id import BadTestId, TestId, canonical_path, from_wire, spell
from penstock.kernel.session import GateSession, NotConfigured

ROWS = re.compile(rb"parametrize|generate_tests|params")
"""What a file says whose tests, or those of a file beside it that uses its fixtures, may have rows."""
PLAIN = re.compile(r"(?P<path>[\w./-]+\.py)::(?P<chain>[A-Za-z_]\w*(?:::[A-Za-z_]\w*)*)")
"""A pytest id without any character that could mean something else: needs no collection."""


class UnknownTest(Exception):
    """No test, or more than one, is meant by a text; it says which are there."""


class TestNames:
    """Finds the tests of one session."""

    __test__ = False

    def __init__(self, session: GateSession) -> None:
        self._session = session

    async def one(self, name: object) -> TestId:
        """The one test that `name` is; of one with rows, the first that is red. Raises `UnknownTest`."""
        tests, files = await self.several([name])
        if len({test.base for test in tests}) == 1:
            tests = (next((t for t in tests if t in self._session.ledger.red), tests[0]),)
        if files or len(tests) != 1:
            shown = ", ".join(spell(test) for test in tests[:5])
            raise UnknownTest(f"{name!r} is not one test" + (f": it may be {shown}" if shown else ": name the test"))
        return tests[0]

    async def several(self, names: Sequence[object]) -> tuple[tuple[TestId, ...], tuple[str, ...]]:
        """The tests and test files that `names` are. Raises `UnknownTest`."""
        tests: dict[TestId, None] = {}
        files: dict[str, None] = {}
        for name in names:
            if isinstance(name, str) and self._is_file(name):
                files[name] = None
            else:
                tests.update(dict.fromkeys(await self._tests(name)))
        return tuple(tests), tuple(files)

    def named(self, name: object, path: str) -> TestId:
        """The id that `name` gives to a test which need not exist yet. Raises `UnknownTest`."""
        if isinstance(name, str):
            project = self._session.choose(path or name.partition("::")[0])
            plain = PLAIN.fullmatch(name)
            if plain and project and project.runner in ("pytest", "unittest"):
                return TestId(runner=project.runner, path=plain["path"], chain=tuple(plain["chain"].split("::")))
            raise UnknownTest(f"{name!r}: write it as [runner, path, [names...], row or null]")
        return _from_wire(name)

    def _is_file(self, name: str) -> bool:
        return name in self._session.expected and self._session.choose(name) is not None

    async def _tests(self, name: object) -> list[TestId]:
        if not isinstance(name, str):
            return [_from_wire(name)]
        plain = PLAIN.fullmatch(name)
        project = self._session.choose(plain["path"]) if plain else None
        if plain and project and project.runner == "pytest":
            direct = TestId(runner="pytest", path=_path(plain["path"]), chain=tuple(plain["chain"].split("::")))
            return [direct] if plain["path"] not in self._session.expected else await self._rows(direct)
        return await self._collected(name)

    async def _rows(self, test: TestId) -> list[TestId]:
        """The test, or its rows where it was seen with some."""
        rows = [t for t in self._session.ledger.tests if t.param is not None and t.base == test]
        return rows or (await self._collected(spell(test)) if self._may_have_rows(test.path) else [test])

    def _may_have_rows(self, path: str) -> bool:
        there = self._session.expected
        above = (f"{path[:at]}conftest.py" for at, c in enumerate(f"/{path}") if c == "/")
        files = (there[each] for each in (path, *above) if each in there)
        return any(ROWS.search(self._session.content(file)) for file in files if file.kind == "file")

    async def _collected(self, name: str) -> list[TestId]:
        path = max((p for p in self._session.expected if name.startswith(p)), key=len, default="")
        project = self._session.choose(path) if path else None
        if project is None and path and self._session.kind(path) == "test":
            raise NotConfigured(self._session.not_set_up(path))
        if project is None:
            raise NotConfigured(f"{name!r} does not begin with the path of a test file")
        found = await self._session.world.runners.at(project).collect([path])
        canonical = self._session.bindings.canonical
        tests = [each.test for each in found.tests]
        exact = [t for t in tests if name in (spell(t), spell(canonical(t)))]
        rows = [t for t in tests if t.param is not None and spell(t.base) == name]
        if exact or rows:
            return [canonical(test) for test in exact or rows]
        why = found.note or found.broken.get(path) or "it has " + (", ".join(map(spell, tests[:5])) or "no test")
        raise UnknownTest(f"no test {name!r} in {path}: {why}")


def _from_wire(name: object) -> TestId:
    try:
        return from_wire(name)
    except BadTestId as wrong:
        raise UnknownTest(str(wrong)) from wrong


def _path(path: str) -> str:
    try:
        return canonical_path(path)
    except BadTestId as wrong:
        raise UnknownTest(str(wrong)) from wrong
