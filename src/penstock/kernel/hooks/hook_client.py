"""What an agent's hook runs: `python -I -S hook_client.py claude`. Standard library only; refuses when it fails.

`-I -S` keep the user's environment and site-packages out of the start. The package is found behind the standard
library, so nothing that lies beside it can stand in for a module of the interpreter.
"""

from __future__ import annotations

import os
import sys

REFUSED = 2


def main(arguments: list[str]) -> None:
    """Answer one hook and end the process: the status is a refusal until it is known to be another."""
    status = REFUSED
    done = False
    try:
        _find_package()
        from penstock.kernel.hooks.asking import attend

        status = attend(arguments)
        done = True
    finally:
        try:
            if not done:
                os.write(2, _complaint())
        finally:
            os._exit(status)


def _find_package() -> None:
    here = os.path.abspath(__file__)
    for _ in range(4):
        here = os.path.dirname(here)
    if here not in sys.path:
        sys.path.append(here)


def _complaint() -> bytes:
    error = sys.exc_info()[1]
    what = f"penstock: refused: the hook failed ({type(error).__name__}: {error})\n"
    return what.encode("utf-8", "backslashreplace")


if __name__ == "__main__":
    main(sys.argv[1:])
