"""Every planted defect still has its place in the sources, and there are tests that are to notice it."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
from pytest_bdd.scenario import make_python_name

import penstock
from tests.mutants.defect import Planted, plant, planted_in
from tests.mutants.planted import PLANTED

PACKAGE = Path(penstock.__file__).parent
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("defect", PLANTED, ids=lambda defect: defect.name)
def test_it_can_be_planted(defect: Planted) -> None:
    source = (PACKAGE / defect.file).read_text()
    assert planted_in(defect, source) != source


@pytest.mark.parametrize("defect", PLANTED, ids=lambda defect: defect.name)
def test_the_tests_that_notice_it_are_there(defect: Planted) -> None:
    for test in defect.tests:
        file, _, name = test.partition("::")
        assert name.partition("[")[0] in names_in(ROOT / file), test
    assert defect.tests


def test_each_has_a_name_of_its_own() -> None:
    assert len({defect.name for defect in PLANTED}) == len(PLANTED) >= 30


WRONG = {
    "gone": ("nowhere", "here"),
    "ambiguous": ("x", "y"),
    "no Python": ("x = x", "x = ="),
}


@pytest.mark.parametrize(("old", "new"), WRONG.values(), ids=WRONG.keys())
def test_one_that_has_no_place_is_refused_and_changes_nothing(tmp_path: Path, old: str, new: str) -> None:
    source = tmp_path / "file.py"
    source.write_text("x = x\n")
    with pytest.raises(LookupError):
        plant(Planted("name", "what", "file.py", old, new, ("test",)), tmp_path)
    assert source.read_text() == "x = x\n"
    plant(Planted("name", "what", "file.py", "x = ", "y = ", ("test",)), tmp_path)
    assert source.read_text() == "y = x\n"


@functools.cache
def names_in(file: Path) -> frozenset[str]:
    """Tests of a file: its functions, and the scenarios that it takes from features."""
    text = file.read_text()
    features = [(file.parent / name).read_text() for name in re.findall(r'scenarios\("([^"]+)"\)', text)]
    titles = [title for feature in features for title in re.findall(r"Scenario(?: Outline)?: *(.+)", feature)]
    return frozenset(re.findall(r"def (test_\w+)\(", text)) | {f"test_{make_python_name(title)}" for title in titles}
