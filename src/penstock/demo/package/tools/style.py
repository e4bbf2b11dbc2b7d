"""The house style: says what is wrong with the package's files, one line each, and exits 1 if anything is."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

LINE_CHARS_MAX = 100


def complaints(path: Path) -> Iterator[str]:
    """Everything that is wrong with one file."""
    text = path.read_text()
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > LINE_CHARS_MAX:
            yield f"{path}:{number}: the line has {len(line)} characters, at most {LINE_CHARS_MAX} are wanted"
        if line != line.rstrip() or "\t" in line:
            yield f"{path}:{number}: blanks at the end, or a tab"
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        yield f"{path}:{error.lineno}: {error.msg}"
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and not ast.get_docstring(node):
            yield f"{path}:{node.lineno}: {node.name} has no docstring"


def main() -> int:
    """Look at every file of the package."""
    found = [complaint for path in sorted(Path("tally").glob("*.py")) for complaint in complaints(path)]
    print("\n".join(found) or "the style is kept")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
