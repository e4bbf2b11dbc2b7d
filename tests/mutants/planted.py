"""The planted defects: one per guard."""

from __future__ import annotations

from tests.mutants import core, git, judging, shell, world
from tests.mutants.defect import Planted

PLANTED: tuple[Planted, ...] = (*core.PLANTED, *judging.PLANTED, *git.PLANTED, *shell.PLANTED, *world.PLANTED)
