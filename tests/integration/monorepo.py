"""A repository of several projects with a gate round it, as `penstock gate` sets it up: nothing lies at its root."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from penstock.core.redgreen import events as e
from penstock.core.redgreen.policy import RedGreenPolicy
from penstock.kernel.opening import open_session
from penstock.kernel.tools.dispatcher import Dispatcher
from penstock.wire.gate_daemon import make_world
from penstock.wire.runners import TreeRunners
from tests.integration.gate_world import Gate, make_launcher, write_files

PYTEST = '[tool.pytest.ini_options]\npythonpath = ["src"]\ntestpaths = ["checks"]\n'


def python_project(name: str) -> dict[str, str]:
    """Works only where it is run from its own directory, by its own settings: both projects say `money`, and read
    `rate.txt` beside them.
    """
    return {
        f"{name}/pyproject.toml": f'{PYTEST}addopts = "-p no:cacheprovider"\n',
        f"{name}/rate.txt": "7",
        f"{name}/src/money.py": 'def rate():\n    return int(open("rate.txt").read())\n',
        f"{name}/checks/test_money.py": "import money\n\n\ndef test_rate():\n    assert money.rate() == 7\n",
    }


NODE = {
    "frontend/package.json": '{"name": "frontend", "type": "module", "scripts": {"test": "node --test"}}\n',
    "frontend/src/money.js": "export const rate = () => 7\n",
    "frontend/src/money.test.js": (
        "import assert from 'node:assert'\nimport test from 'node:test'\nimport { rate } from './money.js'\n\n"
        "test('rate', () => assert.equal(rate(), 7))\n"
    ),
}
FILES = {**python_project("services/a"), **python_project("services/b"), **NODE}


async def open_monorepo(
    directory: Path, files: Mapping[str, str] = FILES, policy: RedGreenPolicy | None = None, *, warm: bool = True
) -> Gate:
    """A strict gate round `directory/tree`."""
    top = directory / "tree"
    top.mkdir()
    write_files(top, files)
    policy = msgspec.structs.replace(policy or RedGreenPolicy(), mode="strict")
    launcher = make_launcher(top, directory / "scratch")
    runners = TreeRunners(launcher, policy, warm=warm)
    world = make_world(launcher, runners, directory / "ledger.sqlite", directory / "blobs.sqlite", 1)
    session, desk = await open_session(world, "a-session", policy)
    return Gate(top, Dispatcher(session, desk))


def spawns(gate: Gate, purpose: e.Purpose) -> list[str]:
    """Who was started for that, by runner and directory, in order."""
    told = (record.event for record in gate.session.world.log.read())
    return [f"{s.runner} {s.project}" for s in told if isinstance(s, e.SpawnEnded) and s.purpose == purpose]
