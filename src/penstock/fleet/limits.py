"""Limits by name, as a command line says them: `stall_ms_max=5000`, `worker.callback_tries_max=3`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from penstock.core.policy import Frozen
from penstock.ports import BadInput, Problem

FLAG = "--limit"
DIGITS_MAX = 12
Policy = TypeVar("Policy", bound=Frozen)


def limited(policy: Policy, written: Sequence[str], prefix: str = "") -> Policy:
    """`policy` with those of the limits that begin with `prefix`. Raises `BadInput` with all that are wrong."""
    names = {field.name for field in msgspec.structs.fields(policy)}
    given: dict[str, int] = {}
    problems = []
    for said in written:
        name, _, value = said.partition("=")
        own = name.removeprefix(prefix)
        if own not in names:
            problems.append(_unknown(said, own, prefix, policy))
        elif not (value.isascii() and value.isdigit() and len(value) <= DIGITS_MAX):
            problems.append(_problem(said, "is no whole number", f"write {name}=N"))
        else:
            given[own] = int(value)
    if problems:
        raise BadInput(problems)
    return msgspec.structs.replace(policy, **given)


def split(written: Sequence[str], prefix: str) -> tuple[list[str], list[str]]:
    """Those without the prefix, and those with it."""
    return [w for w in written if not w.startswith(prefix)], [w for w in written if w.startswith(prefix)]


def _unknown(said: str, name: str, prefix: str, policy: Frozen) -> Problem:
    every = {field.name: getattr(policy, field.name) for field in msgspec.structs.fields(policy)}
    near = difflib.get_close_matches(name, every, n=1)
    listed = ", ".join(f"{prefix}{known}={value}" for known, value in every.items())
    return _problem(said, "is no limit of it", f"did you mean {prefix}{near[0]}?" if near else f"there are {listed}")


def _problem(said: str, message: str, fix: str) -> Problem:
    shown = said[:80] if said.isprintable() else "(unprintable)"
    return Problem(file=FLAG, line=0, field=shown, message=message, fix=fix)
