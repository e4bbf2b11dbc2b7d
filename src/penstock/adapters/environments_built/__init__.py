"""Environments: `building` runs a set-up once per digest, `sealing` keeps what it made, `operator_settings` is what
of the operator's package settings a set-up gets to see."""

from penstock.adapters.environments_built.building import BuiltEnvironments

__all__ = ["BuiltEnvironments"]
