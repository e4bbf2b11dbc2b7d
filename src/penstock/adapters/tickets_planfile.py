"""Tickets out of one plan file: YAML with a `tickets` list, or Markdown with that list as its front matter.

In Markdown, the text under a heading `## ID` is the body of that ticket.
"""

from __future__ import annotations

import re
from pathlib import Path

from penstock.documents.document import TEXT_BYTES_MAX, Unreadable, decoded
from penstock.documents.fields import Fields, root_of
from penstock.documents.tickets import BODY_BYTES_MAX, Draft, KnownNames, read_ticket, settle
from penstock.documents.yaml import read_yaml
from penstock.ports import Problem, TicketText

FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
SECTION = re.compile(r"^## +(\S+?):?(?: .*)?$", re.MULTILINE)


class PlanFileTickets:
    """The tickets of one plan file, in its order."""

    def __init__(self, path: Path, shown_as: str = "", known: KnownNames | None = None) -> None:
        self.path, self.shown_as, self.known = path, shown_as or path.name, known or KnownNames()

    def read(self) -> tuple[TicketText, ...]:
        """All tickets, in the order of the plan. Raises `BadInput` with every problem of every ticket."""
        try:
            plan, sections = self._plan()
        except Unreadable as error:
            fault = Problem(file=self.shown_as, line=error.line, field="", message=error.message, fix=error.fix)
            return settle([], [fault], self.shown_as)
        drafts = [self._draft(fields, sections) for fields in plan.listed("tickets")]
        plan.refuse_unknown()
        own = [] if drafts else plan.reading.problems
        return settle(drafts, own, self.shown_as)

    def _plan(self) -> tuple[Fields, dict[str, str]]:
        text = decoded(self._bytes())
        if self.path.suffix.lower() != ".md":
            return root_of(read_yaml(text, self.shown_as)), {}
        front = FRONT_MATTER.match(text)
        if front is None:
            raise Unreadable("has no front matter", 1, "begin it with `---`, `tickets:`, a list, `---`")
        return root_of(read_yaml(front[1], self.shown_as, 2)), sections_of(text[front.end() :])

    def _bytes(self) -> bytes:
        if not self.path.is_file():
            raise Unreadable("does not exist", fix="write it, or change [tickets] path in penstock.toml")
        try:
            with self.path.open("rb") as stream:
                return stream.read(TEXT_BYTES_MAX + 1)
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}", fix="make it readable") from None

    def _draft(self, fields: Fields, sections: dict[str, str]) -> Draft:
        section = sections.get(str(fields.table.get("id")), "")
        body = fields.text("body", section, chars_max=BODY_BYTES_MAX, lines=True)
        return read_ticket(fields, "", body.strip("\n") + "\n" if body.strip() else "", self.known)


def sections_of(text: str) -> dict[str, str]:
    """Text under each `## ID` heading, up to the next heading of that level."""
    found = list(SECTION.finditer(text))
    starts = [match.start() for match in found] + [len(text)]
    return {match[1]: text[match.end() : end] for match, end in zip(found, starts[1:], strict=True)}
