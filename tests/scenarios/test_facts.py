"""Every behaviour that is to be covered is: by the tag of a scenario, or by a reason why not."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent
ROW = re.compile(r"^\| ([A-Z0-9][\w-]*) \| (.+) \|$", re.MULTILINE)
TAGS = re.compile(r"^\s*(@[\w-]+(?: @[\w-]+)*)\s*$", re.MULTILINE)
SCENARIO = re.compile(r"^\s*Scenario(?: Outline)?:", re.MULTILINE)


def rows(name: str) -> dict[str, str]:
    """Ids with what is said of them."""
    found = ROW.findall((FOLDER / name).read_text())
    assert len(found) == len(dict(found)), "an id stands twice"
    return dict(found)


def tags() -> set[str]:
    """Of all scenarios."""
    texts = [path.read_text() for path in sorted((FOLDER / "features").glob("*.feature"))]
    return {tag.removeprefix("@") for text in texts for line in TAGS.findall(text) for tag in line.split()}


def test_every_fact_is_covered_or_left_out_with_its_reason() -> None:
    facts, left_out = rows("FACTS.md"), rows("LEFT_OUT.md")
    assert len(facts) > 250
    assert sorted(set(facts) - tags() - set(left_out)) == []
    assert all(len(reason) > 20 for reason in left_out.values())


def test_no_tag_and_no_reason_is_about_nothing() -> None:
    facts = rows("FACTS.md")
    assert sorted(tags() - set(facts)) == []
    assert sorted(set(rows("LEFT_OUT.md")) - set(facts)) == []


def test_what_is_covered_is_not_left_out() -> None:
    assert sorted(tags() & set(rows("LEFT_OUT.md"))) == []


def test_every_scenario_says_what_it_covers() -> None:
    for path in sorted((FOLDER / "features").glob("*.feature")):
        text = path.read_text()
        assert len(SCENARIO.findall(text)) == len(TAGS.findall(text)), path.name


def test_every_feature_is_run() -> None:
    told = {path.stem for path in (FOLDER / "features").glob("*.feature")}
    run = {path.stem.removeprefix("test_") for path in FOLDER.glob("test_*.py")} - {"facts"}
    assert told == run
