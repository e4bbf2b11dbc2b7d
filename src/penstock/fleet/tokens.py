"""The token of a fleet: one line in a file that only its user reads. It is never an argument, and never shown."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from penstock.ports import BadInput, Problem

TOKEN_ENV = "PENSTOCK_FLEET_TOKEN_FILE"
SERVICE_ENV = "CREDENTIALS_DIRECTORY"
"""Where systemd lays credentials; the rights of those are its business."""
TOKEN_BYTES_MAX = 4_096
MAKE_FIX = "make one: (umask 077; openssl rand -hex 32 > {path})"


def read_token(path: Path, environ: Mapping[str, str]) -> str:
    """The token in the file. Raises `BadInput` where it is missing, read by others, or not one line of text."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            _refuse_shared(path, os.fstat(file.fileno()), environ)
            data = file.read(TOKEN_BYTES_MAX + 1)
    except FileNotFoundError:
        raise _bad(path, "does not exist", MAKE_FIX) from None
    except OSError as error:
        raise _bad(path, f"cannot be read: {error.strerror}", "name a file that you may read") from None
    return _only_line(path, data)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _refuse_shared(path: Path, found: os.stat_result, environ: Mapping[str, str]) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _bad(path, "is no file", "name the file that holds the token")
    if (place := environ.get(SERVICE_ENV)) and path.is_relative_to(place):
        return
    if found.st_mode & 0o077:
        raise _bad(path, f"others may read it (mode {stat.S_IMODE(found.st_mode):04o})", "chmod 600 {path}")
    if found.st_uid not in (os.geteuid(), 0):
        raise _bad(path, "belongs to another user", "chown it, and make a new token")


def _only_line(path: Path, data: bytes) -> str:
    if len(data) > TOKEN_BYTES_MAX:
        raise _bad(path, f"is over {TOKEN_BYTES_MAX} bytes: that is no token", MAKE_FIX)
    line = data.removesuffix(b"\n").removesuffix(b"\r")
    if not line.strip():
        raise _bad(path, "is empty", MAKE_FIX)
    if b"\n" in line or b"\r" in line:
        raise _bad(path, "has several lines; a token is one", MAKE_FIX)
    if not all(0x21 <= byte <= 0x7E for byte in line):
        raise _bad(path, "holds what no header can carry: blanks, or more than ASCII", MAKE_FIX)
    return line.decode()


def _bad(path: Path, message: str, fix: str) -> BadInput:
    return BadInput([Problem(file=str(path), line=0, field="", message=message, fix=fix.format(path=path))])
