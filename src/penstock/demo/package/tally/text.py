"""Short texts: names for addresses, teasers, initials."""

import re


def slug(text: str) -> str:
    """The text as part of an address: lower case, words joined by dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def shorten(text: str, width: int) -> str:
    """At most `width` characters of the text; three dots say that there was more."""
    if len(text) <= width:
        return text
    return text[: width - 3] + "..."


def initials(name: str) -> str:
    """The first letters of a name, in upper case."""
    return "".join(word[0].upper() for word in name.split())
