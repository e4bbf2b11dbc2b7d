"""The planted defects: one per guard."""

from __future__ import annotations

from tests.mutants import (
    agent_loop,
    bypass,
    cli_redgreen,
    core,
    demo,
    fleet_catalogue,
    fleet_cli,
    fleet_hive,
    fleet_worker,
    git,
    hooks,
    judging,
    mcp,
    projects,
    redgreen_binding,
    redgreen_core,
    runners_compiled,
    runners_js,
    runners_python,
    shell,
    tree,
    world,
)
from tests.mutants.defect import Planted

PLANTED: tuple[Planted, ...] = (
    *core.PLANTED,
    *judging.PLANTED,
    *git.PLANTED,
    *hooks.PLANTED,
    *shell.PLANTED,
    *world.PLANTED,
    *tree.PLANTED,
    *redgreen_binding.PLANTED,
    *redgreen_core.PLANTED,
    *runners_compiled.PLANTED,
    *runners_js.PLANTED,
    *runners_python.PLANTED,
    *mcp.PLANTED,
    *cli_redgreen.PLANTED,
    *agent_loop.PLANTED,
    *demo.PLANTED,
    *bypass.PLANTED,
    *projects.PLANTED,
    *fleet_catalogue.PLANTED,
    *fleet_hive.PLANTED,
    *fleet_worker.PLANTED,
    *fleet_cli.PLANTED,
)
