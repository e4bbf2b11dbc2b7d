"""What an agent plants in its clone, or in the tree, does not run and does not leak when we use git.

Every plant is first seen to work: the same repository, used carelessly, makes the canary. There is no sandbox here at
all, so what holds, holds by the way git is called.
"""

import asyncio
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.core.policy import Landing
from penstock.ports import Imported
from tests.contract.git_world import World, commit, git, make_repository, open_world, write

SECRET = "the secret of another repository"


@dataclass(frozen=True)
class Ground:
    """Where an attack takes place: the clone, and what lies outside of it."""

    tree: Path
    outside: Path

    @property
    def canary(self) -> Path:
        return self.outside / "canary"

    @property
    def payload(self) -> str:
        """A program that makes the canary and passes its input on."""
        path = self.outside / "payload"
        path.write_text(f"#!/bin/sh\ntouch {self.canary}\ncat 2>/dev/null || true\n")
        path.chmod(0o755)
        return str(path)

    def configure(self, *settings: tuple[str, str]) -> None:
        for key, value in settings:
            git(self.tree, "config", key, value)


def carelessly(place: Path, *arguments: str, **env: str) -> None:
    """Git as one calls it without a thought. Whether it succeeds is no matter."""
    every = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "x", "GIT_AUTHOR_EMAIL": "x"}
    every |= {"GIT_COMMITTER_NAME": "x", "GIT_COMMITTER_EMAIL": "x", **env}
    subprocess.run(
        ["git", *arguments], cwd=place, env=every, check=False, capture_output=True, stdin=subprocess.DEVNULL
    )


@dataclass(frozen=True)
class Plant:
    """`sow` is what the agent does at last; `careless` is what would make it run."""

    sow: Callable[[Ground], None]
    careless: Callable[[Ground], None]

    def __str__(self) -> str:
        return self.sow.__name__


def plant_hooks(ground: Ground) -> None:
    for name in ("pre-commit", "post-index-change", "reference-transaction", "post-checkout"):
        hook = ground.tree / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.symlink_to(ground.payload)


def plant_tracked_hooks(ground: Ground) -> None:
    write(ground.tree, {".githooks/pre-commit": "#!/bin/sh\n" + f"touch {ground.canary}\n"})
    (ground.tree / ".githooks/pre-commit").chmod(0o755)
    ground.configure(("core.hooksPath", ".githooks"))


def plant_clean_filter(ground: Ground) -> None:
    write(ground.tree, {"src/.gitattributes": "* filter=evil\n"})
    ground.configure(("filter.evil.clean", ground.payload))


def plant_process_filter(ground: Ground) -> None:
    write(ground.tree, {"src/.gitattributes": "* filter=evil\n"})
    ground.configure(("filter.evil.process", ground.payload), ("filter.evil.required", "true"))


def plant_smudge_filter(ground: Ground) -> None:
    write(ground.tree, {"src/.gitattributes": "* filter=evil\n"})
    ground.configure(("filter.evil.smudge", ground.payload))
    (ground.tree / "src/shop.py").unlink()


def plant_text_conversion(ground: Ground) -> None:
    write(ground.tree, {".git/info/attributes": "* diff=evil\n", "src/shop.py": "changed\n"})
    ground.configure(("diff.evil.textconv", ground.payload))


def plant_external_diff(ground: Ground) -> None:
    write(ground.tree, {"src/shop.py": "changed\n"})
    ground.configure(("diff.external", ground.payload))


def plant_merge_driver(ground: Ground) -> None:
    write(ground.tree, {".git/info/attributes": "* merge=evil\n"})
    ground.configure(("merge.evil.driver", f"{ground.payload} %O %A %B"))
    for branch, text in (("one", "one\n"), ("two", "two\n")):
        git(ground.tree, "switch", "-q", "-c", branch, "work")
        commit(ground.tree, {"src/shop.py": text})


def plant_monitor(ground: Ground) -> None:
    ground.configure(("core.fsmonitor", ground.payload))


def plant_alternate_refs(ground: Ground) -> None:
    ground.configure(("core.alternateRefsCommand", ground.payload))


def plant_transport(ground: Ground) -> None:
    ground.configure(("remote.origin.url", f"ext::touch {ground.canary}"), ("protocol.ext.allow", "always"))


def plant_upload_hook(ground: Ground) -> None:
    """Git reads this key only from the settings of whoever serves: the plant is a home that the agent wrote."""
    write(ground.outside, {"home/.gitconfig": f"[uploadpack]\n\tpackObjectsHook = {ground.payload}\n"})
    write(ground.tree, {"src/new.py": "x\n"})


def plant_elsewhere(ground: Ground) -> None:
    """The git directory itself is a link to one that lies outside and is full of plants."""
    plant_monitor(ground)
    os.rename(ground.tree / ".git", ground.outside / "evil.git")
    (ground.tree / ".git").symlink_to(ground.outside / "evil.git")


def plant_git_file(ground: Ground) -> None:
    plant_monitor(ground)
    os.rename(ground.tree / ".git", ground.outside / "evil.git")
    (ground.tree / ".git").write_text(f"gitdir: {ground.outside}/evil.git\n")


def plant_included_settings(ground: Ground) -> None:
    write(ground.outside, {"settings": f"[core]\n\tfsmonitor = {ground.payload}\n"})
    ground.configure(("include.path", f"{ground.outside}/settings"))


def plant_repository_inside(ground: Ground) -> None:
    inner = make_repository(ground.tree / "vendor/lib", {"lib.py": "x\n"})
    git(inner, "config", "core.fsmonitor", ground.payload)
    git(ground.tree, "add", "vendor")
    git(ground.tree, "commit", "-q", "-m", "a link to the inner repository")


def run_git(*arguments: str) -> Callable[[Ground], None]:
    return lambda ground: carelessly(ground.tree, *arguments)


def serve_from_a_planted_home(ground: Ground) -> None:
    git(ground.outside, "init", "-q", "--bare", "thief.git")
    carelessly(ground.outside / "thief.git", "fetch", str(ground.tree), "work", HOME=str(ground.outside / "home"))


def add_and_commit(ground: Ground) -> None:
    carelessly(ground.tree, "add", "-A")
    carelessly(ground.tree, "commit", "-q", "-m", "work")


def merge_branches(ground: Ground) -> None:
    carelessly(ground.tree, "merge", "one")


PLANTS = [
    Plant(plant_hooks, add_and_commit),
    Plant(plant_tracked_hooks, add_and_commit),
    Plant(plant_clean_filter, add_and_commit),
    Plant(plant_process_filter, add_and_commit),
    Plant(plant_smudge_filter, run_git("checkout", "--", "src/shop.py")),
    Plant(plant_text_conversion, run_git("diff", "HEAD")),
    Plant(plant_external_diff, run_git("diff", "HEAD")),
    Plant(plant_merge_driver, merge_branches),
    Plant(plant_monitor, run_git("status")),
    Plant(plant_alternate_refs, run_git("rev-list", "--alternate-refs", "HEAD")),
    Plant(plant_transport, run_git("fetch", "origin")),
    Plant(plant_upload_hook, serve_from_a_planted_home),
    Plant(plant_elsewhere, run_git("status")),
    Plant(plant_git_file, run_git("status")),
    Plant(plant_included_settings, run_git("status")),
    Plant(plant_repository_inside, run_git("status")),
]


async def take_over(world: World, ground_of: Callable[[Path], Ground], sow: Callable[[Ground], None]) -> Imported:
    """A whole turn's worth of git on planted work: import, candidate, diff, checkout, end."""
    clone = await world.work()
    ground = ground_of(Path(clone.path))
    sow(ground)
    ground.canary.unlink(missing_ok=True)
    made = await world.take(clone)
    formed = await world.form(made.head, clone.commit)
    await world.candidates.diff(clone.commit, formed.commit)
    await world.workspaces.open_checkout("gate", formed.commit)
    await world.workspaces.discard(clone)
    return made


@pytest.mark.parametrize("plant", PLANTS, ids=str)
def test_no_plant_runs(tmp_path: Path, plant: Plant) -> None:
    top = make_repository(tmp_path / "shop")
    outside = tmp_path / "outside"
    outside.mkdir()

    async def story() -> None:
        world = await open_world(top)
        careless = Ground(Path((await world.work("careless")).path), outside)
        plant.sow(careless)
        careless.canary.unlink(missing_ok=True)
        plant.careless(careless)
        assert careless.canary.exists(), "the plant does not work, so that it proves nothing"
        await world.trunk.take_fence(1)
        await take_over(world, lambda tree: Ground(tree, tmp_path / "outside2"), plant.sow)

    (tmp_path / "outside2").mkdir()
    asyncio.run(story())
    assert not (tmp_path / "outside2/canary").exists()


# --- reading what is not the agent's --------------------------------------------------------------------------------


def point_the_tree_elsewhere(ground: Ground) -> None:
    ground.configure(("core.worktree", str(ground.outside)))


def borrow_objects(ground: Ground) -> None:
    """HEAD is a commit of another repository, whose objects are borrowed."""
    (ground.tree / ".git/objects/info/alternates").write_text(f"{ground.outside}/.git/objects\n")
    (ground.tree / ".git/refs/heads/work").write_text(git(ground.outside, "rev-parse", "HEAD") + "\n")


def link_a_directory(ground: Ground) -> None:
    for path in (ground.tree / "src").iterdir():
        path.unlink()
    (ground.tree / "src").rmdir()
    (ground.tree / "src").symlink_to(ground.outside)


def read_by_adding(ground: Ground) -> str:
    carelessly(ground.tree, "add", "-A")
    return subprocess.run(["git", "grep", "--cached", SECRET], cwd=ground.tree, capture_output=True, text=True).stdout


def read_by_fetching(ground: Ground) -> str:
    return git(ground.tree, "show", "work:src/shop.py")


def read_by_path(ground: Ground) -> str:
    return (ground.tree / "src/src/shop.py").read_text()


@pytest.mark.parametrize(
    ("sow", "read"),
    [
        (point_the_tree_elsewhere, read_by_adding),
        (borrow_objects, read_by_fetching),
        (link_a_directory, read_by_path),
    ],
)
def test_nothing_of_others_is_taken_over(
    tmp_path: Path, sow: Callable[[Ground], None], read: Callable[[Ground], str]
) -> None:
    top = make_repository(tmp_path / "shop")
    outside = make_repository(tmp_path / "outside", {"src/shop.py": SECRET})

    async def story() -> None:
        world = await open_world(top)
        careless = Ground(Path((await world.work("careless")).path), outside)
        sow(careless)
        assert SECRET in read(careless), "the plant does not work, so that it proves nothing"
        made = await take_over(world, lambda tree: Ground(tree, outside), sow)
        secret = git(outside, "rev-parse", "HEAD:src/shop.py")
        assert not await world.store.has(secret)
        assert SECRET not in "".join(world.content(made.tree, name) for name in world.names(made.tree))

    asyncio.run(story())


def test_work_cannot_be_hidden_by_private_ignore_rules(tmp_path: Path) -> None:
    """What is not taken over is not judged, but would be there for the next turn of a careless harness."""
    top = make_repository(tmp_path / "shop")

    async def story() -> None:
        world = await open_world(top)
        clone = await world.work()
        tree = Path(clone.path)
        write(tree, {".git/info/exclude": "*\n", "src/new.py": "mine\n"})
        assert git(tree, "status", "--porcelain") == ""
        assert [change.path for change in (await world.take(clone)).changes] == ["src/new.py"]

    asyncio.run(story())


# --- the user's own repository --------------------------------------------------------------------------------------


def test_hooks_that_are_tracked_files_do_not_run_when_we_land(tmp_path: Path) -> None:
    """The user's hooks lie in the tree, so that an agent's work can change them."""
    top = make_repository(tmp_path / "shop")
    ground = Ground(top, tmp_path)
    hooks = dict.fromkeys(("reference-transaction", "post-merge"), f"#!/bin/sh\ntouch {ground.canary}\n")
    write(top, {f".githooks/{name}": text for name, text in hooks.items()})
    for name in hooks:
        (top / ".githooks" / name).chmod(0o755)
    commit(top, {})
    git(top, "config", "core.hooksPath", ".githooks")

    async def story() -> None:
        world = await open_world(top, Landing(follow=True))
        await world.trunk.take_fence(1)
        base = (await world.trunk.observe()).commit
        formed = await world.form((await world.make({"src/shop.py": "new\n"}, start=base)).head, base)
        assert await world.land(formed.commit, base) == "landed"
        assert await world.trunk.follow() == ""
        assert (top / "src/shop.py").read_text() == "new\n"

    asyncio.run(story())
    assert not ground.canary.exists()
    carelessly(top, "update-ref", "refs/heads/other", "HEAD")
    assert ground.canary.exists(), "the plant does not work, so that it proves nothing"


def test_the_users_merge_driver_does_not_run_when_we_merge(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")
    ground = Ground(top, tmp_path)
    commit(top, {".gitattributes": "* merge=evil\n"})
    git(top, "config", "merge.evil.driver", f"{ground.payload} %O %A %B")

    async def story() -> None:
        world = await open_world(top)
        head = (await world.make({"src/shop.py": "mine\n"})).head
        theirs = commit(top, {"src/shop.py": "theirs\n"})
        await world.store.sync()
        await world.candidates.form(world.merge_order(head, theirs))
        assert not ground.canary.exists()
        git(top, "fetch", "-q", str(world.store.path), head)
        carelessly(top, "merge-tree", "--write-tree", theirs, head)
        assert ground.canary.exists(), "the plant does not work, so that it proves nothing"

    asyncio.run(story())
