"""Replays a test-driven history through the gate; or flips a file within one second, and looks for stale verdicts."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from penstock.core.redgreen.policy import RedGreenLimits
from tests.integration.gate_world import open_gate
from tests.replay.feature_story import FeatureStory
from tests.replay.features import FEATURES, START
from tests.replay.flips import flip
from tests.replay.history import History
from tests.replay.packages import PACKAGES, NotThere, unpack
from tests.replay.player import Player, Score
from tests.replay.story import Story

NAMES = ("features", *PACKAGES)
LIMITS = RedGreenLimits(mutants_max=0)
EXEMPT = ("*.md", "**/*.txt", "**/*.json")
"""Data, as an honest repository declares it."""
COLD_PART = 25
"""One flip in so many is tried cold, too."""
FALSE_PERCENT_MAX = 1.0


async def replay(name: str, commits: int, seed: int, place: Path, sdists: Path, warm: bool, score: Score) -> None:
    """Play one package, until `commits` are played in all."""
    chance = random.Random(f"{seed}-{name}")
    history = History(unpack(PACKAGES[name], sdists), place / "traced" / name, chance)
    gate, story = None, None
    before = score.commits
    for step in history.steps:
        if score.commits - before >= commits or time.monotonic() > score.until_s:
            break
        if gate is None or story is None:
            story = Story(history, None, chance)  # type: ignore[arg-type]
            gate = await open_gate(place / name, story.files(), limits=LIMITS, warm=warm)
            story.player = Player(gate, chance, score, place / "copies")
        false = len(score.false)
        deserved = len(score.deserved)
        is_good = await story.play(step)
        if is_good is not None:
            score.passed += is_good
            score.failed += not is_good
        told(name, score, false, deserved)
    if gate is not None:
        await gate.close()


async def features(seed: int, place: Path, warm: bool, score: Score) -> None:
    """Play the small program."""
    chance = random.Random(f"{seed}-features")
    gate = await open_gate(place / "features", START, limits=LIMITS, exempt_files=EXEMPT, warm=warm)
    story = FeatureStory(Player(gate, chance, score, place / "copies"), chance)
    for feature in FEATURES:
        false, deserved = len(score.false), len(score.deserved)
        is_good = await story.play(feature)
        score.passed += is_good
        score.failed += not is_good
        told("features", score, false, deserved)
    await gate.close()


def told(name: str, score: Score, false: int, deserved: int) -> None:
    """Print what is new."""
    for refused in score.false[false:]:
        print(f"  FALSE {name} {refused}", flush=True)
    for refused in score.deserved[deserved:]:
        print(f"  deserved {name} {refused}", flush=True)


async def flips(times: int) -> int:
    """Flip warm so often, and cold a little."""
    with tempfile.TemporaryDirectory(prefix="flips-") as directory:
        begun = time.monotonic()
        stale = await flip(Path(directory) / "warm", times, warm=True)
        warm_s = time.monotonic() - begun
        cold = max(1, times // COLD_PART)
        stale += await flip(Path(directory) / "cold", cold, warm=False)
        cold_s = time.monotonic() - begun - warm_s
    for each in stale:
        print(f"  STALE {each}")
    print(f"warm: {times} in {warm_s:.0f} s; cold: {cold} in {cold_s:.0f} s; load {os.getloadavg()[0]:.1f}")
    print(f"flips: {times + cold - len(stale)} passed, {len(stale)} failed")
    return int(bool(stale))


async def main(asked: argparse.Namespace) -> int:
    score = Score()
    score.until_s = time.monotonic() + asked.minutes * 60
    with tempfile.TemporaryDirectory(prefix="replay-") as directory:
        place = Path(directory)
        for n, name in enumerate(asked.package):
            begun = time.monotonic()
            left = asked.commits - score.commits
            share = left // (len(asked.package) - n)
            try:
                if name == "features":
                    await features(asked.seed, place, not asked.cold, score)
                else:
                    await replay(
                        name, share, asked.seed, place, asked.sdists or place / "sdists", not asked.cold, score
                    )
            except NotThere as why:
                print(f"{name}: {why}")
            print(f"{name}: {score.commits} commits, {score.calls} calls, {time.monotonic() - begun:.0f} s", flush=True)
    print(f"ways: {dict(score.kinds)}")
    print(f"edits for one red: {dict(sorted(score.edits_per_red.items()))}")
    print(f"pairs: {score.pairs}, weak: {score.weak}; load {os.getloadavg()[0]:.1f}")
    print(f"deserved: {len(score.deserved)}; not to be loaded by plain pytest either: {score.broken}")
    false, calls = len(score.false), max(1, score.calls)
    percent = 100 * false / calls
    rate = f"false refusals: {false} of {calls} calls, {percent:.1f} %"
    print(f"replay: {score.passed} passed, {score.failed} failed ({rate})")
    return int(percent > FALSE_PERCENT_MAX)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.replay", description=__doc__)
    parser.add_argument("--commits", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--package", action="append", choices=NAMES)
    parser.add_argument("--cold", action="store_true", help="a new process for each run of tests")
    parser.add_argument("--sdists", type=Path, help="where source distributions are kept")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no commit after so long")
    parser.add_argument("--flips", type=int, help="only flip a file so often")
    found = parser.parse_args()
    found.package = found.package or list(NAMES)
    return found


if __name__ == "__main__":
    asked = arguments()
    print(f"seed {asked.seed}", flush=True)
    sys.exit(asyncio.run(flips(asked.flips) if asked.flips else main(asked)))
