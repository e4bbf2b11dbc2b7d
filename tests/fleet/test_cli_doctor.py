"""What `penstock doctor` says of the fleet, outside of any repository."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from tests.fleet.command import add_model, penstock, program, traceless, until
from tests.fleet.gguf_files import write_model

TELLS = "repeat: true\nreplies: [{text: hi}]\n"
NOBODY = "http://127.0.0.1:1"


def told(home: Path, **more: str) -> list[tuple[str, str]]:
    """Of the fleet: how bad, and what."""
    found: list[dict[str, Any]] = penstock(home, "doctor", "--json", **more).json()
    return [(each["level"], each["what"]) for each in found if each["what"].startswith("fleet: ")]


def test_where_no_fleet_is_used_that_is_no_fault(tmp_path: Path) -> None:
    ((level, what),) = told(tmp_path)
    assert (level, what) == ("ok", "fleet: none is used here")


def test_a_queen_that_was_named_and_does_not_answer_is_told(tmp_path: Path) -> None:
    assert told(tmp_path, PENSTOCK_QUEEN=NOBODY) == [("warn", f"fleet: no queen answers at {NOBODY}")]
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts, and says nothing, for ever
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert told(tmp_path, PENSTOCK_QUEEN=url) == [("warn", f"fleet: no queen answers at {url}")]


def test_queen_hives_and_models_are_told(tmp_path: Path) -> None:
    add_model(tmp_path, "tiny", TELLS)
    with program(tmp_path, "queen", "--port", "0") as queen:
        words = ("hive", "--name", "here", "--port", "0", "--ports", "any", "--queen", queen.url)
        with program(tmp_path, *words) as hive:
            until(lambda: "ready" in penstock(tmp_path, "hives", "list", PENSTOCK_QUEEN=queen.url).out)
            assert told(tmp_path, PENSTOCK_QUEEN=queen.url) == [
                ("ok", f"fleet: the queen at {queen.url} answers, version 0.1.0, models: tiny"),
                ("ok", f"fleet: hive here at {hive.url}: ready, 0 workers"),
                ("ok", "fleet: all that this machine's models need is there: tiny"),
            ]
        until(lambda: "lost" in penstock(tmp_path, "hives", "list", PENSTOCK_QUEEN=queen.url).out)
        assert ("warn", f"fleet: hive here at {hive.url}: lost") in told(tmp_path, PENSTOCK_QUEEN=queen.url)
    traceless(tmp_path)


def test_what_the_models_of_this_machine_miss_is_told(tmp_path: Path) -> None:
    script = add_model(tmp_path, "played", TELLS)
    gguf = write_model(tmp_path / "tiny.gguf")
    assert penstock(tmp_path, "models", "add", "tiny", "--path", "tiny.gguf").exit_code == 0
    gguf.unlink()
    script.write_text("replies: []\n")
    found = told(tmp_path, PENSTOCK_LLAMA_SERVER=str(tmp_path / "none"), PENSTOCK_QUEEN=NOBODY)
    assert [level for level, _ in found] == ["warn"] * 4
    assert [what.removeprefix("fleet: ") for _, what in found[1:]] == [
        f"model played: {script} has 12 bytes, and had {len(TELLS)}",
        f"model tiny: {gguf} cannot be read: No such file or directory",
        "PENSTOCK_LLAMA_SERVER names what is no program: set it to the path of llama-server, or to nothing",
    ]


def test_where_llama_server_is_is_told(tmp_path: Path) -> None:
    server = tmp_path / "llama-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o700)
    write_model(tmp_path / "tiny.gguf")
    assert penstock(tmp_path, "models", "add", "tiny", "--path", "tiny.gguf").exit_code == 0
    found = told(tmp_path, PENSTOCK_LLAMA_SERVER=str(server), PENSTOCK_QUEEN=NOBODY)
    assert ("ok", f"fleet: llama-server at {server}") in found


def test_an_own_file_that_is_wrong_is_told(tmp_path: Path) -> None:
    place = tmp_path / ".config/penstock/fleet.toml"
    place.parent.mkdir(parents=True)
    place.write_text('quen = "http://h:1"\n')
    ((level, what),) = told(tmp_path)
    assert level == "warn" and f"{place}:1" in what
