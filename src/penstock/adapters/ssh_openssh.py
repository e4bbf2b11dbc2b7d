"""Runs commands on other machines with the system's OpenSSH, and so with the user's own keys, agent and settings.

Nobody is asked anything (BatchMode): what would be a question is a failure with a name. ssh tells them apart in words
only, on stderr, with 255 for all; the words are those of OpenSSH 7 to 10, in the C locale.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Sequence

from penstock.ports import RemoteEnded, RemoteFailed, RemoteFailedKind, RemotePlace

SSH_FAILED = 255
OUTPUT_CHARS_MAX = 100_000
SAID: tuple[tuple[RemoteFailedKind, re.Pattern[str]], ...] = (
    ("changed_host_key", re.compile(r"REMOTE HOST IDENTIFICATION HAS CHANGED|differs from the key for the IP")),
    ("unknown_host_key", re.compile(r"Host key verification failed|host key is known for|No matching host key")),
    ("no_such_host", re.compile(r"Could not resolve hostname|Name or service not known")),
    ("timeout", re.compile(r"timed out|Timeout, server .* not responding")),
    ("authentication", re.compile(r"Permission denied|Too many authentication failures|no mutual signature")),
)
"""The first that is said; nothing of it: unreachable."""


class OpenSsh:
    """`ports.RemoteShell`. `options`: more words for `ssh`, before the host."""

    def __init__(
        self, *, options: Sequence[str] = (), connect_s_max: int = 10, run_s_max: float = 90.0, tries_max: int = 3
    ) -> None:
        self._options, self._tries_max = tuple(options), tries_max
        self._connect_s_max, self._run_s_max = connect_s_max, run_s_max

    def run(self, place: RemotePlace, argv: Sequence[str], stdin: bytes = b"") -> RemoteEnded:
        """As the port. A connection that times out is tried again."""
        for tries_left in reversed(range(self._tries_max)):
            try:
                return self._once(place, argv, stdin)
            except RemoteFailed as failed:
                if failed.kind != "timeout" or not tries_left:
                    raise
        raise AssertionError("at least one try")

    def _once(self, place: RemotePlace, argv: Sequence[str], stdin: bytes) -> RemoteEnded:
        words = self.command(place, argv)
        try:
            ended = subprocess.run(
                words,
                input=stdin,
                capture_output=True,
                timeout=self._run_s_max,
                env={**os.environ, "LC_ALL": "C"},
                check=False,
            )
        except FileNotFoundError:
            raise RemoteFailed("no_program", "ssh is not installed here") from None
        except subprocess.TimeoutExpired:
            raise RemoteFailed("timeout", f"no answer within {self._run_s_max:g} s") from None
        out, err = (data[-OUTPUT_CHARS_MAX:].decode(errors="replace") for data in (ended.stdout, ended.stderr))
        if ended.returncode == SSH_FAILED:
            raise RemoteFailed(_kind(err), _last_line(err))
        return RemoteEnded(exit_code=ended.returncode, out=out, err=err)

    def command(self, place: RemotePlace, argv: Sequence[str]) -> list[str]:
        """The argument vector. The far side's shell gets one line, every word of it quoted."""
        settings = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "accept-new" if place.takes_new_host_key else "yes",
            "ConnectTimeout": str(self._connect_s_max),
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "RequestTTY": "no",
        }
        words = ["ssh", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]
        if place.key_file:
            words += ["-i", place.key_file, "-o", "IdentitiesOnly=yes"]
        if place.port:
            words += ["-p", str(place.port)]
        if place.user:
            words += ["-l", place.user]
        return [*words, *self._options, "--", place.host, shlex.join(argv)]


def _kind(said: str) -> RemoteFailedKind:
    return next((kind for kind, words in SAID if words.search(said)), "unreachable")


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "ssh said nothing"
