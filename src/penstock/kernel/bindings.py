"""What a verdict depends on besides production code, as it stands in the tree now; and the names of tests.

An annotation (`# test-id: slug` above a test) gives it a name of its own. Runners know nothing of that: ids are
translated here, on their way in and out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from penstock.core.digest import digest_of
from penstock.core.redgreen import binding
from penstock.core.redgreen import events as e
from penstock.core.redgreen.entry import Entry
from penstock.core.redgreen.ledger import files_of
from penstock.core.redgreen.policy import RedGreenPolicy, kind_of
from penstock.core.redgreen.test_id import RunnerName, TestId

Content = Callable[[Entry], bytes]

Shas = dict[tuple[str, str, tuple[str, ...]], str]
"""Digests of tests, by the digest of their file, its path and their names: all rows of a test share one."""

SHAS_MAX = 50_000

SOURCE = (".py", ".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts", ".rs", ".go")
"""Ends of names of code: of that, runners tell what a test ran or needs."""


class Bindings:
    """Bindings over one state of the tree; another state needs another one. `content` gives the bytes of an entry.

    `shas`: what earlier states were found to have, to be gone on with.
    """

    def __init__(
        self, policy: RedGreenPolicy, tree: Mapping[str, Entry], content: Content, shas: Shas | None = None
    ) -> None:
        self._policy, self._tree, self._content = policy, tree, content
        self._shas: Shas = {} if shas is None else shas
        self._control: str | None = None
        self._data: tuple[str, ...] | None = None
        self._slugs: dict[tuple[RunnerName, str], dict[tuple[str, ...], str]] = {}

    def of(self, test: TestId, files: tuple[str, ...]) -> e.Binding:
        """What `test` depends on. `files`: those that it ran or needs."""
        ran = (p for p in files if p != test.path and kind_of(self._policy, p) == "test")
        support = dict.fromkeys((*ran, *self._data_files()))
        return e.Binding(
            test_sha=self.test_sha(test),
            control_sha=self.control_sha(),
            support_sha=digest_of(sorted((p, self._digest(p)) for p in support)) if support else "",
        )

    def of_run(self, run: e.TestRun) -> e.Binding:
        """What the test of an earlier run depends on now."""
        return self.of(run.test, files_of(run))

    def test_sha(self, test: TestId) -> str:
        """Digest of the test itself; empty where its file, or it, is not there."""
        entry = self._tree.get(test.path)
        if entry is None or entry.kind != "file":
            return ""
        known = self.known_to_runner(test)
        key = (entry.digest, test.path, known.chain)
        if key not in self._shas:
            if len(self._shas) >= SHAS_MAX:
                self._shas.clear()
            self._shas[key] = binding.test_sha(known, self._content(entry))
        return self._shas[key]

    def control_sha(self) -> str:
        """Digest over all control files."""
        if self._control is None:
            found = ((p, x.digest) for p, x in self._tree.items() if kind_of(self._policy, p) == "control")
            self._control = digest_of(sorted(found))
        return self._control

    def _data_files(self) -> tuple[str, ...]:
        """Snapshots and other files beside the tests that are no code: who reads them is not seen."""
        if self._data is None:
            beside = (p for p in self._tree if not p.endswith(SOURCE) and kind_of(self._policy, p) == "test")
            self._data = tuple(beside)
        return self._data

    def known_to_runner(self, test: TestId) -> TestId:
        """The id by the test's own name, where an annotation gave it another."""
        names = {slug: chain for chain, slug in self._slugs_of(test).items()}
        chain = names.get(test.chain[0]) if len(test.chain) == 1 else None
        return TestId(runner=test.runner, path=test.path, chain=chain, param=test.param) if chain else test

    def canonical(self, test: TestId) -> TestId:
        """The id by its annotation, where it has one."""
        slug = self._slugs_of(test).get(test.chain)
        return TestId(runner=test.runner, path=test.path, chain=(slug,), param=test.param) if slug else test

    def _slugs_of(self, test: TestId) -> dict[tuple[str, ...], str]:
        key = (test.runner, test.path)
        if key not in self._slugs:
            entry = self._tree.get(test.path)
            is_there = entry is not None and entry.kind == "file"
            found = binding.annotations_in(test.runner, self._content(entry), test.path) if entry and is_there else None
            self._slugs[key] = dict(found.slugs) if found else {}
        return self._slugs[key]

    def _digest(self, path: str) -> str:
        entry = self._tree.get(path)
        return entry.digest if entry else ""
