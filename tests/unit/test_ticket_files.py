"""Tickets out of files: one suite that every source passes, and what only one of them can get wrong."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

import pytest

from penstock.adapters.tickets_markdown import MarkdownTickets
from penstock.adapters.tickets_planfile import PlanFileTickets
from penstock.core.digest import digest_of_bytes
from penstock.core.policy import BudgetCaps
from penstock.core.tickets import CommandCriterion, GateCriterion, TestCriterion
from penstock.documents.tickets import BODY_BYTES_MAX, KnownNames
from penstock.ports import BadInput, Tickets, TicketText

KNOWN = KnownNames(gates=("tests", "lint"), resources={"gpu": 2})


@dataclass(frozen=True)
class Written:
    """One ticket before it is a file: front matter without an id, and a body."""

    id: str
    front: str = ""
    body: str = "what is wanted\n"


Source = Callable[[Path, list[Written]], Tickets]


def markdown(directory: Path, tickets: list[Written]) -> Tickets:
    for number, ticket in enumerate(tickets):
        front = f"id: {ticket.id}\n{dedent(ticket.front)}"
        (directory / f"{number:02}.md").write_text(f"---\n{front}\n---\n{ticket.body}", encoding="utf-8")
    return MarkdownTickets(directory, known=KNOWN)


def yaml_plan(directory: Path, tickets: list[Written]) -> Tickets:
    return plan(directory / "plan.yaml", tickets, "")


def markdown_plan(directory: Path, tickets: list[Written]) -> Tickets:
    return plan(directory / "plan.md", tickets, "---\n")


def plan(path: Path, tickets: list[Written], fence: str) -> Tickets:
    text = f"{fence}tickets:\n" if tickets else f"{fence}tickets: []\n"
    for ticket in tickets:
        text += f"  - id: {ticket.id}\n{indent(dedent(ticket.front), '    ')}\n"
        if ticket.body.strip() and not fence:
            text += f"    body: |\n{indent(ticket.body, '      ')}\n"
    if fence:
        text += fence + "".join(f"\n## {t.id}: as planned\n\n{t.body}" for t in tickets)
    path.write_text(text, encoding="utf-8")
    return PlanFileTickets(path, known=KNOWN)


@pytest.fixture(params=[markdown, yaml_plan, markdown_plan], ids=lambda source: str(source.__name__))
def source(request: pytest.FixtureRequest) -> Source:
    chosen: Source = request.param
    return chosen


def problems(tickets: Tickets) -> str:
    with pytest.raises(BadInput) as bad:
        tickets.read()
    return str(bad.value)


# --- every source ---------------------------------------------------------------------------------------------------


def test_every_field_is_read(source: Source, tmp_path: Path) -> None:
    full = """\
        title: "Parse: everything"
        depends_on: [b]
        priority: 0
        risk: high
        scope: ["src/**"]
        kind: fix
        repairs: [lint]
        changes_tests: ["tests/test_a.py::*"]
        acceptance:
          - gate: tests
          - test: tests/test_a.py::test_x[a b]
          - command: make check
        resources: [gpu, gpu]
        budget: {tokens: 5, dollars: 1.5, agent_minutes: 2, gate_minutes: 0.5}
        """
    first, second = source(tmp_path, [Written("a", full), Written("b", "title: B\n")]).read()
    ticket = first.ticket
    assert (ticket.id, ticket.title, ticket.depends_on) == ("a", "Parse: everything", ("b",))
    assert (ticket.priority, ticket.risk, ticket.kind) == (0, "high", "fix")
    assert (ticket.scope, ticket.repairs, ticket.changes_tests) == (("src/**",), ("lint",), ("tests/test_a.py::*",))
    assert ticket.acceptance == (
        GateCriterion(gate="tests"),
        TestCriterion(test="tests/test_a.py::test_x[a b]"),
        CommandCriterion(command="make check"),
    )
    assert ticket.resources == ("gpu", "gpu")
    assert ticket.budget == BudgetCaps(tokens=5, micro_dollars=1_500_000, agent_ms=120_000, gate_ms=30_000)
    assert first.body == "what is wanted\n"
    assert ticket.body == digest_of_bytes(b"what is wanted\n")
    assert (second.ticket.priority, second.ticket.risk, second.ticket.kind) == (2, None, "feature")


def test_order_is_the_sources_own(source: Source, tmp_path: Path) -> None:
    read = source(tmp_path, [Written(i, "title: x") for i in ("c", "a", "b")]).read()
    assert [text.ticket.id for text in read] == ["c", "a", "b"]


def test_the_revision_covers_meaning_and_nothing_else(source: Source, tmp_path: Path) -> None:
    def digest(name: str, ticket: Written, *before: Written) -> str:
        directory = tmp_path / name
        directory.mkdir()
        found = source(directory, [*before, ticket]).read()[-1].ticket
        assert found.digest
        return found.digest

    plain = digest("plain", Written("a", "title: x\npriority: 2"))
    assert digest("moved", Written("a", "priority: 2\n\ntitle:   'x'  # same\n"), Written("z", "title: z")) == plain
    for number, other in enumerate(
        [
            Written("b", "title: x"),
            Written("a", "title: y"),
            Written("a", "title: x\npriority: 1"),
            Written("a", "title: x\nscope: [src]"),
            Written("a", "title: x\nacceptance: [{test: t}]"),
            Written("a", "title: x", body="something else\n"),
        ]
    ):
        assert digest(f"{number}", other) != plain


def test_nothing_is_an_error_that_says_how_to_begin(source: Source, tmp_path: Path) -> None:
    assert 'fix: add one with `penstock tickets add "title"`' in problems(source(tmp_path, []))


@pytest.mark.parametrize(
    ("front", "complaint"),
    [
        ("titel: x", 'unknown key "titel"\n    fix: did you mean title?'),
        ("priority: 1", "title] is missing\n    fix: write `title: ...`"),
        ("title: ''", "title] is empty"),
        ("title: [a]", "title] must be text, not a list"),
        ("title: 12", "title] must be text, not a whole number\n    fix: put it in quotes"),
        ('title: "a\\nb"', "title] must be one line"),
        ('title: "a\\x1b[2J"', "title] contains the control character U+001B"),
        ('title: "a\\u202Eb"', "title] contains the control character U+202E"),
        (f"title: {'x' * 201}", "title] has 201 characters; at most 200 are read"),
        ("title: x\npriority: 5", "priority] is 5, which is out of range\n    fix: choose 0 to 4"),
        ("title: x\npriority: P1", "priority] must be a whole number, not text"),
        ("title: x\npriority: true", "priority] must be a whole number, not true or false"),
        ("title: x\nrisk: boundry", 'risk] cannot be "boundry"\n    fix: did you mean boundary?'),
        ("title: x\nkind: bug", 'kind] cannot be "bug"\n    fix: known here: feature, fix'),
        ("title: x\ndepends_on: b", "depends_on] must be a list, not text"),
        ("title: x\ndepends_on: [1]", "depends_on[0]] must be text, not a whole number\n    fix: put it in quotes"),
        ("title: x\ndepends_on: [a]", "depends_on[0]] depends on itself"),
        ("title: x\nscope: [/etc]", 'scope[0]] "/etc" leaves the repository'),
        ("title: x\nacceptance: [tests]", "acceptance[0]] must be a table, not text"),
        ("title: x\nacceptance: [{gate: test}]", 'there is no gate "test"\n    fix: did you mean tests?'),
        ("title: x\nacceptance: [{tset: t}]", 'unknown key "tset"\n    fix: did you mean test?'),
        ("title: x\nacceptance: [{}]", "acceptance[0]] must be exactly one of gate, test, command"),
        ("title: x\nacceptance: [{test: t, command: c}]", "must be exactly one of gate, test, command"),
        ("title: x\nrepairs: [lnt]", 'repairs[0]] there is no gate "lnt"\n    fix: did you mean lint?'),
        ("title: x\nresources: [gpu, gpu, gpu]", 'resources] wants 3 of "gpu"; there are 2'),
        ("title: x\nresources: [tpu]", 'there is no resource "tpu"\n    fix: did you mean gpu?'),
        ("title: x\nbudget: {dollar: 1}", 'unknown key "dollar"\n    fix: did you mean dollars?'),
        ("title: x\nbudget: {tokens: 0}", "budget.tokens] is 0, which is out of range"),
        ("title: x\ntitle: y", "is there twice, first in line"),
    ],
)
def test_what_is_wrong_is_told(front: str, complaint: str, source: Source, tmp_path: Path) -> None:
    assert complaint in problems(source(tmp_path, [Written("a", front)]))


@pytest.mark.parametrize(
    ("front", "complaint"),
    [
        ("title: &x y", "uses a YAML anchor or alias"),
        ("title: *x", "uses a YAML anchor or alias"),
        ("title: !!python/name:os.system x", "uses a YAML tag"),
        ("title: [", "is not YAML: "),
        (f"title: {'[' * 30}{']' * 30}", "is nested more than 20 deep"),
        ("? [a]\n: b", "has a key that is not text"),
    ],
)
def test_yaml_that_is_not_plain_is_refused(front: str, complaint: str, source: Source, tmp_path: Path) -> None:
    assert complaint in problems(source(tmp_path, [Written("a", front)]))


@pytest.mark.parametrize("id", ["a b", "-a", "a/b", "ä", "x" * 65, "a..b", "a.lock", "a."])
def test_an_id_can_be_part_of_a_ref(id: str, source: Source, tmp_path: Path) -> None:
    assert "id] " in problems(source(tmp_path, [Written(id, "title: x")]))


def test_a_body_is_bounded_and_visible(source: Source, tmp_path: Path) -> None:
    big = Written("a", "title: x", "x" * 79 + "\n")
    assert source(tmp_path, [big]).read()
    too_big = Written("a", "title: x", ("x" * 79 + "\n") * (BODY_BYTES_MAX // 80 + 1))
    assert "65,600 bytes" in problems(source(tmp_path, [too_big])) or "at most 65,536" in problems(
        source(tmp_path, [too_big])
    )


def test_relations_between_tickets_are_told_by_name(source: Source, tmp_path: Path) -> None:
    text = problems(
        source(
            tmp_path,
            [
                Written("parse", "title: x\ndepends_on: [emit]"),
                Written("check", "title: x\ndepends_on: [pasre]"),
                Written("emit", "title: x\ndepends_on: [optimise]"),
                Written("optimise", "title: x\ndepends_on: [check, parse]"),
                Written("ping", "title: x\ndepends_on: [pong]"),
                Written("pong", "title: x\ndepends_on: [ping]"),
                Written("Parse", "title: x"),
            ],
        )
    )
    assert "is a cycle: emit -> optimise -> parse -> emit\n    fix: remove one of these dependencies" in text
    assert "is a cycle: ping -> pong -> ping" in text
    assert 'there is no ticket "pasre"\n    fix: did you mean parse?' in text
    assert '"Parse" differs from "parse" (' in text
    assert text.count("fix:") == 4


def test_a_long_chain_is_no_cycle(source: Source, tmp_path: Path) -> None:
    chain = [Written("t0", "title: x")]
    chain += [Written(f"t{n}", f"title: x\ndepends_on: [t{n - 1}]", body="") for n in range(1, 1_200)]
    assert len(source(tmp_path, chain).read()) == 1_200


# --- Markdown -------------------------------------------------------------------------------------------------------


def write(directory: Path, files: dict[str, str | bytes]) -> MarkdownTickets:
    for name, text in files.items():
        (directory / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return MarkdownTickets(directory, known=KNOWN)


def read_one(directory: Path, text: str | bytes, name: str = "03-parse.md") -> TicketText:
    (only,) = write(directory, {name: text}).read()
    return only


def test_everything_wrong_is_told_at_once_with_file_and_line(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "01.md": "---\nid: a\ntitle: A\ndepends_on:\n  - b\n  - zz\nprioritty: 3\n---\n\nbody\n\x1b[2J\n",
        "02.md": "---\nid: b\ndepends_on: [a]\nacceptance:\n  - gate: test\n---\n",
        "03.md": "---\nid: a\ntitle: again\n---\n",
        "04.md": b"\xff",
        "05.md": "---\ntitle: x\n",
        "06.md": " \n",
    }
    assert (
        problems(write(tmp_path, files))
        == """\
tickets/01.md:5: [depends_on[0]] is a cycle: a -> b -> a
    fix: remove one of these dependencies
tickets/01.md:6: [depends_on[1]] there is no ticket "zz"
    fix: add that ticket, or remove the dependency
tickets/01.md:7: [prioritty] unknown key "prioritty"
    fix: did you mean priority?
tickets/01.md:11: [body] contains the control character U+001B
    fix: remove it
tickets/02.md:2: [title] is missing
    fix: write `title: ...`
tickets/02.md:5: [acceptance[0].gate] there is no gate "test"
    fix: did you mean tests?
tickets/03.md:2: [id] "a" is also the id of tickets/01.md:2
    fix: give one of them another id
tickets/04.md:1: is not UTF-8 text
    fix: save it as UTF-8
tickets/05.md:1: has front matter without an end
    fix: close it with a line `---`
tickets/06.md: is empty
    fix: write what is wanted, or delete the file"""
    )


def test_a_plain_markdown_file_is_a_ticket(tmp_path: Path) -> None:
    text = read_one(tmp_path, "```\n# no heading\n```\n\n# Parse the file #\n\nAll of it.\n")
    assert (text.ticket.id, text.ticket.title) == ("03-parse", "Parse the file")
    assert text.ticket.source == "tickets/03-parse.md"


def test_the_revision_does_not_depend_on_how_the_file_was_saved(tmp_path: Path) -> None:
    plain = read_one(tmp_path, "---\ntitle: x\n---\n\nbody\n").ticket
    windows = read_one(tmp_path, b"\xef\xbb\xbf---\r\ntitle: x\r\n---\r\nbody\r\n\r\n").ticket
    assert windows == plain


def test_yaml_words_stay_the_text_that_they_look_like(tmp_path: Path) -> None:
    text = read_one(tmp_path, "---\nid: 2024-01-01\ntitle: no\n---\n")
    assert (text.ticket.id, text.ticket.title) == ("2024-01-01", "no")


def test_a_rule_in_the_body_ends_no_front_matter(tmp_path: Path) -> None:
    text = read_one(tmp_path, "---\ntitle: x\n---\none\n\n---\n\ntwo\n")
    assert text.body == "one\n\n---\n\ntwo\n"


def test_what_is_no_ticket_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "drafts").mkdir()
    (tmp_path / "drafts/x.md").write_text("")
    source = write(tmp_path, {"README.md": "", ".x.md": "", "notes.txt": "", "1.md": "# one"})
    assert [text.ticket.id for text in source.read()] == ["1"]


def test_no_directory_is_no_tickets(tmp_path: Path) -> None:
    assert problems(MarkdownTickets(tmp_path / "tickets")) == (
        'tickets/: no tickets in tickets/\n    fix: add one with `penstock tickets add "title"`'
    )


def test_a_link_may_stay_inside_and_not_leave(tmp_path: Path) -> None:
    inside, outside = tmp_path / "tickets", tmp_path / "secret.md"
    inside.mkdir()
    outside.write_text("# secret")
    (inside / "one.txt").write_text("# one")
    (inside / "1.md").symlink_to("one.txt")
    assert [text.ticket.id for text in MarkdownTickets(inside).read()] == ["1"]
    (inside / "2.md").symlink_to(outside)
    assert "tickets/2.md: is a link to outside the tickets' directory" in problems(MarkdownTickets(inside))


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "nowhere.md").symlink_to("nothing")
    (tmp_path / "loop.md").symlink_to("loop.md")
    text = problems(MarkdownTickets(tmp_path))
    assert "tickets/pipe.md: is not a file" in text
    assert "tickets/folder.md: is not a file" in text
    assert "tickets/nowhere.md: cannot be read: no such file or directory" in text
    assert "tickets/loop.md: cannot be read: " in text


def test_an_absurd_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    assert "at most 262,144 are read" in problems(write(tmp_path, {"1.md": b"x" * 300_000}))


def test_a_dependency_on_a_file_that_cannot_be_read_is_not_called_unknown(tmp_path: Path) -> None:
    text = problems(write(tmp_path, {"1.md": b"\xff", "2.md": "---\ntitle: x\ndepends_on: ['1']\n---\n"}))
    assert "there is no ticket" not in text


def test_gates_are_not_held_against_anybody_where_none_are_known(tmp_path: Path) -> None:
    (tmp_path / "1.md").write_text("---\ntitle: x\nrepairs: [any]\nresources: [any]\n---\n")
    assert MarkdownTickets(tmp_path).read()


# --- plan files -----------------------------------------------------------------------------------------------------


def test_a_plan_tells_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("tickets:\n  - id: a\n    title: x\n\n  - titel: q\nextra: 1\n")
    assert (
        problems(PlanFileTickets(path, shown_as="work/plan.yaml"))
        == """\
work/plan.yaml:5: [tickets[1].id] is missing
    fix: write `id: NAME`
work/plan.yaml:5: [tickets[1].title] is missing
    fix: write `title: ...`
work/plan.yaml:5: [tickets[1].titel] unknown key "titel"
    fix: did you mean title?
work/plan.yaml:6: [extra] unknown key "extra"
    fix: known here: tickets"""
    )


def test_a_missing_plan_says_so(tmp_path: Path) -> None:
    assert "plan.yaml: does not exist" in problems(PlanFileTickets(tmp_path / "plan.yaml"))


def test_sources_agree_on_revisions(tmp_path: Path) -> None:
    found = []
    for make in (markdown, yaml_plan, markdown_plan):
        directory = tmp_path / make.__name__
        directory.mkdir()
        found.append(make(directory, [Written("a", "title: x", "one\n\n  two\n")]).read()[0])
    assert len({text.ticket.digest for text in found}) == 1
    assert len({text.body for text in found}) == 1
