"""One directory per job, made exclusively before anything is executed.

It tells a job that never started (no directory: the same key may start again, free of charge) from one that was lost.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path


def job_directory(root: Path, key: str) -> Path:
    """Where the job of that key keeps its files."""
    return root / re.sub(r"[^A-Za-z0-9._-]+", "-", key)


def make_job_directory(root: Path, key: str) -> Path:
    """Make it; `FileExistsError` if the job was begun before: a key starts at most once."""
    path = job_directory(root, key)
    path.mkdir(parents=True, mode=0o700)
    return path


def was_begun(root: Path, key: str) -> bool:
    """Did a writer of this run begin the job?"""
    return job_directory(root, key).exists()


def remove_home(job: Path) -> None:
    """Throw away what the job had as HOME; its output stays."""
    shutil.rmtree(job / "home", ignore_errors=True)
