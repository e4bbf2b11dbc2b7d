"""Imports the modules named on the command line; prints, as JSON, what importing them did beyond reading."""

import importlib
import json
import os
import sys
from typing import Any

deeds: list[str] = []
importing = ""

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
DEEDS = ("shutil.", "socket.", "subprocess.", "tempfile.", "time.sleep", "webbrowser.")
READS = {"os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.getxattr", "os.listxattr"}


def is_deed(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "open":
        _, mode, flags = arguments
        return bool(flags & WRITES) if mode is None else not set(mode or "").isdisjoint("wax+")
    return event.startswith(DEEDS) or (event.startswith("os.") and event not in READS)


def record(event: str, arguments: tuple[Any, ...]) -> None:
    if importing and is_deed(event, arguments):
        deeds.append(f"{importing}: {event}")


sys.addaudithook(record)
for name in sys.argv[1:]:
    importing = name
    importlib.import_module(name)
importing = ""
json.dump(deeds, sys.stdout)
