"""A working tree with a gate round it: real files, real SQLite, real pytest."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.adapters.blobs_sqlite import SqliteBlobs
from penstock.adapters.log_sqlite import SqliteLedger
from penstock.adapters.processes import LocalProcesses
from penstock.adapters.sandbox_none import NoSandbox
from penstock.core.redgreen.policy import Mode, RedGreenLimits, RedGreenPolicy
from penstock.core.redgreen.test_id import TestId
from penstock.kernel.launching import Launcher
from penstock.kernel.opening import open_session
from penstock.kernel.project import Project
from penstock.kernel.runner import TestRunner
from penstock.kernel.runners.pytest_runner import PytestRunner
from penstock.kernel.session import GateSession, GateWorld
from penstock.kernel.tools.dispatcher import Answer, Dispatcher
from penstock.kernel.tree.scanner import TreeScanner
from penstock.kernel.tree.writer import TreeWriter
from penstock.ports import Checkout, Confinement

MONEY = "def half(amount):\n    return amount / 2\n\n\ndef double(amount):\n    return amount * 2\n"
TEST_MONEY = (
    "from app import money\n\n\n"
    "def test_half():\n    assert money.half(4) == 2\n\n\n"
    "def test_double():\n    assert money.double(4) == 8\n"
)
PROJECT = {"app/__init__.py": "", "app/money.py": MONEY, "tests/test_money.py": TEST_MONEY, "README.md": "# App\n"}


def write_files(top: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def make_launcher(top: Path, scratch: Path) -> Launcher:
    home = scratch / "home"
    home.mkdir(parents=True, exist_ok=True)
    checkout = Checkout(path=str(top), at=str(top), commit="", tree="")
    return Launcher(
        processes=LocalProcesses(),
        sandbox=NoSandbox(),
        confinement=Confinement(checkout=checkout, home=str(home)),
        scratch=scratch / "jobs",
    )


@dataclass
class Gate:
    """An open session and its tools, and the tree that it guards."""

    top: Path
    dispatcher: Dispatcher

    @property
    def session(self) -> GateSession:
        return self.dispatcher.session

    async def call(self, tool: str, **arguments: Any) -> Answer:
        return await self.dispatcher.call(tool, arguments)

    async def red(self, test: str) -> Answer:
        """Run a test that must be red."""
        answer = await self.call("run_tests", tests=[test])
        assert ": red_" in answer.text, answer.text
        return answer

    async def ended(self) -> Answer:
        return await self.call("end_turn")

    def text(self, path: str) -> str:
        return (self.top / path).read_text()

    async def close(self) -> None:
        await self.session.close()


class OneRunner:
    """`kernel.project.Runners` with one runner, for `test_*.py`; None: nobody can run anything."""

    def __init__(self, runner: TestRunner | None) -> None:
        self._runner = runner
        self._project = Project(directory="", runner="pytest")

    def project_of(self, path: str) -> Project | None:
        name = path.rpartition("/")[2]
        return self._project if self._runner and name.startswith("test_") and name.endswith(".py") else None

    def projects(self, paths: Iterable[str]) -> tuple[Project, ...]:
        return (self._project,) if self._runner else ()

    def at(self, project: Project) -> TestRunner:
        assert self._runner is not None
        return self._runner

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.close()


async def open_gate(
    directory: Path,
    files: Mapping[str, str] = PROJECT,
    mode: Mode = "strict",
    *,
    limits: RedGreenLimits | None = None,
    exempt_files: tuple[str, ...] = ("*.md",),
    runner: TestRunner | None = None,
    warm: bool = False,
) -> Gate:
    """A gate round `directory/tree`; opened again on the same directory it goes on with the ledger that is there."""
    top, scratch = directory / "tree", directory / "scratch"
    top.mkdir(parents=True, exist_ok=True)
    ledger = directory / "ledger.sqlite"
    if not ledger.exists():
        write_files(top, files)
    launcher = make_launcher(top, scratch)
    blobs = SqliteBlobs(directory / "blobs.sqlite")
    ticks = itertools.count(1_000)
    log = (
        SqliteLedger.open_writer(ledger, 1 + max(0, _epoch(directory)))
        if ledger.exists()
        else SqliteLedger.create(ledger, "a-session", 1)
    )
    world = GateWorld(
        log=log,
        blobs=blobs,
        flush=blobs.flush,
        now_ms=lambda: next(ticks),
        scanner=TreeScanner(top, blobs=blobs),
        writer=TreeWriter(top, blobs),
        launcher=launcher,
        runners=OneRunner(runner or PytestRunner(launcher, warm=warm)),
    )
    policy = RedGreenPolicy(mode=mode, exempt_files=exempt_files, limits=limits or RedGreenLimits())
    session, desk = await open_session(world, "a-session", policy)
    return Gate(top, Dispatcher(session, desk))


def _epoch(directory: Path) -> int:
    """How often the ledger was opened: kept beside it."""
    kept = directory / "epoch"
    epoch = int(kept.read_text()) + 1 if kept.exists() else 1
    kept.write_text(str(epoch))
    return epoch


def pytest_id(path: str, *chain: str, param: str | None = None) -> TestId:
    return TestId(runner="pytest", path=path, chain=chain, param=param)


def run(main: Any) -> Any:
    """Run one coroutine to its end."""
    return asyncio.run(main)
