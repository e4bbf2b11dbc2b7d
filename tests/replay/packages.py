"""Published packages that ship their tests, by the digest of their source distribution."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """Where code and tests lie in a source distribution."""

    name: str
    version: str
    sha256: str
    code: str
    """Directory of the package."""
    tests: str
    """Directory or file of its tests."""

    def files(self, top: Path) -> dict[str, str]:
        """Python files of code and tests, by path."""
        found = sorted({*top.glob(f"{self.code}/**/*.py"), *top.glob(f"{self.tests}/**/*.py"), *top.glob(self.tests)})
        return {str(path.relative_to(top)): path.read_text() for path in found if _is_wanted(path)}


def _is_wanted(path: Path) -> bool:
    """Python; a conftest of old is not read by the pytest of today."""
    return path.suffix == ".py" and path.name != "conftest.py"


class NotThere(Exception):
    """A package cannot be had; the text says why."""


INFLECTION = Package(
    "inflection",
    "0.5.1",
    "1a29730d366e996aaacffb2f1f1cb9593dc38e2ddd30c91250c6dde09ea9b417",
    "inflection",
    "test_inflection.py",
)
TOOLZ = Package(
    "toolz", "1.0.0", "2c86e3d9a04798ac556793bced838816296a2f085017664e4995cb40a1047a02", "toolz", "toolz/tests"
)
MORE_ITERTOOLS = Package(
    "more-itertools",
    "10.5.0",
    "5482bfef7849c25dc3c6dd53a6173ae4795da2a41a80faea6700d9f5846c5da6",
    "more_itertools",
    "tests",
)
BOLTONS = Package(
    "boltons", "24.1.0", "4a49b7d57ee055b83a458c8682a2a6f199d263a8aa517098bda9bab813554b87", "boltons", "tests"
)
PACKAGES = {package.name: package for package in (INFLECTION, TOOLZ, MORE_ITERTOOLS, BOLTONS)}


def unpack(package: Package, place: Path) -> dict[str, str]:
    """Files of the package, fetched once into `place`. Raises `NotThere`."""
    top = place / f"{package.name}-{package.version}"
    if not top.exists():
        with tarfile.open(_download(package, place)) as archive:
            archive.extractall(place, filter="data")
        if not top.exists():
            top = place / f"{package.name.replace('-', '_')}-{package.version}"
    return package.files(top)


def _download(package: Package, place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    wanted = place / f"{package.name}.txt"
    wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    words = ("download", "--quiet", "--no-deps", "--no-binary", ":all:", "--require-hashes", "-d", str(place))
    end = subprocess.run(
        [sys.executable, "-m", "pip", *words, "-r", str(wanted)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if end.returncode:
        said = [line for line in end.stderr.splitlines() if line.startswith("ERROR")] or end.stderr.splitlines()
        raise NotThere(f"{package.name} {package.version} cannot be had: {said[-1] if said else end.returncode}")
    found = [*place.glob(f"*-{package.version}.tar.gz")]
    return next(path for path in found if path.name.replace("_", "-").startswith(f"{package.name}-"))
