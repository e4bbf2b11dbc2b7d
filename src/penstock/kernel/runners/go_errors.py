"""What the Go compiler's complaints about a package's tests mean for each of its tests.

As with Rust (`rust_errors.py`), only a test whose own lines ask for what is missing is red, and what is missing must be
ours. A name may be put into any file of its package, so all of them lack it, and so does the file of the same name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from penstock.core.redgreen.source_text import blanked, functions
from penstock.kernel.runners.each_process import Reading
from penstock.kernel.runners.rust_errors import uses

LINE = re.compile(r"^(?:vet: )?(?P<path>[^\s:][^:\n]*\.go):(?P<line>\d+)(?::\d+)?: (?P<text>.*(?:\n\t.*)*)", re.M)
MISSING = re.compile(
    r"undefined: |.* undefined \(|unknown field |(?:not enough|too many) arguments |assignment mismatch: |cannot use |"
    r"cannot refer to unexported |.* not exported by package |.* does not implement |.* \(no value\) used as value|"
    r"too (?:many|few) values in "
)
SYNTAX = re.compile(r"syntax error|expected |illegal |.*not terminated|missing |non-declaration statement")
ABSENT = re.compile(
    r"(?:no required module provides package|package|cannot find package|.*cannot find module) \"?(?P<path>[\w./-]+)"
)
IMPORT = re.compile(r"(?:^|[\s;(])(?P<name>[\w.]+)?[ \t]*\"(?P<path>[^\"\n]+)\"")


@dataclass(frozen=True)
class Complaint:
    """What stops the build. `path`: from the root of the tree, where it lies inside."""

    path: str
    line: int
    text: str

    @property
    def is_syntax(self) -> bool:
        """Whether it is about the form of the source."""
        return bool(SYNTAX.match(self.text))


@dataclass(frozen=True)
class Code:
    """A package of ours as production sees it: the path it is imported by, its directory, and path -> text."""

    import_path: str
    directory: str
    sources: Mapping[str, str]

    def declares(self, name: str) -> bool:
        """Whether `name` is declared at its top, or as a method."""
        pattern = re.compile(rf"^(?:func\s+(?:\([^)]*\)\s*)?|type\s+|var\s+|const\s+|\t){re.escape(name)}\b", re.M)
        return any(pattern.search(blanked(text, "go")) for text in self.sources.values())


@dataclass(frozen=True)
class BrokenPackage:
    """The tests of one file in a package that does not build."""

    path: str
    source: str
    own: Code
    module: str
    packages: Mapping[str, Code]
    """All of ours, by import path."""

    def reading(self, name: str, complaints: Sequence[Complaint]) -> Reading:
        """Of the test function `name`."""
        stray = next((c for c in complaints if not c.path.endswith("_test.go")), None)
        if stray is not None:
            return broken(stray)
        span = next((each for each in functions(self.source, "go") if each.chain[-1] == name), None)
        if span is None:
            return next(
                (broken(c) for c in complaints if c.path == self.path and c.is_syntax), self._beside(complaints)
            )
        hits = [c for c in complaints if c.path == self.path and self._hits(c, name)]
        if not hits:
            return self._beside(complaints)
        found = [self._phantoms(complaint) for complaint in hits]
        strange = next((hit for hit, phantoms in zip(hits, found, strict=True) if not phantoms), None)
        if strange is not None:
            return broken(strange)
        phantoms = tuple(dict.fromkeys(path for each in found for path in each))
        return Reading("red_missing_target", "undefined", f"{self.path}:{hits[0].line}", hits[0].text, phantoms)

    def _beside(self, complaints: Sequence[Complaint]) -> Reading:
        first = complaints[0]
        return Reading("not_run", message=f"its package does not build: {first.path}:{first.line}: {first.text}")

    def _hits(self, complaint: Complaint, name: str) -> bool:
        spans = functions(self.source, "go")
        own = next(each for each in spans if each.chain[-1] == name)
        if complaint.is_syntax or own.holds(complaint.line):
            return True
        if other := next((each for each in spans if each.holds(complaint.line)), None):
            return uses(own.body, other.chain)
        line = self.source.splitlines()[complaint.line - 1] if complaint.line <= self.source.count("\n") + 1 else ""
        if absent := ABSENT.match(complaint.text):
            return uses(own.body, [n for n, path in imports_of(self.source) if path == absent["path"]])
        declared = re.match(r"\s*(?:var|const|type)?\s*(\w+)", line)
        return not declared or uses(own.body, declared.groups())

    def _phantoms(self, complaint: Complaint) -> tuple[str, ...]:
        """Files of ours that lack what is asked for; none: it is not ours to give, or not missing."""
        if absent := ABSENT.match(complaint.text):
            return self._absent_package(absent["path"])
        if not MISSING.match(complaint.text):
            return ()
        for package, member in re.findall(r"\b(\w+)\.(\w+)", complaint.text):
            if code := self._imported(package):
                return _files_for(code, member)
        return self._of_own(complaint)

    def _absent_package(self, path: str) -> tuple[str, ...]:
        if path != self.module and not path.startswith(f"{self.module}/"):
            return ()
        top = self.packages.get(self.module)
        base = f"{top.directory}/" if top and top.directory else self._module_prefix()
        inner = path[len(self.module) + 1 :]
        return (f"{base}{inner}/{inner.rpartition('/')[2]}.go",)

    def _module_prefix(self) -> str:
        """The module's directory, from where this package lies in both."""
        inner = self.own.import_path[len(self.module) + 1 :]
        return self.own.directory.removesuffix(inner) if inner else f"{self.own.directory}/".lstrip("/")

    def _imported(self, name: str) -> Code | None:
        paths = dict(imports_of(self.source))
        return self.packages.get(paths.get(name, ""))

    def _of_own(self, complaint: Complaint) -> tuple[str, ...]:
        """A bare name can be our package's own only for a test inside it."""
        if re.search(r"^package\s+\w+_test\b", blanked(self.source, "go"), re.M):
            return ()
        if bare := re.match(r"undefined: (\w+)$", complaint.text):
            return () if bare[1] in dict(imports_of(self.source)) else (*self.own.sources, *_twin(self.path, self.own))
        names = re.findall(r"\b[A-Za-z_]\w*\b", complaint.text)
        return next((tuple(self.own.sources) for name in names if self.own.declares(name)), ())


def _files_for(code: Code, member: str) -> tuple[str, ...]:
    """All files of the package, the one that declares `member` alone if there is one."""
    pattern = re.compile(rf"^(?:func|type|var|const)\s+{re.escape(member)}\b", re.M)
    declaring = tuple(path for path, text in code.sources.items() if pattern.search(text))
    return (
        declaring or tuple(code.sources) or (f"{code.directory}/{code.import_path.rpartition('/')[2]}.go".lstrip("/"),)
    )


def _twin(path: str, code: Code) -> tuple[str, ...]:
    twin = f"{path.removesuffix('_test.go')}.go"
    return () if twin in code.sources else (twin,)


def broken(complaint: Complaint) -> Reading:
    """Of a test whose package cannot be built, and not because something of ours is missing."""
    where = f"{complaint.path}:{complaint.line}"
    return Reading("syntax_error" if complaint.is_syntax else "collect_error", "", where, complaint.text)


def complaints_in(text: str) -> Iterator[tuple[str, int, str]]:
    """Path as the compiler spells it, line and words of each complaint."""
    for found in LINE.finditer(text):
        yield found["path"], int(found["line"]), found["text"]


def imports_of(source: str) -> tuple[tuple[str, str], ...]:
    """The name that each import is bound to, and its path."""
    head = re.split(r"^(?:func|type|var|const)\b", source, maxsplit=1, flags=re.M)[0]
    found = (
        each for block in re.findall(r"^import\s*(\([^)]*\)|[^\n;]*)", head, re.M) for each in IMPORT.finditer(block)
    )
    return tuple((each["name"] or each["path"].rpartition("/")[2], each["path"]) for each in found)
