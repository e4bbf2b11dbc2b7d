"""The pages show hostile text and never obey it; they ask for nothing from outside."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from penstock.evidence.graph_svg import render_graph
from penstock.evidence.markup import Html, el, join
from penstock.evidence.render_html import render_html
from penstock.evidence.render_markdown import code, render_markdown, text
from penstock.evidence.report import build
from penstock.evidence.words import counted, duration, headline, money, plain, tone
from tests.golden.runs import HOSTILE, blobs, clean, diff_of, troubled
from tests.golden.told import Told, ticket

VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """What a browser would make of the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        for tag in self.open[-1:]:
            self.texts.setdefault(tag, []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def whole_page() -> str:
    return render_html(build(troubled()), blob=blobs().get, diff_of=diff_of)


def test_the_page_is_well_formed() -> None:
    page = Page(whole_page())
    assert (page.open, page.unbalanced) == ([], [])
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = {(a["href"] or "") for a in page.all("a")}
    assert targets <= {f"#{name}" for name in ids}


def test_hostile_text_is_shown_and_starts_nothing() -> None:
    raw = whole_page()
    page = Page(raw)
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert not page.all("b")
    assert "<script>alert('x')</script></style>red" in "".join(page.texts["span"])
    assert "\x1b" not in raw
    assert "\u202e" not in raw
    assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on") or a == "style"]


def test_the_page_asks_for_nothing_from_outside() -> None:
    page = Page(whole_page())
    assert not [a for _, attributes in page.tags for a in attributes if a in ("src", "srcset", "action", "background")]
    assert not page.all("link")
    assert "url(" not in page.texts["style"][0]
    assert "@import" not in page.texts["style"][0]
    assert "http" not in re.sub(r"http-equiv", "", whole_page())


@pytest.mark.parametrize("kind", ["style", "script"])
def test_the_policy_lets_our_own_style_and_script_run_and_no_other(kind: str) -> None:
    page = Page(whole_page())
    policy = next(m["content"] or "" for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    own = base64.b64encode(hashlib.sha256(page.texts[kind][0].encode()).digest()).decode()
    assert f"{kind}-src 'sha256-{own}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_page_can_be_read_without_seeing_it() -> None:
    page = Page(whole_page())
    assert page.all("html")[0]["lang"] == "en"
    assert [len(page.all(tag)) for tag in ("header", "nav", "main", "footer", "h1")] == [1] * 5
    for picture in page.all("svg"):
        assert picture.get("aria-label") or picture.get("aria-hidden")
    for region in page.all("div"):
        if region.get("role") == "region":
            assert region.get("aria-label")
            assert region.get("tabindex") == "0"
    assert all(head.get("scope") == "col" for head in page.all("th"))


def test_the_page_says_first_how_it_ended() -> None:
    page = Page(render_html(build(clean())))
    assert page.texts["h1"] == ["3 of 3 tickets done; the proof holds"]
    assert len(re.findall(r'<li class="yes">', render_html(build(clean())))) == 6


def test_what_blobs_hold_is_shown_and_what_is_missing_is_not() -> None:
    assert "Amounts must be kept in integer cents." not in render_html(build(clean()))
    page = render_html(build(clean()), blob=blobs().get, diff_of=diff_of)
    assert "Amounts must be kept in integer cents." in page
    assert "# &lt;/pre&gt;&lt;script&gt;" in page


def test_the_failing_output_is_shown() -> None:
    output = "".join(Page(whole_page()).texts["pre"])
    assert "FAILED tests/test_parse.py::test_sum <b>not bold</b>" in output


def test_a_long_body_diff_and_output_are_trimmed() -> None:
    told = Told(ticket("A")).baseline().build("A")
    page = render_html(build(told.records), blob=lambda d: b"x" * 100_000, diff_of=lambda c: "+y\n" * 10_000)
    assert "9600 more lines" in page
    assert len(page) < 90_000


def test_a_graph_is_drawn_where_there_are_dependencies() -> None:
    report = build(troubled())
    anchors = {t.id: f"t{n}" for n, t in enumerate(report.tickets, 1)}
    picture = render_graph(report, anchors)
    assert picture is not None
    assert picture.count('class="edge"') == 2
    assert render_graph(build(Told(ticket("A")).records), {"A": "t1"}) is None


def test_a_cycle_or_an_unknown_dependency_is_drawn_all_the_same() -> None:
    told = Told(ticket("A", depends_on=("B",)), ticket("B", depends_on=("A",)), ticket("C", depends_on=("GONE",)))
    report = build(told.records)
    assert render_graph(report, {"A": "t1", "B": "t2", "C": "t3"}) is not None


# --- markdown -------------------------------------------------------------------------------------------------------


def test_markdown_shows_hostile_text_and_never_obeys_it() -> None:
    page = render_markdown(build(troubled()))
    assert "<script" not in page
    assert "\x1b" not in page
    assert "\\*\\*bold\\*\\*" in page
    assert "@everyone" not in page
    rows = [line for line in page.splitlines() if line.startswith("| `HACK` | &lt;script")]
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 7


@pytest.mark.parametrize("raw", ["a`b", "``", "|", "a\nb", "\x1b[1mx\x1b[0m", "`" * 5])
def test_code_stays_code(raw: str) -> None:
    shown = code(raw)
    fence = re.match(r"`+", shown)
    assert fence
    assert shown.endswith(fence[0])
    assert fence[0] not in shown.removeprefix(fence[0]).removesuffix(fence[0]).replace("\\|", "")
    assert "\n" not in shown


def test_text_is_one_line_without_markup() -> None:
    assert text("a\n# b\n- [x](http://y) <img>") == "a #\u2060 b - \\[x\\](http:\u2060//y) &lt;img&gt;"


# --- words and markup -----------------------------------------------------------------------------------------------


def test_only_markup_is_markup() -> None:
    assert (
        el("p", "<b>", Html("<i>"), None, title='"x" & <y>')
        == '<p title="&quot;x&quot; &amp; &lt;y&gt;">&lt;b&gt;<i></p>'
    )
    assert el("input", hidden=True, class_="a", aria_label=None) == '<input hidden class="a">'
    assert join("<", ["&", Html("<br>")]) == "&lt;&amp;<br>"


def test_plain_text_has_nothing_unseen() -> None:
    assert (
        plain("\x1b[31mred\x1b[0m\x1b]8;;http://x\x07link\x1b]8;;\x07 a\u202eb\x00c\td\r\ne\ud800")
        == "redlink abc\td\ne?"
    )
    assert "\u202e" in HOSTILE


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (0, "0.0 s"),
        (940, "0.9 s"),
        (12_400, "12 s"),
        (59_900, "1 min 00 s"),
        (245_000, "4 min 05 s"),
        (12_000_000, "3 h 20 min"),
    ],
)
def test_durations(ms: int, words: str) -> None:
    assert duration(ms).replace("\u00a0", " ") == words


def test_numbers() -> None:
    assert (money(0), money(2_500), money(250_000), money(1_234_000_000)) == ("$0.00", "$0.0025", "$0.25", "$1,234.00")
    assert (counted(1, "turn"), counted(2, "turn")) == ("1 turn", "2 turns")


def test_the_tone_follows_the_proof() -> None:
    assert (tone(build(clean())), tone(build(troubled()))) == ("good", "fair")
    lie = build(Told(ticket("A")).baseline().end())
    assert tone(lie) == "bad"
    assert headline(lie) == "0 of 1 tickets done, 1 waiting; clauses 4, 5 of the proof do not hold"
