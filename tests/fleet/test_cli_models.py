"""`penstock models`, the real command, on a catalogue in a home of its own."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from penstock.cli.fleet_view import size
from tests.fleet.command import Ended, penstock
from tests.fleet.gguf_files import write_model
from tests.fleet.model_server import Shelf, Turn, serving
from tests.fleet.played_queen import played_queen, telling

SCRIPT = "replies: [{text: hi}]\n"
UNSOUND = """\
replies:
  - {text: hi, pace: {first_ms: -1}}
  - {text: hi, fault: {kind: explode}}
  - {txt: hi}
lod: {steps: 2}
"""
NOBODY = "http://127.0.0.1:1"


def home_of(home: Path) -> Path:
    return home / ".local/share/penstock/fleet"


def models(home: Path, *words: str) -> Ended:
    return penstock(home, "models", *words)


def done(home: Path, *words: str) -> str:
    ended = models(home, *words)
    assert ended.exit_code == 0, ended.err
    return ended.out


def test_a_model_is_added_listed_shown_checked_and_removed(tmp_path: Path) -> None:
    gguf = write_model(tmp_path / "tiny.gguf")
    assert "penstock models add" in models(tmp_path).err
    done(tmp_path, "add", "team/tiny", "--path", "tiny.gguf", "--slots", "2")
    (row,) = models(tmp_path, "list", "--json").json()
    assert (row["name"], row["backend"], row["slots"], row["bytes"]) == ("team/tiny", "llama", 2, gguf.stat().st_size)
    assert "team/tiny" in done(tmp_path)
    shown = models(tmp_path, "show", "team/tiny", "--json").json()
    assert shown["path"] == str(gguf)
    assert shown["gguf"]["architecture"] in done(tmp_path, "show", "team/tiny")
    assert done(tmp_path, "check") == "team/tiny: ok\n"
    gguf.write_bytes(gguf.read_bytes()[:-1] + b"x")
    spoiled = models(tmp_path, "check", "team/tiny")
    assert spoiled.exit_code == 1
    assert "checksum" in spoiled.err
    done(tmp_path, "remove", "team/tiny")
    assert models(tmp_path, "list", "--json").json() == []
    assert gguf.exists()


def test_the_backend_is_found_by_what_is_given(tmp_path: Path) -> None:
    (tmp_path / "played.yaml").write_text(SCRIPT)
    write_model(tmp_path / "one.gguf")
    write_model(tmp_path / "two.gguf")
    done(tmp_path, "add", "played", "--path", "played.yaml")
    done(tmp_path, "add", "far", "--url", "http://127.0.0.1:8000")
    done(tmp_path, "add", "started", "--argv", "serve", "--argv", "--port", "--argv", "{port}")
    done(tmp_path, "add", "-", "--path", ".")
    rows = models(tmp_path, "list", "--json").json()
    assert {row["name"]: row["backend"] for row in rows} == {
        "played": "scripted",
        "far": "upstream",
        "started": "upstream",
        "one": "llama",
        "two": "llama",
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "a b", "--path", "x.gguf"), "[name] is no name of a model"),
        (("add", "tiny"), "[path] is missing"),
        (("add", "tiny", "--path", "x.gguf"), "cannot be read"),
        (("add", "tiny", "--path", "x.gguf", "--slots", "0"), "[slots] is 0"),
        (("show", "nowhere"), "no model is called so"),
        (("remove", "nowhere"), "is not in the catalogue"),
        (("check", "nowhere"), "is not in the catalogue"),
        (("pull", "tiny", "ftp://x"), "is no address"),
        (("pull", "tiny", "http://h/x", "--key-env", "NO_KEY"), "NO_KEY holds no token"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_is_wrong_is_told_with_its_fix(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    ended = models(tmp_path, *words)
    assert (ended.exit_code, ended.out) == (2, "")
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_a_script_that_no_worker_can_play_is_not_added_and_all_that_is_wrong_is_told(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(UNSOUND)
    ended = models(tmp_path, "add", "played", "--path", "wrong.yaml", "--slots", "1")
    assert (ended.exit_code, ended.out) == (2, "")
    for place in ("2: [replies[0].pace.first_ms]", "3: [replies[1].fault.kind]", "4: [replies[2].txt]", "5: [lod]"):
        assert f"error: {tmp_path}/wrong.yaml:{place}" in ended.err
    assert ended.err.count("fix: ") == 4
    assert models(tmp_path, "list", "--json").json() == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("replies: [{text: hi}", ".yaml:2: is not YAML"),
        ("replies: {}\n", ".yaml:1: [replies] must be a list"),
        ("- text\n", ".yaml:1: must be `key: value` lines"),
        ("replies: []\nreplies: []\n", "2: "),
    ],
)
def test_what_is_no_script_is_not_added(script: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(script)
    ended = models(tmp_path, "add", "played", "--path", "wrong.yaml")
    assert (ended.exit_code, ended.out) == (2, "")
    assert said in ended.err
    assert "fix: " in ended.err


def test_a_model_is_pulled_and_what_is_refused_is_told_by_its_exit_code(tmp_path: Path) -> None:
    data = write_model(tmp_path / "served.gguf").read_bytes()
    with serving(Shelf(data)) as shelf:
        done(tmp_path, "pull", "tiny", shelf.url, "--sha256", hashlib.sha256(data).hexdigest())
        assert "already" in models(tmp_path, "pull", "tiny", shelf.url).err
        (row,) = models(tmp_path, "list", "--json").json()
        assert (row["name"], row["bytes"]) == ("tiny", len(data))
        shelf.turns += [Turn(status=404)]
        missing = models(tmp_path, "pull", "other", shelf.url)
    assert missing.exit_code == 6
    assert "NOT_FOUND" in missing.err
    assert [*home_of(tmp_path).glob(".pull-*")] == []


def test_removing_says_what_is_kept_and_what_is_deleted(tmp_path: Path) -> None:
    data = write_model(tmp_path / "served.gguf").read_bytes()
    pulled = home_of(tmp_path) / "models" / "tiny.gguf"
    with serving(Shelf(data)) as shelf:
        done(tmp_path, "pull", "tiny", shelf.url)
    kept = models(tmp_path, "remove", "tiny").err.splitlines()
    assert kept == [
        "removed tiny",
        f"kept {pulled} ({size(len(data))})",
        "to delete it too: penstock models remove tiny --with-file",
    ]
    deleted = models(tmp_path, "remove", "tiny", "--with-file").err.splitlines()
    assert deleted == ["removed tiny", f"deleted {pulled} ({size(len(data))})"]
    assert not pulled.exists()
    done(tmp_path, "add", "mine", "--path", "served.gguf")
    refused = models(tmp_path, "remove", "mine", "--with-file")
    assert refused.exit_code == 2
    assert "a file of yours" in refused.err and "fix: " in refused.err
    assert models(tmp_path, "remove", "mine").err.splitlines()[1] == f"kept {tmp_path}/served.gguf ({size(len(data))})"
    assert (tmp_path / "served.gguf").exists()


def test_what_is_loaded_is_asked_of_a_queen_where_one_answers(tmp_path: Path) -> None:
    (tmp_path / "played.yaml").write_text(SCRIPT)
    done(tmp_path, "add", "played", "--path", "played.yaml")
    offered = [{"id": "elsewhere", "state": "loaded"}, {"id": "played", "state": "cold"}]
    with played_queen() as queen:
        queen.play("GET /v1/models", telling({"data": offered}))
        rows = models(tmp_path, "list", "--json", "--queen", queen.url).json()
    assert [(row["name"], row["backend"], row["state"]) for row in rows] == [
        ("elsewhere", "elsewhere", "loaded"),
        ("played", "scripted", "cold"),
    ]
    unreached = models(tmp_path, "list", "--queen", NOBODY)
    assert unreached.exit_code == 0
    assert "no queen answers" in unreached.err and "played" in unreached.out
