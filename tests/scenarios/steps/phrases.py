"""How a sentence of a feature is read: names of things stand in braces, each with what it may look like."""

from __future__ import annotations

import re
from typing import Any

from pytest_bdd import parsers

KINDS = {
    "client": r"[A-Z][a-z]+",
    "model": r"[a-z][a-z0-9.-]*",
    "name": r"[a-z][a-z0-9-]*",
    "key": r"[\w.]+",
    "n": r"\d+",
    "m": r"\d+",
    "limit": r"[a-z_]+",
    "place": r"[A-Z]+",
    "program": r"queen|hive|worker",
    "target": r"the (?:queen|hive|hive [a-z][a-z0-9-]*|worker of [a-z][a-z0-9.-]*)",
    "signal": r"SIG[A-Z]+",
    "status": r"\d{3}",
    "code": r"[A-Z_]+",
    "method": r"GET|POST|DELETE|PUT|PATCH",
    "path": r"/\S*",
    "state": r"[a-z]+",
    "text": r".*",
    "words": r".+",
}
NUMBERS = ("n", "m", "status")
PLACE = re.compile(r"\{(\w+)\}")


class Sentence(parsers.re):
    """One with numbers in it."""

    def parse_arguments(self, name: str) -> dict[str, Any] | None:
        """What stands in the places; numbers as such."""
        found = super().parse_arguments(name)
        return found and {key: int(value) if key in NUMBERS else value for key, value in found.items()}


def line(sentence: str) -> Sentence:
    """A step that reads as `sentence`."""
    pattern, at = "", 0
    for found in PLACE.finditer(sentence):
        pattern += re.escape(sentence[at : found.start()]) + f"(?P<{found[1]}>{KINDS[found[1]]})"
        at = found.end()
    return Sentence(pattern + re.escape(sentence[at:]))
