"""Working trees of ours, and what is taken over from them."""

import asyncio
import os
import random
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from penstock.ports import Checkout, Confinement, Imported, ImportRefused
from tests.contract.git_world import FILES, Confined, World, git, make_repository, open_world, write

Story = Callable[[World], Awaitable[None]]


def tell(top: Path, story: Story) -> None:
    async def run() -> None:
        await story(await open_world(top))

    asyncio.run(run())


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "shop")


def by_agent(checkout: Checkout) -> Path:
    return Path(checkout.path)


# --- opening --------------------------------------------------------------------------------------------------------


def test_a_clone_is_a_repository_of_its_own(top: Path) -> None:
    git(top, "tag", "-a", "v1", "-m", "one")

    async def story(world: World) -> None:
        clone = await world.work()
        tree = by_agent(clone)
        assert git(tree, "status", "--porcelain", "--branch") == "## work"
        assert git(tree, "rev-parse", "HEAD") == clone.commit
        assert git(tree, "config", "user.email") == "ada@example.org"
        assert git(tree, "remote") == ""
        assert git(tree, "describe") == "v1"
        assert {p.read_text() for p in tree.rglob("*.py")} == {v for k, v in FILES.items() if k.endswith(".py")}
        git(tree, "commit", "-q", "--allow-empty", "-m", "by the agent")
        git(tree, "gc", "-q")
        git(tree, "fsck")

    tell(top, story)


def test_a_clone_shares_no_file_with_the_store(top: Path) -> None:
    async def story(world: World) -> None:
        tree = by_agent(await world.work())
        assert all(path.stat().st_nlink == 1 for path in tree.rglob("*") if path.is_file())
        assert not list((tree / ".git/objects").rglob("*.pack"))

    tell(top, story)


def test_a_checkout_is_detached_at_exactly_the_commit(top: Path) -> None:
    git(top, "tag", "light")

    async def story(world: World) -> None:
        base = (await world.trunk.observe()).commit
        head = (await world.make({"src/shop.py": "new\n", "run.sh": "#!/bin/sh\n"})).head
        checkout = await world.workspaces.open_checkout("gate", head)
        tree = by_agent(checkout)
        assert git(tree, "status", "--porcelain", "--branch") == "## HEAD (no branch)"
        assert git(tree, "rev-parse", "HEAD") == checkout.commit == head != base
        assert checkout.tree == git(tree, "write-tree")
        assert git(tree, "tag") == "light"

    tell(top, story)


def test_a_name_is_taken_once(top: Path) -> None:
    async def story(world: World) -> None:
        clone = await world.work("one")
        with pytest.raises(FileExistsError):
            await world.work("one")
        await world.workspaces.discard(clone)
        await world.work("one")

    tell(top, story)


def test_names_stay_inside_and_apart(top: Path) -> None:
    async def story(world: World) -> None:
        clones = [await world.work(name) for name in ("../../up", "a/b", "a b", "a-b", ".hidden", "x" * 300)]
        homes = {by_agent(clone).parent for clone in clones}
        assert len(homes) == len(clones)
        assert {home.parent for home in homes} == {world.facts.state_dir / "clones"}

    tell(top, story)


def test_discarding_ends_even_what_was_closed(top: Path) -> None:
    async def story(world: World) -> None:
        clone = await world.work()
        made = await world.take(clone)
        closed = by_agent(clone) / "src"
        closed.chmod(0)
        await world.workspaces.discard(clone)
        await world.workspaces.discard(clone)
        assert not by_agent(clone).parent.exists()
        assert world.names(made.tree)

    tell(top, story)


# --- taking over ----------------------------------------------------------------------------------------------------


def statuses(made: Imported) -> dict[str, str]:
    return {change.path: change.status for change in made.changes}


def test_everything_in_the_working_tree_counts(top: Path) -> None:
    async def story(world: World) -> None:
        clone = await world.work()
        tree = by_agent(clone)
        write(tree, {"src/new.py": "x\n", "src/cart.py": "changed\n", "noise.log": "ignored"})
        (tree / "src/shop.py").unlink()
        (tree / "tests/test_shop.py").chmod(0o755)
        (tree / "link").symlink_to("/etc/passwd")
        (tree / "data.bin").write_bytes(bytes(range(256)))
        made = await world.take(clone)
        assert statuses(made) == {
            "src/new.py": "added",
            "src/cart.py": "modified",
            "src/shop.py": "deleted",
            "tests/test_shop.py": "modified",
            "link": "added",
            "data.bin": "added",
        }
        assert git(world.store.path, "ls-tree", made.tree, "link").startswith("120000")
        assert git(world.store.path, "ls-tree", made.tree, "tests/test_shop.py").startswith("100755")
        assert git(world.store.path, "cat-file", "-s", f"{made.tree}:data.bin") == "256"
        assert made.lines == made.total_lines == 1 + 3 + 2 + 1

    tell(top, story)


def test_names_that_are_no_utf8_survive(top: Path) -> None:
    async def story(world: World) -> None:
        clone = await world.work()
        name = b"caf\xe9.py"
        Path(clone.path, os.fsdecode(name)).write_text("x\n")
        made = await world.take(clone)
        assert statuses(made) == {"caf\\xe9.py": "added"}
        listing = git(world.store.path, "ls-tree", "-z", "--name-only", made.tree)
        assert name in listing.encode("utf-8", "surrogateescape")
        base = (await world.trunk.observe()).commit
        formed = await world.form(made.head, base)
        assert formed.tree == made.tree
        assert "caf\\xe9.py" in await world.candidates.files(formed.commit)

    tell(top, story)


def test_nothing_done_is_the_start_itself(top: Path) -> None:
    async def story(world: World) -> None:
        clone = await world.work()
        git(by_agent(clone), "commit", "-q", "--allow-empty", "-m", "busy")
        made = await world.take(clone)
        assert (made.head, made.is_empty, made.salvage) == (clone.commit, True, "")

    tell(top, story)


def commit_it(tree: Path) -> None:
    git(tree, "switch", "-q", "-c", "mine")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "mine")


def stage_something_else(tree: Path) -> None:
    text = (tree / "src/shop.py").read_text()
    (tree / "src/shop.py").write_text("staged only\n")
    git(tree, "add", "-A")
    (tree / "src/shop.py").write_text(text)


def go_back(tree: Path) -> None:
    commit_it(tree)
    git(tree, "checkout", "-q", "--detach", "HEAD")
    git(tree, "update-ref", "-d", "refs/heads/work")


def hide_changes(tree: Path) -> None:
    git(tree, "update-index", "--assume-unchanged", "src/shop.py")
    git(tree, "update-index", "--skip-worktree", "src/cart.py")


def lock_the_index(tree: Path) -> None:
    (tree / ".git/index.lock").touch()


def remove_git(tree: Path) -> None:
    os.rename(tree / ".git", tree.parent / "elsewhere")


def corrupt_git(tree: Path) -> None:
    for name in ("HEAD", "config", "index"):
        (tree / ".git" / name).write_bytes(b"\0garbage")


def begin_anew(tree: Path) -> None:
    remove_git(tree)
    git(tree, "init", "-q")


MEDDLING = [commit_it, stage_something_else, go_back, hide_changes, lock_the_index, remove_git, corrupt_git, begin_anew]


@pytest.mark.parametrize("meddle", MEDDLING, ids=lambda f: f.__name__)
def test_what_the_agent_did_with_its_git_makes_no_difference(top: Path, meddle: Callable[[Path], None]) -> None:
    async def story(world: World) -> None:
        clone = await world.work()
        write(by_agent(clone), {"src/shop.py": "mine\n", "src/new.py": "mine\n"})
        meddle(by_agent(clone))
        made = await world.take(clone)
        assert statuses(made) == {"src/shop.py": "modified", "src/new.py": "added"}

    tell(top, story)


def test_closed_files_are_taken_too(top: Path) -> None:
    async def story(world: World) -> None:
        clone = await world.work()
        write(by_agent(clone), {"src/deep/new.py": "mine\n"})
        (by_agent(clone) / "src/deep/new.py").chmod(0)
        (by_agent(clone) / "src/deep").chmod(0)
        assert statuses(await world.take(clone)) == {"src/deep/new.py": "added"}

    tell(top, story)


def test_a_repository_inside_is_taken_as_files_and_named(top: Path) -> None:
    async def story(world: World) -> None:
        clone = await world.work()
        make_repository(by_agent(clone) / "vendor/lib", {"lib.py": "x\n"})
        git(by_agent(clone), "init", "-q", "vendor/lib/empty")
        write(by_agent(clone), {"vendor/lib/empty/deep.py": "y\n"})
        made = await world.take(clone)
        assert statuses(made) == {"vendor/lib/lib.py": "added", "vendor/lib/empty/deep.py": "added"}
        assert set(made.set_aside) == {"vendor/lib/.git", "vendor/lib/empty/.git"}
        kept = git(world.store.path, "ls-tree", "-r", "--name-only", made.salvage)
        assert "vendor/lib/.git-of-nested-repository/HEAD" in kept

    tell(top, story)


def test_an_ignored_repository_inside_is_left_alone(top: Path) -> None:
    async def story(world: World) -> None:
        clone = await world.work()
        make_repository(by_agent(clone) / "cache.log/lib", {"lib.py": "x\n"})
        made = await world.take(clone)
        assert (made.changes, made.set_aside) == ((), ())

    tell(top, story)


# --- restricting ----------------------------------------------------------------------------------------------------


def test_protected_files_stay_and_proposals_are_no_part(top: Path) -> None:
    async def story(world: World) -> None:
        clone = await world.work()
        write(
            by_agent(clone),
            {
                "src/shop.py": "mine\n",
                "penstock.toml": "weakened\n",
                "tickets/02.md": "forged\n",
                ".penstock/proposed/split.md": "more work\n",
            },
        )
        (by_agent(clone) / "tickets/01.md").unlink()
        made = await world.take(clone)
        assert statuses(made) == {"src/shop.py": "modified"}
        assert made.protected == ("penstock.toml", "tickets/01.md", "tickets/02.md")
        assert made.proposed == (".penstock/proposed/split.md",)
        assert world.content(made.head, "penstock.toml") == FILES["penstock.toml"].strip()
        assert git(world.store.path, "rev-parse", f"{made.head}^") == clone.commit
        assert world.content(made.salvage, ".penstock/proposed/split.md") == "more work"
        assert world.content(made.salvage, "penstock.toml") == "weakened"

    tell(top, story)


def test_what_goes_beyond_is_set_aside_and_kept(top: Path) -> None:
    async def story(world: World) -> None:
        clone = await world.work()
        write(by_agent(clone), {"src/shop.py": "mine\n", "src/cart.py": "beyond\n", "more/new.py": "beyond\n"})
        made = await world.take(clone, allowed=("src/shop.py", "tests"))
        assert statuses(made) == {"src/shop.py": "modified"}
        assert made.set_aside == ("more/new.py", "src/cart.py")
        assert world.content(made.salvage, "more/new.py") == "beyond"

    tell(top, story)


def test_only_refused_work_leaves_the_start(top: Path) -> None:
    async def story(world: World) -> None:
        clone = await world.work()
        write(by_agent(clone), {"penstock.toml": "weakened\n"})
        made = await world.take(clone)
        assert (made.head, made.is_empty, made.protected) == (clone.commit, True, ("penstock.toml",))
        assert world.content(made.salvage, "penstock.toml") == "weakened"

    tell(top, story)


def test_a_file_in_the_place_of_a_protected_directory_gives_way(top: Path) -> None:
    async def story(world: World) -> None:
        clone = await world.work()
        (by_agent(clone) / "tickets/01.md").unlink()
        (by_agent(clone) / "tickets").rmdir()
        write(by_agent(clone), {"tickets": "a file now\n"})
        (by_agent(clone) / "penstock.toml").unlink()
        write(by_agent(clone), {"penstock.toml/deep.py": "a directory now\n"})
        made = await world.take(clone)
        assert made.tree == clone.tree
        assert "tickets/01.md" in made.protected and "penstock.toml" in made.protected
        assert "tickets" in made.set_aside
        assert world.content(made.salvage, "tickets") == "a file now"

    tell(top, story)


def test_work_is_kept_when_its_ref_is_used_again(top: Path) -> None:
    async def story(world: World) -> None:
        clone = await world.work()
        write(by_agent(clone), {"src/shop.py": "first\n"})
        first = await world.take(clone)
        write(by_agent(clone), {"src/shop.py": "second\n"})
        second = await world.take(clone)
        assert first.salvage == second.salvage
        reachable = git(world.store.path, "rev-list", "--all")
        assert first.head in reachable and second.head in reachable

    tell(top, story)


def test_markers_and_totals_are_counted_against_trunk(top: Path) -> None:
    async def story(world: World) -> None:
        base = (await world.trunk.observe()).commit
        first = await world.make({"src/a.py": "# TODO one\n# FIXME TODO two\n+++ TODO three\nx\n"}, name="first")
        clone = await world.work("second", start=first.head)
        write(by_agent(clone), {"src/b.py": "fine\n"})
        second = await world.take(clone, trunk=base)
        assert (first.pending_markers, first.lines) == (3, 4)
        assert (second.pending_markers, second.lines, second.total_lines) == (3, 1, 5)

    tell(top, story)


# --- refusing -------------------------------------------------------------------------------------------------------


def test_a_tracked_file_that_is_a_pipe_now_is_refused_by_name(top: Path) -> None:
    async def story(world: World) -> None:
        clone = await world.work()
        (by_agent(clone) / "src/shop.py").unlink()
        os.mkfifo(by_agent(clone) / "src/shop.py")
        with pytest.raises(ImportRefused, match=r"src/shop\.py"):
            await world.take(clone)

    tell(top, story)


def test_refused_work_stays_on_disk(top: Path) -> None:
    async def story(world: World) -> None:
        clone = await world.work()
        write(by_agent(clone), {"src/new.py": "mine\n", ".GIT/config": "[core]\n"})
        with pytest.raises(ImportRefused) as refused:
            await world.take(clone)
        await world.workspaces.discard(clone)
        kept = Path(str(refused.value).rpartition(" is kept in ")[2])
        assert (kept / "src/new.py").read_text() == "mine\n"
        await world.work()

    tell(top, story)


def test_a_name_that_is_git_in_disguise_is_refused(top: Path) -> None:
    async def story(world: World) -> None:
        clone = await world.work()
        write(by_agent(clone), {"deep/.GIT/config": "[core]\n"})
        with pytest.raises(ImportRefused, match=r"deep/\.GIT"):
            await world.take(clone)

    tell(top, story)


MEGABYTE = 1_000_000


@pytest.mark.parametrize("cap", [2 * MEGABYTE, 10 * MEGABYTE])
def test_a_bomb_is_refused_before_it_is_kept(top: Path, cap: int) -> None:
    """Zeros compress to nothing, and two equal files are one object: what counts is what they become in a checkout."""

    async def story() -> None:
        world = await open_world(top, work_bytes_max=cap)
        clone = await world.work()
        for n in range(2):
            (by_agent(clone) / f"zeros{n}").write_bytes(bytes(3 * MEGABYTE))
        if cap > 6 * MEGABYTE:
            assert len((await world.take(clone)).changes) == 2
            return
        with pytest.raises(ImportRefused, match="6000000 bytes"):
            await world.take(clone)
        kept = git(world.store.path, "for-each-ref")
        assert "salvage" not in kept and "incoming" not in kept

    asyncio.run(story())


@pytest.mark.parametrize("cap", [2 * MEGABYTE, 10 * MEGABYTE])
def test_a_huge_object_is_refused_while_it_is_written(top: Path, cap: int) -> None:
    async def story() -> None:
        world = await open_world(top, work_bytes_max=cap)
        clone = await world.work()
        (by_agent(clone) / "noise").write_bytes(random.Random(1).randbytes(3 * MEGABYTE))
        if cap > 6 * MEGABYTE:
            assert len((await world.take(clone)).changes) == 1
            return
        with pytest.raises(ImportRefused, match="cannot be committed"):
            await world.take(clone)

    asyncio.run(story())


# --- inside a sandbox -----------------------------------------------------------------------------------------------

needs_bubblewrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs the package bubblewrap")


def look_around(world: World, clone: Checkout, script: str) -> str:
    """What a confined program sees and does in a working tree."""
    home = by_agent(clone).parent / "home-of-agent"
    home.mkdir(exist_ok=True)
    confinement = Confinement(checkout=clone, home=str(home), mounts=world.workspaces.mounts(clone))
    command = Confined().wrap(("sh", "-c", script), confinement)
    end = subprocess.run(command.argv, env=command.env, cwd=command.cwd, capture_output=True, text=True, check=False)
    return end.stdout + end.stderr


@needs_bubblewrap
def test_work_is_taken_over_through_the_sandbox(top: Path) -> None:
    async def story() -> None:
        world = await open_world(top, sandbox=Confined())
        clone = await world.work()
        said = look_around(
            world, clone, "pwd; git status --short; echo mine >src/new.py; git add -A; git commit -qm x; git log"
        )
        assert said.startswith(f"{top}\n") and "first" in said
        made = await world.take(clone)
        assert statuses(made) == {"src/new.py": "added"}
        assert world.content(made.head, "src/new.py") == "mine"
        await world.workspaces.discard(clone)

    asyncio.run(story())


@needs_bubblewrap
def test_the_store_can_be_read_and_not_written_inside(top: Path) -> None:
    async def story() -> None:
        world = await open_world(top, sandbox=Confined())
        clone = await world.work()
        store = world.store.path
        said = look_around(
            world, clone, f"cat {store}/HEAD; touch {store}/planted; rm -rf {store}/objects; touch .git/mine"
        )
        assert said.startswith("ref: ") and "Read-only file system" in said
        assert not (store / "planted").exists() and (by_agent(clone) / ".git/mine").exists()
        assert (await world.store.git.run("fsck")).status == 0

    asyncio.run(story())


@needs_bubblewrap
def test_a_linked_mount_point_is_not_followed(top: Path, tmp_path: Path) -> None:
    """What is mounted over a link would be mounted, and its directories made, wherever the link leads."""

    async def story() -> None:
        world = await open_world(top, sandbox=Confined())
        clone = await world.work()
        assert world.workspaces.mounts(clone)
        os.rename(by_agent(clone) / ".git", tmp_path / "git")
        (by_agent(clone) / ".git").symlink_to(tmp_path / "elsewhere")
        write(by_agent(clone), {"src/new.py": "mine\n"})
        assert world.workspaces.mounts(clone) == ()
        assert statuses(await world.take(clone)) == {"src/new.py": "added"}
        assert not (tmp_path / "elsewhere").exists()

    asyncio.run(story())
