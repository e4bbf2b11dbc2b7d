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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.planted import PLANTED, Planted

ROOT = Path(__file__).resolve().parents[2]
WALL_S = 240


def copy_to(folder: Path) -> Path:
    """A copy of what the tests need."""
    for name in ("src", "tests", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".mypy_cache"))
        else:
            shutil.copy(source, folder / name)
    return folder


def run_tests(folder: Path, tests: Sequence[str]) -> int:
    """Exit status of pytest in the copy; its own sources come first on the path."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        ended = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, timeout=WALL_S, check=False)
    except subprocess.TimeoutExpired:
        return 1
    return ended.returncode


def plant(folder: Path, defect: Planted) -> None:
    """Put the defect in place; a text that does not stand there exactly once is a mistake of the suite."""
    path = folder / "src" / "penstock" / defect.file
    text = path.read_text()
    times = text.count(defect.old)
    assert times == 1, f"{defect.name}: the text stands {times} times in {defect.file}"
    path.write_text(text.replace(defect.old, defect.new))


def is_caught(defect: Planted) -> tuple[Planted, bool, str]:
    """Whether the named tests go red with the defect in place."""
    with tempfile.TemporaryDirectory(prefix="penstock-mutant-") as scratch:
        folder = copy_to(Path(scratch))
        try:
            plant(folder, defect)
        except AssertionError as mistake:
            return defect, False, str(mistake)
        status = run_tests(folder, defect.tests)
        return defect, status == 1, f"pytest exit {status}"


def main() -> int:
    """Run the suite; exit 1 if a defect was not caught or the unplanted tests are red."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="only these")
    chosen = parser.parse_args()
    wanted = [d for d in PLANTED if not chosen.names or d.name in chosen.names]
    tests = sorted({t for d in wanted for t in d.tests})
    with tempfile.TemporaryDirectory(prefix="penstock-mutant-") as scratch:
        if run_tests(copy_to(Path(scratch)), tests) != 0:
            print("the tests are red without any defect")
            return 1
    with ThreadPoolExecutor(max_workers=2) as pool:
        answers = list(pool.map(is_caught, wanted))
    for defect, caught, why in answers:
        print(f"{'caught ' if caught else 'MISSED '} {defect.name}: {defect.what}" + ("" if caught else f" ({why})"))
    passed = sum(1 for _, caught, _ in answers if caught)
    print(f"mutants: {passed} passed, {len(answers) - passed} failed")
    return 0 if answers and passed == len(answers) else 1


if __name__ == "__main__":
    sys.exit(main())
