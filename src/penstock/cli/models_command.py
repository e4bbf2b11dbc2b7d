"""`penstock models`: the catalogue of this machine's models, and what of it is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from penstock.cli.byte_bar import byte_bar
from penstock.cli.fleet_options import home_option, queen_options

if TYPE_CHECKING:
    from penstock.fleet.catalogue.catalogue import Catalogue
    from penstock.fleet.catalogue.removing import Removed
    from penstock.fleet.orders import Model
    from penstock.fleet.schema import ModelInfo

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print data instead of a table.")
BackendName = Literal["scripted", "llama", "upstream"]


@click.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> int:
    """The models of this machine, which its hive can load. Without a command: `list`.

    \b
      penstock models add tiny --path tiny.gguf        a GGUF file, for llama.cpp's llama-server
      penstock models pull tiny https://HOST/tiny.gguf
      penstock models add big --url http://127.0.0.1:8000   a server that speaks OpenAI's chat completions
    """
    if context.invoked_subcommand is None:
        code: int = context.invoke(list_, as_json=False, home=None, queen=None, token_file=None)
        return code
    return 0


@models.command("list")
@AS_JSON
@home_option
@queen_options
def list_(as_json: bool, home: str | None, queen: str | None, token_file: str | None) -> int:
    """All models here; where a queen answers, what can be asked for and whether it is loaded."""
    from penstock.cli.terminal import open_stdout, print_json, print_table

    ours = {model.name: model for model in _catalogue(home).models()}
    told = _told(queen, token_file)
    rows = [_row(name, ours.get(name), told) for name in sorted({*ours, *(told or {})})]
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("no model yet: `penstock models add NAME --path FILE.gguf`, or `penstock models pull`", err=True)
    else:
        head = ("model", "backend", "size", "memory", "slots", "state")
        print_table(open_stdout(), head, [[_cell(row[name]) for name in KEYS] for row in rows])
    return 0


KEYS = ("name", "backend", "bytes", "memory_bytes", "slots", "state")


@models.command()
@click.argument("name")
@AS_JSON
@home_option
def show(name: str, as_json: bool, home: str | None) -> int:
    """Everything that is known of the model NAME, with what its GGUF file says."""
    import msgspec

    from penstock.cli.terminal import print_json

    catalogue = _catalogue(home)
    model = _found(catalogue, name)
    said = catalogue.describe(model)
    told = msgspec.structs.asdict(model)
    if said is not None:
        told["gguf"] = msgspec.structs.asdict(said)
    if as_json:
        print_json(told)
        return 0
    for key, value in [*told.items(), *told.pop("gguf", {}).items()]:
        if value not in ("", (), 0, -1) and key != "gguf":
            click.echo(f"{key}: {value}")
    return 0


@models.command()
@click.argument("name")
@click.option("--path", type=click.Path(path_type=Path), help="The GGUF file, the script, or a folder of GGUF files.")
@click.option("--backend", type=click.Choice(["llama", "upstream", "scripted"]), help="Found by what is given.")
@click.option("--url", default="", help="Of a server that runs already (backend upstream).")
@click.option("--argv", multiple=True, metavar="WORD", help="Of a server to be started, word by word: {port}, {path}.")
@click.option("--upstream-model", default="", metavar="NAME", help="What that server calls the model.")
@click.option("--key-env", default="", metavar="NAME", help="The environment variable with that server's key.")
@click.option("--slots", type=int, default=1, show_default=True, help="Requests at a time.")
@click.option("--context", type=int, default=4_096, show_default=True, help="Tokens of one request.")
@click.option("--workers-max", type=int, default=1, show_default=True, help="Workers of it on this machine.")
@click.option("--device", default="cpu", show_default=True, help="cpu, gpu0, ...; gpu: any.")
@click.option("--memory-bytes", type=int, default=0, help="What a worker takes; found from the file where left out.")
@home_option
def add(
    name: str,
    path: Path | None,
    backend: BackendName | None,
    url: str,
    argv: tuple[str, ...],
    upstream_model: str,
    key_env: str,
    slots: int,
    context: int,
    workers_max: int,
    device: str,
    memory_bytes: int,
    home: str | None,
) -> int:
    """Add the model NAME. With a folder as --path, all its GGUF files, called after their files (NAME is `-`)."""
    from penstock.fleet.orders import Model

    model = Model(
        name=name,
        backend=backend or _backend_of(path, url, argv),
        path=str(path.absolute()) if path else "",
        url=url,
        argv=argv,
        upstream_model=upstream_model,
        key_env=key_env,
        slots=slots,
        context=context,
        workers_max=workers_max,
        device=device,
        memory_bytes=memory_bytes,
    )
    catalogue = _catalogue(home)
    with byte_bar(f"reading {path.name}" if path else "") as hear:
        is_folder = path is not None and path.is_dir()
        added = catalogue.add_folder(path, model, hear) if path and is_folder else (catalogue.add(model, hear),)
    for each in added:
        click.echo(f"added {each.name} ({each.backend})", err=True)
    return 0


@models.command()
@click.argument("name")
@click.argument("url")
@click.option("--sha256", default="", metavar="HEX", help="Of the whole file; what is not so is not kept.")
@click.option("--key-env", default="", metavar="NAME", help="The environment variable with the token for the download.")
@click.option("--slots", type=int, default=1, show_default=True, help="Requests at a time.")
@click.option("--context", type=int, default=4_096, show_default=True, help="Tokens of one request.")
@home_option
def pull(name: str, url: str, sha256: str, key_env: str, slots: int, context: int, home: str | None) -> int:
    """Download a GGUF file and add it as NAME. What broke off goes on where it was, now and next time.

    Exit codes: 6 the server refuses it, 7 it cannot be reached or the disk is full.
    """
    import os

    from penstock.cli.main import Failing
    from penstock.fleet.catalogue.downloads import PullFailed, Wanted
    from penstock.fleet.catalogue.downloads import pull as pulled
    from penstock.fleet.orders import Model

    wanted = Wanted(
        Model(name=name, backend="llama", slots=slots, context=context, sha256=sha256),
        url,
        token=_key(os.environ, key_env),
    )
    try:
        with byte_bar(f"pulling {name}") as hear:
            done = pulled(_catalogue(home), wanted, hear)
    except PullFailed as error:
        exit_code = 6 if error.code in ("NOT_FOUND", "FORBIDDEN", "CHECKSUM_MISMATCH") else 7
        raise Failing(f"{error.code}: {error.problem}", exit_code) from None
    click.echo(f"{name} is here{' already' if done.already else ''}: {done.model.path}", err=True)
    return 0


@models.command()
@click.argument("name")
@click.option("--with-file", is_flag=True, help="Delete what was pulled too. A file of yours is never deleted.")
@home_option
def remove(name: str, with_file: bool, home: str | None) -> int:
    """Forget the model NAME, and say what is kept of it. Workers that have it loaded are not ended.

    What was pulled lies in the home until --with-file deletes it, with what an unfinished pull left; that also works
    later, when NAME is forgotten already.
    """
    removed = _catalogue(home).remove(name, with_file=with_file)
    click.echo(f"removed {name}", err=True)
    for line in _told_of(removed):
        click.echo(line, err=True)
    return 0


@models.command()
@click.argument("name", required=False)
@home_option
def check(name: str | None, home: str | None) -> int:
    """Is each file what was added, byte for byte? Of the model NAME, or of all. Exit 1 where one is not."""
    catalogue = _catalogue(home)
    with byte_bar("reading") as hear:
        checked = catalogue.check(name or "", hear)
    for each in checked:
        click.echo(
            f"{each.model.name}: ok" if each.problem is None else f"error: {each.problem}", err=bool(each.problem)
        )
    return 1 if any(each.problem for each in checked) else 0


def _catalogue(home: str | None) -> Catalogue:
    import os

    from penstock.fleet.catalogue.catalogue import Catalogue
    from penstock.fleet.choices import choose

    return Catalogue(Path(choose(os.environ, home=home).home), lambda said: click.echo(said, err=True))


def _found(catalogue: Catalogue, name: str) -> Model:
    from penstock.ports import BadInput, Problem

    model = catalogue.find(name)
    if model is None:
        fix = "see `penstock models list`"
        raise BadInput([Problem(file="models.json", line=0, field="", message="no model is called so", fix=fix)])
    return model


def _told_of(removed: Removed) -> Iterator[str]:
    """What became of its files."""
    from penstock.cli.fleet_view import size
    from penstock.evidence.words import plain

    if not removed.files:
        return
    verb, name = "deleted" if removed.are_deleted else "kept", removed.name
    yield f"{verb} {', '.join(plain(str(path)) for path in removed.files)} ({size(removed.bytes)})"
    if removed.is_ours and not removed.are_deleted:
        yield f"to delete it too: penstock models remove {name} --with-file"


def _backend_of(path: Path | None, url: str, argv: tuple[str, ...]) -> BackendName:
    if url or argv:
        return "upstream"
    return "scripted" if path is not None and path.suffix in (".yaml", ".yml", ".json") else "llama"


def _key(environ: Mapping[str, str], name: str) -> str:
    if name and not environ.get(name, "").strip():
        raise click.BadParameter(f"the environment variable {name} holds no token", param_hint="--key-env")
    return environ.get(name, "").strip() if name else ""


def _told(queen: str | None, token_file: str | None) -> dict[str, ModelInfo] | None:
    """What a queen says, where one answers; who named one is told where it does not."""
    import os

    from penstock.cli.fleet_calls import asked
    from penstock.cli.main import Failing
    from penstock.fleet.choices import choose

    try:
        return {each.id: each for each in asked(queen, token_file, lambda client: client.models()).data}
    except Failing as error:
        if choose(os.environ, queen=queen).is_queen_asked:
            error.show()
        return None


def _row(name: str, model: Model | None, told: dict[str, ModelInfo] | None) -> dict[str, object]:
    state = "-" if told is None else told[name].state if name in told else "offered by no hive"
    return {
        "name": name,
        "backend": model.backend if model else "elsewhere",
        "bytes": model.bytes if model else None,
        "memory_bytes": model.memory_bytes if model else None,
        "slots": model.slots if model else None,
        "state": state,
    }


def _cell(value: object) -> str:
    if isinstance(value, int) and value >= 10_000:
        from penstock.cli.fleet_view import size

        return size(value)
    return str(value) if value else "-"
