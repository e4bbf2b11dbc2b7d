"""Which reports are kept, and how each is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from penstock.core import events as e
from penstock.evidence.render_html import render_html
from penstock.evidence.render_markdown import render_markdown
from penstock.evidence.report import build, to_json
from tests.golden.runs import blobs, clean, diff_of, troubled

FOLDER = Path(__file__).parent
RUNS: dict[str, Callable[[], list[e.Record]]] = {"clean": clean, "troubled": troubled}


def made(run: str) -> dict[str, str]:
    """The three reports of a run, by file name."""
    report = build(RUNS[run]())
    return {
        f"{run}.json": msgspec.json.format(to_json(report), indent=1).decode() + "\n",
        f"{run}.md": render_markdown(report),
        f"{run}.html": render_html(report, blob=blobs().get, diff_of=diff_of),
    }
