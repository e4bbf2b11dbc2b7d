"""What a token costs: the same question to a queen that wants one, and to one that wants none, in turns."""

from __future__ import annotations

import http.client
import secrets
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

from bench.fleet.figure import Figure
from bench.fleet.world import WAIT_S_MAX, queen

TIMES = 2_000
WARM_UP = 200
GOAL_MS = 1.0
PATH = "/v1/models"


def measure() -> Iterator[Figure]:
    """Of each question, over a connection that is kept."""
    token = secrets.token_hex(16)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-")))
        (file := folder / "token").touch(0o600)
        file.write_text(token)
        queens = [queen(folder / "open"), queen(folder / "closed", "--token-file", str(file))]
        urls = [stack.enter_context(each)[0] for each in queens]
        asking = [stack.enter_context(closing(http.client.HTTPConnection(urlsplit(url).netloc))) for url in urls]
        headers: list[dict[str, str]] = [{}, {"authorization": f"Bearer {token}"}]
        took: list[list[float]] = [[], []]
        for number in range(WARM_UP + TIMES):
            for each in (0, 1):
                ms = _asked_ms(asking[each], headers[each])
                took[each] += [ms] * (number >= WARM_UP)
    open_ms, token_ms = map(statistics.median, took)
    note = f"p50 {open_ms:.3f} ms without, {token_ms:.3f} ms with, in turns, {TIMES} of each"
    yield Figure("added by the token to a request, p50", token_ms - open_ms, "ms", GOAL_MS, note=note)


def _asked_ms(connection: http.client.HTTPConnection, headers: dict[str, str]) -> float:
    connection.timeout = WAIT_S_MAX
    begun = time.perf_counter()
    connection.request("GET", PATH, headers=headers)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200, answer.status
    return (time.perf_counter() - begun) * 1_000
