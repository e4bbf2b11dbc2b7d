"""The landing ref: where it is, who may move it, and that nothing else moves."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from penstock.adapters.git.trunk import GitTrunk
from penstock.core.policy import FileClasses, Landing
from penstock.ports import BadInput, Fenced
from tests.contract.git_world import REVISION, World, commit, git, make_repository, open_world

Story = Callable[[World], Awaitable[None]]


def tell(top: Path, story: Story, landing: Landing | None = None) -> None:
    async def run() -> None:
        world = await open_world(top, landing)
        await world.trunk.take_fence(1)
        await story(world)

    asyncio.run(run())


def refs(top: Path) -> dict[str, str]:
    listing = git(top, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads")
    return dict(line.split() for line in listing.splitlines())


async def landed_once(world: World, files: dict[str, str], name: str = "agent") -> str:
    base = await world.trunk.observe()
    made = await world.make(files, name, start=base.commit)
    formed = await world.form(made.head, base.commit)
    assert await world.land(formed.commit, base.commit) == "landed"
    return formed.commit


def test_a_checked_out_branch_is_never_moved(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")
    before = refs(top)

    async def story(world: World) -> None:
        landed = await landed_once(world, {"src/shop.py": "new\n"})
        assert refs(top) == before | {"refs/heads/penstock/main": landed}
        assert git(top, "status", "--porcelain") == ""

    tell(top, story)


def test_a_branch_that_is_checked_out_in_a_linked_worktree_is_not_moved_either(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")
    git(top, "worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))

    async def story(world: World) -> None:
        assert await world.trunk.landing_ref() == "refs/heads/penstock/side"

    tell(top, story, Landing(target="side"))


def test_a_branch_that_nobody_has_checked_out_is_moved_itself(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")
    git(top, "branch", "side")

    async def story(world: World) -> None:
        landed = await landed_once(world, {"src/shop.py": "new\n"})
        assert refs(top)["refs/heads/side"] == landed
        assert "refs/heads/penstock/side" not in refs(top)

    tell(top, story, Landing(target="side"))


def test_a_branch_that_is_checked_out_later_stays_where_it_is(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")
    git(top, "branch", "side")

    async def story(world: World) -> None:
        base = (await world.trunk.observe()).commit
        formed = await world.form((await world.make({"src/shop.py": "new\n"}, start=base)).head, base)
        git(top, "switch", "-q", "side")
        assert await world.land(formed.commit, base) == "failed"
        assert refs(top)["refs/heads/side"] == base

    tell(top, story, Landing(target="side"))


def test_a_run_works_from_a_linked_worktree(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")
    git(top, "worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))

    async def story(world: World) -> None:
        landed = await landed_once(world, {"src/shop.py": "new\n"})
        assert refs(top)["refs/heads/penstock/side"] == landed

    tell(tmp_path / "linked", story)


def test_a_dirty_tree_takes_no_part(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")
    (top / "src/shop.py").write_text("dirty\n")
    (top / "src/new.py").write_text("untracked\n")
    git(top, "add", "src/shop.py")

    async def story(world: World) -> None:
        landed = await landed_once(world, {"src/cart.py": "new\n"})
        assert "src/new.py" not in world.names(landed)
        assert "dirty" not in world.content(landed, "src/shop.py")
        assert git(top, "status", "--porcelain").split() == ["M", "src/shop.py", "??", "src/new.py"]

    tell(top, story)


def test_landing_twice_is_landing_once(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")

    async def story(world: World) -> None:
        base = (await world.trunk.observe()).commit
        landed = await landed_once(world, {"src/shop.py": "new\n"})
        assert await world.land(landed, base) == "landed"
        assert (await world.trunk.observe()).commit == landed

    tell(top, story)


def test_trunk_that_somebody_moved_is_not_moved_again(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")

    async def story(world: World) -> None:
        base = (await world.trunk.observe()).commit
        formed = await world.form((await world.make({"src/shop.py": "new\n"}, start=base)).head, base)
        theirs = commit(top, {"src/cart.py": "theirs\n"})
        git(top, "branch", "-f", "penstock/main", theirs)
        assert await world.land(formed.commit, base) == "moved"
        assert refs(top)["refs/heads/penstock/main"] == theirs

    tell(top, story)


def test_the_landing_ref_follows_a_target_that_is_ahead(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")

    async def story(world: World) -> None:
        await world.trunk.observe()
        theirs = commit(top, {"src/cart.py": "theirs\n"})
        assert (await world.trunk.observe()).commit == theirs == refs(top)["refs/heads/penstock/main"]

    tell(top, story)


def test_a_target_that_diverged_is_refused_with_the_command(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")

    async def story(world: World) -> None:
        await landed_once(world, {"src/shop.py": "new\n"})
        commit(top, {"src/cart.py": "theirs\n"})
        with pytest.raises(BadInput, match=r"diverged[\s\S]*git merge penstock/main"):
            await world.trunk.observe()

    tell(top, story)


def test_an_old_writer_cannot_land_after_a_take_over(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")

    async def story(old: World) -> None:
        base = (await old.trunk.observe()).commit
        formed = await old.form((await old.make({"src/shop.py": "new\n"}, start=base)).head, base)
        new = GitTrunk(old.facts, old.store, Landing(), FileClasses())
        await new.take_fence(2)
        with pytest.raises(Fenced):
            await old.land(formed.commit, base)
        assert refs(top)["refs/heads/penstock/main"] == base
        assert await old.land(formed.commit, base, trunk=new) == "landed"

    tell(top, story)


def test_the_same_epoch_is_not_the_same_fence(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")

    async def story(old: World) -> None:
        base = (await old.trunk.observe()).commit
        await GitTrunk(old.facts, old.store, Landing(), FileClasses()).take_fence(1)
        with pytest.raises(Fenced):
            await old.land(base, base)

    tell(top, story)


def test_the_fence_is_verified_by_the_transaction_itself(tmp_path: Path) -> None:
    """A writer that is put to sleep between looking and moving: its transaction names the fence that it knew."""
    top = make_repository(tmp_path / "shop")

    async def story(old: World) -> None:
        base = (await old.trunk.observe()).commit
        other = commit(top, {"src/cart.py": "x\n"})
        change = f"update refs/heads/penstock/main {other} {base}"
        await GitTrunk(old.facts, old.store, Landing(), FileClasses()).take_fence(2)
        assert "refs/penstock/fence" in await old.trunk._transact(change)
        assert refs(top)["refs/heads/penstock/main"] == base

    tell(top, story)


def test_a_writer_without_a_fence_lands_nothing(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")

    async def story(world: World) -> None:
        base = (await world.trunk.observe()).commit
        with pytest.raises(Fenced):
            await world.land(base, base, trunk=GitTrunk(world.facts, world.store, Landing(), FileClasses()))

    tell(top, story)


def test_done_tickets_are_read_from_trailers(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")
    commit(top, {"a": "1"}, f"Penstock-Ticket: T-0 {REVISION} in a text\n\nis no trailer\n\nit is prose")

    async def story(world: World) -> None:
        assert await world.trunk.done_tickets() == {}
        landed = await landed_once(world, {"src/shop.py": "new\n"})
        assert await world.trunk.done_tickets() == {("T-1", REVISION): landed}

    tell(top, story)


def test_follow_prints_the_command_unless_told_otherwise(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")

    async def story(world: World) -> None:
        assert await world.trunk.follow() == ""
        await landed_once(world, {"src/shop.py": "new\n"})
        assert await world.trunk.follow() == "git merge --ff-only penstock/main"

    tell(top, story)


def test_follow_prints_a_merge_where_the_target_went_its_own_way(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")

    async def story(world: World) -> None:
        await landed_once(world, {"src/shop.py": "new\n"})
        commit(top, {"src/cart.py": "mine\n"})
        assert await world.trunk.follow() == "git merge penstock/main"

    tell(top, story)


def test_follow_takes_a_clean_checkout_along(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")

    async def story(world: World) -> None:
        await landed_once(world, {"src/shop.py": "new\n"})
        assert await world.trunk.follow() == ""
        assert (top / "src/shop.py").read_text() == "new\n"
        assert git(top, "status", "--porcelain") == ""
        (top / "src/cart.py").write_text("dirty\n")
        await landed_once(world, {"src/shop.py": "newer\n"}, name="second")
        assert await world.trunk.follow() == "git merge --ff-only penstock/main"
        assert (top / "src/shop.py").read_text() == "new\n"

    tell(top, story, Landing(follow=True))


def test_the_users_repository_needs_nothing_of_ours(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")

    async def story(world: World) -> None:
        landed = await landed_once(world, {"src/shop.py": "new\n"})
        world.store.path.rename(tmp_path / "gone")
        assert "new" in git(top, "show", f"{landed}:src/shop.py")
        git(top, "fsck", "--strict")

    tell(top, story)
