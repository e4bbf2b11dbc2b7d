"""Scenarios of `observing.feature`, which share one fleet."""

from __future__ import annotations

from pytest_bdd import scenarios

from tests.scenarios.sharing import at_rest, world  # noqa: F401

scenarios("features/observing.feature")
