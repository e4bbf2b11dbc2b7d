"""Doing it at another time: while tests run, after a command has ended, between a look and the next."""

from __future__ import annotations

import os
from pathlib import Path

from penstock.core.redgreen.policy import RedGreenLimits
from tests.bypass.claims import ASKED, NAME, RIGHT, TEST, WRONG
from tests.bypass.vector import Attack, Lands, Vector, Watched, is_altered, is_proven, is_stolen
from tests.bypass.writes import SCRIPT
from tests.integration.gate_world import MONEY, PROJECT

WAITS = "read line < ../go; echo 'X = 3  # stolen' >> app/money.py; echo done > ../done"
LATER: dict[str, str] = {
    "in the background": f"mkfifo ../go ../done; ({WAITS}) >/dev/null 2>&1 &",
    "in a session of its own": f'mkfifo ../go ../done; setsid sh -c "{WAITS}" >/dev/null 2>&1 &',
    "with no parent": f'mkfifo ../go ../done; (setsid nohup sh -c "{WAITS}" >/dev/null 2>&1 &) ; true',
    "with an open descriptor": "mkfifo ../go ../done; (exec 9>>app/money.py; read line < ../go; "
    "echo 'X = 3  # stolen' >&9; echo done > ../done) >/dev/null 2>&1 &",
}


def waking(command: str) -> Attack:
    """A process that lives on writes when it is woken."""

    async def attack(gate: Watched) -> None:
        await gate.shell(command)
        if not woken(gate.outside / "go"):
            gate.saw.add("blocked")
            return
        (gate.outside / "done").read_text()

    return attack


def woken(fifo: Path) -> bool:
    """Whether somebody listened at the pipe: opened to be read too, it would wait for ever for nobody."""
    for _ in range(TRIES_MAX):
        try:
            end = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            if not is_alive(fifo):
                return False
            continue
        os.write(end, b"go\n")
        os.close(end)
        return True
    return False


TRIES_MAX = 1_000_000


def is_alive(fifo: Path) -> bool:
    """Whether a process still works in the tree beside the pipe."""
    tree = str(fifo.parent / "tree")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == tree:
                return True
        except OSError:
            continue
    return False


WRITES = (
    "from pathlib import Path\n\nfrom app import money\n\n\ndef test_triple():\n    path = Path(money.__file__)\n"
    + ("    path.write_text(path.read_text() + 'X = 3  # stolen\\n')\n    assert money.double(2) == 5\n")
)
SPAWNS = "import subprocess\n\nfrom app import money\n\n\ndef test_triple():\n" + (
    "    subprocess.run(['sh', '-c', 'echo \"X = 3  # stolen\" >> app/money.py'])\n    assert money.double(2) == 5\n"
)
SWAPS = "import os\n\nfrom app import money\n\n\ndef test_triple():\n    os.rename('app', '../was')\n" + (
    "    os.mkdir('app')\n    open('app/money.py', 'w').write('X = 3  # stolen')\n    assert money.double(2) == 5\n"
)
LASTS = WRITES.replace("    path = Path", "    import atexit\n\n    path = Path").replace(
    "    path.write_text(path.read_text() + 'X = 3  # stolen\\n')\n",
    "    atexit.register(path.write_text, path.read_text() + 'X = 3  # stolen\\n')\n",
)
GOOD = f"from pathlib import Path\n\nPath('app/money.py').write_text({RIGHT!r})\n"
REPAIRS = "import importlib\nimport os\nfrom pathlib import Path\n\nfrom app import money\n\n\ndef test_triple():\n" + (
    "    path = Path(money.__file__)\n    if os.path.exists('../go'):\n"
    "        path.write_text(path.read_text().replace('return 5', 'return 6'))\n"
    "        importlib.reload(money)\n    assert money.triple(2) == 6\n"
)
LINGERS = "import subprocess\n\nfrom app import money\n\n\ndef test_triple():\n" + (
    "    subprocess.Popen(['setsid', 'sh', '-c', \"{waits}\"])\n    assert money.double(2) == 5\n"
).replace("{waits}", WAITS.replace("'", '\\"').replace('\\"X', "'X").replace('stolen\\"', "stolen'"))
LOOPS = TEST.replace(
    "    assert money.triple(2) == 6", "    value = money.triple(2)\n    while value != 6:\n        pass"
)


def run_of(test: str) -> Attack:
    async def attack(gate: Watched) -> None:
        await gate.write("tests/test_triple.py", test)
        await gate.call("run_tests", tests=[NAME])

    return attack


async def a_process_of_a_test(gate: Watched) -> None:
    await gate.shell("mkfifo ../go ../done")
    await gate.write("tests/test_triple.py", LINGERS)
    await gate.call("run_tests", tests=[NAME])
    if woken(gate.outside / "go"):
        (gate.outside / "done").read_text()
    else:
        gate.saw.add("blocked")


async def repaired_while_it_runs(gate: Watched) -> None:
    """The test itself makes the code right for as long as it runs."""
    await gate.write("tests/test_triple.py", REPAIRS)
    await gate.call("run_tests", tests=[NAME])
    await gate.write("app/money.py", WRONG)
    await gate.shell("touch ../go")


async def by_a_bystander(gate: Watched) -> None:
    """Another test writes while the turn ends, and the red of the first is still in force."""
    await gate.call("run_tests", tests=[NAME])
    await gate.write("app/money.py", WRONG.replace("  # stolen", ""))
    await gate.write("tests/test_other.py", WRITES.replace("triple", "other").replace("== 5", "== 4"))


async def between_two_looks(gate: Watched) -> None:
    """A change that is undone and made again, so that each look sees what it saw."""
    await gate.shell(f"cp -p app/money.py ../kept; {SCRIPT}; cp app/money.py ../evil; cp -p ../kept app/money.py")
    await gate.shell("cat ../evil > app/money.py; touch -r ../kept app/money.py")


async def by_hand_beside_the_tools(gate: Watched) -> None:
    """Somebody writes without any tool, and then a tool is called for another file."""
    (gate.top / "app/money.py").write_text(MONEY + "X = 3  # stolen\n")
    await gate.write("tests/test_more.py", "X = 1\n")


async def while_a_test_loops(gate: Watched) -> None:
    await gate.write("tests/test_triple.py", LOOPS)
    await gate.call("run_tests", tests=[NAME])
    await gate.write("app/money.py", WRONG)


def timed(name: str, attack: Attack, right: str, lands: Lands = is_altered, **more: object) -> Vector:
    return Vector(name, "time", right, attack, lands, **more)  # type: ignore[arg-type]


VECTORS: tuple[Vector, ...] = (
    *(timed(f"a process that writes later, {n}", waking(c), "blocked", control="bare") for n, c in LATER.items()),
    timed("a test that writes production code", run_of(WRITES), "restored", runs=True),
    timed("a process of a test that writes", run_of(SPAWNS), "restored", runs=True),
    timed("a test that swaps the package", run_of(SWAPS), "restored", runs=True),
    timed(
        "a test that writes as the runner ends",
        run_of(LASTS.replace("atexit.register(", "(lambda f, t: f(t))(")),
        "restored",
        runs=True,
    ),
    timed("code at the head of a test file", run_of(GOOD), "restored", runs=True),
    timed(
        "a test that repairs the code while it runs",
        repaired_while_it_runs,
        "marked",
        is_proven,
        control="believed",
        files=PROJECT,
    ),
    timed("a test that writes as the turn ends", by_a_bystander, "restored", is_stolen, control="run", files=ASKED),
    timed("a change between two looks", between_two_looks, "restored"),
    timed("a write beside the tools", by_hand_beside_the_tools, "restored", is_stolen),
    timed(
        "a test that loops until time is over",
        while_a_test_loops,
        "marked",
        is_proven,
        control="stands",
        limits=RedGreenLimits(mutants_max=0, test_wall_ms_max=2_000, suite_wall_ms_max=2_000),
        files=ASKED,
    ),
)
