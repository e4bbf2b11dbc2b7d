"""How long a verdict takes by pytest on a project that imports pandas: warm and cold, turn by turn, in one run.

`python` is that of an environment with pandas and pytest; without one it is made for the occasion, and where that
cannot be done nothing is measured. `pytest-fast` and `pytest-zygote` are measured beside ours where they can be
installed: the first runs the whole suite of 205 rows, as it has no selection, the second one test in a fresh process.
Each run of theirs must be green and have run so many, or there is no figure.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from penstock.adapters import keeper
from penstock.adapters.processes import LocalProcesses
from penstock.adapters.sandbox_none import NoSandbox
from penstock.core.redgreen.test_id import TestId
from penstock.kernel.launching import Launcher
from penstock.kernel.runner import RunOrder
from penstock.kernel.runners.pytest_runner import PytestRunner
from penstock.ports import Checkout, Confinement

WARM_TURNS = 5
"""For each cold run."""
COLD_RUNS = {1: 8, 5: 8, 200: 4}
FLIPS = int(os.environ.get("PENSTOCK_FLIPS", "1000"))
OTHERS = ("pytest-fast", "pytest-zygote")
OTHER_WALL_S = 60
PASSED = re.compile(r"\b(\d+) passed")

FRAMES = """\
import pandas as pd


def total(values):
    return int(pd.DataFrame({"v": values})["v"].sum())
"""
FEW = "import pytest\nfrom frames import total\n\n\n" + "".join(
    f"def test_{n}():\n    assert total([{n}, 1]) == {n + 1}\n\n\n" for n in range(5)
)
MANY = """\
import pytest
from frames import total


@pytest.mark.parametrize("n", range(200))
def test_many(n):
    assert total([n]) == n
"""


def asked(path: str, *names: str, param: str | None = None) -> tuple[TestId, ...]:
    return tuple(TestId(runner="pytest", path=path, chain=(name,), param=param) for name in names)


ASKED = {
    1: asked("tests/test_few.py", "test_0"),
    5: asked("tests/test_few.py", *(f"test_{n}" for n in range(5))),
    200: tuple(test for n in range(200) for test in asked("tests/test_many.py", "test_many", param=str(n))),
}


def measure(python: str = "") -> dict[str, float]:
    """Milliseconds for 1, 5 and 200 ids; empty where pandas cannot be had."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as scratch:
        place = Path(scratch)
        python = python or make_environment(place / "venv")
        if not python:
            print("skipped, pandas cannot be installed here", flush=True)
            return {}
        lay_out(place / "tree")
        return {**asyncio.run(ours(place, python)), **others(place / "tree", python)}


def make_environment(venv: Path) -> str:
    """The interpreter of a new environment with pandas; empty where there is none to be had."""
    python = str(venv / "bin" / "python")
    made = subprocess.run([sys.executable, "-m", "venv", str(venv)], check=False).returncode == 0
    if not made or not install(python, "pandas", "pytest"):
        return ""
    for other in OTHERS:
        install(python, other)
    return python


def install(python: str, *packages: str) -> bool:
    """Whether they could be installed."""
    words = [python, "-m", "pip", "install", "--quiet", *packages]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def lay_out(top: Path) -> None:
    """The project."""
    (top / "tests").mkdir(parents=True)
    for path, text in {"frames.py": FRAMES, "tests/test_few.py": FEW, "tests/test_many.py": MANY}.items():
        (top / path).write_text(text)
    (top / "pytest.ini").write_text("[pytest]\ntestpaths = tests\npythonpath = .\n")


def launcher_in(place: Path) -> Launcher:
    """Unconfined, in `place/"tree"`."""
    for name in ("home", "scratch"):
        (place / name).mkdir(exist_ok=True)
    tree = str(place / "tree")
    checkout = Checkout(path=tree, at=tree, commit="c" * 40, tree="t" * 40)
    return Launcher(
        processes=LocalProcesses(),
        sandbox=NoSandbox(),
        confinement=Confinement(checkout=checkout, home=str(place / "home")),
        scratch=place / "scratch",
        keeper=keeper_words(),
        env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )


def keeper_words() -> tuple[str, ...]:
    """What keeps the fork server's tree together."""
    return (sys.executable, "-I", "-S", keeper.__file__, str(os.getpid()), "--") if sys.platform == "linux" else ()


async def ours(place: Path, python: str) -> dict[str, float]:
    """Warm and cold in turns."""
    warm, cold = (PytestRunner(launcher_in(place), (python,), warm=is_warm) for is_warm in (True, False))
    try:
        begun = time.perf_counter()
        await verdict_ms(warm, 1, is_warm=True)
        told: dict[str, float] = {"start_ms": round((time.perf_counter() - begun) * 1_000)}
        for count, turns in COLD_RUNS.items():
            colds, warms = [], []
            for _ in range(turns):
                colds.append(await verdict_ms(cold, count, is_warm=False))
                warms += [await verdict_ms(warm, count, is_warm=True) for _ in range(WARM_TURNS)]
            told |= figures(count, warms, colds)
        return {**told, **(await stale(place, warm))}
    finally:
        await warm.close()


async def verdict_ms(runner: PytestRunner, count: int, *, is_warm: bool) -> float:
    """One run; every test must be green, and warm where it should be."""
    begun = time.perf_counter()
    report = await runner.run(RunOrder(tests=ASKED[count]))
    assert report.is_warm == is_warm and {outcome.verdict for outcome in report.outcomes} == {"green"}, report
    return (time.perf_counter() - begun) * 1_000


def figures(count: int, warms: Sequence[float], colds: Sequence[float]) -> dict[str, float]:
    """Median, the 95th of a hundred, and how many times the median of cold is that of warm."""
    warm, cold = statistics.median(warms), statistics.median(colds)
    return {
        f"warm_{count}_p50_ms": round(warm, 1),
        f"warm_{count}_p95_ms": round(statistics.quantiles(warms, n=20)[-1], 1),
        f"cold_{count}_p50_ms": round(cold, 1),
        f"warm_{count}_times_faster": round(cold / warm, 1),
    }


async def stale(place: Path, runner: PytestRunner) -> dict[str, float]:
    """Wrong verdicts in so many edits of the same size, each within a second of the one before."""
    wrong, path = 0, place / "tree" / "tests" / "test_flip.py"
    test = TestId(runner="pytest", path="tests/test_flip.py", chain=("test_flip",))
    for turn in range(FLIPS):
        path.write_text(f"def test_flip():\n    assert {turn % 2}\n")
        report = await runner.run(RunOrder(tests=(test,)))
        wrong += report.outcomes[0].verdict != ("red_assert", "green")[turn % 2]
    path.unlink()
    return {f"stale_verdicts_in_{FLIPS}": wrong}


def others(top: Path, python: str) -> dict[str, float]:
    """The whole command, as a person would type it."""
    bin_ = Path(python).parent
    told: dict[str, float] = {}
    zygote = [python, "-B", "-m", "pytest", "-q", "--workers", "2", "tests/test_few.py::test_0"]
    fast = [str(bin_ / "pytest-fast"), "--address", str(top.parent / "fast.sock"), "--ttl", "30"]
    for name, words, tests, is_there in (
        ("zygote_1_p50_ms", zygote, 1, install(python, "pytest-zygote")),
        ("fast_suite_p50_ms", fast, 205, (bin_ / "pytest-fast").exists()),
    ):
        if not is_there:
            print(f"{name} skipped, it cannot be installed here", flush=True)
            continue
        try:
            told[name] = round(statistics.median(times_ms(partial(run, words, top, tests), 6)[1:]), 1)
        except NotGreen as why:
            print(f"{name} skipped, {why}", flush=True)
    return told


class NotGreen(Exception):
    """What is compared did not do the work; the text says what it did."""


def run(words: Sequence[str], top: Path, tests: int) -> None:
    """To the end, which must be that so many tests passed and the command says so. Raises `NotGreen`."""
    try:
        ran = subprocess.run(words, cwd=top, capture_output=True, text=True, check=False, timeout=OTHER_WALL_S)
    except subprocess.TimeoutExpired as late:
        raise NotGreen(f"it was not done after {OTHER_WALL_S} s") from late
    passed = PASSED.findall(ran.stdout)
    if ran.returncode or passed != [str(tests)]:
        last = "; ".join(f"{ran.stdout}\n{ran.stderr}".strip().splitlines()[-2:])
        raise NotGreen(f"it ended with {ran.returncode}, {passed} of {tests} tests passed: {last[-200:]}")


def times_ms(work: Callable[[], object], count: int) -> list[float]:
    """How long each of so many takes."""
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        work()
        times.append((time.perf_counter() - begun) * 1_000)
    return times
