"""The canonical name of a test: `{runner, path, chain, param}`. Identity is the name; evidence is bound by content.

On the wire it is a JSON list, never a joined text: titles hold every separator there is. `spell` gives the runner's own
spelling for people, and for ids that people write; it is resolved by collection, never by taking it apart.
"""

from __future__ import annotations

import unicodedata
from typing import Literal, get_args

from penstock.core.policy import Frozen

RunnerName = Literal["pytest", "unittest", "vitest", "jest", "node", "cargo", "go"]
RUNNERS: tuple[RunnerName, ...] = get_args(RunnerName)

PATH_CHARS_MAX = 1_000
CHAIN_MAX = 50
NAME_CHARS_MAX = 2_000

Wire = tuple[str, str, tuple[str, ...], str | None]
"""`[runner, path, [chain...], param]`, the only form that travels."""


class TestId(Frozen, order=True):
    """One test. `path`: relative to the repository's root, POSIX, NFC, its true case, without `..`.

    `chain`: enclosing classes, describes or modules, the test last. `param`: the row's id in the runner's own words.
    """

    __test__ = False
    runner: RunnerName
    path: str
    chain: tuple[str, ...]
    param: str | None = None

    @property
    def wire(self) -> Wire:
        """The JSON list."""
        return (self.runner, self.path, self.chain, self.param)

    @property
    def base(self) -> TestId:
        """The test without its row."""
        return self if self.param is None else TestId(runner=self.runner, path=self.path, chain=self.chain)


class BadTestId(ValueError):
    """Not a canonical test id; the text says why."""


def canonical_path(path: str) -> str:
    """`path` in NFC with forward slashes. Raises `BadTestId` unless it is relative, plain and below the root."""
    clean = unicodedata.normalize("NFC", path)
    parts = clean.split("/")
    if not clean or clean.startswith("/") or "\\" in clean or "\0" in clean or len(clean) > PATH_CHARS_MAX:
        raise BadTestId(f"{path[:80]!r} is no relative path with forward slashes")
    if any(part in ("", ".", "..") for part in parts):
        raise BadTestId(f"{path[:80]!r} is not plain: no empty, `.` or `..` part")
    return clean


def from_wire(value: object) -> TestId:
    """The id of a decoded JSON list. Raises `BadTestId`."""
    if not isinstance(value, list | tuple) or len(value) != 4:
        raise BadTestId("a test id is a list of four: [runner, path, [names...], row or null]")
    runner, path, chain, param = value
    if runner not in RUNNERS:
        raise BadTestId(f"no runner {runner!r}; known: {', '.join(RUNNERS)}")
    if not isinstance(path, str) or not isinstance(chain, list | tuple) or not 1 <= len(chain) <= CHAIN_MAX:
        raise BadTestId("path must be text, and the names a list with at least one")
    names = (*chain, *(() if param is None else (param,)))
    if not all(isinstance(name, str) and len(name) <= NAME_CHARS_MAX for name in names):
        raise BadTestId(f"names and row must be texts of at most {NAME_CHARS_MAX} characters")
    return TestId(runner=runner, path=canonical_path(path), chain=tuple(chain), param=param)


SEPARATORS: dict[RunnerName, tuple[str, str]] = {
    "pytest": ("::", "::"),
    "unittest": ("::", "."),
    "vitest": (" > ", " > "),
    "jest": (" > ", " > "),
    "node": (" > ", " > "),
    "cargo": ("::", "::"),
    "go": ("::", "/"),
}
"""What stands between path and names, and between names, when an id is shown."""


def spell(test: TestId) -> str:
    """The id as people read and write it; several ids can share a spelling, so it is never taken apart."""
    after_path, between = SEPARATORS[test.runner]
    row = "" if test.param is None else f"[{test.param}]"
    return f"{test.path}{after_path}{between.join(test.chain)}{row}"
