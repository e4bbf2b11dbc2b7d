"""Why a pair of red and green proves less than it seems to, although every verdict in it is what it is.

The gate guards production code and binds a test to what it depends on. Round both there is a way: other tests can be
thinned out in the same turn, code can be kept where nothing is guarded, and what runs in the runner's own process can
play the runner. None of that is forbidden; a pair that it touches is weak, and says why.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from penstock.core.paths import matches
from penstock.core.redgreen.entry import Entry
from penstock.core.redgreen.imports import places_imported
from penstock.core.redgreen.test_id import TestId, spell
from penstock.core.weakening import changed_tests, parse
from penstock.kernel.session import GateSession
from penstock.kernel.tree.scanner import IGNORED

SPEAKS_OF_RUNNER = re.compile(
    rb"pytest|unittest\b|PENSTOCK_|penstock_side|\bos\._exit\b|\bsettrace\b|sys\.monitoring|\bgc\.get_|/proc/"
)
"""What production code says that has business with whoever runs it."""
RUNS_TEXTS = re.compile(
    rb"(?<![.\w])(?:exec|eval|compile|__import__)\(|\brunpy\b|\bmarshal\b|\bsys\.(?:path|modules|meta_path)\b"
    rb"|\bimportlib\.(?:util|machinery|import_module|reload)\b|\bimport_module\("
)
"""What production code says that runs what is no module of its own: it may lie where nothing is guarded."""
SPEAKS_OF_WATCHING = re.compile(
    rb"gettrace|settrace|getprofile|setprofile|f_trace|sys\.monitoring|PENSTOCK_|penstock_side"
)
"""What a test says that looks whether it is watched."""
RUNS_TESTS = (
    "bin/python*",
    "pyvenv.cfg",
    "lib/*/site-packages/*.pth",
    "lib/*/site-packages/*customize.py",
    "lib/*/site-packages/*pytest/**/*.py",
    "lib/*/site-packages/pluggy/*.py",
)
"""What in the tree's own environment could play the runner. Nobody guards it: agents may install things."""
NAMED_MAX = 3


def weaknesses(session: GateSession, test: TestId) -> tuple[str, ...]:
    """Everything that makes the pair of `test` weak, each in words."""
    life = session.ledger.tests[test]
    paths = tuple(dict.fromkeys(edit.path for edit in life.open_edits))
    return (
        *_unheard(session),
        *_thinned(session),
        *_of_test(session, test),
        *_of_environment(session, test),
        *(why for path in paths for why in _of_file(session, path)),
    )


def _unheard(session: GateSession) -> Iterator[str]:
    names = [spell(test) for test in session.ledger.turn.unheard]
    if names:
        yield f"not run to their end: {_some(names)}"
    if session.ledger.turn.disturbed:
        yield f"written while the tests ran: {_some(list(session.ledger.turn.disturbed))}"


def _thinned(session: GateSession) -> Iterator[str]:
    """Tests that were changed or deleted in this turn, and are not green as they were red."""
    proven = {spell(test.base) for test in session.ledger.turn.greens}
    changed: list[str] = []
    for path, before in session.ledger.turn.freed.items():
        if before is not None and before.kind == "file" and session.kind(path) == "test" and path.endswith(".py"):
            changed += changed_tests(path, session.content(before), _now(session, path))
    others = [name for name in changed if name not in proven]
    if others:
        yield f"tests changed beside it: {_some(others)}"


def _of_test(session: GateSession, test: TestId) -> Iterator[str]:
    source = _now(session, test.path)
    if source is not None and SPEAKS_OF_WATCHING.search(source):
        yield f"{test.path} looks whether it is watched"


def _of_environment(session: GateSession, test: TestId) -> Iterator[str]:
    """Only the system sets the time of change, so what is older than the session is what it was then."""
    opened_ms = next(iter(session.world.log.read())).at_ms
    top = session.world.launcher.top
    found = (path for glob in RUNS_TESTS for path in (top / ".venv").glob(glob)) if test.path.endswith(".py") else ()
    names = [str(path.relative_to(top)) for path in found if path.lstat().st_ctime_ns > opened_ms * 1_000_000]
    if names:
        yield f"what runs the tests came in this session: {_some(sorted(names))}"


def _of_file(session: GateSession, path: str) -> Iterator[str]:
    source = _now(session, path)
    if source is None or not path.endswith(".py"):
        return
    began = _at_the_start(session, path)
    if SPEAKS_OF_RUNNER.search(source) and not (began and SPEAKS_OF_RUNNER.search(began)):
        yield f"{path} speaks of the runner"
    if RUNS_TEXTS.search(source) and not (began and RUNS_TEXTS.search(began)):
        yield f"{path} runs code that is no module"
    known = set(_unguarded_imports(session, path, began)) if began else set()
    fresh = [name for name in _unguarded_imports(session, path, source) if name not in known]
    if fresh:
        yield f"{path} takes code that is not guarded: {_some(fresh)}"


def _unguarded_imports(session: GateSession, path: str, source: bytes) -> Iterator[str]:
    """Files of tests, and directories that nobody looks into, that a production file imports by name."""
    tree = parse(source)
    for node in ast.walk(tree) if tree else ():
        for name in places_imported(node, path.split("/")[:-1]):
            places = [f"{name}.py", f"{name}/__init__.py"]
            yield from (p for p in places if p in session.expected and session.kind(p) in ("test", "control"))
            if matches(IGNORED, f"{name}/x"):
                yield name


def _now(session: GateSession, path: str) -> bytes | None:
    return _content(session, session.expected.get(path))


def _at_the_start(session: GateSession, path: str) -> bytes | None:
    """The file before the first edit of it that is judged now."""
    edits = session.ledger.turn.file_edits.items()
    return _content(session, next((change.before for edit, change in edits if edit.path == path), None))


def _content(session: GateSession, entry: Entry | None) -> bytes | None:
    return session.content(entry) if entry is not None and entry.kind == "file" else None


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more
