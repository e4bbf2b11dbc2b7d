"""Queen, hive and worker against what their own OpenAPI documents say of them, tried by schemathesis: whatever comes,
the answer is one that is documented, in the type and form that is documented, and never an error of ours.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from tests.fleet.command import left_in, program, traceless, until
from tests.fleet.openai_fleet import MODEL, TOKEN_VARIABLE, fleet, token_file

SEED = 20_260
EXAMPLES = 10
"""Of each operation; those that are not left to chance come on top."""
TOKEN = "sesame-0123456789"
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
SETTINGS = f"""\
hooks = "{HOOKS}"

[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 503]  # nobody is there to serve it: documented, where it may be

[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 415, 422, 426, 428, 429, "5xx"]  # 426: of another version

[checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 409, 410, 426, 429, 503]  # sound, and refused all the same
"""
Programs = dict[str, str]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Their addresses. The worker asks for a token, the others do not."""
    home = tmp_path_factory.mktemp("fleet")
    secret = {TOKEN_VARIABLE: str(token_file(home, TOKEN))}
    with ExitStack() as stack:
        running = stack.enter_context(fleet(home))
        worker = stack.enter_context(program(home, "worker", "--model", MODEL, **secret))
        until(lambda: httpx2.get(f"{worker.url}/v1/ready", trust_env=False).json()["ready"])
        yield {"queen": running.queen.url, "hive": running.hive.url, "worker": worker.url}
    traceless(home)
    assert left_in(home) == []


@pytest.mark.parametrize(
    ("name", "spared"),
    [
        ("queen", r"^/v1/drain$|^/v1/hives/\{name\}$"),  # they end the programs that are tried
        ("hive", r"^/v1/drain$"),
        ("worker", ""),
    ],
)
def test_each_program_is_as_its_document_has_it(programs: Programs, name: str, spared: str, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    words = ["--config-file", str(tmp_path / "schemathesis.toml"), "run", f"{programs[name]}/openapi.json"]
    words += ["--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", str(SEED)]
    words += ["--generation-database", "none", "--suppress-health-check", "all", "--request-timeout", "20"]
    words += ["--no-color", "--warnings", "off", *(["--exclude-path-regex", spared] if spared else [])]
    words += ["--header", f"Authorization: Bearer {TOKEN}"] if name == "worker" else []
    command = [sys.executable, "-m", "schemathesis.cli", *words]
    tried = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=110)
    assert tried.returncode == 0, f"seed {SEED}\n{tried.stdout}\n{tried.stderr}"
    assert httpx2.get(f"{programs[name]}/v1/health", trust_env=False).json()["status"] in ("ok", "degraded")


@pytest.mark.parametrize("name", ["queen", "hive", "worker"])
def test_each_document_is_one_of_openapi(programs: Programs, name: str) -> None:
    told = httpx2.get(f"{programs[name]}/openapi.json", trust_env=False).json()
    assert told["openapi"] == "3.1.0"
    OPENAPI_31_VALIDATOR.validate(told)
    for path, operations in told["paths"].items():
        named = set(re.findall(r"{(\w+)}", path))
        for operation in operations.values():
            told_of = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
            assert told_of == named, path


@pytest.mark.parametrize("body", [b"4?o", b"[1,", b'{"prompt": 1} x', b'{"prompt": 1, "x": "\xff"}', b"[" * 100_000])
def test_what_is_json_only_at_first_is_no_json(programs: Programs, body: bytes) -> None:
    for name, path in (("queen", "/v1/inference"), ("hive", "/v1/workers/spawn"), ("worker", "/v1/inference")):
        headers = {"authorization": f"Bearer {TOKEN}"}
        answer = httpx2.post(f"{programs[name]}{path}", content=body, headers=headers, trust_env=False)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_JSON"), name


def test_a_deadline_that_is_over_at_once_is_told(programs: Programs) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    for _ in range(50):
        answer = httpx2.post(
            f"{programs['worker']}/v1/inference",
            json={"prompt": "Hello", "deadline_ms": 1},
            headers=headers,
            trust_env=False,
        )
        assert answer.status_code == 200
        assert answer.text.startswith("event: started\n") and answer.text.endswith("data: [DONE]\n\n")
