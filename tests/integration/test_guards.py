"""Guards that only show when two things happen at once, or when something else has failed before."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from penstock.adapters.git.trunk import GitTrunk
from penstock.adapters.sandbox_none import NoSandbox
from penstock.core.events import LandOrder
from penstock.core.policy import FileClasses, Landing
from penstock.ports import Command, Confinement, Fenced, ImportRefused
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


def test_a_writer_that_never_took_the_fence_moves_nothing(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")

    async def story() -> None:
        world = await open_world(top)
        await world.trunk.take_fence(1)
        base = (await world.trunk.observe()).commit
        order = await order_of(world, base, "shop")
        other = GitTrunk(world.facts, world.store, Landing(), FileClasses())
        with pytest.raises(Fenced):
            await other.land(order)
        assert git(top, "rev-parse", "penstock/main") == base
        assert (await world.trunk.land(order)).outcome == "landed"

    asyncio.run(story())


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


FORGERY = """
set -eu
config=$(echo '[core]' | git hash-object -w --stdin)
tree=$(printf '100644 blob %s\\t%s\\n' "$config" "$NAME" | git mktree)
git update-ref refs/penstock/out "$(git commit-tree -p "$1" -m work "$tree")"
"""


class Broken(NoSandbox):
    """Whoever is inside has taken the place of our own commands: it writes objects that git would never make."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def wrap(self, argv: Sequence[str], confinement: Confinement, cwd: str | None = None) -> Command:
        if argv[0] != "sh":
            return super().wrap(argv, confinement, cwd)
        env = {**confinement.env, "NAME": self._name}
        return super().wrap(("sh", "-c", FORGERY, *argv[3:]), msgspec.structs.replace(confinement, env=env), cwd)


@pytest.mark.parametrize("name", ["honest", ".git", "GIT~1"])
def test_objects_that_git_would_never_make_are_not_taken_over(tmp_path: Path, name: str) -> None:
    top = make_repository(tmp_path / "shop")

    async def story() -> None:
        world = await open_world(top, sandbox=Broken(name))
        taking = world.take(await world.work())
        if name == "honest":
            made = await taking
            assert world.content(made.head, name) == "[core]"
            return
        with pytest.raises(ImportRefused, match="hasDotgit"):
            await taking

    asyncio.run(story())
