"""Durations, kept as whole seconds."""

import re

UNITS = {"h": 3600, "m": 60, "s": 1}


def seconds(text: str) -> int:
    """Seconds of a text like `1h30m`; a bare number is seconds."""
    if text.isdigit():
        return int(text)
    found = re.findall(r"(\d+)([a-z])", text)
    if not found or "".join(number + unit for number, unit in found) != text:
        raise ValueError(f"{text!r} is no duration")
    if any(unit not in UNITS for _, unit in found):
        raise ValueError(f"{text!r} has an unknown unit")
    return sum(int(number) * UNITS[unit] for number, unit in found)


def human(count: int) -> str:
    """A duration as people write it, largest unit first."""
    parts = []
    for unit, size in UNITS.items():
        number, count = divmod(count, size)
        if number:
            parts.append(f"{number}{unit}")
    return " ".join(parts) or "0s"
