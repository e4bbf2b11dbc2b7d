"""Defects round the built-in agent: a model that outlives its demo, a key missed too late, a runner that has gone."""

from __future__ import annotations

from tests.mutants.defect import Planted

DEMO = "tests/e2e/test_demo_redgreen.py::"
LOST = "tests/integration/test_gate_lost_runner.py::"
PROGRAM = "tests/integration/test_agent_program.py::"
SETTINGS = "tests/unit/test_settings.py::"

PLANTED = (
    Planted(
        "demo-orphan",
        "the model of a demo outlives the demo that is killed",
        "wire/demo.py",
        "words = [*keeper_command(), sys.executable",
        "words = [sys.executable",
        (f"{DEMO}test_the_model_ends_with_a_demo_that_is_killed",),
    ),
    Planted(
        "key-unseen",
        "a run begins without the key of its model",
        "wire/agent_program.py",
        "return needs_key(settings, os.environ) or fleet_problem(settings)",
        "return fleet_problem(settings)",
        (f"{PROGRAM}test_a_key_that_is_not_in_the_environment_is_told_before_a_run",),
    ),
    Planted(
        "key-empty",
        "a key of blanks is taken for one",
        "settings/reader.py",
        'environ.get(name, "").strip()',
        "name in environ",
        (f"{SETTINGS}test_the_built_in_agent_needs_the_key_that_it_is_told_to_take",),
    ),
    Planted(
        "runner-gone",
        "a turn whose test runner has gone cannot be closed",
        "kernel/runs.py",
        "bindings, lost = session.bindings, self._without_runner(asked)",
        "bindings, lost = session.bindings, list[TestId]()",
        (f"{LOST}test_a_turn_whose_runner_has_gone_is_closed",),
    ),
    Planted(
        "runner-gone-whole",
        "where everything is run, a test without a runner is not told of",
        "kernel/runs.py",
        "*(self._session.ledger.turn.claimed if asked.whole else ())",
        "",
        (f"{LOST}test_a_turn_whose_runner_has_gone_is_closed",),
    ),
)
