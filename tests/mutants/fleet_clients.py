"""Defects that clients and their tools would meet: documents that are not true, bytes that are not those that came."""

from __future__ import annotations

from tests.mutants.defect import Planted

CLIENTS = "tests/fleet/test_openai_clients.py::"
DOCUMENTS = "tests/fleet/test_documents.py::"

PLANTED = (
    Planted(
        "clients-bytes",
        "what a model says before its first token is left out",
        "fleet/queen/dialects.py",
        'return "hold" if _is_empty(chunk) else "token"',
        'return "drop" if _is_empty(chunk) else "token"',
        (f"{CLIENTS}test_the_queen_passes_on_what_the_worker_says_byte_for_byte",),
    ),
    Planted(
        "clients-late",
        "an answer that is late at once has no beginning",
        "fleet/worker/answers.py",
        "            await _start(send, 200, SSE_HEADERS)\n",
        "            flight.run()\n            await _start(send, 200, SSE_HEADERS)\n",
        (f"{DOCUMENTS}test_a_deadline_that_is_over_at_once_is_told_as_an_event",),
    ),
    Planted(
        "clients-json",
        "a body that is JSON only at its beginning is an error of ours",
        "fleet/bodies.py",
        "except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):",
        "except ZeroDivisionError:",
        (f"{DOCUMENTS}test_what_is_json_only_at_first_is_no_json",),
    ),
    Planted(
        "clients-allow",
        "a path names methods that it has not",
        "fleet/app.py",
        "in [] if allowed else self._routes:",
        "in self._routes:",
        (f"{DOCUMENTS}test_a_path_allows_its_own_methods_and_no_others",),
    ),
    Planted(
        "clients-stream-untold",
        "the document does not say that a chat may be streamed",
        "fleet/openapi.py",
        "if endpoint.may_stream:",
        "if False:",
        (f"{DOCUMENTS}test_what_may_stream_says_both_ways",),
    ),
    Planted(
        "clients-body-needed",
        "the document asks for a body that may be left out",
        "fleet/openapi.py",
        "is_needed = any(field.required for field in msgspec.structs.fields(endpoint.body))",
        "is_needed = True",
        (f"{DOCUMENTS}test_a_body_whose_fields_all_have_a_default_may_be_left_out",),
    ),
)
