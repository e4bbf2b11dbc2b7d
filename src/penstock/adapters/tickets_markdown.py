"""Tickets out of a directory of Markdown files with YAML front matter, one ticket a file."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from penstock.documents.document import TEXT_BYTES_MAX, Document, Unreadable, decoded
from penstock.documents.fields import root_of
from penstock.documents.tickets import TICKETS_MAX, Draft, KnownNames, read_ticket, settle
from penstock.documents.yaml import read_yaml
from penstock.ports import BadInput, Problem, TicketText

FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
NOT_TICKETS = frozenset({"readme.md"})


class MarkdownTickets:
    """The `*.md` files right in `directory`, by name; hidden files and README.md are no tickets."""

    def __init__(self, directory: Path, shown_as: str = "tickets", known: KnownNames | None = None) -> None:
        self.directory, self.shown_as, self.known = directory, shown_as.rstrip("/"), known or KnownNames()

    def read(self) -> tuple[TicketText, ...]:
        """All tickets, by file name. Raises `BadInput` with every problem of every ticket."""
        drafts: list[Draft] = []
        unreadable: list[Problem] = []
        hidden_ids: set[str] = set()
        for path in self._files():
            file = f"{self.shown_as}/{path.name}"
            try:
                drafts.append(self._draft(path, file))
            except Unreadable as error:
                fault = Problem(file=file, line=error.line, field="", message=error.message, fix=error.fix)
                unreadable.append(fault)
                hidden_ids.add(path.stem)
        return settle(drafts, unreadable, f"{self.shown_as}/", frozenset(hidden_ids))

    def _files(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        names = sorted(p.name for p in self.directory.iterdir() if p.name.lower().endswith(".md"))
        names = [n for n in names if not n.startswith(".") and n.lower() not in NOT_TICKETS]
        if len(names) > TICKETS_MAX:
            message = f"holds {len(names):,} tickets; at most {TICKETS_MAX:,} are read"
            raise BadInput([Problem(file=f"{self.shown_as}/", line=0, field="", message=message, fix="split it")])
        return [self.directory / name for name in names]

    def _draft(self, path: Path, file: str) -> Draft:
        text = decoded(self._bytes(path))
        if not text.strip():
            raise Unreadable("is empty", fix="write what is wanted, or delete the file")
        document, body = split(text, file)
        return read_ticket(root_of(document), path.stem, body, self.known)

    def _bytes(self, path: Path) -> bytes:
        """The content of a file that is really here; never waits for a pipe, never follows a link outside."""
        try:
            real = path.resolve(strict=True) if path.is_symlink() else path
            if real is not path and not real.is_relative_to(self.directory.resolve()):
                raise Unreadable("is a link to outside the tickets' directory", fix="put the text itself here")
            if not stat.S_ISREG(real.stat().st_mode):
                raise Unreadable("is not a file", fix="remove it, or name it without .md")
            with real.open("rb") as stream:
                return stream.read(TEXT_BYTES_MAX + 1)
        except (OSError, RuntimeError) as error:
            raise Unreadable(f"cannot be read: {reason(error)}", fix="remove it, or make it readable") from None


def split(text: str, file: str) -> tuple[Document, str]:
    """Front matter and body of a Markdown text. Raises `Unreadable`."""
    front = FRONT_MATTER.match(text)
    if front is None and re.match(r"---[ \t]*\n", text):
        raise Unreadable("has front matter without an end", 1, "close it with a line `---`")
    document = read_yaml(front[1], file, 2) if front else Document(file, {})
    body = text[front.end() :] if front else text
    starts = len(text) - len(body.lstrip("\n"))
    lines = {(): 1, **document.lines, ("body",): text.count("\n", 0, starts) + 1}
    body = body.strip("\n") + "\n" if body.strip() else ""
    return Document(file, document.value, lines, document.twice), body


def reason(error: OSError | RuntimeError) -> str:
    return str(error.strerror if isinstance(error, OSError) and error.strerror else error).lower()
