"""Brings the file of a model here over HTTP, however often the connection breaks.

What came lies in NAME.gguf.part until all of it is there, and beside it, in NAME.gguf.part.json, stands what it is a
part of: the address, the validator that the server gave (a strong ETag, or a date) and the whole size. A later try, and
a later run, goes on from there with Range and If-Range, so that a file that was changed meanwhile is begun anew, and
never two halves are put together. Only a file that is whole, has the checksum that was asked for, and is GGUF gets its
name. One process pulls a name at a time; another one waits, and finds it there.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx2
import msgspec
from msgspec.structs import replace

from penstock import __version__
from penstock.core.policy import Frozen
from penstock.durable import flush_names, write_whole
from penstock.fleet.catalogue.catalogue import Catalogue
from penstock.fleet.catalogue.files import Unusable, metadata_of, sha256_of
from penstock.fleet.catalogue.model_rules import place_of, problems_of, wrong_with_url
from penstock.fleet.orders import Model
from penstock.ports import BadInput, Problem

Code = Literal["NOT_FOUND", "FORBIDDEN", "DOWNLOAD_FAILED", "DOWNLOAD_TIMEOUT", "CHECKSUM_MISMATCH", "DISK_FULL"]
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REDIRECTS_MAX = 5
VALIDATOR_CHARS_MAX = 256


class DownloadPolicy(Frozen):
    """Limits of a download."""

    tries_max: int = 6
    checksum_tries_max: int = 2
    connect_ms_max: int = 10_000
    stall_ms_max: int = 60_000
    """Longest time without a byte."""
    backoff_base_ms: int = 500
    backoff_ms_max: int = 30_000
    told_ms: int = 200
    """Between two tellings of progress."""
    spare_bytes: int = 67_108_864
    """That stay free on the disk."""


class PullFailed(Exception):
    """The file is not here. What came is kept, where it can be gone on from."""

    def __init__(self, code: Code, problem: Problem) -> None:
        super().__init__(str(problem))
        self.code, self.problem = code, problem


@dataclass(frozen=True)
class Pulled:
    """`already`: it was here before."""

    model: Model
    already: bool = False


@dataclass(frozen=True)
class Wanted:
    """What to pull. `token`: sent to the host of the address, and to no other that it redirects to."""

    model: Model
    url: str
    token: str = field(default="", repr=False)
    drop_partial: bool = False
    """Delete what came when the disk is full; else it is kept, to be gone on from."""


Progress = Callable[[int, int, int], None]
"""Hears bytes done, of how many (0: the server does not say), and bytes a second."""


class _Begun(msgspec.Struct, frozen=True):
    """What a partial file is a part of."""

    url: str
    validator: str
    total: int


class _Broken(Exception):
    """This try failed; another may not. `wait_ms`: what the server asked for."""

    def __init__(self, message: str, code: Code = "DOWNLOAD_FAILED", wait_ms: int = 0) -> None:
        super().__init__(message)
        self.code, self.wait_ms = code, wait_ms


def pull(
    catalogue: Catalogue,
    wanted: Wanted,
    progress: Progress | None = None,
    policy: DownloadPolicy | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> Pulled:
    """The model, in the catalogue, with its file. Raises `BadInput`, `PullFailed`."""
    model = replace(wanted.model, path=str(catalogue.file_of(wanted.model.name)), sha256=wanted.model.sha256.lower())
    wanted = dataclasses.replace(wanted, model=model)
    _refuse(wanted)
    download = _Download(wanted, Path(model.path), policy or DownloadPolicy(), progress, wait)
    with catalogue.locked(f"pull-{Path(model.path).name}"):
        if (there := _already(catalogue, wanted)) is not None:
            return Pulled(there, already=True)
        if not download.is_here():
            download.run()
        added = catalogue.add(model)
        download.forget()
        return Pulled(added)


def _refuse(wanted: Wanted) -> None:
    problems = problems_of(wanted.model)
    if (wrong := wrong_with_url(wanted.url)) is not None:
        problems.append(_problem(wanted, *wrong))
    if wanted.model.backend != "llama":
        problems.append(_problem(wanted, "is for GGUF files", "leave the backend out", "backend"))
    if problems:
        raise BadInput(problems)


def _already(catalogue: Catalogue, wanted: Wanted) -> Model | None:
    there = catalogue.find(wanted.model.name)
    if there is None:
        return None
    if there.path != wanted.model.path or wanted.model.sha256 not in ("", there.sha256):
        fix = f"choose another name, or first: penstock models remove {there.name}"
        raise BadInput([_problem(wanted, "is in the catalogue already, and is another", fix, "name")])
    if Path(there.path).exists():
        return there
    catalogue.remove(there.name)  # its file is gone: it is pulled anew
    return None


def _problem(wanted: Wanted, message: str, fix: str, name: str = "url") -> Problem:
    return Problem(file=place_of(wanted.model), line=0, field=name, message=message, fix=fix)


@dataclass
class _Download:
    wanted: Wanted
    target: Path
    policy: DownloadPolicy
    progress: Progress | None
    wait: Callable[[float], None]

    def __post_init__(self) -> None:
        self.part = self.target.with_name(self.target.name + ".part")
        self.notes = self.target.with_name(self.target.name + ".part.json")
        self.told_at = 0.0

    def is_here(self) -> bool:
        """Whether an earlier run brought the whole file, and was ended before it was in the catalogue."""
        noted = self._noted()
        return noted.url == self.wanted.url and self.target.exists() and noted.total in (0, _size(self.target))

    def forget(self) -> None:
        """Where the file came from, now that it is in the catalogue."""
        self.notes.unlink(missing_ok=True)

    def run(self) -> None:
        """Leave the whole, checked file at `target`."""
        timeout = httpx2.Timeout(self.policy.stall_ms_max / 1_000, connect=self.policy.connect_ms_max / 1_000)
        with httpx2.Client(timeout=timeout, follow_redirects=True, max_redirects=REDIRECTS_MAX) as client:
            self._fetch_whole(client)
        os.replace(self.part, self.target)
        flush_names(self.target.parent)

    def _fetch_whole(self, client: httpx2.Client) -> None:
        for left in reversed(range(self.policy.checksum_tries_max)):
            self._fetch(client)
            if (wrong := self._wrong()) is None:
                break
            self._drop()
            if not left:
                raise wrong

    def _fetch(self, client: httpx2.Client) -> None:
        for number in range(1, self.policy.tries_max + 1):
            try:
                return self._try(client)
            except _Broken as broken:
                if number == self.policy.tries_max:
                    raise self._given_up(broken) from None
                self.wait(self._backoff_ms(number, broken) / 1_000)
        return None

    def _backoff_ms(self, number: int, broken: _Broken) -> int:
        grown = self.policy.backoff_base_ms << (number - 1)
        return min(max(grown, broken.wait_ms), self.policy.backoff_ms_max)

    def _given_up(self, broken: _Broken) -> PullFailed:
        kept = f"; {have:,} bytes are kept" if (have := _size(self.part)) else ""
        message = f"{broken}, {self.policy.tries_max} times{kept}"
        return self._failed(broken.code, message, "give the same command again: it goes on from there")

    def _failed(self, code: Code, message: str, fix: str) -> PullFailed:
        return PullFailed(code, _problem(self.wanted, message, fix))

    def _wrong(self) -> PullFailed | None:
        """What is wrong with the file that came whole."""
        asked = self.wanted.model.sha256
        try:
            if asked and sha256_of(self.part) != asked:
                fix = "see whether the address and the checksum belong together"
                return self._failed("CHECKSUM_MISMATCH", "what came has another checksum, and was deleted", fix)
            metadata_of(self.part)
        except Unusable as error:
            fix = "give the address of the GGUF file itself, not of a page about it"
            return self._failed("DOWNLOAD_FAILED", f"what came {error.message}, and was deleted", fix)
        return None

    def _drop(self) -> None:
        self.part.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)

    # --- one try

    def _try(self, client: httpx2.Client) -> None:
        begun, have = self._begun(), _size(self.part)
        if begun.total and have == begun.total:
            return
        try:
            with client.stream("GET", self.wanted.url, headers=self._headers(begun, have)) as response:
                self._take(response, begun, have)
        except httpx2.TimeoutException:
            message = f"no byte came for {self.policy.stall_ms_max / 1_000:g} s"
            raise _Broken(message, "DOWNLOAD_TIMEOUT") from None
        except httpx2.InvalidURL:
            raise self._failed("DOWNLOAD_FAILED", "is no address", "see whether the address is right") from None
        except httpx2.HTTPError as error:
            raise _Broken(f"the connection broke ({str(error) or type(error).__name__})") from None

    def _headers(self, begun: _Begun, have: int) -> dict[str, str]:
        headers = {"user-agent": f"penstock/{__version__}", "accept-encoding": "identity"}
        if self.wanted.token:
            headers["authorization"] = f"Bearer {self.wanted.token}"
        if have and begun.validator:
            headers |= {"range": f"bytes={have}-", "if-range": begun.validator}
        return headers

    def _begun(self) -> _Begun:
        """What the partial file is a part of; where that is not known, it is a part of nothing."""
        begun = self._noted()
        if begun.url == self.wanted.url and begun.validator:
            return begun
        return _Begun(url=self.wanted.url, validator="", total=0)

    def _noted(self) -> _Begun:
        try:
            return msgspec.json.decode(self.notes.read_bytes(), type=_Begun)
        except (OSError, msgspec.DecodeError, msgspec.ValidationError):
            return _Begun(url="", validator="", total=0)

    def _take(self, response: httpx2.Response, begun: _Begun, have: int) -> None:
        self._refuse_status(response)
        start = have if response.status_code == 206 and _goes_on(response, begun, have) else 0
        if response.status_code in (206, 416) and not start:
            self._drop()
            raise _Broken("the server gave another part than was asked for")
        if not start:
            begun = _Begun(url=self.wanted.url, validator=_validator(response), total=_length(response))
        self._refuse_small_disk(begun.total - start)
        try:
            done = self._write(response, begun, start)
        except OSError as error:
            raise self._unwritten(error) from None
        if begun.total and done != begun.total:
            raise _Broken(f"{done:,} of {begun.total:,} bytes came")

    def _refuse_status(self, response: httpx2.Response) -> None:
        status = response.status_code
        if status in (404, 410):
            raise self._failed("NOT_FOUND", f"is not there: status {status}", "see whether the address is right")
        if status in (401, 403):
            fix = "the file is private: name the variable with your token with --key-env, or ask for access"
            raise self._failed("FORBIDDEN", f"may not be fetched: status {status}", fix)
        if status in (408, 429) or status >= 500:
            raise _Broken(f"the server answered with status {status}", wait_ms=_retry_after_ms(response))
        if status not in (200, 206, 416):
            message = f"the server answered with status {status}"
            raise self._failed("DOWNLOAD_FAILED", message, "see whether the address is right")

    def _refuse_small_disk(self, missing: int) -> None:
        free = shutil.disk_usage(self.target.parent).free
        if missing + self.policy.spare_bytes > free:
            raise self._full(f"{missing:,} bytes are still to come, and the disk has {free:,} free")

    def _full(self, message: str) -> PullFailed:
        if self.wanted.drop_partial:
            self._drop()
        elif have := _size(self.part):
            message += f"; {have:,} bytes are kept in {self.part.name}"
        fix = "free some room and give the same command again, or choose another disk with --home"
        return self._failed("DISK_FULL", message, fix)

    def _unwritten(self, error: OSError) -> PullFailed:
        if error.errno in NO_ROOM:
            return self._full(f"the disk was full after {_size(self.part):,} bytes")
        return self._failed("DOWNLOAD_FAILED", f"cannot be written: {error.strerror}", "see whether its disk is well")

    def _write(self, response: httpx2.Response, begun: _Begun, start: int) -> int:
        """How many bytes are there then."""
        if not start:
            self._drop()
            write_whole(self.notes, msgspec.json.encode(begun))
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(self.part, flags, 0o600), "wb", buffering=0) as file:
            file.seek(start)
            done = self._write_pieces(file.write, response.iter_raw(), start, begun.total)
            os.fsync(file.fileno())
        return done

    def _write_pieces(
        self, write: Callable[[bytes], int | None], pieces: Iterator[bytes], start: int, total: int
    ) -> int:
        done, began = start, time.monotonic()
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                rest = rest[write(bytes(rest)) or 0 :]
            done += len(piece)
            self._say(done, total, round((done - start) / max(time.monotonic() - began, 0.001)))
        return done

    def _say(self, done: int, total: int, rate: int) -> None:
        now = time.monotonic()
        if self.progress is not None and (done == total or now - self.told_at >= self.policy.told_ms / 1_000):
            self.told_at = now
            self.progress(done, total, rate)


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.lstat().st_size
    return 0


def _goes_on(response: httpx2.Response, begun: _Begun, have: int) -> bool:
    """Whether a partial answer is the rest of what is here, of the same file."""
    placed = response.headers.get("content-range", "")
    same = _validator(response) in ("", begun.validator)
    return same and placed in (f"bytes {have}-{begun.total - 1}/{begun.total}", f"bytes {have}-{begun.total - 1}/*")


def _validator(response: httpx2.Response) -> str:
    """What If-Range may be given: a strong ETag, else the date of the file, else nothing."""
    etag: str = response.headers.get("etag", "")
    date: str = response.headers.get("last-modified", "")
    said = etag if etag.startswith('"') else date
    return said if said.isascii() and said.isprintable() and len(said) <= VALIDATOR_CHARS_MAX else ""


def _length(response: httpx2.Response) -> int:
    """0: the server does not say."""
    said = response.headers.get("content-length", "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 20 else 0


def _retry_after_ms(response: httpx2.Response) -> int:
    said = response.headers.get("retry-after", "")
    return int(said) * 1_000 if said.isascii() and said.isdigit() and len(said) < 6 else 0
