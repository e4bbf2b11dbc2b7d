"""Structured logs: a JSON object a line, each with the request id that it belongs to. No tokens, no payloads."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, TextIO


class Log:
    """Writes to `stream`. `who`: `queen`, `hive NAME`, `worker ID`. Quiet requests (health, metrics) are not told."""

    def __init__(self, who: str, stream: TextIO | None = None, *, verbose: bool = False) -> None:
        self._who, self._stream, self._verbose = who, stream or sys.stderr, verbose

    def info(self, event: str, **fields: Any) -> None:
        """Something happened."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Something is not as it should be, and is coped with."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Something failed."""
        self._write("error", event, fields)

    def access(self, method: str, path: str, status: int, took_s: float, request_id: str) -> None:
        """A request was answered."""
        if self._verbose or (method != "GET" and status >= 400) or status >= 500:
            took_ms = round(took_s * 1_000, 1)
            self._write(
                "info", "answered", {"method": method, "path": path, "status": status, "ms": took_ms}, request_id
            )

    def inference(self, request_id: str, **fields: Any) -> None:
        """A request for tokens has ended; queen and worker say it with the same id. Always told."""
        self._write("info", "inference", fields, request_id)

    def _write(self, level: str, event: str, fields: dict[str, Any], request_id: str = "") -> None:
        told = {"at": _now(), "level": level, "who": self._who, "event": event, **fields}
        if request_id:
            told["request_id"] = request_id
        try:
            self._stream.write(json.dumps(told, default=str) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # the reader of the log has gone: what is served is served on


def _now() -> str:
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1_000) % 1_000:03d}Z"


def quiet_uvicorn() -> None:
    """uvicorn's own loggers say what ours say already."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
