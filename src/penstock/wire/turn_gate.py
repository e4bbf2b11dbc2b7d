"""The gate round the clone of one turn: its ledger lies in the job's directory, outside of what the agent can reach."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from penstock import ports
from penstock.adapters.processes import LocalProcesses
from penstock.core.policy import FileClasses
from penstock.core.redgreen import events as e
from penstock.core.redgreen.policy import RedGreenPolicy
from penstock.kernel.launching import Launcher
from penstock.kernel.names import UnknownTest
from penstock.kernel.opening import open_session
from penstock.kernel.runs import Asked
from penstock.kernel.session import NotConfigured
from penstock.kernel.tools.dispatcher import Dispatcher
from penstock.settings.redgreen import mode_in_force
from penstock.settings.schema import RedGreenSettings
from penstock.wire.gate_daemon import make_world
from penstock.wire.runners import RUNNER_GRACE_MS, TreeRunners, keeper_command, why_not_strict

LEDGER = "redgreen.sqlite"
BLOBS = "redgreen-blobs.sqlite"
REDS_MAX = 20


class TurnGates:
    """Opens the gate of each turn. Tickets that name tests are strict where no mode is written and tests are there."""

    def __init__(self, settings: RedGreenSettings, files: FileClasses, sandbox: ports.Sandbox) -> None:
        self._settings, self._files, self._sandbox = settings, files, sandbox

    async def open(self, brief: ports.TurnBrief, confinement: ports.Confinement) -> Dispatcher:
        """A session over the clone, with the ticket's tests as its plan and the evidence's reds seen again."""
        job = Path(brief.job_dir)
        home = job / "gate-home"
        home.mkdir(exist_ok=True)
        launcher = Launcher(
            processes=LocalProcesses(grace_ms=RUNNER_GRACE_MS),
            sandbox=self._sandbox,
            confinement=msgspec.structs.replace(confinement, home=str(home), network="none", env={}),
            scratch=job / "gate-jobs",
            keeper=keeper_command(),
        )
        policy = self._policy(brief)
        runners = TreeRunners(launcher, policy)
        is_asked = policy.mode == "strict" and not self._settings.is_mode_written
        if is_asked and await why_not_strict(runners, launcher.top):
            policy = msgspec.structs.replace(policy, mode="warn")
        world = make_world(launcher, runners, job / LEDGER, job / BLOBS, epoch=1)
        name = f"{brief.order.ticket}/{brief.order.attempt}.{brief.order.turn}"
        session, desk = await open_session(world, name, policy)
        dispatcher = Dispatcher(session, desk)
        await _bring_tests(dispatcher, brief)
        return dispatcher

    def _policy(self, brief: ports.TurnBrief) -> RedGreenPolicy:
        mode, origin, _ = mode_in_force(self._settings, os.environ)
        if origin == "default" and brief.named_tests:
            mode = "strict"
        return msgspec.structs.replace(self._settings.policy, mode=mode, files=self._files)


async def _bring_tests(dispatcher: Dispatcher, brief: ports.TurnBrief) -> None:
    """What the ticket names is the plan; what a gate saw red on this very tree is run again, and licenses a fix."""
    session = dispatcher.session
    steps = []
    for name in brief.named_tests:
        path = name.partition("::")[0]
        try:
            test = dispatcher.names.named(name, path)
        except UnknownTest:
            steps.append(e.PlanStep(text=name, test_file_path=path))
        else:
            steps.append(e.PlanStep(text=name, test=test, test_file_path=test.path))
    if steps:
        session.append(e.PlanSubmitted(steps=tuple(steps)))
    wanted = dict.fromkeys((*brief.red_tests[:REDS_MAX], *brief.named_tests))
    present = [name for name in wanted if name.partition("::")[0] in session.expected]
    for name in present:
        try:
            tests, files = await dispatcher.names.several([name])
            await dispatcher.desk.ask(Asked(tests=tests, files=files))
        except (UnknownTest, NotConfigured):
            continue
