"""Forms what is verified: the merge of a ticket's work onto what it will land on, and the trees of the other looks.

Every tree is made here, from objects in the store and without a working tree, so that what a gate runs on is byte for
byte what lands. Four trees come of one order:

  lands     the merge, with protected files as they are on the base
  judge     the candidate's production code under the base's tests and control files
  witness   the base's production code under the candidate's new tests
  conflict  where there is no merge: the tree with markers, from which a fix starts
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from penstock.adapters.git.commands import GitFailed, as_text, shown
from penstock.adapters.git.store import Classified, Entry, Store, classified, file_changes
from penstock.core.events import CandidateConflicted, CandidateFailed, CandidateFormed, MergeOrder
from penstock.core.paths import classify, control_digest, excuses, matches
from penstock.core.policy import FileClasses, Landing
from penstock.core.weakening import changed_tests

DIFF_BYTES_MAX = 1_000_000
SUBJECT_CHARS_MAX = 200
SPEAKS_OF_RUNNER_GREP = "pytest|PYTEST_|PENSTOCK_|penstock_verdicts"
SPEAKS_OF_RUNNER = re.compile(SPEAKS_OF_RUNNER_GREP.encode())


class GitCandidates:
    """`ports.Candidates` on our store. `files`: as for the trunk, gate scripts among the control files."""

    def __init__(self, store: Store, landing: Landing, files: FileClasses, run: str) -> None:
        self._store = store
        self._mode = landing.mode
        self._files = files
        self._run = run

    async def form(self, order: MergeOrder) -> CandidateFormed | CandidateConflicted | CandidateFailed:
        """Merge, force protected files from base, make the judge's and the witness's trees. `key` is left empty."""
        try:
            tree, conflicts = await self._merge(order)
            if conflicts:
                return await self._conflicted(order, tree, conflicts)
            return await self._formed(order, await self._protect(order.onto, tree))
        except GitFailed as error:
            return CandidateFailed(key="", message=str(error))

    async def diff(self, base: str, commit: str) -> bytes:
        """Unified diff for people, at most 1 MB."""
        return await self._store.diff(base, commit, DIFF_BYTES_MAX)

    async def files(self, commit: str) -> dict[str, str]:
        """Object id by path, of every tracked file."""
        return {shown(path): entry.oid for path, entry in (await self._store.entries(commit)).items()}

    async def read_file(self, commit: str, path: str) -> bytes:
        """Content of one tracked file; `KeyError` where there is none."""
        oid = await self._store.git.ask("rev-parse", "--verify", "--quiet", f"{commit}:{path}")
        if not oid or await self._store.git.ask("cat-file", "-t", oid) != "blob":
            raise KeyError(path)
        return (await self._store.read_blobs([oid]))[oid]

    async def _merge(self, order: MergeOrder) -> tuple[str, list[str]]:
        """The merged tree and the paths in conflict."""
        shape = ("--write-tree", "-z", "--name-only", "--no-messages")
        end = await self._store.git.run("merge-tree", *shape, order.onto, order.head, ok=(0, 1))
        tree, *paths = as_text(end.stdout).split("\0")
        return tree, [path for path in paths if path] if end.status else []

    async def _conflicted(self, order: MergeOrder, tree: str, paths: list[str]) -> CandidateConflicted:
        """Both sides are parents of the start, so that its resolution merges onto the same base without conflict."""
        start = await self._commit(tree, [order.head, order.onto], f"{_subject(order)}\n\nNot merged: in conflict.\n")
        return CandidateConflicted(key="", paths=tuple(map(shown, paths)), start=start)

    async def _protect(self, onto: str, tree: str) -> str:
        changes = await self._changes(onto, tree)
        return await self._store.edit_tree(tree, {c.path: c.old for c, kind in changes if kind == "protected"})

    async def _formed(self, order: MergeOrder, tree: str) -> CandidateFormed:
        changes = await self._changes(order.onto, tree)
        parents = [order.onto] if self._mode == "squash" else [order.onto, order.head]
        commit = await self._commit(tree, parents, self._message(order))
        entries = await self._store.entries(tree)
        judge = await self._judge(order, tree, changes)
        witness, witness_files = await self._witness(order, changes)
        return CandidateFormed(
            key="",
            commit=commit,
            tree=tree,
            base=order.onto,
            base_tree=await self._store.tree_of(order.onto),
            changes=file_changes(changes),
            lines=sum(change.lines for change, _ in changes),
            judge_commit=judge,
            judge_tree=await self._store.tree_of(judge) if judge else "",
            witness_commit=witness,
            witness_tree=await self._store.tree_of(witness) if witness else "",
            witness_files=tuple(map(shown, witness_files)),
            weakened=await self._weakened(order, changes),
            meddling=await self._meddling(order, changes),
            pending_markers=await self._store.added_markers(order.onto, tree),
            control_digest=control_digest(self._files, {path: entry.oid for path, entry in entries.items()}),
        )

    async def _judge(self, order: MergeOrder, tree: str, changes: Classified) -> str:
        """The commit under base's judges; empty where they are the candidate's own."""
        back = {
            change.path: change.old
            for change, kind in changes
            if kind in ("test", "control") and not excuses(order.changes_tests, change.path)
        }
        if not back:
            return ""
        return await self._commit(
            await self._store.edit_tree(tree, back), [order.onto], f"judge of {_subject(order)}\n"
        )

    async def _witness(self, order: MergeOrder, changes: Classified) -> tuple[str, list[str]]:
        """The commit of the new tests over base's production code, and their files; empty where there are none."""
        there = [(change, kind) for change, kind in changes if change.new is not None]
        tests = [change.path for change, kind in there if kind == "test"]
        if not tests:
            return "", []
        edits: dict[str, Entry | None] = {
            change.path: change.new for change, kind in there if kind == "test" or self._is_test_conftest(change.path)
        }
        tree = await self._store.edit_tree(await self._store.tree_of(order.onto), edits)
        return await self._commit(tree, [order.onto], f"witness of {_subject(order)}\n"), tests

    def _is_test_conftest(self, path: str) -> bool:
        return path.rpartition("/")[2] == "conftest.py" and matches(self._files.test_files, path)

    async def _weakened(self, order: MergeOrder, changes: Classified) -> tuple[str, ...]:
        """Base tests that are gone or no longer what they were, except those that the ticket may change."""
        touched = [change for change, kind in changes if kind == "test" and change.old is not None]
        sources = await self._store.read_blobs(side.oid for c in touched for side in (c.old, c.new) if side)
        found: list[str] = []
        for change in touched:
            base, now = (sources[side.oid] if side else None for side in (change.old, change.new))
            tests = await asyncio.to_thread(changed_tests, change.path, base or b"", now)
            found += [test for test in tests if not excuses(order.changes_tests, change.path, test)]
        return tuple(map(shown, found))

    async def _meddling(self, order: MergeOrder, changes: Classified) -> tuple[str, ...]:
        """Production code that has no business with the test runner runs in its process, and could play it."""
        touched = [c for c, kind in changes if kind == "production" and c.new is not None and c.path.endswith(".py")]
        sources = await self._store.read_blobs(c.new.oid for c in touched if c.new is not None)
        found = [shown(c.path) for c in touched if c.new is not None and SPEAKS_OF_RUNNER.search(sources[c.new.oid])]
        if not found:
            return ()
        listed = await self._store.git.ask(
            "grep", "-l", "-z", "-E", "-e", SPEAKS_OF_RUNNER_GREP, order.onto, "--", "*.py"
        )
        paths = (line.partition(":")[2] for line in listed.split("\0") if line)
        return () if any(classify(self._files, path) == "production" for path in paths) else tuple(found)

    async def _changes(self, old: str, new: str) -> Classified:
        return classified(self._files, await self._store.changes(old, new))

    async def _commit(self, tree: str, parents: Sequence[str], message: str) -> str:
        commit = await self._store.commit(tree, parents, message)
        await self._store.keep(f"refs/penstock/candidates/{commit}", commit)
        return commit

    def _message(self, order: MergeOrder) -> str:
        trailers = {
            "Penstock-Run": self._run,
            "Penstock-Ticket": f"{order.ticket} {order.revision}",
            "Penstock-Evidence": order.evidence_key,
        }
        lines = (f"{name}: {' '.join(value.split())}\n" for name, value in trailers.items())
        return f"{_subject(order)}\n\n{''.join(lines)}"


def _subject(order: MergeOrder) -> str:
    """One line: a title is untrusted, and a second paragraph of it could be taken for trailers."""
    return " ".join(f"{order.ticket}: {order.title}".split())[:SUBJECT_CHARS_MAX]
