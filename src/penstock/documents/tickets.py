"""What a ticket may say, whatever file it is in, and what several tickets may say of each other."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import get_args

import msgspec

from penstock.core.digest import digest_of, digest_of_bytes
from penstock.core.policy import RISKS, BudgetCaps
from penstock.core.tickets import (
    CommandCriterion,
    Criterion,
    GateCriterion,
    Kind,
    TestCriterion,
    Ticket,
    find_cycle,
)
from penstock.documents.fields import (
    COUNT_MAX,
    Fault,
    Fields,
    control_character,
    fault_of_glob,
    meant,
    shown,
)
from penstock.ports import BadInput, Problem, TicketText

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
BODY_BYTES_MAX = 64 * 1024
TITLE_CHARS_MAX = 200
TICKETS_MAX = 10_000
CYCLES_TOLD_MAX = 20
KINDS: tuple[Kind, ...] = get_args(Kind)
CRITERIA = ("gate", "test", "command")
HEADING = re.compile(r"^# +(\S.*?)[ \t#]*$", re.MULTILINE)
FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class KnownNames:
    """What a ticket may refer to. None: not known here, so not held against anybody."""

    gates: Collection[str] | None = None
    resources: Mapping[str, int] | None = None
    """Capacity by name."""


@dataclass(frozen=True)
class Draft:
    """A ticket that was read, and the table it came from: what is wrong between tickets is told there."""

    text: TicketText
    fields: Fields

    @property
    def id(self) -> str:
        """The ticket's id, empty where it has no good one."""
        return self.text.ticket.id


# --- one ticket -----------------------------------------------------------------------------------------------------


def read_ticket(fields: Fields, default_id: str, body: str, known: KnownNames) -> Draft:
    """The ticket in `fields` and `body`; what is wrong with it is left in the reading of `fields`."""
    check_body(fields, body)
    ticket = Ticket(
        id=take_id(fields, default_id),
        title=take_title(fields, body),
        body=digest_of_bytes(body.encode()),
        digest="",
        source="",
        depends_on=fields.texts("depends_on", fault=fault_of_id),
        priority=fields.whole("priority", 2, 0, 4),
        risk=fields.choice_or_none("risk", RISKS),
        scope=fields.texts("scope", fault=fault_of_glob),
        kind=fields.choice("kind", KINDS, "feature"),
        repairs=fields.texts("repairs", fault=lambda name: fault_of_name(name, "gate", known.gates)),
        changes_tests=fields.texts("changes_tests"),
        acceptance=tuple(c for item in fields.listed("acceptance") if (c := take_criterion(item, known))),
        resources=take_resources(fields, known.resources),
        budget=take_caps(fields.sub("budget")),
    )
    fields.refuse_unknown()
    source = fields.reading.document.file
    ticket = msgspec.structs.replace(ticket, digest=digest_of(ticket), source=source)
    return Draft(TicketText(ticket=ticket, body=body), fields)


def take_id(fields: Fields, default: str) -> str:
    """The id, by default what the source calls the ticket."""
    if fields.has("id"):
        return fields.text("id", fault=fault_of_id)
    wrong = fault_of_id(fields.text("id", default))
    if wrong:
        besides = f", and {wrong[0]}" if default else ""
        fields.refuse("id", f"is missing{besides}", "write `id: NAME`")
    return "" if wrong else default


def take_title(fields: Fields, body: str) -> str:
    """The title, by default the first heading of the body."""
    heading = HEADING.search(FENCED.sub("", body))
    if heading and not fields.has("title") and not control_character(heading[1]):
        fields.text("title", heading[1])
        if len(heading[1]) > TITLE_CHARS_MAX:
            fields.refuse("title", f"the first heading has more than {TITLE_CHARS_MAX} characters", "write `title:`")
        return heading[1]
    title = fields.text("title", needed="write `title: ...`", chars_max=TITLE_CHARS_MAX, fault=fault_of_blank)
    return title.strip()


def check_body(fields: Fields, body: str) -> None:
    """Refuse a body that is too big, or that holds what people cannot see."""
    size = len(body.encode())
    first_line = fields.reading.document.line_of((*fields.path, "body"))
    if size > BODY_BYTES_MAX:
        fields.refuse("body", f"is {size:,} bytes; at most {BODY_BYTES_MAX:,} are read", "split the ticket")
        return
    for number, line in enumerate(body.split("\n")):
        character = control_character(line)
        if character:
            message = f"contains the control character U+{ord(character):04X}"
            fields.refuse("body", message, "remove it", line=first_line + number)


def take_criterion(item: Fields, known: KnownNames) -> Criterion | None:
    """One of `{gate}`, `{test}`, `{command}`."""
    named = [key for key in CRITERIA if item.has(key)]
    gate = item.text("gate", fault=lambda name: fault_of_name(name, "gate", known.gates))
    test = item.text("test", fault=fault_of_blank)
    command = item.text("command", fault=fault_of_blank)
    before = len(item.reading.problems)
    item.refuse_unknown()
    if len(named) != 1 and before == len(item.reading.problems):
        item.refuse("", "must be exactly one of gate, test, command", "write `- gate: NAME`")
    if len(named) != 1:
        return None
    made: dict[str, Criterion] = {
        "gate": GateCriterion(gate=gate),
        "test": TestCriterion(test=test),
        "command": CommandCriterion(command=command),
    }
    return made[named[0]]


def take_caps(fields: Fields) -> BudgetCaps:
    """`tokens`, `dollars`, `agent_minutes`, `gate_minutes`: what is not written is not bounded."""
    caps = BudgetCaps(
        tokens=fields.whole_or_none("tokens", 1, 1_000_000 * COUNT_MAX),
        micro_dollars=fields.scaled_or_none("dollars", 1_000_000, 0, COUNT_MAX),
        agent_ms=fields.scaled_or_none("agent_minutes", 60_000, 0, COUNT_MAX),
        gate_ms=fields.scaled_or_none("gate_minutes", 60_000, 0, COUNT_MAX),
    )
    fields.refuse_unknown()
    return caps


def take_resources(fields: Fields, capacity: Mapping[str, int] | None) -> tuple[str, ...]:
    """Names of resources, one for each unit; refused where they do not exist or can never be had."""
    names = None if capacity is None else tuple(capacity)
    wanted = fields.texts("resources", fault=lambda name: fault_of_name(name, "resource", names), repeats=True)
    for name in dict.fromkeys(wanted):
        has = (capacity or {}).get(name)
        if has is not None and wanted.count(name) > has:
            message = f"wants {wanted.count(name)} of {shown(name)}; there are {has}"
            fields.refuse("resources", message, f"raise [resources] {name}, or want fewer")
    return wanted


def fault_of_id(text: str) -> Fault | None:
    """An id is also part of a file name and of a git ref."""
    if not ID.fullmatch(text):
        return (
            f"{shown(text)} is no id",
            "use 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or digit",
        )
    if ".." in text or text.endswith((".", ".lock")):
        return f"{shown(text)} cannot be part of a git ref", "no `..`, and neither `.` nor `.lock` at the end"
    return None


def fault_of_blank(text: str) -> Fault | None:
    """Blank text says nothing."""
    return None if text.strip() else ("is empty", "say what it is, or remove it")


def fault_of_name(name: str, what: str, known: Iterable[str] | None) -> Fault | None:
    """A reference to something that does not exist."""
    if known is None or name in known:
        return None
    names = sorted(known)
    if names:
        return f"there is no {what} {shown(name)}", meant(name, names)
    section = f"[gates.{name}]" if what == "gate" else f"[resources] {name} = 1"
    return f"there is no {what} {shown(name)}, nor any other", f"write {section} in penstock.toml"


# --- several tickets ------------------------------------------------------------------------------------------------


def settle(
    drafts: Sequence[Draft], unreadable: Sequence[Problem], where: str, hidden_ids: frozenset[str] = frozenset()
) -> tuple[TicketText, ...]:
    """The tickets, if nothing is wrong with any of them. Raises `BadInput` with everything.

    `hidden_ids`: ids that unreadable sources may hold, so that no dependency on them is called unknown.
    """
    if not drafts and not unreadable:
        message = f"no tickets in {where}"
        raise BadInput([Problem(file=where, line=0, field="", message=message, fix=ADD_ONE)])
    if len(drafts) > TICKETS_MAX:
        message = f"holds {len(drafts):,} tickets; at most {TICKETS_MAX:,} are read"
        raise BadInput([Problem(file=where, line=0, field="", message=message, fix="split the backlog")])
    refuse_duplicates(drafts)
    refuse_unknown_dependencies(drafts, hidden_ids)
    refuse_cycles(drafts)
    readings = {id(d.fields.reading): d.fields.reading for d in drafts}
    problems = [*unreadable, *(p for reading in readings.values() for p in reading.problems)]
    if problems:
        raise BadInput(sorted(problems, key=lambda p: (p.file, p.line)))
    return tuple(d.text for d in drafts)


ADD_ONE = 'add one with `penstock tickets add "title"`'


def refuse_duplicates(drafts: Sequence[Draft]) -> None:
    """Ids that differ in case only are the same to some file systems, so to us."""
    first: dict[str, Draft] = {}
    for draft in drafts:
        other = first.setdefault(draft.id.lower(), draft)
        if other is draft or not draft.id:
            continue
        place = other.fields.place("id")
        if other.id == draft.id:
            draft.fields.refuse("id", f"{shown(draft.id)} is also the id of {place}", "give one of them another id")
        else:
            message = f"{shown(draft.id)} differs from {shown(other.id)} ({place}) in case only"
            draft.fields.refuse("id", message, "give one of them another id")


def refuse_unknown_dependencies(drafts: Sequence[Draft], hidden_ids: frozenset[str]) -> None:
    ids = {d.id for d in drafts} | hidden_ids
    for draft in drafts:
        for needed in draft.text.ticket.depends_on:
            index = index_of(draft, needed)
            if needed == draft.id:
                draft.fields.refuse("depends_on", "depends on itself", f"remove {shown(needed)}", index)
            elif needed not in ids:
                near = get_close_matches(needed, sorted(ids), 1)
                fix = f"did you mean {near[0]}?" if near else "add that ticket, or remove the dependency"
                draft.fields.refuse("depends_on", f"there is no ticket {shown(needed)}", fix, index)


def refuse_cycles(drafts: Sequence[Draft]) -> None:
    """Name one cycle after the other, each without the tickets of those before."""
    by_id: dict[str, Draft] = {}
    for draft in drafts:
        by_id.setdefault(draft.id, draft)
    left = [without_itself(d.text.ticket) for d in by_id.values()]
    for _ in range(CYCLES_TOLD_MAX):
        cycle = find_cycle(left)
        if not cycle:
            return
        start = cycle.index(min(cycle))
        cycle = cycle[start:-1] + cycle[:start]
        draft = by_id[cycle[0]]
        message = f"is a cycle: {' -> '.join([*cycle, cycle[0]])}"
        needed = cycle[1]
        draft.fields.refuse("depends_on", message, "remove one of these dependencies", index_of(draft, needed))
        left = [ticket for ticket in left if ticket.id not in cycle]


def without_itself(ticket: Ticket) -> Ticket:
    others = tuple(d for d in ticket.depends_on if d != ticket.id)
    return msgspec.structs.replace(ticket, depends_on=others)


def index_of(draft: Draft, needed: str) -> int:
    """The place of a dependency in the list as it was written."""
    written = draft.fields.table.get("depends_on")
    return written.index(needed) if isinstance(written, list) and needed in written else 0
