"""`[redgreen]`: how edits are held to tests, and which files are which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from msgspec.structs import fields, replace

from penstock.core.policy import FileClasses
from penstock.core.redgreen.policy import MODES, Mode, RedGreenLimits, RedGreenPolicy
from penstock.core.redgreen.test_id import RUNNERS, RunnerName
from penstock.documents.fields import Fault, Fields, fault_of_glob
from penstock.settings.limits import TIME_S_MAX
from penstock.settings.schema import RedGreenSettings

VARIABLE = "PENSTOCK_RED_GREEN"
"""Of the environment: its mode wins over what is written."""


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
    """A command line per runner; tests are added at its end."""
    commands = {name: section.text(name, lines=False) for name in RUNNERS}
    section.refuse_unknown()
    return {name: line for name, line in commands.items() if line.strip()}


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
