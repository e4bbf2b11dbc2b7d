"""How long a run of one test takes by vitest, cold and by the warm server, alternating in one run."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
from pathlib import Path

from penstock.adapters import keeper
from penstock.adapters.processes import LocalProcesses
from penstock.adapters.sandbox_none import NoSandbox
from penstock.core.redgreen.test_id import TestId
from penstock.kernel.launching import Launcher
from penstock.kernel.runner import RunOrder, TestRunner
from penstock.kernel.runners.vitest_runner import VitestRunner, WarmVitestRunner
from penstock.ports import Checkout, Confinement

RUNS = 15
MODULES = 60
INSTALLED = Path(sys.prefix) / "javascript" / "node_modules"
TEST = TestId(runner="vitest", path="src/money.test.ts", chain=("taxes",))
TEST_FILE = """\
import { expect, test } from 'vitest'
import { tax } from './money'
test('taxes', () => { expect(tax(100)).toBe(7) })
"""


def lay_out(top: Path) -> None:
    """A project of some modules, one importing the next, and a test of the first."""
    (top / "src").mkdir(parents=True)
    (top / "package.json").write_text('{ "name": "money", "private": true, "type": "module" }\n')
    (top / "node_modules").symlink_to(INSTALLED)
    (top / TEST.path).write_text(TEST_FILE)
    (top / "src/part0.ts").write_text("export const value: number = 7\n")
    for n in range(1, MODULES):
        (top / f"src/part{n}.ts").write_text(f"export {{ value }} from './part{n - 1}'\n")
    source = f"import {{ value }} from './part{MODULES - 1}'\nexport const tax = (a: number) => a * value / 100\n"
    (top / "src/money.ts").write_text(source)


def launcher_in(place: Path) -> Launcher:
    """Unconfined, in `place/"tree"`."""
    for name in ("home", "scratch"):
        (place / name).mkdir()
    checkout = Checkout(path=str(place / "tree"), at=str(place / "tree"), commit="c" * 40, tree="t" * 40)
    kept = (sys.executable, "-I", "-S", keeper.__file__, str(os.getpid()), "--")
    return Launcher(
        processes=LocalProcesses(),
        sandbox=NoSandbox(),
        confinement=Confinement(checkout=checkout, home=str(place / "home")),
        scratch=place / "scratch",
        keeper=kept if sys.platform == "linux" else (),
    )


async def run_ms(runner: TestRunner) -> int:
    """Duration of one run, which must be green."""
    report = await runner.run(RunOrder(tests=(TEST,)))
    assert [outcome.verdict for outcome in report.outcomes] == ["green"], report
    return report.duration_ms


async def alternate(launcher: Launcher) -> tuple[int, list[int], list[int]]:
    """Duration of the run that starts the server, and then of cold and warm ones by turns."""
    cold, warm = VitestRunner(launcher), WarmVitestRunner(launcher)
    try:
        first = await run_ms(warm)
        pairs = [(await run_ms(cold), await run_ms(warm)) for _ in range(RUNS)]
    finally:
        await warm.close()
    return first, [one for one, _ in pairs], [other for _, other in pairs]


def measure_vitest() -> dict[str, float]:
    """Milliseconds cold and warm, and how many times the warm run is faster; nothing without the packages."""
    if not INSTALLED.is_dir():
        return {}
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        lay_out(Path(folder) / "tree")
        first, cold, warm = asyncio.run(alternate(launcher_in(Path(folder))))
    return {
        "vitest_first_ms": first,
        "vitest_cold_p50_ms": statistics.median(cold),
        "vitest_warm_p50_ms": statistics.median(warm),
        "vitest_warm_p95_ms": sorted(warm)[int(0.95 * (len(warm) - 1))],
        "vitest_speedup": round(statistics.median(cold) / statistics.median(warm), 1),
    }
