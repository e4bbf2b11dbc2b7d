"""A pytest plugin that runs exactly the tests asked for, and tells how each really ended.

It judges `call.excinfo` before any other hook has seen the report, because a `conftest.py` may rewrite reports,
statuses and exit codes. A test is selected by what it is (file, classes, name, row), never by the text of its node id:
rows hold every separator there is. Marks are pytest's to read (`xfail`), and make an outcome less than green, never
better.

Within one process nothing can be kept from code that looks for it: this plugin is sight, not a guard. What it saw is
believed for edits within a turn; what closes a ticket is judged by base's own tests, in a clean run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

import pytest
from _pytest.runner import pytest_make_collect_report as collect_again

from .phantoms import PHANTOMS_MAX
from .places import Tree, clean
from .pytest_warmth import known_packages, warm_up
from .reds import Judge, Red, root_of
from .sources import take_over_rewriting
from .trial import Stage, Trial, Wire, key_of

__all__ = ["run", "warm_up"]

FAILURES: tuple[type[BaseException], ...] = (AssertionError, pytest.fail.Exception)
TRACEBACKS_MAX = 5
"""Failures of one test, by its sub-tests, that are shown with their source: pytest parses the file for each anew."""


class Plugin:
    """`wanted`: tests to keep, or None for all. `until_noticed`: stop at the first that is not green."""

    def __init__(self, tree: Tree, stage: Stage, wanted: list[Wire] | None, until_noticed: bool = False) -> None:
        self._tree, self._stage = tree, stage
        self._wanted = None if wanted is None else {key_of(test) for test in wanted}
        self._until_noticed = until_noticed
        self._judge = Judge(tree, stage.phantoms, FAILURES)
        self._trial: Trial | None = None
        self._failures = 0
        self._config: Any = None
        self._while_starting = ExitStack()
        self._while_starting.enter_context(known_packages())

    # --- what there is ----------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: Any) -> None:
        """The only session of ours: one that a test starts in this process has another config."""
        self._config = self._config or config

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_load_initial_conftests(self) -> Generator[None, Any, None]:
        """Plugins have been found; a conftest that cannot be loaded breaks every test below it."""
        self._while_starting.close()
        outcome = yield
        if outcome.excinfo is not None:
            error = outcome.excinfo[1]
            error = getattr(error, "cause", None) or error.__cause__ or error
            self._tell_broken("", self._judge.unloadable(error, error.__traceback__))

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_make_collect_report(self, collector: Any) -> Generator[None, Any, None]:
        """A file that lacks something of the tree is loaded again with phantoms; one that cannot be loaded is told."""
        outcome = yield
        call = None if outcome.excinfo else getattr(outcome.get_result(), "call", None)
        if collector.config is not self._config or call is None or call.excinfo is None:
            return
        file = self._tree.relative(_file_of(collector))
        for _ in range(PHANTOMS_MAX):
            if call.excinfo is None or not self._stage.phantoms.stand_in_for(root_of(call.excinfo.value)):
                break
            self._stage.uses_phantoms.add(file)
            report = collect_again(collector)
            outcome.force_result(report)
            call = report.call
        if call.excinfo is not None and not _is_skip(call.excinfo.value):
            self._tell_broken(file, self._judge.unloadable(call.excinfo.value, call.excinfo.tb))

    def _tell_broken(self, file: str, red: Red) -> None:
        self._stage.pipe.tell("broken", path=file, **red._asdict())

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        """Keep what is wanted."""
        if self._wanted is None or config is not self._config:
            return
        wanted = self._wanted
        kept = [item for item in items if key_of(self.id_of(item)) in wanted]
        if len(kept) < len(items):
            config.hook.pytest_deselected(items=[item for item in items if item not in kept])
            items[:] = kept

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: Any) -> None:
        """Conftests are loaded by now. Who registers last is outermost: get in front of them."""
        if session.config is not self._config:
            return
        self._config.pluginmanager.unregister(self)
        self._config.pluginmanager.register(self)
        for item in session.items:
            self._stage.pipe.tell("found", id=self.id_of(item), line=_line_of(item))
        self._stage.pipe.tell("collected")

    def id_of(self, item: Any) -> Wire:
        """The canonical id of an item."""
        nodes = [node for node in item.listchain() if isinstance(node, pytest.Class)]
        name = getattr(item, "originalname", None) or item.name
        callspec = getattr(item, "callspec", None)
        row = None if callspec is None else clean(callspec.id)
        return ["pytest", self._tree.relative(_file_of(item)), [clean(n.name) for n in nodes] + [clean(name)], row]

    # --- how each ends ----------------------------------------------------------------------------------------------

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: Any) -> Generator[None, Any, None]:
        """Begin and end a trial."""
        if item.config is not self._config:
            yield
            return
        self._trial, self._failures, style = Trial(self._stage, self.id_of(item)), 0, item.config.option.tbstyle
        yield
        item.config.option.tbstyle = style
        verdict = self._trial.end(self._needs(item))
        self._trial = None
        if self._until_noticed and verdict != "green":
            item.session.shouldstop = "noticed"

    def _needs(self, item: Any) -> list[str]:
        path = _file_of(item)
        modules = (getattr(plugin, "__file__", None) for plugin in self._config.pluginmanager.get_plugins())
        shared = [m for m in modules if isinstance(m, str) and self._tree.relative(m) and _is_above(m, path)]
        needs = self._stage.sources.needs([path, *shared])
        return sorted({*needs, *map(self._tree.relative, shared)})

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Generator[None, Any, None]:
        """Judge a phase by its exception."""
        trial = self._trial if item.config is self._config else None
        excinfo = call.excinfo or _unittest_excinfo(item)
        red = None if trial is None or excinfo is None else self._red(item, call.when, excinfo)
        self._failures += red is not None
        if self._failures > TRACEBACKS_MAX:
            item.config.option.tbstyle = "no"
        outcome = yield
        if trial is None:
            return
        report: Any = None if outcome.excinfo else outcome.get_result()
        red = _heed_marks(red, item, report)
        if red is None:
            trial.passed(call.when)
        else:
            trial.failed(red)

    def _red(self, item: Any, when: str, excinfo: Any) -> Red:
        error, tb = excinfo.value, excinfo.tb
        if _is_skip(error):
            return self._judge.other("skipped", error, tb)
        if isinstance(error, pytest.xfail.Exception):
            return self._judge.other("xfail", error, tb)
        if when != "call":
            return self._judge.other(f"{when}_error", error, tb)
        return self._judge.red(error, tb, self._tree.relative(_file_of(item)))


def _heed_marks(red: Red | None, item: Any, report: Any) -> Red | None:
    """Let pytest's own reading of marks make an outcome less than green or red, never better."""
    if report is None:
        return red or Red("runner_error", "", "", "a hook of the project raised while the test was reported")
    is_expected = hasattr(report, "wasxfail") and any(True for _ in item.iter_markers("xfail"))
    if red is not None:
        is_test = red.verdict.startswith("red_") or red.verdict.endswith("_error")
        return red._replace(verdict="xfail") if is_test and is_expected and report.outcome == "skipped" else red
    if report.outcome == "failed":
        text = clean(report.longrepr)
        return Red("xpass" if "XPASS" in text else "runner_error", "", "", text[:400])
    if report.outcome == "skipped":
        return Red("skipped", "", "", "")
    return Red("xpass", "", "", "") if hasattr(report, "wasxfail") else None


def _is_skip(error: BaseException) -> bool:
    unittest = sys.modules.get("unittest")
    return isinstance(error, pytest.skip.Exception) or bool(unittest and isinstance(error, unittest.SkipTest))


def _unittest_excinfo(item: Any) -> Any:
    """What unittest caught: pytest moves it to `call.excinfo` only inside its own hook."""
    caught = getattr(item, "_excinfo", None)
    return caught[0] if caught else None


def _file_of(node: Any) -> str:
    return str(getattr(node, "path", None) or getattr(node, "fspath", ""))


def _line_of(item: Any) -> int:
    line = item.location[1]
    return 0 if line is None else int(line) + 1


def _is_above(conftest: str, path: str) -> bool:
    """Whether a plugin module concerns the tests of a file: a conftest those below it, others all."""
    name = os.path.basename(conftest)
    return name != "conftest.py" or path.startswith(os.path.join(os.path.dirname(conftest), ""))


# --- the session ----------------------------------------------------------------------------------------------------


def run(order: dict[str, Any], tree: Tree, stage: Stage) -> int:
    """One session; gives pytest's own exit status."""
    wanted, files = order["tests"], _files(order, tree)
    if order["files"] and not files:
        return int(pytest.ExitCode.NO_TESTS_COLLECTED)
    take_over_rewriting(tree, stage.sources)
    plugin = Plugin(tree, stage, wanted, order.get("until_noticed", False))
    return int(pytest.main([*arguments(order, tree), *order["arguments"], *files], [plugin]))


def arguments(order: dict[str, Any], tree: Tree) -> list[str]:
    """Ours come last and so win over the project's own where a thing can be said but once."""
    words = [f"--rootdir={tree.project}", "-p", "no:cacheprovider", "--continue-on-collection-errors", "--maxfail=0"]
    words += [word for module, word in (("xdist", "-n0"), ("pytest_cov", "--no-cov")) if module in _installed()]
    words += [f"--ignore={os.path.join(tree.root, each)}" for each in order["without"]]
    return [*words, "--tb=short", *(["--collect-only", "-q"] if order["collect"] else [])]


def _installed() -> list[str]:
    """Plugins that pytest will load and whose options we must have a say in."""
    if os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
        return []
    return [name for name in ("xdist", "pytest_cov") if find_spec(name) is not None]


def _files(order: dict[str, Any], tree: Tree) -> list[str]:
    paths = [os.path.join(tree.root, *path.split("/")) for path in order["files"]]
    return [path for path in paths if os.path.exists(path)]
