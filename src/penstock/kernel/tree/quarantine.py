"""What an unclaimed write left, in one file of its own, so that a person can have it back after it was undone.

JSON. `name` is for reading; `path` is the path itself, in base64, for a name need not be text; so is `content`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from penstock.core.digest import Digest, canonical, digest_of_bytes
from penstock.core.policy import Frozen
from penstock.kernel.tree.entry import Change, ChangeKind, Entry, EntryKind, Unreadable, shown
from penstock.kernel.tree.looking import UNBLOCKED, opened
from penstock.kernel.tree.names import from_disk, on_disk, plain_parts
from penstock.ports import Blobs, Corrupt

FORMAT = 1
CONTENT_BYTES_MAX = 200_000_000
"""Of all files together; what goes beyond is named without its content."""


class BadPatch(ValueError):
    """Not a patch of ours, or damaged; the text says how."""


class LeftFile(Frozen, kw_only=True):
    """One path: what stood there `before`, and what the write left: `kind` None for nothing."""

    name: str
    path_bytes: bytes = msgspec.field(name="path")
    how: ChangeKind
    before: Entry | None = None
    kind: EntryKind | None = None
    mode: int = 0
    digest: Digest = ""
    content: bytes | None = None
    """Of the file, or the text of the link."""
    missing: str = ""
    """Why there is no content, where there should be."""

    @property
    def path(self) -> str:
        """As everywhere in this package."""
        return from_disk(self.path_bytes)

    @property
    def left(self) -> Entry | None:
        """What the write left."""
        return None if self.kind is None else Entry(kind=self.kind, mode=self.mode, digest=self.digest)


class Patch(Frozen, omit_defaults=False):
    """The whole of it."""

    format: int = FORMAT
    files: tuple[LeftFile, ...] = ()


def to_patch(changes: Sequence[Change], blobs: Blobs) -> bytes:
    """The changes with the content that `blobs` has of them."""
    left_bytes, files = CONTENT_BYTES_MAX, []
    for change in changes:
        file = _left(change, blobs, left_bytes)
        left_bytes -= len(file.content or b"")
        files.append(file)
    return msgspec.json.format(canonical(Patch(files=tuple(files))))


def unpack(patch: bytes) -> tuple[LeftFile, ...]:
    """The files of a patch; contents are those of their digests. Raises `BadPatch`."""
    try:
        found = msgspec.json.decode(patch, type=Patch)
    except msgspec.MsgspecError as error:
        raise BadPatch(str(error)) from error
    if found.format != FORMAT:
        raise BadPatch(f"format {found.format}, and {FORMAT} is known")
    for file in found.files:
        if file.content is not None and digest_of_bytes(file.content) != file.digest:
            raise BadPatch(f"{file.name}: its content is not that of its digest")
    return found.files


def _left(change: Change, blobs: Blobs, bytes_max: int) -> LeftFile:
    base = LeftFile(name=shown(change.path), path_bytes=on_disk(change.path), how=change.how, before=change.before)
    match change.after:
        case None:
            return base
        case Unreadable(why=why):
            return msgspec.structs.replace(base, missing=f"it could not be read: {why}")
        case Entry() as after:
            left = msgspec.structs.replace(base, kind=after.kind, mode=after.mode, digest=after.digest)
            return left if after.kind == "other" else _with_content(left, blobs, bytes_max)


def _with_content(left: LeftFile, blobs: Blobs, bytes_max: int) -> LeftFile:
    try:
        content = blobs.get(left.digest)
    except (KeyError, Corrupt) as error:
        return msgspec.structs.replace(left, missing=f"its content was not kept: {error}")
    if len(content) > bytes_max:
        return msgspec.structs.replace(left, missing="the patch would be too large")
    return msgspec.structs.replace(left, content=content)


def keep_whole(top: Path, path: str, place: Path) -> Path:
    """Copy a file that is too large for a patch into `place`, under the digest of its name; gives where it is."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    parts = plain_parts(path)
    kept = place / digest_of_bytes(on_disk(path))
    with opened(top, parts[:-1]) as directory:
        file = os.open(on_disk(parts[-1]), UNBLOCKED, dir_fd=directory)
    with open(file, "rb") as source, open(kept, "wb") as target:
        shutil.copyfileobj(source, target)
    return kept
