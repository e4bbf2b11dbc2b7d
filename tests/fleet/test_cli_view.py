"""The picture of a fleet, from a fixed state; how fast it is; the end of a log."""

from __future__ import annotations

from dataclasses import replace as replaced
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from penstock.cli.fleet_view import FleetPicture, changes, drawn
from penstock.cli.fleet_watch import Speeds
from penstock.cli.infer_screen import words_of
from penstock.core.fleet.parties import Device
from penstock.fleet.schema import HiveInfo, Progress, WorkerInfo

GB = 1_000_000_000


def worker(worker_id: str, **said: Any) -> WorkerInfo:
    known: dict[str, Any] = {
        "url": "http://127.0.0.1:8001",
        "state": "idle",
        "model": "tiny",
        "backend": "scripted",
        "device": "cpu",
        "slots": 1,
        "busy": 0,
        "pid": 7,
        "hive": "ant",
    }
    return WorkerInfo(worker_id=worker_id, **(known | said))


ANT = HiveInfo(
    name="ant",
    url="http://127.0.0.1:9200",
    state="ready",
    epoch=1,
    models=("coder:7b", "tiny"),
    workers=3,
    devices=(Device(name="cpu", memory_total=16 * GB, memory_free=4 * GB),),
)
FLEET = FleetPicture(
    "http://127.0.0.1:8080",
    (ANT, HiveInfo(name="bee", url="http://10.0.0.6:9200", state="lost", epoch=3)),
    (
        worker("w-3", model="coder:7b", state="loading"),
        worker("w-1", slots=4, busy=3, state="busy"),
        worker(
            "w-4",
            model="broken",
            state="failed",
            restarts=2,
            message="exit 1:\nno such \x1b[31mfile",
            code="LOAD_FAILED",
        ),
        worker("w-2", slots=32, busy=20, state="busy"),
    ),
    {"coder:7b": 5, "tiny": 0, "cold": 0},
    {"w-1": 41.25, "w-2": 100.0},
)
SHOWN = """\
queen http://127.0.0.1:8080   23/38 slots taken   5 waiting   141 tokens/s

hive  state  workers  models  memory
ant   ready  3        2       cpu ████████████░░░░ 12.0 GB of 16.0 GB
bee   lost   0        0       -

worker  hive  model     state    slots  tokens/s  restarts
w-1     ant   tiny      busy     ●●●○   41.2
w-2     ant   tiny      busy     20/32  100.0
w-3     ant   coder:7b  loading  ○
w-4     ant   broken    failed   ○                2         exit 1: no such file

model     waiting  tokens/s
broken    0
coder:7b  5
tiny      0        141.2
"""


def shown(fleet: FleetPicture, width: int = 100) -> str:
    console = Console(width=width, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(drawn(fleet))
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines()) + "\n"


def test_the_picture_of_a_fleet() -> None:
    assert shown(FLEET) == SHOWN


def test_states_have_their_colours() -> None:
    console = Console(width=100, color_system="standard", force_terminal=True, highlight=False)
    with console.capture() as capture:
        console.print(drawn(FLEET))
    for state, colour in (("busy", 36), ("loading", 33), ("failed", 31), ("ready", 32), ("lost", 31)):
        assert f"\x1b[{colour}m{state}" in capture.get()


def test_a_narrow_terminal_breaks_no_line() -> None:
    assert len(shown(FLEET, 40).splitlines()) == len(SHOWN.splitlines())


def test_a_fleet_of_nobody_is_one_line() -> None:
    assert shown(FleetPicture("http://h:1", (), ())) == "queen http://h:1   0/0 slots taken   0 waiting   0 tokens/s\n"


def test_what_is_old_is_said_to_be() -> None:
    told = shown(replaced(FLEET, away_s=12)).splitlines()
    assert told[0] == "queen http://127.0.0.1:8080   away for 12 s; as it was before:"
    assert told[1:] == SHOWN.splitlines()[1:]


def test_that_the_queen_is_away_and_back_is_told_once() -> None:
    now = FleetPicture("http://h:1", (ANT,), ())
    away = replaced(now, away_s=1)
    assert list(changes(now, away)) == ["queen: away; what was told so far may be old"]
    assert list(changes(away, replaced(away, away_s=2))) == []
    assert list(changes(away, now)) == ["queen: back"]
    assert list(changes(away, replaced(now, hives=()))) == ["queen: back", "hive ant: gone"]


def test_without_a_terminal_only_what_changes_is_told() -> None:
    one = FleetPicture("http://h:1", (ANT,), (worker("w-1"),))
    busy = FleetPicture("http://h:1", (ANT,), (worker("w-1", state="busy", busy=1), worker("w-2", state="loading")))
    lost = FleetPicture("http://h:1", (replace(ANT, state="lost"),), (), {"tiny": 2})
    assert list(changes(None, one)) == [
        "hive ant: ready",
        "worker w-1: idle, 0/1 slots, model tiny",
        "queue of tiny: 0",
    ]
    assert list(changes(one, one)) == []
    assert list(changes(one, busy)) == [
        "worker w-1: busy, 1/1 slots, model tiny",
        "worker w-2: loading, 0/1 slots, model tiny",
    ]
    assert list(changes(busy, lost)) == ["hive ant: lost", "queue of tiny: 2", "worker w-1: gone", "worker w-2: gone"]


def test_how_fast_a_worker_is_comes_from_how_much_it_made() -> None:
    speeds = Speeds()
    assert speeds.hear([worker("w-1", busy=1, tokens_total=10)], 1.0) == {"w-1": 0.0}
    assert speeds.hear([worker("w-1", busy=1, tokens_total=10)], 2.0) == {"w-1": 0.0}
    assert speeds.hear([worker("w-1", busy=1, tokens_total=30)], 3.0) == {"w-1": 10.0}
    assert speeds.hear([worker("w-1", busy=1, tokens_total=30)], 4.0) == {"w-1": 10.0}
    assert speeds.hear([worker("w-1", busy=1, tokens_total=70)], 5.0) == {"w-1": 15.0}
    assert speeds.hear([worker("w-1", busy=0, tokens_total=70)], 6.0) == {"w-1": 0.0}


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (Progress(phase="queued"), "queued"),
        (Progress(phase="queued", done=2), "queued: 2 before it"),
        (Progress(phase="spawning", message="on ant"), "spawning: on ant"),
        (Progress(phase="loading", done=1, total=4, unit="layers"), "loading 1/4 layers [#####...............]"),
        (Progress(phase="loading", done=9, total=4), f"loading 9/4 [{'#' * 20}]"),
    ],
)
def test_progress_in_words(progress: Progress, words: str) -> None:
    assert words_of(progress) == words
