"""jest (30.x) as the project has installed it, in one spawn."""

from __future__ import annotations

from penstock.core.redgreen.test_id import RunnerName
from penstock.kernel.runners.javascript_spawn import JavaScriptRunner


class JestRunner(JavaScriptRunner):
    """Runs tests of jest; its workers keep the tests out of the process that reports."""

    runner: RunnerName = "jest"
    program = "jest_run.cjs"
