"""LiteLLM's proxy, in an environment of its own (`.bench/litellm`), before the same workers."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.fleet.processes import tied_before_exec

REPOSITORY = Path(__file__).parents[2]
VENV = REPOSITORY / ".bench" / "litellm"
LOCK = REPOSITORY / "requirements" / "bench-litellm.txt"
INSTALL_S_MAX = 900
START_S_MAX = 120.0
KEY = f"sk-{secrets.token_hex(24)}"
"""It does not start without."""


@contextmanager
def proxy(folder: Path, workers: dict[str, list[str]]) -> Iterator[str]:
    """Its address; empty, with a line that says why, where there is none. `workers`: their URLs, by model."""
    if why := _missing():
        print(f"LiteLLM skipped, {why}", flush=True)
        yield ""
        return
    port = _free_port()
    command = [str(VENV / "bin" / "litellm"), "--config", _settings(folder, workers)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with (folder / "litellm.log").open("wb") as log:
        env = {"PATH": os.environ["PATH"], "HOME": str(folder), "LITELLM_LOG": "ERROR", "LITELLM_TELEMETRY": "False"}
        env |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": KEY}
        tie = tied_before_exec(os.getpid())
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, preexec_fn=tie)
    with process:
        try:
            yield f"http://127.0.0.1:{port}" if _is_up(process, port) else ""
        finally:
            process.kill()


def _missing() -> str:
    """Why it cannot be had."""
    if (VENV / "installed").exists():
        return ""
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=False, capture_output=True)
    words = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(LOCK)]
    try:
        if made.returncode or subprocess.run(words, check=False, capture_output=True, timeout=INSTALL_S_MAX).returncode:
            return "it cannot be installed here"
    except subprocess.TimeoutExpired:
        return f"it was not installed after {INSTALL_S_MAX} s"
    (VENV / "installed").touch()
    return ""


def _settings(folder: Path, workers: dict[str, list[str]]) -> str:
    lines = ["model_list:"]
    for model, urls in workers.items():
        for url in urls:
            lines += [f"  - model_name: {model}", "    litellm_params:"]
            lines += [f"      model: openai/{model}", f"      api_base: {url}/v1", "      api_key: none"]
    (folder / "litellm.yaml").write_text("\n".join([*lines, "litellm_settings: {telemetry: false}", ""]))
    return str(folder / "litellm.yaml")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_up(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as looking:
            if looking.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.2)
    print("LiteLLM skipped, it does not come up here", flush=True)
    return False
