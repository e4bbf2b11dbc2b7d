"""Our bare store of objects, `penstock/store.git` in the user's git directory, and what every tree of ours needs.

The store borrows nothing: the user's repository is only read, and may be collected, packed or deleted meanwhile.
Nothing is ever collected here, since clones borrow from it. Everything that is kept has a ref:
`refs/penstock/salvage/...` what turns made, `refs/penstock/heads/ID` and `refs/penstock/candidates/ID` our commits.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeVar

from penstock.adapters.git.commands import EVERY_STATUS, Git, GitFailed, as_text, at_git_dir, shown
from penstock.adapters.git.repository import RepositoryFacts
from penstock.core.events import FileChange
from penstock.core.paths import PathKind, classify
from penstock.core.policy import FileClasses, Frozen

K = TypeVar("K")
V = TypeVar("V")
NO_OBJECT = "0" * 40
CACHED_MAX = 32
UPLOAD_FROM_USER = "git -c safe.directory=* upload-pack"
DIFF_SWITCHES = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--src-prefix=a/", "--dst-prefix=b/")
TAG_FORMAT = "%(objectname) %(refname)%(if)%(*objectname)%(then)%0a^%(*objectname)%(end)"


class Entry(Frozen):
    """One tracked path of a tree; `mode` in octal digits."""

    mode: str
    oid: str


class Change(Frozen):
    """One path that differs between two trees; None on the side where it is not."""

    path: str
    old: Entry | None
    new: Entry | None
    lines: int
    """Added plus removed; 0 for binary content."""

    @property
    def status(self) -> Literal["added", "modified", "deleted"]:
        """What happened to the path."""
        if self.old is None:
            return "added"
        return "modified" if self.new else "deleted"


class Store:
    """The store beside one user's repository."""

    def __init__(self, facts: RepositoryFacts) -> None:
        self.facts = facts
        self.path = facts.state_dir / "store.git"
        self.git = at_git_dir(self.path)
        self._trees: dict[str, str] = {}
        self._entries: dict[str, dict[str, Entry]] = {}
        self._changes: dict[tuple[str, str], tuple[Change, ...]] = {}
        self._tags: str | None = None

    async def sync(self) -> None:
        """Bring the target branch, our landing branches and all tags over from the user's repository."""
        await self._make()
        branches = [f"refs/heads/{self.facts.target}", "refs/heads/penstock/*"]
        wanted = [f"+{ref}:{ref}" for ref in dict.fromkeys([*branches, "refs/tags/*"])]
        switches = ("--quiet", "--no-tags", "--no-write-fetch-head", "--prune", f"--upload-pack={UPLOAD_FROM_USER}")
        await self.git.run("fetch", *switches, self.facts.git_dir, *wanted, wall_s=1_800)
        self._tags = None

    async def _make(self) -> None:
        if (self.path / "HEAD").exists():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".store-") as aside:
            await Git().run("init", "--quiet", "--bare", "--template=", "--object-format=sha1", f"{aside}/store.git")
            made = at_git_dir(f"{aside}/store.git")
            for key, value in (
                ("gc.auto", "0"),
                ("maintenance.auto", "false"),
                ("uploadpack.allowAnySHA1InWant", "true"),
            ):
                await made.run("config", key, value)
            os.rename(f"{aside}/store.git", self.path)

    async def has(self, commit: str) -> bool:
        """Whether the object is here."""
        return (await self.git.run("cat-file", "-e", commit, ok=EVERY_STATUS)).status == 0

    async def tree_of(self, commit: str) -> str:
        """Tree id of a commit."""
        if commit not in self._trees:
            self._trees[commit] = (await self.git.run("rev-parse", "--verify", f"{commit}^{{tree}}")).text
        return self._trees[commit]

    async def packed_tags(self) -> str:
        """All tags, in the format of `packed-refs`."""
        if self._tags is None:
            listing = await self.git.run("for-each-ref", f"--format={TAG_FORMAT}", "refs/tags")
            self._tags = "# pack-refs with: peeled fully-peeled sorted \n" + (
                listing.text + "\n" if listing.text else ""
            )
        return self._tags

    async def entries(self, tree: str) -> dict[str, Entry]:
        """Every tracked path of a tree or commit."""
        if tree in self._entries:
            return self._entries[tree]
        listing = as_text((await self.git.run("ls-tree", "-r", "-z", "--full-tree", tree)).stdout)
        split = (line.partition("\t") for line in listing.split("\0") if line)
        found = {path: Entry(mode=meta.split(" ")[0], oid=meta.split(" ")[2]) for meta, _, path in split}
        return _kept(self._entries, tree, found)

    async def changes(self, old: str, new: str) -> tuple[Change, ...]:
        """What differs between two trees or commits, by path; no renames."""
        if (old, new) in self._changes:
            return self._changes[old, new]
        shape = ("-r", "-z", "--raw", "--numstat", "--no-abbrev", "--no-renames", "--no-ext-diff", "--no-textconv")
        end = await self.git.run("diff-tree", *shape, old, new)
        return _kept(self._changes, (old, new), parse_changes(as_text(end.stdout)))

    async def read_blobs(self, oids: Iterable[str]) -> dict[str, bytes]:
        """Content by object id."""
        wanted = sorted(set(oids))
        if not wanted:
            return {}
        end = await self.git.run("cat-file", "--batch", stdin="".join(f"{oid}\n" for oid in wanted).encode())
        return dict(zip(wanted, parse_batch(end.stdout, len(wanted)), strict=True))

    async def size_of(self, oids: Iterable[str]) -> int:
        """Bytes of these objects together; one that is named twice counts twice, as it does in a checkout."""
        wanted = "".join(f"{oid}\n" for oid in oids)
        if not wanted:
            return 0
        end = await self.git.run("cat-file", "--batch-check=%(objectsize)", stdin=wanted.encode())
        return sum(int(size) for size in end.text.split())

    async def edit_tree(self, tree: str, edits: Mapping[str, Entry | None]) -> str:
        """The tree with some paths set, or taken away (None)."""
        if not edits:
            return tree
        with tempfile.TemporaryDirectory(dir=self.path, prefix="edit-") as aside:
            env = {"GIT_INDEX_FILE": f"{aside}/index"}
            await self.git.run("read-tree", tree, env=env)
            await self.git.run("update-index", "--replace", "-z", "--index-info", stdin=index_info(edits), env=env)
            return (await self.git.run("write-tree", env=env)).text

    async def commit(self, tree: str, parents: Sequence[str], message: str) -> str:
        """A commit by the user's own name. It has no ref yet: see `keep`."""
        person = (("NAME", self.facts.author_name), ("EMAIL", self.facts.author_email))
        env = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in person}
        given = [word for parent in parents for word in ("-p", parent)]
        end = await self.git.run(
            "commit-tree", tree, *given, "-F", "-", stdin=message.encode("utf-8", "replace"), env=env
        )
        self._trees[end.text] = tree
        return end.text

    async def keep(self, ref: str, commit: str) -> None:
        """Point a ref of the store at a commit."""
        await self.git.run("update-ref", "--no-deref", ref, commit)

    async def added_markers(self, old: str, new: str) -> int:
        """How many added lines contain TODO or FIXME."""
        end = await self.git.run("diff", *DIFF_SWITCHES, "--unified=0", "-GTODO|FIXME", old, new)
        return count_markers(end.stdout)

    async def diff(self, old: str, new: str, bytes_max: int) -> bytes:
        """Unified diff for people, cut off at `bytes_max`."""
        return await self.git.head_of("diff", *DIFF_SWITCHES, old, new, bytes_max=bytes_max)


def _kept(cache: dict[K, V], key: K, value: V) -> V:
    """Keep what was read of objects, which never change; the oldest goes when there are many."""
    cache[key] = value
    if len(cache) > CACHED_MAX:
        del cache[next(iter(cache))]
    return value


def parse_changes(listing: str) -> tuple[Change, ...]:
    """Read `diff-tree -z --raw --numstat`: first all raw entries, then the line counts of the same paths."""
    words = iter(listing.split("\0"))
    sides: dict[str, tuple[Entry | None, Entry | None]] = {}
    lines: dict[str, int] = {}
    for word in words:
        if word.startswith(":"):
            old_mode, new_mode, old, new, _ = word[1:].split(" ")
            sides[next(words)] = (_entry(old_mode, old), _entry(new_mode, new))
        elif word:
            added, removed, path = word.split("\t", 2)
            lines[path] = 0 if added == "-" else int(added) + int(removed)
    return tuple(Change(path=p, old=old, new=new, lines=lines.get(p, 0)) for p, (old, new) in sorted(sides.items()))


def _entry(mode: str, oid: str) -> Entry | None:
    return None if oid == NO_OBJECT else Entry(mode=mode, oid=oid)


def parse_batch(data: bytes, count: int) -> list[bytes]:
    """Contents out of `cat-file --batch`. Raises `GitFailed` where an object is missing."""
    contents = []
    at = 0
    for _ in range(count):
        end = data.index(b"\n", at)
        header = data[at:end].split(b" ")
        if len(header) != 3:
            raise GitFailed(f"git cat-file: {as_text(data[at:end])}")
        size = int(header[2])
        contents.append(data[end + 1 : end + 1 + size])
        at = end + size + 2
    return contents


def index_info(edits: Mapping[str, Entry | None]) -> bytes:
    """Edits in the format of `update-index --index-info`, the ones that take away first."""
    gone = [f"0 {NO_OBJECT}\t{path}\0" for path, entry in edits.items() if entry is None]
    there = [f"{entry.mode} {entry.oid}\t{path}\0" for path, entry in edits.items() if entry is not None]
    return "".join(gone + there).encode("utf-8", "surrogateescape")


def count_markers(diff: bytes) -> int:
    """Added lines with a marker; a line counts once."""
    count, in_hunk = 0, False
    for line in diff.split(b"\n"):
        if line.startswith((b"diff --git ", b"@@ ")):
            in_hunk = line.startswith(b"@@ ")
        elif in_hunk and line.startswith(b"+") and (b"TODO" in line or b"FIXME" in line):
            count += 1
    return count


Classified = list[tuple[Change, PathKind]]


def file_changes(changes: Classified) -> tuple[FileChange, ...]:
    """Changes as they go into records."""
    return tuple(
        FileChange(path=shown(change.path), status=change.status, kind=kind, lines=change.lines)
        for change, kind in changes
    )


def classified(files: FileClasses, changes: Iterable[Change]) -> Classified:
    """Each change with the kind of its path."""
    return [(change, classify(files, change.path)) for change in changes]
