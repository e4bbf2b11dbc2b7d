"""The import contracts of pyproject.toml hold here, and each is seen to bite on a planted violation."""

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.tidy.repository import ROOT

CONTRACTS: dict[str, str] = {
    contract["id"]: contract["name"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}


@dataclass(frozen=True)
class Planted:
    contract: str
    lines: dict[str, str] = field(default_factory=dict)  # appended to a file under src/penstock

    def __str__(self) -> str:
        return ", ".join(f"{file}: {line}" for file, line in self.lines.items())


def importing(importer: str, imported: str, contract: str = "layers") -> Planted:
    return Planted(contract, {f"{importer}/planted.py": f"import penstock.{imported}", **target(imported)})


def target(module: str) -> dict[str, str]:
    """What is imported is planted too, so it need not have been written yet."""
    path = module.replace(".", "/")
    is_package = (ROOT / "src/penstock" / path).is_dir()
    return {f"{path}/__init__.py" if is_package else f"{path}.py": ""}


FORBIDDEN_TO_THE_CORE = (
    *("apsw", "asyncio", "click", "datetime", "io", "logging", "os", "pathlib", "random", "rich"),
    *(
        "secrets",
        "shutil",
        "socket",
        "sqlite3",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "uuid",
        "yaml",
    ),
)

VIOLATIONS = [
    importing("core", "ports"),
    importing("core", "adapters"),
    importing("core", "settings"),
    importing("core", "cli"),
    importing("shell", "evidence"),
    importing("shell", "settings"),
    importing("shell", "demo"),
    importing("evidence", "shell"),
    importing("evidence", "wire"),
    importing("adapters", "shell"),
    importing("adapters", "settings"),
    importing("demo", "wire"),
    Planted("layers", {"ports.py": "import penstock.shell"}),
    Planted("layers", {"wire.py": "import penstock.cli"}),
    Planted("layers", {"nowhere.py": "import penstock.core"}),
    Planted("adapters", {"adapters/one.py": "import penstock.adapters.two", "adapters/two.py": ""}),
    Planted(
        "adapters",
        {
            "adapters/one.py": "import penstock.adapters.two.deep",
            "adapters/two/__init__.py": "",
            "adapters/two/deep.py": "",
        },
    ),
    *(Planted("core", {"core/planted.py": f"import {module}"}) for module in FORBIDDEN_TO_THE_CORE),
    Planted("core", {"core/planted.py": "def later() -> None:\n    from os import path"}),
]


def lint_imports(directory: Path, planted: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The verdict on a copy of ours with some lines added."""
    shutil.copytree(ROOT / "src", directory / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", directory)
    for name, line in planted.items():
        file = directory / "src/penstock" / name
        file.parent.mkdir(exist_ok=True)
        with file.open("a") as end:
            end.write(f"\n{line}\n")
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache", "--no-logo"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(directory / "src")},
        capture_output=True,
        text=True,
    )


def test_what_is_here_keeps_every_contract(tmp_path: Path) -> None:
    verdict = lint_imports(tmp_path, {})
    assert verdict.returncode == 0, verdict.stdout
    assert all(f"{name} KEPT" in verdict.stdout for name in CONTRACTS.values())


@pytest.mark.parametrize("planted", VIOLATIONS, ids=str)
def test_a_planted_violation_breaks_its_contract(planted: Planted, tmp_path: Path) -> None:
    verdict = lint_imports(tmp_path, planted.lines)
    assert verdict.returncode == 1, verdict.stdout
    assert f"{CONTRACTS[planted.contract]} BROKEN" in verdict.stdout


def test_every_contract_has_its_violation() -> None:
    assert {planted.contract for planted in VIOLATIONS} == set(CONTRACTS)
