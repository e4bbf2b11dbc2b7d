"""Defects of the fleet's command line: a token shown or shared, a chain left behind, a stream believed whole."""

from __future__ import annotations

from tests.mutants.defect import Planted

AGENT = "tests/fleet/test_cli_agent.py::"
CATALOGUE = "tests/fleet/test_catalogue.py::"
CHOICES = "tests/fleet/test_cli_choices.py::"
FLEET = "tests/fleet/test_cli_fleet.py::"
IMPORTED = "test_a_parent_that_ends_while_its_program_is_still_being_imported_takes_it_along"
INFER = "tests/fleet/test_cli_infer.py::"
MODELS = "tests/fleet/test_cli_models.py::"
SETTINGS = "tests/unit/test_settings.py::"
SHELL = "tests/contract/test_remote_shell.py::"
SSH = "tests/fleet/test_cli_ssh.py::"
VIEW = "tests/fleet/test_cli_view.py::"

PLANTED = (
    Planted(
        "fleet-token-shared",
        "a token that others may read is taken",
        "fleet/tokens.py",
        "found.st_mode & 0o077",
        "found.st_mode & 0",
        (f"{CHOICES}test_a_token_that_others_may_read_is_refused",),
    ),
    Planted(
        "fleet-token-lines",
        "a file of several lines is taken for a token",
        "fleet/tokens.py",
        r'if b"\n" in line or b"\r" in line:',
        "if False:",
        (f"{CHOICES}test_what_is_no_token_is_refused",),
    ),
    Planted(
        "fleet-env-first",
        "the environment goes before a flag",
        "fleet/choices.py",
        '(queen, "--queen"), (environ.get(QUEEN_ENV), QUEEN_ENV)',
        '(environ.get(QUEEN_ENV), QUEEN_ENV), (queen, "--queen")',
        (f"{CHOICES}test_a_flag_goes_before_the_environment_and_that_before_the_file",),
    ),
    Planted(
        "fleet-stream-whole",
        "a stream that ends without a terminal event is taken for a whole one",
        "fleet/client.py",
        'raise Broken("the stream ended without saying how")',
        "return",
        (f"{INFER}test_what_came_before_a_failure_is_kept_and_said_not_to_be_whole",),
    ),
    Planted(
        "fleet-replay",
        "a prompt is asked again when part of its answer was printed",
        "fleet/inferring.py",
        "if heard.tokens or heard.code not in ERRORS",
        "if heard.code not in ERRORS",
        (f"{INFER}test_what_is_not_for_the_moment_is_not_asked_again",),
    ),
    Planted(
        "fleet-retry-after",
        "the queen's own Retry-After is not heeded",
        "fleet/inferring.py",
        "wait_s = max(wait_s, heard.retry_after_s)",
        "pass",
        (f"{INFER}test_the_queens_own_wish_counts_where_it_is_longer",),
    ),
    Planted(
        "fleet-no-cancel",
        "an interrupt does not cancel the request",
        "fleet/inferring.py",
        "await _cancel(client, asked.request_id)",
        "pass",
        (f"{INFER}test_an_interrupt_cancels_the_request_and_keeps_what_came",),
    ),
    Planted(
        "fleet-escapes",
        "a model steers the terminal",
        "cli/infer_screen.py",
        "plain(text) if self._is_terminal else text",
        "text",
        (f"{INFER}test_a_model_cannot_steer_the_terminal_and_a_pipe_gets_what_it_said",),
    ),
    Planted(
        "fleet-orphan",
        "a queen outlives the process that started it for itself",
        "wire/fleet.py",
        "tie_to_parent(PARENT_PID if with_parent else 0, owner_fd)",
        "tie_to_parent(0, owner_fd)",
        (f"{FLEET}test_with_parent_it_ends_as_its_parent_does",),
    ),
    Planted(
        "fleet-host-key",
        "a machine that was never met is believed",
        "adapters/ssh_openssh.py",
        'if place.takes_new_host_key else "yes"',
        'if place.takes_new_host_key else "accept-new"',
        (f"{SHELL}test_a_host_that_was_never_met_is_believed_only_where_that_was_said",),
    ),
    Planted(
        "fleet-ssh-option",
        "the name of a host becomes an option of ssh",
        "adapters/ssh_openssh.py",
        '*self._options, "--", place.host',
        "*self._options, place.host",
        (f"{SHELL}test_nothing_that_is_said_of_the_place_becomes_an_option",),
    ),
    Planted(
        "fleet-ssh-words",
        "the far side's shell reads the words of a command",
        "adapters/ssh_openssh.py",
        "shlex.join(argv)",
        '" ".join(argv)',
        (f"{SHELL}test_the_words_reach_the_program_as_they_are",),
    ),
    Planted(
        "fleet-unlisted-left",
        "a hive that does not reach the queen is left running on the other machine",
        "wire/fleet_hives.py",
        '_end(shell, wanted, said["pid"])',
        "pass",
        (f"{SSH}test_a_hive_that_does_not_reach_the_queen_is_ended_and_not_saved",),
    ),
    Planted(
        "fleet-open-hive",
        "a hive without a token is opened to other machines",
        "wire/fleet_hives.py",
        "if not is_here and not has_token:",
        "if False:",
        (f"{SSH}test_without_a_token_nothing_is_opened_to_other_machines",),
    ),
    Planted(
        "fleet-model-missing",
        "a run begins with a model that no hive offers",
        "wire/fleet_model.py",
        "missing = [name for name in names_of(settings) if name not in offered]",
        "missing = list[str]()",
        (f"{AGENT}test_a_queen_that_offers_the_model_is_no_problem",),
    ),
    Planted(
        "fleet-two-places",
        "a model of the fleet may have an endpoint, which is then never asked",
        "settings/reader.py",
        "    if settings.base_url:\n        section.refuse(",
        "    if False:\n        section.refuse(",
        (f"{SETTINGS}test_a_model_is_of_the_fleet_or_of_an_endpoint_and_what_is_for_the_other_is_refused",),
    ),
    Planted(
        "fleet-few-descriptors",
        "a queen has as many descriptors as a shell",
        "fleet/processes.py",
        "    if soft != hard:\n        with suppress(ValueError, OSError):",
        "    if soft > hard:\n        with suppress(ValueError, OSError):",
        ("tests/fleet/test_cli_fleet.py::test_as_many_descriptors_are_had_as_the_system_gives",),
    ),
    Planted(
        "fleet-watch-ends",
        "watching ends when the queen restarts",
        "cli/fleet_watch.py",
        "if self._last is None or is_refused:",
        "if True:",
        (f"{FLEET}test_watching_goes_on_over_a_restart_of_the_queen",),
    ),
    Planted(
        "fleet-watch-refused",
        "watching goes on for ever where the queen refuses",
        "cli/fleet_watch.py",
        "if self._last is None or is_refused:",
        "if self._last is None:",
        (f"{FLEET}test_what_a_queen_refuses_ends_the_watching",),
    ),
    Planted(
        "fleet-old-as-new",
        "a picture that is old is shown as the fleet of now",
        "cli/fleet_view.py",
        "    if fleet.away_s is not None:\n        told",
        "    if False:\n        told",
        (f"{VIEW}test_what_is_old_is_said_to_be",),
    ),
    Planted(
        "fleet-script-unread",
        "a script that no worker can play is added",
        "fleet/catalogue/catalogue.py",
        'if placed.backend == "scripted":',
        "if False:",
        (f"{MODELS}test_a_script_that_no_worker_can_play_is_not_added_and_all_that_is_wrong_is_told",),
    ),
    Planted(
        "fleet-late-parent",
        "a parent that ends while the queen is being imported is not missed",
        "wire/fleet.py",
        "tie_to_parent(PARENT_PID if with_parent else 0, owner_fd)",
        "tie_to_parent(os.getppid() if with_parent else 0, owner_fd)",
        (f"{FLEET}{IMPORTED}[queen]",),
    ),
    Planted(
        "fleet-late-import",
        "who started a program is noted when all of it has been imported",
        "cli/__init__.py",
        "from penstock.fleet import first_parent as first_parent",
        "",
        (f"{FLEET}{IMPORTED}",),
    ),
    Planted(
        "fleet-kept-unsaid",
        "a file that was pulled is kept without a word",
        "cli/models_command.py",
        "    if not removed.files:\n",
        "    if not removed.are_deleted:\n",
        (f"{MODELS}test_removing_says_what_is_kept_and_what_is_deleted",),
    ),
    Planted(
        "fleet-file-of-others",
        "a file that was never pulled is deleted with its model",
        "fleet/catalogue/removing.py",
        "if not is_in(path, folder):",
        "if False:",
        (f"{CATALOGUE}test_a_file_that_was_not_pulled_is_never_deleted",),
    ),
    Planted(
        "fleet-file-of-two",
        "a file is deleted that another model has too",
        "fleet/catalogue/removing.py",
        "elif (other := taken.get(_real(path))) is not None:",
        "elif (other := taken.get(name)) is not None:",
        (f"{CATALOGUE}test_a_file_of_two_models_is_not_deleted_with_one_of_them",),
    ),
    Planted(
        "fleet-lock-left",
        "a pull leaves its lock behind",
        "fleet/catalogue/catalogue.py",
        "            if what != FILE:\n",
        "            if False:\n",
        ("tests/fleet/test_download.py::test_a_model_is_downloaded_and_added",),
    ),
    Planted(
        "fleet-lock-of-nobody",
        "a lock is taken whose file has no name any more",
        "fleet/catalogue/catalogue.py",
        "if _is_at(descriptor, place):",
        "if True:",
        (f"{CATALOGUE}test_a_lock_whose_file_goes_with_its_holder_still_holds_one_alone",),
    ),
)
