"""A bench for gates: a tree of files, a command, and the evidence that the real adapter gives."""

from __future__ import annotations

import asyncio
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec

from penstock.adapters.gates.command import CommandGates
from penstock.adapters.processes import LocalProcesses
from penstock.adapters.sandbox_none import NoSandbox
from penstock.core.digest import Digest, digest_of_bytes
from penstock.core.events import GateOrder
from penstock.core.policy import FileClasses, GateSpec
from penstock.core.verdicts import Evidence, Look, TestResults
from penstock.ports import Checkout, Confinement, GateRun, Sandbox

PYTEST = f"PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 {sys.executable} -m pytest -p no:cacheprovider -q"

Files = dict[str, str]


class KeptBlobs:
    """Blobs in memory."""

    def __init__(self) -> None:
        self.kept: dict[Digest, bytes] = {}

    def put(self, data: bytes) -> Digest:
        digest = digest_of_bytes(data)
        self.kept[digest] = data
        return digest

    def get(self, digest: Digest) -> bytes:
        return self.kept[digest]

    def has(self, digest: Digest) -> bool:
        return digest in self.kept


@dataclass
class Bench:
    """Runs gates in trees below `root`."""

    root: Path
    sandbox: Sandbox = field(default_factory=NoSandbox)
    blobs: KeptBlobs = field(default_factory=KeptBlobs)
    runs: int = 0

    def tree(self, files: Files) -> Path:
        """A fresh working tree with these files."""
        self.runs += 1
        tree = self.root / f"tree{self.runs}" / "repo"
        for name, text in files.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(dedent(text))
        tree.mkdir(parents=True, exist_ok=True)
        return tree

    def confine(self, tree: Path, env: dict[str, str] | None = None) -> Confinement:
        home = tree.parent / "home"
        home.mkdir(exist_ok=True)
        checkout = Checkout(path=str(tree), at="/src/repo", commit="c" * 40, tree="t" * 40)
        return Confinement(checkout=checkout, home=str(home), env=env or {})

    def see(
        self,
        files: Files,
        command: str = PYTEST,
        look: Look = "lands",
        env: dict[str, str] | None = None,
        spec: dict[str, Any] | None = None,
        base_files: Files | None = None,
        golden: bytes | None = None,
        **order: Any,
    ) -> Evidence:
        """The evidence of one gate run over a fresh tree."""
        tree = self.tree(files)
        job_dir = tree.parent / "job"
        job_dir.mkdir()
        if look == "criterion":
            order["command"] = command
        run = GateRun(
            spec=GateSpec(name="unit", command=command, digest="d" * 64, **(spec or {})),
            order=GateOrder(gate="unit", look=look, commit="c" * 40, tree="t" * 40, **order),
            confinement=self.confine(tree, env),
            job_dir=str(job_dir),
            base=self.confine(self.tree(base_files)) if base_files is not None else None,
            golden=golden,
        )
        gates = CommandGates(LocalProcesses(), self.sandbox, self.blobs, FileClasses())
        return asyncio.run(gates.run(run))

    def tests(self, evidence: Evidence) -> TestResults:
        """All per-test results."""
        assert evidence.tests is not None, evidence
        return msgspec.json.decode(self.blobs.get(evidence.tests), type=TestResults)

    def output(self, evidence: Evidence) -> str:
        """What was printed."""
        assert evidence.output is not None
        return self.blobs.get(evidence.output).decode()

    def discard(self) -> None:
        shutil.rmtree(self.root)
