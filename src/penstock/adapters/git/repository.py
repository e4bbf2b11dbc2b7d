"""Looks at the user's repository: can it be worked with, and what must be known of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from penstock.adapters.git.commands import Git, shown, users_environment
from penstock.core.policy import Frozen, Landing
from penstock.ports import BadInput, Problem

OLDEST_GIT = (2, 38)
FALLBACK_AUTHOR = ("Penstock", "penstock@localhost")
GITLINK_MODE = "160000"
NAMED_MAX = 5


class RepositoryFacts(Frozen):
    """What was found. `top` is the working tree that was looked at, perhaps a linked one."""

    top: str
    git_dir: str
    """The common git directory: shared by all linked working trees."""
    branch: str
    """The branch checked out at `top`; empty: none."""
    target: str
    """The target branch, without `refs/heads/`."""
    commit: str
    """Where the target is."""
    author_name: str
    author_email: str
    dirty_paths: int = 0

    @property
    def is_dirty(self) -> bool:
        """Whether the user's working tree has changes, which take no part in a run."""
        return self.dirty_paths > 0

    @property
    def state_dir(self) -> Path:
        """Where everything of ours lies: `penstock` in the git directory."""
        return Path(self.git_dir, "penstock")


def repository_git(facts: RepositoryFacts) -> Git:
    """Hardened git on the user's repository."""
    return Git(f"--git-dir={facts.git_dir}")


async def inspect_repository(path: str | Path, landing: Landing | None = None) -> RepositoryFacts:
    """Everything that must be known of the repository around `path`. Raises `BadInput` with every problem at once."""
    git = Git("-C", str(path))
    top, git_dir = await _locate(git, path)
    target = (landing or Landing()).target
    branch = await git.ask("symbolic-ref", "--quiet", "--short", "HEAD")
    found = [
        *await _problems_of_kind(git),
        *await _problems_of_target(git, branch, target),
        *await _problems_of_content(git, f"refs/heads/{target or branch}"),
    ]
    if found:
        raise BadInput([_problem(top, field, message, fix) for field, message, fix in found])
    name, email = await _author(top)
    return RepositoryFacts(
        top=top,
        git_dir=git_dir,
        branch=branch,
        target=target or branch,
        commit=await git.ask("rev-parse", "--verify", f"refs/heads/{target or branch}^{{commit}}"),
        author_name=name,
        author_email=email,
        dirty_paths=await _count_dirty(top),
    )


_Found = list[tuple[str, str, str]]
"""Field, message and fix of each problem."""


def _problem(place: str, field: str, message: str, fix: str) -> Problem:
    return Problem(file=place, line=0, field=field, message=message, fix=fix)


async def _locate(git: Git, path: str | Path) -> tuple[str, str]:
    """Top level and common git directory; without these nothing else can be asked."""
    place = str(path)
    version = await Git().run("version")
    if is_too_old(version.text):
        raise BadInput([_problem(place, "", f"{version.text} is too old", "install git 2.38 or newer")])
    git_dir = await git.ask("rev-parse", "--path-format=absolute", "--git-common-dir")
    if not git_dir:
        raise BadInput([_problem(place, "", "not a git repository", "run `git init` and make a first commit")])
    top = await git.ask("rev-parse", "--path-format=absolute", "--show-toplevel")
    if not top:
        fix = "start Penstock in a working tree: `git worktree add ../work BRANCH`"
        raise BadInput([_problem(place, "", "a bare repository, or inside of a git directory", fix)])
    return os.path.realpath(top), os.path.realpath(git_dir)


def is_too_old(version: str) -> bool:
    """Whether `git version 2.39.5 (...)` names a git that cannot merge without a working tree."""
    found = re.search(r"(\d+)\.(\d+)", version)
    return found is None or (int(found[1]), int(found[2])) < OLDEST_GIT


async def _problems_of_kind(git: Git) -> _Found:
    found: _Found = []
    if await git.ask("rev-parse", "--is-shallow-repository") == "true":
        found.append(("", "a shallow clone: its history is cut off", "`git fetch --unshallow`"))
    if await git.ask(
        "config", "--get-regexp", r"^(remote\..*\.(promisor|partialclonefilter)|extensions\.partialclone)$"
    ):
        found.append(("", "a partial clone: some of its objects are elsewhere", "clone it again without `--filter`"))
    if await git.ask("config", "--bool", "core.sparseCheckout") == "true":
        found.append(("", "a sparse checkout: some tracked files are missing", "`git sparse-checkout disable`"))
    if await git.ask("rev-parse", "--show-object-format") != "sha1":
        found.append(("", "its object ids are not SHA-1, which is not supported", "use a SHA-1 repository"))
    if await git.ask("rev-parse", "--verify", "--quiet", "refs/heads/penstock"):
        message = "a branch called `penstock` is in the way of the branches `penstock/...`"
        found.append(("", message, "`git branch -m penstock another-name`"))
    return found


async def _problems_of_target(git: Git, branch: str, target: str) -> _Found:
    if not target and not branch:
        message = "HEAD is detached, so no branch is known to work on"
        return [("landing.target", message, "`git switch BRANCH`, or set `landing.target`")]
    if await git.ask("rev-parse", "--verify", "--quiet", f"refs/heads/{target or branch}^{{commit}}"):
        return []
    if target and await git.ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}"):
        known = await git.ask("for-each-ref", "--count=5", "--format=%(refname:short)", "refs/heads")
        fix = "set `landing.target` to one of: " + ", ".join(known.split())
        return [("landing.target", f"there is no branch `{target}`", fix)]
    return [("", "it has no commits", "`git add . && git commit`")]


async def _problems_of_content(git: Git, target: str) -> _Found:
    """What the tree of the target holds that is not supported."""
    found: _Found = []
    listing = await git.run("ls-tree", "-r", "-z", "--full-tree", target, ok=(0, 128))
    entries = [entry.partition("\t") for entry in listing.text.split("\0") if entry]
    links = [path for meta, _, path in entries if meta.startswith(GITLINK_MODE)]
    if links or any(path == ".gitmodules" for _, _, path in entries):
        names = _named(links or [".gitmodules"])
        found.append(("", f"submodules are not supported: {names}", "`git rm` them, or keep their files in the tree"))
    if lfs := await _lfs_files(git, target):
        found.append(("", f"Git LFS is not supported: {_named(lfs)}", "`git lfs migrate export`, or drop the filter"))
    return found


async def _lfs_files(git: Git, target: str) -> list[str]:
    pattern = ("--full-name", "-E", "-e", r"filter=lfs([[:space:]]|$)", target, "--", ":(top,glob)**/.gitattributes")
    end = await git.run("grep", "-l", "-z", *pattern, ok=(0, 1, 128))
    return [entry.partition(":")[2] for entry in end.text.split("\0") if entry]


def _named(paths: list[str]) -> str:
    rest = len(paths) - NAMED_MAX
    return ", ".join(map(shown, paths[:NAMED_MAX])) + (f" and {rest} more" if rest > 0 else "")


async def _author(top: str) -> tuple[str, str]:
    users = Git("-C", top, environment=users_environment())
    name, email = await users.ask("config", "user.name"), await users.ask("config", "user.email")
    return (name, email) if name and email else FALLBACK_AUTHOR


async def _count_dirty(top: str) -> int:
    users = Git("-C", top, environment=users_environment())
    status = await users.run("status", "--porcelain", "-z", "--no-renames", ok=(0, 128))
    return status.stdout.count(b"\0")
