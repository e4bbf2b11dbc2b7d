"""Sealing: the report over records 1..n, its digest in the log, and the files that people read."""

from __future__ import annotations

from pathlib import Path

from penstock import ports
from penstock.core import events as e
from penstock.evidence.render_html import render_html
from penstock.evidence.render_markdown import render_markdown
from penstock.evidence.report import build, to_json


class Sealer:
    """Makes the report of one run, and its files beside the log."""

    def __init__(self, log: ports.EventLog, blobs: ports.Blobs, folder: Path) -> None:
        self._log = log
        self._blobs = blobs
        self._folder = folder

    async def seal(self, n: int) -> e.ReportSealed:
        """The report over records 1..n as bytes, kept as a blob; its digest is what the log will say."""
        seq, head = self._log.head()
        assert seq == n, f"sealing {n} of a log that has {seq}"
        data = to_json(build(list(self._log.read())))
        return e.ReportSealed(n=n, head=head, digest=self._blobs.put(data))

    def json(self) -> str:
        """The report over the whole sealed log."""
        return to_json(build(list(self._log.read()), kept=self._blob)).decode()

    async def publish(self, candidates: ports.Candidates) -> list[Path]:
        """Write report.html, report.md and report.json; their paths."""
        report = build(list(self._log.read()), kept=self._blob)
        diffs: dict[str, str] = {}
        for ticket in report.tickets:
            if ticket.commit and ticket.base:
                diffs[ticket.commit] = (await candidates.diff(ticket.base, ticket.commit)).decode(errors="replace")
        folder = self._folder / "report"
        folder.mkdir(exist_ok=True)
        paths = [folder / "report.html", folder / "report.md", folder / "report.json"]
        html = render_html(report, blob=self._blob, diff_of=diffs.get)
        for path, text in zip(paths, (html, render_markdown(report), to_json(report).decode()), strict=True):
            path.write_text(text, encoding="utf-8")
        return paths

    def _blob(self, digest: str) -> bytes | None:
        return self._blobs.get(digest) if self._blobs.has(digest) else None
