"""Runs the command as a user does: a process of its own, judged by its output and exit status."""

import subprocess
import sys

CASES = [
    (["sum", "1.20", "3.40"], 0, "4.60"),
    (["slug", "Hello, World"], 0, "hello-world"),
    ([], 2, ""),
]


def main() -> int:
    """Run each case; 1 if any goes otherwise."""
    wrong = 0
    for arguments, status, output in CASES:
        end = subprocess.run([sys.executable, "-m", "tally", *arguments], capture_output=True, text=True)
        if (end.returncode, end.stdout.strip()) != (status, output):
            print(f"tally {' '.join(arguments)}: {end.returncode} {end.stdout.strip()!r}")
            wrong = 1
    print("smoke: something is wrong" if wrong else "smoke: all is well")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
