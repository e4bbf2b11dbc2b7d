"""Amounts of money, kept as whole cents."""

from collections.abc import Iterable


def parse(text: str) -> int:
    """Cents of a text like `12.50` or `12`."""
    whole, dot, part = text.strip().partition(".")
    if not whole.isdigit() or (dot and not (part.isdigit() and len(part) == 2)):
        raise ValueError(f"{text!r} is no amount")
    return int(whole) * 100 + int(part or 0)


def show(cents: int) -> str:
    """The amount as people write it, with two decimals."""
    whole, part = divmod(cents, 100)
    return f"{whole}.{part:02}"


def total(amounts: Iterable[int]) -> int:
    """The sum of all amounts, zero of none."""
    return sum(amounts)
