"""Plain text tables."""

from collections.abc import Sequence


def render(rows: Sequence[Sequence[str]]) -> str:
    """The rows as lines, columns two spaces apart."""
    if not rows:
        return ""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join(cells).rstrip()
