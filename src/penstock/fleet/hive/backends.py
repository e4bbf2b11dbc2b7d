"""Whether this machine has what a model needs, besides memory."""

from __future__ import annotations

import os
import shutil

from penstock.fleet.hive.memory import CPU
from penstock.fleet.orders import Model

LLAMA_SERVER = "llama-server"


def why_not(model: Model) -> str:
    """Why the model cannot be served here; empty where it can."""
    program = model.argv[0] if model.argv else LLAMA_SERVER if model.backend == "llama" else ""
    if program and shutil.which(program) is None:
        return f"{program} is not installed here"
    if model.key_env and not os.environ.get(model.key_env):
        return f"{model.key_env} is not set where the hive runs"
    if model.device != CPU:
        return f"this machine is not known to have a device {model.device}"
    return ""
