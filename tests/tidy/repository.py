"""The files of this repository, as the rules of the house see them."""

import ast
import subprocess
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Source:
    path: str  # from the root of the repository, with forward slashes
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)


@cache
def read_sources() -> tuple[Source, ...]:
    """Every text file that git tracks."""
    listing = ["git", "ls-files", "-z"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = {name: ROOT / name for name in sorted(set(names.split("\0")) - {""})}
    contents = {name: file.read_bytes() for name, file in files.items() if file.is_file()}
    return tuple(Source(name, data.decode()) for name, data in contents.items() if is_text(data))


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in data
