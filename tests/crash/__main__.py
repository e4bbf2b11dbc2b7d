"""`kill -9` of the run at random moments of the demo, continued each time.

After each: the same final tree and ticket states as an uninterrupted run, nothing landed twice, a sealed proof that
holds, and no process left. Moments are drawn from one seed, printed, and taken back by `--seed`.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

PENSTOCK = (sys.executable, "-m", "penstock.cli")
RUN_WALL_S = 180


@dataclass(frozen=True)
class Final:
    """What a finished demo must have in common with every other one."""

    tree: str
    states: tuple[tuple[str, str], ...]
    landed: tuple[str, ...]
    proof_holds: bool


def build(place: Path) -> None:
    """Lay out the demo's repository without running it."""
    subprocess.run([*PENSTOCK, "demo", "--dir", str(place), "--build-only"], check=True, capture_output=True)


def start(place: Path) -> subprocess.Popen[bytes]:
    """Begin or continue the run."""
    arguments = [*PENSTOCK, "-C", str(place), "run", "--seed", "1", "--quiet"]
    return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(place: Path) -> str:
    """Continue to the end; what was wrong, or an empty text."""
    process = start(place)
    try:
        _, errors = process.communicate(timeout=RUN_WALL_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "the continued run did not end"
    return "" if process.returncode == 0 else f"exit {process.returncode}: {errors.decode(errors='replace')[-400:]}"


def look(place: Path) -> Final:
    """The final state of a finished demo, from git and from the report."""
    report = json.loads(_ask(*PENSTOCK, "-C", str(place), "report", "--json"))
    branch = "penstock/main"
    trailers = _ask("git", "-C", str(place), "log", "--format=%(trailers:key=Penstock-Ticket,valueonly)", branch)
    landed = tuple(sorted(line.split()[0] for line in trailers.splitlines() if line.strip()))
    return Final(
        tree=_ask("git", "-C", str(place), "rev-parse", f"{branch}^{{tree}}").strip(),
        states=tuple(sorted((t["id"], t["state"]) for t in report["tickets"])),
        landed=landed,
        proof_holds=report["proof"]["holds"],
    )


def _ask(*arguments: str) -> str:
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


def survivors(place: Path) -> list[str]:
    """Command lines of processes that have to do with `place`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            where = str((entry / "cwd").readlink())
        except OSError:
            continue
        if str(place) in line or where.startswith(str(place)):
            found.append(line.strip()[:200])
    return found


def gone(place: Path, within_s: float) -> list[str]:
    """Wait, at most `within_s`, until nothing of `place` is left; what is left then."""
    deadline = time.monotonic() + within_s
    left = survivors(place)
    while left and time.monotonic() < deadline:
        left = survivors(place)
    return left


def crash_once(number: int, moment_s: float, expected: Final, root: Path) -> str:
    """One demo, killed at `moment_s`, continued; what was wrong, or an empty text."""
    place = root / f"demo-{number}"
    build(place)
    process = start(place)
    try:
        process.wait(timeout=moment_s)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    left = gone(place, within_s=5)
    if left:
        return f"left behind after the kill: {left}"
    wrong = finish(place) if process.returncode != 0 else ""
    if wrong:
        return wrong
    final = look(place)
    if final != expected:
        return f"differs: {final} instead of {expected}"
    twice = [ticket for ticket, n in Counter(final.landed).items() if n > 1]
    return f"landed twice: {twice}" if twice else ""


def main() -> int:
    """Run the sweep; exit 1 if one moment failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    draws = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory(prefix="penstock-crash-") as scratch:
        root = Path(scratch)
        build(root / "whole")
        begun = time.monotonic()
        wrong = finish(root / "whole")
        if wrong:
            print(f"the uninterrupted demo failed: {wrong}")
            return 1
        length_s = time.monotonic() - begun
        expected = look(root / "whole")
        moments = [draws.uniform(0.05, length_s) for _ in range(chosen.count)]
        with ThreadPoolExecutor(max_workers=2) as pool:
            answers = list(pool.map(lambda n: crash_once(n, moments[n], expected, root), range(chosen.count)))
    for number, answer in enumerate(answers):
        if answer:
            print(f"moment {number} at {moments[number]:.3f} s: {answer}")
    passed = sum(1 for a in answers if not a)
    print(f"crash: {passed} passed, {len(answers) - passed} failed (demo of {length_s:.1f} s, seed {chosen.seed})")
    return 0 if passed == len(answers) and answers else 1


if __name__ == "__main__":
    sys.exit(main())
