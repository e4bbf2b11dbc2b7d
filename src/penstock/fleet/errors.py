"""Every error of the fleet: its code, its status, and what to do. The table in the docs is made from this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from penstock.fleet.schema import ErrorBody, Failure, Fault


@dataclass(frozen=True)
class Kind:
    """`status` of HTTP; `advice` is for the documents. `again_s`: when to try again, where nobody knows better."""

    status: int
    advice: str
    again_s: int = 0


ERRORS: Final[dict[str, Kind]] = {
    "INVALID_REQUEST": Kind(400, "Correct the fields that `details.fields` names."),
    "INVALID_JSON": Kind(400, "Send one JSON object, in UTF-8."),
    "INVALID_TOKEN": Kind(401, "Send `Authorization: Bearer TOKEN` with the token of this fleet."),
    "FORGED": Kind(403, "The nonce is not the one of this spawn."),
    "FOREIGN_PAGE": Kind(403, "Web pages ask a fleet that has a token, or one on their own machine."),
    "NOT_FOUND": Kind(404, "See `/openapi.json` for what there is."),
    "MODEL_NOT_FOUND": Kind(404, "See `penstock models`; add it to a hive with `penstock models add`."),
    "UNKNOWN_WORKER": Kind(404, "See `penstock workers`."),
    "UNKNOWN_HIVE": Kind(404, "See `penstock hives`."),
    "UNKNOWN_REQUEST": Kind(404, "It ended long ago, or was never here."),
    "METHOD_NOT_ALLOWED": Kind(405, "The `Allow` header says which are."),
    "DEADLINE_EXCEEDED": Kind(408, "Give more time with `deadline_ms`, or ask for fewer tokens."),
    "HIVE_NAME_TAKEN": Kind(409, "Another hive that is alive has this name: choose one with `--name`."),
    "FENCED": Kind(409, "A newer hive has this name: this one ends."),
    "DUPLICATE_REQUEST": Kind(409, "A request with this id is under way: choose another."),
    "PORT_TAKEN": Kind(409, "Another process listens there: leave `port` out."),
    "NOT_OURS": Kind(409, "The worker was started by hand: end it, or read its log, where it was started."),
    "STALE_REPORT": Kind(409, "A newer report was heard already."),
    "GONE": Kind(410, "The worker was ended: its callback came too late, or its log is gone."),
    "BODY_TOO_LARGE": Kind(413, "Send at most 1 MiB."),
    "VERSION_MISMATCH": Kind(426, "Bring both sides to the same version of Penstock."),
    "HEAD_TOO_LARGE": Kind(431, "Send at most 64 KiB of address and headers."),
    "QUEUE_FULL": Kind(429, "Try again after `Retry-After` seconds.", 2),
    "CANCELED": Kind(499, "The client, or somebody with its request id, cancelled it."),
    "INTERNAL": Kind(500, "A defect of Penstock: the log has the request id."),
    "WORKER_FAILED": Kind(502, "The worker died: try again; `penstock workers` says why."),
    "WORKER_CRASHED": Kind(502, "The worker died in mid-stream: what came so far is not whole."),
    "WORKER_HUNG": Kind(502, "The worker made no token for too long and was ended."),
    "BAD_ENGINE_REPLY": Kind(502, "The engine answered what nobody can read: see the worker's log."),
    "LOAD_FAILED": Kind(502, "The model could not be loaded: `details.log` has the last lines."),
    "LOADING_TIMEOUT": Kind(502, "Raise the load deadline of the hive, or see the worker's log."),
    "START_FAILED": Kind(502, "The worker ended before it was ready: `details.log` has the last lines."),
    "ALL_SLOTS_BUSY": Kind(503, "Ask the queen, which queues; or try again after `Retry-After` seconds.", 1),
    "NOT_READY": Kind(503, "The model is still loading: see `/v1/loading/progress`.", 1),
    "DRAINING": Kind(503, "It is ending: try again after `Retry-After` seconds.", 5),
    "NO_HIVE": Kind(503, "Start a hive with `penstock hive`, or see `penstock hives`.", 2),
    "HIVE_UNREACHABLE": Kind(503, "The hive does not answer: see `penstock hives`.", 2),
    "MODEL_FAILING": Kind(503, "It failed too often: see the worker's log; it is tried again after `Retry-After`.", 60),
    "PORTS_EXHAUSTED": Kind(503, "End who has them, or give the hive others: `--ports FIRST-LAST`.", 5),
    "WORKERS_EXHAUSTED": Kind(503, "End a worker, or raise `workers_max` of the hive or of the model.", 5),
    "INSUFFICIENT_MEMORY": Kind(503, "`details` has what is required and what there is, by device.", 60),
    "BACKEND_UNAVAILABLE": Kind(503, "The program of this backend is not installed where the hive runs.", 60),
}


COMMAND_FIXES: Final[dict[str, str]] = {
    "CANCELED": "",
    "FENCED": "start it anew; with another --name, if the other hive is to stay",
    "INVALID_REQUEST": "correct what it names; `penstock COMMAND --help` says what may be given",
    "INVALID_TOKEN": "say which file has the token of this fleet: --token-file FILE",
    "LOAD_FAILED": "see `penstock workers`, and the log of its worker: `penstock workers logs WORKER`",
    "START_FAILED": "see `penstock workers`, and the log of its worker: `penstock workers logs WORKER`",
}
"""Where the advice is for who speaks HTTP."""


def fix_of(code: str) -> str:
    """What to do about it, for who gave a command; empty where the message says all."""
    return COMMAND_FIXES.get(code, ERRORS[code].advice if code in ERRORS else "")


@dataclass
class FleetError(Exception):
    """An answer from 400 on. `retry_after_s`: 0 for what its kind says."""

    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)
    retry_after_s: int = 0

    def __post_init__(self) -> None:
        assert self.code in ERRORS, self.code
        super().__init__(f"{self.code}: {self.message}")

    @property
    def status(self) -> int:
        """Of HTTP."""
        return ERRORS[self.code].status

    def body(self) -> bytes:
        """JSON of an `ErrorBody`."""
        fault = Fault(code=self.code, message=self.message, details=dict(self.details))
        return msgspec.json.encode(ErrorBody(error=fault))

    def headers(self) -> dict[str, str]:
        """That the answer needs."""
        seconds = self.retry_after_s or ERRORS[self.code].again_s
        told = {"retry-after": str(seconds)} if seconds else {}
        return told | ({"www-authenticate": "Bearer"} if self.status == 401 else {})

    def failure(self) -> Failure:
        """The same as a terminal event of a stream."""
        return Failure(code=self.code, message=self.message, details=dict(self.details))


def heard(status: int, body: bytes, retry_after: str = "") -> FleetError:
    """What another program of the fleet answered, as the error that it is."""
    try:
        fault = msgspec.json.decode(body, type=ErrorBody).error
    except (msgspec.DecodeError, msgspec.ValidationError):
        code = "VERSION_MISMATCH" if status == ERRORS["VERSION_MISMATCH"].status else "INTERNAL"
        fault = Fault(code=code, message=f"answered with status {status} and no error of ours")
    code = fault.code if fault.code in ERRORS else "INTERNAL"
    seconds = int(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0
    return FleetError(code, fault.message, fault.details, seconds)
