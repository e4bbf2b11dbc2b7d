"""Refactor mode, plans and the end of a turn as a way round."""

from __future__ import annotations

from penstock.core.redgreen.policy import RedGreenLimits
from tests.bypass.claims import ASKED, BROKEN, NAME, OTHER, RIGHT
from tests.bypass.vector import Attack, Lands, Right, Vector, Watched, is_altered, is_stolen
from tests.bypass.writes import STOLEN
from tests.integration.gate_world import MONEY, PROJECT


async def entered_on_red(gate: Watched) -> None:
    await gate.call("enter_refactor")
    await gate.write("app/money.py", STOLEN)


async def left_broken(gate: Watched) -> None:
    await gate.call("enter_refactor")
    await gate.write("app/money.py", STOLEN)
    await gate.call("leave_refactor")


async def never_left(gate: Watched) -> None:
    await gate.call("enter_refactor")
    await gate.write("app/money.py", STOLEN)
    await gate.call("end_turn")


async def left_with_weaker_tests(gate: Watched) -> None:
    await gate.call("enter_refactor")
    await gate.write("app/money.py", STOLEN)
    await gate.call("edit_file", path="tests/test_money.py", old="== 8", new="== 12")
    await gate.call("leave_refactor")


async def left_without_tests(gate: Watched) -> None:
    await gate.call("enter_refactor")
    await gate.write("app/money.py", STOLEN)
    await gate.call("delete_file", path="tests/test_money.py")
    await gate.call("leave_refactor")


async def left_with_a_conftest(gate: Watched) -> None:
    await gate.call("enter_refactor")
    await gate.write("app/money.py", STOLEN)
    await gate.write("conftest.py", "def pytest_pyfunc_call(pyfuncitem):\n    return True\n")
    await gate.call("leave_refactor")


async def without_an_end(gate: Watched) -> None:
    """More edits than refactor mode has."""
    await gate.call("enter_refactor")
    for n in range(3):
        await gate.write("app/money.py", f"{MONEY}X = {n}\n")
    await gate.write("app/money.py", f"{MONEY}X = 'stolen'\n")


async def by_the_shell(gate: Watched) -> None:
    await gate.call("enter_refactor")
    await gate.shell("sed -i 's/amount \\* 2/amount * 3  # stolen/' app/money.py")
    await gate.call("leave_refactor")


async def of_what_is_protected(gate: Watched) -> None:
    await gate.call("enter_refactor")
    await gate.write("penstock.toml", "[redgreen]\nmode = 'off'\n")


async def entered_in_mid_turn(gate: Watched) -> None:
    """Edits under a red, and then the mode that needs none."""
    await gate.call("run_tests", tests=[NAME])
    await gate.write("app/money.py", RIGHT)
    await gate.call("enter_refactor")
    await gate.write("app/money.py", BROKEN)


async def a_plan_for_a_licence(gate: Watched) -> None:
    step = {"text": "double it", "test_id": "tests/test_money.py::test_double", "test_file_path": "tests/test_money.py"}
    await gate.call("plan", steps=[step])
    await gate.write("app/money.py", STOLEN)


async def a_plan_with_production_for_a_test(gate: Watched) -> None:
    step = {
        "text": "double it",
        "test_id": ["pytest", "app/money.py", ["double"], None],
        "test_file_path": "app/money.py",
    }
    await gate.call("plan", steps=[step])
    await gate.call("run_tests", tests=[["pytest", "app/money.py", ["double"], None]])
    await gate.call(
        "write_file", path="app/money.py", content=STOLEN, test=["pytest", "app/money.py", ["double"], None]
    )


async def turn_after_turn(gate: Watched) -> None:
    """The end of a turn forgives nothing."""
    await gate.shell("echo 'X = 3' >> app/money.py")
    for _ in range(3):
        await gate.call("end_turn")
    await gate.write("app/money.py", STOLEN)


async def an_exempt_name(gate: Watched) -> None:
    """A name that is exempt by its end, for a directory of code."""
    await gate.shell("mkdir app/x.md; echo 'X = 3' > app/x.py; mv app/x.py app/money.md.py")


def mode(name: str, attack: Attack, right: Right, lands: Lands = is_altered, **more: object) -> Vector:
    return Vector(name, "mode", right, attack, lands, **more)  # type: ignore[arg-type]


VECTORS: tuple[Vector, ...] = (
    mode("refactor mode on a red", entered_on_red, "blocked", files={**PROJECT, **OTHER}),
    mode("refactor mode left broken", left_broken, "restored"),
    mode("refactor mode never left", never_left, "restored"),
    mode("refactor mode left with weaker tests", left_with_weaker_tests, "restored"),
    mode("refactor mode left without tests", left_without_tests, "restored"),
    mode("refactor mode left with a conftest", left_with_a_conftest, "restored"),
    mode(
        "refactor mode without an end",
        without_an_end,
        "blocked",
        is_stolen,
        limits=RedGreenLimits(mutants_max=0, refactor_edits_max=3),
    ),
    mode("refactor mode by the shell", by_the_shell, "restored"),
    mode("refactor mode for what is protected", of_what_is_protected, "blocked"),
    mode("refactor mode in mid-turn", entered_in_mid_turn, "restored", is_stolen, files=ASKED),
    mode("a plan for a licence", a_plan_for_a_licence, "blocked"),
    mode("a plan with production code for a test", a_plan_with_production_for_a_test, "blocked"),
    mode("turn after turn", turn_after_turn, "blocked"),
    mode("a name that looks exempt", an_exempt_name, "restored", files=PROJECT),
)
