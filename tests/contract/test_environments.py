"""Environments: built once by a real set-up, sealed, and mounted so that they mean the tree under test."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.adapters.environments_built import BuiltEnvironments
from penstock.adapters.environments_built.operator_settings import choose_settings
from penstock.adapters.environments_built.sealing import discard
from penstock.adapters.processes import LocalProcesses
from penstock.core.events import EnvEnded, EnvOrder
from penstock.core.policy import EnvSpec
from penstock.ports import Mount
from tests.contract.sandbox_bench import SandboxBench, open_sandbox, operator_environ

AT = "/srv/repository"
DIGEST = "d" * 64
PTH = "import sys, glob; open(glob.glob('.venv/lib/python*/site-packages')[0] + '/ours.pth', 'w').write(sys.argv[1])"
VENV = f"""
python3 -m venv --without-pip .venv
.venv/bin/python -c "{PTH}" "$PWD/src"
printf '#!%s/.venv/bin/python\\nimport ours\\nours.main()\\n' "$PWD" >.venv/bin/ours
chmod +x .venv/bin/ours
mkdir .venv/cache && echo given >.venv/cache/given
"""


class EnvironmentBench:
    """Environments of one specification, and checkouts that appear at one place."""

    def __init__(self, place: Path, sandbox: str = "bubblewrap", environ: dict[str, str] | None = None, **spec: Any):
        self.place = place
        self.operator = operator_environ(place / "operator", **(environ or {}))
        self.sandbox = open_sandbox(sandbox, self.operator)
        self.spec = EnvSpec(name="python", **{"setup": VENV, "paths": (".venv",), **spec})
        self.directory = place / "envs"
        self.environments = BuiltEnvironments(
            (self.spec,), self.directory, self.sandbox, LocalProcesses(), environ=self.operator
        )

    def checkout(self, name: str, says: str = "") -> SandboxBench:
        """A checkout whose module `ours` says something."""
        at = AT if self.sandbox.isolation().filesystem else ""
        bench = SandboxBench(self.place / name, self.sandbox, at=at)
        (bench.checkout / "src").mkdir(exist_ok=True)
        (bench.checkout / "src" / "ours.py").write_text(f"def main():\n    print({says!r})\n")
        return bench

    def build(self, bench: SandboxBench) -> EnvEnded:
        order = EnvOrder(env="python", digest=DIGEST, commit="c" * 40)
        checkout = bench.confinement().checkout
        return asyncio.run(self.environments.build(order, checkout, str(bench.job)))

    def mounts(self, bench: SandboxBench) -> tuple[Mount, ...]:
        return self.environments.mounts("python", DIGEST, bench.confinement().checkout, str(bench.job))

    def prepare(self, bench: SandboxBench) -> EnvEnded | None:
        return asyncio.run(self.environments.prepare("python", bench.confinement().checkout, str(bench.job)))

    @property
    def sealed(self) -> Path:
        return self.directory / f"python-{DIGEST}"


@pytest.fixture
def environment(tmp_path: Path) -> Any:
    """Makes benches; what they sealed can be deleted again afterwards."""
    made: list[EnvironmentBench] = []

    def make(**more: Any) -> EnvironmentBench:
        made.append(EnvironmentBench(tmp_path / str(len(made)), **more))
        return made[-1]

    yield make
    for bench in made:
        if bench.directory.exists():
            discard(bench.directory)


Make = Callable[..., EnvironmentBench]

# --- built and sealed -----------------------------------------------------------------------------------------------


def test_a_console_script_means_the_checkout_that_it_is_mounted_in(environment: Make) -> None:
    bench = environment()
    ended = bench.build(bench.checkout("built", says="built in"))
    assert ended.ok, ended.message
    for says in ("one", "two"):
        other = bench.checkout(says, says=says)
        assert other.said(".venv/bin/ours", mounts=bench.mounts(other)) == f"{says}\n"
        assert not other.does(".venv/bin/ours")


def test_what_is_sealed_cannot_be_modified(environment: Make) -> None:
    bench = environment()
    assert bench.build(bench.checkout("built")).ok
    other = bench.checkout("other")
    for deed in (
        "echo bad >.venv/bin/ours",
        "rm -f .venv/bin/ours",
        "chmod -R u+w .venv",
        "rm -rf .venv",
        "mv .venv v",
    ):
        assert not other.does(deed, mounts=bench.mounts(other)), deed
    assert other.said(".venv/bin/ours", mounts=bench.mounts(other)) == "\n"
    writable = tuple(Mount(source=m.source, target=m.target, writable=True) for m in bench.mounts(other))
    assert other.does("chmod -R u+w .venv && echo bad >.venv/bin/ours", mounts=writable)


def test_sealed_files_have_no_write_bits_and_give_no_rights(environment: Make) -> None:
    bench = environment(
        setup="mkdir made && touch made/file && chmod 6777 made/file && ln -s /etc made/link", paths=("made",)
    )
    assert bench.build(bench.checkout("built")).ok
    modes = [path.lstat().st_mode for path in bench.sealed.rglob("*") if not path.is_symlink()]
    assert modes and not [oct(mode) for mode in modes if mode & 0o6222]
    assert stat.S_IMODE((bench.sealed / "tree/made/file").stat().st_mode) == 0o555


def test_the_manifest_says_what_it_is(environment: Make) -> None:
    bench = environment(setup="mkdir made && echo 12345 >made/file", paths=("made",))
    assert bench.build(bench.checkout("built")).ok
    manifest = json.loads((bench.sealed / "manifest.json").read_text())
    assert manifest == {
        "env": "python",
        "digest": DIGEST,
        "setup": bench.spec.setup,
        "paths": {"made": {"files": 1, "bytes": 6}},
    }


def test_scratch_is_a_copy_for_each_job(environment: Make) -> None:
    bench = environment(scratch=(".venv/cache", ".venv/more"))
    assert bench.build(bench.checkout("built")).ok
    for name in ("one", "two"):
        other = bench.checkout(name)
        line = "cat .venv/cache/given; echo mine >.venv/cache/given; touch .venv/more/made; ls .venv/more"
        assert other.said(line, mounts=bench.mounts(other)) == "given\nmade\n"
        assert not other.does("touch .venv/bin/made", mounts=bench.mounts(other))


def test_building_again_is_success_at_once(environment: Make) -> None:
    bench = environment(setup="[ -e may-run ] && mkdir made", paths=("made",))
    first = bench.checkout("first")
    (first.checkout / "may-run").touch()
    assert bench.build(first).ok
    assert bench.build(bench.checkout("second")).ok


def test_what_a_crash_left_half_sealed_is_built_anew(environment: Make) -> None:
    bench = environment(setup="mkdir made && touch made/whole", paths=("made",))
    partial = bench.sealed.with_name(bench.sealed.name + ".partial")
    (partial / "tree/made").mkdir(parents=True)
    (partial / "tree/made/half").touch()
    (partial / "tree/made").chmod(0o555)
    assert bench.build(bench.checkout("built")).ok
    assert [path.name for path in (bench.sealed / "tree/made").iterdir()] == ["whole"]


# --- set-ups that do not work ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setup", "told"),
    [
        ("echo trying; echo 'no such package: left-pad' >&2; exit 3", ["exited with 3", "no such package: left-pad"]),
        ("seq 100; exit 1", ["exited with 1", "\n81\n", "\n100"]),
        ("true", ["did not make the directory .venv"]),
        ("touch .venv", ["did not make the directory .venv"]),
        ("ln -s /etc .venv", ["symbolic link of .venv"]),
    ],
)
def test_a_broken_set_up_says_why(environment: Make, setup: str, told: list[str]) -> None:
    bench = environment(setup=setup)
    ended = bench.build(bench.checkout("built"))
    assert not ended.ok
    assert all(words in ended.message for words in told), ended.message
    assert "\n80\n" not in ended.message
    assert not bench.sealed.exists()


def test_a_scratch_that_leads_outside_is_refused(environment: Make) -> None:
    bench = environment(setup="mkdir made && ln -s /etc made/cache", paths=("made",), scratch=("made/cache",))
    ended = bench.build(bench.checkout("built"))
    assert not ended.ok
    assert "symbolic link of made/cache" in ended.message
    assert not bench.sealed.exists()


def test_a_set_up_that_hangs_is_ended(environment: Make) -> None:
    bench = environment(setup="sleep 600", timeout_ms=200)
    ended = bench.build(bench.checkout("built"))
    assert not ended.ok
    assert "not done after 200 ms" in ended.message


@pytest.mark.parametrize("network", ["host", "none"])
def test_a_set_up_has_a_network_only_where_it_says_so(environment: Make, network: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 5)"
        bench = environment(setup=f'mkdir made && python3 -c "{connect}"', paths=("made",), network=network)
        assert bench.build(bench.checkout("built")).ok is (network == "host")


# --- without a sandbox ----------------------------------------------------------------------------------------------


def test_without_a_sandbox_each_checkout_sets_itself_up(environment: Make) -> None:
    bench = environment(sandbox="none")
    ended = bench.build(bench.checkout("built"))
    assert ended.ok
    assert "each checkout" in ended.message
    for says in ("one", "two"):
        other = bench.checkout(says, says=says)
        prepared = bench.prepare(other)
        assert prepared is not None and prepared.ok, prepared
        assert bench.mounts(other) == ()
        assert other.said(".venv/bin/ours") == f"{says}\n"


def test_without_a_sandbox_a_broken_set_up_says_why(environment: Make) -> None:
    bench = environment(sandbox="none", setup="echo no wheel >&2; exit 4")
    prepared = bench.prepare(bench.checkout("one"))
    assert prepared is not None and not prepared.ok
    assert "exited with 4" in prepared.message and "no wheel" in prepared.message


def test_without_a_sandbox_downloads_are_shared(environment: Make) -> None:
    bench = environment(
        sandbox="none", setup='mkdir -p "$PIP_CACHE_DIR"; ls "$PIP_CACHE_DIR" >seen; touch "$PIP_CACHE_DIR/wheel"'
    )
    for name, seen in (("one", ""), ("two", "wheel\n")):
        other = bench.checkout(name)
        bench.prepare(other)
        assert (other.checkout / "seen").read_text() == seen


def test_in_a_sandbox_nothing_is_to_be_prepared(environment: Make) -> None:
    bench = environment()
    assert bench.prepare(bench.checkout("one")) is None


# --- digests --------------------------------------------------------------------------------------------------------

FILES = {"requirements.txt": "1", "sub/requirements.txt": "2", "src/a.py": "3"}


def digest(make: Make, files: dict[str, str] = FILES, **spec: Any) -> str:
    found = make(**{"inputs": ("requirements.txt",), **spec}).environments.digests(files)
    assert list(found) == ["python"]
    return found["python"]


def test_equal_inputs_give_equal_digests(environment: Make) -> None:
    assert digest(environment) == digest(environment)
    assert digest(environment, dict(reversed(FILES.items()))) == digest(environment)
    assert digest(environment, {**FILES, "src/a.py": "changed"}) == digest(environment)


@pytest.mark.parametrize(
    "change",
    [
        {"files": {**FILES, "requirements.txt": "changed"}},
        {"files": {**FILES, "sub/requirements.txt": "changed"}},
        {"files": {"sub/requirements.txt": "2"}},
        {"setup": "true"},
        {"paths": (".venv", "more")},
        {"scratch": (".venv/cache",)},
        {"inputs": ("/requirements.txt",)},
    ],
)
def test_what_matters_changes_the_digest(environment: Make, change: dict[str, Any]) -> None:
    assert digest(environment, **change) != digest(environment)


def test_another_interpreter_changes_the_digest(environment: Make, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "python3").write_text("#!/bin/sh\necho Python 9.9\n")
    (tools / "python3").chmod(0o755)
    assert digest(environment, environ={"PATH": f"{tools}:{os.environ['PATH']}"}) != digest(environment)


# --- settings of the operator ---------------------------------------------------------------------------------------


def test_package_settings_pass_by_name_and_what_they_name_can_be_read(environment: Make, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "left_pad.whl").touch()
    setup = 'mkdir made; ls "$PIP_FIND_LINKS" >made/seen; echo "$NETRC_TOKEN$HTTPS_PROXY" >>made/seen'
    environ = {"PIP_FIND_LINKS": str(wheels), "NETRC_TOKEN": "secret", "HTTPS_PROXY": "http://proxy.invalid"}
    bench = environment(setup=setup, paths=("made",), environ=environ)
    assert bench.build(bench.checkout("built")).ok
    assert (bench.sealed / "tree/made/seen").read_text() == "left_pad.whl\n\n"


def test_proxies_pass_only_with_a_network() -> None:
    environ = {"HTTPS_PROXY": "http://proxy.invalid", "PIP_INDEX_URL": "https://index.invalid/simple"}
    assert choose_settings(environ, "host").env == environ
    assert set(choose_settings(environ, "none").env) == {"PIP_INDEX_URL"}


def test_credentials_are_left_out_and_named(environment: Make) -> None:
    environ = {"PIP_INDEX_URL": "https://ada:secret@index.invalid/simple"}
    settings = choose_settings(environ, "none")
    assert (settings.env, settings.left_out) == ({}, ("PIP_INDEX_URL",))
    bench = environment(setup="env; exit 1", environ=environ)
    message = bench.build(bench.checkout("built")).message
    assert "PIP_INDEX_URL: there are credentials in it" in message
    assert "ada:secret" not in message


def test_a_setting_never_shows_the_whole_home(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path / "ada"), "PIP_FIND_LINKS": f"{tmp_path} {tmp_path}/ada {tmp_path}/ada/wheels"}
    (tmp_path / "ada" / "wheels").mkdir(parents=True)
    assert [mount.source for mount in choose_settings(environ, "none").mounts] == [f"{tmp_path}/ada/wheels"]
