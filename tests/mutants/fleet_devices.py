"""Defects round graphics cards: how they are found and told, and which one a worker gets."""

from __future__ import annotations

from tests.mutants.defect import Planted

DEVICES = "tests/fleet/test_devices.py::"
ROUTING = "tests/unit/test_fleet_routing.py::"

PLANTED = (
    Planted(
        "card-unlisted",
        "the list of workers does not say on which card they are",
        "cli/workers_command.py",
        'taken if worker.device == "cpu" else f"{taken} on {worker.device}"',
        "taken",
        (
            "tests/scenarios/test_hives.py::"
            "test_of_the_cards_of_one_machine_a_worker_that_wants_any_goes_to_that_with_most_left",
        ),
    ),
    Planted(
        "device-hang",
        "a hive waits for ever for a driver that hangs",
        "adapters/devices_smi.py",
        "while select.select([output], [], [], max(0.0, deadline - time.monotonic()))[0]:",
        "while select.select([output], [], [])[0]:",
        (f"{DEVICES}test_a_program_that_hangs_is_killed_with_what_is_below_it",),
    ),
    Planted(
        "device-left",
        "a program that hangs is left behind",
        "adapters/devices_smi.py",
        "os.killpg(process.pid, signal.SIGKILL)",
        "process.send_signal(0)",
        (f"{DEVICES}test_a_program_that_hangs_is_killed_with_what_is_below_it",),
    ),
    Planted(
        "device-flood",
        "all is kept of a program that does not stop talking",
        "adapters/devices_smi.py",
        "if len(data) > OUTPUT_BYTES_MAX:",
        "if False:",
        (f"{DEVICES}test_a_program_that_does_not_stop_talking_is_ended",),
    ),
    Planted(
        "device-failed",
        "what a program said before it failed is believed",
        "adapters/devices_smi.py",
        "    if status:\n",
        "    if False:\n",
        (f"{DEVICES}test_a_program_that_fails_is_a_problem_with_its_words",),
    ),
    Planted(
        "device-garbage",
        "a card with more free memory than it has is believed",
        "adapters/devices_smi.py",
        "if name in devices or not 0 < total >= free:",
        "if name in devices:",
        (f"{DEVICES}test_what_cannot_be_read_is_no_card_but_a_problem",),
    ),
    Planted(
        "device-hidden",
        "cards that the environment hides are used",
        "adapters/devices_smi.py",
        "return found if shown is None or by_uuid else _only(found, shown)",
        "return found",
        (f"{DEVICES}test_cards_that_the_environment_hides_are_not_there",),
    ),
    Planted(
        "device-free",
        "what others hold of a card counts as free",
        "adapters/devices_smi.py",
        "Device(name=name, memory_total=total, memory_free=free)",
        "Device(name=name, memory_total=total, memory_free=total)",
        (f"{DEVICES}test_cards_of_nvidia_are_found_with_their_memory",),
    ),
    Planted(
        "device-told",
        "a hive that was told of its devices looks all the same",
        "wire/fleet.py",
        "finder=None if flags.devices else SmiDevices",
        "finder=SmiDevices",
        (f"{DEVICES}test_a_hive_that_is_told_does_not_look",),
    ),
    Planted(
        "device-upgrade",
        "an upgraded hive takes what its workers hold for taken by others",
        "fleet/hive/program.py",
        "problems=kept.problems) if kept else options.finder.find()",
        "problems=kept.problems) if False else options.finder.find()",
        (f"{DEVICES}test_an_upgraded_hive_does_not_count_what_its_own_workers_hold_as_taken_by_others",),
    ),
    Planted(
        "device-unseen",
        "llama-server sees every card",
        "fleet/worker/llama.py",
        "CALM | dict(self._env) | seeing(self._model.device)",
        "CALM | dict(self._env)",
        (f"{DEVICES}test_a_hive_places_by_the_memory_that_it_found_and_its_server_sees_that_card_alone",),
    ),
    Planted(
        "device-unsaid",
        "what went wrong when cards were looked for is said nowhere",
        "cli/hives_command.py",
        'click.echo(f"{plain(hive.name)}: {plain(problem)}", err=True)',
        "pass",
        (f"{DEVICES}test_hives_shows_what_was_found_and_what_went_wrong",),
    ),
    Planted(
        "card-any",
        "a model that wants any card is placed on the first",
        "fleet/hive/hive.py",
        "device = max(self._suited(model), key=lambda each: each.memory_free)",
        "device = self._suited(model)[0]",
        (
            "tests/fleet/test_hive_spawns.py::test_any_card_is_the_one_with_most_left_and_the_worker_is_told_which",
            "tests/scenarios/test_hives.py::test_of_the_cards_of_one_machine_a_worker_that_wants_any_goes_to_that_with_most_left",
        ),
    ),
    Planted(
        "card-each",
        "a model that wants any card fits where it fits on all",
        "core/fleet/room.py",
        "return bool(fitting(ledger, hive, offer, [*without]))",
        "return len(fitting(ledger, hive, offer, [*without])) >= max(1, len(suited(hive, offer)))",
        (f"{ROUTING}test_any_card_of_a_kind_will_do_and_the_hive_with_the_roomiest_is_asked",),
    ),
    Planted(
        "card-promised",
        "what is ordered on any card is taken from the fullest",
        "core/fleet/room.py",
        "free[max(able, key=free.__getitem__)] -= size",
        "free[min(able, key=free.__getitem__)] -= size",
        (f"{ROUTING}test_what_is_ordered_on_any_card_is_taken_from_the_one_with_most_left",),
    ),
    Planted(
        "card-fewest",
        "for a model that wants any card, more workers are ended than one card needs",
        "core/fleet/making_way.py",
        "return min(firsts, key=lambda first: first[0], default=(0, None))[1]",
        "return max(firsts, key=lambda first: first[0], default=(0, None))[1]",
        (f"{ROUTING}test_where_several_must_go_they_are_those_of_one_card",),
    ),
    Planted(
        "card-told",
        "a worker that was just spawned is listed on the device that its model wants, not on the one it has",
        "fleet/queen/hives.py",
        "            device=spawned.device,\n",
        "            device=offer.device,\n",
        ("tests/fleet/test_queen_hives.py::test_a_worker_that_no_report_has_yet_is_listed_where_its_hive_loads_it",),
    ),
    Planted(
        "card-by-hand",
        "the server of a worker by hand that wants any card sees none",
        "fleet/worker/upstream.py",
        'return device.startswith(("gpu", "cuda")) and device[-1:].isdigit()',
        'return device.startswith(("gpu", "cuda"))',
        ("tests/fleet/test_programs.py::test_a_worker_by_hand_of_any_card_sees_all_and_takes_the_first",),
    ),
)
