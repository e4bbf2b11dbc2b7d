"""A fleet of real programs with a scripted model, for clients that others have written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.fleet.command import Program, penstock, program, until

TOKEN_VARIABLE = "PENSTOCK_FLEET_TOKEN_FILE"
MODEL = "team/tiny"
SCRIPT = """\
conversations:
  - match: WEATHER
    repeat: true
    replies:
      - reasoning_content: They want the weather, I have a tool for that.
        text: I look.
        tool_calls:
          - {name: weather, arguments: {city: "Zürich", unit: celsius}}
          - {name: clock, arguments: '{"zone": "CET"}'}
        message: {reasoning_details: [{type: reasoning.text, text: "hm 🙂", index: 0}]}
        usage: {prompt_tokens: 11, completion_tokens: 7}
  - match: HOLD
    repeat: true
    replies: [{tokens: [one, " two", " three"], hold: GO, hold_after: 2}]
  - match: BUSY
    replies:
      - status: 429
        headers: {retry-after: "0"}
        error: {message: slow down, code: rate_limit_exceeded, type: requests}
      - text: Now I have time.
  - match: BROKEN
    repeat: true
    replies: [{status: 400, error: {message: no such tool, code: bad_tool, type: invalid_request_error}}]
  - repeat: true
    replies: [{tokens: ["Grüezi", ", ", "wie ", "gaht's", "? 🙂"], usage: {prompt_tokens: 5, completion_tokens: 9}}]
"""


@dataclass(frozen=True)
class Fleet:
    """A queen and a hive that run. `hold`: the FIFO that releases one HOLD."""

    queen: Program
    hive: Program
    hold: Path
    token: str = ""

    @property
    def base_url(self) -> str:
        """As OpenAI's clients want it."""
        return f"{self.queen.url}/v1"

    def get(self, url: str) -> httpx2.Response:
        """With the token."""
        return httpx2.get(url, headers={"authorization": f"Bearer {self.token or 'none'}"}, trust_env=False)

    def worker_url(self) -> str:
        """Of its one worker, once there is one that serves."""

        def serving() -> str:
            workers = self.get(f"{self.queen.url}/v1/workers/list").json()["workers"]
            return next((each["url"] for each in workers if each["state"] in ("idle", "busy")), "")

        return str(until(serving))

    def busy(self) -> int:
        """Slots that its worker has taken."""
        return int(self.get(f"{self.worker_url()}/v1/health").json()["busy"])

    def waiting(self) -> int:
        """Requests that wait for its model."""
        return int(self.get(f"{self.base_url}/models").json()["data"][0]["waiting"])

    def refused(self) -> float:
        """Requests that found the queue full."""
        lines = self.get(f"{self.queen.url}/metrics").text.splitlines()
        counted = [line for line in lines if "requests_total{" in line and 'outcome="QUEUE_FULL"' in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in counted)


@contextmanager
def fleet(home: Path, *queen_words: str, token: str = "") -> Iterator[Fleet]:
    """`home`: theirs alone."""
    env = {TOKEN_VARIABLE: str(token_file(home, token))} if token else {}
    script = add_script(home, MODEL)
    with (
        program(home, "queen", "--port", "0", *queen_words, **env) as queen,
        program(home, "hive", "--port", "0", "--ports", "any", "--queen", queen.url, **env) as hive,
    ):
        found = Fleet(queen, hive, script.with_name("GO"), token)
        until(lambda: found.get(f"{found.base_url}/models").json()["data"])
        yield found


def add_script(home: Path, name: str) -> Path:
    """The script, and the model in the catalogue of `home`."""
    script = home / "script.yaml"
    script.write_text(SCRIPT)
    os.mkfifo(home / "GO")
    added = penstock(home, "models", "add", name, "--path", str(script))
    assert added.exit_code == 0, added.err
    return script


def token_file(home: Path, token: str) -> Path:
    path = home / "token"
    path.write_text(token)
    path.chmod(0o600)
    return path
