"""What the fork server does for pytest: load it whole, with its plugins, and spare each fork the search for them.

The plugins that installed packages bring are found by reading every package's metadata, 100 ms or more of each start. A
fork gets the list that its parent read. A plugin whose module lies in the tree is the project's own: it stays on the
list, and only forks load it.

The parent runs one red test of nobody's, so that all that pytest imports late is there too. Then it knows which plugins
have no fixtures; each session searches every attribute of all of them, a third of its start, and forks need not.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest
from _pytest import fixtures

from .places import Tree

WARMING_TEST = """
import pytest

@pytest.fixture
def one():
    yield 1

@pytest.mark.parametrize("v", [1, 2])
def test_warming(one, v, tmp_path):
    assert {"a": [one]} == {"a": [v]}
"""

_known: list[Any] = []
_without_fixtures: set[Any] = set()
"""Modules, and types of plugin objects."""


class Package:
    """An installed package with plugins, its metadata read once."""

    def __init__(self, distribution: Any) -> None:
        self._distribution = distribution
        self.entry_points = list(distribution.entry_points)
        self.files = list(distribution.files or ())
        self.metadata = distribution.metadata
        self.version = distribution.version

    def __getattr__(self, name: str) -> Any:
        return getattr(self._distribution, name)

    def plugin_modules(self) -> list[str]:
        """Modules of its plugins."""
        return [each.value.partition(":")[0] for each in self.entry_points if each.group == "pytest11"]


def warm_up(tree: Tree) -> None:
    """Read the list, and run pytest once on a test of ours, with the plugins that are not the project's own."""
    found = (Package(each) for each in importlib.metadata.distributions() if _has_plugins(each))
    _known[:] = found
    foreign = [package for package in _known if not any(_is_ours(tree, name) for name in package.plugin_modules())]
    with tempfile.TemporaryDirectory() as place, open(os.devnull, "w") as nothing, redirect_stdout(nothing):
        with open(os.path.join(place, "test_warming.py"), "w") as file:
            file.write(WARMING_TEST)
        with open(os.path.join(place, "pytest.ini"), "w") as file:
            file.write("[pytest]\n")
        with packages(foreign):
            words = ["-q", "-p", "no:cacheprovider", "--tb=short", f"--basetemp={place}/t", f"--rootdir={place}"]
            pytest.main([*words, place], [_Learning()])
    sys.modules.pop("test_warming", None)
    _spare_the_search()


class _Learning:
    def pytest_sessionfinish(self, session: Any) -> None:
        """Note the plugins without fixtures; those of another time, whose marks we do not know, not at all."""
        kind = getattr(fixtures, "FixtureFunctionDefinition", None)
        if kind is None:
            return
        for plugin in session.config.pluginmanager.get_plugins():
            if not any(isinstance(getattr(plugin, name, None), kind) for name in dir(plugin)):
                _without_fixtures.add(_sort_of(plugin))


def _sort_of(plugin: Any) -> Any:
    return plugin if isinstance(plugin, ModuleType) else type(plugin)


def _spare_the_search() -> None:
    manager: Any = fixtures.FixtureManager
    search = manager.parsefactories

    def parsefactories(self: Any, *values: Any, **named: Any) -> None:
        holder = named["holder"] if "holder" in named else next(iter(values), None)
        if isinstance(holder, (pytest.Item, pytest.Collector)) or _sort_of(holder) not in _without_fixtures:
            search(self, *values, **named)

    manager.parsefactories = parsefactories


def _has_plugins(distribution: Any) -> bool:
    return any(each.group == "pytest11" for each in distribution.entry_points)


def _is_ours(tree: Tree, module: str) -> bool:
    try:
        spec = find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return True
    places = [] if spec is None else [spec.origin or "", *(f"{p}/x" for p in spec.submodule_search_locations or ())]
    return spec is None or any(tree.relative(place) for place in places)


@contextmanager
def packages(known: list[Any]) -> Iterator[None]:
    """Let pytest find these packages instead of searching."""
    original: Any = importlib.metadata.distributions
    importlib.metadata.distributions = lambda **_: iter(known)
    try:
        yield
    finally:
        importlib.metadata.distributions = original


def known_packages() -> Any:
    """The list, for as long as a fork's pytest starts; a cold one searches for itself."""
    return packages(_known) if _known else nullcontext()
