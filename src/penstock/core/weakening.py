"""Which of base's tests a candidate changed: compared as syntax trees, so that layout, comments and order are free.

A test is more than its function: what can disarm it counts as part of it. That is its decorators and default
arguments; decorators, bases, marks and set-up of its classes; the module's marks and set-up; the fixtures of this file
that it uses, one through another, or that apply by themselves; the conditions it is defined under; and top-level
statements that name it (`test_a = skip(test_a)`). Helpers are not part of it: base's own files judge those (look
`judge`), and so they do whatever a `conftest.py` adds.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

SETUP_NAMES = frozenset(
    {
        *("setup", "teardown", "setup_module", "teardown_module", "setup_function", "teardown_function"),
        *("setup_class", "teardown_class", "setup_method", "teardown_method", "setUpModule", "tearDownModule"),
        *("setUp", "tearDown", "setUpClass", "tearDownClass", "asyncSetUp", "asyncTearDown"),
    }
)
"""Functions that pytest and unittest call round a test, by their name alone."""

SWITCHES = frozenset({"pytestmark", "__test__", "pytest_generate_tests", "load_tests"})
"""Names that decide over all tests of a module or class."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def changed_tests(path: str, base_source: bytes, candidate_source: bytes | None) -> tuple[str, ...]:
    """Ids (`tests/test_a.py::TestX::test_b`) of base's tests that changed or vanished, in base's order.

    `candidate_source` None: the file was deleted. A fixture that no test of the file uses stands for itself
    (`tests/conftest.py::db`). A base that is no Python is compared as text, and the file itself is named.
    """
    was = fingerprints(base_source) if path.endswith(".py") else None
    if was is None:
        return (path,) if candidate_source is None or _is_other_text(path, base_source, candidate_source) else ()
    now = fingerprints(candidate_source) if candidate_source is not None else None
    return tuple(f"{path}::{name}" for name, fingerprint in was.items() if (now or {}).get(name) != fingerprint)


def _is_other_text(path: str, base: bytes, candidate: bytes) -> bool:
    """In other languages a change cannot be told from an addition: only base's judge can tell."""
    return path.endswith(".py") and base.split() != candidate.split()


def parse(source: bytes) -> ast.Module | None:
    """The syntax tree of hostile source, None where there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def fingerprints(source: bytes) -> dict[str, str] | None:
    """Everything decisive about each test, by its id within the file. None: no Python, or too deep to be compared."""
    tree = parse(source)
    try:
        return _fingerprints(tree) if tree is not None else None
    except RecursionError:
        return None


# --- scopes: what a module or class defines, and under which conditions ---------------------------------------------


@dataclass(frozen=True)
class Scope:
    """Definitions of one module or class body, each with the conditions it stands under; the last of a name wins."""

    functions: dict[str, tuple[str, Function]] = field(default_factory=dict)
    classes: dict[str, tuple[str, ast.ClassDef]] = field(default_factory=dict)
    statements: list[tuple[str, ast.stmt]] = field(default_factory=list)


def read_scope(body: Sequence[ast.stmt]) -> Scope:
    """What `body` defines, also inside its `if`, `try` and `with` blocks."""
    scope = Scope()
    for condition, statement in flatten(body, ""):
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                scope.functions[statement.name] = (condition, statement)
            case ast.ClassDef():
                scope.classes[statement.name] = (condition, statement)
            case ast.Import() | ast.ImportFrom():
                pass
            case _:
                scope.statements.append((condition, statement))
    return scope


def flatten(body: Sequence[ast.stmt], condition: str) -> Iterator[tuple[str, ast.stmt]]:
    """Each statement, also inside blocks, with the conditions that it stands under."""
    for statement in body:
        match statement:
            case ast.If():
                test = f"{condition}if {ast.dump(statement.test)}:"
                yield from flatten(statement.body, test)
                yield from flatten(statement.orelse, f"not {test}")
            case ast.Try():
                yield from flatten(statement.body, f"{condition}try:")
                for handler in statement.handlers:
                    yield from flatten(handler.body, f"{condition}except:")
                yield from flatten([*statement.orelse, *statement.finalbody], f"{condition}after:")
            case ast.With() | ast.For() | ast.While():
                yield from flatten(statement.body, f"{condition}{type(statement).__name__}:")
            case _:
                yield condition, statement


# --- fingerprints ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Context:
    """What the tests of one scope share: the scopes round them, what those decree, and the fixtures they ask for."""

    scopes: tuple[Scope, ...]
    chain: tuple[str, ...] = ()
    decreed: str = ""
    asked: tuple[str, ...] = ()


def _fingerprints(tree: ast.Module) -> dict[str, str]:
    module = read_scope(tree.body)
    prints: dict[str, str] = {}
    used: set[str] = set()
    for context in contexts(context_of(module)):
        for name, (condition, function) in context.scopes[-1].functions.items():
            if name.startswith("test") and not is_fixture(function):
                fixtures = fixtures_of(function, context)
                used |= set(fixtures)
                asked = sorted(c + dump(f) for c, f in fixtures.values())
                parts = [condition, dump(function), context.decreed, *asked]
                prints["::".join((*context.chain, name))] = "\n".join(
                    (*parts, *(c + ast.dump(s) for c, s in naming(name, context)))
                )
    lone = {n: f for n, f in module.functions.items() if is_fixture(f[1]) and _fixture_name(f[1]) not in used}
    return prints | {name: condition + dump(function) for name, (condition, function) in lone.items()}


def context_of(module: Scope) -> Context:
    """What all tests of a module share."""
    return Context(scopes=(module,), decreed=switches(module), asked=marked(module))


def contexts(context: Context) -> Iterator[Context]:
    """The context itself, and those of all classes in it."""
    yield context
    for name, (condition, node) in context.scopes[-1].classes.items():
        inner = read_scope(node.body)
        yield from contexts(
            Context(
                scopes=(*context.scopes, inner),
                chain=(*context.chain, name),
                decreed="\n".join([context.decreed, condition, _head(node), switches(inner)]),
                asked=(*context.asked, *strings_in(*node.decorator_list), *marked(inner)),
            )
        )


def naming(name: str, context: Context) -> list[tuple[str, ast.stmt]]:
    """Plain statements that rebind or touch the test, or the class it is in."""
    outer = context.chain[0] if context.chain else name
    pairs = ((outer, context.scopes[0]), (name, context.scopes[-1]))
    return [(c, s) for wanted, scope in pairs for c, s in scope.statements if wanted in names_in(s)]


def _head(node: ast.ClassDef) -> str:
    return "|".join(ast.dump(part) for part in (*node.decorator_list, *node.bases, *node.keywords))


def switches(scope: Scope) -> str:
    """Marks, switches and set-up functions of a module or class."""
    marks = [c + ast.dump(s) for c, s in scope.statements if SWITCHES & _assigned(s)]
    setups = [c + dump(f) for n, (c, f) in sorted(scope.functions.items()) if n in SETUP_NAMES | SWITCHES]
    return "\n".join(marks + setups)


def marked(scope: Scope) -> tuple[str, ...]:
    """Strings in the scope's `pytestmark`: `usefixtures` names fixtures so."""
    return strings_in(*(s for _, s in scope.statements if SWITCHES & _assigned(s)))


def _assigned(statement: ast.stmt) -> set[str]:
    return {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def names_in(node: ast.AST) -> set[str]:
    """Every bare name that is read or bound anywhere below `node`."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def strings_in(*nodes: ast.AST) -> tuple[str, ...]:
    """Every string literal below `nodes`."""
    literals = (n for node in nodes for n in ast.walk(node) if isinstance(n, ast.Constant))
    return tuple(n.value for n in literals if isinstance(n.value, str))


def dump(function: Function) -> str:
    """The function without its places and its docstring."""
    return f"{type(function).__name__} {function.name}|{dump_unnamed(function)}"


def dump_unnamed(function: Function) -> str:
    """The same without its name."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    parts = (function.args, *function.decorator_list, *body)
    return "|".join(ast.dump(part) for part in parts)


# --- fixtures -------------------------------------------------------------------------------------------------------


def is_fixture(function: Function) -> bool:
    """Is it decorated with `fixture`, `pytest.fixture`, `pytest_asyncio.fixture`, called or not?"""
    return any(_last_name(d).endswith("fixture") for d in function.decorator_list)


def _last_name(decorator: ast.expr) -> str:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return ast.unparse(called).rpartition(".")[2]


def fixtures_of(function: Function, context: Context) -> dict[str, tuple[str, Function]]:
    """Each fixture of this file that `function` uses, one through another, or that applies by itself."""
    found: dict[str, tuple[str, Function]] = {}
    visible = {_fixture_name(f): (c, f) for s in context.scopes for c, f in s.functions.values() if is_fixture(f)}
    wanted = [*asked_for(function), *context.asked, *(n for n, (_, f) in visible.items() if _is_autouse(f))]
    while wanted:
        name = wanted.pop()
        if name in visible and name not in found:
            found[name] = visible[name]
            wanted += asked_for(visible[name][1])
    return found


def _fixture_name(function: Function) -> str:
    """Its own, or the one that `@fixture(name=...)` gives."""
    for keyword in _keywords(function):
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value)
    return function.name


def _is_autouse(function: Function) -> bool:
    return any(k.arg in ("autouse", None) and ast.dump(k.value) != "Constant(value=False)" for k in _keywords(function))


def _keywords(function: Function) -> list[ast.keyword]:
    return [k for d in function.decorator_list if isinstance(d, ast.Call) for k in d.keywords]


def asked_for(function: Function) -> tuple[str, ...]:
    """Names that a test or fixture asks for: its arguments, and the strings of its decorators (`usefixtures`)."""
    arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return (*(a.arg for a in arguments), *strings_in(*function.decorator_list))
