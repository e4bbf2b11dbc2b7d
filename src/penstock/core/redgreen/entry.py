"""One path of a working tree, as content."""

from __future__ import annotations

from typing import Literal

from penstock.core.digest import Digest
from penstock.core.policy import Frozen

EntryKind = Literal["file", "symlink", "other"]


class Entry(Frozen):
    """One file. `mode`: all twelve permission bits; of a symbolic link always 0o777."""

    kind: EntryKind = "file"
    mode: int = 0o644
    digest: Digest = ""
    """Of the content, or of the text of the link; empty for what is neither: pipes, sockets, devices."""
