"""Programs that do not hear one another for a while, and what is said meanwhile."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_bdd import then, when

from tests.scenarios.steps.phrases import line
from tests.scenarios.waiting import until
from tests.scenarios.world import World

HEARD = 'penstock_queen_answers_total{path="POST /v1/hives",status="200"}'
ANSWERED = re.compile(r'penstock_worker_answers_total{path="POST /v1/inference",status="(\d+)"}')
CALLED = {"event": "answered", "path": "/v1/workers/ready"}


@when(line("the queen has heard the hive {n} times more"))
def heard_more(world: World, n: int) -> None:
    wanted = world.metrics("queen")[HEARD] + n
    until(lambda: world.metrics("queen")[HEARD] >= wanted, f"the hive is heard {n} times")


@then(line("the worker of {model} has answered {n} requests, and refused none"))
def refused_none(world: World, model: str, n: int) -> None:
    url = world.worker(model)["url"]
    until(lambda: _answered(world, url).get("200", 0) == n, f"{n} requests are answered")
    assert set(_answered(world, url)) <= {"200"}


def _answered(world: World, url: str) -> dict[str, int]:
    """Prompts, by the status that the worker itself counts."""
    found = ((ANSWERED.fullmatch(name), count) for name, count in world.metrics(url).items())
    return {match[1]: int(count) for match, count in found if match}


@then(line("the hives {text} are lost and heard again"))
def flap(world: World, text: str) -> None:
    for name in text.split(" and "):
        for state in ("lost", "ready", "lost"):
            world.until_listed(name, state)


@then(line("{n} callbacks lie unread at the hive"))
def callbacks_unread(world: World, n: int) -> None:
    """As the kernel has it: connections to the hive with bytes that nobody has read."""
    port = int(world.programs["here"].url.rpartition(":")[2])
    until(lambda: _unread(port) == n, f"{n} connections with unread bytes")


def _unread(port: int) -> int:
    """What was sent is unread though its sender may have hung up since."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    queues = [row[4] for row in rows if int(row[1].rpartition(":")[2], 16) == port and row[3] != "0A"]
    return sum(int(queue.rpartition(":")[2], 16) > 1 for queue in queues)


@then(line("the hive has answered its callbacks with {text}"))
def callbacks_answered(world: World, text: str) -> None:
    wanted = text.split(", ")
    hive = world.programs["here"]
    until(lambda: len(hive.told(**CALLED)) >= len(wanted), f"{len(wanted)} callbacks are answered")
    assert [str(told["status"]) for told in hive.told(**CALLED)] == wanted, hive.told(**CALLED)


@then("the hive has refused no callback of those that it could answer")
def none_refused(world: World) -> None:
    """Of one whose sender has hung up nothing may be left to answer: 0."""
    hive = world.programs["here"]
    until(lambda: len([told for told in hive.told(**CALLED) if told["status"] == 200]) >= 2, "two are answered")
    assert {told["status"] for told in hive.told(**CALLED)} <= {0, 200}, hive.told(**CALLED)


@then(line("the log of the hive tells once that a worker of {model} is {state}"))
def told_once(world: World, model: str, state: str) -> None:
    assert len(world.programs["here"].told(event="worker", model=model, state=state)) == 1


@then(line("the log of the hive tells of {text} of {n} that have ended"))
def told_how_far(world: World, text: str, n: int) -> None:
    told = world.programs["here"].told(event="draining")
    assert [each["ended"] for each in told] == [int(ended) for ended in text.split(", ")], told
    assert {each["workers"] for each in told} == {n}
