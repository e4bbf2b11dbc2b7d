"""Markup that cannot be forged: a plain string is text and is escaped, only `Html` is markup."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from penstock.evidence.words import plain

VOID = frozenset({"meta", "input", "br"})


class Html(str):
    """Markup as it is. Made by `el`, by joining, and from our own constants; never from what others wrote."""

    __slots__ = ()


Child = str | Iterable[str | None] | None
Attribute = str | int | float | bool | None


def el(tag: str, *children: Child, **attributes: Attribute) -> Html:
    """One element. A trailing `_` of an attribute is dropped, others become `-`; None and False leave it out."""
    head = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in VOID:
        return Html(f"<{tag}{head}>")
    return Html(f"<{tag}{head}>{join(*children)}</{tag}>")


def join(*children: Child) -> Html:
    """The children one after the other, each escaped unless it is markup."""
    return Html("".join(_flat(children)))


def _flat(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if isinstance(child, Html):
            yield child
        elif isinstance(child, str):
            yield escape(plain(child))
        elif child is not None:
            yield from _flat(child)


def _attribute(name: str, value: Attribute) -> str:
    name = name.removesuffix("_").replace("_", "-")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    shown = f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
    return f' {name}="{escape(plain(shown))}"'
