"""What a queen keeps of a hive beyond its own life."""

from __future__ import annotations

from penstock.core.policy import Frozen


class KnownHive(Frozen):
    """A hive that answered once. `instance`: the process that spoke for the name last; empty: the hive was removed.

    `seen_at_ms`: of the clock on the wall. `capabilities`: JSON of its devices and offers, as it said them.
    """

    name: str
    url: str
    instance: str
    epoch: int
    seen_at_ms: int
    version: str = ""
    capabilities: str = ""
    started_by: str = ""
