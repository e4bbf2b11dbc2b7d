"""Importing a module of ours opens nothing for writing and no socket, starts nothing, changes nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tidy.repository import ROOT

PROBE = Path(__file__).with_name("import_probe.py")


def deeds_of_importing(modules: list[str], path: Path) -> list[str]:
    probe = subprocess.run(
        [sys.executable, "-B", PROBE, *modules],
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
    )
    assert probe.returncode == 0, probe.stderr
    deeds: list[str] = json.loads(probe.stdout)
    return deeds


def modules_under(src: Path) -> list[str]:
    """The importable modules: data that happens to be Python, in a folder that is no package, is none."""
    files = [file for file in sorted(src.rglob("*.py")) if is_in_packages(file, src)]
    names = [".".join(file.relative_to(src).with_suffix("").parts) for file in files]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


def is_in_packages(file: Path, src: Path) -> bool:
    folders = [folder for folder in file.parents if folder.is_relative_to(src) and folder != src]
    return all((folder / "__init__.py").exists() for folder in folders)


def test_importing_penstock_does_nothing() -> None:
    modules = modules_under(ROOT / "src")
    assert "penstock.core" in modules
    assert deeds_of_importing(modules, ROOT / "src") == []


@pytest.mark.parametrize(
    ("deed", "event"),
    [
        ("open('made', 'w')", "open"),
        ("import os; os.open('made', os.O_CREAT | os.O_WRONLY)", "open"),
        ("import pathlib; pathlib.Path('made').mkdir()", "os.mkdir"),
        ("import socket; socket.socket()", "socket.__new__"),
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
        ("import os; os.environ['MADE'] = '1'", "os.putenv"),
    ],
)
def test_a_planted_deed_is_seen(deed: str, event: str, tmp_path: Path) -> None:
    module = tmp_path / "planted.py"
    module.write_text(f"import os\nos.chdir({str(tmp_path)!r})\n{deed}\n")
    assert f"planted: {event}" in deeds_of_importing(["planted"], tmp_path)


def test_reading_is_no_deed(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("open(__file__).close()\n")
    assert deeds_of_importing(["planted"], tmp_path) == []
