"""What holds in every sandbox, and what bubblewrap keeps from happening.

Each guard is asked with a payload that succeeds without it: `none` is the positive control, on the same machine, with
the same checkout.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.adapters.processes import LocalProcesses
from penstock.adapters.sandbox_bwrap import BubblewrapSandbox
from penstock.adapters.sandbox_bwrap.bubblewrap import has_plain_place
from penstock.adapters.sandbox_none import NoSandbox
from penstock.ports import Mount, ProcessOrder
from tests.contract.sandbox_bench import SANDBOXES, SandboxBench, open_sandbox, operator_environ

ROOT = Path(__file__).parents[2]
PYTHON = (os.path.realpath(sys.executable), "-I", "-c")


@pytest.fixture
def operators_home() -> Iterator[Path]:
    """A HOME with secrets, not below /tmp: that would be hidden for another reason."""
    place = ROOT / ".pytest_cache" / f"operator-{uuid.uuid4().hex}"
    for name in (".ssh/id_ed25519", ".aws/credentials", ".config/gh/hosts.yml", ".netrc", ".npmrc", "notes"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("secret\n")
    yield place
    subprocess.run(["rm", "-rf", place], check=True)


@pytest.fixture(params=SANDBOXES)
def bench(request: pytest.FixtureRequest, tmp_path: Path, operators_home: Path) -> SandboxBench:
    return SandboxBench(tmp_path, open_sandbox(request.param, operator_environ(operators_home)))


def both(tmp_path: Path, home: Path, **environ: str) -> tuple[SandboxBench, SandboxBench]:
    """The guarded one and its positive control, on the same checkout."""
    confined, free = (open_sandbox(name, operator_environ(home, **environ)) for name in SANDBOXES)
    return SandboxBench(tmp_path, confined), SandboxBench(tmp_path, free)


# --- what holds in every sandbox ------------------------------------------------------------------------------------


def test_the_checkout_is_there_and_can_be_written(bench: SandboxBench) -> None:
    (bench.checkout / "given").write_text("g")
    assert bench.said("pwd; cat given; echo m >made") == f"{bench.at}\ng"
    assert (bench.checkout / "made").read_text() == "m\n"


def test_another_place_inside_can_be_asked_for(bench: SandboxBench) -> None:
    (bench.checkout / "src" / "deep").mkdir(parents=True)
    assert bench.said("pwd", cwd=f"{bench.at}/src/deep") == f"{bench.at}/src/deep\n"


def test_input_reaches_the_command(bench: SandboxBench) -> None:
    assert bench.does("cat", stdin=b"\x00\xff hello")
    assert (bench.job / "stdout").read_bytes() == b"\x00\xff hello"


@pytest.mark.parametrize(
    ("line", "status"), [("exit 0", 0), ("exit 7", 7), ("nosuchprogram", 127), ("kill -SEGV $$", 139)]
)
def test_the_exit_status_is_the_commands(bench: SandboxBench, line: str, status: int) -> None:
    assert bench.run(line).exit_status == status


def test_the_environment_is_clean(bench: SandboxBench) -> None:
    env = json.loads(bench.said((*PYTHON, "import json, os; print(json.dumps(dict(os.environ)))"), env={"ASKED": "1"}))
    assert (env["LANG"], env["TZ"], env["TERM"], env["ASKED"]) == ("C.UTF-8", "UTC", "dumb", "1")
    assert "SECRET_TOKEN" not in env
    assert env["PYTHONDONTWRITEBYTECODE"] == "1"


def test_the_confinement_has_the_last_word_on_the_environment(bench: SandboxBench) -> None:
    assert bench.said('echo "$TZ $LANG"', env={"TZ": "Asia/Tokyo"}) == "Asia/Tokyo C.UTF-8\n"


def test_home_is_empty_and_can_be_written(bench: SandboxBench) -> None:
    assert bench.said('ls -A "$HOME"; echo kept >"$HOME/made"; [ -w "$TMPDIR" ] && cat "$HOME/made"') == "kept\n"
    assert (bench.home / "made").read_text() == "kept\n"


def test_tools_on_path_are_the_operators(bench: SandboxBench) -> None:
    assert bench.said("python3 -c 'print(2 + 2)'; git --version").splitlines()[0] == "4"


def test_the_interpreter_of_penstock_can_be_run(bench: SandboxBench) -> None:
    assert bench.said((sys.executable, "-c", "import pytest, sys; print(sys.prefix)")) == f"{sys.prefix}\n"


def test_an_own_descriptor_is_kept(bench: SandboxBench) -> None:
    payload = (*PYTHON, "import os; os.write(int(os.environ['VERDICTS']), b'seen')")
    command = bench.sandbox.wrap(payload, bench.confinement())
    order = ProcessOrder(command=command, job_dir=str(bench.job), pipe_env="VERDICTS")
    assert asyncio.run(LocalProcesses().run(order)).pipe == b"seen"


def test_no_descendant_is_left(bench: SandboxBench) -> None:
    marker = f"marker-{uuid.uuid4().hex}"
    for name in ("one", "two"):
        os.mkfifo(bench.checkout / name)
    (bench.checkout / "stay").write_text('trap "" TERM; echo >$2; while :; do sleep 600; done\n')
    stay = f"sh stay {marker}"
    assert bench.does(f"setsid {stay} one & read _ <one; nohup {stay} two >/dev/null 2>&1 & read _ <two")
    assert living(marker) == []


def living(marker: str) -> list[int]:
    """Processes whose arguments carry the marker."""
    return [int(place.name) for place in Path("/proc").iterdir() if place.name.isdigit() and marker in arguments(place)]


def arguments(place: Path) -> str:
    try:
        return (place / "cmdline").read_text()
    except OSError:
        return ""


# --- isolation is told as it is -------------------------------------------------------------------------------------


def test_isolation_is_told_as_it_is() -> None:
    confined, free = BubblewrapSandbox().isolation(), NoSandbox().isolation()
    assert (confined.name, confined.filesystem, confined.network, confined.processes) == (
        "bubblewrap",
        True,
        True,
        True,
    )
    assert (free.name, free.filesystem, free.network, free.processes) == ("none", False, False, False)
    assert free.note


def test_a_missing_program_is_named_with_its_package(tmp_path: Path) -> None:
    sandbox = BubblewrapSandbox(environ={"PATH": str(tmp_path), "HOME": str(tmp_path)})
    assert "package is `bubblewrap`" in str(sandbox.probe())
    assert not sandbox.isolation().filesystem
    assert "not installed" in sandbox.isolation().note


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("bwrap: No permissions to create new namespace", "an administrator can allow it"),
        ("bwrap: setting up uid map: Permission denied", "an administrator can allow it"),
        ("bwrap: something new", "does not work here: bwrap: something new"),
    ],
)
def test_a_program_that_fails_says_why(tmp_path: Path, said: str, told: str) -> None:
    bwrap = tmp_path / "bwrap"
    bwrap.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    bwrap.chmod(0o755)
    assert told in str(BubblewrapSandbox(environ={"PATH": str(tmp_path), "HOME": str(tmp_path)}).probe())


# --- what bubblewrap guards -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [".ssh/id_ed25519", ".aws/credentials", ".config/gh/hosts.yml", ".netrc", "notes"])
def test_secrets_in_the_operators_home_cannot_be_read(tmp_path: Path, operators_home: Path, secret: str) -> None:
    confined, free = both(tmp_path, operators_home)
    assert free.said(f"cat {operators_home}/{secret}") == "secret\n"
    assert not confined.does(f"cat {operators_home}/{secret}")
    assert not confined.does(f"ls {operators_home}")


def test_of_home_only_the_tools_on_path_are_shown(tmp_path: Path, operators_home: Path) -> None:
    make_tools(operators_home)
    path = ":".join(f"{operators_home}/{place}" for place in (".local/bin", ".cargo/bin", ".pyenv/shims", "venv/bin"))
    confined, free = both(tmp_path, operators_home, PATH=f"{path}:{os.environ['PATH']}")
    for tool in ("linked", "rusty", "snake", "enved"):
        assert confined.said(tool) == free.said(tool) == f"{tool}\n"
    for secret in (".cargo/credentials.toml", ".local/share/keyring", ".ssh/id_ed25519", ".npmrc"):
        assert free.does(f"cat {operators_home}/{secret}")
        assert not confined.does(f"cat {operators_home}/{secret}")
    assert free.does(f"touch {operators_home}/.pyenv/made")
    assert not confined.does(f"touch {operators_home}/.pyenv/made2")


def make_tools(home: Path) -> None:
    """One tool of each kind: a link into a tool's own place, a lone directory, a version manager, an environment."""
    places = {
        "linked": ".local/share/tools/linked/bin/linked",
        "rusty": ".cargo/bin/rusty",
        "snake": ".pyenv/shims/snake",
        "enved": "venv/bin/enved",
    }
    for name, place in places.items():
        (home / place).parent.mkdir(parents=True, exist_ok=True)
        (home / place).write_text(f"#!/bin/sh\necho {name}\n")
        (home / place).chmod(0o755)
    (home / "venv/pyvenv.cfg").write_text("home = /usr/bin\n")
    (home / ".local/bin").mkdir()
    (home / ".local/bin/linked").symlink_to(home / places["linked"])
    for library in (".cargo/lib", ".local/lib"):
        (home / library).mkdir()
    for secret in (".cargo/credentials.toml", ".local/share/keyring"):
        (home / secret).write_text("secret\n")


def test_nothing_outside_can_be_written(tmp_path: Path, operators_home: Path) -> None:
    confined, free = both(tmp_path, operators_home)
    for place in (operators_home, tmp_path):
        line = f"mkdir -p {place}; touch {place}/made"
        confined.run(line)
        assert not (place / "made").exists()
        assert free.does(line)
        assert (place / "made").exists()
    assert confined.does("mkdir /tmp/made")
    assert not confined.does("mkdir /made")


def test_what_is_left_in_tmp_is_gone_with_the_job(tmp_path: Path, operators_home: Path) -> None:
    confined, free = both(tmp_path, operators_home)
    name = f"/tmp/penstock-{uuid.uuid4().hex}"
    for bench, is_left in ((confined, False), (free, True)):
        assert bench.does(f"touch {name}")
        assert os.path.exists(name) is is_left
    os.unlink(name)


def test_a_loopback_server_cannot_be_reached(tmp_path: Path, operators_home: Path) -> None:
    confined, free = both(tmp_path, operators_home)
    with socket.create_server(("127.0.0.1", 0)) as server:
        payload = (*PYTHON, f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 5)")
        assert free.does(payload)
        assert not confined.does(payload)
        assert confined.does(payload, network="host")


def test_an_abstract_socket_cannot_be_reached(tmp_path: Path, operators_home: Path) -> None:
    confined, free = both(tmp_path, operators_home)
    name = f"penstock-{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        payload = (*PYTHON, f"import socket; socket.socket(socket.AF_UNIX).connect('\\0{name}')")
        assert free.does(payload)
        assert not confined.does(payload)


def test_processes_of_the_host_cannot_be_seen_or_signalled(tmp_path: Path, operators_home: Path) -> None:
    confined, free = both(tmp_path, operators_home)
    marker = f"marker-{uuid.uuid4().hex}"
    payload = f"""
import os, sys
halves = {marker[:10]!r}, {marker[10:]!r}
def carries(pid):
    try:
        return "".join(halves) in open(f"/proc/{{pid}}/cmdline").read()
    except OSError:
        return False
found = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and carries(pid)]
for pid in found or [int(sys.argv[1])]:
    os.kill(pid, {int(signal.SIGKILL)})
"""
    argv = [sys.executable, "-c", "import sys; sys.stdin.read()", marker]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as bystander:
        assert not confined.does((*PYTHON, payload, str(bystander.pid)))
        assert bystander.poll() is None
        assert free.does((*PYTHON, payload, str(bystander.pid)))
        assert bystander.wait() == -signal.SIGKILL


def test_capabilities_are_gone(tmp_path: Path, operators_home: Path) -> None:
    confined, _ = both(tmp_path, operators_home)
    lines = confined.said("grep ^Cap /proc/self/status; id -u; id -un").split()
    assert lines[1::2][:5] == ["0" * 16] * 5
    assert lines[-2:] == ["1000", "agent"]


@pytest.mark.parametrize("writable", [False, True], ids=["guarded", "control"])
def test_a_mount_can_be_rewritten_only_where_it_says_so(tmp_path: Path, operators_home: Path, writable: bool) -> None:
    confined, _ = both(tmp_path, operators_home)
    for name in ("store", "env"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "object").write_text("old")
    places = {"store": str(tmp_path / "store"), "env": f"{confined.at}/.venv"}
    mounts = tuple(Mount(source=str(tmp_path / n), target=p, writable=writable) for n, p in places.items())
    for name, where in places.items():
        for deed in ("echo new >{0}/object", "chmod 777 {0}/object", "rm {0}/object", "touch {0}/more"):
            assert confined.does(deed.format(where), mounts=mounts) is writable, deed
        assert (tmp_path / name / "more").exists() is writable


def test_later_mounts_cover_earlier_ones(tmp_path: Path, operators_home: Path) -> None:
    confined, _ = both(tmp_path, operators_home)
    for name in ("env", "scratch"):
        (tmp_path / name / "cache").mkdir(parents=True)
        (tmp_path / name / "cache" / "which").write_text(name)
    env = Mount(source=str(tmp_path / "env"), target=f"{confined.at}/node_modules")
    scratch = Mount(source=str(tmp_path / "scratch/cache"), target=f"{env.target}/cache", writable=True)
    assert confined.said("cat node_modules/cache/which", mounts=(env, scratch)) == "scratch"
    assert confined.said("cat node_modules/cache/which", mounts=(scratch, env)) == "env"


@pytest.mark.parametrize("at", ["/tmp/deep/down/repo", "/srv/repo", "/home/agent/repo", "/var/tmp/repo"])
def test_the_checkout_appears_wherever_the_repository_lies(tmp_path: Path, operators_home: Path, at: str) -> None:
    sandbox = open_sandbox("bubblewrap", operator_environ(operators_home))
    bench = SandboxBench(tmp_path, sandbox, at=at)
    assert bench.said("pwd && touch made && touch $HOME/made /tmp/made") == f"{at}\n"
    assert (bench.checkout / "made").exists()


def test_the_repository_may_lie_in_the_operators_home(tmp_path: Path, operators_home: Path) -> None:
    (operators_home / "repo").mkdir()
    sandbox = open_sandbox("bubblewrap", operator_environ(operators_home))
    bench = SandboxBench(tmp_path, sandbox, at=f"{operators_home}/repo")
    assert bench.said(f"touch made; ls -A {operators_home}") == "repo\n"
    assert not (operators_home / "repo" / "made").exists()


def test_what_the_operator_names_can_be_read(tmp_path: Path, operators_home: Path) -> None:
    notes = str(operators_home / "notes")
    named = open_sandbox("bubblewrap", operator_environ(operators_home), readable=(notes, "/nosuch"))
    assert SandboxBench(tmp_path, named).said(f"cat {notes}") == "secret\n"
    assert not SandboxBench(tmp_path, named).does(f"echo >{notes}")


def test_no_mount_point_is_made_through_a_link_of_the_checkout(tmp_path: Path, operators_home: Path) -> None:
    """Without the guard, bubblewrap makes the directory `made` on the host: the control runs it so."""
    confined, _ = both(tmp_path, operators_home)
    victim = tmp_path / "victim"
    victim.mkdir()
    (confined.checkout / "link").symlink_to(f"/oldroot{victim}")
    mount = Mount(source=str(confined.home), target=f"{confined.at}/link/made")
    assert not has_plain_place(confined.confinement().checkout, mount)
    assert confined.does("true", mounts=(mount,))
    assert list(victim.iterdir()) == []
    command = confined.sandbox.wrap(("true",), confined.confinement())
    end = command.argv.index("--remount-ro")
    unguarded = (*command.argv[:end], "--ro-bind", mount.source, mount.target, *command.argv[end:])
    subprocess.run(unguarded, env=command.env, check=False)
    assert [place.name for place in victim.iterdir()] == ["made"]


# --- when we are killed ---------------------------------------------------------------------------------------------

HARNESS = """
import asyncio, sys
from pathlib import Path
from penstock.adapters.processes import LocalProcesses
from penstock.ports import ProcessOrder
from tests.contract.sandbox_bench import SandboxBench, open_sandbox
bench = SandboxBench(Path(sys.argv[1]), open_sandbox(sys.argv[2]))
command = bench.sandbox.wrap(("sh", "-c", sys.argv[3]), bench.confinement(env={"MARKER": sys.argv[4]}))
order = ProcessOrder(command=command, job_dir=str(bench.job))
asyncio.run(LocalProcesses().run(order, lambda identity: print(identity.pid, flush=True)))
"""


@pytest.mark.parametrize("name", SANDBOXES)
def test_killing_the_harness_leaves_nobody(tmp_path: Path, name: str) -> None:
    marker = f"marker-{uuid.uuid4().hex}"
    (tmp_path / "checkout").mkdir()
    os.mkfifo(tmp_path / "checkout" / "ready")
    stay = 'python3 -c \'import time; print(file=open("ready", "w")); time.sleep(600)\' $MARKER'
    argv = [sys.executable, "-c", HARNESS, str(tmp_path), name, f"setsid {stay} & sleep 600", marker]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as harness:
        assert harness.stdout is not None
        keeper = os.pidfd_open(int(harness.stdout.readline()))
        (tmp_path / "checkout" / "ready").read_text()
        assert len(living(marker)) == 2
        harness.kill()
    wait_for(keeper)
    assert living(marker) == []


def wait_for(pidfd: int) -> None:
    """Return when the process of a pidfd has ended; fails after a minute."""
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)
    assert ended.poll(60_000)
    os.close(pidfd)
