"""The hives of a queen: who speaks for which name, what they say, and what is asked of them.

A report is believed if it comes from the process that holds the name, and is no older than the last. A new process
gets the name when it answers at the address that it tells, and the process that had it does not any more. What is
remembered of hives makes a new queen ask each of them at once; all the rest it hears again from them.

What a client had done can be seen at once: before it is answered, the hive that did it is asked for all that there is.
That counts as a report. One that was under way meanwhile has a lower number, and takes nothing back.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from contextlib import suppress

import msgspec

from penstock import __version__
from penstock.core.fleet.fencing import Claim, FencedOff, Granted, NameTaken, register
from penstock.core.fleet.known import KnownHive
from penstock.core.fleet.life import LIVE
from penstock.core.fleet.names import is_worker
from penstock.core.fleet.parties import Failed, Hive, Refuse, Worker, Working
from penstock.core.fleet.policy import HivePolicy, QueenPolicy
from penstock.fleet.bodies import refuse
from penstock.fleet.calling import Caller, Unreachable
from penstock.fleet.choices import is_address
from penstock.fleet.errors import FleetError
from penstock.fleet.grammars import unlike
from penstock.fleet.logs import Log
from penstock.fleet.queen.dispatching import Dispatcher, error_of, now_ms
from penstock.fleet.queen.registry import AGAIN_S, HiveRegistry, Saving
from penstock.fleet.schema import (
    HiveInfo,
    HiveReport,
    Registered,
    Spawned,
    SpawnRequest,
    WorkerInfo,
)
from penstock.fleet.versions import compare

ASK_S_MAX = 1.5
"""For a hive to say that it is there."""
LOAD_S_MAX = HivePolicy().load_ms_max / 1_000 + 60
"""For a hive that was asked to answer once the worker is idle."""
SEEN_SAVED_MS = 60_000
"""`seen_at_ms` of a row is so old at most."""
LOOK_S = 0.25
LATE_MS = 1_000


class Hives:
    """`dispatcher` is set once it is made; it calls back for spawns and evictions."""

    dispatcher: Dispatcher

    def __init__(self, registry: HiveRegistry, policy: QueenPolicy, log: Log, token: str) -> None:
        self._registry, self._policy, self._log, self._token = registry, policy, log, token
        self.saving = Saving(registry, log)
        self.recalled = asyncio.Event()
        """The hives that were known have been asked."""
        self._known: dict[str, KnownHive] = {}
        self._reports: dict[str, HiveReport] = {}
        self._heard_ms: dict[str, int] = {}
        self._callers: dict[str, Caller] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._is_unread = False

    @property
    def is_degraded(self) -> bool:
        """Whether nothing could be remembered just now."""
        return self.saving.is_failing or self._is_unread

    # --- what hives say ---------------------------------------------------------------------------------------------

    async def hear(self, report: HiveReport) -> Registered:
        """A report. Raises `FleetError`."""
        _check(report)
        if self._claim(report.name, report).is_new:
            async with self._locks[report.name]:
                await self._admit(report)
        else:
            self._take(report)
        epoch = self._known[report.name].epoch
        heartbeat_ms = self._policy.heartbeat_ms
        return Registered(name=report.name, epoch=epoch, heartbeat_ms=heartbeat_ms, version=__version__)

    async def recall(self) -> None:
        """Ask all that were known. Where that cannot be read: until it can."""
        while not await self._read():
            self.recalled.set()
            await asyncio.sleep(AGAIN_S)
        if self._registry.set_aside:
            self._log.error("registry was damaged: set aside and begun anew", set_aside=self._registry.set_aside)
        await asyncio.gather(*(self._recall(row) for row in self._unheard()))
        self.recalled.set()

    async def _read(self) -> bool:
        try:
            rows = await asyncio.to_thread(self._registry.rows)
        except OSError as error:
            if not self._is_unread:
                self._log.error("registry cannot be read: going on from memory", error=str(error))
            self._is_unread = True
            return False
        self._is_unread = False
        for row in rows:
            self._known.setdefault(row.name, row)
        return True

    def _unheard(self) -> list[KnownHive]:
        return [row for name, row in self._known.items() if row.instance and name not in self._reports]

    async def watch(self) -> None:
        """Note who is not heard any more, for ever."""
        while True:
            slept_ms = now_ms()
            await asyncio.sleep(LOOK_S)
            if now_ms() - slept_ms > LATE_MS:
                continue  # it was us who stood still: what was said meanwhile is still to be read
            for name in self.dispatcher.routing.stale(now_ms()):
                self._log.warning("hive is lost", hive=name)
                self._lose(name)

    async def _recall(self, row: KnownHive) -> None:
        report = await self._asked(row.url)
        if report is None or report.name != row.name:
            self._log.warning("hive does not answer", hive=row.name, url=row.url)
            return
        try:
            self._take(report)
        except FleetError as error:
            self._log.warning("hive is not believed", hive=row.name, error=str(error))

    async def _asked(self, url: str) -> HiveReport | None:
        async with Caller(url, self._token) as caller:
            return await self._told_by(caller)

    async def _told_by(self, caller: Caller) -> HiveReport | None:
        try:
            async with asyncio.timeout(ASK_S_MAX):
                return await caller.get("/v1/report", HiveReport)
        except (FleetError, Unreachable, TimeoutError):
            return None

    async def _admit(self, report: HiveReport) -> None:
        """A process that did not speak for the name before."""
        held = self._known.get(report.name)
        is_other = held is not None and held.instance not in ("", report.instance)
        if held is not None and is_other and not report.epoch:
            there = await self._asked(held.url)
            if there is not None and there.instance == held.instance:
                told = f"the hive at {held.url} has this name"
                raise FleetError("HIVE_NAME_TAKEN", told, {"url": held.url})
        await self._reach(report)
        self._take(report)

    async def _reach(self, report: HiveReport) -> None:
        """See that it is the one that answers where it says. Raises `FleetError`."""
        told = f"another hive answers at {report.url}: tell an address of its own"
        try:
            async with asyncio.timeout(ASK_S_MAX), Caller(report.url, self._token) as caller:
                if (await caller.get("/v1/report", HiveReport)).instance == report.instance:
                    return
        except FleetError as error:
            told = f"the hive at {report.url} does not tell the queen what it has ({error.code})"
        except (Unreachable, TimeoutError):
            told = f"the queen cannot reach the hive at {report.url}: tell an address that it can"
        raise FleetError("HIVE_UNREACHABLE", told, retry_after_s=1)

    def _claim(self, name: str, report: HiveReport) -> Granted:
        """Whether it may speak for the name. Who holds it now is asked by `_admit`. Raises `FleetError`."""
        known = self._known.get(name)
        held = Claim(name=name, instance=known.instance, epoch=known.epoch) if known else None
        match register(held, report.instance, report.epoch, name, is_holder_alive=False):
            case FencedOff(epoch=epoch):
                raise FleetError("FENCED", "a newer hive has this name, or it was removed", {"epoch": epoch})
            case NameTaken():
                raise AssertionError("nobody was said to be alive")
            case Granted() as granted:
                return granted

    def _take(self, report: HiveReport) -> None:
        """Believe a report. Raises `FleetError` where a newer one was heard."""
        name, granted = report.name, self._claim(report.name, report)
        last = self._reports.get(name)
        if granted.is_new:
            self._lose(name)
            self._log.info("hive registered", hive=name, url=report.url, epoch=granted.claim.epoch)
        elif last is not None and last.instance == report.instance and report.number < last.number:
            raise FleetError("STALE_REPORT", "a newer report was heard", {"number": last.number})
        self._reports[name], self._heard_ms[name] = report, now_ms()
        self._remember(report, granted.claim)
        lost = self.dispatcher.routing.hear(_hive(report, now_ms()), [_working(w) for w in report.workers])
        self.dispatcher.lost(lost)
        self.dispatcher.poke()
        for worker in report.workers:
            if worker.loading is not None:
                self.dispatcher.loads(worker.model, worker.loading)

    def _remember(self, report: HiveReport, claim: Claim) -> None:
        known = self._known.get(report.name)
        row = KnownHive(
            name=report.name,
            url=report.url,
            instance=claim.instance,
            epoch=claim.epoch,
            seen_at_ms=int(time.time() * 1_000),
            version=report.version,
            capabilities=_capabilities(report),
            started_by=report.started_by,
        )
        seen_at_ms = known.seen_at_ms if known is not None else 0
        is_same = msgspec.structs.replace(row, seen_at_ms=seen_at_ms) == known
        if is_same and row.seen_at_ms - seen_at_ms < SEEN_SAVED_MS:
            return
        self._known[report.name] = row
        self.saving.save(row)

    def _lose(self, name: str) -> None:
        self.dispatcher.lost(self.dispatcher.routing.lose_hive(name))
        self.dispatcher.poke()

    # --- what is known ----------------------------------------------------------------------------------------------

    def infos(self) -> tuple[HiveInfo, ...]:
        """All that were not removed, by name."""
        return tuple(self._info(row) for _, row in sorted(self._known.items()) if row.instance)

    def workers(self) -> list[WorkerInfo]:
        """Of all hives that are heard, by id."""
        routing = self.dispatcher.routing
        heard = [self._reports[name] for name in routing.hives]
        found = [
            self._seen(worker, report.name)
            for report in heard
            for worker in report.workers
            if routing.is_of(worker.worker_id, report.name)
        ]
        found += [self._seen(_unlisted(w), w.hive) for w in routing.workers.values() if not w.is_listed]
        return sorted(found, key=lambda worker: worker.worker_id)

    def worker(self, worker_id: str) -> WorkerInfo:
        """Raises `FleetError`."""
        for worker in self.workers():
            if worker.worker_id == worker_id:
                return worker
        raise FleetError("UNKNOWN_WORKER", "no hive has a worker with this id")

    def log_places(self, worker_id: str) -> list[tuple[str, str]]:
        """Names and addresses of the hives that may have its log: its own; where it is not listed any more, all."""
        names = [worker.hive for worker in self.workers() if worker.worker_id == worker_id]
        return [(name, self._url(name)) for name in names or sorted(self.dispatcher.routing.hives)]

    def is_heard(self, name: str) -> bool:
        """Whether a hive said something lately."""
        return name in self.dispatcher.routing.hives

    def remove(self, name: str) -> None:
        """Forget a hive; it ends itself when it hears of that. Raises `FleetError`."""
        known = self._known.get(name)
        if known is None or not known.instance:
            raise FleetError("UNKNOWN_HIVE", "no hive has this name")
        self._known[name] = row = msgspec.structs.replace(known, instance="", epoch=known.epoch + 1)
        self.saving.save(row)
        self._reports.pop(name, None)
        self._lose(name)
        self.dispatcher.routing.forget_hive(name)

    def _info(self, row: KnownHive) -> HiveInfo:
        report, is_heard = self._reports.get(row.name), row.name in self.dispatcher.routing.hives
        heard_ms = self._heard_ms.get(row.name)
        return HiveInfo(
            name=row.name,
            url=row.url,
            state=report.state if report is not None and is_heard else "lost",
            epoch=row.epoch,
            version=row.version,
            seen_ms=None if heard_ms is None else now_ms() - heard_ms,
            models=tuple(sorted(offer.name for offer in report.offers)) if report is not None else (),
            workers=sum(w.state in LIVE for w in report.workers) if report is not None and is_heard else 0,
            devices=report.devices if report is not None and is_heard else (),
            problems=report.problems if report is not None and is_heard else (),
            started_by=row.started_by,
        )

    def _seen(self, told: WorkerInfo, hive: str) -> WorkerInfo:
        known = self.dispatcher.routing.workers.get(told.worker_id)
        if known is None:
            return msgspec.structs.replace(told, hive=hive)
        state = "busy" if known.taken and known.told.state == "idle" else known.told.state
        return msgspec.structs.replace(told, hive=hive, state=state, busy=max(told.busy, len(known.taken)))

    # --- what is asked of them --------------------------------------------------------------------------------------

    async def spawn(self, hive: str, model: str) -> None:
        """See `HiveCalls`."""
        try:
            await self._spawn(self._caller(hive), hive, SpawnRequest(model=model))
        except FleetError as error:
            self._log.warning("no worker", hive=hive, model=model, code=error.code, error=error.message)

    async def spawn_asked(self, asked: SpawnRequest) -> Spawned:
        """For a client. Raises `FleetError`."""
        placed = self.dispatcher.routing.place(asked.model, now_ms())
        if isinstance(placed, Refuse):
            raise error_of(placed)
        async with Caller(self._url(placed.hive), self._token, LOAD_S_MAX) as caller:
            try:
                return await self._spawn(caller, placed.hive, asked)
            finally:
                await self._catch_up(placed.hive)

    async def evict(self, hive: str, worker: str) -> None:
        """See `HiveCalls`."""
        try:
            await self._end(hive, worker)
        except FleetError as error:
            self.dispatcher.routing.stayed(worker)
            self._log.warning("worker does not make way", hive=hive, worker=worker, error=error.message)

    async def end(self, worker_id: str) -> None:
        """For a client. Raises `FleetError`."""
        hive = self.worker(worker_id).hive
        try:
            await self._end(hive, worker_id)
        finally:
            await self._catch_up(hive)

    async def _catch_up(self, hive: str) -> None:
        """Hear what there is now. It is no matter if that cannot be: its next report tells."""
        report = await self._told_by(self._caller(hive))
        known = self._known.get(hive)
        if report is not None and known is not None and (report.name, report.instance) == (hive, known.instance):
            with suppress(FleetError):
                _check(report)
                self._take(report)

    async def close(self) -> None:
        """Release what is open; write what is owed."""
        for caller in self._callers.values():
            await caller.close()
        await self.saving.close()

    async def _spawn(self, caller: Caller, hive: str, asked: SpawnRequest) -> Spawned:
        routing = self.dispatcher.routing
        try:
            spawned = await caller.post("/v1/workers/spawn", asked, Spawned)
        except (FleetError, Unreachable) as wrong:
            error = wrong if isinstance(wrong, FleetError) else _unreachable(hive)
            failed = Failed(error.code, error.message, error.details)
            routing.spawn_failed(hive, asked.model, failed, now_ms(), error.retry_after_s * 1_000)
            self.dispatcher.poke()
            raise error from None
        routing.spawned(hive, asked.model, self._spawned(hive, asked.model, spawned), now_ms())
        self.dispatcher.poke()
        return spawned

    def _spawned(self, hive: str, model: str, spawned: Spawned) -> Working | None:
        known = self.dispatcher.routing.hives.get(hive)
        offer = known.offers.get(model) if known else None
        if offer is None or not (is_worker(spawned.worker_id) and is_address(spawned.url)):
            return None
        return Working(
            worker_id=spawned.worker_id,
            url=spawned.url,
            model=model,
            state=spawned.state,
            pid=spawned.pid,
            slots=offer.slots,
            backend=offer.backend,
            device=spawned.device,
            memory_bytes=offer.memory_bytes,
        )

    async def _end(self, hive: str, worker: str) -> None:
        try:
            await self._caller(hive).delete(f"/v1/workers/{worker}")
        except Unreachable:
            raise _unreachable(hive) from None

    def _url(self, hive: str) -> str:
        return self._known[hive].url

    def _caller(self, hive: str) -> Caller:
        url = self._url(hive)
        if url not in self._callers:
            self._callers[url] = Caller(url, self._token)
        return self._callers[url]


def _unlisted(worker: Worker) -> WorkerInfo:
    """One that is known from the answer to its spawn alone."""
    told = worker.told
    return WorkerInfo(
        worker_id=told.worker_id,
        url=told.url,
        state=told.state,
        model=told.model,
        backend=told.backend,
        device=told.device,
        slots=told.slots,
        busy=0,
        pid=told.pid,
        hive=worker.hive,
        memory_bytes=told.memory_bytes,
    )


def _unreachable(hive: str) -> FleetError:
    return FleetError("HIVE_UNREACHABLE", f"the hive {hive} does not answer", retry_after_s=2)


def _check(report: HiveReport) -> None:
    compare("queen", "hive", report.api_version, report.version)
    refuse(unlike(report))


def _hive(report: HiveReport, heard_ms: int) -> Hive:
    live = sum(worker.state in LIVE for worker in report.workers)
    return Hive(
        name=report.name,
        url=report.url,
        is_draining=report.state == "draining",
        devices={device.name: device for device in report.devices},
        offers={offer.name: offer for offer in report.offers},
        workers_free=report.workers_max - live,
        heard_ms=heard_ms,
        ports=report.ports,
    )


def _working(worker: WorkerInfo) -> Working:
    return Working(
        worker_id=worker.worker_id,
        url=worker.url,
        model=worker.model,
        state=worker.state,
        slots=worker.slots,
        backend=worker.backend,
        device=worker.device,
        pid=worker.pid,
        memory_bytes=worker.memory_bytes,
        code=worker.code,
        message=worker.message,
        exit_code=worker.exit_code,
        log=worker.log,
    )


def _capabilities(report: HiveReport) -> str:
    """What does not change from one heartbeat to the next."""
    devices = [{"name": device.name, "memory_total": device.memory_total} for device in report.devices]
    offers = [msgspec.structs.replace(offer, retry_ms=0) for offer in report.offers]
    return msgspec.json.encode({"devices": devices, "offers": offers}).decode()
