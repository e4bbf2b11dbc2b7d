"""The limits of red-green, each with its unit in its name, and which files it guards."""

from __future__ import annotations

from typing import Literal

from penstock.core.paths import classify as classify_file
from penstock.core.paths import matches
from penstock.core.policy import FileClasses, Frozen

Mode = Literal["off", "warn", "strict"]
MODES: tuple[Mode, ...] = ("off", "warn", "strict")

GuardedKind = Literal["production", "test", "control", "protected", "exempt"]


class RedGreenLimits(Frozen):
    """Caps of one session. A cap of 0 means none may happen."""

    edits_per_red_max: int = 16
    reds_per_test_max: int = 3
    """How often a test may be red again after edits that it licensed; then a smaller test is asked for."""
    reverts_per_test_max: int = 3
    """How often edits may be reverted because of one test, before nothing more is licensed that it names."""
    attribution_runs_max: int = 8
    test_wall_ms_max: int = 60_000
    suite_wall_ms_max: int = 600_000
    mutation_wall_ms_max: int = 1_000
    mutants_max: int = 20
    refactor_edits_max: int = 40
    refactor_wall_ms_max: int = 1_800_000


class RedGreenPolicy(Frozen):
    """`[redgreen]`, as one session holds to it."""

    mode: Mode = "warn"
    files: FileClasses = FileClasses()
    exempt_files: tuple[str, ...] = ()
    """Globs of files that no test can ask for (documents, assets). None by default."""
    limits: RedGreenLimits = RedGreenLimits()
    verify_command: str = ""
    """Must exit 0 for refactor mode to be left; empty: the tests alone decide."""
    test_commands: dict[str, str] = {}
    """`test_command_for`: command line per runner name, or per glob of test files. Of several globs that a file matches
    the first counts, and it goes before the runner's name; without either the runner's own is taken."""


def kind_of(policy: RedGreenPolicy, path: str) -> GuardedKind:
    """The kind of `path`. A file is exempt only if it is nothing else but production code."""
    kind = classify_file(policy.files, path)
    if kind == "production" and matches(policy.exempt_files, path):
        return "exempt"
    return kind
