"""Which queen, which home, which token: flags before the environment, that before the user's own file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.core.fleet.policy import HivePolicy, WorkerPolicy
from penstock.fleet.choices import QUEEN_DEFAULT, choose
from penstock.fleet.limits import limited
from penstock.fleet.tokens import read_token
from penstock.ports import BadInput
from penstock.wire.fleet import device_memory

SECRET = "0123456789abcdef"


def written(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def refusal_of(path: Path, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(BadInput) as refused:
        read_token(path, environ or {})
    assert SECRET not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("data", [SECRET, f"{SECRET}\n", f"{SECRET}\r\n"])
def test_a_token_is_one_line_whose_end_does_not_count(data: str, tmp_path: Path) -> None:
    assert read_token(written(tmp_path / "token", data.encode()), {}) == SECRET


@pytest.mark.parametrize("mode", [0o640, 0o644, 0o604, 0o660, 0o610])
def test_a_token_that_others_may_read_is_refused(mode: int, tmp_path: Path) -> None:
    said = refusal_of(written(tmp_path / "token", SECRET.encode(), mode))
    assert f"{mode:04o}" in said and f"chmod 600 {tmp_path / 'token'}" in said


def test_the_rights_of_what_systemd_lays_out_are_its_own_business(tmp_path: Path) -> None:
    token = written(tmp_path / "token", SECRET.encode(), 0o440)
    assert read_token(token, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == SECRET
    assert "0440" in refusal_of(token, {"CREDENTIALS_DIRECTORY": str(tmp_path / "other")})


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"  \n", "is empty"),
        (f"{SECRET}\n{SECRET}\n".encode(), "several lines"),
        (f"{SECRET}\rmore".encode(), "several lines"),
        (f"{SECRET} more".encode(), "no header can carry"),
        (f"{SECRET}é".encode(), "no header can carry"),
        (b"x" * 5_000, "over 4096 bytes"),
    ],
)
def test_what_is_no_token_is_refused(data: bytes, why: str, tmp_path: Path) -> None:
    assert why in refusal_of(written(tmp_path / "token", data))


def test_a_token_file_that_is_none_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    assert "does not exist" in refusal_of(tmp_path / "absent")
    assert "Is a directory" in refusal_of(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "is no file" in refusal_of(tmp_path / "pipe")


# --- precedence -----------------------------------------------------------------------------------------------------


def own_file(home: Path, text: str) -> dict[str, str]:
    place = home / ".config/penstock/fleet.toml"
    place.parent.mkdir(parents=True)
    place.write_text(text)
    return {"HOME": str(home)}


def test_nothing_said_is_the_default_and_nobody_asked_for_it(tmp_path: Path) -> None:
    chosen = choose({"HOME": str(tmp_path)})
    assert (chosen.queen, chosen.is_queen_asked, chosen.token_file) == (QUEEN_DEFAULT, False, "")
    assert chosen.home == str(tmp_path / ".local/share/penstock/fleet")
    assert choose({"HOME": str(tmp_path), "XDG_DATA_HOME": "/data"}).home == "/data/penstock/fleet"


def test_a_flag_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    environ = own_file(tmp_path, 'queen = "http://file:1"\nhome = "~/fleet"\ntoken_file = "~/token"\n')
    assert choose(environ).queen == "http://file:1"
    assert choose(environ).home == str(tmp_path / "fleet")
    assert choose(environ).token_file == str(tmp_path / "token")
    more = {"PENSTOCK_QUEEN": "http://env:2", "PENSTOCK_FLEET_HOME": "/e", "PENSTOCK_FLEET_TOKEN_FILE": "/t"}
    from_env = choose(environ | more)
    assert (from_env.queen, from_env.home, from_env.token_file) == ("http://env:2", "/e", "/t")
    from_flag = choose(environ | more, queen="http://flag:3", home="/f", token_file="/u")
    assert (from_flag.queen, from_flag.home, from_flag.token_file) == ("http://flag:3", "/f", "/u")
    assert from_flag.is_queen_asked


@pytest.mark.parametrize("written", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_an_address_may_be_written_as_people_write_it(written: str, tmp_path: Path) -> None:
    assert choose({"HOME": str(tmp_path)}, queen=written).queen == "http://h:1"


@pytest.mark.parametrize("written", ["h:1", "ftp://h", "http://u:p@h", "http://h:1/x", "http://h\n:1", "http://"])
def test_what_is_no_address_is_told_by_its_place_and_not_shown(written: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="PENSTOCK_QUEEN: is no address") as refused:
        choose({"HOME": str(tmp_path), "PENSTOCK_QUEEN": written})
    assert "u:p" not in str(refused.value)


def test_the_users_file_is_read_strictly(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"fleet.toml:1: \[qeen\] unknown key .*(\n.*)did you mean queen"):
        choose(own_file(tmp_path, 'qeen = "http://h:1"\n'))


def test_limits_are_set_by_name_and_all_wrong_ones_told_at_once() -> None:
    assert limited(HivePolicy(), ["stall_ms_max=5"]).stall_ms_max == 5
    assert limited(WorkerPolicy(), ["worker.callback_tries_max=2"], "worker.").callback_tries_max == 2
    with pytest.raises(BadInput) as wrong:
        limited(HivePolicy(), ["stall_ms=5", "health_ms=-1", "zzz=1"])
    said = [str(problem) for problem in wrong.value.problems]
    assert "did you mean stall_ms_max?" in said[0] and "no whole number" in said[1] and "port_first=8001" in said[2]


def test_devices_are_a_name_and_bytes() -> None:
    assert device_memory(["gpu0=24", "gpu1=8"]) == {"gpu0": 24, "gpu1": 8}
    for written in ("gpu0", "cpu=3", "gpu0=x", "disk0=3"):
        with pytest.raises(BadInput, match="gpu0=24000000000"):
            device_memory([written])
