"""In which project a file lies, and which runner its tests are for.

Tools look for their configuration upwards from a test, and so does this: the nearest directory that says how tests are
run (pytest's own section, vitest among the dependencies) goes before a nearer one that is a package and no more, as the
members of a workspace are that the root configures. What lies among test files (a sample of a project, say) counts only
where nothing above it does. Files are read anew each time: a project may come and go in the middle of a session.
"""

from __future__ import annotations

import io
import json
import os
import posixpath
import tomllib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from penstock.core.paths import matches
from penstock.core.redgreen.commands import LANGUAGES, Language, language_in, language_of, runner_in, split
from penstock.core.redgreen.policy import RedGreenPolicy, kind_of
from penstock.core.redgreen.test_id import RUNNERS, RunnerName
from penstock.kernel.project import Project, is_below, upward

BYTES_MAX = 1_000_000
PYTEST_OWN = ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml")
PYTEST_SECTIONS = (("pyproject.toml", b"[tool.pytest"), ("setup.cfg", b"[tool:pytest]"), ("tox.ini", b"[pytest]"))
PYTHON_PACKAGE = ("pyproject.toml", "setup.cfg", "setup.py", "tox.ini")

SCRIPT_TOOLS: tuple[RunnerName, ...] = ("vitest", "jest")
KINDS: tuple[RunnerName, ...] = (*SCRIPT_TOOLS, "node")
"""Of JavaScript."""

Says = Callable[[str], bool]
"""Whether a directory is what is looked for."""


class Projects:
    """The projects of the tree at `top`."""

    def __init__(self, top: Path, policy: RedGreenPolicy) -> None:
        self._top, self._policy = str(top), policy
        self._keyed = {name: line for name, line in policy.test_commands.items() if name in RUNNERS}
        self._globs = [(glob, line) for glob, line in policy.test_commands.items() if glob not in RUNNERS]

    def of(self, path: str) -> Project | None:
        """Who runs the tests of `path`; None where nobody can."""
        place = self._place(path)
        return self._project(*place) if place else None

    def among(self, paths: Iterable[str]) -> tuple[Project, ...]:
        """Those with tests among `paths`; of a language without any, that of the root, where it has one."""
        look_up = cache(self._project)
        found: dict[Project, None] = {}
        spare: dict[Project, None] = {}
        for path in sorted(paths):
            place = self._place(path)
            project = look_up(*place) if place else None
            if project is not None:
                (found if self._may_hold_tests(path, project) else spare)[project] = None
        languages = {LANGUAGES[project.runner] for project in found}
        roots = (p for p in spare if not p.directory and LANGUAGES[p.runner] not in languages)
        return tuple(sorted({*found, *roots}))

    def _may_hold_tests(self, path: str, project: Project) -> bool:
        return project.runner in ("cargo", "go") or kind_of(self._policy, path) == "test"

    def _place(self, path: str) -> tuple[Language, str, str] | None:
        """All that matters of a path: the language, the directory, and the command line for it."""
        language = language_of(path)
        return None if language is None else (language, path.rpartition("/")[0], self._line_for(path, language))

    def _line_for(self, path: str, language: Language) -> str:
        """The command line of the first glob that the file matches and that speaks of its language."""
        lines = (line for glob, line in self._globs if matches((glob,), path))
        return next((line for line in lines if language_in(split(line)) == language), "")

    def _project(self, language: Language, directory: str, line: str) -> Project | None:
        match language:
            case "python":
                return self._python(directory, line)
            case "javascript":
                return self._javascript(directory, line)
            case "rust":
                return self._named("cargo", self._crate(directory), line)
            case "go":
                return self._named("go", self._nearest(directory, self._has("go.mod")), line)

    def _named(self, runner: RunnerName, directory: str | None, line: str) -> Project | None:
        command = line or self._keyed.get(runner, "")
        return None if directory is None else Project(directory=directory, runner=runner, command=command)

    # --- by language ------------------------------------------------------------------------------------------------

    def _python(self, directory: str, line: str) -> Project | None:
        runner = runner_in(split(line)) or ("unittest" if "unittest" in self._keyed else "pytest")
        found = None if runner == "unittest" else self._nearest(directory, self._configures_pytest, within_tests=False)
        if found is None:
            found = self._nearest(directory, self._has(*PYTHON_PACKAGE), within_tests=False)
        return self._named(runner, found or "", line)

    def _javascript(self, directory: str, line: str) -> Project | None:
        wanted = runner_in(split(line)) or next((name for name in SCRIPT_TOOLS if name in self._keyed), None)
        found = self._nearest(directory, lambda each: self._script_runner(each) in ((wanted,) if wanted else KINDS))
        if found is None:
            found = self._nearest(directory, self._has("package.json"))
        runner = wanted or (self._script_runner(found) if found is not None else None) or "node"
        return self._named(runner, found, line)

    def _script_runner(self, directory: str) -> RunnerName | None:
        """The runner that a package names: among what it depends on, by a file of its configuration, or in a script."""
        try:
            package: Any = json.loads(self._read(directory, "package.json"))
            known = {**package.get("dependencies", {}), **package.get("devDependencies", {}), **package}
            script = split(str(package.get("scripts", {}).get("test", "")))
        except (ValueError, AttributeError, TypeError):
            return None
        is_configured = {name: any(Path(self._top, directory).glob(f"{name}.config.*")) for name in SCRIPT_TOOLS}
        named = next((name for name in SCRIPT_TOOLS if name in known or is_configured[name]), None)
        said = runner_in(script)
        return said if said in KINDS else named

    def _crate(self, directory: str) -> str | None:
        """Of a package of a workspace, the workspace."""
        package = self._nearest(directory, self._has("Cargo.toml"))
        if package is None or "workspace" in self._manifest(package):
            return package
        roots = (each for each in upward(posixpath.dirname(package)) if "workspace" in self._manifest(each))
        root = next(roots, None) if package else None
        return package if root is None or self._is_excluded(package, root) else root

    def _is_excluded(self, package: str, root: str) -> bool:
        workspace = self._manifest(root)["workspace"]
        said = workspace.get("exclude", []) if isinstance(workspace, dict) else []
        return any(is_below(f"{package}/", posixpath.normpath(posixpath.join(root, each))) for each in said)

    def _manifest(self, directory: str) -> dict[str, Any]:
        try:
            return tomllib.loads(self._read(directory, "Cargo.toml").decode("utf-8", "replace"))
        except tomllib.TOMLDecodeError:
            return {}

    # --- looking upwards --------------------------------------------------------------------------------------------

    def _nearest(self, directory: str, says: Says, *, within_tests: bool = True) -> str | None:
        """The nearest directory that `says`; `within_tests`: one among test files, where there is no other."""
        found = [each for each in upward(directory) if says(each)]
        outside = (each for each in found if not matches(self._policy.files.test_files, f"{each}/x".lstrip("/")))
        return next(outside, found[0] if found and within_tests else None)

    def _configures_pytest(self, directory: str) -> bool:
        if self._has(*PYTEST_OWN)(directory):
            return True
        return any(section in self._read(directory, name) for name, section in PYTEST_SECTIONS)

    def _has(self, *names: str) -> Says:
        return lambda directory: any(os.path.isfile(self._place_of(directory, name)) for name in names)

    def _read(self, directory: str, name: str) -> bytes:
        place = self._place_of(directory, name)
        try:
            with open(place, "rb") if os.path.isfile(place) else io.BytesIO() as file:
                return file.read(BYTES_MAX)
        except OSError:
            return b""

    def _place_of(self, directory: str, name: str) -> str:
        return f"{self._top}/{directory}/{name}"
