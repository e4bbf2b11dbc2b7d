"""Runs a gate's command confined, sees what it did, and judges it by the gate's oracle.

A command that runs pytest is seen test by test: `PYTEST_ADDOPTS` and `PYTHONPATH` load our plugin, which reports over
an inherited pipe. Where that is not possible the exit status decides, and the evidence says so by having no counts;
but once base has had per-test results, a run without them proves nothing.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

import msgspec

from penstock.adapters.gates import pytest_watch
from penstock.adapters.gates.mentions import mentioning, read_sources
from penstock.adapters.gates.outputs import diff_outputs, join_outputs, read_output, read_trimmed
from penstock.adapters.gates.verdict_stream import VerdictStream, read_stream, suite_of
from penstock.core import comparison
from penstock.core.comparison import Judgement, SuiteRun
from penstock.core.digest import Digest, canonical
from penstock.core.paths import classify
from penstock.core.policy import FileClasses
from penstock.core.verdicts import Evidence, TestResults
from penstock.ports import (
    Blobs,
    Confinement,
    GateRun,
    ProcessEnd,
    Processes,
    ProcessIdentity,
    ProcessOrder,
    Sandbox,
)

Started = Callable[[ProcessIdentity], None] | None


@dataclass(frozen=True)
class Ran:
    """One command that was run. `suite` None: no per-test results."""

    end: ProcessEnd
    job_dir: str
    suite: SuiteRun | None = None

    @property
    def stdout(self) -> str:
        return os.path.join(self.job_dir, "stdout")

    @property
    def stderr(self) -> str:
        return os.path.join(self.job_dir, "stderr")

    @property
    def exit_status(self) -> int:
        return self.end.exit_status or 0


class CommandGates:
    """Gates that are shell commands. `files` tells production code from tests."""

    def __init__(self, processes: Processes, sandbox: Sandbox, blobs: Blobs, files: FileClasses) -> None:
        self._processes, self._sandbox, self._blobs, self._files = processes, sandbox, blobs, files

    async def run(self, run: GateRun, started: Started = None) -> Evidence:
        """One run, one piece of evidence; `broken` where it could not tell."""
        if run.order.command is not None:
            return await self._run_plain(run, run.order.command, started)
        match run.spec.oracle:
            case "assertion":
                return await self._run_suite(run, started)
            case "differential":
                return await self._run_twice(run, started)
            case "snapshot":
                return await self._run_snapshot(run, started)
        assert_never(run.spec.oracle)

    # --- the oracles ------------------------------------------------------------------------------------------------

    async def _run_plain(self, run: GateRun, command: str, started: Started) -> Evidence:
        ran = await self._execute(run, run.confinement, command, run.job_dir, started)
        return self._evidence(run, ran, _world_failure(run, ran) or comparison.judge_exit(ran.exit_status))

    async def _run_suite(self, run: GateRun, started: Started) -> Evidence:
        try:
            base = self._results(run.order.against)
            candidate = self._results(run.order.candidate_tests)
        except KeyError as missing:
            return _evidence(run, Judgement(verdict="broken", why=f"results to compare with are missing: {missing}"))
        if shadow := pytest_watch.find_shadow(run.confinement.checkout.path):
            why = f"{shadow} would be taken for the test runner: no verdict of this tree can be believed"
            return _evidence(run, Judgement(verdict="fail", why=why))
        sources: dict[str, bytes] = {}
        if run.order.look == "witness" and candidate is not None:
            files = run.order.only_files or {r.file for r in candidate.results}
            sources = read_sources(run.confinement.checkout.path, files)
        ran = await self._execute_watched(run, started)
        failure = _world_failure(run, ran)
        if failure is not None and run.order.look != "witness":
            return self._evidence(run, ran, failure)
        return self._evidence(run, ran, _judge(run, ran, base, candidate, sources, failure))

    async def _run_twice(self, run: GateRun, started: Started) -> Evidence:
        if run.base is None:
            return _evidence(run, Judgement(verdict="broken", why="no checkout of base to compare with"))
        ran = await self._execute(run, run.confinement, run.spec.command, run.job_dir, started)
        if failure := _world_failure(run, ran):
            return self._evidence(run, ran, failure)
        base = await self._execute(run, run.base, run.spec.command, os.path.join(run.job_dir, "base"), started)
        if failure := _world_failure(run, base) or _absent_command(base.exit_status):
            return self._evidence(
                run, ran, Judgement(verdict="broken", why=f"base cannot be compared with: {failure.why}")
            )
        here, there = read_output(ran.stdout), read_output(base.stdout)
        notes = diff_outputs(there, here, "base", "candidate")
        if ran.exit_status != base.exit_status:
            why = f"exit status {ran.exit_status}, on base {base.exit_status}"
            return self._evidence(run, ran, Judgement(verdict="fail", why=why), notes)
        return self._evidence(run, ran, _judge_equal(here == there, "the output of base"), notes)

    async def _run_snapshot(self, run: GateRun, started: Started) -> Evidence:
        if run.golden is None:
            return _evidence(run, Judgement(verdict="pending", why="no golden output on base"))
        ran = await self._execute(run, run.confinement, run.spec.command, run.job_dir, started)
        failure = _world_failure(run, ran)
        if failure is None and ran.exit_status:
            failure = comparison.judge_exit(ran.exit_status)
        if failure is not None:
            return self._evidence(run, ran, failure)
        here = read_output(ran.stdout)
        notes = diff_outputs(run.golden, here, "golden", "candidate")
        return self._evidence(run, ran, _judge_equal(here == run.golden, "the golden output"), notes)

    # --- running ----------------------------------------------------------------------------------------------------

    async def _execute(
        self,
        run: GateRun,
        confinement: Confinement,
        command: str,
        job_dir: str,
        started: Started,
        pipe_env: str = "",
    ) -> Ran:
        Path(job_dir).mkdir(parents=True, exist_ok=True)
        order = ProcessOrder(
            command=self._sandbox.wrap(("sh", "-c", command), confinement),
            job_dir=job_dir,
            wall_ms=run.spec.timeout_ms,
            pipe_env=pipe_env,
        )
        return Ran(await self._processes.run(order, started), job_dir)

    async def _execute_watched(self, run: GateRun, started: Started) -> Ran:
        """Run with our plugin; without it where the command hides it from pytest, as a Makefile's PYTHONPATH does."""
        nonce = secrets.token_hex(16)
        watch = pytest_watch.watch(run, nonce, is_mounted=self._sandbox.isolation().filesystem)
        ran = await self._execute(run, watch.confinement, watch.command, run.job_dir, started, watch.pipe_env)
        stream = read_stream(ran.end.pipe, nonce)
        if stream.is_present:
            return replace(ran, suite=self._suite(stream, ran))
        if pytest_watch.is_hidden(read_trimmed(ran.stderr)):
            bare = os.path.join(run.job_dir, "bare")
            return await self._execute(run, run.confinement, run.spec.command, bare, started)
        return ran

    def _suite(self, stream: VerdictStream, ran: Ran) -> SuiteRun:
        return suite_of(stream, ran.exit_status, lambda path: classify(self._files, path) == "production")

    # --- evidence ---------------------------------------------------------------------------------------------------

    def _results(self, digest: Digest | None) -> TestResults | None:
        return None if digest is None else msgspec.json.decode(self._blobs.get(digest), type=TestResults)

    def _evidence(self, run: GateRun, ran: Ran, judgement: Judgement, notes: str = "") -> Evidence:
        output = join_outputs(read_trimmed(ran.stdout), read_trimmed(ran.stderr), notes)
        seen = msgspec.structs.replace(
            _evidence(run, judgement),
            exit_status=ran.end.exit_status,
            duration_ms=ran.end.duration_ms,
            output=self._blobs.put(output),
            isolation=self._sandbox.isolation().name,
        )
        if ran.suite is None:
            return seen
        return msgspec.structs.replace(
            seen,
            counts=comparison.counts_of(ran.suite.results.results),
            tests=self._blobs.put(canonical(ran.suite.results)),
            failed=comparison.failed_of(ran.suite),
            asked=comparison.statuses_of(ran.suite.results, run.order.ask),
        )


def _evidence(run: GateRun, judgement: Judgement) -> Evidence:
    return Evidence(
        gate=run.order.gate,
        look=run.order.look,
        tree=run.order.tree,
        commit=run.order.commit,
        verdict=judgement.verdict,
        why=judgement.why,
        gate_digest=run.spec.digest,
        env_digest=run.order.env_digest,
        base_tree=run.order.against_tree,
        missing=judgement.missing[: comparison.MISSING_MAX],
        telling=judgement.telling[: comparison.TELLING_MAX],
        asked=comparison.statuses_of(None, run.order.ask),
    )


# --- judging --------------------------------------------------------------------------------------------------------


def _judge(
    run: GateRun,
    ran: Ran,
    base: TestResults | None,
    candidate: TestResults | None,
    sources: dict[str, bytes],
    failure: Judgement | None,
) -> Judgement:
    if run.order.look == "witness":
        return _judge_witness(run, ran, base, candidate, sources, failure)
    if ran.suite is None:
        seen = comparison.judge_exit(ran.exit_status)
        if base is None or seen.verdict == "broken":
            return seen
        why = f"no per-test results although base has them ({seen.why})"
        return Judgement(verdict="fail", why=why)
    if run.order.look == "judge" and base is not None:
        return comparison.judge_by_base(ran.suite, base, (*run.order.excused, *run.order.quarantined))
    return comparison.judge_suite(ran.suite, base, run.order.excused, run.order.quarantined)


def _judge_witness(
    run: GateRun,
    ran: Ran,
    base: TestResults | None,
    candidate: TestResults | None,
    sources: dict[str, bytes],
    failure: Judgement | None,
) -> Judgement:
    if ran.suite is None or candidate is None:
        if base is None and candidate is None:
            return failure or comparison.judge_whole_witness(ran.exit_status)
        return failure or Judgement(verdict="broken", why=f"no per-test results (exit status {ran.exit_status})")
    new = comparison.new_tests(candidate, base, run.order.only_files, run.order.excused)
    by_id = comparison.greens(candidate)
    mentions = mentioning(tuple(by_id[id] for id in new), ran.suite.unloadable, sources)
    judgement = comparison.judge_witness(ran.suite, new, mentions)
    return judgement if judgement.verdict == "pass" or failure is None else failure


def _judge_equal(is_equal: bool, what: str) -> Judgement:
    return Judgement(verdict="pass" if is_equal else "fail", why=f"{'equals' if is_equal else 'differs from'} {what}")


def _absent_command(status: int) -> Judgement | None:
    seen = comparison.judge_exit(status)
    return seen if seen.verdict == "broken" else None


def _world_failure(run: GateRun, ran: Ran) -> Judgement | None:
    """The command did not come to an end of its own: nothing can be said about the tree."""
    words = {
        "timeout": f"timed out after {run.spec.timeout_ms} ms",
        "stalled": "made no progress any more",
        "flood": "printed more than its cap",
        "not_started": "could not be started",
        "signaled": f"was killed by signal {ran.exit_status - 128}",
    }
    why = words.get(ran.end.outcome)
    if why is None:
        return None
    return Judgement(verdict="broken", why=f"{why}: {ran.end.message}" if ran.end.message else why)
