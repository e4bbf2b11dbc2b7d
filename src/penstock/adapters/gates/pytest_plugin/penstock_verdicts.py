"""A pytest plugin that tells Penstock, over an inherited pipe, how each phase of each test really ended.

Works with pytest >= 6 and Python >= 3.8, and knows nothing of Penstock: it is mounted alone into a sandbox.

It reports what `call.excinfo` says before any other hook has seen the report, because a `conftest.py` may rewrite
reports, statuses and exit codes. The descriptor and the nonce are read at import, taken out of the environment, and of
no use to a child process; a second session in the same process (pytest's own test tools) gets neither. Workers of
pytest-xdist and forked children attach their verdict to the report, which the process that owns the pipe passes on.

Within one process nothing can be kept from code that looks for it: this plugin is sight, not a guard. The looks that
catch who gropes for it are listed in `tests/integration/test_pytest_verdicts.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import traceback
from collections.abc import Generator, Iterator
from os import getpid, write
from typing import Any

import pytest

ID_MAX = 2000
MESSAGE_MAX = 400
NAMES_MAX = 20

_NO_ATTRIBUTE = re.compile(r"has no attribute '([^']+)'")
_NO_IMPORT = re.compile(r"cannot import name '([^']+)'")
_NO_NAME = re.compile(r"^name '([^']+)' is not defined")
_NO_PARAMETER = re.compile(r"got an unexpected keyword argument '([^']+)'")
_ARGUMENTS = re.compile(
    r"missing \d+ required|takes (no|exactly|at (least|most)|from )?.*argument.* given|takes no argument"
)

_encode = json.JSONEncoder().encode


class Pipe:
    """The write end. Only the process that opened it writes; a broken pipe is left to the reader to notice."""

    def __init__(self, fd: int, nonce: str) -> None:
        self._fd = fd
        self._prefix = nonce.encode("ascii", "replace") + b" "
        self._pid = getpid()

    def is_ours(self) -> bool:
        return getpid() == self._pid

    def tell(self, record: str, **fields: Any) -> None:
        if not self.is_ours():
            return
        line = self._prefix + _encode(dict(fields, t=record, s=self._pid)).encode("ascii") + b"\n"
        try:
            while line:
                line = line[write(self._fd, line) :]
        except OSError:
            self._fd = -1


def _open_pipe() -> list[Pipe]:
    fd, nonce = os.environ.pop("PENSTOCK_VERDICT_FD", ""), os.environ.pop("PENSTOCK_NONCE", "")
    if not (fd.isdigit() and nonce):
        return []
    try:
        os.set_inheritable(int(fd), False)
    except OSError:
        return []
    pipe = Pipe(int(fd), nonce)
    pipe.tell("loaded", pytest=pytest.__version__)
    return [pipe]


_unclaimed = _open_pipe()


def pytest_configure(config: Any) -> None:
    pipe = _unclaimed.pop() if _unclaimed else None
    if pipe is not None or hasattr(config, "workerinput"):
        config.pluginmanager.register(Reporter(config, pipe))


# --- what is reported -----------------------------------------------------------------------------------------------


class Reporter:
    """Sees each phase first. Without a pipe (a worker) it attaches what it saw to the report."""

    def __init__(self, config: Any, pipe: Pipe | None) -> None:
        self._config = config
        self._pipe = pipe
        self._tree = Tree(os.environ.get("PENSTOCK_ROOT") or _rootdir(config))
        self._only = _read_only(os.environ.get("PENSTOCK_ONLY"))
        self._listed = False

    def _has_workers(self) -> bool:
        return bool(self._config.pluginmanager.hasplugin("dsession"))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: Any) -> None:
        if self._pipe:
            self._pipe.tell("session", pytest=pytest.__version__, rootdir=clean(_rootdir(session.config)))

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_make_collect_report(self, collector: Any) -> Generator[None, Any, None]:
        outcome = yield
        report: Any = None if outcome.excinfo else outcome.get_result()
        call = getattr(report, "call", None)
        if call is not None and call.excinfo is not None and not _is_skip(call.excinfo.value):
            seen = _collect_error(self._tree, collector, call.excinfo)
            if self._pipe and self._pipe.is_ours():
                self._pipe.tell("collect_error", **seen)
            else:
                report.penstock_collect_error = seen

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        if self._only is None:
            return
        kept = [i for i in items if self._tree.relative(_file_of(i)) in self._only or _stem(i.nodeid) in self._only]
        if len(kept) < len(items):
            config.hook.pytest_deselected(items=[i for i in items if i not in kept])
            items[:] = kept

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: Any) -> None:
        # Conftests are loaded by now. Who registers last is outermost: get in front of them.
        self._config.pluginmanager.unregister(self)
        self._config.pluginmanager.register(self)
        if self._pipe and not self._has_workers():
            for item in session.items:
                self._pipe.tell("item", id=id_of(item.nodeid), file=self._tree.relative(_file_of(item)))
            self._pipe.tell("collected", count=len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        if self._pipe and not self._listed:
            self._listed = True
            for nodeid in ids:
                self._pipe.tell("item", id=id_of(nodeid), file="")
            self._pipe.tell("collected", count=len(ids))

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Generator[None, Any, None]:
        excinfo = call.excinfo or _unittest_excinfo(item)
        seen = _result(self._tree, item, call, excinfo)
        outcome = yield
        report: Any = None if outcome.excinfo else outcome.get_result()
        if report is not None:
            _heed_marks(seen, item, report)
        if self._pipe and self._pipe.is_ours():
            self._pipe.tell("result", **seen)
        elif report is not None:
            report.penstock_result = seen

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        if not self._pipe:
            return
        seen = getattr(report, "penstock_result", None)
        if seen is not None:
            self._pipe.tell("result", **seen)
        elif self._has_workers() and report.failed:
            self._pipe.tell("result", **_crash(report))

    @pytest.hookimpl(tryfirst=True)
    def pytest_collectreport(self, report: Any) -> None:
        seen = getattr(report, "penstock_collect_error", None)
        if self._pipe and seen is not None:
            self._pipe.tell("collect_error", **seen)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: Any, exitstatus: int) -> Generator[None, Any, None]:
        if self._pipe:
            self._pipe.tell("finished", exit_status=int(exitstatus), count=session.testscollected)
        yield


def _result(tree: Tree, item: Any, call: Any, excinfo: Any) -> dict[str, Any]:
    seen: dict[str, Any] = {
        "id": id_of(item.nodeid),
        "file": tree.relative(_file_of(item)),
        "when": call.when,
        "outcome": "passed",
        "kind": "other",
        "where": "",
        "message": "",
        "ms": max(0, int((call.stop - call.start) * 1000)),
    }
    if excinfo is None:
        return seen
    error = excinfo.value
    if _is_skip(error):
        seen["outcome"] = "skipped"
    elif isinstance(error, pytest.xfail.Exception):
        seen["outcome"] = "xfailed"
    else:
        seen["outcome"] = "failed"
        seen["kind"] = kind_of(error)
        seen["where"] = tree.deepest(excinfo.tb)
    seen["message"] = text_of(error)
    return seen


def _heed_marks(seen: dict[str, Any], item: Any, report: Any) -> None:
    """Let pytest's own reading of marks make an outcome less than green or red, never better."""
    is_expected = bool(getattr(report, "wasxfail", None) is not None and list(item.iter_markers("xfail")))
    if seen["outcome"] == "failed":
        if is_expected and report.outcome == "skipped":
            seen["outcome"] = "xfailed"
    elif seen["outcome"] == "passed":
        if report.outcome == "failed":
            seen.update(outcome="failed", message=clean(report.longrepr)[:MESSAGE_MAX])
        elif report.outcome == "skipped":
            seen["outcome"] = "skipped"
        elif hasattr(report, "wasxfail"):
            seen["outcome"] = "xpassed"


def _crash(report: Any) -> dict[str, Any]:
    """A failure that no worker judged: the worker died."""
    return {
        "id": id_of(report.nodeid),
        "file": "",
        "when": "call",
        "outcome": "crashed",
        "kind": "other",
        "where": "",
        "message": clean(report.longrepr)[:MESSAGE_MAX],
        "ms": 0,
    }


def _collect_error(tree: Tree, collector: Any, excinfo: Any) -> dict[str, Any]:
    error, tb = excinfo.value, excinfo.tb
    while type(error).__name__ == "CollectError" and error.__cause__ is not None:
        error = error.__cause__
        tb = error.__traceback__
    file = tree.relative(_file_of(collector))
    return {
        "file": file or id_of(collector.nodeid),
        "line": tree.line_in(tb, file),
        "exception": clean(type(error).__name__)[:200],
        "names": [clean(name)[:ID_MAX] for name in missing_names(error)][:NAMES_MAX],
        "message": text_of(error),
    }


# --- what went wrong ------------------------------------------------------------------------------------------------


def kind_of(error: BaseException) -> str:
    """How an exception is red: `assertion`, `missing_target`, or `exception` (the reader knows what is production)."""
    if isinstance(error, (AssertionError, pytest.fail.Exception)):
        return "assertion"
    return "missing_target" if missing_names(error) else "exception"


def missing_names(error: BaseException) -> list[str]:
    """The modules or names that an exception says are not there; a call that does not fit names its function."""
    text = text_of(error).partition(": ")[2]
    if isinstance(error, ImportError):
        return _NO_IMPORT.findall(text) + ([error.name] if error.name else [])
    if isinstance(error, NameError):
        return _NO_NAME.findall(text)
    if isinstance(error, AttributeError):
        return _NO_ATTRIBUTE.findall(text)
    if isinstance(error, TypeError):
        return _NO_PARAMETER.findall(text) or [text.partition("(")[0]] if _is_misfit(text) else []
    return []


def _is_misfit(text: str) -> bool:
    return bool(_NO_PARAMETER.search(text) or _ARGUMENTS.search(text))


def _is_skip(error: BaseException) -> bool:
    unittest = sys.modules.get("unittest")
    return isinstance(error, pytest.skip.Exception) or bool(unittest and isinstance(error, unittest.SkipTest))


def _unittest_excinfo(item: Any) -> Any:
    """What unittest caught: pytest moves it to `call.excinfo` only inside its own hook."""
    caught = getattr(item, "_excinfo", None)
    return caught[0] if caught else None


def text_of(error: BaseException) -> str:
    """Type and message; `traceback` also copes with a `__str__` that raises."""
    lines = traceback.format_exception_only(type(error), error)
    return clean("".join(lines[-1:] if isinstance(error, SyntaxError) else lines).strip())[:MESSAGE_MAX]


# --- names and places -----------------------------------------------------------------------------------------------


def clean(value: object) -> str:
    """Text that every encoding takes: lone surrogates spelled out."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def id_of(nodeid: str) -> str:
    """The id as pytest gives it; one that is too long keeps its head and gets a digest."""
    id = clean(nodeid)
    if len(id) <= ID_MAX:
        return id
    return id[: ID_MAX - 65] + "#" + hashlib.sha256(id.encode()).hexdigest()


def _rootdir(config: Any) -> str:
    return str(getattr(config, "rootpath", None) or config.rootdir)


def _stem(nodeid: str) -> str:
    return clean(nodeid).partition("::")[0]


def _file_of(node: Any) -> str:
    return str(getattr(node, "path", None) or getattr(node, "fspath", ""))


def _read_only(path: str | None) -> frozenset[str] | None:
    if not path:
        return None
    with open(path, encoding="utf-8") as file:
        return frozenset(json.load(file))


class Tree:
    """The tree under test: places in it are given relative to its root, others not at all."""

    def __init__(self, root: str) -> None:
        self._root = os.path.join(os.path.realpath(root), "")
        self._known: dict[str, str] = {}

    def relative(self, path: str) -> str:
        """Path with forward slashes relative to the root, empty for what lies outside or was installed."""
        if path not in self._known:
            self._known[path] = self._look_up(path)
        return self._known[path]

    def _look_up(self, path: str) -> str:
        real = os.path.realpath(path)
        if not real.startswith(self._root) or "-packages" + os.sep in real:
            return ""
        return clean(real[len(self._root) :].replace(os.sep, "/"))

    def deepest(self, tb: Any) -> str:
        """`path:line` of the deepest frame inside the tree, empty where none is."""
        places = [place for place in _places(tb) if self.relative(place[0])]
        return f"{self.relative(places[-1][0])}:{places[-1][1]}" if places else ""

    def line_in(self, tb: Any, file: str) -> int:
        """Line of the outermost frame in `file`, 0 where none is."""
        return next((line for path, line in _places(tb) if file and self.relative(path) == file), 0)


def _places(tb: Any) -> Iterator[tuple[str, int]]:
    while tb is not None:
        yield tb.tb_frame.f_code.co_filename, tb.tb_lineno
        tb = tb.tb_next
