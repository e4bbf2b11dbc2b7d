"""A slice of the replay: fourteen honest features, and nothing of them refused or taken back."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from penstock.core.redgreen.policy import RedGreenLimits
from tests.integration.gate_world import open_gate, run
from tests.replay.feature_story import FeatureStory
from tests.replay.features import FEATURES, START
from tests.replay.flips import flip
from tests.replay.player import Player, Score

SLICE = (
    "a constant",
    "an import that is used",
    "a new module",
    "a method on a class",
    "a class attribute",
    "an exception class, in a module of its own",
    "a property",
    "a re-export",
    "a new module, and then what it needs",
    "parametrised",
    "in a class, with a fixture of a conftest",
    "a fixture that makes what is not there",
    "what a class of tests names while it is loaded",
    "the name of what is not there",
)


async def played(place: Path, seed: int) -> Score:
    chance, score = random.Random(seed), Score()
    gate = await open_gate(place / "gate", START, limits=RedGreenLimits(mutants_max=0), warm=True)
    story = FeatureStory(Player(gate, chance, score, place / "copies"), chance)
    try:
        for feature in (each for each in FEATURES if each.name in SLICE):
            await story.play(feature)
    finally:
        await gate.close()
    return score


@pytest.mark.slow
def test_honest_work_is_not_refused(tmp_path: Path) -> None:
    score = run(played(tmp_path, 1))
    assert [str(each) for each in (*score.false, *score.deserved)] == []
    assert score.pairs >= len(SLICE)


def test_a_file_that_flips_within_a_second_is_never_judged_by_what_it_was(tmp_path: Path) -> None:
    assert run(flip(tmp_path, 6, warm=True)) == []
