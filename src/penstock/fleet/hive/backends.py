"""Whether this machine has what a model needs, besides memory."""

from __future__ import annotations

import os

from penstock.fleet.orders import Model
from penstock.fleet.worker.programs import unavailable


def why_not(model: Model) -> str:
    """Why the model cannot be served here; empty where it can."""
    if (missing := unavailable(model, os.environ)) is not None:
        return missing.message
    return ""
