"""What a hive hands to a worker that it spawns, over an inherited descriptor: no secret stands in an argument."""

from __future__ import annotations

from penstock.core.fleet.policy import WorkerPolicy
from penstock.core.policy import Frozen
from penstock.fleet.schema import Backend


class Model(Frozen):
    """A model of the catalogue.

    `path`: the GGUF file, or the script of a scripted model. `url`: of an upstream server that runs already. `argv`: of
    one that the worker starts as its child; `{port}`, `{path}`, `{slots}` and `{context}` in it are filled in.
    """

    name: str
    backend: Backend
    path: str = ""
    url: str = ""
    argv: tuple[str, ...] = ()
    upstream_model: str = ""
    """What the upstream server calls it; empty: the same."""
    key_env: str = ""
    """The environment variable with the key of the upstream server."""
    slots: int = 1
    context: int = 4_096
    """Tokens."""
    workers_max: int = 1
    memory_bytes: int = 0
    device: str = "cpu"
    sha256: str = ""
    bytes: int = 0


class WorkerOrder(Frozen):
    """One worker to be. The descriptors are those of the new process.

    `owner_fd`: the read end of a pipe whose write end only the hive has; its end is the end of the worker.
    """

    worker_id: str
    model: Model
    listen_fd: int
    owner_fd: int = -1
    hive_url: str = ""
    nonce: str = ""
    token: str = ""
    parent_pid: int = 0
    url: str = ""
    """Where the worker is reached; empty: where it listens."""
    keeper: tuple[str, ...] = ()
    """Words before the command of a child, so that nothing of it outlives the worker. `{parent}`: the worker's pid."""
    policy: WorkerPolicy = WorkerPolicy()
