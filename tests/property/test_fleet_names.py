"""Names of every kind against a thousand inputs that nobody meant: refused, or harmless wherever a name ends up."""

from __future__ import annotations

import string
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.core.fleet.names import is_device, is_device_wanted, is_hive, is_model, is_request, is_worker

CHECKS: dict[str, tuple[Callable[[str], bool], str, int]] = {
    "model": (is_model, string.ascii_letters + string.digits + "._:/@+-", 128),
    "worker": (is_worker, string.ascii_letters + string.digits + "_-", 64),
    "hive": (is_hive, string.ascii_lowercase + string.digits + "-", 63),
    "request": (is_request, string.ascii_letters + string.digits + "_-", 128),
    "device": (is_device, string.ascii_lowercase + string.digits, 8),
    "device wanted": (is_device_wanted, string.ascii_lowercase + string.digits, 8),
}
HOSTILE = (
    *("", " ", "a b", "a\n", "a\r\n", "\x1b[31m", "a\0", "../etc", "/etc/passwd", "a/../b", "a//b", "..", "-rf", "a;b"),
    *("`id`", "$(id)", "a|b", "a&b", "' or 1=1 --", "<script>", "a" * 200, "ä", "а", "a\u200b", "%2e%2e", "a\\b"),
)
mixed = st.text(max_size=140) | st.text(alphabet=string.printable, max_size=140) | st.sampled_from(HOSTILE)
nearly = st.text(alphabet=string.ascii_letters + string.digits + "._:/@+-\n ", min_size=1, max_size=140)


@pytest.mark.parametrize("kind", sorted(CHECKS))
def test_what_is_hostile_is_no_name(kind: str) -> None:
    check, _, _ = CHECKS[kind]
    assert not [name for name in HOSTILE if check(name)]


@settings(max_examples=1_000, deadline=None)
@given(name=mixed | nearly)
@example(name="a" * 64)
@example(name="gpu0")
def test_a_name_is_harmless(name: str) -> None:
    for check, alphabet, chars_max in CHECKS.values():
        if check(name):
            assert set(name) <= set(alphabet) and 0 < len(name) <= chars_max
            assert name[0].isalnum() and ".." not in name
            assert quote(name, safe="/:@+") == name


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("model", ["a", "qwen2.5-coder:7b", "team/tiny", "a@b+c_d", "x" * 128]),
        ("worker", ["w1", "A-b_9", "x" * 64]),
        ("hive", ["east", "a-1", "x" * 63]),
        ("request", ["r-1", "chatcmpl-X_1", "x" * 128]),
        ("device", ["cpu", "gpu0", "cuda12", "metal0", "vulkan3"]),
        ("device wanted", ["cpu", "gpu0", "gpu", "cuda"]),
    ],
)
def test_good_names_are_names(kind: str, names: list[str]) -> None:
    check, _, chars_max = CHECKS[kind]
    assert all(check(name) for name in names)
    if not kind.startswith("device"):
        assert not check("x" * (chars_max + 1))
