"""`node:test` of the Node on the path (>= 20), in one spawn. `node` may hold options, which its children get too."""

from __future__ import annotations

from penstock.core.redgreen.test_id import RunnerName
from penstock.kernel.runners.javascript_spawn import JavaScriptRunner


class NodeRunner(JavaScriptRunner):
    """Runs tests of `node:test`; subtests made by `t.test` are found when they run, and not by collection."""

    runner: RunnerName = "node"
    program = "node_run.mjs"
