"""Where the gate of a working tree listens, found without starting git; and one question to it."""

from __future__ import annotations

import _socket
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "PENSTOCK_GATE"
ANSWER_BYTES_MAX = 1_000_000


class NoGate(Exception):
    """There is no place where a gate could listen."""


def gate_address(place: str, environ: Mapping[str, str]) -> str:
    """Path of the gate's socket for the working tree around `place`. Raises `NoGate`."""
    if environ.get(VARIABLE):
        return environ[VARIABLE]
    folder = os.path.realpath(place)
    while not os.path.lexists(os.path.join(folder, ".git")):
        above = os.path.dirname(folder)
        if above == folder:
            raise NoGate(f"{place} is in no git repository")
        folder = above
    return address_in(_common_directory(folder), folder)


def address_in(common: str, top: str) -> str:
    """Where the gate of the working tree `top` listens; `common` is its repository's common git directory."""
    name = _digest(os.fsencode(os.path.realpath(top)))[:16]
    return os.path.join(common, "penstock", "gate", f"{name}.sock")


def ask(address: str, line: bytes) -> bytes:
    """Send one line, read one. Raises `OSError`; waits as long as its caller lets it."""
    with _Connection() as connection:
        connection.to(address)
        connection.socket.sendall(line)
        return connection.line()


def is_listening(address: str) -> bool:
    """Whether a gate is alive behind `address`."""
    try:
        with _Connection() as connection:
            connection.to(address)
    except OSError:
        return False
    return True


class _Connection:
    def __enter__(self) -> _Connection:
        self.socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def to(self, address: str) -> None:
        """The address of a socket has 108 bytes, a path may have more: its directory is named by a descriptor."""
        if sys.platform != "linux":
            self.socket.connect(address)
            return
        folder = os.open(os.path.dirname(address) or ".", os.O_PATH | os.O_DIRECTORY)
        try:
            self.socket.connect(f"/proc/self/fd/{folder}/{os.path.basename(address)}")
        finally:
            os.close(folder)

    def line(self) -> bytes:
        data = b""
        while not data.endswith(b"\n"):
            part = self.socket.recv(65_536)
            if not part or len(data) > ANSWER_BYTES_MAX:
                raise OSError("it hung up in the middle of its answer" if part or data else "it hung up")
            data += part
        return data


def _common_directory(top: str) -> str:
    """A linked working tree names its own directory, which names the common one."""
    found = os.path.join(top, ".git")
    if os.path.isdir(found):
        return found
    own = os.path.join(top, _first_line(found).removeprefix("gitdir:").strip())
    if not os.path.isfile(os.path.join(own, "commondir")):
        return os.path.realpath(own)
    return os.path.realpath(os.path.join(own, _first_line(os.path.join(own, "commondir"))))


def _first_line(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.readline().rstrip("\n")


def _digest(data: bytes) -> str:
    """SHA-256 without `hashlib`, which loads a cryptographic library first."""
    module = __import__("_sha2" if sys.version_info >= (3, 12) else "_sha256")
    return str(module.sha256(data).hexdigest())
