"""The ports of one machine's workers. A port is never looked at and then bound: it is bound, or it is not."""

from __future__ import annotations

import errno
import socket

from penstock.fleet.errors import FleetError
from penstock.fleet.serving import BACKLOG

ANY = 0


class Ports:
    """From `first` to `last`, the one after the last given first: who is late meets nobody. `first` 0: any free."""

    def __init__(self, host: str, first: int, last: int) -> None:
        assert first == ANY or first <= last
        self._host, self._first, self._last = host, first, last
        self._next = first
        self.is_full = False
        """As far as was seen: no port was left, the last time that one was looked for."""

    def take(self, asked: int | None = None, workers: int = 0) -> socket.socket:
        """A socket that listens; the kernel keeps who connects until somebody accepts. Raises `FleetError`, which tells
        how many `workers` have ports of ours already.
        """
        if asked is not None:
            return self._asked(asked)
        if self._first == ANY:
            return listening_at(self._host, ANY)
        made = self._next_free()
        self.is_full = made is None
        if made is not None:
            return made
        details = {"port_first": self._first, "port_last": self._last, "workers": workers}
        by = "some by workers" if workers else "all by other programs"
        raise FleetError("PORTS_EXHAUSTED", f"every port from {self._first} to {self._last} is taken, {by}", details)

    def look_again(self) -> bool:
        """Whether it still is full. Looked at only where it was: whose port that is for a moment might miss it."""
        if self.is_full and (made := self._next_free()) is not None:
            made.close()
            self.is_full = False
        return self.is_full

    def _next_free(self) -> socket.socket | None:
        count = self._last - self._first + 1
        for step in range(count):
            port = self._first + (self._next - self._first + step) % count
            try:
                made = listening_at(self._host, port)
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
                continue
            self._next = port + 1
            return made
        return None

    def _asked(self, port: int) -> socket.socket:
        try:
            return listening_at(self._host, port)
        except OSError as error:
            raise FleetError("PORT_TAKEN", f"cannot be bound: {error.strerror}", {"port": port}) from None


def listening_at(host: str, port: int) -> socket.socket:
    """Raises `OSError`. Bound alone is not enough: two may be bound to one port, but one alone listens."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made
