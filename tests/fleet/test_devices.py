"""Graphics cards are found by real programs of these names on PATH, that say what the real ones say, or misbehave."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from penstock.adapters import devices_smi, keeper
from penstock.adapters.devices_smi import NVIDIA, ROCM, SmiDevices
from penstock.core.fleet.parties import Device
from penstock.ports import FoundDevices
from tests.fleet.command import penstock, program, until
from tests.fleet.gguf_files import write_model

MIB = 1_048_576
TWO = "0, 24564, 24000\n1, 81920, 1024\n"
TWO_FOUND = (
    Device(name="gpu0", memory_total=24_564 * MIB, memory_free=24_000 * MIB),
    Device(name="gpu1", memory_total=81_920 * MIB, memory_free=1_024 * MIB),
)
AMD = {
    "card0": {"VRAM Total Memory (B)": "17163091968", "VRAM Total Used Memory (B)": "163091968"},
    "card1": {"VRAM Total Memory (B)": "4096", "VRAM Total Used Memory (B)": "0"},
    "system": {"Driver version": "6.14.14"},
}
KEEPER = (sys.executable, "-I", "-S", os.path.abspath(keeper.__file__), "{parent}", "--")


def smi(place: Path, says: str = "", then: str = "exit 0", name: str = "nvidia-smi") -> Path:
    """A program of that name in a folder of its own. It notes how it was asked."""
    folder = place / "bin"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.says").write_text(says)
    path = folder / name
    lines = [f'echo "$@" >> {folder}/asked', f'while read -r line; do echo "$line"; done < {folder}/{name}.says', then]
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return folder


def found(folder: Path, seconds: float = 20.0, **env: str) -> FoundDevices:
    return SmiDevices({"PATH": str(folder), **env}, KEEPER, seconds).find()


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().splitlines() if (folder / "asked").exists() else []


# --- NVIDIA ---------------------------------------------------------------------------------------------------------


def test_cards_of_nvidia_are_found_with_their_memory(tmp_path: Path) -> None:
    folder = smi(tmp_path, TWO)
    assert found(folder) == FoundDevices(devices=TWO_FOUND)
    assert asked(folder) == ["--query-gpu=index,memory.total,memory.free --format=csv,noheader,nounits"]


def test_where_neither_program_is_there_is_no_card_and_no_problem(tmp_path: Path) -> None:
    assert found(tmp_path) == FoundDevices()


def test_a_card_that_says_no_memory_is_named_and_the_others_are_found(tmp_path: Path) -> None:
    folder = smi(tmp_path, "0, [N/A], [N/A]\n1, 81920, 1024\n")
    told = found(folder)
    assert told.devices == TWO_FOUND[1:]
    assert told.problems == ("nvidia-smi says no memory of card 0: tell it with --device gpu0=BYTES",)


@pytest.mark.parametrize(
    "says",
    [
        "index, memory.total [MiB], memory.free [MiB]\n0, 24564 MiB, 24000 MiB\n",
        "0, 24564\n",
        "0, 24564, 24565\n",
        "0, 0, 0\n",
        "0, 24564, 1\n0, 24564, 1\n",
        "0, -1, 0\n",
        "0, 1e9, 0\n",
        "\x1b[2J\x00\xff\n",
        "\n",
        "",
        "No devices were found\n",
    ],
)
def test_what_cannot_be_read_is_no_card_but_a_problem(says: str, tmp_path: Path) -> None:
    told = found(smi(tmp_path, says))
    assert told.devices == ()
    [problem] = told.problems
    assert problem.startswith("nvidia-smi ") and problem.isprintable()


def test_a_program_that_fails_is_a_problem_with_its_words(tmp_path: Path) -> None:
    folder = smi(tmp_path, "NVIDIA-SMI has failed: no driver.\n", "exit 9")
    assert found(folder).problems == ("nvidia-smi exited with status 9: NVIDIA-SMI has failed: no driver.",)
    (folder / "nvidia-smi").write_text("#!/nowhere\n")
    assert found(folder).devices == () and len(found(folder).problems) == 1


def test_a_program_that_hangs_is_killed_with_what_is_below_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "never")
    waits = f"echo $$ > {tmp_path}/pid; (read -r line < {tmp_path}/never) & read -r line < {tmp_path}/never"
    folder, begun = smi(tmp_path, TWO, waits), time.monotonic()
    assert found(folder, 1.0) == FoundDevices(problems=("nvidia-smi did not answer within 1 s",))
    assert time.monotonic() - begun < 5
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists())
    with pytest.raises(OSError, match="No such device"):  # nobody is left who would read it
        os.open(tmp_path / "never", os.O_WRONLY | os.O_NONBLOCK)


def test_a_program_that_does_not_stop_talking_is_ended(tmp_path: Path) -> None:
    folder = smi(
        tmp_path, then="while :; do echo 0123456789012345678901234567890123456789012345678901234567890123; done"
    )
    assert found(folder).problems == ("nvidia-smi does not stop talking",)


@pytest.mark.parametrize(
    ("shown", "names"),
    [
        ("1", ["gpu1"]),
        ("1,0", ["gpu0", "gpu1"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["gpu0"]),
        ("7", []),
        (" 1 ", ["gpu1"]),
    ],
)
def test_cards_that_the_environment_hides_are_not_there(shown: str, names: list[str], tmp_path: Path) -> None:
    told = found(smi(tmp_path, TWO), CUDA_VISIBLE_DEVICES=shown)
    assert [device.name for device in told.devices] == names
    assert told.problems == ()


def test_cards_that_are_shown_by_their_uuid_are_asked_for_by_it(tmp_path: Path) -> None:
    folder = smi(tmp_path, "1, 81920, 1024\n")
    assert found(folder, CUDA_VISIBLE_DEVICES="GPU-5e2f1c80-aa").devices == TWO_FOUND[1:]
    assert asked(folder)[0].endswith(" --id=GPU-5e2f1c80-aa")
    part = found(folder, CUDA_VISIBLE_DEVICES="MIG-1")
    assert part.devices == () and "a part of a card" in part.problems[0]
    assert found(folder, CUDA_VISIBLE_DEVICES="GPU-1; rm -rf /") == FoundDevices()


# --- AMD ------------------------------------------------------------------------------------------------------------


def test_cards_of_amd_are_found_where_there_are_none_of_nvidia(tmp_path: Path) -> None:
    folder = smi(tmp_path, "WARNING: low-power state\n\n" + json.dumps(AMD) + "\n", name="rocm-smi")
    cards = (
        Device(name="gpu0", memory_total=17_163_091_968, memory_free=17_000_000_000),
        Device(name="gpu1", memory_total=4_096, memory_free=4_096),
    )
    assert found(folder) == FoundDevices(devices=cards)
    assert asked(folder) == ["--showmeminfo vram --json"]
    assert found(folder, HIP_VISIBLE_DEVICES="1").devices == cards[1:]
    assert found(folder, CUDA_VISIBLE_DEVICES="0", HIP_VISIBLE_DEVICES="1").devices == cards[1:]
    assert found(folder, HIP_VISIBLE_DEVICES="").devices == ()
    renumbered = found(folder, ROCR_VISIBLE_DEVICES="1")
    assert renumbered.devices == () and "other numbers" in renumbered.problems[0]
    smi(tmp_path, "No driver.\n", "exit 9")
    both = found(folder)
    assert both.devices == cards and both.problems[0].startswith("nvidia-smi exited")
    smi(tmp_path, TWO)
    assert found(folder).devices == TWO_FOUND


@pytest.mark.parametrize(
    "says",
    [
        "",
        "{",
        "[" * 5_000,
        '{"card0": {}}',
        '{"card0": 1}',
        '{"card0": {"VRAM Total Memory (B)": "many", "VRAM Total Used Memory (B)": "0"}}',
        '{"card0": {"VRAM Total Memory (B)": "1", "VRAM Total Used Memory (B)": "2"}}',
    ],
)
def test_what_rocm_smi_says_and_cannot_be_read_is_a_problem(says: str, tmp_path: Path) -> None:
    told = found(smi(tmp_path, says, name="rocm-smi"))
    assert told.devices == () and told.problems[0].startswith("rocm-smi sa")


def test_the_commands_are_those_that_are_documented() -> None:
    documented = devices_smi.__doc__ or ""
    for command in (NVIDIA, ROCM):
        assert f"| `{command[0]}` | `{' '.join(command[1:])}` |" in documented


# --- a hive ---------------------------------------------------------------------------------------------------------

NOTES = """\
#!{python}
import json, os, sys
with open({place!r}, "w") as file:
    json.dump({{"argv": sys.argv[1:], "env": dict(os.environ)}}, file)
sys.exit(3)
"""


def add(home: Path, *words: str) -> None:
    added = penstock(home, "models", "add", *words)
    assert added.exit_code == 0, added.err


def refused(url: str, model: str) -> dict[str, Any]:
    asking = {"model": model, "wait": True}
    fault: dict[str, Any] = httpx2.post(f"{url}/v1/workers/spawn", json=asking, timeout=30, trust_env=False).json()
    return dict(fault["error"])


def report(url: str) -> dict[str, Any]:
    told: dict[str, Any] = httpx2.get(f"{url}/v1/report", trust_env=False).json()
    return told


def on_path(folder: Path) -> dict[str, str]:
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


HIVE = ("hive", "--name", "here", "--port", "0", "--ports", "any")


def test_a_hive_places_by_the_memory_that_it_found_and_its_server_sees_that_card_alone(tmp_path: Path) -> None:
    folder, noted = smi(tmp_path, TWO), tmp_path / "noted.json"
    server = tmp_path / "llama-server"
    server.write_text(NOTES.format(python=sys.executable, place=str(noted)))
    server.chmod(0o755)
    gguf = write_model(tmp_path / "tiny.gguf")
    add(tmp_path, "fits", "--path", str(gguf), "--device", "gpu1", "--memory-bytes", str(1_024 * MIB))
    add(tmp_path, "large", "--path", str(gguf), "--device", "gpu1", "--memory-bytes", str(1_024 * MIB + 1))
    env = {**on_path(folder), "PENSTOCK_LLAMA_SERVER": str(server)}
    with program(tmp_path, *HIVE, "--queen", "none", **env) as hive:
        assert refused(hive.url, "large")["details"] == {
            "device": "gpu1",
            "required_bytes": 1_024 * MIB + 1,
            "available_bytes": 1_024 * MIB,
        }
        assert refused(hive.url, "fits")["code"] == "LOAD_FAILED"
        told = json.loads(noted.read_text())
        assert told["env"]["CUDA_VISIBLE_DEVICES"] == told["env"]["HIP_VISIBLE_DEVICES"] == "1"
        assert told["env"]["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
        assert told["argv"][-6:] == ["-ngl", "999", "-sm", "none", "-mg", "0"]


def test_hives_shows_what_was_found_and_what_went_wrong(tmp_path: Path) -> None:
    folder = smi(tmp_path, "0, [N/A], [N/A]\n1, 81920, 1024\n")
    with (
        program(tmp_path, "queen", "--port", "0") as queen,
        program(tmp_path, *HIVE, "--queen", queen.url, **on_path(folder)) as hive,
    ):
        shown = until(
            lambda: (told := penstock(tmp_path, "hives", "list", "--queen", queen.url)).out.count("gpu1") and told
        )
        assert "gpu1 85.9 GB" in shown.out
        assert "here: nvidia-smi says no memory of card 0" in shown.err
        [listed] = penstock(tmp_path, "hives", "list", "--json", "--queen", queen.url).json()
        assert [device["name"] for device in listed["devices"]] == ["cpu", "gpu1"]
        assert len(listed["problems"]) == 1
        assert report(hive.url)["problems"] == listed["problems"]
    said = (tmp_path / "hive.stderr").read_text().splitlines()
    [line] = [line for line in map(json.loads, said) if line["event"] == "devices may be missing"]
    assert (line["level"], "card 0" in line["why"]) == ("warning", True)


@pytest.mark.parametrize(("words", "names"), [(("none",), ["cpu"]), (("gpu3=4096",), ["cpu", "gpu3"])])
def test_a_hive_that_is_told_does_not_look(words: tuple[str, ...], names: list[str], tmp_path: Path) -> None:
    folder = smi(tmp_path, TWO)
    told = [word for value in words for word in ("--device", value)]
    with program(tmp_path, *HIVE, *told, "--queen", "none", **on_path(folder)) as hive:
        assert [device["name"] for device in report(hive.url)["devices"]] == names
    assert asked(folder) == []


def test_an_upgraded_hive_does_not_count_what_its_own_workers_hold_as_taken_by_others(tmp_path: Path) -> None:
    folder = smi(tmp_path, TWO)
    add(tmp_path, "echo", "--backend", "scripted", "--device", "gpu0", "--memory-bytes", str(MIB))
    with program(tmp_path, *HIVE, "--queen", "none", **on_path(folder)) as hive:
        spawned = httpx2.post(f"{hive.url}/v1/workers/spawn", json={"wait": True}, timeout=30, trust_env=False)
        assert spawned.status_code == 200
        smi(tmp_path, "0, 24564, 1\n")
        hive.process.send_signal(signal.SIGHUP)
        until(lambda: '"resumed": true' in (tmp_path / "hive.stderr").read_text())
        free = {device["name"]: device["memory_free"] for device in report(hive.url)["devices"]}
        assert (free["gpu0"], free["gpu1"]) == (23_999 * MIB, 1_024 * MIB)
    assert len(asked(folder)) == 1
