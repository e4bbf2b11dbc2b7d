"""One path of a working tree, as content."""

from __future__ import annotations

from typing import Literal

from penstock.core.digest import Digest
from penstock.core.policy import Frozen


class Entry(Frozen):
    """What stands at a path. `oid`: digest of the file's bytes, of a symlink's text; empty for `other` (never read)."""

    kind: Literal["file", "symlink", "other"]
    mode: int
    """Permission bits, 0 to 0o777; 0o777 for a symlink."""
    oid: Digest = ""
