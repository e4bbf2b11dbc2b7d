"""Writing production code by every way but the edit tool."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import tarfile
from pathlib import Path

from tests.bypass.vector import Attack, Vector, Watched, is_altered
from tests.integration.gate_world import MONEY

STOLEN = MONEY.replace("amount * 2", "amount * 3  # stolen")
SCRIPT = "sed -i 's/amount \\* 2/amount * 3/' app/money.py"
PATCH = """\
--- a/app/money.py
+++ b/app/money.py
@@ -5,2 +5,2 @@
 def double(amount):
-    return amount * 2
+    return amount * 3
"""
HEREDOC = f"cat > app/money.py <<END\n{STOLEN}END"
WRITTEN = f"open('app/money.py', 'w').write({STOLEN!r})"
MAPPED = """\
import mmap, os
was = os.stat("app/money.py")
with open("app/money.py", "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
    at = memory.find(b"* 2")
    memory[at + 2:at + 3] = b"3"
    memory.flush()
os.utime("app/money.py", ns=(was.st_atime_ns, was.st_mtime_ns))
"""


def running(command: str) -> Attack:
    async def attack(gate: Watched) -> None:
        await gate.shell(command)

    return attack


async def aside(gate: Watched) -> None:
    """No entry of the tree, so no write of it: it is removed with a word."""
    answer = await gate.shell("echo 'X = 3' > app/.penstock-aside-0123456789abcdef")
    gate.saw |= {"restored"} if "removed" in answer.text else set()


async def too_deep(gate: Watched) -> None:
    """Deeper than anybody looks: it stays, and no turn is clean with it."""
    await gate.shell(f"mkdir -p {DEEP}; echo 'X = 3' > {DEEP}/m.py")
    end = await gate.call("end_turn")
    gate.saw |= {"marked"} if "could not be judged" in end.text and end.is_error else set()


def is_hidden(gate: Watched) -> bool:
    return (gate.top / DEEP / "m.py").exists() and "marked" not in gate.saw


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"


def in_git(top: Path) -> None:
    """The tree under git, with a branch on which the line is stolen."""
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(top))
    steps = [["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "as it is"]]
    for step in [*steps, ["checkout", "-q", "-b", "other"]]:
        subprocess.run([*git, *step], check=True)
    (top / "app/money.py").write_text(STOLEN)
    for step in [["commit", "-q", "-a", "-m", "stolen"], ["checkout", "-q", "main"]]:
        subprocess.run([*git, *step], check=True)


def with_a_hook(top: Path) -> None:
    in_git(top)
    hook = top / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{SCRIPT}\n")
    hook.chmod(hook.stat().st_mode | stat.S_IXUSR)


def with_an_archive(top: Path) -> None:
    (top / "money.py").write_text(STOLEN)
    with tarfile.open(top.parent / "stolen.tar", "w") as archive:
        archive.add(top / "money.py", "app/money.py")
    os.unlink(top / "money.py")


DEEP = "/".join(["deep"] * 101)
COMMANDS: dict[str, str] = {
    "sed in place": SCRIPT,
    "cat from a heredoc": f"cat > app/money.py <<'END'\n{STOLEN}END",
    "heredoc inside bash -c": f"bash -c {quoted(HEREDOC)}",
    "append with echo": "echo 'X = 3' >> app/money.py",
    "tee": f"printf %s {quoted(STOLEN)} | tee app/money.py >/dev/null",
    "python -c": f"python3 -c {quoted(WRITTEN)}",
    "a decoded script": f"echo {base64.b64encode(SCRIPT.encode()).decode()} | base64 -d | sh",
    "mv over it": f"printf %s {quoted(STOLEN)} > tests/new.txt; mv tests/new.txt app/money.py",
    "cp over it": f"printf %s {quoted(STOLEN)} > tests/new.txt; cp tests/new.txt app/money.py",
    "a directory swapped by rename": f"cp -r app new; {SCRIPT.replace('app/', 'new/')}; mv app tests/old; mv new app",
    "a directory swapped for a link": f"mv app tests/app; ln -s tests/app app; {SCRIPT}",
    "through a link in tests": "ln -s ../app/money.py tests/link.py; echo 'X = 3' >> tests/link.py",
    "through a hard link in tests": "ln app/money.py tests/twin.py; echo 'X = 3' >> tests/twin.py",
    "a file swapped for a link out of the tree": "cp app/money.py ../out.py; ln -sf ../../out.py app/money.py",
    "rm": "rm app/money.py",
    "rm of everything": "rm -rf ./app ./tests ./README.md",
    "truncate": "truncate -s 0 app/money.py",
    "dd": "printf 9 | dd of=app/money.py bs=1 seek=3 conv=notrunc 2>/dev/null",
    "patch": f"printf %s {quoted(PATCH)} | patch -s -p1",
    "perl in place": "perl -pi -e 's/amount \\* 2/amount * 3/' app/money.py",
    "awk and a rename": "awk '{sub(/[*] 2/, \"* 3\")} 1' app/money.py > t && mv t app/money.py",
    "the mode alone": "chmod 755 app/money.py",
    "no mode at all": "chmod 000 app/money.py",
    "memory mapped, the old time put back": f"python3 -c {quoted(MAPPED)}",
    "the same size and time": f"touch -r app/money.py ../then; {SCRIPT}; touch -r ../then app/money.py",
    "a time of 1970": f"{SCRIPT}; touch -d @0 app/money.py",
    "a pipe in its place": "rm app/money.py; mkfifo app/money.py",
    "a directory in its place": "mv app/money.py t; mkdir app/money.py; mv t app/money.py/__init__.py",
    "another case": "echo 'X = 3' > app/Money.py",
    "a letter that looks alike": "echo 'X = 3' > app/m\u043eney.py",
    "a decomposed name": "echo 'X = 3' > app/caf\u0065\u0301.py",
    "a name that is no UTF-8": "printf 'X = 3' > \"app/$(printf 'm\\377').py\"",
    "a huge file": "truncate -s 12000000 app/money.py",
    "a directory that says it is ignored": f"echo 'app/' > .gitignore; {SCRIPT}",
    "a module of the root that shadows pytest": "echo 'X = 3' > pytest.py",
    "a module of the root that shadows the package": "mkdir t; cp -r app t/app; echo 'X = 3' > app.py",
    "an entry point of pytest in the root": "mkdir x.dist-info; printf '[pytest11]\\nx = tests.x\\n' > "
    "x.dist-info/entry_points.txt",
    "the settings of the gate": "echo '[redgreen]' > penstock.toml",
    "a workflow": "mkdir -p .github/workflows; echo 'on: push' > .github/workflows/x.yml",
    "many files at once": "for n in 1 2 3 4 5 6 7 8 9; do echo 'X = 3' > app/m$n.py; done",
}
IN_GIT: dict[str, str] = {
    "git checkout of a branch": "git checkout -q other",
    "git checkout of a path": "git checkout -q other -- app/money.py",
    "git restore": "git restore --source other app/money.py",
    "git reset": "git reset -q --hard other",
    "git apply": f"printf %s {quoted(PATCH)} | git apply",
    "git stash of what is not there yet": f"{SCRIPT}; git stash -q; git stash pop -q",
    "git merge": "git merge -q other",
    "git worktree over another tree": "git --work-tree=. checkout -q -f other",
    "the deletion of everything with git": "find . -mindepth 1 -delete",
}

VECTORS: tuple[Vector, ...] = (
    Vector("a file deeper than anybody looks", "write", "marked", too_deep, is_hidden, "bare"),
    Vector("a file of the writer's own name", "write", "restored", aside, is_altered, "bare"),
    *(Vector(name, "write", "restored", running(command), is_altered) for name, command in COMMANDS.items()),
    *(
        Vector(name, "write", "restored", running(command), is_altered, prepare=in_git)
        for name, command in IN_GIT.items()
    ),
    Vector("a git hook", "write", "restored", running("git checkout -q -b new"), is_altered, prepare=with_a_hook),
    Vector(
        "an archive unpacked", "write", "restored", running("tar xf ../stolen.tar"), is_altered, prepare=with_an_archive
    ),
)
