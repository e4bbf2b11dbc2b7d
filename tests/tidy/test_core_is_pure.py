"""The core reaches neither the system nor the clock nor chance, and decides the same under every hash seed.

What is run is `scenario() -> str` of `tests/unit/core_scenario.py`: the digest of a history through the core.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tidy.repository import ROOT

PROBE = Path(__file__).with_name("core_probe.py")
SCENARIO = ROOT / "tests/unit/core_scenario.py"
HASH_SEEDS = ("0", "1", "2")

needs_the_scenario = pytest.mark.skipif(not SCENARIO.exists(), reason="no tests/unit/core_scenario.py yet")


def think(scenario: Path, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", PROBE, scenario],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )


def digests(scenario: Path) -> set[str]:
    thoughts = [think(scenario, seed) for seed in HASH_SEEDS]
    assert all(thought.returncode == 0 for thought in thoughts), thoughts[0].stderr
    assert all(thought.stdout.strip() for thought in thoughts)
    return {thought.stdout for thought in thoughts}


@needs_the_scenario
def test_the_core_only_thinks_and_the_hash_seed_changes_nothing() -> None:
    assert len(digests(SCENARIO)) == 1


def plant(directory: Path, head: str, thought: str) -> Path:
    scenario = directory / "core_scenario.py"
    scenario.write_text(f"{head}\n\ndef scenario():\n    return str({thought})\n")
    return scenario


@pytest.mark.parametrize(
    ("head", "thought"),
    [
        ("", "open(__file__).read()"),
        ("import os", "os.listdir('.')"),
        ("import os", "os.getpid()"),
        ("import os", "os.urandom(1)"),
        ("import socket", "socket.socket()"),
        ("import subprocess", "subprocess.run(['true'])"),
        ("import time", "time.time()"),
        ("from time import monotonic_ns", "monotonic_ns()"),
        ("import time", "time.sleep(0)"),
        ("import random", "random.random()"),
        ("import random", "random.Random(1).randint(1, 6)"),
        ("import datetime", "datetime.datetime.now()"),
        ("import uuid", "uuid.uuid4()"),
        ("", "__import__('wave')"),
    ],
)
def test_a_planted_impurity_is_refused(head: str, thought: str, tmp_path: Path) -> None:
    verdict = think(plant(tmp_path, head, thought))
    assert verdict.returncode == 1
    assert "RuntimeError: impure: " in verdict.stderr


def test_a_pure_thought_is_not_refused(tmp_path: Path) -> None:
    scenario = plant(tmp_path, "import hashlib, json", "hashlib.sha256(json.dumps(sorted({'b', 'a'})).encode())")
    scenario.write_text(scenario.read_text().replace("encode())", "encode()).hexdigest()"))
    assert len(digests(scenario)) == 1


def test_a_planted_walk_over_a_set_is_seen(tmp_path: Path) -> None:
    assert len(digests(plant(tmp_path, "", "list({'ant', 'bee', 'cat', 'dog', 'eel', 'fox'})"))) > 1
