"""One line flips between right and wrong within one second, at one size: every verdict must be of the tree as it is."""

from __future__ import annotations

import os
from pathlib import Path

from penstock.core.redgreen.verdicts import RED
from penstock.kernel.runner import RunOrder
from penstock.kernel.runners.pytest_runner import PytestRunner
from tests.integration.gate_world import MONEY, PROJECT, make_launcher, pytest_id, write_files

RIGHT, WRONG = MONEY, MONEY.replace("amount / 2", "amount / 3")
AT_NS = 1_700_000_000_000_000_000


async def flip(place: Path, times: int, *, warm: bool) -> list[str]:
    """What was stale: one text for each flip that was not seen."""
    top = place / "tree"
    write_files(top, PROJECT)
    runner = PytestRunner(make_launcher(top, place / "scratch"), warm=warm)
    order = RunOrder(tests=(pytest_id("tests/test_money.py", "test_half"),))
    stale: list[str] = []
    try:
        for n in range(times):
            is_right = n % 2 == 0
            path = top / "app/money.py"
            path.write_text(RIGHT if is_right else WRONG)
            os.utime(path, ns=(AT_NS, AT_NS))
            verdict = (await runner.run(order)).outcomes[0].verdict
            if (verdict == "green") != is_right or (not is_right and verdict not in RED):
                stale.append(f"flip {n}: {verdict} where it is {'right' if is_right else 'wrong'}")
    finally:
        await runner.close()
    return stale
