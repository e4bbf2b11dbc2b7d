"""The catalogue: `models.json` in the fleet's home, one record a model. Whoever writes holds a lock, and what is
written is whole after a crash; whoever reads needs no lock. A file that cannot be read is set aside, never written
over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec.structs import replace

from penstock.core.policy import Frozen
from penstock.durable import write_whole
from penstock.fleet.catalogue.files import (
    PART,
    SUFFIX,
    Progress,
    Unusable,
    bytes_of,
    file_name,
    memory_wanted,
    metadata_of,
    model_name,
    sha256_of,
)
from penstock.fleet.catalogue.gguf import Metadata
from penstock.fleet.catalogue.model_rules import place_of, problems_of, shown
from penstock.fleet.catalogue.removing import Removed, belongings, bytes_in, delete, is_in, why_kept
from penstock.fleet.orders import Model
from penstock.model_script import load_worker_script
from penstock.ports import BadInput, Problem

FILE = "models.json"
FOLDER = "models"
SCRIPT_FIX = "`Scripts` in docs/FLEET.md says how one is written"
VERSION = 1
MODELS_MAX = 10_000
FILE_BYTES_MAX = 67_108_864


class Listed(Frozen):
    """What `models.json` holds."""

    version: int
    models: tuple[Model, ...] = ()


class _Marked(msgspec.Struct):
    version: int


@dataclass(frozen=True)
class Checked:
    """`problem` None: all is as it was added."""

    model: Model
    problem: Problem | None = None


def _say_nothing(message: str) -> None:
    pass


class Catalogue:
    """Of one fleet home. `tell` hears what a person should know, one line each."""

    def __init__(self, home: Path, tell: Callable[[str], None] = _say_nothing) -> None:
        self.home, self._tell = Path(os.path.abspath(home)), tell
        self.path, self.folder = self.home / FILE, self.home / FOLDER

    def models(self) -> tuple[Model, ...]:
        """By name. A file that is damaged is set aside, and there are none. Raises `BadInput`."""
        listed, wrong = self._read()
        if wrong and os.access(self.home, os.W_OK):
            with self.locked():
                return self._read_or_set_aside().models
        if wrong:
            self._tell(f"{self.path} is damaged ({wrong}), and cannot be set aside: there are no models")
        return listed.models

    def find(self, name: str) -> Model | None:
        """None: no model is called so."""
        return next((model for model in self.models() if model.name == name), None)

    def describe(self, model: Model) -> Metadata | None:
        """What its GGUF file says; None where it has none. Raises `BadInput`."""
        if model.backend != "llama":
            return None
        try:
            return metadata_of(Path(model.path))
        except Unusable as error:
            raise BadInput([_problem(model, "path", error.message, error.fix)]) from None

    def add(self, model: Model, progress: Progress | None = None) -> Model:
        """Record a model, with its size, its checksum and the memory it wants. Raises `BadInput`: nothing is added."""
        return self.add_all([model], progress)[0]

    def add_all(self, models: list[Model], progress: Progress | None = None) -> tuple[Model, ...]:
        """All of them or none. Raises `BadInput` with every problem of every one."""
        models = [replace(model, sha256=model.sha256.lower()) for model in models]
        problems = [problem for model in models for problem in problems_of(model)]
        problems += _repeated(models, self.models())
        whole = [_completed(model, problems, progress) for model in models] if not problems else []
        if problems:
            raise BadInput(problems)
        with self.locked():
            listed = self._read_or_set_aside().models
            if problems := [*_repeated(whole, listed)]:
                raise BadInput(problems)
            self._write((*listed, *whole))
        return tuple(whole)

    def add_folder(self, folder: Path, like: Model, progress: Progress | None = None) -> tuple[Model, ...]:
        """Each GGUF file of a folder, called after its file; everything else is as in `like`. Raises `BadInput`."""
        files = _found(folder)
        return self.add_all([replace(like, name=model_name(f), path=str(f), sha256="") for f in files], progress)

    def remove(self, name: str, *, with_file: bool = False) -> Removed:
        """Forget a model. `with_file`: delete what was pulled of it too, also where it was forgotten before. Raises
        `BadInput`: nothing is removed.
        """
        pulled = self.file_of(name)
        with self.locked(f"pull-{pulled.name}") if with_file else contextlib.nullcontext(), self.locked():
            listed = self._read_or_set_aside().models
            model = next((each for each in listed if each.name == name), None)
            files = belongings(model, pulled)
            if model is None and not (with_file and files):
                raise BadInput([_unknown(name, listed)])
            if with_file and (problems := [*why_kept(name, files, listed, self.folder)]):
                raise BadInput(problems)
            removed = Removed(name, tuple(files), bytes_in(files), all(is_in(f, self.folder) for f in files), with_file)
            self._write(tuple(each for each in listed if each.name != name))
            if with_file:
                self._delete(files)
            return removed

    def check(self, name: str = "", progress: Progress | None = None) -> tuple[Checked, ...]:
        """Whether each file is what was added, byte for byte; of one model, or of all. Raises `BadInput`."""
        listed = self.models()
        chosen = tuple(model for model in listed if name in ("", model.name))
        if name and not chosen:
            raise BadInput([_unknown(name, listed)])
        return tuple(Checked(model, _changed(model, progress)) for model in chosen)

    def file_of(self, name: str) -> Path:
        """Where a model of that name lies when it was downloaded."""
        return self.folder / file_name(name)

    @contextlib.contextmanager
    def locked(self, what: str = FILE) -> Iterator[None]:
        """Nobody else holds the lock of that name meanwhile. Raises `BadInput` where the home cannot be written.

        The file of a lock goes when its holder has done, but for that of the catalogue. Whoever waited for it has
        locked a file that has no name any more, and begins anew.
        """
        place = self.home / f".{what}.lock"
        descriptor = self._lock(place, what)
        try:
            yield
        finally:
            if what != FILE:
                place.unlink(missing_ok=True)
            os.close(descriptor)

    def _lock(self, place: Path, what: str) -> int:
        """A descriptor that holds the lock, of the file that has the name."""
        while True:
            descriptor, is_held = self._open(place), False
            try:
                self._wait_for(descriptor, what)
                is_held = _is_at(descriptor, place)
            finally:
                if not is_held:
                    os.close(descriptor)
            if is_held:
                return descriptor

    def _open(self, place: Path) -> int:
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            return os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BadInput([self._home_problem(f"cannot be written: {error.strerror}")]) from None

    def _wait_for(self, descriptor: int, what: str) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._tell(f"another process is at {what}: waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)

    def _read(self) -> tuple[Listed, str]:
        """What is there, and how it is damaged. Raises `BadInput` where it is whole and cannot be used."""
        try:
            with self.path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            return Listed(version=VERSION), ""
        except OSError as error:
            raise BadInput([self._home_problem(f"cannot be read: {error.strerror}", str(self.path))]) from None
        return self._decoded(data)

    def _decoded(self, data: bytes) -> tuple[Listed, str]:
        try:
            if msgspec.json.decode(data, type=_Marked).version > VERSION:
                message, fix = "was written by a newer Penstock", "bring this one to the same version"
                raise BadInput([Problem(file=str(self.path), line=0, field="version", message=message, fix=fix)])
            listed = msgspec.json.decode(data, type=Listed)
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
            return Listed(version=VERSION), str(error) or "cannot be read"
        if problems := [problem for model in listed.models for problem in problems_of(model)]:
            raise BadInput([replace(problem, file=f"{self.path}: {problem.file}") for problem in problems])
        return listed, ""

    def _read_or_set_aside(self) -> Listed:
        """Under the lock."""
        listed, wrong = self._read()
        if wrong:
            aside = next(path for n in range(1, MODELS_MAX) if not (path := self._aside(n)).exists())
            os.rename(self.path, aside)
            self._tell(f"{self.path} is damaged ({wrong}): it is kept as {aside.name}, and a new one is begun")
        return listed

    def _aside(self, number: int) -> Path:
        return self.path.with_name(f"{FILE}.corrupt-{number}")

    def _write(self, models: tuple[Model, ...]) -> None:
        ordered = tuple(sorted(models, key=lambda model: model.name))
        data = msgspec.json.format(msgspec.json.encode(Listed(version=VERSION, models=ordered)), indent=2)
        try:
            write_whole(self.path, data + b"\n")
        except OSError as error:
            raise BadInput([self._home_problem(f"cannot be written: {error.strerror}")]) from None

    def _delete(self, files: list[Path]) -> None:
        try:
            delete(files)
        except OSError as error:
            message = f"cannot be deleted: {error.strerror}"
            raise BadInput([self._home_problem(message, str(error.filename))]) from None

    def _home_problem(self, message: str, file: str = "") -> Problem:
        fix = "let the user who runs this read and write it, or choose another with --home"
        return Problem(file=file or str(self.home), line=0, field="", message=message, fix=fix)


def _is_at(descriptor: int, place: Path) -> bool:
    """Whether the open file is the one that has that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(place))
    except FileNotFoundError:
        return False


def _problem(model: Model, field: str, message: str, fix: str) -> Problem:
    return Problem(file=place_of(model), line=0, field=field, message=message, fix=fix)


def _unknown(name: str, listed: tuple[Model, ...]) -> Problem:
    known = ", ".join(model.name for model in listed[:10]) or "none is there: penstock models add"
    return Problem(file=shown(name), line=0, field="name", message="is not in the catalogue", fix=known)


def _repeated(wanted: list[Model], listed: tuple[Model, ...]) -> Iterator[Problem]:
    names, new = {model.name for model in listed}, set[str]()
    for model in wanted:
        if model.name in names:
            yield _problem(model, "name", "is in the catalogue already", f"first: penstock models remove {model.name}")
        if model.name in new:
            yield _problem(model, "name", "is what another file is called too", "add one of them under another name")
        new.add(model.name)
    if len(names | new) > MODELS_MAX:
        message = f"the catalogue has at most {MODELS_MAX:,} models"
        yield Problem(file=FILE, line=0, field="", message=message, fix="remove some")


def _completed(model: Model, problems: list[Problem], progress: Progress | None) -> Model:
    """With what its file says. What is wrong with that goes to `problems`."""
    if not model.path:
        return model
    placed = replace(model, path=os.path.abspath(model.path))
    try:
        metadata = metadata_of(Path(placed.path)) if placed.backend == "llama" else None
        size, digest = bytes_of(Path(placed.path)), sha256_of(Path(placed.path), progress)
    except Unusable as error:
        problems.append(_problem(placed, "path", error.message, error.fix))
        return placed
    if placed.sha256 not in ("", digest):
        problems.append(_problem(placed, "sha256", "is not that of the file", "get the file again"))
    if placed.backend == "scripted":
        problems += _problems_of_script(placed.path)
    wanted = memory_wanted(size, metadata, placed.context, placed.slots) if placed.backend == "llama" else 0
    return replace(placed, bytes=size, sha256=digest, memory_bytes=placed.memory_bytes or wanted)


def _problems_of_script(path: str) -> tuple[Problem, ...]:
    """As the worker reads it. The FIFOs that it holds for may be made later, before it is loaded."""
    try:
        load_worker_script(Path(path), path)
    except BadInput as wrong:
        return tuple(replace(problem, fix=problem.fix or SCRIPT_FIX) for problem in wrong.problems)
    return ()


def _changed(model: Model, progress: Progress | None) -> Problem | None:
    if not model.path:
        return None
    again = f"put the file back, or: penstock models remove {model.name}, and add it again"
    try:
        if (size := bytes_of(Path(model.path))) != model.bytes:
            return _problem(model, "path", f"has {size:,} bytes, and had {model.bytes:,}", again)
        if sha256_of(Path(model.path), progress) != model.sha256:
            return _problem(model, "path", "is not what was added: its checksum is another", again)
    except Unusable as error:
        return _problem(model, "path", error.message, again)
    return None


def _found(folder: Path) -> list[Path]:
    """The GGUF files of a folder, of parts the first. Raises `BadInput` where there are none."""
    try:
        files = sorted(folder / name for name in os.listdir(folder) if name.endswith(SUFFIX))
    except OSError as error:
        raise _no_folder(folder, f"cannot be read: {error.strerror}") from None
    firsts = [file for file in files if (named := PART.fullmatch(file.name)) is None or int(named["number"]) == 1]
    if not firsts:
        raise _no_folder(folder, f"no {SUFFIX} file lies in it")
    return firsts


def _no_folder(folder: Path, message: str) -> BadInput:
    return BadInput([Problem(file=str(folder), line=0, field="", message=message, fix="give a folder of *.gguf files")])
