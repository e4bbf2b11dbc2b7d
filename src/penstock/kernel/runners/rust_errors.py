"""What rustc's complaints about a test target mean for each of its tests.

A test asks for what does not exist yet: then its file does not compile, and none of its tests runs. Only a test whose
own lines ask for it, or which uses a name whose `use` asks for it, is red; the others were not run. What is missing
must be ours: rustc points into our sources, or the path begins at our crate, or our sources declare the type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from penstock.core.redgreen.source_text import Span, blanked, functions
from penstock.kernel.runners.each_process import Reading

MISSING = frozenset(
    {
        *("E0432", "E0433", "E0425", "E0412", "E0405", "E0407", "E0422", "E0423", "E0531", "E0532", "E0576", "E0583"),
        *("E0599", "E0609", "E0610", "E0560", "E0026", "E0027", "E0061", "E0063", "E0107", "E0046", "E0277", "E0308"),
        *("E0603", "E0616", "E0624", "E0451"),
    }
)
"""A name, member, parameter, implementation or access that is not there, or is otherwise than the test asks."""

SYNTAX = re.compile(
    r"expected |unexpected |this file contains an un|un(closed|matched|terminated|known start)|mismatched |"
    r"missing (?!lifetime)|invalid |incorrect "
)


class SpanText(msgspec.Struct, frozen=True):
    """A source line that rustc shows; columns count from 1."""

    text: str = ""
    highlight_start: int = 1
    highlight_end: int = 1


class SourceSpan(msgspec.Struct, frozen=True):
    """A place that rustc points at. `file_name` is relative to the workspace, or absolute."""

    file_name: str
    line_start: int
    line_end: int
    is_primary: bool = False
    text: tuple[SpanText, ...] = ()


class Code(msgspec.Struct, frozen=True):
    """`E0425`"""

    code: str = ""


class Note(msgspec.Struct, frozen=True):
    """What rustc adds to a complaint."""

    message: str = ""
    spans: tuple[SourceSpan, ...] = ()


class Complaint(msgspec.Struct, frozen=True):
    """A message of rustc."""

    message: str = ""
    level: str = ""
    code: Code | None = None
    spans: tuple[SourceSpan, ...] = ()
    children: tuple[Note, ...] = ()
    rendered: str | None = None

    @property
    def primary(self) -> SourceSpan | None:
        """Where the complaint is."""
        return next((span for span in self.spans if span.is_primary), None)

    @property
    def is_missing(self) -> bool:
        """Whether something is not there."""
        code = self.code.code if self.code else ""
        return code in MISSING or self.message.startswith("cannot find macro")

    @property
    def is_syntax(self) -> bool:
        """Whether it is about the form of the source."""
        return self.code is None and bool(SYNTAX.match(self.message))


@dataclass(frozen=True)
class Crate:
    """What a test target sees of our own code: `sources` of production, path -> text, and the names of its crates."""

    names: frozenset[str]
    root: str
    sources: Mapping[str, str]

    def declaring(self, name: str) -> str | None:
        """The file that declares `name`."""
        pattern = re.compile(
            rf"\b(?:struct|enum|union|trait|type|fn|mod|const|static|macro_rules!)\s+{re.escape(name)}\b"
        )
        return next((path for path, text in self.sources.items() if pattern.search(text)), None)


@dataclass(frozen=True)
class BrokenFile:
    """A source with tests that does not compile. `is_inside`: it is part of the crate that it tests."""

    path: str
    source: str
    is_inside: bool
    crate: Crate

    def reading(self, name: str, complaints: Sequence[Complaint]) -> Reading:
        """Of the test that is called `name` in this file."""
        elsewhere = next((c for c in complaints if c.primary is None or c.primary.file_name != self.path), None)
        if elsewhere is not None and not self.is_inside:
            return broken(elsewhere)
        own = next((span for span in self._spans() if span.chain[-1] == name), None)
        if own is None:
            return Reading("not_run", message=f"no test {name} in a file that does not compile")
        hits = [complaint for complaint in complaints if self._hits(complaint, own)]
        if not hits:
            return Reading("not_run", message=f"its file does not compile: {complaints[0].message}")
        found = [self._missing(complaint) for complaint in hits]
        strange = next((hit for hit, phantoms in zip(hits, found, strict=True) if not phantoms), None)
        return broken(strange) if strange else self._red(hits[0], found)

    def _red(self, first: Complaint, found: Sequence[tuple[str, ...]]) -> Reading:
        phantoms = tuple(dict.fromkeys(path for each in found for path in each))
        where = f"{self.path}:{first.primary.line_start}" if first.primary else ""
        code = first.code.code if first.code else "macro"
        return Reading("red_missing_target", code, where, first.message, phantoms)

    def _spans(self) -> tuple[Span, ...]:
        return functions(self.source, "rust")

    def _hits(self, complaint: Complaint, own: Span) -> bool:
        span = complaint.primary
        if span is None or span.file_name != self.path or complaint.is_syntax:
            return True
        if own.holds(span.line_start):
            return True
        other = next((each for each in self._spans() if each.holds(span.line_start)), None)
        if other is not None:
            return uses(own.body, (other.chain[-1],))
        names = bound_names(self._item(span.line_start))
        return not names or uses(own.body, names)

    def _item(self, line: int) -> str:
        """The whole statement at module level that a line is part of."""
        lines = blanked(self.source, "rust").splitlines(keepends=True)
        before = "".join(lines[: line - 1])
        start = max(before.rfind(";"), before.rfind("}")) + 1
        return re.split(r"(?<=;)", before[start:] + "".join(lines[line - 1 :]), maxsplit=1)[0]

    def _missing(self, complaint: Complaint) -> tuple[str, ...]:
        """Files of ours that lack what is asked for; none: it is not ours to give, or not missing."""
        if not complaint.is_missing:
            return ()
        pointed = [s.file_name for s in (*complaint.spans, *(s for n in complaint.children for s in n.spans))]
        if paths := [path for path in dict.fromkeys(pointed) if path in self.crate.sources and path != self.path]:
            return tuple(paths)
        if path := self._asked_path(complaint):
            return self._phantoms(path)
        spoken_of = re.findall(r"`([^`]*)`", complaint.message)
        named = [word for part in spoken_of for word in re.findall(r"\w+", part) if word != asked_word(complaint)]
        declared = [found for name in reversed(named) if (found := self.crate.declaring(name))]
        return tuple(declared[:1])

    def _asked_path(self, complaint: Complaint) -> tuple[str, ...]:
        """The path that is asked for, from the crate's root; empty unless it begins there."""
        span = complaint.primary
        if span is None or not span.text:
            return ()
        line, end = span.text[0].text, span.text[0].highlight_end - 1
        written = re.search(r"(?:\w+\s*::\s*)*\w+!?$", line[:end].rstrip("!"))
        rest = re.match(r"(?:\s*::\s*\w+)*", line[end:])
        if written is None or rest is None or line[: written.start()].rstrip().endswith("."):
            return ()
        inside = ["*"] if line[end + rest.end() :].lstrip().startswith("::") else []
        segments = re.findall(r"\w+", f"{written[0]}{rest[0]}") + inside
        return self._from_root(self._with_prefix(segments, span))

    def _with_prefix(self, segments: list[str], span: SourceSpan) -> list[str]:
        """Segments inside braces of a `use`, behind the path before the brace."""
        item = self._item(span.line_start) if not any(s.holds(span.line_start) for s in self._spans()) else ""
        head = re.match(r"\s*(?:pub\s+)?use\s+((?:\w+\s*::\s*)+)\{", item)
        if head and segments and segments[0] not in re.findall(r"\w+", head[1]):
            return [*re.findall(r"\w+", head[1]), *segments]
        return segments

    def _from_root(self, segments: list[str]) -> tuple[str, ...]:
        if not segments:
            return ()
        first = segments[0]
        if first in self.crate.names or (self.is_inside and first in ("crate", "super", "self")):
            return tuple(segments[1:])
        for path in used_paths(self.source):
            if path[-1] in (first, "*") and (path[0] in self.crate.names or path[0] in ("crate", "super")):
                return (*path[1:-1], *segments)
        return ()

    def _phantoms(self, segments: tuple[str, ...]) -> tuple[str, ...]:
        """The file of the innermost module that exists and, where a whole module is missing, the file it would have."""
        directory = self.crate.root.rpartition("/")[0]
        last, place = self.crate.root, directory
        if self.is_inside and self.path != self.crate.root and segments and len(segments) == 1:
            return (self.path,)
        for index, name in enumerate(segments):
            base = f"{place}/{name}" if place else name
            found = next((p for p in (f"{base}.rs", f"{base}/mod.rs") if p in self.crate.sources), None)
            if found is None:
                is_named = re.search(rf"\b{re.escape(name)}\s*::", blanked(self.source, "rust"))
                is_module = name.islower() and (index < len(segments) - 1 or bool(is_named))
                return (f"{base}.rs", last) if is_module else (last,)
            last, place = found, base
        return (last,)


def broken(complaint: Complaint) -> Reading:
    """Of a test whose file cannot be loaded, and not because something of ours is missing."""
    where = f"{complaint.primary.file_name}:{complaint.primary.line_start}" if complaint.primary else ""
    code = complaint.code.code if complaint.code else ""
    return Reading("syntax_error" if complaint.is_syntax else "collect_error", code, where, complaint.message)


def tests_of(source: str) -> tuple[Span, ...]:
    """Functions with an attribute whose last name is `test`, as far as the text shows."""
    lines = blanked(source, "rust").splitlines()
    found: list[Span] = []
    last = 0
    for span in functions(source, "rust"):
        if re.search(r"#\[\s*(?:\w+\s*::\s*)*test\b", "\n".join(lines[last : span.first])):
            found.append(span)
        last = span.last - (span.last == span.first)
    return tuple(found)


def asked_word(complaint: Complaint) -> str:
    """The single word that is complained of, as a member is."""
    span = complaint.primary
    text = span.text[0] if span and span.text else SpanText()
    return text.text[text.highlight_start - 1 : text.highlight_end - 1].strip()


def uses(body: str, names: Sequence[str]) -> bool:
    """Whether a body without comments and literals holds one of the names."""
    return bool(set(re.findall(r"\w+", body)) & set(names))


def bound_names(item: str) -> tuple[str, ...]:
    """Names that a `use` brings into scope; none for a glob, and for what is no `use`."""
    return tuple(path[-1] for path in _paths_of(item)) if "*" not in item else ()


def used_paths(source: str) -> tuple[tuple[str, ...], ...]:
    """Each path of each `use`, the name it is bound to last."""
    items = re.findall(r"\buse\s[^;]*;", blanked(source, "rust"))
    return tuple(path for item in items for path in _paths_of(item))


def _paths_of(item: str) -> Iterator[tuple[str, ...]]:
    found = re.search(r"\buse\s+([^;]*)", item)
    if found:
        yield from _expand((), found[1])


def _expand(prefix: tuple[str, ...], text: str) -> Iterator[tuple[str, ...]]:
    head, brace, inner = text.strip().partition("{")
    segments = (*prefix, *(part.strip() for part in head.split("::") if part.strip()))
    if not brace:
        renamed = segments[-1].split(" as ") if segments else []
        if renamed:
            yield (*segments[:-1], renamed[-1].strip()) if renamed[-1] != "self" else segments[:-1]
        return
    for part in _split(inner.rpartition("}")[0]):
        yield from _expand(segments, part)


def _split(inner: str) -> Iterator[str]:
    """Parts between commas, braces aside."""
    depth, part = 0, ""
    for mark in inner:
        depth += (mark == "{") - (mark == "}")
        if mark == "," and depth == 0:
            yield part
            part = ""
        else:
            part += mark
    if part.strip():
        yield part
