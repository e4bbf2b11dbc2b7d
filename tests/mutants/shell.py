"""Defects of the shell: what is durable before what begins, how a run ends and goes on, whom it listens to."""

from __future__ import annotations

from tests.mutants.defect import Planted

DRIVER = "tests/integration/test_driver.py::"
RECOVERY = "tests/integration/test_recovery.py::"
CONTROL = "tests/integration/test_control.py::"
PERFORM = "tests/integration/test_perform.py::"
APPEND = "await asyncio.get_running_loop().run_in_executor(self._writer, self._log.append, records)"

PLANTED = (
    Planted(
        "write-ahead",
        "effects begin before they are durably owed",
        "shell/driver.py",
        f"        {APPEND}\n",
        f"        self._perform_owed()\n        {APPEND}\n",
        (f"{DRIVER}test_an_append_that_fails_begins_nothing",),
    ),
    Planted(
        "answered-early",
        "an operator is answered before the command is durable",
        "shell/driver.py",
        f"        {APPEND}\n        self._answer(seqs)\n",
        f"        self._answer(seqs)\n        {APPEND}\n",
        (f"{DRIVER}test_who_asks_is_answered_when_it_is_durable",),
    ),
    Planted(
        "begun-twice",
        "a job is begun again while its end waits",
        "shell/driver.py",
        "        self.tell(end)\n",
        "        self.tell(end)\n        self._tasks.pop(key, None)\n",
        (f"{DRIVER}test_a_job_is_begun_once_though_others_commit_while_its_end_waits",),
    ),
    Planted(
        "cancelled-twice",
        "a second cancellation cuts off what the first keeps",
        "shell/driver.py",
        "    if not task.cancelling():\n        task.cancel()",
        "    task.cancel()",
        (f"{DRIVER}test_an_unwanted_job_is_stopped_and_its_work_kept",),
    ),
    Planted(
        "fence-untold",
        "a lost fence looks like the operator's wish",
        "shell/driver.py",
        "raise self._fenced or Stopped",
        "raise Stopped",
        (f"{DRIVER}test_who_loses_the_repository_to_another_writer_says_so",),
    ),
    Planted(
        "after-the-conclusion",
        "inputs are appended between the conclusion and the seal",
        "shell/driver.py",
        "if self._state.conclusion is not None and not isinstance(event, e.ReportSealed):",
        "if False:",
        (f"{RECOVERY}test_after_a_death_at_any_append_the_run_ends_the_same",),
    ),
    Planted(
        "bug-ends-run",
        "a bug of one job ends the run without a word",
        "shell/driver.py",
        'end = e.JobLost(key=key, reason=f"{type(bug).__name__}: {bug}"[:500])',
        "return self.stop()",
        (f"{DRIVER}test_a_bug_of_a_job_costs_that_job_only",),
    ),
    Planted(
        "late-timer",
        "what is due is waited for a minute too long",
        "shell/driver.py",
        "await self._clock.sleep_until(due_ms)",
        "await self._clock.sleep_until(due_ms + 60_000)",
        (f"{DRIVER}test_a_retry_begins_when_it_is_due",),
    ),
    Planted(
        "was-begun",
        "a job that a dead writer had begun is begun again",
        "shell/job_directory.py",
        "return job_directory(root, key).exists()",
        "return False",
        (f"{RECOVERY}test_a_process_that_was_begun_is_lost_and_never_begun_again[turn]",),
    ),
    Planted(
        "key-twice",
        "a key starts more than once",
        "shell/job_directory.py",
        "path.mkdir(parents=True, mode=0o700)",
        "path.mkdir(parents=True, mode=0o700, exist_ok=True)",
        (f"{PERFORM}test_a_key_starts_at_most_once",),
    ),
    Planted(
        "unswept",
        "what a dead writer left running goes on",
        "shell/recovery.py",
        "        if job.pid:\n",
        "        if False:\n",
        (f"{RECOVERY}test_a_process_that_outlived_its_writer_is_ended_before_it_is_counted_lost",),
    ),
    Planted(
        "lost-work",
        "the work of a lost turn is thrown away",
        "shell/perform.py",
        "            if isinstance(order, e.TurnOrder):\n                await self.salvage(left, key, order)\n",
        "",
        (f"{RECOVERY}test_the_work_of_a_lost_turn_is_kept",),
    ),
    Planted(
        "cancelled-work",
        "the work of a cancelled turn is thrown away",
        "shell/perform.py",
        "            await asyncio.shield(self.salvage(clone, key, order))\n",
        "",
        (f"{PERFORM}test_a_real_agent_that_is_cancelled_is_ended_and_its_work_kept",),
    ),
    Planted(
        "refused-import",
        "work that cannot be taken over is a success",
        "shell/perform.py",
        'outcome = "crashed" if report.outcome == "ended" else report.outcome',
        "outcome = report.outcome",
        (f"{PERFORM}test_work_that_cannot_be_taken_over_is_no_success",),
    ),
    Planted(
        "evidence-as-told",
        "evidence names the tree that the gate says",
        "shell/perform.py",
        "            tree=order.tree,\n            commit=order.commit,\n            base_tree=order.against_tree,\n",
        "            commit=order.commit,\n            base_tree=order.against_tree,\n",
        (f"{PERFORM}test_evidence_is_of_what_was_asked_whatever_the_gate_says",),
    ),
    Planted(
        "set-up-passes",
        "a gate without its environment runs all the same",
        "shell/perform.py",
        "if prepared is not None and not prepared.ok:",
        "if False:",
        (f"{PERFORM}test_a_gate_that_cannot_be_set_up_is_broken_and_no_pass",),
    ),
    Planted(
        "socket-mode",
        "the control socket is open to everybody",
        "private_sockets.py",
        "previous = os.umask(0o177)",
        "previous = os.umask(0o000)",
        (f"{CONTROL}test_the_socket_is_for_its_owner_only",),
    ),
    Planted(
        "peer",
        "anybody who can connect is heard",
        "shell/control.py",
        'if not is_own_user(writer.get_extra_info("socket")):',
        "if False:",
        (f"{CONTROL}test_only_the_user_is_heard_even_where_the_mode_lets_others_in",),
    ),
    Planted(
        "any-input",
        "the control socket takes inputs that are no operator's",
        "shell/control.py",
        "_decoder = msgspec.json.Decoder(OperatorInput)",
        "from penstock.core.events import Input\n_decoder = msgspec.json.Decoder(Input)",
        (f"{CONTROL}test_what_is_no_command_is_answered_with_an_error",),
    ),
)
