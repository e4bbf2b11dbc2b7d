"""A gate round a real tree: what is let through, what is taken back, and that nothing is lost by it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from penstock.core.redgreen import events as e
from penstock.core.redgreen.policy import RedGreenLimits
from penstock.kernel.tree.quarantine import unpack
from tests.integration.gate_world import MONEY, PROJECT, TEST_MONEY, Gate, open_gate, run
from tests.integration.plain_runner import PlainRunner

THIRD = f"{TEST_MONEY}\n\ndef test_third():\n    assert money.third(9) == 3\n"
WITH_THIRD = f"{MONEY}\n\ndef third(amount):\n    return amount / 3\n"
RED = "tests/test_money.py::test_third"


async def plain_gate(directory: Path, limits: RedGreenLimits | None = None) -> Gate:
    """With a runner that needs no time: for what does not depend on the runner."""
    return await open_gate(directory, limits=limits, runner=PlainRunner(directory / "tree"))


async def red_third(gate: Gate) -> None:
    await gate.call("write_file", path="tests/test_money.py", content=THIRD)
    assert "red_exception" in (await gate.call("run_tests", tests=[RED])).text


def events(gate: Gate, kind: type) -> list[e.RedGreenEvent]:
    return [record.event for record in gate.session.world.log.read() if isinstance(record.event, kind)]


def test_red_edit_green_is_a_pair(tmp_path: Path) -> None:
    async def story() -> None:
        gate = await plain_gate(tmp_path)
        await red_third(gate)
        assert not (await gate.call("write_file", path="app/money.py", content=WITH_THIRD)).is_error
        ended = await gate.ended()
        assert not ended.is_error
        assert f"proven: {RED}" in ended.text
        assert gate.text("app/money.py") == WITH_THIRD
        assert not gate.session.ledger.red
        await gate.close()

    run(story())


def test_without_a_red_nothing_reaches_production_code(tmp_path: Path) -> None:
    async def story() -> None:
        gate = await plain_gate(tmp_path)
        calls: dict[str, dict[str, Any]] = {
            "edit_file": {"path": "app/money.py", "old": "amount / 2", "new": "1"},
            "multi_edit": {"edits": [{"path": "app/money.py", "old": "amount / 2", "new": "1"}]},
            "write_file": {"path": "app/new.py", "content": "x = 1\n"},
            "move_file": {"source": "app/money.py", "target": "app/cash.py"},
            "copy_file": {"source": "app/money.py", "target": "app/cash.py"},
            "delete_file": {"path": "app/money.py"},
            "shell": {"command": "echo 'x = 1' > app/new.py; rm app/money.py"},
        }
        for tool, arguments in calls.items():
            answer = await gate.call(tool, **arguments)
            assert answer.is_error, tool
            assert gate.text("app/money.py") == MONEY, tool
            assert sorted(os.listdir(gate.top / "app")) == ["__init__.py", "money.py"], tool
        assert len(events(gate, e.EditRefused)) == len(calls) - 1
        await gate.close()

    run(story())


def test_what_was_taken_back_can_be_had_again(tmp_path: Path) -> None:
    async def story() -> None:
        gate = await plain_gate(tmp_path)
        data = bytes(range(256)) * 10
        (gate.top / "app" / "blob.bin").write_bytes(data)
        await gate.call("list_files")
        (write,) = events(gate, e.UnclaimedWrite)
        assert isinstance(write, e.UnclaimedWrite)
        (left,) = unpack(gate.session.world.blobs.get(write.patch))
        assert (left.path, left.content) == ("app/blob.bin", data)
        assert not (gate.top / "app" / "blob.bin").exists()
        await gate.close()

    run(story())


def test_a_file_too_large_for_a_patch_is_kept_whole(tmp_path: Path) -> None:
    async def story() -> None:
        gate = await plain_gate(tmp_path)
        with open(gate.top / "app" / "huge.bin", "wb") as file:
            file.truncate(11_000_000)
            file.write(b"the start")
        await gate.call("shell", command="true")
        assert not (gate.top / "app" / "huge.bin").exists()
        (kept,) = (tmp_path / "scratch" / "quarantine").iterdir()
        assert kept.stat().st_size == 11_000_000
        assert kept.read_bytes().startswith(b"the start")
        await gate.close()

    run(story())


def test_a_file_that_became_a_directory_is_a_file_again(tmp_path: Path) -> None:
    async def story() -> None:
        gate = await plain_gate(tmp_path)
        await gate.call("shell", command="rm app/money.py; mkdir app/money.py; echo x > app/money.py/inner.py")
        assert gate.text("app/money.py") == MONEY
        await gate.close()

    run(story())


def test_only_the_file_that_broke_a_test_goes_back(tmp_path: Path) -> None:
    async def story() -> None:
        files = {**PROJECT, "app/tax.py": "def tax(n):\n    return n // 5\n"}
        gate = await open_gate(tmp_path, files, runner=PlainRunner(tmp_path / "tree"))
        test = f"{THIRD}\n\ndef test_gross():\n    from app import tax\n    assert tax.gross(100) == 120\n"
        await gate.call("write_file", path="tests/test_money.py", content=test)
        await gate.call("run_tests", tests=["tests/test_money.py"])
        gross = "tests/test_money.py::test_gross"
        good = "def tax(n):\n    return n // 5\n\n\ndef gross(n):\n    return n + tax(n)\n"
        bad = WITH_THIRD.replace("amount * 2", "amount * 3")
        await gate.call("write_file", path="app/tax.py", content=good, test=gross)
        await gate.call("write_file", path="app/money.py", content=bad, test=RED)
        ended = await gate.ended()
        assert ended.is_error
        assert ended.data["reverted"] == ["app/money.py"]
        assert (gate.text("app/tax.py"), gate.text("app/money.py")) == (good, MONEY)
        await gate.close()

    run(story())


def test_the_red_of_an_edit_that_was_reverted_licenses_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        gate = await plain_gate(tmp_path)
        await red_third(gate)
        await gate.call("write_file", path="app/money.py", content=WITH_THIRD.replace("amount * 2", "amount * 3"))
        assert (await gate.ended()).data["reverted"] == ["app/money.py"]
        other = MONEY.replace("amount * 2", "amount + amount")
        answer = await gate.call("write_file", path="app/money.py", content=other)
        assert answer.is_error, answer.text
        assert gate.text("app/money.py") == MONEY
        await gate.close()

    run(story())


def test_a_test_that_was_deleted_spoils_one_turn_and_no_more(tmp_path: Path) -> None:
    async def story() -> None:
        gate = await plain_gate(tmp_path)
        more = f"{THIRD}\n\ndef test_passing():\n    assert money.half(2) == 1\n"
        await gate.call("write_file", path="tests/test_money.py", content=more)
        await gate.call("run_tests", tests=["tests/test_money.py"])
        await gate.call("write_file", path="app/money.py", content=WITH_THIRD)
        assert not (await gate.ended()).is_error
        for n, (name, is_spoilt) in enumerate([("fourth", True), ("fifth", False)]):
            test = f"{THIRD}\n\ndef test_{name}():\n    assert money.{name}(20) == 1\n"
            await gate.call("write_file", path="tests/test_money.py", content=test)
            await gate.call("run_tests", tests=[f"tests/test_money.py::test_{name}"])
            text = gate.text("app/money.py") + f"\n\ndef {name}(amount):\n    return amount / 20\n"
            assert not (await gate.call("write_file", path="app/money.py", content=text)).is_error, n
            assert (await gate.ended()).is_error == is_spoilt, n
        await gate.close()

    run(story())


def test_what_is_skipped_or_was_red_before_does_not_spoil_a_turn(tmp_path: Path) -> None:
    async def story() -> None:
        files = {**PROJECT, "tests/test_other.py": "def test_red_before():\n    assert 1 == 2\n"}
        gate = await open_gate(tmp_path, files, runner=PlainRunner(tmp_path / "tree"))
        await red_third(gate)
        await gate.call("write_file", path="app/money.py", content=WITH_THIRD)
        ended = await gate.ended()
        assert not ended.is_error, ended.text
        assert "1 other tests are red, as they are without this turn" in ended.text
        await gate.close()

    run(story())


def test_a_storm_over_one_test_ends_what_it_licenses(tmp_path: Path) -> None:
    async def story() -> None:
        gate = await plain_gate(tmp_path, RedGreenLimits(reverts_per_test_max=1))
        await red_third(gate)
        bad = WITH_THIRD.replace("amount * 2", "amount * 3")
        await gate.call("write_file", path="app/money.py", content=bad)
        await gate.ended()
        double = "tests/test_money.py::test_double"
        text = THIRD.replace("money.double(4) == 8", "money.double(4) == 9")
        await gate.call("write_file", path="tests/test_money.py", content=text)
        await gate.call("run_tests", tests=[double])
        answer = await gate.call("write_file", path="app/money.py", content=WITH_THIRD, test=double)
        assert "refused (storm)" in answer.text
        await gate.close()

    run(story())


def test_many_edits_of_a_turn_are_one_spawn(tmp_path: Path) -> None:
    async def story() -> None:
        runner = PlainRunner(tmp_path / "tree")
        gate = await open_gate(tmp_path, runner=runner)
        await red_third(gate)
        for n in range(5):
            text = MONEY + f"\n\ndef third(amount):\n    return amount / 3 + {4 - n} - {4 - n}\n"
            assert not (await gate.call("write_file", path="app/money.py", content=text)).is_error
        before = runner.runs
        await gate.ended()
        assert runner.runs == before + 1
        flushes = [s for s in events(gate, e.SpawnEnded) if isinstance(s, e.SpawnEnded) and s.purpose == "flush"]
        assert len(flushes) == 1
        await gate.close()

    run(story())


def test_refactoring_between_two_greens(tmp_path: Path) -> None:
    async def story() -> None:
        gate = await plain_gate(tmp_path)
        assert not (await gate.call("enter_refactor")).is_error
        clean = MONEY.replace("amount * 2", "2 * amount")
        assert not (await gate.call("write_file", path="app/money.py", content=clean)).is_error
        assert not (await gate.call("leave_refactor")).is_error
        assert gate.text("app/money.py") == clean
        await gate.call("enter_refactor")
        await gate.call("write_file", path="app/money.py", content=MONEY.replace("amount * 2", "amount"))
        await gate.call("write_file", path="app/other.py", content="x = 1\n")
        answer = await gate.call("leave_refactor")
        assert answer.is_error and "test_double" in answer.text
        assert gate.text("app/money.py") == clean
        assert not (gate.top / "app" / "other.py").exists()
        await gate.close()

    run(story())


def test_refactor_mode_is_not_entered_on_a_red(tmp_path: Path) -> None:
    async def story() -> None:
        gate = await plain_gate(tmp_path)
        await red_third(gate)
        answer = await gate.call("enter_refactor")
        assert "no_green_baseline" in answer.text
        await gate.close()

    run(story())


def test_a_renamed_test_takes_its_red_along(tmp_path: Path) -> None:
    async def story() -> None:
        gate = await plain_gate(tmp_path)
        await red_third(gate)
        await gate.call("claim", test=RED, paths=["app/money.py"])
        await gate.call("write_file", path="tests/test_money.py", content=THIRD.replace("test_third", "test_a_third"))
        await gate.call("run_tests", tests=["tests/test_money.py::test_a_third"])
        (moved,) = events(gate, e.TestMoved)
        assert isinstance(moved, e.TestMoved)
        assert (moved.was.chain, moved.now.chain) == (("test_third",), ("test_a_third",))
        await gate.close()

    run(story())


HELPED = f"{THIRD}    from tests.also import check\n    check(money)\n"


@pytest.mark.parametrize("is_changed", [False, True])
def test_a_file_that_only_the_green_runs_is_frozen_too(tmp_path: Path, is_changed: bool) -> None:
    async def story() -> None:
        check = "def check(money):\n    assert money.third(3) == 1\n"
        also = {"tests/__init__.py": "", "tests/also.py": check}
        gate = await open_gate(tmp_path, {**PROJECT, **also, "tests/test_money.py": HELPED}, warm=True)
        await gate.red(RED)
        if is_changed:
            await gate.call("write_file", path="tests/also.py", content=check.replace("== 1", "!= 2"))
        assert not (await gate.call("write_file", path="app/money.py", content=WITH_THIRD)).is_error
        assert ("(red_void)" if is_changed else f"proven: {RED}") in (await gate.ended()).text
        await gate.close()

    run(story())


ROWS_OF_A_FIXTURE = (
    "import pytest\n\n\n@pytest.fixture(params=[1, 2])\ndef amount(request):\n    return request.param\n"
)
WITH_ROWS = "def test_rows(amount):\n    assert amount == 1\n"


@pytest.mark.parametrize("place", ["tests/test_rows.py", "tests/conftest.py", "conftest.py"])
def test_rows_may_come_from_a_fixture(tmp_path: Path, place: str) -> None:
    async def story() -> None:
        files = {**PROJECT, "tests/test_rows.py": WITH_ROWS}
        files[place] = ROWS_OF_A_FIXTURE + files.get(place, "")
        gate = await open_gate(tmp_path, files, warm=True)
        told = (await gate.call("run_tests", tests=["tests/test_rows.py::test_rows"])).data["runs"]
        assert [(run["test"][3], run["verdict"]) for run in told] == [("1", "unexpected_green"), ("2", "red_assert")]
        await gate.close()

    run(story())


FOR_LONG = (
    "\n\ndef test_long():\n    for _ in map(money.half, range(510_000)):\n        pass\n    assert money.late() == 1\n"
)


def test_what_a_test_runs_after_it_was_followed_for_long_is_proven_by_what_it_imports(tmp_path: Path) -> None:
    async def story() -> None:
        files = {**PROJECT, "tests/test_money.py": TEST_MONEY + FOR_LONG}
        gate = await open_gate(tmp_path, files, limits=RedGreenLimits(mutants_max=0), warm=True)
        await gate.red("tests/test_money.py::test_long")
        late = f"{MONEY}\n\ndef late():\n    return 1\n"
        assert not (await gate.call("write_file", path="app/money.py", content=late)).is_error
        assert "proven: tests/test_money.py::test_long" in (await gate.ended()).text
        await gate.close()

    run(story())


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("write_file", {"path": "../out.py", "content": ""}, "no path inside"),
        ("write_file", {"path": "/etc/x", "content": ""}, "no path inside"),
        ("write_file", {"path": ".git/config", "content": ""}, "no path inside"),
        ("edit_file", {"path": "app/gone.py", "old": "a", "new": "b"}, "does not exist"),
        ("edit_file", {"path": "app/money.py", "old": "amount", "new": "b"}, "stands there 4 times"),
        ("edit_file", {"path": "app/money.py", "old": "nothing", "new": "b"}, "does not stand there"),
        ("read_file", {"path": "link.py"}, "symbolic link"),
        ("read_file", {"path": "binary.py"}, "is binary"),
        ("read_file", {"path": "latin.py"}, "is not UTF-8"),
        ("read_file", {"path": "pipe.py"}, "no regular file"),
        ("read_file", {"path": "app"}, "is a directory"),
        ("read_file", {}, "path"),
        ("read_file", {"path": "x", "colour": 1}, "colour"),
        ("run_tests", {"tests": []}, "tests"),
        ("run_tests", {"tests": ["nonsense"]}, "does not begin with the path of a test file"),
        ("run_tests", {"tests": [["pytest", "../x.py", ["a"], None]]}, "not plain"),
        ("search", {"pattern": "("}, "not a regular expression"),
        ("nothing", {}, "no tool 'nothing'"),
    ],
)
def test_bad_input_is_told_and_changes_nothing(
    tmp_path: Path, tool: str, arguments: dict[str, object], said: str
) -> None:
    async def story() -> None:
        gate = await plain_gate(tmp_path)
        (gate.top / "link.py").symlink_to("app/money.py")
        (gate.top / "binary.py").write_bytes(b"a\0b")
        (gate.top / "latin.py").write_bytes(b"\xe9")
        os.mkfifo(gate.top / "pipe.py")
        answer = await gate.dispatcher.call(tool, arguments)
        assert answer.is_error
        assert said in answer.text
        assert gate.text("app/money.py") == MONEY
        await gate.close()

    run(story())
