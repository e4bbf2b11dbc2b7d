"""Processes: what hits them, how they live on, how they end."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

from pytest_bdd import given, then, when

from penstock.fleet.processes import Process, children, descendants, identify, signal_process
from tests.scenarios.http import ask
from tests.scenarios.steps.asking import program_of
from tests.scenarios.steps.phrases import line
from tests.scenarios.traces import command_of
from tests.scenarios.waiting import until
from tests.scenarios.world import World


def process_of(world: World, target: str) -> Process:
    """The process that is meant; what it was is kept, so that its end can be seen."""
    if target.startswith("the worker of "):
        pid = world.worker(target.removeprefix("the worker of "))["pid"]
    else:
        pid = world.programs[program_of(world, target)].pid
    found = identify(pid)
    assert found is not None, f"{target} has ended"
    return found


@given(line("somebody has looked at {target}"))
@when(line("somebody has looked at {target}"))
def looked_at(world: World, target: str) -> None:
    """So that it is told later from who comes after."""
    world.known[target] = process_of(world, target)
    world.traces.note()


@when(line("{signal} hits {target}"))
def hits(world: World, signal: str, target: str) -> None:
    looked_at(world, target)
    world.known["hit at"] = time.monotonic()
    assert signal_process(world.known[target], _number(signal))


@when(line("{signal} hits {target} again"))
def hits_again(world: World, signal: str, target: str) -> None:
    """The same process, whoever else there is now."""
    assert signal_process(world.known[target], _number(signal))


def _number(name: str) -> signal.Signals:
    return signal.Signals[name]


@then(line("{target} ends within {n} ms"))
def ends_within(world: World, target: str, n: int) -> None:
    process = world.known.get(target) or process_of(world, target)
    until(lambda: identify(process.pid) != process, f"the end of {target}", n / 1_000)


@then(line("{target} exits with {n}"))
def exits_with(world: World, target: str, n: int) -> None:
    assert world.programs[program_of(world, target)].ended() == n


@then(line("{target} is alive"))
def is_alive(world: World, target: str) -> None:
    process = world.known.get(target) or process_of(world, target)
    assert identify(process.pid) == process


@then(line("{target} is the one that was looked at"))
def is_the_same(world: World, target: str) -> None:
    assert process_of(world, target) == world.known[target]


@then(line("a worker of {model} is idle that was not looked at"))
def is_another(world: World, model: str) -> None:
    before = world.known[f"the worker of {model}"].pid
    until(lambda: [w for w in world.live(model) if w["state"] == "idle" and w["pid"] != before], "another is idle")


@then(line("the log of the hive tells of waits of {text} ms before replacements"))
def waits_told(world: World, text: str) -> None:
    told = [line["wait_ms"] for line in world.programs["here"].told(event="to be replaced")]
    assert told == [int(each) for each in text.split(", ")], told


@then(line("all workers have ended within {n} ms"))
def no_worker(world: World, n: int) -> None:
    until(lambda: not _workers_alive(world), f"no worker of {world.root}", n / 1_000)


def _workers_alive(world: World) -> list[int]:
    from tests.scenarios.traces import living_in

    return [process.pid for process in living_in(world.root) if "penstock worker" in command_of(process.pid)]


@then(line("nothing below {target} is left within {n} ms"))
def nothing_below(world: World, target: str, n: int) -> None:
    below: list[Process] = world.known[f"below {target}"]
    assert below
    until(lambda: not [p for p in below if identify(p.pid) == p], f"nobody below {target}", n / 1_000)


@when(line("somebody has looked at everything below {target}"))
def looked_below(world: World, target: str) -> None:
    world.known[f"below {target}"] = descendants(process_of(world, target).pid)


@then(line("{target} has {n} children that are no zombies and none that is"))
def has_children(world: World, target: str, n: int) -> None:
    from penstock.fleet.processes import child_pids

    pid = process_of(world, target).pid
    until(lambda: len(child_pids(pid)) == len(children(pid)) == n, f"{n} children of {target}")


# --- as they are listed ---------------------------------------------------------------------------------------------


@then(line("the workers of {model} are {text}"))
def workers_are(world: World, model: str, text: str) -> None:
    wanted = sorted(text.split(", ")) if text != "none" else []
    until(lambda: _states(world, model) == wanted, f"{model} is {text}")


@then(line("the list says at once that the workers of {model} are {text}"))
def workers_are_listed(world: World, model: str, text: str) -> None:
    """What was asked for has been answered: nothing is waited for."""
    assert _states(world, model) == (sorted(text.split(", ")) if text != "none" else [])


def _states(world: World, model: str) -> list[str]:
    return sorted(worker["state"] for worker in world.workers(model) if worker["state"] not in ("failed", "stopped"))


@then(line("a worker of {model} has failed with {code}"))
def has_failed(world: World, model: str, code: str) -> None:
    def failed() -> list[dict[str, Any]]:
        return [w for w in world.workers(model) if w["state"] == "failed" and w["code"] == code]

    world.known["failed"] = until(failed, f"a worker of {model} failed with {code}")[0]


@then(line("its message in the list says {text}"))
def list_says(world: World, text: str) -> None:
    assert text in world.known["failed"]["message"], world.known["failed"]


@then(line("the worker of {model} has been restarted {n} times"))
def restarted(world: World, model: str, n: int) -> None:
    until(lambda: [w for w in world.live(model) if w["restarts"] == n and w["state"] == "idle"], f"{n} restarts")


@then(line("the hives {text} have a worker of {model} each"))
def one_each(world: World, text: str, model: str) -> None:
    names = sorted(text.split(" and "))
    until(lambda: sorted(w["hive"] for w in world.live(model)) == names, f"one worker on each of {names}")


@then(line("the queen lists the hive {name} as {state}"))
def listed_as(world: World, name: str, state: str) -> None:
    world.until_listed(name, state)


@then(line("the queen lists no hive {name}"))
def not_listed(world: World, name: str) -> None:
    until(lambda: name not in [hive["name"] for hive in world.hives()], f"no {name}")


@then(line("no slot of {model} is taken"))
def no_slot_taken(world: World, model: str) -> None:
    """As the worker itself says, and as its list has it."""
    until(lambda: all(not world.health(w)["busy"] for w in world.live(model)), f"no slot of {model} is taken")
    until(lambda: all(not w["busy"] and w["state"] == "idle" for w in world.live(model)), f"{model} is idle")


@then(line("the worker of {model} makes no more tokens"))
def makes_no_more(world: World, model: str) -> None:
    """It says that nothing is active; what it had made then is all that it ever made."""
    worker = world.worker(model)
    until(lambda: not world.health(worker)["busy"], "it rests")
    made = world.health(worker)["tokens_total"]
    world.ask("GET", "/v1/ready", at=worker["url"])
    assert world.health(worker)["tokens_total"] == made


@then(line("{n} workers of {model} were spawned in all"))
def were_spawned(world: World, n: int, model: str) -> None:
    told = [p for name, p in world.programs.items() if name != "queen"]
    spawned = sum(
        value
        for program in told
        for name, value in world.metrics(program.url).items()
        if name.startswith("penstock_hive_spawns_total") and f'model="{model}"' in name
    )
    assert spawned == n


@then(line("the log of {target} tells {name} with {text}"))
def log_tells(world: World, target: str, name: str, text: str) -> None:
    fields = dict(pair.split("=", 1) for pair in text.split(" "))
    world.programs[program_of(world, target)].until_told(event=name.replace("-", " "), **fields)


@then(line("the log of {target} tells {name}"))
def log_tells_event(world: World, target: str, name: str) -> None:
    world.programs[program_of(world, target)].until_told(event=name.replace("-", " "))


@then(line("the log of {target} has the word {text}"))
def log_has(world: World, target: str, text: str) -> None:
    program = world.programs[program_of(world, target)]
    program.ended()
    assert text in program.log.text(), program.log.lines


@then(line("the last signals were {text}"))
def signals_were(world: World, text: str) -> None:
    told = [each["signal"] for each in world.programs["here"].told(event="signal")]
    assert told == text.split(", "), told


@then("each signal was written down with worker, process, reason and time")
def audited(world: World) -> None:
    told = world.programs["here"].told(event="signal")
    assert told
    for each in told:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", each["at"])
        assert each["worker_id"] and each["pid"] > 1 and each["reason"] and each["signal"].startswith("SIG")


@then(line("ps shows {text} for the worker of {model}"))
def ps_shows(world: World, text: str, model: str) -> None:
    worker = world.worker(model)
    assert command_of(worker["pid"]).startswith(text.replace("ID", worker["worker_id"]))


# --- queen and hive come again --------------------------------------------------------------------------------------


@when("the queen is started again at the same place")
def queen_again(world: World) -> None:
    """Where her clients and hives look for her."""
    before = world.programs.pop("queen")
    port = int(before.url.rpartition(":")[2])
    before.process.wait(20)
    before.close()
    world.start_queen(port).reached()
    world.known["queen began"] = time.monotonic()


@then(line("she knows {n} workers of {model} within {m} ms"))
def knows_workers(world: World, n: int, model: str, m: int) -> None:
    left_s = world.known["queen began"] + m / 1_000 - time.monotonic()
    until(lambda: len(world.live(model)) == n, f"{n} workers of {model} are known", left_s)


@when(line("the hive {name} is started again"))
def hive_again(world: World, name: str) -> None:
    before = world.programs.pop(name)
    before.process.wait(20)
    before.close()
    world.start_hive(name, world.queen.url).reached()
    world.until_listed(name)


@then(line("the hive {name} speaks in a newer epoch"))
def newer_epoch(world: World, name: str) -> None:
    epoch = world.known[f"epoch of {name}"]
    until(lambda: [h for h in world.hives() if h["name"] == name and h["epoch"] > epoch], "a newer epoch")


@given(line("the epoch of the hive {name} is known"))
def epoch_known(world: World, name: str) -> None:
    world.known[f"epoch of {name}"] = next(h["epoch"] for h in world.hives() if h["name"] == name)


@when(line("another process reports from the address of the hive here as {name}"))
def own_address(world: World, name: str) -> None:
    report = ask("GET", f"{world.programs['here'].url}/v1/report", None, world.headers()).json()
    world.ask("POST", "/v1/hives", {**report, "name": name, "instance": "another", "epoch": 0})


@when(line("another process reports as the hive {name} of an epoch that is over"))
def old_epoch(world: World, name: str) -> None:
    report = ask("GET", f"{world.programs[name].url}/v1/report", None, world.headers()).json()
    epoch = world.known[f"epoch of {name}"]
    world.ask("POST", "/v1/hives", {**report, "instance": "of-before", "epoch": epoch})


@when(line("the registry of the queen is damaged"))
def damage_registry(world: World) -> None:
    for path in world.root.glob("registry.db*"):
        path.unlink()
    Path(world.root / "registry.db").write_bytes(b"this is no database" * 100)


@then("the damaged registry is kept beside the new one")
def damaged_kept(world: World) -> None:
    kept = [path for path in world.root.iterdir() if path.name.startswith("registry.db.") and _is_damaged(path)]
    assert kept, sorted(os.listdir(world.root))


def _is_damaged(path: Path) -> bool:
    return path.read_bytes().startswith(b"this is no database")


@when(line("{signal} hits every worker of {model}"))
def hits_all(world: World, signal: str, model: str) -> None:
    found = [identify(worker["pid"]) for worker in world.live(model)]
    world.known["hit"] = [process for process in found if process is not None]
    for process in world.known["hit"]:
        signal_process(process, _number(signal))


@then(line("every worker of {model} that was hit ends within {n} ms"))
def all_hit_end(world: World, model: str, n: int) -> None:
    until(lambda: not [p for p in world.known["hit"] if identify(p.pid) == p], f"no old worker of {model}", n / 1_000)


@when(line("the log of {target} tells of draining"))
@when(line("the drain of {target} has begun"))
def drain_begun(world: World, target: str) -> None:
    if target.startswith("the worker"):
        model = target.removeprefix("the worker of ")
        until(lambda: [w for w in world.workers(model) if world.health(w)["state"] == "draining"], "it drains")
    else:
        world.programs[program_of(world, target)].until_told(event="draining")


@then(line("the worker of {model}, as its hive has it, is alive"))
def alive_at_hive(world: World, model: str) -> None:
    (worker,) = world.live(model, "here")
    assert identify(worker["pid"]) is not None


@then(line("the worker of {model} that was started by hand is alive"))
def by_hand_alive(world: World, model: str) -> None:
    assert world.programs["by-hand"].process.poll() is None


@when("the hive is told to become its successor")
def becomes_successor(world: World) -> None:
    world.programs["here"].send(signal.SIGHUP)
    resumed = world.programs["here"].until_told(event="serving", resumed=True)
    assert resumed["pid"] == world.programs["here"].pid


@when(line("the idle time of {model} passes"))
def idle_time_passes(world: World, model: str) -> None:
    """A worker of another model is spawned, and ended for nobody asks it: so much time has gone."""
    assert world.spawn(model).status == 200
    until(lambda: not world.live(model), f"the worker of {model} was idle for too long")


@then(line("the worker of {model} is listed with its address, backend {name}, device cpu, {n} slots and its process"))
def listed_with(world: World, model: str, name: str, n: int) -> None:
    assert world.answer is not None
    spawned, worker = world.answer.json(), world.worker(model)
    assert (worker["worker_id"], worker["url"]) == (spawned["worker_id"], spawned["url"])
    assert (worker["model"], worker["backend"], worker["device"], worker["slots"]) == (model, name, "cpu", n)
    assert worker["hive"] == "here" and worker["busy"] == 0
    assert "penstock worker" in command_of(worker["pid"])


@when(line("the progress of the worker of {model} is followed"))
def follows_progress(world: World, model: str) -> None:
    world.ask("GET", "/v1/loading/progress", at=world.worker(model)["url"])


@then("it ends with end and [DONE]")
def progress_ends(world: World) -> None:
    assert world.answer is not None
    assert world.answer.body.split(b"\n\n")[-2:] == [b"data: [DONE]", b""]
    assert b"event: end\n" in world.answer.body
