"""Where the program of a backend is found, and what is said where it is not."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from penstock.fleet.errors import FleetError
from penstock.fleet.orders import Model
from penstock.fleet.worker.llama import arguments
from penstock.fleet.worker.programs import find_llama_server, unavailable
from penstock.fleet.worker.upstream import seeing

LLAMA = Model(name="team/tiny", backend="llama", path="/models/tiny.gguf", slots=4, context=512)


def program(folder: Path, name: str = "llama-server", mode: int = 0o755) -> str:
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return str(path)


def test_the_variable_is_asked_before_path(tmp_path: Path) -> None:
    on_path = program(tmp_path)
    named = program(tmp_path, "mine")
    assert find_llama_server({"PATH": str(tmp_path)}) == on_path
    assert find_llama_server({"PATH": str(tmp_path), "PENSTOCK_LLAMA_SERVER": named}) == named


@pytest.mark.parametrize("mode", [0o644, 0])
def test_a_variable_that_names_no_program_is_said_and_nothing_else_is_taken(tmp_path: Path, mode: int) -> None:
    program(tmp_path)
    named = program(tmp_path, "mine", mode) if mode else str(tmp_path / "absent")
    with pytest.raises(FleetError, match="names what is no program"):
        find_llama_server({"PATH": str(tmp_path), "PENSTOCK_LLAMA_SERVER": named})


def test_what_is_missing_is_said_with_its_fix(tmp_path: Path) -> None:
    missing = unavailable(LLAMA, {"PATH": str(tmp_path)})
    assert missing is not None and missing.code == "BACKEND_UNAVAILABLE"
    assert missing.details == {"fix": "install llama.cpp, or set PENSTOCK_LLAMA_SERVER to its path"}
    program(tmp_path)
    assert unavailable(LLAMA, {"PATH": str(tmp_path)}) is None


def test_a_command_and_a_key_are_missed_too(tmp_path: Path) -> None:
    serve = Model(name="u", backend="upstream", argv=("serve", "{port}"))
    keyed = Model(name="u", backend="upstream", url="http://h", key_env="KEY")
    assert unavailable(serve, {"PATH": str(tmp_path)}) is not None
    assert unavailable(keyed, {"KEY": ""}) is not None
    program(tmp_path, "serve")
    assert unavailable(serve, {"PATH": str(tmp_path)}) is None
    assert unavailable(keyed, {"KEY": "k"}) is None
    assert unavailable(Model(name="s", backend="scripted"), {}) is None


def test_the_context_of_llama_server_is_that_of_all_slots_together() -> None:
    words = arguments(LLAMA, Path("/run/x.sock"))
    pairs = dict(pairwise(words))
    assert (pairs["-c"], pairs["-np"], pairs["-ngl"]) == ("2048", "4", "0")
    assert (pairs["-m"], pairs["--host"], pairs["--alias"]) == ("/models/tiny.gguf", "/run/x.sock", "team/tiny")


def test_a_device_is_named_by_its_number() -> None:
    words = arguments(Model(name="m", backend="llama", path="/m", device="cuda1"), Path("/x.sock"))
    assert words[-6:] == ["-ngl", "999", "-sm", "none", "-mg", "0"]
    assert seeing("cuda1")["CUDA_VISIBLE_DEVICES"] == seeing("gpu1")["HIP_VISIBLE_DEVICES"] == "1"
    assert seeing("gpu12")["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    words = arguments(Model(name="m", backend="llama", path="/m", device="vulkan1"), Path("/x.sock"))
    assert words[-6:] == ["-ngl", "999", "-sm", "none", "-mg", "1"]
    assert seeing("vulkan1") == seeing("cpu") == {}


def test_a_worker_by_hand_of_any_card_sees_all_and_takes_the_first() -> None:
    words = arguments(Model(name="m", backend="llama", path="/m", device="gpu"), Path("/x.sock"))
    assert words[-2:] == ["-mg", "0"] and seeing("gpu") == {}
