"""Working trees of ours: clones for agents, checkouts for gates, each a fresh repository that borrows our objects.

`NAME/tree` is the working tree; what only we may see lies beside it. No git command of ours ever runs on its `.git`
again after it was handed out: see `intake`.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from penstock.adapters.git.commands import Git
from penstock.adapters.git.intake import Intake
from penstock.adapters.git.restriction import Restriction, restrict
from penstock.adapters.git.skeleton import CORE_SETTINGS, WORK_BRANCH, is_plain_dir, make_git_dir, write_config
from penstock.adapters.git.store import Store, classified, file_changes
from penstock.core.digest import digest_of_bytes
from penstock.core.policy import FileClasses
from penstock.ports import Checkout, Imported, ImportOrder, ImportRefused, Mount, Processes, Sandbox

NAME_CHARS_MAX = 80
WORK_BYTES_MAX = 200_000_000
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class GitWorkspaces:
    """`ports.Workspaces` in the directory `clones`.

    `at`: where each tree appears inside the sandbox. `work_bytes_max`: new content that one turn may bring. `not_work`:
    paths that are ours in every clone (environments), never taken over.
    """

    def __init__(
        self,
        store: Store,
        sandbox: Sandbox,
        processes: Processes,
        files: FileClasses,
        clones: Path,
        at: str,
        work_bytes_max: int = WORK_BYTES_MAX,
        not_work: Sequence[str] = (),
    ) -> None:
        self._store = store
        self._sandbox = sandbox
        self._files = files
        self._clones = clones
        self._inside = at
        self._intake = Intake(store, sandbox, processes, work_bytes_max, not_work)

    async def open_clone(self, name: str, commit: str) -> Checkout:
        """A fresh repository at `commit`, on the branch `work`. Raises `FileExistsError` where the name is taken."""
        return await self._open(name, commit, is_clone=True)

    async def open_checkout(self, name: str, commit: str) -> Checkout:
        """A clean checkout of exactly `commit`, HEAD detached, with tags. Raises `FileExistsError`."""
        return await self._open(name, commit, is_clone=False)

    async def reopen(self, name: str, commit: str) -> Checkout | None:
        """The working tree that a writer which died left under that name; None where there is none."""
        path = self._clones / safe_name(name) / "tree"
        return await self._as_checkout(path, commit) if path.is_dir() else None

    async def discard(self, checkout: Checkout) -> None:
        """Delete the working tree and all that belongs to it; idempotent."""
        root = Path(checkout.path).parent
        assert root.parent == self._clones, f"{root} is none of ours"
        await asyncio.to_thread(_delete, root)

    def mounts(self, checkout: Checkout) -> tuple[Mount, ...]:
        """What makes the checkout's borrowed objects appear in the sandbox: our store, read-only.

        Nothing where whoever worked there before has put a link into the path of the mount point.
        """
        store = self._store.path
        if not self._is_isolated:
            return ()
        if store.is_relative_to(checkout.at):
            root = Path(checkout.path)
            if not is_plain_dir(root, root / store.relative_to(checkout.at)):
                return ()
        return (Mount(source=str(store), target=str(store)),)

    async def import_work(self, clone: Checkout, order: ImportOrder) -> Imported:
        """Take everything over and keep it under `order.ref`; then restrict it.

        Raises `ImportRefused`; the work then stays on disk, out of reach of `discard`, and the text says where.
        """
        try:
            tree = await self._intake.take(clone, order.start)
        except ImportRefused as refusal:
            kept = self._set_apart(Path(clone.path).parent)
            raise ImportRefused(f"{refusal}\nwhat it made is kept in {kept / 'tree'}") from refusal
        start_tree = await self._store.tree_of(order.start)
        if tree == start_tree:
            return await self._imported(order, order.start, Restriction(), salvage="")
        made = await self._store.commit(tree, [order.start], order.message)
        await self._salvage(order.ref, made)
        restriction = restrict(self._files, order.allowed, await self._store.changes(order.start, tree))
        head_tree = await self._store.edit_tree(tree, restriction.edits)
        head = await self._head(order, made, tree, head_tree)
        return await self._imported(order, head, restriction, salvage=order.ref)

    @cached_property
    def _is_isolated(self) -> bool:
        return self._sandbox.isolation().filesystem

    async def _open(self, name: str, commit: str, is_clone: bool) -> Checkout:
        final = self._clones / safe_name(name)
        if final.exists():
            raise FileExistsError(f"there is a working tree called {final.name} already")
        self._clones.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._clones, prefix=".new-") as aside:
            made = Path(aside, "made")
            await self._check_out(made, commit, is_clone)
            os.rename(made, final)
        return await self._as_checkout(final / "tree", commit)

    async def _as_checkout(self, path: Path, commit: str) -> Checkout:
        at = self._inside if self._is_isolated else str(path)
        return Checkout(path=str(path), at=at, commit=commit, tree=await self._store.tree_of(commit))

    async def _check_out(self, root: Path, commit: str, is_clone: bool) -> None:
        tree, git_dir = root / "tree", root / "tree" / ".git"
        head, branch_at = (WORK_BRANCH, commit) if is_clone else (commit, "")
        make_git_dir(git_dir, head, self._store.path, branch_at, await self._store.packed_tags())
        facts = self._store.facts
        user = {"name": facts.author_name, "email": facts.author_email}
        write_config(git_dir, {"core": CORE_SETTINGS, "user": user, "gc": {"auto": "0"}})
        git = Git(f"--git-dir={git_dir}", f"--work-tree={tree}")
        await git.run("read-tree", "-m", "-u", commit)
        if self._store.path.is_relative_to(self._inside):
            (tree / self._store.path.relative_to(self._inside)).mkdir(parents=True, exist_ok=True)
        if is_clone:
            self._intake.prepare(root, git_dir / "index")

    def _set_apart(self, root: Path) -> Path:
        kept = Path(tempfile.mkdtemp(dir=self._clones, prefix=f"{root.name}.refused-"))
        os.rename(root, kept)
        return kept

    async def _salvage(self, ref: str, commit: str) -> None:
        """Keep the work, and whatever the ref kept before."""
        if before := await self._store.git.ask("rev-parse", "--verify", "--quiet", ref):
            await self._store.keep(f"refs/penstock/heads/{before}", before)
        await self._store.keep(ref, commit)

    async def _head(self, order: ImportOrder, made: str, tree: str, head_tree: str) -> str:
        if head_tree == tree:
            return made
        if head_tree == await self._store.tree_of(order.start):
            return order.start
        head = await self._store.commit(head_tree, [order.start], order.message)
        await self._store.keep(f"refs/penstock/heads/{head}", head)
        return head

    async def _imported(self, order: ImportOrder, head: str, restriction: Restriction, salvage: str) -> Imported:
        tree = await self._store.tree_of(head)
        changes = await self._store.changes(order.start, head)
        total = await self._store.changes(order.trunk, head)
        return Imported(
            head=head,
            tree=tree,
            changes=file_changes(classified(self._files, changes)),
            lines=sum(change.lines for change in changes),
            total_lines=sum(change.lines for change in total),
            is_empty=not total,
            pending_markers=await self._store.added_markers(order.trunk, head) if total else 0,
            set_aside=restriction.set_aside,
            protected=restriction.protected,
            proposed=restriction.proposed,
            salvage=salvage,
        )


def safe_name(name: str) -> str:
    """A file name for `name`: the same where it is one already, else with a digest, so that no two become one."""
    safe = _UNSAFE.sub("-", name)[:NAME_CHARS_MAX]
    if safe == name and not safe.startswith("."):
        return name
    return f"{safe.lstrip('.')}-{digest_of_bytes(name.encode('utf-8', 'surrogateescape'))[:8]}"


def _delete(root: Path) -> None:
    """Delete a directory, even what its own modes have closed."""
    for folder, inner, _ in os.walk(root):
        for name in inner:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                os.chmod(path, stat.S_IRWXU)
    shutil.rmtree(root, ignore_errors=not root.exists())
