"""The program that plays a scripted agent: does the steps of one turn, one after the other, in the working directory.

Runs in the sandbox with nothing but the standard library, and knows nothing of Penstock. `scripted_program.py STEPS`:
a JSON list of `{"do": NAME, ...}`. A step that cannot be done is a crash that says which.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

EX_SOFTWARE = 70
FLOOD = b"and another thing, on second thoughts, let me think about this once more\n" * 1_000

Step = dict[str, Any]


def main() -> int:
    """Do all steps; the exit status is 0 unless a step says otherwise."""
    sys.stdin.buffer.read()
    with open(sys.argv[1], encoding="utf-8") as file:
        steps: list[Step] = json.load(file)
    for number, step in enumerate(steps, 1):
        try:
            DEEDS[step["do"]](step)
        except (OSError, LookupError, ValueError, subprocess.SubprocessError) as error:
            sys.stderr.write(f"step {number} ({step['do']}): {error}\n")
            return EX_SOFTWARE
    return 0


# --- edits ----------------------------------------------------------------------------------------------------------


def write(step: Step) -> None:
    os.makedirs(os.path.dirname(step["path"]) or ".", exist_ok=True)
    _put(step["path"], step["text"])


def append(step: Step) -> None:
    _put(step["path"], _read(step["path"]) + step["text"])


def replace(step: Step) -> None:
    text, old = _read(step["path"]), step["old"]
    if text.count(old) != 1:
        raise ValueError(f"{step['path']} has the old text {text.count(old)} times, not once")
    _put(step["path"], text.replace(old, step["new"]))


def delete(step: Step) -> None:
    os.unlink(step["path"])


def patch(step: Step) -> None:
    applied = ["git", "apply", "--whitespace=nowarn", "-"]
    end = subprocess.run(applied, input=step["text"].encode(), stderr=subprocess.PIPE, check=False)
    if end.returncode:
        raise ValueError(end.stderr.decode(errors="replace").strip())


def _read(path: str) -> str:
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def _put(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(text)


# --- words ----------------------------------------------------------------------------------------------------------


def say(step: Step) -> None:
    _tell(step["text"])


def run(step: Step) -> None:
    """What it sees there is its own affair: a red test is no crash of the agent."""
    end = subprocess.run(["sh", "-c", step["text"]], stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, check=False)
    _tell(f"[exit status {end.returncode}]")


def claim(step: Step) -> None:
    _report({"type": "claim", "text": step["text"]})


def usage(step: Step) -> None:
    _report({"type": "usage", **step["amounts"]})


def fail(step: Step) -> None:
    said = {"class": step["class"], "message": step["message"], "retry_after_ms": step["retry_after_ms"]}
    _report({"type": "failure", **said})


def _tell(text: str) -> None:
    sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()


def _report(line: dict[str, Any]) -> None:
    with open(os.environ["PENSTOCK_AGENT_REPORT"], "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


# --- misbehaviour ---------------------------------------------------------------------------------------------------


def wait_ms(step: Step) -> None:
    time.sleep(step["count"] / 1_000)


def leave(step: Step) -> None:
    os._exit(step["count"])


def crash(step: Step) -> None:
    """Die of a signal; where pid 1 of a namespace is deaf to it, by the status that a shell would give."""
    number = signal.Signals[step["signal"]]
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def hang(step: Step) -> None:
    while True:
        signal.pause()


def flood(step: Step) -> None:
    left = step["count"]
    while left > 0:
        left -= os.write(1, FLOOD[:left])


DEEDS: dict[str, Callable[[Step], None]] = {
    "write": write,
    "append": append,
    "replace": replace,
    "delete": delete,
    "patch": patch,
    "say": say,
    "run": run,
    "claim": claim,
    "usage": usage,
    "fail": fail,
    "wait_ms": wait_ms,
    "exit": leave,
    "crash": crash,
    "hang": hang,
    "flood": flood,
}

if __name__ == "__main__":
    sys.exit(main())
