"""Runs one test binary once for each test asked for: `penstock_each.py ORDER BINARY ARGUMENTS...`.

`cargo test` and `go test -exec` call this in place of a test binary. It judges nothing: for each test it says over the
pipe how the process ended, what it printed, and what the harness left in its proof file. The file is named afresh for
each test and written by the harness itself when it is done: a test that leaves early, or prints what a harness
prints, leaves none. The pipe is not inherited by tests. Stands alone: only the standard library is known inside.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

TEXT_BYTES_MAX = 100_000
PROOF_BYTES_MAX = 20_000
LIST_S_MAX = 30
OURS = ("PENSTOCK_EACH_FD",)


def main(order_path: str, binary: str, arguments: list[str]) -> int:
    """Run what the order asks of this binary; always 0, for what ran is told over the pipe."""
    with open(order_path, encoding="utf-8") as order_file:
        return carry_out(json.load(order_file), binary, arguments, order_file.fileno())


def carry_out(order: dict[str, object], binary: str, arguments: list[str], lock: int) -> int:
    """List the tests of this binary, run those asked for, and tell of both; one line at a time under `lock`."""
    env = {name: value for name, value in os.environ.items() if name not in OURS}
    pipe = os.fdopen(int(os.environ[OURS[0]]), "w", encoding="utf-8")
    place = os.getcwd()

    def tell(**said: object) -> None:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pipe.write(json.dumps({"nonce": order["nonce"], "binary": binary, "place": place, **said}) + "\n")
        pipe.flush()
        fcntl.flock(lock, fcntl.LOCK_UN)

    technology = str(order["technology"])
    there = list(listed(binary, technology, env))
    tell(kind="found", tests=there)
    asked = asked_of(binary, place, order)
    for test in there if asked is None else [test for test in asked if test.split("/")[0] in there]:
        if not order["list_only"]:
            tell(kind="begun", test=test)
            tell(kind="ended", test=test, **run_one(binary, arguments, test, technology, env))
    return 0


def listed(binary: str, technology: str, env: dict[str, str]) -> Iterator[str]:
    """Names of the tests in the binary, in its order."""
    flags = ["--list", "--format", "terse"] if technology == "cargo" else ["-test.list", "."]
    said = subprocess.run([binary, *flags], env=env, capture_output=True, timeout=LIST_S_MAX, stdin=subprocess.DEVNULL)
    for line in said.stdout.decode("utf-8", "replace").splitlines():
        if technology == "cargo" and line.endswith(": test"):
            yield line.removesuffix(": test")
        elif technology == "go" and re.fullmatch(r"(Test|Example|Fuzz)\w*", line):
            yield line


def asked_of(binary: str, place: str, order: dict[str, object]) -> list[str] | None:
    """Names asked of this binary: by the source it was made of, or the directory it works in. None: all."""
    asked = order["asked"]
    if not isinstance(asked, dict):
        return None
    own = asked.get(root_source(binary) if order["technology"] == "cargo" else place, [])
    return [str(name) for name in own]


def root_source(binary: str) -> str:
    """The source that the compiler was given, as its own list of what it read says."""
    with open(f"{binary.removesuffix('.exe')}.d", encoding="utf-8") as file:
        return file.readline().rstrip("\n").partition(": ")[2].replace("\\ ", "\0").split(" ")[0].replace("\0", " ")


def run_one(binary: str, arguments: list[str], test: str, technology: str, env: dict[str, str]) -> dict[str, object]:
    """One process for one test, from nothing."""
    with tempfile.TemporaryDirectory() as directory:
        proof = os.path.join(directory, secrets.token_hex(8))
        output = os.path.join(directory, "stdout"), os.path.join(directory, "stderr")
        begun = time.monotonic()
        with open(output[0], "wb") as stdout, open(output[1], "wb") as stderr:
            flags = flags_for(test, proof, technology)
            done = subprocess.run(
                [binary, *arguments, *flags], env=env, stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL
            )
        texts = [end_of(path, TEXT_BYTES_MAX) for path in output]
        return {
            "status": done.returncode,
            "stdout": texts[0],
            "stderr": texts[1],
            "proof": end_of(proof, PROOF_BYTES_MAX) if os.path.exists(proof) else None,
            "duration_ms": round((time.monotonic() - begun) * 1_000),
        }


def flags_for(test: str, proof: str, technology: str) -> list[str]:
    """Exactly this test, and the proof that the harness itself came to the end."""
    if technology == "cargo":
        return ["--exact", test, "--test-threads=1", "--color=never", "--logfile", proof]
    pattern = "/".join(f"^{re.escape(part)}$" for part in test.split("/"))
    return ["-test.v=true", f"-test.run={pattern}", f"-test.blockprofile={proof}"]


def end_of(path: str, bytes_max: int) -> str:
    """The end of a file, as text."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - bytes_max))
        return file.read().decode("utf-8", "replace")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
