"""The order in which a package could have been written, test by test, and what it could have begun with."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.replay.needs import Needs, Piece
from tests.replay.pieces import FILE, Module
from tests.replay.tracing import Traced, trace

PIECES_MAX = 40
"""A test that needs more at once is no small step."""


@dataclass
class Step:
    """Tests that are written together, and the pieces that they need and that are not there."""

    tests: list[Traced]
    of_tests: set[Piece] = field(default_factory=set)
    wanted: dict[str, set[str]] = field(default_factory=dict)
    """Keys by path."""


class History:
    """One package. `present`: what is there now."""

    def __init__(self, files: Mapping[str, str], place: Path, chance: random.Random) -> None:
        self.modules = {path: Module(path, text) for path, text in files.items()}
        self.needs = Needs(self.modules)
        self._chance = chance
        self._traced = [t for t in trace(files, place) if t.path in self.modules and self._key(t)]
        self.present: set[Piece] = self._skeleton()
        self.begun = frozenset(self.present)
        self.steps = list(self._steps(self.present))

    def text(self, path: str, present: Iterable[Piece]) -> str | None:
        """A file, of these pieces; None: it is not there yet."""
        keys = {key for p, key in present if p == path}
        return self.modules[path].text(keys) if FILE in keys else None

    def _key(self, test: Traced) -> str:
        key = ".".join(test.chain)
        return key if key in self.modules[test.path].keys else ""

    # --- where it begins --------------------------------------------------------------------------------------------

    def _skeleton(self) -> set[Piece]:
        """The package's own `__init__`, and what no test asks for but others cannot be without."""
        tops = [(p, FILE) for p in self.modules if p.endswith("__init__.py") and p.count("/") == 1]
        present = self.needs.of(tops)
        while True:
            unasked = {piece for step in self._ordered(present) for piece in self._unasked(step)}
            if not unasked:
                return present
            present = self.needs.of({*present, *unasked})

    def _unasked(self, step: Step) -> Iterator[Piece]:
        """Pieces in files of which the test runs nothing that is new."""
        ran = {(path, self.modules[path].at(line)) for t in step.tests for path, line in t.ran if path in self.modules}
        ran |= {(path, key.partition(".")[0]) for path, key in ran}
        for path, keys in step.wanted.items():
            if not any((path, key) in ran or self._is_run_by_import(path, key) for key in keys):
                yield from ((path, key) for key in keys)

    def _is_run_by_import(self, path: str, key: str) -> bool:
        statements = [s for s in self.modules[path].statements if key in s.keys]
        return any(s.aliases or (not s.body and _is_assignment(s.lines)) for s in statements)

    # --- how it goes on ---------------------------------------------------------------------------------------------

    def _ordered(self, present: set[Piece]) -> Iterator[Step]:
        """Every test by itself, in order, with what it adds."""
        there = set(present)
        for test in self._traced:
            needed = self.needs.of([(test.path, self._key(test))])
            step = Step([test], {p for p in needed if self.modules[p[0]].is_test})
            fresh = sorted(needed - there - step.of_tests)
            for path, key in fresh:
                step.wanted.setdefault(path, set()).add(key)
            yield step
            there |= needed

    def _steps(self, present: set[Piece]) -> Iterator[Step]:
        """Small steps; tests that are green at once come with the one before, or are left out."""
        last: Step | None = None
        for step in self._ordered(present):
            if step.wanted or last is None:
                if last is not None:
                    yield last
                last = step
            elif len(last.tests) < 4 and self._chance.random() < 0.5:
                last.tests += step.tests
                last.of_tests |= step.of_tests
        if last is not None:
            yield last


def _is_assignment(lines: list[str]) -> bool:
    line = next(line for line in lines if line.strip() and not line.lstrip().startswith("#"))
    return not line.startswith(("def ", "async ", "class ", "@"))
