"""The rules of the house that no linter knows. A rule reads one source and yields its complaints."""

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from tests.tidy.repository import Source

MAY_CATCH_ALL: frozenset[str] = frozenset(
    {"src/penstock/fleet/app.py", "src/penstock/fleet/hive/template.py", "src/penstock/shell/driver.py"}
)
"""The supervisors, by path: where a bare `except Exception` becomes an event, a line of the log, or an answer."""

FUNCTION_LINES_MAX = 80
EMPTY_NAMES = {"common", "helper", "helpers", "manager", "util", "utils"}
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
MACHINE_PATH = re.compile(r"(?<![\w.>)}\]*/])/(?:root|work)\b")
REGISTRY = re.compile(r"pypi\.org|pythonhosted\.org|registry\.npmjs")
PLACE_TO_FETCH_FROM = re.compile(r"://|(?:^|\s)(?:-i|-f|--[\w-]*index-url|--find-links|--trusted-host)\b")
MOCKS = {"mock", "pytest_mock", "unittest.mock"}
PATCHERS = {"MonkeyPatch", "mocker", "monkeypatch"}

Complaints = Iterator[str]


def names_say_something(source: Source) -> Complaints:
    classes = (node.name for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef))
    for name in (*PurePosixPath(source.path).with_suffix("").parts, *classes):
        for word in WORD.findall(name):
            if word.lower() in EMPTY_NAMES:
                yield f"{source.path}: {name!r} is called {word!r}, which says nothing"


def only_supervisors_catch_all(source: Source) -> Complaints:
    if source.path not in MAY_CATCH_ALL:
        yield from catches_of_all(source)


def catches_of_all(source: Source) -> Complaints:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            if any(kind is None or ast.unparse(kind) in {"Exception", "BaseException"} for kind in caught):
                yield f"{source.path}:{node.lineno}: catches everything, and is no supervisor"


def functions_are_short(source: Source) -> Complaints:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{source.path}:{node.lineno}: {node.name} has {lines} lines"


def no_machine_is_named(source: Source) -> Complaints:
    for number, line in enumerate(source.text.splitlines(), 1):
        for found in (*MACHINE_PATH.finditer(line), *REGISTRY.finditer(line)):
            yield f"{source.path}:{number}: names {found[0]}, which is not everywhere"


def locks_say_what_not_where(source: Source) -> Complaints:
    for number, line in enumerate(source.text.splitlines(), 1):
        if PLACE_TO_FETCH_FROM.search(line):
            yield f"{source.path}:{number}: says where to fetch from"


def tests_do_not_sleep(source: Source) -> Complaints:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and last_name(node.func) == "sleep":
            is_a_mere_yield = bool(node.args) and ast.unparse(node.args[0]) == "0"
            if not is_a_mere_yield:
                yield f"{source.path}:{node.lineno}: sleeps; wait for what is to come"


def tests_do_not_mock(source: Source) -> Complaints:
    for node in ast.walk(source.tree):
        match node:
            case ast.Import(names=names):
                found = MOCKS & {alias.name for alias in names}
            case ast.ImportFrom(module=module, names=names):
                found = MOCKS & {module, *(f"{module}.{alias.name}" for alias in names)}
            case ast.arg(arg=name) | ast.Attribute(attr=name) | ast.Name(id=name):
                found = PATCHERS & {name}
            case _:
                continue
        for name in sorted(found):
            yield f"{source.path}: uses {name}; hand in a fake"


def last_name(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]
