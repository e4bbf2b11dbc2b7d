"""Which names are sound. Every name ends up in a log line, a URL or an argument vector, so the grammars are narrow."""

from __future__ import annotations

import re

MODEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:/@+-]{0,126}[A-Za-z0-9])?", re.ASCII)
MODEL_WHOLE = rf"(?!.*(?:\.\.|//)){MODEL.pattern}"
"""With what `is_model` looks for besides."""
WORKER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
HIVE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
REQUEST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", re.ASCII)
KIND = "gpu|cuda|metal|vulkan"
DEVICE = re.compile(rf"cpu|(?:{KIND})(?:0|[1-9][0-9]?)", re.ASCII)
DEVICE_WANTED = re.compile(rf"{DEVICE.pattern}|{KIND}", re.ASCII)
PORTS = range(1_024, 65_536)


def is_model(name: str) -> bool:
    """`qwen2.5-coder:7b`, `team/tiny`: letters, digits and `._:/@+-`, at most 128, no `..`, no empty part."""
    return bool(MODEL.fullmatch(name)) and ".." not in name and "//" not in name


def is_worker(name: str) -> bool:
    """Letters, digits, `_` and `-`, at most 64."""
    return bool(WORKER.fullmatch(name))


def is_hive(name: str) -> bool:
    """A DNS label: lower case letters, digits and `-`, at most 63."""
    return bool(HIVE.fullmatch(name))


def is_request(name: str) -> bool:
    """Letters, digits, `_` and `-`, at most 128."""
    return bool(REQUEST.fullmatch(name))


def is_device(name: str) -> bool:
    """`cpu`, or a kind with its number: `gpu0`, `cuda1`."""
    return bool(DEVICE.fullmatch(name))


def is_device_wanted(name: str) -> bool:
    """A device, or a kind alone for any of its devices: `gpu`."""
    return bool(DEVICE_WANTED.fullmatch(name))


def suits(device: str, wanted: str) -> bool:
    """Whether the device is the one that is wanted, or one of the kind that is."""
    return wanted in (device, device.rstrip("0123456789"))
