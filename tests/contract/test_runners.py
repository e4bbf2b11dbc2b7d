"""One suite for every test runner, cold and warm: exactly the tests asked for, each with its own observed verdict.

The worlds are in `runner_worlds_*.py`; a world whose tools this machine lacks is skipped by name.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from penstock.core.redgreen.test_id import TestId
from penstock.kernel.runner import OUTPUT_BYTES_MAX, RunOrder, RunReport
from penstock.kernel.runner import TestRunner as Runner
from tests.contract.runner_world import HANG_WALL_MS, SITUATIONS, RunnerWorld, Situation, launcher_for

T = TypeVar("T")


def all_worlds() -> list[RunnerWorld]:
    found = sorted(path.stem for path in Path(__file__).parent.glob("runner_worlds_*.py"))
    modules = [importlib.import_module(f"{__package__}.{name}") for name in found]
    return [world for module in modules for world in module.WORLDS]


WORLDS = all_worlds()
SCENES = [(world, situation) for world in WORLDS for situation in SITUATIONS if situation in world.scenes]


def named(value: object) -> str | None:
    return value.name if isinstance(value, RunnerWorld) else None


every_world = pytest.mark.parametrize("world", WORLDS, ids=named)


class Stage:
    """One world's project on the disk, and its runner."""

    def __init__(self, world: RunnerWorld, place: Path) -> None:
        if why := world.missing():
            pytest.skip(why)
        self.world = world
        self.launcher = launcher_for(place, world.env)
        self.top = place / "tree"

    def lay(self, situation: Situation = "green") -> tuple[TestId, ...]:
        scene = self.world.scenes[situation]
        self.world.lay(self.top, scene)
        return tuple(expected.test for expected in scene.expected)

    def with_runner(self, use: Callable[[Runner], Awaitable[T]]) -> T:
        async def used() -> T:
            runner = self.world.open(self.launcher)
            try:
                return await use(runner)
            finally:
                await runner.close()

        return asyncio.run(used())

    def run(self, *tests: TestId, wall_ms: int = 60_000) -> RunReport:
        return self.with_runner(lambda runner: runner.run(RunOrder(tests=tests, wall_ms=wall_ms)))

    def files(self) -> dict[str, bytes]:
        found = (p for p in self.top.rglob("*") if p.is_file() and "node_modules" not in p.parts)
        return {str(p.relative_to(self.top)): p.read_bytes() for p in found}


@pytest.mark.parametrize(("world", "situation"), SCENES, ids=named)
def test_each_test_asked_for_gets_its_own_verdict(world: RunnerWorld, situation: Situation, tmp_path: Path) -> None:
    stage = Stage(world, tmp_path)
    asked = stage.lay(situation)
    report = stage.run(*asked, wall_ms=HANG_WALL_MS if situation == "hang" else 60_000)
    assert tuple(outcome.test for outcome in report.outcomes) == asked, report
    assert report.is_warm == world.is_warm, report.note
    for expected, outcome in zip(world.scenes[situation].expected, report.outcomes, strict=True):
        assert outcome.verdict in expected.verdicts, (outcome, report.note, report.output.decode())


@every_world
def test_collection_finds_what_there_is(world: RunnerWorld, tmp_path: Path) -> None:
    stage = Stage(world, tmp_path)
    asked = stage.lay()
    found = stage.with_runner(lambda runner: runner.collect())
    assert (found.note, found.broken) == ("", {})
    assert set(asked) == {each.test for each in found.tests}
    of_file = stage.with_runner(lambda runner: runner.collect([world.covered[0]]))
    assert {each.test for each in of_file.tests} == {test for test in asked if test.path == world.covered[0]}


@every_world
def test_files_and_the_whole_suite_can_be_asked_for(world: RunnerWorld, tmp_path: Path) -> None:
    stage = Stage(world, tmp_path)
    asked = stage.lay()

    async def use(runner: Runner) -> tuple[RunReport, RunReport]:
        return await runner.run(RunOrder()), await runner.run(RunOrder(files=(world.covered[0],)))

    suite, of_file = stage.with_runner(use)
    assert {outcome.test for outcome in suite.outcomes} == set(asked)
    assert {o.test for o in of_file.outcomes} == {test for test in asked if test.path == world.covered[0]}
    assert all(outcome.verdict == "green" for outcome in (*suite.outcomes, *of_file.outcomes))


@every_world
def test_what_each_test_needs_is_known(world: RunnerWorld, tmp_path: Path) -> None:
    stage = Stage(world, tmp_path)
    first, *_ = stage.lay()

    async def use(runner: Runner) -> tuple[RunReport, str]:
        return await runner.run(RunOrder(tests=(first,))), runner.coverage

    report, coverage = stage.with_runner(use)
    [outcome] = report.outcomes
    assert world.covered[1] in outcome.imported, outcome
    if coverage == "lines":
        assert outcome.executed[world.covered[1]]
    assert not any(path.startswith(("/", "..")) for path in (*outcome.imported, *outcome.executed))


@every_world
def test_a_change_of_the_same_size_within_a_second_is_seen(world: RunnerWorld, tmp_path: Path) -> None:
    stage = Stage(world, tmp_path)
    first, *_ = stage.lay()
    path, right, wrong = world.flip
    source = (stage.top / path).read_text()
    assert right in source and len(right) == len(wrong)

    async def flip(runner: Runner) -> list[str]:
        verdicts: list[str] = []
        for text in (source, source.replace(right, wrong), source):
            (stage.top / path).write_text(text)
            os.utime(stage.top / path, (1_700_000_000, 1_700_000_000))
            verdicts += [o.verdict for o in (await runner.run(RunOrder(tests=(first,)))).outcomes]
        return verdicts

    assert stage.with_runner(flip) == ["green", "red_assert", "green"]


@every_world
def test_the_tree_stays_as_it_was(world: RunnerWorld, tmp_path: Path) -> None:
    stage = Stage(world, tmp_path)
    asked = stage.lay()
    before = stage.files()
    report = stage.run(*asked)
    assert [outcome.verdict for outcome in report.outcomes] == ["green"] * len(asked)
    assert len(report.output) <= OUTPUT_BYTES_MAX
    assert stage.files() == before
    assert list((tmp_path / "scratch").iterdir()) == []


@every_world
def test_a_hang_ends_in_time_and_leaves_nobody(world: RunnerWorld, tmp_path: Path) -> None:
    stage = Stage(world, tmp_path)
    report = stage.run(*stage.lay("hang"), wall_ms=HANG_WALL_MS)
    assert report.duration_ms < HANG_WALL_MS + 1_000
    assert living_in(stage.top) == []


def living_in(top: Path) -> list[str]:
    """Processes whose working directory is in the tree."""
    if not Path("/proc/self/cwd").exists():
        return []
    return [pid for pid in os.listdir("/proc") if pid.isdigit() and str(top) in cwd_of(pid)]


def cwd_of(pid: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


@every_world
def test_a_runner_that_cannot_be_started_is_not_the_tests_fault(world: RunnerWorld, tmp_path: Path) -> None:
    stage = Stage(world, tmp_path)
    first, *_ = stage.lay()
    nowhere = launcher_for(tmp_path, {**world.env, "PATH": str(tmp_path / "nothing")})
    stage.launcher = nowhere
    report = stage.run(first)
    assert all(outcome.verdict in ("green", "runner_error") for outcome in report.outcomes)
    assert [outcome.test for outcome in report.outcomes] == [first]
