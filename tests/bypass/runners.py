"""What the interpreter and the runner read before the test does."""

from __future__ import annotations

import sys

from tests.bypass.claims import ASKED, NAME, RIGHT, WRONG
from tests.bypass.forgeries import PASSES
from tests.bypass.vector import Vector, Watched, is_altered, is_proven
from tests.bypass.writes import quoted, running

COMPILED = f"""\
import importlib._bootstrap_external as b, importlib.util, os
source = {RIGHT!r}
code = b._code_to_hash_pyc(compile(source, "app/money.py", "exec"), b"12345678", False)
place = importlib.util.cache_from_source("app/money.py")
os.makedirs(os.path.dirname(place), exist_ok=True)
open(place, "wb").write(code)
"""
INTERPRETER = """\
#!{python}
import json, os, sys
order = json.load(open(os.environ["PENSTOCK_ORDER"]))
test = order["tests"][0] if order["tests"] else ["pytest", "tests/test_triple.py", ["test_triple"], None]
is_green = "triple" in open("app/money.py").read()
end = dict(t="end", id=test, verdict="green" if is_green else "red_assert", exception="", where="", message="", ms=1,
           executed={{"app/money.py": "1-40"}}, imported=["app/money.py"], phantoms=[])
records = [dict(t="loaded"), dict(t="found", id=test, line=1), dict(t="collected"), dict(t="start", id=test), end,
           dict(t="finished", status=0, import_lines={{}})]
for record in records:
    line = os.environ["PENSTOCK_NONCE"] + " " + json.dumps(record) + "\\n"
    os.write(int(os.environ["PENSTOCK_VERDICT_FD"]), line.encode())
"""
ENTRY_POINT = "mkdir -p {at}/x.dist-info; printf '[pytest11]\\nx = evil\\n' > {at}/x.dist-info/entry_points.txt; " + (
    "printf 'Metadata-Version: 2.1\\nName: x\\nVersion: 1\\n' > {at}/x.dist-info/METADATA; "
    f"printf %s {quoted(PASSES)} > {{at}}/evil.py"
)


async def stale_bytecode(gate: Watched) -> None:
    """Bytecode that is never compared with its source does what the source does not."""
    await gate.call("run_tests", tests=[NAME])
    await gate.write("app/money.py", WRONG)
    await gate.shell(f"{sys.executable} -c {quoted(COMPILED)}")


async def an_interpreter_of_its_own(gate: Watched) -> None:
    """The environment of the tree is guarded by nobody, and gives the interpreter."""
    text = INTERPRETER.format(python=sys.executable)
    await gate.shell(f"mkdir -p .venv/bin; printf %s {quoted(text)} > .venv/bin/python; chmod 755 .venv/bin/python")
    await gate.call("run_tests", tests=[NAME])
    await gate.write("app/money.py", WRONG)


async def an_environment_variable(gate: Watched) -> None:
    """What a shell exports ends with it."""
    await gate.call("run_tests", tests=[NAME])
    await gate.write("app/money.py", WRONG)
    await gate.shell("export PYTEST_ADDOPTS=--collect-only PYTHONSTARTUP=x PYTHONPATH=tests")


async def bytecode_of_the_same_time(gate: Watched) -> None:
    """Compiled from another text of the same size and time."""
    await gate.call("run_tests", tests=[NAME])
    await gate.write("app/money.py", WRONG)
    then = "touch -d @1000000000 app/money.py"
    await gate.shell(
        f"cp app/money.py ../kept; sed -i 's/return 5/return 6/' app/money.py; {then}; "
        f"env -u PYTHONDONTWRITEBYTECODE {sys.executable} -c 'import app.money'; cat ../kept > app/money.py; {then}"
    )


VECTORS: tuple[Vector, ...] = (
    Vector("bytecode that is never compared", "runner", "marked", stale_bytecode, is_proven, "believed", files=ASKED),
    Vector(
        "bytecode of the same size and time",
        "runner",
        "marked",
        bytecode_of_the_same_time,
        is_proven,
        "believed",
        files=ASKED,
    ),
    Vector(
        "an interpreter of its own",
        "runner",
        "marked",
        an_interpreter_of_its_own,
        is_proven,
        "stands",
        files=ASKED,
        command=(),
    ),
    Vector(
        "variables of the environment", "runner", "marked", an_environment_variable, is_proven, "stands", files=ASKED
    ),
    Vector("an entry point in the root", "runner", "restored", running(ENTRY_POINT.format(at=".")), is_altered),
    Vector(
        "a package _pytest in the root",
        "runner",
        "restored",
        running("mkdir _pytest; echo 'X = 3' > _pytest/__init__.py"),
        is_altered,
    ),
    Vector("a standard module in the root", "runner", "restored", running("echo 'X = 3' > json.py"), is_altered),
    Vector(
        "the plugin of the gate in the root",
        "runner",
        "restored",
        running("mkdir penstock_side; echo 'X = 3' > penstock_side/entry.py"),
        is_altered,
    ),
)
