"""Runs `scenario()` of the file named on the command line, allowed only to think; prints what it returns.

The audit hook refuses what reaches the operating system. The clock and chance raise no audit event, so the
profile hook refuses each call of a builtin that belongs to one of them.
"""

import importlib
import importlib.util
import pkgutil
import sys
from types import FrameType
from typing import Any

import penstock.core

UNAUDITED = {"_datetime", "_random", "_time", "datetime", "nt", "posix", "random", "time"}


def refuse_audited(event: str, arguments: tuple[Any, ...]) -> None:
    if thinking and event.startswith(("open", "os.", "shutil.", "socket.", "subprocess.", "tempfile.", "time.")):
        raise RuntimeError(f"impure: {event} {arguments}")


def refuse_unaudited(frame: FrameType, event: str, called: Any) -> None:
    if event == "c_call" and called.__name__ != "fspath":  # of a text, that text
        owner = getattr(called, "__self__", None)
        kind = owner if isinstance(owner, type) else type(owner)
        if {called.__module__, kind.__module__} & UNAUDITED:
            raise RuntimeError(f"impure: {called.__qualname__} called in {frame.f_code.co_qualname}")


for module in pkgutil.walk_packages(penstock.core.__path__, "penstock.core."):
    importlib.import_module(module.name)

spec = importlib.util.spec_from_file_location("core_scenario", sys.argv[1])
assert spec and spec.loader
scenario = sys.modules["core_scenario"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scenario)

thinking = True
sys.addaudithook(refuse_audited)
sys.setprofile(refuse_unaudited)
digest = scenario.scenario()
sys.setprofile(None)
thinking = False
print(digest)
