"""Runs all tests of a package once, as it was published, and tells what each of them runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PLUGIN = """
import json, os, sys
import pytest

ROOT = os.path.realpath(os.getcwd()) + os.sep
SEEN, RAN, PASSED = {}, {}, {}


def watch(frame, event, arg):
    code = frame.f_code
    where = SEEN.get(code)
    if where is None:
        name = os.path.realpath(code.co_filename)
        where = SEEN[code] = (name[len(ROOT):], code.co_firstlineno) if name.startswith(ROOT) else ()
    if where:
        NOW.add(where)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    global NOW
    NOW = RAN.setdefault(item.nodeid.split("[")[0], set())
    sys.settrace(watch)
    yield
    sys.settrace(None)


def pytest_runtest_logreport(report):
    test = report.nodeid.split("[")[0]
    passed = report.outcome == "passed" and not hasattr(report, "wasxfail")
    PASSED[test] = PASSED.get(test, True) and passed


def pytest_sessionfinish():
    told = {test: sorted(ran) for test, ran in RAN.items() if PASSED.get(test)}
    with open(os.environ["REPLAY_TRACE"], "w") as file:
        json.dump(told, file)
"""


@dataclass(frozen=True)
class Traced:
    """A test that passes, and what it runs: paths and first lines of functions."""

    path: str
    chain: tuple[str, ...]
    ran: tuple[tuple[str, int], ...]


def trace(files: Mapping[str, str], place: Path) -> list[Traced]:
    """Tests in the order of their files."""
    top, plugin = place / "whole", place / "plugin"
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    plugin.mkdir(parents=True, exist_ok=True)
    (plugin / "replay_trace.py").write_text(PLUGIN)
    told = place / "trace.json"
    tests = sorted({name for name in files if name.rpartition("/")[2].startswith("test_")})
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "replay_trace",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:randomly",
            *tests,
        ],
        cwd=top,
        env={
            **os.environ,
            "PYTHONPATH": f"{top}{os.pathsep}{plugin}",
            "REPLAY_TRACE": str(told),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    found = json.loads(told.read_text())
    return [_traced(test, ran) for test, ran in found.items()]


def _traced(test: str, ran: list[tuple[str, int]]) -> Traced:
    path, *chain = test.split("::")
    return Traced(path, tuple(chain), tuple((name, line) for name, line in ran))
