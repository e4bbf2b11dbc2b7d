"""Which files go with a model that is removed. Ours are those in the folder of models, where what is pulled lies; any
other file is the user's, and is never deleted here. Of a link the link is deleted, not what it leads to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from penstock.durable import flush_names
from penstock.fleet.catalogue.files import Unusable, parts_of
from penstock.fleet.catalogue.model_rules import shown
from penstock.fleet.orders import Model
from penstock.ports import Problem


@dataclass(frozen=True)
class Removed:
    """`files`: all that belonged to it and was there; `is_ours`: `--with-file` deletes such files."""

    name: str
    files: tuple[Path, ...] = ()
    bytes: int = 0
    is_ours: bool = False
    are_deleted: bool = False


def belongings(model: Model | None, pulled: Path) -> list[Path]:
    """What is there of a model. `pulled`: where its file lies if it was pulled, with what came of it so far beside."""
    begun = [pulled.with_name(pulled.name + end) for end in ("", ".part", ".part.json")]
    own = _all_of(model) if model is not None and model.path else []
    if not all(is_in(path, pulled.parent) for path in own):
        begun = []
    there = {_real(path): path for path in (*begun, *own) if os.path.lexists(path)}
    return list(there.values())


def why_kept(name: str, files: Sequence[Path], listed: Sequence[Model], folder: Path) -> Iterator[Problem]:
    """Why its files cannot be deleted with a model."""
    taken = {_real(path): each.name for each in listed if each.name != name and each.path for path in _all_of(each)}
    for path in files:
        if not is_in(path, folder):
            message = f"{path} is a file of yours, which was not pulled: it is not deleted"
            fix = f"leave --with-file out, and delete the file yourself; what was pulled lies in {folder}"
            yield Problem(file=shown(name), line=0, field="path", message=message, fix=fix)
        elif (other := taken.get(_real(path))) is not None:
            fix = f"leave --with-file out, or first: penstock models remove {other}"
            yield Problem(file=shown(name), line=0, field="path", message=f"{path} is that of {other} too", fix=fix)


def is_in(path: Path, folder: Path) -> bool:
    """Whether it lies in that folder itself, by whatever links one gets there."""
    return os.path.realpath(path.parent) == os.path.realpath(folder)


def bytes_in(files: Sequence[Path]) -> int:
    """Together; of a link its own."""
    total = 0
    for path in files:
        with suppress(FileNotFoundError):
            total += path.lstat().st_size
    return total


def delete(files: Sequence[Path]) -> None:
    """Raises `OSError`."""
    for path in files:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in files}:
        flush_names(folder)


def _all_of(model: Model) -> list[Path]:
    try:
        return parts_of(Path(model.path))
    except Unusable:
        return [Path(model.path)]


def _real(path: Path) -> str:
    """One spelling of a name; a link as its last part stays that link."""
    return os.path.join(os.path.realpath(path.parent), path.name)
