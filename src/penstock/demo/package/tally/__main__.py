"""The command line: `python -m tally COMMAND ...`."""

import sys

from tally import money, text


def main(arguments: list[str]) -> int:
    """Do what the arguments ask for; the exit status."""
    match arguments:
        case ["sum", *amounts]:
            print(money.show(money.total(money.parse(amount) for amount in amounts)))
        case ["slug", *words]:
            print(text.slug(" ".join(words)))
        case _:
            print("usage: python -m tally sum AMOUNT... | slug TEXT", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
