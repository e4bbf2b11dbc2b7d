"""Plant each defect in a copy of the sources and see a test go red.

A defect names a file, a text that stands there exactly once, what stands there instead, and the tests that must notice.
First the tests run on an unplanted copy: they must be green there, or the red would prove nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.defect import Planted, plant
from tests.mutants.planted import PLANTED

ROOT = Path(__file__).resolve().parents[2]
JOBS = 2
WALL_S = 240
UNPLANTED_WALL_S = 3_600
"""All tests of all selections, once."""
TEST_S = 20
"""Every test of the selections is far quicker: one that hangs has noticed too."""
GREEN, RED = 0, 1
"""What pytest exits with; anything else says nothing about the tests."""


@dataclass(frozen=True)
class Seen:
    """How the tests went in a copy."""

    status: int
    said: str
    seconds: float


def copy_to(folder: Path) -> Path:
    """A copy of what the tests need, with its compiled files: they know their sources by size and time."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def run_tests(folder: Path, tests: Sequence[str], *more: str, wall_s: int = WALL_S) -> Seen:
    """Run them in the copy; its own sources come first on the path."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "--tb=no",
        f"--timeout={TEST_S}",
        "-p",
        "no:cacheprovider",
        *more,
        *tests,
    ]
    begun = time.monotonic()
    try:
        ended = subprocess.run(words, cwd=folder, env=environment, capture_output=True, timeout=wall_s, check=False)
    except subprocess.TimeoutExpired:
        return Seen(RED, f"not done after {wall_s} s", wall_s)
    lines = ended.stdout.decode(errors="replace").splitlines()
    told = "; ".join([line for line in lines if line.startswith(("FAILED", "ERROR"))] + lines[-1:])
    return Seen(ended.returncode, f"exit {ended.returncode}: {told}", time.monotonic() - begun)


def run_planted(defect: Planted) -> Seen:
    """How the named tests go with the defect in place."""
    with tempfile.TemporaryDirectory(prefix="penstock-mutant-") as scratch:
        folder = copy_to(Path(scratch))
        try:
            plant(defect, folder / "src" / "penstock")
        except LookupError as mistake:
            return Seen(GREEN, str(mistake), 0)
        return run_tests(folder, defect.tests)


def main() -> int:
    """Run the suite; exit 1 if a defect was not caught or the unplanted tests are red."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="only these")
    chosen = parser.parse_args()
    wanted = [d for d in PLANTED if not chosen.names or d.name in chosen.names]
    tests = sorted({t for d in wanted for t in d.tests})
    with tempfile.TemporaryDirectory(prefix="penstock-mutant-") as scratch:
        without = run_tests(copy_to(Path(scratch)), tests, "-n", str(JOBS), wall_s=UNPLANTED_WALL_S)
    if without.status != GREEN:
        print(f"the tests are not green without any defect: {without.said}")
        return 1
    passed = 0
    with ThreadPoolExecutor(max_workers=JOBS) as pool:
        for defect, seen in zip(wanted, pool.map(run_planted, wanted), strict=True):
            is_caught = seen.status == RED
            passed += is_caught
            why = "" if is_caught else f" ({seen.said})"
            print(
                f"{'caught' if is_caught else 'MISSED'} {seen.seconds:5.1f} s  {defect.name}: {defect.what}{why}",
                flush=True,
            )
    print(f"mutants: {passed} passed, {len(wanted) - passed} failed")
    return 0 if wanted and passed == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
