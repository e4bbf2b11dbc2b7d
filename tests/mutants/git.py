"""Defects around git: how trunk moves, what candidates are made of, what is taken over from an agent."""

from __future__ import annotations

from tests.mutants.defect import Planted

TRUNK = "tests/contract/test_git_trunk.py::"
CANDIDATES = "tests/contract/test_git_candidates.py::"
WORKSPACES = "tests/contract/test_git_workspaces.py::"
ATTACKS = "tests/integration/test_git_attacks.py::"
GUARDS = "tests/integration/test_guards.py::"

PLANTED = (
    Planted(
        "fence-ref",
        "a writer that was taken over moves refs",
        "adapters/git/trunk.py",
        'verify = f"verify {FENCE} {self._fence}\\n" if self._fence and FENCE not in change else ""',
        'verify = ""',
        (f"{TRUNK}test_the_fence_is_verified_by_the_transaction_itself",),
    ),
    Planted(
        "fence-look",
        "a writer that never took the fence moves trunk",
        "adapters/git/trunk.py",
        "if not self._fence or refs.fence != self._fence:",
        "if False:",
        (f"{GUARDS}test_a_writer_that_never_took_the_fence_moves_nothing",),
    ),
    Planted(
        "compare-and-swap",
        "trunk is moved from wherever it is",
        "adapters/git/trunk.py",
        'f"update {ref} {order.commit} {order.expected}"',
        'f"update {ref} {order.commit}"',
        (f"{GUARDS}test_of_two_landings_at_once_one_moves_trunk",),
    ),
    Planted(
        "checked-out",
        "a branch is moved under its checkout",
        "adapters/git/trunk.py",
        "if place := (await self._checked_out()).get(ref):\n            return",
        "if place := {}.get(ref):\n            return",
        (f"{TRUNK}test_a_branch_that_is_checked_out_later_stays_where_it_is",),
    ),
    Planted(
        "trailers",
        "work of another revision of the ticket counts as done",
        "adapters/git/trunk.py",
        'done.setdefault((found["ticket"], found["digest"]), commit)',
        'done.setdefault((found["ticket"], "0" * 64), commit)',
        (f"{TRUNK}test_done_tickets_are_read_from_trailers",),
    ),
    Planted(
        "protected",
        "protected files are the candidate's",
        "adapters/git/candidates.py",
        "await self._formed(order, await self._protect(order.onto, tree))",
        "await self._formed(order, tree)",
        (f"{CANDIDATES}test_protected_files_are_the_bases_own",),
    ),
    Planted(
        "judge-tree",
        "base's judge works with the candidate's settings",
        "adapters/git/candidates.py",
        'if kind in ("test", "control") and not excuses',
        'if kind == "test" and not excuses',
        (f"{CANDIDATES}test_base_judges_with_its_own_tests_and_settings",),
    ),
    Planted(
        "weakened-unseen",
        "weakened tests are not looked for",
        "adapters/git/candidates.py",
        "        return tuple(map(shown, found))",
        "        return ()",
        (f"{CANDIDATES}test_weakened_tests_are_named",),
    ),
    Planted(
        "decorators",
        "a decorator that disarms a test is not seen",
        "core/weakening.py",
        "(function.args, *function.decorator_list, *body)",
        "(function.args, *body)",
        ("tests/unit/test_weakening.py::test_what_disarms_a_test_is_named",),
    ),
    Planted(
        "expansion",
        "what is beyond the scope is taken over",
        "adapters/git/restriction.py",
        'return "set_aside" if allowed and not matches(allowed, path) else ""',
        'return ""',
        (f"{WORKSPACES}test_what_goes_beyond_is_set_aside_and_kept",),
    ),
    Planted(
        "protected-work",
        "protected files are taken over from a turn",
        "adapters/git/restriction.py",
        'if classify(files, path) == "protected":',
        "if False:",
        (f"{WORKSPACES}test_protected_files_stay_and_proposals_are_no_part",),
    ),
    Planted(
        "fsck",
        "objects are taken over unchecked",
        "adapters/git/intake.py",
        '"fetch.fsckObjects": "true"',
        '"fetch.fsckObjects": "false"',
        (f"{GUARDS}test_objects_that_git_would_never_make_are_not_taken_over",),
    ),
    Planted(
        "upload-pack",
        "the agent's repository is read outside the sandbox",
        "adapters/git/intake.py",
        "self._sandbox.wrap(serving, confinement))",
        'Command(argv=(*serving[:3], str(place.intake)), cwd="/", env={"PATH": os.environ["PATH"]}))',
        (f"{GUARDS}test_an_agents_repository_is_read_inside_the_sandbox",),
    ),
    Planted(
        "hooks",
        "hooks of the repository run when its checkout follows",
        "adapters/git/commands.py",
        '{"core.hooksPath": "/dev/null", "core.fsmonitor": "false"}',
        '{"core.fsmonitor": "false"}',
        (f"{ATTACKS}test_hooks_that_are_tracked_files_do_not_run_when_we_land",),
    ),
    Planted(
        "agents-git",
        "git is run on a directory that the agent could write",
        "adapters/git/intake.py",
        '"GIT_DIR": intake, "GIT_WORK_TREE": tree',
        '"GIT_DIR": f"{tree}/.git", "GIT_WORK_TREE": tree',
        (f"{ATTACKS}test_no_plant_runs",),
    ),
)
