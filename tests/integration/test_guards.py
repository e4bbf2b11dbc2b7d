"""Guards that only show when two things happen at once, or when something else has failed before."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from penstock.core.events import LandOrder
from penstock.ports import Command, Confinement
from tests.contract.git_world import Confined, World, git, make_repository, open_world


def test_of_two_landings_at_once_one_moves_trunk(tmp_path: Path) -> None:
    """Both have looked before either moves: what is expected is part of the move itself."""
    top = make_repository(tmp_path / "shop")

    async def story() -> None:
        world = await open_world(top)
        await world.trunk.take_fence(1)
        base = (await world.trunk.observe()).commit
        orders = [await order_of(world, base, name) for name in ("shop", "cart")]
        ended = await asyncio.gather(*map(world.trunk.land, orders))
        assert sorted(end.outcome for end in ended) == ["landed", "moved"]
        moves = git(top, "reflog", "show", "--format=%H", "penstock/main").splitlines()
        assert len(moves) == 2
        assert moves[1] == base
        landed = next(order for order, end in zip(orders, ended, strict=True) if end.outcome == "landed")
        assert moves[0] == landed.commit

    asyncio.run(story())


async def order_of(world: World, base: str, name: str) -> LandOrder:
    made = await world.make({f"src/{name}.py": "new\n"}, name=name, start=base)
    formed = await world.form(made.head, base)
    return LandOrder(ticket="T-1", commit=formed.commit, tree=formed.tree, expected=base)


class Watched(Confined):
    """Says what is run inside."""

    def __init__(self) -> None:
        self.inside: list[str] = []

    def wrap(self, argv: Sequence[str], confinement: Confinement, cwd: str | None = None) -> Command:
        self.inside.append(" ".join(argv[:2]))
        return super().wrap(argv, confinement, cwd)


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs the package bubblewrap")
def test_an_agents_repository_is_read_inside_the_sandbox(tmp_path: Path) -> None:
    """Both commands that open it over the agent's files: the one that commits, and the one that hands it out."""
    top = make_repository(tmp_path / "shop")

    async def story() -> None:
        sandbox = Watched()
        world = await open_world(top, sandbox=sandbox)
        made = await world.make({"src/shop.py": "new\n"})
        assert world.content(made.head, "src/shop.py") == "new"
        assert sandbox.inside == ["sh -c", "git upload-pack"]

    asyncio.run(story())
