"""`penstock report` on a real log in a real repository."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from penstock.adapters.log_sqlite import SqliteLog
from penstock.adapters.state_directory import StateDirectory
from penstock.cli.main import cli
from penstock.core import events as e
from tests.golden.kept import FOLDER
from tests.golden.runs import clean
from tests.golden.told import BEGIN_MS, Told, ticket


def kept(folder: Path, records: Sequence[e.Record]) -> Path:
    """A repository with one run that left these records."""
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    state = StateDirectory(folder / ".git")
    epoch = state.acquire()
    place = state.make_run(BEGIN_MS)
    with contextlib.closing(SqliteLog.create(place.log, place.run, epoch)) as log:
        log.append(records)
    state.release()
    return folder


def report(folder: Path, *options: str) -> Result:
    with contextlib.chdir(folder):
        return CliRunner().invoke(cli, ["report", *options], standalone_mode=False)


def test_json_is_what_was_kept(tmp_path: Path) -> None:
    result = report(kept(tmp_path, clean()), "--json")
    assert (result.exception, result.return_value) == (None, 0)
    assert json.loads(result.stdout) == json.loads((FOLDER / "clean.json").read_text())


def test_markdown_is_the_default_and_a_run_may_be_named(tmp_path: Path) -> None:
    folder = kept(tmp_path, clean())
    (run,) = StateDirectory(folder / ".git").runs()
    assert report(folder).stdout == (FOLDER / "clean.md").read_text()
    assert report(folder, run.run, "--markdown").stdout == report(folder).stdout


def test_html_goes_to_a_file_and_stdout_stays_empty(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    records = Told(ticket("A")).baseline().end()
    result = report(kept(tmp_path / "repository", records), "--html", str(page))
    assert "written: " in result.stderr
    assert result.stdout == ""
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_a_log_that_contradicts_its_run_is_exit_4(tmp_path: Path) -> None:
    lie = Told(ticket("A")).baseline().end()
    result = report(kept(tmp_path, lie), "--json")
    assert result.return_value == 4
    assert json.loads(result.stdout)["proof"]["holds"] is False


def test_one_thing_is_printed(tmp_path: Path) -> None:
    result = report(tmp_path, "--json", "--markdown")
    assert "choose one" in str(result.exception)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_an_unfinished_run_has_a_report_too(tmp_path: Path, options: tuple[str, ...]) -> None:
    result = report(kept(tmp_path, Told(ticket("A")).baseline().records), *options)
    assert (result.exception, result.return_value) == (None, 0)
    assert "unfinished" in result.stdout
