"""Defects of judging: what a gate saw, what a report claims."""

from __future__ import annotations

from tests.mutants.defect import Planted

COMPARISON = "tests/unit/test_comparison.py::"
STREAM = "tests/unit/test_verdict_stream.py::"
PYTEST = "tests/integration/test_pytest_verdicts.py::"
PROOF = "tests/unit/test_report_proof.py::"

GATES = (
    Planted(
        "shrunk",
        "tests that were green on base may vanish",
        "core/comparison.py",
        '    if missing:\n        why = f"shrunk:',
        '    if False:\n        why = f"shrunk:',
        (f"{COMPARISON}test_a_suite_is_judged_against_base",),
    ),
    Planted(
        "skips-are-green",
        "a skipped test counts as green",
        "core/comparison.py",
        'if r.status == "green"}',
        'if r.status in ("green", "skipped")}',
        (f"{COMPARISON}test_without_base_green_is_enough_but_skipped_is_not",),
    ),
    Planted(
        "vacuous-tells",
        "a new test that is green without the change tells",
        "core/comparison.py",
        "return result.status in NOT_GREEN and result.kind in TELLING_KINDS",
        "return True",
        (f"{COMPARISON}test_a_witness_tells_only_by_a_telling_red",),
    ),
    Planted(
        "quarantine-passes",
        "with one test in quarantine every red is forgiven",
        "core/comparison.py",
        "if r.status in NOT_GREEN and r.id not in quarantined]",
        "if r.status in NOT_GREEN and not quarantined]",
        (f"{COMPARISON}test_the_quarantined_are_left_out_and_nobody_else",),
    ),
    Planted(
        "exit-status",
        "exit status 0 is believed over the tests",
        "adapters/gates/command.py",
        "    if ran.suite is None:\n        seen = comparison.judge_exit(ran.exit_status)",
        "    if ran.suite is None or ran.exit_status == 0:\n"
        "        base, seen = None, comparison.judge_exit(ran.exit_status)",
        (f"{PYTEST}test_what_hides_a_red_test_is_not_believed[test leaves]",),
    ),
    Planted(
        "results-dropped",
        "results may be missing where base has them",
        "adapters/gates/command.py",
        'if base is None or seen.verdict == "broken":',
        "if True:",
        (f"{PYTEST}test_a_script_that_runs_no_tests_any_more_proves_nothing",),
    ),
    Planted(
        "nonce",
        "verdict lines are believed without the nonce",
        "adapters/gates/verdict_stream.py",
        "if not line.startswith(prefix) or len(line) > LINE_BYTES_MAX:",
        "if len(line) > LINE_BYTES_MAX:",
        (f"{STREAM}test_a_wrong_nonce_is_no_stream",),
    ),
    Planted(
        "early-exit",
        "a session without an end is believed",
        "adapters/gates/verdict_stream.py",
        'return f"left before its session ended (exit status {exit_status})"',
        'return ""',
        (f"{STREAM}test_without_any_one_of_its_lines_it_is_no_pass",),
    ),
    Planted(
        "forged-green",
        "a green that is told covers a red",
        "adapters/gates/verdict_stream.py",
        "WORSE.index(said.outcome) > WORSE.index(before.outcome)",
        "WORSE.index(said.outcome) < WORSE.index(before.outcome)",
        (f"{STREAM}test_the_worst_of_several_outcomes_counts",),
    ),
)

REPORTS = (
    Planted(
        "seal-digest",
        "the seal is not compared with the report",
        "evidence/proof.py",
        "if digest == event.digest:",
        "if True:",
        (f"{PROOF}test_the_seal_names_the_very_report",),
    ),
    Planted(
        "seal-head",
        "the seal is not compared with the head of the log",
        "evidence/proof.py",
        "if head != event.head:",
        "if False:",
        (f"{PROOF}test_the_seal_names_the_head",),
    ),
    Planted(
        "done-on-its-word",
        "done is believed with evidence of another tree",
        "evidence/closing.py",
        '    if run is None:\n        yield f"{story.ticket.id} has no evidence',
        '    if run is None:\n        return\n        yield f"{story.ticket.id} has no evidence',
        (f"{PROOF}test_done_is_not_believed[evidence_of_another_tree]",),
    ),
)

PLANTED = (*GATES, *REPORTS)
