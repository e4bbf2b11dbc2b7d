"""Unix sockets that only their user reaches: made 0600, the peer's uid asked of the kernel.

The address of a socket has 108 bytes, the path of its directory may have more. So the directory is opened, and the
socket is named by the descriptor.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def address_of(path: Path) -> Iterator[str]:
    """A short name of `path`, good for as long as the context is open; where /proc is not, the path itself."""
    if sys.platform != "linux":
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listen(path: Path) -> socket.socket:
    """Listen on `path`, in the place of what was left there. Raises `OSError`.

    Whoever is told that it is there is heard, if its server has not begun yet.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    previous = os.umask(0o177)
    try:
        with address_of(path) as address:
            listener.bind(address)
        listener.listen()
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(previous)
    return listener


def is_listening(path: Path) -> bool:
    """Is somebody alive behind the socket?"""
    with socket.socket(socket.AF_UNIX) as connection:
        return has_connected(connection, path)


def has_connected(connection: socket.socket, path: Path) -> bool:
    """Connect to the socket at `path`; False where nobody listens."""
    try:
        with address_of(path) as address:
            connection.connect(address)
    except OSError:
        return False
    return True


def is_own_user(connection: socket.socket) -> bool:
    """Whether the peer is the user who runs this, or root."""
    return _peer_uid(connection) in (os.getuid(), 0)


def _peer_uid(connection: socket.socket) -> int:
    if not hasattr(socket, "SO_PEERCRED"):
        return os.getuid()  # no such option on this platform: the socket's mode is the guard
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", data)[1])
