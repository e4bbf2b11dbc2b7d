"""Scenarios of `ssh.feature`."""

from __future__ import annotations

from pytest_bdd import scenarios

scenarios("features/ssh.feature")
