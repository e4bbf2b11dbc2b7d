"""A user's repository in a temporary directory, with everything of ours that works on it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock.adapters.git.candidates import GitCandidates
from penstock.adapters.git.repository import RepositoryFacts, inspect_repository
from penstock.adapters.git.store import Store
from penstock.adapters.git.trunk import GitTrunk
from penstock.adapters.git.workspaces import GitWorkspaces
from penstock.adapters.processes import LocalProcesses
from penstock.adapters.sandbox_none import NoSandbox
from penstock.core.events import CandidateFormed, LandOrder, MergeOrder
from penstock.core.policy import FileClasses, Landing
from penstock.ports import Checkout, Command, Confinement, Imported, ImportOrder, Isolation, Sandbox

AUTHOR = {"name": "Ada", "email": "ada@example.org"}
USERS_ENV = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z",
    "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z",
}
FILES = {
    "src/shop.py": "def price():\n    return 1\n",
    "src/cart.py": "def add():\n    return []\n",
    "tests/test_shop.py": "def test_price():\n    assert 1\n\n\ndef test_more():\n    assert 2\n",
    "tests/conftest.py": "",
    "pyproject.toml": "[project]\n",
    "penstock.toml": "[agent]\n",
    "tickets/01.md": "wanted\n",
    ".gitignore": "*.log\n",
}
REVISION = "d" * 64


class Confined:
    """Bubblewrap, in as few words as possible: its own view of the file system, no network."""

    def isolation(self) -> Isolation:
        return Isolation(name="bubblewrap", filesystem=True, network=True, processes=True)

    def wrap(self, argv: Sequence[str], confinement: Confinement, cwd: str | None = None) -> Command:
        checkout = confinement.checkout
        seen = [(checkout.path, checkout.at, True), (confinement.home, "/home/agent", True)]
        seen += [(mount.source, mount.target, mount.writable) for mount in confinement.mounts]
        binds = [word for source, at, writable in seen for word in ("--bind" if writable else "--ro-bind", source, at)]
        given = {"PATH": "/usr/bin:/bin", "HOME": "/home/agent", **confinement.env}
        env = [word for item in given.items() for word in ("--setenv", *item)]
        links = [word for name in ("bin", "lib", "lib64") for word in ("--symlink", f"usr/{name}", f"/{name}")]
        switches = ["--unshare-all", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL", "--die-with-parent"]
        place = ["--ro-bind", "/usr", "/usr", *links, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        run = ["bwrap", *switches, "--clearenv", *place, *binds, *env, "--chdir", cwd or checkout.at, "--", *argv]
        return Command(argv=tuple(run), cwd="/", env={"PATH": os.environ["PATH"]})


def git(place: Path, *arguments: str, stdin: bytes = b"") -> str:
    """Git as the user runs it."""
    env = USERS_ENV | {f"GIT_{who}_{key.upper()}": AUTHOR[key] for who in ("AUTHOR", "COMMITTER") for key in AUTHOR}
    end = subprocess.run(["git", *arguments], cwd=place, input=stdin, env=env, check=True, capture_output=True)
    return end.stdout.decode("utf-8", "surrogateescape").strip()


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def make_repository(top: Path, files: dict[str, str] = FILES) -> Path:
    """A repository with one commit on `main`, checked out."""
    top.mkdir(parents=True)
    git(top, "init", "-q", "-b", "main")
    git(top, "config", "user.name", AUTHOR["name"])
    git(top, "config", "user.email", AUTHOR["email"])
    commit(top, files, "first")
    return top


def commit(top: Path, files: dict[str, str], message: str = "more") -> str:
    write(top, files)
    git(top, "add", "-A")
    git(top, "commit", "-q", "--allow-empty", "-m", message)
    return git(top, "rev-parse", "HEAD")


@dataclass
class World:
    """One writer on one repository."""

    facts: RepositoryFacts
    store: Store
    trunk: GitTrunk
    candidates: GitCandidates
    workspaces: GitWorkspaces

    @property
    def top(self) -> Path:
        return Path(self.facts.top)

    async def work(self, name: str = "agent", start: str = "") -> Checkout:
        """A clone for an agent, at trunk or at `start`."""
        return await self.workspaces.open_clone(name, start or (await self.trunk.observe()).commit)

    async def take(self, clone: Checkout, allowed: tuple[str, ...] = (), trunk: str = "") -> Imported:
        order = ImportOrder(
            ref=f"refs/penstock/salvage/run/T-1/{Path(clone.path).parent.name}",
            start=clone.commit,
            trunk=trunk or clone.commit,
            message="T-1: turn",
            allowed=allowed,
        )
        return await self.workspaces.import_work(clone, order)

    async def make(self, files: dict[str, str], name: str = "agent", start: str = "") -> Imported:
        """What a well-behaved agent makes."""
        clone = await self.work(name, start)
        write(Path(clone.path), files)
        return await self.take(clone)

    def merge_order(self, head: str, onto: str, **others: object) -> MergeOrder:
        given = {"ticket": "T-1", "revision": REVISION, "title": "Sell", "evidence_key": "run/1", **others}
        return MergeOrder(head=head, onto=onto, **given)  # type: ignore[arg-type]

    async def form(self, head: str, onto: str, **others: object) -> CandidateFormed:
        formed = await self.candidates.form(self.merge_order(head, onto, **others))
        assert isinstance(formed, CandidateFormed), formed
        return formed

    async def land(self, commit: str, expected: str, trunk: GitTrunk | None = None) -> str:
        tree = await self.store.tree_of(commit)
        order = LandOrder(ticket="T-1", commit=commit, tree=tree, expected=expected)
        return (await (trunk or self.trunk).land(order)).outcome

    def names(self, tree: str) -> list[str]:
        return git(self.store.path, "ls-tree", "-r", "--name-only", tree).splitlines()

    def content(self, tree: str, path: str) -> str:
        return git(self.store.path, "show", f"{tree}:{path}")


async def open_world(
    top: Path, landing: Landing | None = None, sandbox: Sandbox | None = None, work_bytes_max: int = 200_000_000
) -> World:
    landing = landing or Landing()
    facts = await inspect_repository(top, landing)
    store = Store(facts)
    await store.sync()
    files = FileClasses()
    clones = facts.state_dir / "clones"
    processes, sandbox = LocalProcesses(), sandbox or NoSandbox({"PATH": os.environ["PATH"]})
    return World(
        facts=facts,
        store=store,
        trunk=GitTrunk(facts, store, landing, files),
        candidates=GitCandidates(store, landing, files, run="run-1"),
        workspaces=GitWorkspaces(store, sandbox, processes, files, clones, facts.top, work_bytes_max),
    )
