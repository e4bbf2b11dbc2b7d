"""One busy run through the core, as a digest: the same on every machine, Python and hash seed."""

from __future__ import annotations

from penstock.core.codec import GENESIS, encode, link
from tests.model.chance import random_world


def scenario() -> str:
    """Head of the chain over the records of some busy random runs."""
    head = GENESIS
    for seed in (7, 11, 23):
        for record in random_world(seed, count=8).run().records:
            head = link(head, encode(record))
    return head
