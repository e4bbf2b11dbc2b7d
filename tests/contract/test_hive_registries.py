"""What a registry of hives does, and what it does when the disk fails."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from msgspec.structs import replace

from penstock.adapters.hives_sqlite import SqliteHives
from penstock.core.fleet.known import KnownHive

EAST = KnownHive(
    name="east",
    url="http://east:9200",
    instance="i1",
    epoch=3,
    seen_at_ms=1_700_000_000_000,
    version="1.2",
    capabilities='{"ë": 1}',
    started_by="ssh://me@east",
)
WEST = KnownHive(name="west", url="http://west:9200", instance="i2", epoch=1, seen_at_ms=1)


def test_rows_come_back_whole_and_by_name(tmp_path: Path) -> None:
    registry = SqliteHives(tmp_path / "registry.db")
    assert list(registry.rows()) == []
    registry.save(WEST)
    registry.save(EAST)
    assert list(registry.rows()) == [EAST, WEST]
    assert registry.set_aside == ""
    registry.close()
    registry.close()


def test_a_row_is_saved_in_place_of_the_one_before(tmp_path: Path) -> None:
    registry = SqliteHives(tmp_path / "registry.db")
    registry.save(EAST)
    registry.save(removed := replace(EAST, instance="", epoch=4))
    assert list(registry.rows()) == [removed]
    registry.close()


# --- on a disk ------------------------------------------------------------------------------------------------------


def test_what_was_saved_outlives_the_process_that_was_killed(tmp_path: Path) -> None:
    program = """
        import os, signal, sys
        from pathlib import Path
        from penstock.adapters.hives_sqlite import SqliteHives
        from penstock.core.fleet.known import KnownHive
        registry = SqliteHives(Path(sys.argv[1]))
        registry.save(KnownHive(name="east", url="u", instance="i", epoch=1, seen_at_ms=1))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    path = tmp_path / "registry.db"
    subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(path)], check=False, timeout=60)
    again = SqliteHives(path)
    assert [row.name for row in again.rows()] == ["east"]
    assert path.stat().st_mode & 0o777 == 0o600
    again.close()


@pytest.mark.parametrize("damage", ["garbage", "torn", "other-format", "other-tables"])
def test_a_damaged_file_is_set_aside_and_begun_anew(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "registry.db"
    first = SqliteHives(path)
    first.save(EAST)
    first.close()
    _damage(path, damage)
    again = SqliteHives(path)
    assert list(again.rows()) == []
    assert Path(again.set_aside).exists()
    again.save(WEST)
    again.close()
    third = SqliteHives(path)
    assert list(third.rows()) == [WEST] and third.set_aside == ""
    third.close()


def _damage(path: Path, damage: str) -> None:
    import apsw

    if damage == "garbage":
        path.write_bytes(b"\0no database" * 500)
    elif damage == "torn":
        data = bytearray(path.read_bytes())
        data[4_096:] = b"\x5a" * (len(data) - 4_096)
        path.write_bytes(data)
    else:
        connection = apsw.Connection(str(path))
        if damage == "other-format":
            connection.pragma("user_version", 99)
        else:
            connection.execute("drop table hives; create table hives (x)")
        connection.close()


def test_each_damaged_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    places = set()
    for number in range(3):
        path.write_bytes(b"%d no database" % number * 500)
        registry = SqliteHives(path)
        places.add(registry.set_aside)
        registry.close()
    assert len(places) == 3


def test_a_directory_that_is_not_there_yet_is_made_and_one_that_cannot_be_is_an_error_until_it_can(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    home.write_text("in the way")
    registry = SqliteHives(home / "a" / "registry.db")
    for _ in range(2):
        with pytest.raises(OSError):
            registry.rows()
        with pytest.raises(OSError):
            registry.save(EAST)
    home.unlink()
    registry.save(EAST)
    assert list(registry.rows()) == [EAST]
    registry.close()


def test_a_full_disk_is_an_error_and_what_was_there_stays(tmp_path: Path) -> None:
    program = """
        import resource, signal, sys
        from pathlib import Path
        from msgspec.structs import replace
        from penstock.adapters.hives_sqlite import SqliteHives
        from tests.contract.test_hive_registries import EAST, WEST
        registry = SqliteHives(Path(sys.argv[1]))
        registry.save(EAST)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, hard))
        try:
            registry.save(replace(WEST, capabilities="x" * 200_000))
        except OSError as error:
            print("refused")
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        registry.save(replace(WEST, capabilities="y"))
        print([row.name for row in registry.rows()])
    """
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "registry.db")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert said.stdout.splitlines() == ["refused", "['east', 'west']"], said.stderr
