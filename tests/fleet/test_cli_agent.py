"""The built-in agent with a model of the fleet: what is looked at before a run, and how it is asked."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from msgspec import Raw

from penstock.kernel.model import Reply, Request
from penstock.settings.reader import read_settings
from penstock.settings.schema import Settings
from penstock.wire.fleet_model import fleet_problem, open_fleet_model
from tests.e2e.product import commit, new_repository
from tests.fleet.command import penstock
from tests.fleet.played_queen import PlayedQueen, failing, played_queen, telling

TEXT = """\
[agent]
kind = "kernel"
model = "fleet:tiny"
{more}
[sandbox]
mode = "none"
[gates.tests]
command = "true"
"""
HELLO: Raw = Raw(b'{"role": "user", "content": "hello"}')
COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
}


def settings(url: str = "", more: str = "") -> Settings:
    return read_settings(TEXT.format(more=f'fleet_url = "{url}"\n{more}' if url else more).encode())


def offers(queen: PlayedQueen, *names: str) -> None:
    queen.play("GET /v1/models", telling({"data": [{"id": name, "state": "cold"} for name in names]}))


def test_a_queen_that_offers_the_model_is_no_problem(tmp_path: Path) -> None:
    with played_queen() as queen:
        offers(queen, "tiny", "big")
        assert fleet_problem(settings(queen.url), {"HOME": str(tmp_path)}) is None
        assert fleet_problem(settings(), {"HOME": str(tmp_path), "PENSTOCK_QUEEN": queen.url}) is None
        both = settings(queen.url, 'escalation_model = "fleet:huge"\n')
        problem = fleet_problem(both, {"HOME": str(tmp_path)})
    assert problem is not None
    assert "does not offer huge; what it offers: big, tiny" in problem.message
    assert "penstock models add huge" in problem.fix


def test_nobody_where_the_queen_should_be_is_told_before_a_run(tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        problem = fleet_problem(settings(f"http://127.0.0.1:{bound.getsockname()[1]}"), {"HOME": str(tmp_path)})
    assert problem is not None
    assert "no queen answers" in problem.message
    assert "penstock queen" in problem.fix


def test_a_token_that_cannot_be_used_or_is_refused_is_told(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "PENSTOCK_FLEET_TOKEN_FILE": str(tmp_path / "token")}
    with played_queen() as queen:
        problem = fleet_problem(settings(queen.url), environ)
        assert problem is not None and "does not exist" in problem.message
        queen.play("GET /v1/models", failing("INVALID_TOKEN"))
        (tmp_path / "token").write_text("sesame-0123456789")
        (tmp_path / "token").chmod(0o600)
        problem = fleet_problem(settings(queen.url), environ)
        assert problem is not None and "INVALID_TOKEN" in problem.message
        assert queen.asked[-1].token == "Bearer sesame-0123456789"


def test_another_agent_asks_no_queen() -> None:
    assert fleet_problem(read_settings(b'[agent]\ncommand = "x"\n[gates.t]\ncommand = "true"\n'), {}) is None


def test_the_model_is_asked_by_its_name_in_the_fleet() -> None:
    with played_queen() as queen:
        queen.play("POST /v1/chat/completions", telling(COMPLETION))

        async def ask() -> object:
            model = open_fleet_model(settings(queen.url).agent.model)
            try:
                return await model.complete(Request(model="tiny", messages=(HELLO,)))
            finally:
                await model.close()

        reply = asyncio.run(ask())
    assert isinstance(reply, Reply)
    assert queen.asked[-1].body["model"] == "tiny"


@pytest.mark.parametrize(("name", "code"), [("tiny", 0), ("other", 2)])
def test_doctor_says_whether_the_queen_answers_and_offers_the_model(name: str, code: int, tmp_path: Path) -> None:
    place = new_repository(tmp_path / "repository")
    with played_queen() as queen:
        offers(queen, name)
        commit(place, {"penstock.toml": TEXT.format(more=f'fleet_url = "{queen.url}"\n'), "tickets/.keep": ""})
        ended = penstock(tmp_path, "-C", str(place), "doctor")
    said = ended.out + ended.err
    if code == 0:
        assert "the queen of the fleet answers, and offers tiny" in said
    else:
        assert "does not offer tiny" in said and "penstock models add tiny" in said
