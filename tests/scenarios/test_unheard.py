"""Scenarios of `unheard.feature`."""

from __future__ import annotations

from pytest_bdd import scenarios

scenarios("features/unheard.feature")
