"""Snapshots of the folded state: a cache that makes opening a long log quick. Deleting them changes nothing."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import msgspec

from penstock import ports
from penstock.core import state as state_module
from penstock.core.state import State
from penstock.shell.folding import fold

_encoder = msgspec.msgpack.Encoder()


@cache
def code_digest() -> str:
    """Digest of the core's source: a snapshot made by other code is not read."""
    total = hashlib.sha256()
    for path in sorted(Path(state_module.__file__).parent.glob("*.py")):
        total.update(path.read_bytes())
    return total.hexdigest()


def save(log: ports.EventLog, state: State) -> None:
    """Keep the state as it is now."""
    log.save_snapshot(state.seq, code_digest(), _encoder.encode(state))


def restore(log: ports.EventLog) -> State:
    """The state of the whole log, from its newest snapshot where there is one."""
    kept = log.load_snapshot(code_digest())
    state = msgspec.msgpack.decode(kept[1], type=State) if kept is not None else None
    return fold(log, state)
