"""Defects in finding the project and the command of a test."""

from __future__ import annotations

from tests.mutants.defect import Planted

NEAREST = "tests/unit/test_projects.py::test_the_nearest_project_that_says_how"
COMMANDS = "tests/unit/test_projects.py::"
SETTINGS = "tests/unit/test_command_settings.py::test_what_cannot_be_followed_is_told_with_its_place"
TOGETHER = "tests/integration/test_monorepo.py::"

PLANTED = (
    Planted(
        "not-nearest",
        "the root's settings go before those of a project",
        "wire/projects.py",
        "found = [each for each in upward(directory) if says(each)]",
        "found = [each for each in upward(directory) if says(each)][::-1]",
        (NEAREST,),
    ),
    Planted(
        "sample-project",
        "a sample among test files is a project",
        "wire/projects.py",
        "outside = (each for each in found if not matches",
        "outside = (each for each in found if True or matches",
        (NEAREST,),
    ),
    Planted(
        "unconfigured",
        "a package that says nothing of pytest goes before the root that does",
        "wire/projects.py",
        'if runner == "unittest" else self._nearest(directory, self._configures_pytest, within_tests=False)',
        "",
        (NEAREST,),
    ),
    Planted(
        "lone-crate",
        "a member of a workspace is built without it",
        "wire/projects.py",
        "return package if root is None or self._is_excluded(package, root) else root",
        "return package",
        (NEAREST,),
    ),
    Planted(
        "excluded-crate",
        "what a workspace excludes is built in it",
        "wire/projects.py",
        "root is None or self._is_excluded(package, root)",
        "root is None",
        (NEAREST,),
    ),
    Planted(
        "last-glob",
        "of several globs the last counts",
        "wire/projects.py",
        "for glob, line in self._globs if matches((glob,), path))",
        "for glob, line in reversed(self._globs) if matches((glob,), path))",
        (f"{COMMANDS}test_a_glob_goes_before_the_runner_and_the_first_before_others",),
    ),
    Planted(
        "foreign-glob",
        "a command of another language is followed",
        "wire/projects.py",
        'if language_in(split(line)) == language), "")',
        '), "")',
        (f"{COMMANDS}test_a_glob_says_nothing_about_files_of_another_language",),
    ),
    Planted(
        "misspelt-runner",
        "a runner misspelt is taken for a glob that matches nothing",
        "settings/redgreen.py",
        "if not any(character in key for character in GLOB_CHARACTERS):",
        "if not key:",
        (SETTINGS,),
    ),
    Planted(
        "unfollowed-words",
        "options that nobody is told of are dropped in silence",
        "core/redgreen/commands.py",
        "    return _fault_of_words(words, language)\n",
        "    return None\n",
        (SETTINGS,),
    ),
    Planted(
        "elsewhere",
        "pytest is started at the root of the repository",
        "kernel/runners/python_spawn.py",
        "return self.launcher.inside(self.directory)",
        "return self.launcher.root",
        (f"{TOGETHER}test_red_edit_and_green_in_each_and_one_spawn_each_at_the_end[warm]",),
    ),
    Planted(
        "one-order",
        "two projects of one runner get one order",
        "kernel/runs.py",
        "project = self._set_up(_fits(owners[test.path], test), test.path)\n",
        "project = self._set_up(_fits(owners[asked.tests[0].path], test), test.path)\n",
        (f"{TOGETHER}test_an_edit_that_breaks_another_project_is_reverted",),
    ),
    Planted(
        "others-tests",
        "a project tells of tests of the one within it",
        "kernel/runs.py",
        "if owners[outcome.test.path] == project)",
        "if owners)",
        (f"{TOGETHER}test_two_commands_in_one_directory_tell_of_each_test_once",),
    ),
    Planted(
        "looks-inside",
        "a run of everything loads the project within",
        "kernel/runners/python_side/penstock_side/pytest_side.py",
        'for each in order["without"]]',
        "for each in []]",
        (f"{TOGETHER}test_a_project_within_another_is_not_so_much_as_loaded",),
    ),
    Planted(
        "spared-too-much",
        "a run of everything leaves out tests that lie below a project of another language",
        "kernel/runs.py",
        " and other.runner == project.runner\n",
        "\n",
        (f"{TOGETHER}test_a_project_within_another_is_run_by_itself_alone",),
    ),
    Planted(
        "no-own-place",
        "a refusal names a test file at the root",
        "kernel/session.py",
        'return proposed_test_path(path, project.directory if project else "")',
        "return proposed_test_path(path)",
        (f"{TOGETHER}test_a_refusal_names_a_test_file_of_the_project",),
    ),
)
