"""`[redgreen]`: how edits are held to tests, and which files are which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from msgspec.structs import fields, replace

from penstock.core.policy import FileClasses
from penstock.core.redgreen.commands import fault_of_command
from penstock.core.redgreen.policy import MODES, Mode, RedGreenLimits, RedGreenPolicy
from penstock.core.redgreen.test_id import RUNNERS, RunnerName
from penstock.documents.fields import Fault, Fields, fault_of_glob, meant, shown
from penstock.settings.limits import TIME_S_MAX
from penstock.settings.schema import RedGreenSettings

VARIABLE = "PENSTOCK_RED_GREEN"
"""Of the environment: its mode wins over what is written."""
GLOB_CHARACTERS = "/*?[.!#"


def take_redgreen(section: Fields, files: FileClasses) -> RedGreenSettings:
    """The section without its globs for test and control files, which `files` holds."""
    default = RedGreenPolicy()
    mode = section.choice_or_none("mode", MODES)
    policy = RedGreenPolicy(
        mode=mode or default.mode,
        files=files,
        exempt_files=section.texts("exempt_files", default.exempt_files, fault=fault_of_glob),
        limits=_take_limits(section),
        verify_command=section.text("verify_command", lines=True),
        test_commands=_take_commands(section.sub("test_command_for")),
    )
    section.refuse_unknown()
    return RedGreenSettings(policy=policy, is_mode_written=mode is not None)


def _take_limits(section: Fields) -> RedGreenLimits:
    taken: dict[str, int] = {}
    for field in fields(RedGreenLimits):
        default = field.default
        assert isinstance(default, int)
        if "_ms" in field.name:
            key = field.name.replace("_ms", "_s")
            taken[field.name] = section.scaled(key, default, 1_000, 0.1, TIME_S_MAX)
        else:
            taken[field.name] = section.whole(field.name, default)
    return replace(RedGreenLimits(), **taken)


def _take_commands(section: Fields) -> dict[str, str]:
    """A command line per runner, or per glob of test files, in the order of the file."""
    unwritten = (name for name in RUNNERS if name not in section.table)
    taken = {key: _take_command(section, key) for key in (*section.table, *unwritten)}
    return {key: line for key, line in taken.items() if line.strip()}


def _take_command(section: Fields, key: str) -> str:
    wrong = None if key in RUNNERS else _fault_of_key(key)
    if wrong is not None:
        section.refuse(key, *wrong)
        return ""

    def fault(line: str) -> Fault | None:
        return None if key in RUNNERS and not line.strip() else fault_of_command(line, key)

    return section.text(key, fault=fault)


def _fault_of_key(key: str) -> Fault | None:
    """A key that is no runner has to be a glob, and to look like one: else it is a runner misspelt."""
    if not any(character in key for character in GLOB_CHARACTERS):
        fix = f'write "{key}/**" for the test files of a directory; {meant(key, RUNNERS)}'
        return f"{shown(key)} is neither a runner nor a glob", fix
    if key.startswith(("!", "#")):
        return f"{shown(key)} names no files", "write a glob of those that are meant"
    return fault_of_glob(key)


def mode_in_force(settings: RedGreenSettings, environ: Mapping[str, str]) -> tuple[Mode, str, Fault | None]:
    """The mode, where it comes from, and what is wrong with the variable; it is not obeyed then."""
    said = environ.get(VARIABLE, "")
    origin = "penstock.toml" if settings.is_mode_written else "default"
    if said in get_args(Mode):
        return said, f"the environment ({VARIABLE})", None  # type: ignore[return-value]
    if said:
        return settings.policy.mode, origin, (f"{VARIABLE}={said!r} is no mode", f"one of {', '.join(MODES)}")
    return settings.policy.mode, origin, None


__all__ = ["RunnerName", "mode_in_force", "take_redgreen"]
