"""What cargo says of a project: its targets, what it built, what each was made of, and what rustc complained about."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from penstock.core.redgreen.test_id import BadTestId, TestId, canonical_path
from penstock.kernel.runners.each_process import relative_to
from penstock.kernel.runners.rust_errors import Complaint

SOURCE_BYTES_MAX = 1_000_000
REMEMBERED = "penstock-contents.json"


class Target(msgspec.Struct, frozen=True):
    """What cargo can build of a package."""

    kind: tuple[str, ...]
    name: str
    src_path: str
    test: bool = False

    @property
    def selector(self) -> tuple[str, ...]:
        """Cargo's options that name it; empty: tests are not built of it."""
        match self.kind[0] if self.kind else "":
            case "test" | "bin" | "example" as kind:
                return (f"--{kind}", self.name)
            case "bench" | "custom-build" | "":
                return ()
            case _:
                return ("--lib",)


class Package(msgspec.Struct, frozen=True):
    """A member of the workspace."""

    name: str
    targets: tuple[Target, ...]


class Metadata(msgspec.Struct, frozen=True):
    """`cargo metadata`"""

    packages: tuple[Package, ...]
    workspace_root: str


class Message(msgspec.Struct, frozen=True):
    """A line of `--message-format=json`."""

    reason: str = ""
    target: Target | None = None
    filenames: tuple[str, ...] = ()
    executable: str | None = None
    message: Complaint | None = None
    success: bool | None = None


def messages_in(stdout: bytes) -> Iterator[Message]:
    """Cargo's own lines."""
    for line in stdout.splitlines():
        with suppress(msgspec.DecodeError):
            yield msgspec.json.decode(line, type=Message)


@dataclass
class Built:
    """What one or more builds made, and which targets they could not make."""

    binaries: dict[str, Target] = field(default_factory=dict)
    artifacts: list[tuple[Target, str]] = field(default_factory=list)
    """Every target made, and one file of it."""
    complaints: dict[str, list[Complaint]] = field(default_factory=dict)
    """By root source of the target; only those that stop the build."""
    is_done: bool = False
    """Whether everything asked for was built."""

    def take(self, messages: Iterator[Message]) -> None:
        """Take over what one build says."""
        self.is_done = False
        for each in messages:
            if each.reason == "build-finished":
                self.is_done = bool(each.success)
            elif each.target and each.reason == "compiler-artifact":
                self.artifacts += [(each.target, name) for name in each.filenames[:1]]
                self.binaries |= {each.executable: each.target} if each.executable else {}
            elif each.target and each.message and each.message.level == "error" and each.message.primary:
                known = self.complaints.setdefault(each.target.src_path, [])
                known += [each.message] if each.message not in known else []


@dataclass(frozen=True)
class Project:
    """The workspace in a working tree. `root`: of the tree, as seen inside; `top`: the same on the host."""

    metadata: Metadata
    root: str
    top: Path

    @property
    def prefix(self) -> str:
        """The workspace from the root of the tree, with a slash where it is not the root."""
        inside = relative_to(self.metadata.workspace_root, self.root)
        return f"{inside}/" if inside else ""

    def place(self, spelled: str) -> str | None:
        """A path as rustc spells it, from the root of the tree; None where it lies outside."""
        return relative_to(spelled if spelled.startswith("/") else f"{self.prefix}{spelled}", self.root)

    def targets(self) -> tuple[tuple[Package, Target], ...]:
        """Everything that tests can be built of."""
        pairs = ((package, target) for package in self.metadata.packages for target in package.targets)
        return tuple((p, t) for p, t in pairs if t.test and t.selector and self.place(t.src_path))

    def targets_for(self, path: str) -> tuple[tuple[Package, Target], ...]:
        """Those that are made of `path`: its own target, or those in whose directory it lies, the nearest."""
        own = tuple(pair for pair in self.targets() if self.place(pair[1].src_path) == path)
        if own:
            return own
        homes = {pair: (self.place(pair[1].src_path) or "").rpartition("/")[0] for pair in self.targets()}
        around = [len(home) for home in homes.values() if path.startswith(f"{home}/" if home else "")]
        return tuple(
            pair
            for pair, home in homes.items()
            if path.startswith(f"{home}/" if home else "") and len(home) == max(around)
        )

    def crate_names(self) -> frozenset[str]:
        """Names by which our own code is spoken of."""
        names = {t.name for p in self.metadata.packages for t in p.targets if t.selector == ("--lib",)}
        return frozenset(name.replace("-", "_") for name in names)

    def is_library(self, target: Target) -> bool:
        """Whether it is production code with tests inside it."""
        return target.kind[:1] != ("test",)

    def read(self, path: str) -> str:
        """A source of the tree; empty where it cannot be read."""
        file = self.top / path
        try:
            if not file.is_symlink() and file.stat().st_size <= SOURCE_BYTES_MAX:
                return file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            pass
        return ""

    def id_of(self, target: Target, sources: Sequence[str], name: str) -> TestId | None:
        """The id of the test that libtest calls `name`; the file is found by following the modules."""
        chain = tuple(name.split("::"))
        path = source_of(self.place(target.src_path) or "", sources, chain[:-1])
        try:
            return TestId(runner="cargo", path=canonical_path(path), chain=chain)
        except BadTestId:
            return None


def source_of(root: str, sources: Sequence[str], modules: Sequence[str]) -> str:
    """The file of the innermost module that has one of its own."""
    place = root.rpartition("/")[0]
    last = root
    for module in modules:
        base = f"{place}/{module}" if place else module
        found = next((path for path in (f"{base}.rs", f"{base}/mod.rs") if path in sources), None)
        if found is None:
            break
        last, place = found, base
    return last


def modules_of(path: str, root: str) -> tuple[str, ...]:
    """The modules that a file stands for, where no attribute says otherwise."""
    directory = root.rpartition("/")[0]
    inner = path.removeprefix(f"{directory}/" if directory else "").removesuffix(".rs")
    return () if path == root else tuple(part for part in inner.split("/") if part != "mod")


@dataclass
class Builds:
    """The directory of builds on the host, and what cargo cannot see of it.

    Cargo looks at times of change. A file that changed in the same instant, or whose time was set back, would be
    taken for the old one and give an old verdict: so contents are remembered, and where one changed while its time
    did not go on, cargo is made to forget that it built the package.
    """

    directory: Path
    inside: str

    def sources_of(self, project: Project, artifact: str) -> tuple[str, ...]:
        """Files of the tree that rustc read for an artifact, its root first."""
        stem = re.sub(r"\.(rlib|rmeta|so|dylib|a|exe)$", "", artifact.rpartition("/")[2])
        inside = relative_to(artifact.rpartition("/")[0], self.inside)
        for name in (stem, stem.removeprefix("lib")):
            with suppress(OSError):
                first = (self.directory / (inside or "") / f"{name}.d").read_text(encoding="utf-8").partition("\n")[0]
                spelled = first.partition(": ")[2].replace("\\ ", "\0").split(" ")
                found = (project.place(each.replace("\0", " ")) for each in spelled if each)
                return tuple(path for path in found if path)
        return ()

    def forget_changed(self, project: Project) -> None:
        """Before a build: drop what cargo would wrongly take for fresh."""
        known = self._remembered()
        names = {package.name for package in project.metadata.packages}
        if any(self._is_hidden_change(project, path, was) for path, was in known.items()):
            for place in self.directory.glob("*/.fingerprint/*"):
                if place.name.rpartition("-")[0] in names:
                    shutil.rmtree(place, ignore_errors=True)

    def remember(self, project: Project, built: Built) -> None:
        """After a build: the contents that it was made of."""
        known = self._remembered()
        for _, artifact in built.artifacts:
            for path in self.sources_of(project, artifact):
                known[path] = _contents(project.top / path)
        (self.directory / REMEMBERED).write_text(json.dumps(known), encoding="utf-8")

    def _remembered(self) -> dict[str, tuple[int, str]]:
        try:
            return msgspec.json.decode((self.directory / REMEMBERED).read_bytes(), type=dict[str, tuple[int, str]])
        except (OSError, msgspec.DecodeError):
            return {}

    @staticmethod
    def _is_hidden_change(project: Project, path: str, was: tuple[int, str]) -> bool:
        now = _contents(project.top / path)
        return now[1] != was[1] and now[0] <= was[0]


def _contents(file: Path) -> tuple[int, str]:
    """Time of change, and digest; of an absent file too."""
    try:
        return file.stat().st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return 0, ""


def imported_by(project: Project, own: Sequence[str], crates: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """`own` and, transitively, all files of each of our crates that they name."""
    found = dict.fromkeys(own)
    waiting = list(own)
    left = dict(crates)
    while waiting:
        words = set(re.findall(r"\w+", project.read(waiting.pop())))
        for name in [name for name in left if name in words]:
            new = [path for path in left.pop(name) if path not in found]
            found |= dict.fromkeys(new)
            waiting += new
    return tuple(found)
