"""A queen that only hears reports, and answers them as she is told to."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE_S = 20.0
Report = dict[str, Any]


class HearingQueen:
    """`refusing`: the code of the error that she answers, with its status; None: she registers."""

    def __init__(self, port: int = 0) -> None:
        self.heard: list[Report] = []
        self.refusing: tuple[int, str] | None = None
        self.answer: Report | None = None
        """In place of the one that registers."""
        self.epoch = 7
        self._reports: queue.Queue[Report] = queue.Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def take(self, report: Report) -> tuple[int, dict[str, Any]]:
        """Status and body of the answer."""
        self._reports.put(report)
        if self.refusing is not None:
            status, code = self.refusing
            return status, {"error": {"code": code, "message": "so it is", "details": {}}}
        return 200, self.answer or {"name": report["name"], "epoch": self.epoch, "heartbeat_ms": 200}

    def until(self, is_so: Callable[[Report], bool]) -> Report:
        """The next report that is so."""
        while True:
            report = self._reports.get(timeout=PATIENCE_S)
            self.heard.append(report)
            if is_so(report):
                return report

    def close(self) -> None:
        """Hang up."""
        self._server.shutdown()
        self._server.server_close()


def _handler(queen: HearingQueen) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            report = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, told = queen.take(report)
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def hearing_queen(port: int = 0) -> Iterator[HearingQueen]:
    """One, for a while."""
    queen = HearingQueen(port)
    try:
        yield queen
    finally:
        queen.close()
