"""A repository that is only a dictionary: a tree maps paths to one word, and the word says what the file does.

Production files say `right`, `wrong` (tests go red), `breaks` (no gate can run) or anything else. Test files say
`tells` (green where their production file is right), `all` (red where anything is wrong), `vacuous` or `skipped`.
"""

from __future__ import annotations

from penstock.core import events as e
from penstock.core.digest import digest_of
from penstock.core.paths import classify, excuses
from penstock.core.policy import EnvSpec, FileClasses
from penstock.core.verdicts import TestResult, TestResults, TestStatus

Files = dict[str, str]
CONFLICT = "<<<<<<<"
FILES = FileClasses()


class Repository:
    """Commits by id, each with one parent: proven work lands squashed."""

    def __init__(self, files: Files, envs: tuple[EnvSpec, ...] = ()) -> None:
        self._trees: dict[str, Files] = {}
        self._commits: dict[str, tuple[str, str]] = {}
        self._envs = envs
        self.trunk = self.commit(files, "")

    def commit(self, files: Files, parent: str) -> str:
        """The commit with these files on that parent: the same every time."""
        tree = "t" + digest_of(sorted(files.items()))[:12]
        name = "c" + digest_of([tree, parent])[:12]
        self._trees[tree] = dict(files)
        self._commits[name] = (tree, parent)
        return name

    def tree(self, commit: str) -> str:
        return self._commits[commit][0]

    def files(self, commit: str) -> Files:
        return dict(self._trees[self.tree(commit)])

    def envs(self, commit: str) -> dict[str, str]:
        """Digest of each environment, from its inputs."""
        files = self.files(commit)
        return {env.name: digest_of([env.name, [files.get(p, "") for p in env.inputs]]) for env in self._envs}

    def position(self, commit: str | None = None) -> e.TrunkPosition:
        at = commit or self.trunk
        return e.TrunkPosition(commit=at, tree=self.tree(at), envs=self.envs(at))

    def history(self, commit: str) -> list[str]:
        found = []
        while commit:
            found.append(commit)
            commit = self._commits[commit][1]
        return found

    def changes(self, base: str, commit: str) -> tuple[e.FileChange, ...]:
        """What differs, ten lines a file."""
        old, new = self.files(base), self.files(commit)
        return tuple(
            e.FileChange(
                path=path,
                status="added" if path not in old else "deleted" if path not in new else "modified",
                kind=classify(FILES, path),
                lines=10,
            )
            for path in sorted({*old, *new})
            if old.get(path) != new.get(path)
        )

    def merged(self, head: str, onto: str) -> tuple[Files, tuple[str, ...]]:
        """The three-way merge of `head` onto `onto`, and the paths that both changed differently."""
        known = set(self.history(onto))
        fork = next(c for c in self.history(head) if c in known)
        base, ours, theirs = self.files(fork), self.files(head), self.files(onto)
        made, torn = dict(theirs), []
        for path in sorted({*base, *ours, *theirs}):
            if ours.get(path) in (base.get(path), theirs.get(path)):
                continue
            if theirs.get(path) != base.get(path):
                torn.append(path)
                made[path] = CONFLICT
            elif path in ours:
                made[path] = ours[path]
            else:
                made.pop(path)
        return made, tuple(torn)

    def candidate(self, key: str, order: e.MergeOrder) -> e.CandidateFormed | e.CandidateConflicted:
        """The answer to a merge order: protected files are base's, and each look has its tree."""
        files, torn = self.merged(order.head, order.onto)
        if torn:
            return e.CandidateConflicted(key=key, paths=torn, start=self.commit(files, order.onto))
        commit = self.commit(files, order.onto)
        changes = self.changes(order.onto, commit)
        checks = [c for c in changes if c.kind in ("test", "control")]
        touched = [c for c in checks if c.status != "added" and not excuses(order.changes_tests, c.path)]
        base = self.files(order.onto)
        judge = self._with(files, base, [c.path for c in checks if c.status != "added"])
        witness = self._with(base, files, [c.path for c in checks])
        judged, witnessed = self.commit(judge, order.onto), self.commit(witness, order.onto)
        return e.CandidateFormed(
            key=key,
            commit=commit,
            tree=self.tree(commit),
            base=order.onto,
            base_tree=self.tree(order.onto),
            changes=changes,
            lines=sum(c.lines for c in changes),
            judge_commit=judged if touched else "",
            judge_tree=self.tree(judged) if touched else "",
            witness_commit=witnessed if checks else "",
            witness_tree=self.tree(witnessed) if checks else "",
            witness_files=tuple(c.path for c in checks),
            weakened=tuple(f"{c.path}::{stem(c.path)}" for c in touched if c.kind == "test"),
            envs=self.envs(commit),
        )

    @staticmethod
    def _with(files: Files, other: Files, paths: list[str]) -> Files:
        kept = {path: text for path, text in files.items() if path not in paths}
        return kept | {path: other[path] for path in paths if path in other}


def stem(path: str) -> str:
    """`test_a` of `tests/test_a.py`: also the name of its one test."""
    return path.rsplit("/", 1)[-1].removesuffix(".py")


def results_of(files: Files) -> TestResults:
    """Every test of a tree, run."""
    wrong = any(text in ("wrong", CONFLICT) for path, text in files.items() if path.startswith("src/"))
    results = []
    for path, text in sorted(files.items()):
        if not path.startswith("tests/test_"):
            continue
        subject = f"src/{stem(path).removeprefix('test_')}.py"
        statuses: dict[str, TestStatus] = {
            "tells": "green" if files.get(subject) == "right" else "red",
            "all": "red" if wrong else "green",
            "skipped": "skipped",
        }
        status = statuses.get(text, "green")
        where = f"{subject}:1" if text == "tells" else ""
        results.append(TestResult(id=f"{path}::{stem(path)}", status=status, file=path, kind="assertion", where=where))
    return TestResults(runner="model", complete=True, results=tuple(results))
