"""How much the kernel takes of what nobody reads: a test that is to see a sender held back says more than that."""

from __future__ import annotations

from pathlib import Path

LIMITS = Path("/proc/sys/net/ipv4")


def unread_bytes_max(connections: int) -> int:
    """Of so many connections in a row: each holds what its sender may send ahead, and what its receiver need not read.

    Buffers grow up to these limits while all goes fast, so less than that may be taken whole on one day, and not on
    another.
    """
    each = sum(int((LIMITS / name).read_text().split()[2]) for name in ("tcp_rmem", "tcp_wmem"))
    return connections * each
