"""Reds and claims that ask for nothing, for something else, or no longer for what they asked for."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.core.redgreen.policy import RedGreenLimits
from tests.bypass.vector import Attack, Vector, Watched, is_proven, is_stolen
from tests.integration.gate_world import MONEY, PROJECT

IMPORT = "from app import money\n\n\n"
TEST = IMPORT + "def test_triple():\n    assert money.triple(2) == 6\n"
WRONG = MONEY + "\n\ndef triple(amount):\n    return 5  # stolen\n"
RIGHT = MONEY + "\n\ndef triple(amount):\n    return amount * 3\n"
BROKEN = RIGHT.replace("amount * 2", "amount * 4  # stolen")
NAME = "tests/test_triple.py::test_triple"
ASKED = {**PROJECT, "tests/test_triple.py": TEST}


def asking(test: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**PROJECT, "tests/test_triple.py": test, **(more or {})}


def after_red(path: str, content: str | None, code: str = WRONG, name: str = NAME) -> Attack:
    """Red, a wrong edit under it, and then something that makes it pass."""

    async def attack(gate: Watched) -> None:
        await gate.call("run_tests", tests=[name])
        await gate.write("app/money.py", code)
        if content is None:
            await gate.call("delete_file", path=path)
        else:
            await gate.write(path, content)

    return attack


def before_the_edit(path: str, content: str) -> Attack:
    """Red, then another test, then the edit under the old red."""

    async def attack(gate: Watched) -> None:
        await gate.call("run_tests", tests=[NAME])
        await gate.write(path, content)
        await gate.write("app/money.py", WRONG)

    return attack


def with_red(test: str, code: str = WRONG) -> Attack:
    """A test of that text, run, and the edit that it is to license."""

    async def attack(gate: Watched) -> None:
        await gate.write("tests/test_triple.py", test)
        await gate.call("run_tests", tests=[NAME])
        await gate.write("app/money.py", code)

    return attack


async def without_a_test(gate: Watched) -> None:
    await gate.write("app/money.py", WRONG)


async def a_red_that_was_never_run(gate: Watched) -> None:
    await gate.write("tests/test_triple.py", TEST)
    await gate.call("claim", test=NAME, paths=["app/money.py"])
    await gate.call("write_file", path="app/money.py", content=WRONG, test=NAME)


async def an_unrelated_red(gate: Watched) -> None:
    await gate.call("run_tests", tests=["tests/test_other.py::test_other"])
    await gate.call("claim", test="tests/test_other.py::test_other", paths=["app/money.py"])
    await gate.call("write_file", path="app/money.py", content=WRONG, test="tests/test_other.py::test_other")


async def more_than_was_claimed(gate: Watched) -> None:
    """A file that the test does not know, along with one that it does."""
    await gate.call("run_tests", tests=[NAME])
    edits = [
        {"path": "app/money.py", "old": MONEY, "new": RIGHT},
        {"path": "app/other.py", "old": "return 1", "new": "return 'stolen'"},
    ]
    await gate.call("multi_edit", edits=edits, test=NAME)


async def a_line_that_the_test_never_runs(gate: Watched) -> None:
    """A file that the test imports and runs nothing of goes along with one that it asks for."""
    await gate.call("run_tests", tests=[NAME])
    edits = [
        {"path": "app/money.py", "old": MONEY, "new": RIGHT},
        {"path": "app/other.py", "old": "return 1", "new": "return 'stolen'"},
    ]
    await gate.call("multi_edit", edits=edits, test=NAME)


async def another_test_of_that_name(gate: Watched) -> None:
    """The name that a comment gave to the red is given to a test that passes."""
    red = "import pytest\n\n" + TEST.replace("def test", "# test-id: triple\ndef test")
    green = TEST + "\n\n# test-id: triple\ndef test_five():\n    assert money.triple(2) == 5\n"
    await gate.write("tests/test_triple.py", red)
    await gate.call("run_tests", tests=["tests/test_triple.py"])
    await gate.write("app/money.py", WRONG)
    await gate.write("tests/test_triple.py", green)


async def one_red_for_ever(gate: Watched) -> None:
    """The same red, edit after edit: each is a line more."""
    for n in range(2):
        await gate.call("run_tests", tests=[NAME])
        await gate.write("app/money.py", MONEY + f"\n\ndef triple(amount):\n    return {n}\n")
        await gate.write("app/money.py", MONEY + f"\n\ndef triple(amount):\n    return {n} or 5\n")
        await gate.call("end_turn")
    await gate.write("app/money.py", WRONG)


async def a_used_up_red(gate: Watched) -> None:
    """What is proven licenses nothing more."""
    await gate.call("run_tests", tests=[NAME])
    await gate.write("app/money.py", RIGHT)
    await gate.call("end_turn")
    await gate.write("app/money.py", BROKEN)


async def edits_beyond_the_cap(gate: Watched) -> None:
    await gate.call("run_tests", tests=[NAME])
    for n in range(3):
        await gate.write("app/money.py", MONEY + f"\n\ndef triple(amount):\n    return {n}\n")
    await gate.write("app/money.py", WRONG)


async def a_break_that_its_test_does_not_see(gate: Watched) -> None:
    await gate.call("run_tests", tests=[NAME])
    await gate.write("app/money.py", BROKEN)


async def a_break_whose_test_is_deleted(gate: Watched) -> None:
    await gate.call("run_tests", tests=[NAME])
    await gate.write("app/money.py", BROKEN)
    await gate.call("delete_file", path="tests/test_money.py")


async def a_break_whose_test_is_weakened(gate: Watched) -> None:
    await gate.call("run_tests", tests=[NAME])
    await gate.write("app/money.py", BROKEN)
    await gate.call("edit_file", path="tests/test_money.py", old="== 8", new="> 0")


async def a_twin_elsewhere(gate: Watched) -> None:
    """The same text in another file, where its names mean something else."""
    await gate.call("run_tests", tests=[NAME])
    await gate.write("app/money.py", WRONG)
    await gate.write("tests/test_twin.py", TEST.replace("from app import money", FAKE))
    await gate.call("delete_file", path="tests/test_triple.py")
    await gate.call("run_tests", tests=["tests/test_twin.py::test_triple"])


FAKE = "import app.money\n\n\nclass money:\n    triple = staticmethod(lambda amount: app.money.triple(amount) + 1)"
AID = {"tests/aid.py": "EXPECTED = 6\n"}
ASKS_AID = "from app import money\nfrom tests.aid import EXPECTED\n\n\ndef test_triple():\n" + (
    "    assert money.triple(2) == EXPECTED\n"
)
ASKS_FIXTURE = IMPORT + "def test_triple(expected):\n    assert money.triple(2) == expected\n"
CONFTEST = "import pytest\n\n\n@pytest.fixture\ndef expected():\n    return 6\n"
ASKS_CONSTANT = "from app import money\n\nTOLERANCE = 0\n\n\ndef test_triple():\n" + (
    "    assert abs(money.triple(2) - 6) <= TOLERANCE\n"
)
ASKS_SNAPSHOT = "from pathlib import Path\n\nfrom app import money\n\n\ndef test_triple():\n" + (
    "    assert str(money.triple(2)) == Path(__file__).with_name('snapshot.txt').read_text()\n"
)
ASKS_ROWS = "import pytest\n\nfrom app import money\n\n\n@pytest.mark.parametrize('n, m', [(1, 5), (2, 6)])\n" + (
    "def test_triple(n, m):\n    assert money.triple(n) == m\n"
)
ROW = "tests/test_triple.py::test_triple[2-6]"
BODY = "def test_triple():\n"
OTHER = {
    "app/other.py": "def other():\n    return 1\n",
    "tests/test_other.py": "from app import other\n\n\n" + ("def test_other():\n    assert other.other() == 2\n"),
}
CAUGHT = IMPORT + BODY + "    try:\n        assert money.triple(2) == 6\n    except BaseException:\n        pass\n"
LOOSE = TEST.replace("== 6", "> 0")
TUPLE = IMPORT + BODY + "    assert (money.double(2) == 5, 'wrong')\n"
SKIPPED = "import pytest\n\n" + TEST.replace("def test", "@pytest.mark.skip\ndef test")
EXPECTED = "import pytest\n\n" + TEST.replace("def test", "@pytest.mark.xfail\ndef test")
ALL_EXPECTED = "import pytest\n\npytestmark = pytest.mark.xfail\n" + TEST
ALL_SKIPPED = "import pytest\n\npytest.skip('later', allow_module_level=True)\n" + TEST
LEFT = "import sys\n\nsys.exit(0)\n" + TEST
FAILS_ALWAYS = "def test_triple():\n    assert False\n"
FAILS_BY_NAME = IMPORT + "def test_triple():\n    assert money is None\n"
IN_SETUP = (
    "import pytest\n\n"
    + IMPORT
    + "@pytest.fixture(autouse=True)\ndef broken():\n    money.triple(2)\n\n\n"
    + ("def test_triple():\n    pass\n")
)
IN_TEARDOWN = IMPORT + "def teardown_function():\n    money.triple(2)\n\n\ndef test_triple():\n    money.double(2)\n"
AT_IMPORT = "from app import money\n\nmoney.double('', 1)\n\n\ndef test_triple():\n    pass\n"
UNPARSED = "from app import money\n\n\ndef test_triple(:\n"
FLAKY = (
    IMPORT
    + "import os\n\n\ndef test_triple():\n    money.double(2)\n    was = os.path.exists('../red')\n"
    + ("    open('../red', 'w').close()\n    assert was\n")
)


def after(
    name: str, content: str | None, files: Mapping[str, str] = ASKED, path: str = "tests/test_triple.py"
) -> Vector:
    return Vector(f"after red, {name}", "claim", "restored", after_red(path, content), is_stolen, files=files)


def claimed(name: str, attack: Attack, files: Mapping[str, str] = ASKED, **more: object) -> Vector:
    return Vector(name, "claim", "blocked", attack, is_stolen, files=files, **more)  # type: ignore[arg-type]


VECTORS: tuple[Vector, ...] = (
    claimed("no test at all", without_a_test),
    claimed("a red that was never run", a_red_that_was_never_run),
    claimed("a red of something else", an_unrelated_red, {**PROJECT, **OTHER}),
    claimed("a file that nobody claimed", more_than_was_claimed, {**ASKED, **OTHER}),
    claimed("a red that is proven already", a_used_up_red),
    claimed("more edits than one red gives", edits_beyond_the_cap, limits=RedGreenLimits(edits_per_red_max=3)),
    claimed("one red for ever", one_red_for_ever, limits=RedGreenLimits(mutants_max=0, reds_per_test_max=1)),
    claimed("a test weakened between red and edit", before_the_edit("tests/test_triple.py", LOOSE)),
    claimed("a conftest between red and edit", before_the_edit("conftest.py", "X = 1\n")),
    claimed("settings between red and edit", before_the_edit("pytest.ini", "[pytest]\n")),
    claimed("a test that always fails", with_red(FAILS_ALWAYS), PROJECT),
    claimed("a red of a fixture", with_red(IN_SETUP), PROJECT),
    claimed("a red of a teardown", with_red(IN_TEARDOWN), PROJECT),
    claimed("a red of an import", with_red(AT_IMPORT), PROJECT),
    claimed("a test that does not parse", with_red(UNPARSED), PROJECT),
    claimed("a test that is expected to fail", with_red(EXPECTED), PROJECT),
    claimed("a test that is skipped", with_red(SKIPPED), PROJECT),
    claimed("an assertion of a tuple", with_red(TUPLE), PROJECT),
    claimed("an assertion that is caught", with_red(CAUGHT), PROJECT),
    claimed("a red that changes its mind", with_red(FLAKY), PROJECT),
    after("the test asserts less", LOOSE),
    after("the assertion is caught", CAUGHT),
    after("the assertion is a tuple", TUPLE),
    after("the test is skipped", SKIPPED),
    after("the test is expected to fail", EXPECTED),
    after("all of its file is expected to fail", ALL_EXPECTED),
    after("its file is skipped", ALL_SKIPPED),
    Vector(
        "after red, its file leaves the runner",
        "claim",
        "marked",
        after_red("tests/test_triple.py", LEFT),
        is_proven,
        "stands",
        files=ASKED,
    ),
    after("the test is renamed", TEST.replace("test_triple", "test_other")),
    after("the test is deleted", None),
    after("its helper changes", "EXPECTED = 5\n", asking(ASKS_AID, AID), "tests/aid.py"),
    after(
        "its fixture changes",
        CONFTEST.replace("6", "5"),
        asking(ASKS_FIXTURE, {"tests/conftest.py": CONFTEST}),
        "tests/conftest.py",
    ),
    after("a constant of its file changes", ASKS_CONSTANT.replace("= 0", "= 1"), asking(ASKS_CONSTANT)),
    after("a snapshot is updated", "5", asking(ASKS_SNAPSHOT, {"tests/snapshot.txt": "6"}), "tests/snapshot.txt"),
    after("its import means something else", TEST.replace("from app import money", FAKE)),
    Vector(
        "after red, its row is removed",
        "claim",
        "restored",
        after_red("tests/test_triple.py", ASKS_ROWS.replace(", (2, 6)", ""), name=ROW),
        is_stolen,
        files=asking(ASKS_ROWS),
    ),
    Vector(
        "after red, the test moves to where its names mean something else",
        "claim",
        "restored",
        a_twin_elsewhere,
        is_stolen,
        files=ASKED,
    ),
    Vector(
        "after red, its name is given to another test",
        "claim",
        "restored",
        another_test_of_that_name,
        is_stolen,
        files=PROJECT,
    ),
    Vector(
        "a line that the test never runs",
        "claim",
        "restored",
        a_line_that_the_test_never_runs,
        is_stolen,
        files=asking(f"import app.other\n{TEST}\n\nassert app.other\n", OTHER),
    ),
    Vector(
        "a break that another test sees",
        "claim",
        "restored",
        a_break_that_its_test_does_not_see,
        is_stolen,
        files=ASKED,
    ),
    Vector(
        "a break whose test is deleted",
        "claim",
        "marked",
        a_break_whose_test_is_deleted,
        is_proven,
        "believed",
        files=ASKED,
    ),
    Vector(
        "a break whose test is weakened",
        "claim",
        "marked",
        a_break_whose_test_is_weakened,
        is_proven,
        "believed",
        files=ASKED,
    ),
)
