"""Defects of a worker: slots that leak, clients that leave unnoticed, ends that are not said."""

from __future__ import annotations

from tests.mutants.defect import Planted

WORKER = "tests/fleet/test_worker.py::"
ENGINE = "tests/fleet/test_worker_engine.py::"
PARTS = "tests/fleet/test_worker_parts.py::"

PLANTED = (
    Planted(
        "worker-slots",
        "more requests are served than there are slots",
        "fleet/worker/flights.py",
        "if len(self._active) >= self.slots:",
        "if len(self._active) > self.slots:",
        (
            f"{WORKER}test_of_many_at_once_as_many_are_served_as_there_are_slots",
            f"{PARTS}test_a_slot_comes_back_once",
        ),
    ),
    Planted(
        "worker-duplicate",
        "two requests have one id",
        "fleet/worker/flights.py",
        "if request_id in self._active:",
        "if False:",
        (f"{WORKER}test_an_id_is_for_one_request_at_a_time",),
    ),
    Planted(
        "worker-gone",
        "a client that leaves is not noticed",
        "fleet/worker/answers.py",
        "await unless_gone(flight.task, receive)",
        "await flight.task",
        (f"{WORKER}test_a_client_that_leaves_frees_its_slot",),
    ),
    Planted(
        "worker-cancel",
        "a request that is cancelled goes on",
        "fleet/worker/flights.py",
        "                self.task.cancel()",
        "                pass",
        (f"{WORKER}test_a_chat_is_cancelled_by_its_id", f"{WORKER}test_a_deadline_ends_a_request"),
    ),
    Planted(
        "worker-deadline",
        "the deadline of the header is not kept",
        "fleet/deadlines.py",
        "for ms in (in_body_ms, int(given) if given else None)",
        "for ms in (in_body_ms, None)",
        (f"{WORKER}test_a_deadline_ends_a_request", f"{WORKER}test_what_cannot_be_served_is_said"),
    ),
    Planted(
        "worker-ended",
        "an id that has ended is forgotten at once",
        "fleet/worker/flights.py",
        "        self._ended[request_id] = self._clock()\n",
        "",
        (f"{PARTS}test_an_id_that_ended_is_known_for_a_while",),
    ),
    Planted(
        "worker-stall",
        "a slow reader looks like an engine that hangs",
        "fleet/worker/flights.py",
        "            self.first_at = self.clock()\n        self.owed_since = None",
        "            self.first_at = self.clock()",
        (
            f"{PARTS}test_only_the_time_that_the_engine_takes_is_a_stall",
            f"{WORKER}test_a_slow_reader_holds_the_engine_back_and_loses_nothing",
        ),
    ),
    Planted(
        "worker-drain",
        "a draining worker takes new requests",
        "fleet/worker/worker.py",
        '        if self._is_draining:\n            raise FleetError("DRAINING"',
        '        if False:\n            raise FleetError("DRAINING"',
        (f"{WORKER}test_it_finishes_what_is_under_way_and_takes_nothing_new",),
    ),
    Planted(
        "worker-drain-limit",
        "a drain waits for ever",
        "fleet/worker/worker.py",
        "self._order.policy.drain_ms_max / 1_000",
        "None",
        (f"{WORKER}test_a_drain_has_a_limit",),
    ),
    Planted(
        "worker-loading",
        "a request is taken before the model is loaded",
        "fleet/worker/worker.py",
        "        if not self._has_loaded:\n            details",
        "        if False:\n            details",
        (f"{WORKER}test_while_it_loads_it_says_how_far_it_is_and_serves_nobody",),
    ),
    Planted(
        "worker-unwanted",
        "a worker that its hive has ended goes on",
        "fleet/worker/callback.py",
        "if status in UNWANTED:",
        "if False:",
        (f"{WORKER}test_whom_its_hive_does_not_want_ends",),
    ),
    Planted(
        "worker-callback-once",
        "a callback that was lost is not sent again",
        "fleet/worker/callback.py",
        "for left in reversed(range(policy.callback_tries_max)):",
        "for left in range(1):",
        (f"{WORKER}test_a_callback_that_is_lost_is_sent_again",),
    ),
    Planted(
        "worker-broken-off",
        "an engine that breaks off has said all",
        "fleet/worker/answers.py",
        'raise FleetError("BAD_ENGINE_REPLY", "the engine broke off")',
        'return Stop("stop")',
        (f"{WORKER}test_what_the_engine_breaks_off_is_no_success",),
    ),
    Planted(
        "worker-engine-died",
        "an engine that died leaves its requests waiting",
        "fleet/worker/worker.py",
        "await self._fail(await self._engine.died())",
        "await self._engine.died()",
        (f"{ENGINE}test_an_engine_that_dies_ends_every_request_and_the_worker",),
    ),
    Planted(
        "worker-torn",
        "an error is said in the middle of an event",
        "fleet/worker/answers.py",
        "(not self.tail or self.tail.endswith(EVENT_ENDS))",
        "True",
        (f"{ENGINE}test_an_error_within_an_event_tears_the_answer",),
    ),
    Planted(
        "worker-once",
        "a fault for one worker is for all of them",
        "fleet/worker/scripted.py",
        "        except FileNotFoundError:\n            return False",
        "        except FileNotFoundError:\n            return True",
        (f"{WORKER}test_a_fault_may_be_for_one_worker_alone",),
    ),
    Planted(
        "worker-second-signal",
        "at a second signal nobody is told",
        "fleet/worker/worker.py",
        "Server(app, self._accepting, self._drain, cut=self._cut)",
        "Server(app, self._accepting, self._drain)",
        (f"{WORKER}test_a_second_signal_ends_it_at_once",),
    ),
    Planted(
        "worker-inference-line",
        "no log of a worker has the id of a request",
        "fleet/worker/answers.py",
        "            self.on_end(flight)\n",
        "",
        (f"{WORKER}test_each_request_is_one_line_in_the_log_and_nothing_of_what_was_said_is",),
    ),
)
