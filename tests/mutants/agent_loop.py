"""Defects of the built-in agent: what it sends back, when the tests run, where it stops, what it tells of a key."""

from __future__ import annotations

from tests.mutants.defect import Planted

MODEL = "tests/integration/test_model.py::"
LOOP = "tests/integration/test_agent_loop.py::"
AGENT = "tests/integration/test_kernel_agent.py::"
SETTINGS = "tests/unit/test_settings.py::"

PLANTED = (
    Planted(
        "message-raw",
        "what a model said is written anew",
        "kernel/model.py",
        "message=Message(data),",
        "message=Message(msgspec.json.encode(msgspec.json.decode(data))),",
        (f"{MODEL}test_a_message_goes_back_byte_for_byte",),
    ),
    Planted(
        "reasoning-pieces",
        "of streamed reasoning only the last piece is kept",
        "kernel/model_stream.py",
        "and name in IN_PIECES:",
        'and name in ("arguments", "content"):',
        (f"{MODEL}test_reasoning_and_unknown_fields_of_a_stream_are_all_kept",),
    ),
    Planted(
        "stream-cut",
        "half a reply is taken for a whole one",
        "kernel/model_openai.py",
        "if not assembly.is_finished:",
        "if False:",
        (f"{MODEL}test_a_stream_that_was_cut_is_asked_for_anew",),
    ),
    Planted(
        "retry-after",
        "the provider's wait is not kept",
        "kernel/model_openai.py",
        "wait_ms = max(seen.retry_after_ms, ",
        "wait_ms = max(0, ",
        (f"{MODEL}test_after_429_it_is_asked_again_no_earlier_than_the_provider_says",),
    ),
    Planted(
        "tries",
        "a provider that fails is asked for ever",
        "kernel/model_openai.py",
        "or tries >= self._limits.tries_max or",
        "or",
        (f"{MODEL}test_what_another_try_may_mend_is_tried_so_often_and_no_more",),
    ),
    Planted(
        "key-told",
        "a provider's words are told with the key in them",
        "kernel/model_openai.py",
        'failed.message.replace(key, f"${self._key_env}") if key else failed.message',
        "failed.message",
        (f"{MODEL}test_what_another_try_cannot_mend_is_told_at_once",),
    ),
    Planted(
        "key-shown",
        "a key that stands in the settings is shown",
        "settings/reader.py",
        'return "is no name of an environment variable", "write the name of the variable',
        'return f"{shown(name)} is no name of an environment variable", "write the name of the variable',
        (f"{SETTINGS}test_a_key_that_was_written_into_the_file_is_not_shown",),
    ),
    Planted(
        "reply-cap",
        "a reply may be of any size",
        "kernel/model_openai.py",
        "            raise _TooLarge",
        "            pass",
        (f"{MODEL}test_a_reply_over_its_cap_is_not_taken",),
    ),
    Planted(
        "flush-each",
        "the tests run after every call of a reply",
        "kernel/agent_loop.py",
        "        self.counts.calls += 1\n",
        "        self.counts.calls += 1\n        if self.dispatcher.session.ledger.turn.file_edits:\n"
        "            await self._flush()\n",
        (f"{LOOP}test_many_edits_in_one_reply_make_one_spawn_per_runner",),
    ),
    Planted(
        "flush-late",
        "the model is asked over an edit that was not judged",
        "kernel/agent_loop.py",
        "        if self.dispatcher.session.ledger.turn.file_edits:",
        "        if False:",
        (f"{LOOP}test_no_model_call_is_made_over_an_unproven_edit",),
    ),
    Planted(
        "done-believed",
        "the model's word is taken although a test is red",
        "kernel/agent_loop.py",
        "if life.open_edits]",
        "if False]",
        (f"{LOOP}test_done_with_a_test_still_red_is_not_done",),
    ),
    Planted(
        "storm-breaker",
        "what leads nowhere goes on",
        "kernel/agent_loop.py",
        "if counts.storms >= limits.storms_max:",
        "if False:",
        (f"{LOOP}test_the_storm_breaker_ends_the_loop",),
    ),
    Planted(
        "refusals-in-a-row",
        "an edit between refusals does not count",
        "kernel/agent_loop.py",
        "            self.counts.refusals_in_a_row = 0",
        "            pass",
        (f"{LOOP}test_refusals_in_a_row_end_it_and_an_edit_between_them_starts_anew",),
    ),
    Planted(
        "escalation",
        "the stronger model is never asked",
        "kernel/agent_loop.py",
        "return names.escalation if self.is_escalated else names.first",
        "return names.first",
        (f"{LOOP}test_after_refusals_a_stronger_model_goes_on_with_the_same_messages",),
    ),
    Planted(
        "rounds",
        "rounds are not limited",
        "kernel/agent_loop.py",
        "if counts.rounds >= limits.rounds_max:",
        "if False:",
        (f"{LOOP}test_rounds_and_tokens_are_limited",),
    ),
    Planted(
        "arguments",
        "arguments that are no JSON end the turn",
        "kernel/agent_loop.py",
        "        except (msgspec.DecodeError, UnicodeError) as wrong:",
        "        except UnicodeError as wrong:",
        (f"{LOOP}test_a_call_that_is_wrong_is_answered",),
    ),
    Planted(
        "late-edits",
        "what the clock left unproven is sealed as it is",
        "kernel/kernel_agent.py",
        "if dispatcher.session.ledger.is_open:",
        "if False:",
        (f"{AGENT}test_what_the_clock_left_unproven_is_judged_before_the_seal",),
    ),
    Planted(
        "session-left-open",
        "a cancelled turn leaves its session open",
        "kernel/kernel_agent.py",
        "    finally:\n        await dispatcher.session.close()",
        "    finally:\n        pass",
        (f"{AGENT}test_cancelling_hangs_up_and_closes_the_session",),
    ),
)
