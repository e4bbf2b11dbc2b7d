"""What gates see on a tree: a function of the tree, judged by the comparison that the real gates use."""

from __future__ import annotations

from collections.abc import Callable

from penstock.core import comparison
from penstock.core.comparison import Judgement, SuiteRun
from penstock.core.digest import digest_of
from penstock.core.events import GateEnded, GateOrder
from penstock.core.policy import GateSpec
from penstock.core.verdicts import Evidence, TestResult, TestResults
from tests.model.trees import Files, results_of

Sight = Callable[[GateOrder, Files], Judgement | None]
"""A gate that goes by exit status, or a fault in one that sees tests: None is what the tests say."""


def never_broken(order: GateOrder, files: Files) -> Judgement | None:
    return None


def exits(word: str) -> Sight:
    """A gate by exit status: it fails where a production file says `word`."""
    return lambda order, files: comparison.judge_exit(1 if word in files.values() else 0)


def broken_on(*looks: str) -> Sight:
    """It cannot run for these looks."""
    return lambda order, files: (
        Judgement(verdict="broken", why="the runner is not installed") if order.look in looks else None
    )


class Gates:
    """Runs gate orders. Counts its runs, so that a test may flip."""

    def __init__(self) -> None:
        self.sights: dict[str, Sight] = {}
        self.flips: dict[str, Callable[[GateOrder], bool]] = {}
        self._blobs: dict[str, TestResults] = {}

    def run(self, key: str, order: GateOrder, files: Files, spec: GateSpec | None) -> GateEnded:
        seen = self.sights.get(order.gate, never_broken)(order, files)
        if spec is None and seen is None:
            assert order.command is not None
            seen = command_exit(order.command, files)
        if seen is not None:
            return self._end(key, order, spec, seen, None)
        results = self._results(order, files)
        left = "the interpreter died" if "breaks" in files.values() else ""
        suite = SuiteRun(results=results, collected=len(results.results), left=left)
        return self._end(key, order, spec, self._judge(order, suite), suite)

    def _results(self, order: GateOrder, files: Files) -> TestResults:
        seen = results_of(files)
        flipped = tuple(r if r.id not in self.flips or not self.flips[r.id](order) else flip(r) for r in seen.results)
        return TestResults(runner="model", complete=True, results=flipped)

    def _judge(self, order: GateOrder, suite: SuiteRun) -> Judgement:
        base = self._blobs.get(order.against or "")
        if order.look == "witness":
            candidate = self._blobs.get(order.candidate_tests or "", TestResults(runner="model", complete=True))
            new = comparison.new_tests(candidate, base, order.only_files, order.excused)
            return comparison.judge_witness(suite, new, ())
        if order.look == "judge" and base is not None:
            return comparison.judge_by_base(suite, base, (*order.excused, *order.quarantined))
        compared = base if order.look == "lands" else None
        return comparison.judge_suite(suite, compared, order.excused, order.quarantined)

    def _end(
        self, key: str, order: GateOrder, spec: GateSpec | None, judged: Judgement, suite: SuiteRun | None
    ) -> GateEnded:
        results = None if suite is None or suite.left else suite.results
        if results is not None:
            self._blobs[digest_of(results)] = results
        evidence = Evidence(
            gate=order.gate,
            look=order.look,
            tree=order.tree,
            commit=order.commit,
            verdict=judged.verdict,
            why=judged.why,
            gate_digest=spec.digest if spec is not None else "",
            env_digest=order.env_digest,
            base_tree=order.against_tree,
            duration_ms=1_000,
            counts=None if results is None else comparison.counts_of(results.results),
            tests=None if results is None else digest_of(results),
            failed=() if suite is None else comparison.failed_of(suite),
            missing=judged.missing[:20],
            telling=judged.telling,
            asked=comparison.statuses_of(results, order.ask) if results is not None else {},
        )
        return GateEnded(key=key, evidence=evidence)


def flip(result: TestResult) -> TestResult:
    return TestResult(id=result.id, status="red", file=result.file, kind="other")


def command_exit(command: str, files: Files) -> Judgement:
    """An ad-hoc command of the form `grep WORD PATH`."""
    _, word, path = command.split()
    return comparison.judge_exit(0 if files.get(path) == word else 1)
