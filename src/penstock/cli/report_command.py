"""`penstock report`: what a run was asked, what it did, and what shows that it is so."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the report as data (schema penstock-report/1).")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print it as Markdown, for a pull request.")
@click.option(
    "--html",
    "html_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write it as one HTML file that needs nothing else.",
)
@click.option("--open", "open_it", is_flag=True, help="Show the HTML file in the browser.")
def report(run: str | None, as_json: bool, as_markdown: bool, html_file: Path | None, open_it: bool) -> int:
    """The evidence report of the newest run (or of RUN), made anew from its log; Markdown by default.

    Exit 4 where the log contradicts what the run says of itself.
    """
    from penstock import wire
    from penstock.cli.main import here
    from penstock.evidence.render_html import render_html
    from penstock.evidence.render_markdown import render_markdown
    from penstock.evidence.report import build, to_json
    from penstock.evidence.words import is_contradicted

    if as_json and as_markdown:
        raise click.UsageError("--json and --markdown both print: choose one")
    if open_it and html_file is None:
        raise click.UsageError("--open shows the HTML file: say where with --html FILE")
    view = wire.open_run(here(), run)
    made = build(view.records(), kept=view.blob)
    if html_file is not None:
        page = render_html(made, blob=view.blob, diff_of=view.diff_of)
        try:
            html_file.write_text(page, encoding="utf-8")
        except OSError as error:
            raise click.UsageError(f"--html {html_file}: {error.strerror}") from None
        click.echo(f"written: {html_file}", err=True)
    if as_json:
        click.echo(to_json(made))
    elif as_markdown or html_file is None:
        click.echo(render_markdown(made), nl=False)
    if open_it and html_file is not None:
        click.launch(str(html_file))
    return 4 if is_contradicted(made) else 0
