"""Defects of the logs of workers: how they are read at the hive, and passed on by the queen."""

from __future__ import annotations

from tests.mutants.defect import Planted

LOGS = "tests/fleet/test_logs_anywhere.py::"

PLANTED = (
    Planted(
        "hive-log-rotated",
        "a log that is followed ends with its rotation",
        "fleet/hive/log_reading.py",
        "            if len(self._files) < 2:\n                self._files += reversed",
        "            if not self._files:\n                self._files += reversed",
        (f"{LOGS}test_one_file_alone_is_followed_when_it_is_begun_anew",),
    ),
    Planted(
        "hive-log-lines",
        "the last lines are those of the newest file alone",
        "fleet/hive/log_reading.py",
        "if begin or not wanted or size >= TAIL_BYTES_MAX:",
        "if True:",
        (f"{LOGS}test_the_last_lines_are_found_wherever_rotation_cut_them",),
    ),
    Planted(
        "hive-log-bounds",
        "a log of one line is sent whole, however long",
        "fleet/hive/log_reading.py",
        "        if not budget:\n            break\n",
        "",
        (f"{LOGS}test_lines_without_end_are_bounded",),
    ),
    Planted(
        "hive-log-path",
        "an id that is none becomes the name of a file",
        "fleet/hive/log_reading.py",
        "log = self._log_of(worker_id) if is_worker(worker_id) else None",
        "log = self._log_of(worker_id)",
        (f"{LOGS}test_no_path_is_made_of_an_id",),
    ),
    Planted(
        "hive-log-endless",
        "who follows a worker that has ended waits for ever",
        "fleet/hive/log_reading.py",
        "ended = [asyncio.shield(worker.child.ended)] if worker.child is not None else []",
        "ended: list[asyncio.Future[int | None]] = []",
        (f"{LOGS}test_who_follows_a_worker_that_hangs_is_let_go_when_that_was_killed",),
    ),
    Planted(
        "hive-log-left",
        "who follows a log and leaves is not noticed",
        "fleet/hive/log_reading.py",
        "await unless_gone(asyncio.ensure_future(self._write(send)), receive)",
        "await self._write(send)",
        (f"{LOGS}test_who_follows_and_leaves_is_noticed",),
    ),
    Planted(
        "hive-query",
        "a query may say anything",
        "fleet/bodies.py",
        "refuse(twice + _problems_of(told, kind))",
        "told = {name: value for name, value in told.items() if not _problems_of({name: value}, kind)}",
        (f"{LOGS}test_a_query_that_is_not_sound_is_refused",),
    ),
    Planted(
        "queen-log-elsewhere",
        "only the first hive is asked for the log of a worker that has ended",
        "fleet/queen/log_passing.py",
        "for name, url in self._places:",
        "for name, url in self._places[:1]:",
        (f"{LOGS}test_whoever_has_the_log_of_an_ended_worker_is_found",),
    ),
    Planted(
        "queen-log-left",
        "a hive goes on for a reader who has left",
        "fleet/queen/log_passing.py",
        "await unless_gone(asyncio.ensure_future(self._run(send)), receive)",
        "await self._run(send)",
        (f"{LOGS}test_the_hive_is_told_when_the_reader_has_left",),
    ),
    Planted(
        "queen-log-lost",
        "what is followed of a hive that is lost is silent for ever",
        "fleet/queen/log_passing.py",
        "if not self._is_heard(name):",
        "if False:",
        (f"{LOGS}test_a_hive_that_falls_silent_and_is_lost_ends_what_is_followed",),
    ),
)
