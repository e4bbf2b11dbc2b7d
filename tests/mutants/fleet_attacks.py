"""Defects of what stands before queen, hive and worker, and of whom a queen believes."""

from __future__ import annotations

from tests.mutants.defect import Planted

ATTACKS = "tests/fleet/test_attacks.py::"

PLANTED = (
    Planted(
        "fleet-head-endless",
        "a head without end is read for ever",
        "fleet/connections.py",
        "if self._is_in_head and self._head_bytes > HEAD_BYTES_MAX and not self._is_refused:",
        "if False:",
        (f"{ATTACKS}test_a_head_without_end_is_answered_and_not_awaited",),
    ),
    Planted(
        "fleet-head-large",
        "a head that comes at once may have any size",
        "fleet/connections.py",
        "sum(len(n) + len(v) for n, v in self.headers) > HEAD_BYTES_MAX",
        "0 > HEAD_BYTES_MAX",
        (f"{ATTACKS}test_a_head_has_a_cap[long]",),
    ),
    Planted(
        "fleet-head-slow",
        "who connects and says nothing keeps the connection",
        "fleet/connections.py",
        "        super().connection_made(transport)  # type: ignore[arg-type]\n        self._be_patient()",
        "        super().connection_made(transport)  # type: ignore[arg-type]",
        (f"{ATTACKS}test_who_sends_no_whole_head_is_cut_off[nothing]",),
    ),
    Planted(
        "fleet-head-cuts-answers",
        "a line too much ends an answer that takes long",
        "fleet/connections.py",
        "if self._is_answering():\n            self._be_patient()",
        "if False:\n            self._be_patient()",
        (f"{ATTACKS}test_an_answer_that_takes_longer_than_a_head_may_is_not_cut_off",),
    ),
    Planted(
        "fleet-body-unread",
        "who was refused may go on sending for ever",
        "fleet/connections.py",
        "if not self._is_in_head:\n            self._be_patient()",
        "if False:\n            self._be_patient()",
        (f"{ATTACKS}test_a_body_that_nobody_reads_is_not_awaited_for_ever",),
    ),
    Planted(
        "fleet-sender-left",
        "who leaves while sending is called an error of ours",
        "fleet/app.py",
        "        except _Left:\n            pass\n",
        "",
        (f"{ATTACKS}test_who_leaves_while_sending_is_no_error_of_ours",),
    ),
    Planted(
        "fleet-foreign-page",
        "any web page may ask where there is no token",
        "fleet/app.py",
        "if not self._token and is_foreign(headers):",
        "if False:",
        (f"{ATTACKS}test_a_page_of_elsewhere_moves_nothing_where_there_is_no_token",),
    ),
    Planted(
        "fleet-rebound-name",
        "a page whose name was rebound to loopback may ask",
        "fleet/pages.py",
        "return bool(host and not _may_be_called(host)) or bool(",
        "return bool(",
        (f"{ATTACKS}test_a_page_of_elsewhere_is_foreign",),
    ),
    Planted(
        "fleet-worker-address",
        "a hive's worker may be at what is no address",
        "fleet/grammars.py",
        "all(is_worker(w.worker_id) and is_address(w.url) for w in workers)",
        "all(is_worker(w.worker_id) for w in workers)",
        (f"{ATTACKS}test_a_hive_tells_addresses_alone",),
    ),
    Planted(
        "fleet-worker-stolen",
        "a hive that lists the worker of another has it",
        "core/fleet/ledger.py",
        "return known is None or known.hive == hive",
        "return True",
        (f"{ATTACKS}test_a_hive_cannot_take_the_worker_of_another",),
    ),
    Planted(
        "fleet-epoch-bound",
        "an epoch may be larger than the registry can hold",
        "fleet/schema.py",
        "epoch: Annotated[int, Meta(ge=0, le=COUNT_MAX)] = 0",
        "epoch: Annotated[int, Meta(ge=0)] = 0",
        (f"{ATTACKS}test_an_epoch_that_no_disk_can_hold_is_refused",),
    ),
)
