"""Takes over what an agent left in its clone.

The clone's own git directory is never read: an agent may have put anything there, and what it did with branches,
index and commits is its own affair. What counts is the working tree. So the clone has a second git directory, the
intake, which the agent never sees. It is opened over the working tree inside the sandbox (attributes and file names
are hostile input too), and the commit made there comes over by a fetch whose other end runs in the same sandbox.

A repository inside the working tree would become a link to nowhere. Its git directory is renamed instead, so that its
files are ordinary files, and is itself kept with the salvaged work.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from penstock.adapters.git.commands import (
    HARDENED_CONFIG,
    HARDENED_ENVIRONMENT,
    ULIMIT_BLOCK_BYTES,
    GitFailed,
    config_environment,
)
from penstock.adapters.git.skeleton import CORE_SETTINGS, WORK_BRANCH, make_git_dir, write_config
from penstock.adapters.git.store import Store
from penstock.ports import Checkout, Command, Confinement, ImportRefused, Mount, Processes, ProcessOrder, Sandbox

WALL_MS_MAX = 60_000
TREE_INSIDE = "/penstock/tree"
INTAKE_INSIDE = "/penstock/intake.git"
NESTED_GIT = ".git-of-nested-repository"
OUT = "refs/penstock/out"
GITLINK_MODE = "160000"

COMMIT_WORK = f"""
set -eu
ulimit -f "$2"
find . -path ./.git -prune -o ! -type l \\( ! -perm -u=r -o -type d ! -perm -u=rwx \\) -exec chmod u+rwX {{}} \\;
unlink_nested() {{
    git ls-files -z --others --exclude-standard >"$GIT_DIR/others"
    xargs -0 sh -c 'for path; do case $path in
        */) mv -- "$path.git" "$path{NESTED_GIT}" && echo "$path";;
    esac; done' sh <"$GIT_DIR/others"
}}
while test -n "$(unlink_nested)"; do :; done
git update-index -q --refresh >/dev/null || :
git add --all
git update-ref {OUT} "$(git commit-tree -p "$1" -m work "$(git write-tree)")"
"""
"""Run by `sh` in the working tree, inside the sandbox; $1 is the commit that the work started from, $2 the cap of a
file in blocks. The refresh is for speed: inside, files have another owner than the index says, and `add` alone would
write every one of them anew, because objects that are borrowed read-only cannot be freshened."""


class _Place(NamedTuple):
    """Everything of one clone: the agent sees `tree` alone."""

    root: Path

    @property
    def intake(self) -> Path:
        return self.root / "intake.git"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def job_dir(self) -> Path:
        return self.root / "intake"


class Intake:
    """Turns working trees into trees of the store."""

    def __init__(
        self, store: Store, sandbox: Sandbox, processes: Processes, bytes_max: int, not_work: Sequence[str] = ()
    ) -> None:
        self._bytes_max = bytes_max
        self._not_work = tuple(not_work)
        self._store = store
        self._sandbox = sandbox
        self._processes = processes

    def prepare(self, root: Path, index: Path) -> None:
        """Lay the intake down beside the working tree in `root`; `index` lists what was checked out."""
        place = _Place(root)
        make_git_dir(place.intake, WORK_BRANCH, self._store.path)
        write_config(place.intake, {"core": CORE_SETTINGS})
        (place.intake / "index").write_bytes(index.read_bytes())
        (place.intake / "info").mkdir(exist_ok=True)
        (place.intake / "info" / "exclude").write_text("".join(f"/{path}\n" for path in self._not_work))
        place.home.mkdir()

    async def take(self, clone: Checkout, start: str) -> str:
        """Tree id, in the store, of everything in the working tree that is not ignored. Raises `ImportRefused`."""
        place = _Place(Path(clone.path).parent)
        confinement = self._confinement(place, clone)
        await self._commit(place, confinement, start)
        incoming = f"refs/penstock/incoming/{place.root.name}"
        try:
            await self._fetch(place, confinement, start, incoming)
            tree = (await self._store.git.run("rev-parse", "--verify", f"{incoming}^{{tree}}")).text
            await self._check(start, tree)
        finally:
            await self._store.git.run("update-ref", "--no-deref", "-d", incoming)
        return tree

    def _confinement(self, place: _Place, clone: Checkout) -> Confinement:
        is_inside = self._sandbox.isolation().filesystem
        tree, intake = (TREE_INSIDE, INTAKE_INSIDE) if is_inside else (clone.path, str(place.intake))
        store = str(self._store.path)
        mounts = (Mount(source=store, target=store), Mount(source=str(place.intake), target=intake, writable=True))
        person = (("NAME", self._store.facts.author_name), ("EMAIL", self._store.facts.author_email))
        people = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in person}
        return Confinement(
            checkout=Checkout(path=clone.path, at=tree, commit=clone.commit, tree=clone.tree),
            home=str(place.home),
            mounts=mounts if is_inside else (),
            env={**HARDENED_ENVIRONMENT, **people, "GIT_DIR": intake, "GIT_WORK_TREE": tree},
        )

    async def _commit(self, place: _Place, confinement: Confinement, start: str) -> None:
        blocks = str(self._bytes_max // ULIMIT_BLOCK_BYTES)
        command = self._sandbox.wrap(("sh", "-c", COMMIT_WORK, "sh", start, blocks), confinement)
        job = ProcessOrder(
            command=command, job_dir=str(place.job_dir), wall_ms=WALL_MS_MAX, output_bytes_max=10_000_000
        )
        end = await self._processes.run(job)
        if end.outcome == "not_started":
            raise GitFailed(f"the sandbox cannot be started: {end.message}")
        if end.outcome != "exited" or end.exit_status:
            said = (place.job_dir / "stderr").read_bytes()[-2_000:].decode("utf-8", "replace").strip()
            raise ImportRefused(f"the working tree cannot be committed ({_ending(end.outcome)}): {said}")

    async def _fetch(self, place: _Place, confinement: Confinement, start: str, incoming: str) -> None:
        serving = ("git", "upload-pack", "--strict", confinement.env["GIT_DIR"])
        serve = _write_script(place.root / "upload-pack", self._sandbox.wrap(serving, confinement))
        switches = ("--quiet", "--no-tags", "--no-write-fetch-head", f"--negotiation-tip={start}")
        try:
            await self._store.git.run(
                *("fetch", *switches, f"--upload-pack={shlex.quote(str(serve))}"),
                *(str(place.intake), f"+{OUT}:{incoming}"),
                env=config_environment({**HARDENED_CONFIG, "fetch.fsckObjects": "true"}),
                wall_s=WALL_MS_MAX / 1_000,
                file_bytes_max=self._bytes_max,
            )
        except GitFailed as error:
            raise ImportRefused(f"the work cannot be taken over: {error}") from error

    async def _check(self, start: str, tree: str) -> None:
        added = [change.new for change in await self._store.changes(start, tree) if change.new]
        if any(entry.mode == GITLINK_MODE for entry in added):
            raise ImportRefused("the work contains a link to another repository")
        size = await self._store.size_of(entry.oid for entry in added)
        if size > self._bytes_max:
            raise ImportRefused(f"the work has {size} bytes of new content; at most {self._bytes_max} are taken over")


def _ending(outcome: str) -> str:
    return {"timeout": f"longer than {WALL_MS_MAX // 1_000} s", "exited": "failed"}.get(outcome, outcome)


def _write_script(path: Path, command: Command) -> Path:
    """A program that runs `command` and ignores its arguments."""
    env = [f"{name}={value}" for name, value in command.env.items()]
    words: Sequence[str] = ("exec", "env", "-i", *env, *command.argv)
    path.write_text(
        f"#!/bin/sh\ncd {shlex.quote(command.cwd)} || exit 1\n{shlex.join(words)}\n",
        encoding="utf-8",
        errors="surrogateescape",
    )
    os.chmod(path, 0o700)
    return path
