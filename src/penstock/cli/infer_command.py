"""`penstock infer`: one prompt through the fleet. Tokens on stdout as they come, everything else on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from penstock.cli.fleet_options import queen_options

if TYPE_CHECKING:
    from penstock.fleet.inferring import Heard
    from penstock.fleet.schema import InferenceRequest


@click.command()
@click.option(
    "--model", "-m", default="", metavar="NAME", help="Which model; may be left out where it is the only one."
)
@click.option("--prompt", "-p", metavar="TEXT", help="The text to continue. Without it: what comes on stdin.")
@click.option("--max-tokens", type=click.IntRange(1, 1_000_000), default=256, show_default=True)
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.0, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="For the same answer twice, where the engine can.")
@click.option("--stop", multiple=True, metavar="TEXT", help="Ends the answer where it comes up. Repeatable.")
@click.option("--deadline-s", type=click.IntRange(1, 86_400), help="Seconds until the queen gives up.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object at the end, in place of text as it comes.")
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
@queen_options
def infer(
    model: str,
    prompt: str | None,
    max_tokens: int,
    temperature: float,
    seed: int | None,
    stop: tuple[str, ...],
    deadline_s: int | None,
    as_json: bool,
    quiet: bool,
    queen: str | None,
    token_file: str | None,
) -> int:
    """Ask a model, and print its answer as it comes.

    \b
      penstock infer --model tiny --prompt "Once upon a time"
      git diff | penstock infer --model coder

    Where no queen runs here and none was named, a queen and a hive are started for this one prompt, on ports that are
    free, and end with it.

    Exit codes: 0 done, 1 failed (the text so far stays printed), 2 bad input, 6 refused, 7 nobody can serve it,
    130 interrupted.
    """
    import os

    from penstock.cli.infer_screen import open_screen
    from penstock.fleet.choices import choose
    from penstock.wire.fleet_asking import ask_fleet

    chosen = choose(os.environ, queen=queen, token_file=token_file)
    asked = _request(model, prompt, max_tokens, temperature, seed, stop, deadline_s)
    screen = open_screen(quiet=quiet or (as_json and not sys.stderr.isatty()), silent=as_json)
    try:
        heard = ask_fleet(chosen, asked, screen)
    finally:
        screen.close()
    if as_json:
        _print_data(heard)
    _tell_end(heard, max_tokens)
    return heard.exit_code


def _request(
    model: str,
    prompt: str | None,
    max_tokens: int,
    temperature: float,
    seed: int | None,
    stop: tuple[str, ...],
    deadline_s: int | None,
) -> InferenceRequest:
    import secrets

    from penstock.core.fleet.names import is_model
    from penstock.fleet.schema import InferenceRequest

    if model and not is_model(model):
        raise click.BadParameter("letters, digits and ._:/@+- make a model's name", param_hint="--model")
    return InferenceRequest(
        prompt=_prompt(prompt),
        model=model,
        max_tokens=max_tokens,
        temperature=temperature,
        seed=seed,
        stop=stop,
        request_id=f"c-{secrets.token_hex(8)}",
        deadline_ms=deadline_s * 1_000 if deadline_s else None,
    )


def _prompt(written: str | None) -> str:
    from penstock.fleet.schema import TEXT_CHARS_MAX

    if written is None:
        if sys.stdin.isatty():
            raise click.UsageError("no prompt: give --prompt TEXT, or pipe it in")
        data = sys.stdin.buffer.read(4 * TEXT_CHARS_MAX + 1)
        try:
            written = data.decode()
        except UnicodeDecodeError:
            raise click.UsageError("the prompt on stdin is no UTF-8 text") from None
    if not written.strip():
        raise click.UsageError("the prompt is empty")
    if len(written) > TEXT_CHARS_MAX:
        raise click.UsageError(f"the prompt has {len(written):,} characters; at most {TEXT_CHARS_MAX:,} are taken")
    return written


def _print_data(heard: Heard) -> None:
    from penstock.cli.terminal import print_json

    print_json(
        {
            "request_id": heard.request_id,
            "text": "".join(heard.text),
            "tokens_out": heard.tokens,
            "stop_reason": heard.stop_reason or None,
            "ms": heard.ms,
            "first_token_ms": heard.first_token_ms,
            "tokens_per_s": heard.tokens_per_s,
            "error": {"code": heard.code, "message": heard.message} if heard.exit_code else None,
            "exit_code": heard.exit_code,
        }
    )


def _tell_end(heard: Heard, max_tokens: int) -> None:
    from penstock.evidence.words import plain

    if not heard.exit_code:
        return
    code = f"{heard.code}: " if heard.code else ""
    told = f"error: {code}{plain(heard.message)}"
    if heard.tokens:
        told += f"\n    tokens {heard.tokens}/{max_tokens}: what was printed is not whole"
    if heard.retry_after_s and not heard.tokens:
        told += f"\n    try again in {heard.retry_after_s} s"
    told += "".join(f"\n    | {plain(said)}" for said in heard.log)
    if heard.fix:
        told += f"\n    fix: {heard.fix}"
    click.echo(told, err=True)
