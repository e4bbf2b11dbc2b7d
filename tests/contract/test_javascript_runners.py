"""What the common suite does not ask of JavaScript's runners: the server of vitest, and what is run besides."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from penstock.core.redgreen.test_id import TestId
from penstock.kernel.runner import RunOrder, RunReport
from penstock.kernel.runner import TestRunner as Runner
from penstock.kernel.runners.jest_runner import JestRunner
from penstock.kernel.runners.node_runner import NodeRunner
from penstock.kernel.runners.vitest_runner import VitestRunner, WarmVitestRunner
from tests.contract.runner_world import RunnerWorld, Situation, launcher_for
from tests.contract.runner_worlds_js import JEST, NODE, VITEST, WORLDS

T = TypeVar("T")

BY_NAME = {world.name: world for world in WORLDS}
DIALECTS = {"vitest-cold": VITEST, "jest": JEST, "node": NODE}
LOCK = Path(__file__).parents[1] / "javascript" / "package-lock.json"

every_dialect = pytest.mark.parametrize("name", DIALECTS)


class Bench:
    """A project on the disk, and what was reported of it."""

    def __init__(self, place: Path, name: str) -> None:
        self.world: RunnerWorld = BY_NAME[name]
        if why := self.world.missing():
            pytest.skip(why)
        self.place = place
        self.top = place / "tree"
        self.launcher = launcher_for(place)

    def lay(self, situation: Situation = "green") -> tuple[TestId, ...]:
        self.world.lay(self.top, self.world.scenes[situation])
        return tuple(expected.test for expected in self.world.scenes[situation].expected)

    def write(self, files: dict[str, str]) -> None:
        for path, text in {**self.world.files, **files}.items():
            (self.top / path).parent.mkdir(parents=True, exist_ok=True)
            (self.top / path).write_text(text)
        self.world.prepare(self.top)

    def use(self, steps: Callable[[Runner], Awaitable[T]]) -> T:
        async def used() -> T:
            runner = self.world.open(self.launcher)
            try:
                return await steps(runner)
            finally:
                await runner.close()

        return asyncio.run(used())


def verdicts(report: RunReport) -> list[str]:
    return [outcome.verdict for outcome in report.outcomes]


# --- what is run ----------------------------------------------------------------------------------------------------


@every_dialect
def test_only_what_was_asked_for_is_run(name: str, tmp_path: Path) -> None:
    bench, dialect = Bench(tmp_path, name), DIALECTS[name]
    note = "process.getBuiltinModule('node:fs').appendFileSync(`${process.env.TMPDIR}/ran`, title + ' ')"
    lines = [
        f"const note = title => () => {note}",
        "describe('s', () => { test('a.c', note('a.c')); test('abc', note('abc')) })",
        "test('a', note('a'))",
    ]
    bench.write(dialect.tests(*lines))
    report = bench.use(lambda runner: runner.run(RunOrder(tests=(dialect.id("s", "a.c"),))))
    assert verdicts(report) == ["green"]
    assert (tmp_path / "home/ran").read_text() == "a.c "


def test_a_subtest_of_node_is_reached_through_its_parent(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "node")
    lines = [
        "test('p', async t => { await t.test('c', () => {}); await t.test('d', () => assert.ok(0)) })",
        "test('c', () => assert.ok(0))",
    ]
    bench.write(NODE.tests(*lines))
    asked = (NODE.id("p", "c"), NODE.id("p", "d"), NODE.id("p", "e"))
    report = bench.use(lambda runner: runner.run(RunOrder(tests=asked)))
    assert verdicts(report) == ["green", "red_assert", "not_run"]


@every_dialect
def test_collecting_runs_no_test_and_names_what_is_wrong(name: str, tmp_path: Path) -> None:
    bench, dialect = Bench(tmp_path, name), DIALECTS[name]
    broken = dialect.test_file.replace("money", "broken")
    bench.write(
        {
            **dialect.tests("test('twice', () => { process.exit(1) })", "test('twice', () => {})"),
            broken: "let let = ;\n",
        }
    )
    found = bench.use(lambda runner: runner.collect())
    assert [(each.test, each.line > 0) for each in found.tests] == [(dialect.id("twice"), True)]
    assert set(found.broken) == {dialect.test_file, broken}
    assert "twice" in found.broken[dialect.test_file]


@every_dialect
def test_the_place_and_the_target_of_a_red_are_named(name: str, tmp_path: Path) -> None:
    bench, dialect = Bench(tmp_path, name), DIALECTS[name]
    asked = bench.lay("red_missing_target")
    one, two, _ = bench.use(lambda runner: runner.run(RunOrder(tests=asked))).outcomes
    assert one.phantoms == (dialect.source_file,)
    assert two.phantoms == (dialect.source_file.replace("money", "absent"),)
    bench.lay("red_exception")
    report = bench.use(lambda runner: runner.run(RunOrder(tests=(dialect.id("one"),))))
    line = (bench.top / dialect.source_file).read_text().split("throw")[0].count("\n") + 1
    assert [(o.exception, o.where) for o in report.outcomes] == [("RangeError", f"{dialect.source_file}:{line}")]


@every_dialect
def test_tests_of_a_file_that_lacks_a_module_are_named_and_red(name: str, tmp_path: Path) -> None:
    """Asked for by its file: of a test that was just written nobody knows the name yet."""
    bench, dialect = Bench(tmp_path, name), DIALECTS[name]
    fresh, absent = (path.replace("money", "fresh") for path in (dialect.test_file, dialect.source_file))
    text = "\n".join([dialect.head, dialect.bring("fresh", absent), "test('is fresh', () => { fresh() })"])
    bench.write({**dialect.tests("test('twice', () => {})"), fresh: text + "\n"})
    report = bench.use(lambda runner: runner.run(RunOrder(files=(fresh,))))
    (outcome,) = report.outcomes
    assert (outcome.test, outcome.verdict) == (dialect.id("is fresh", path=fresh), "red_missing_target")
    assert outcome.phantoms == (absent,)


@pytest.mark.parametrize("name", ["vitest-cold", "vitest-warm", "jest", "node"])
def test_what_a_test_prints_is_in_the_output_of_its_own_run(name: str, tmp_path: Path) -> None:
    bench, dialect = Bench(tmp_path, name), DIALECTS.get(name, VITEST)
    bench.write(dialect.tests("test('a', () => { console.log('aloud') })", "test('b', () => {})"))

    async def steps(runner: Runner) -> list[RunReport]:
        return [await runner.run(RunOrder(tests=(dialect.id(title),))) for title in ("a", "b")]

    loud, silent = bench.use(steps)
    assert b"aloud" in loud.output
    assert b"aloud" not in silent.output


def test_a_project_without_the_runner_is_no_ones_red(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "vitest-cold")
    asked = bench.lay()
    (bench.top / "node_modules").unlink()
    report = bench.use(lambda runner: runner.run(RunOrder(tests=asked)))
    assert set(verdicts(report)) == {"runner_error"}
    assert "vitest/node" in report.note


# --- the server of vitest -------------------------------------------------------------------------------------------


def test_ten_flips_of_one_size_in_one_second_give_no_stale_verdict(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "vitest-warm")
    first, *_ = bench.lay()
    path, right, wrong = bench.world.flip
    source = (bench.top / path).read_text()

    async def flip(runner: Runner) -> list[tuple[str, bool]]:
        seen = []
        for turn in range(10):
            (bench.top / path).write_text(source.replace(right, wrong) if turn % 2 else source)
            os.utime(bench.top / path, (1_700_000_000, 1_700_000_000))
            report = await runner.run(RunOrder(tests=(first,)))
            seen.append((verdicts(report)[0], report.note == ""))
        return seen

    expected = [("red_assert" if turn % 2 else "green", turn > 0) for turn in range(10)]
    assert bench.use(flip) == expected


def test_the_server_is_started_anew_when_its_basis_changes(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "vitest-warm")
    first, *_ = bench.lay()
    config = bench.top / "vitest.config.ts"
    text = "import { setup } from './setup'\nexport default { test: { setupFiles: setup } }\n"
    (bench.top / "setup.ts").write_text("export const setup: string[] = []\n")
    (bench.top / "fail.ts").write_text("throw new Error('set up')\n")

    async def steps(runner: Runner) -> list[RunReport]:
        reports = [await runner.run(RunOrder(tests=(first,)))]
        config.write_text(text)
        reports.append(await runner.run(RunOrder(tests=(first,))))
        reports.append(await runner.run(RunOrder(tests=(first,))))
        (bench.top / "setup.ts").write_text("export const setup = ['./fail.ts']\n")
        return [*reports, await runner.run(RunOrder(tests=(first,)))]

    reports = bench.use(steps)
    anew = "the server was started anew"
    assert [report.note for report in reports] == ["the server was started", anew, "", anew]
    assert [verdicts(report) for report in reports] == [["green"]] * 3 + [["collect_error"]]


def test_a_hung_run_ends_the_server_and_the_next_one_is_served(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "vitest-warm")
    before, hanging, _ = bench.lay("hang")

    async def steps(runner: Runner) -> list[RunReport]:
        ok = await runner.run(RunOrder(tests=(before,)))
        hung = await runner.run(RunOrder(tests=(hanging,), wall_ms=2_000))
        return [ok, hung, await runner.run(RunOrder(tests=(before,)))]

    reports = bench.use(steps)
    assert [verdicts(report) for report in reports] == [["green"], ["timeout"], ["green"]]
    assert reports[1].duration_ms < 2_500
    assert reports[2].note == "the server was started"


def test_a_server_that_was_killed_is_missed_and_replaced(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "vitest-warm")
    first, *_ = bench.lay()

    async def steps(runner: Runner) -> list[RunReport]:
        assert isinstance(runner, WarmVitestRunner)
        await runner.run(RunOrder(tests=(first,)))
        served = runner.served
        assert served is not None
        os.kill(served.pid, signal.SIGKILL)
        return [await runner.run(RunOrder(tests=(first,))), await runner.run(RunOrder(tests=(first,)))]

    dead, replaced = bench.use(steps)
    assert verdicts(dead) == ["green"]
    assert dead.note
    assert verdicts(replaced) == ["green"]


def test_a_global_set_up_is_run_for_every_run(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "vitest-warm")
    first, *_ = bench.lay()
    (bench.top / "vitest.config.ts").write_text("export default { test: { globalSetup: './global.ts' } }\n")
    (bench.top / "global.ts").write_text("export const setup = () => {}\n")
    report = bench.use(lambda runner: runner.run(RunOrder(tests=(first,))))
    assert (verdicts(report), report.is_warm) == (["green"], False)
    assert "global set-up" in report.note


def test_no_worker_holds_the_socket_however_high_its_number(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "vitest-warm")
    asked = bench.lay("forged_results")
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(60)]
    try:
        report = bench.use(lambda runner: runner.run(RunOrder(tests=asked)))
    finally:
        for fd in taken:
            os.close(fd)
    assert verdicts(report) == ["red_assert", "green", "not_run"]
    assert report.is_warm


# --- the packages ---------------------------------------------------------------------------------------------------


def test_the_pinned_packages_have_digests_and_no_addresses() -> None:
    text = LOCK.read_text()
    packages = json.loads(text)["packages"]
    assert "://" not in text
    assert all("integrity" in each for path, each in packages.items() if path)


# --- a project below the root ---------------------------------------------------------------------------------------

KINDS: dict[str, Callable[..., Runner]] = {"vitest-cold": VitestRunner, "jest": JestRunner, "node": NodeRunner}


@pytest.mark.parametrize("name", [*DIALECTS, "vitest-warm"])
def test_a_project_below_the_root_is_run_from_its_directory(name: str, tmp_path: Path) -> None:
    """What is missing is spelt by the tools from where they run, and told from the root."""
    bench = Bench(tmp_path, name)
    for situation in ("green", "red_missing_target"):
        bench.world.lay(bench.top / "packages/web", bench.world.scenes[situation])
        kind = KINDS.get(name, WarmVitestRunner)
        runner = kind(bench.launcher, directory="packages/web")
        expected = {each.test: each.verdicts for each in bench.world.scenes[situation].expected}
        below = {msgspec.structs.replace(test, path=f"packages/web/{test.path}"): v for test, v in expected.items()}
        report = asyncio.run(told_by(runner, RunOrder(tests=tuple(below))))
        told = {outcome.test: outcome.verdict for outcome in report.outcomes}
        assert told.keys() == below.keys() and all(told[test] in below[test] for test in below), report.output.decode()
        phantoms = {path for outcome in report.outcomes for path in outcome.phantoms}
        assert all(path.startswith("packages/web/") for path in phantoms)
        assert bool(phantoms) == (situation == "red_missing_target")


async def told_by(runner: Runner, order: RunOrder) -> RunReport:
    try:
        return await runner.run(order)
    finally:
        await runner.close()


@pytest.mark.parametrize("name", ["vitest-cold", "node"])
def test_a_run_of_everything_spares_itself_projects_below(name: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path, name)
    for place in (bench.top, bench.top / "packages/web"):
        bench.world.lay(place, bench.world.scenes["green"])
    whole = {each.test.path for each in bench.use(lambda r: r.run(RunOrder())).outcomes}
    assert any(path.startswith("packages/web/") for path in whole)
    report = bench.use(lambda r: r.run(RunOrder(without=("packages/web",))))
    own = {path for path in whole if not path.startswith("packages/")}
    assert {outcome.test.path for outcome in report.outcomes} == own != whole
