"""What a command printed: trimmed for keeping, and compared line by line."""

from __future__ import annotations

import difflib
import os
from itertools import islice

HEAD_BYTES = 64 * 1024
TAIL_BYTES = 192 * 1024
DIFF_LINES_MAX = 200
COMPARED_LINES_MAX = 5_000


def read_output(path: str) -> bytes:
    """All of an output file, empty where the command never ran."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def read_trimmed(path: str) -> bytes:
    """The head and the tail of an output file, with a note of what was left out."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= HEAD_BYTES + TAIL_BYTES:
                return file.read()
            head = file.read(HEAD_BYTES)
            file.seek(size - TAIL_BYTES)
            return head + _left_out(size - HEAD_BYTES - TAIL_BYTES) + file.read()
    except FileNotFoundError:
        return b""


def join_outputs(stdout: bytes, stderr: bytes, notes: str = "") -> bytes:
    """One text of both streams and our notes, trimmed to the cap."""
    parts = [stdout, b"\n--- stderr ---\n" + stderr if stderr else b"", f"\n{notes}".encode() if notes else b""]
    joined = b"".join(parts)
    if len(joined) <= HEAD_BYTES + TAIL_BYTES:
        return joined
    return joined[:HEAD_BYTES] + _left_out(len(joined) - HEAD_BYTES - TAIL_BYTES) + joined[-TAIL_BYTES:]


def _left_out(size: int) -> bytes:
    return f"\n--- {size} bytes left out ---\n".encode()


def diff_outputs(wanted: bytes, got: bytes, wanted_name: str, got_name: str) -> str:
    """A unified diff for people, cut short."""
    lines = difflib.unified_diff(_lines(wanted), _lines(got), wanted_name, got_name, n=2, lineterm="")
    return "\n".join(line[:400] for line in islice(lines, DIFF_LINES_MAX))


def _lines(text: bytes) -> list[str]:
    return text.decode("utf-8", "replace").splitlines()[:COMPARED_LINES_MAX]
