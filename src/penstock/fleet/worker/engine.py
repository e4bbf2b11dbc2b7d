"""The port to what makes the tokens. One engine a worker; `engines.py` finds it by the backend of the model.

    scripted.ScriptedEngine(order)     llama.LlamaEngine(order)     upstream.UpstreamEngine(order)

The worker round it keeps slots, deadlines, cancels and the in-flight table, and turns what the engine gives into
events. So an engine has few duties:

- Whoever closes what it gave (`aclose` of `infer`, leaving `chat`) or is cancelled in it stops the generation at once,
  and the engine has let go of the request when the close returns.
- It makes no more than is taken: one token or chunk is asked for at a time, and a slow reader holds it back.
- `load`, `infer` and `chat` say how far they are: an engine that is silent too long is believed to hang.
- It never blocks the event loop, and imports what is slow before the template forks or not at all.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from penstock.fleet.schema import InferenceRequest, Progress

Tell = Callable[[Progress], None]
"""Hears how far loading is. May be called as often as one likes: what nobody listens to is dropped."""
Beat = Callable[[], None]
"""Hears that tokens are being made though none can be passed on: an answer that comes whole is no hang."""


@dataclass(frozen=True)
class Stop:
    """The last that `infer` gives, and why there is no more. A generation that ends without it broke off."""

    reason: Literal["stop", "length"]


@dataclass
class LoadFailed(Exception):
    """The model cannot be served. `log`: the last lines of the engine, where it has some."""

    message: str
    log: tuple[str, ...] = ()


@dataclass(frozen=True)
class Relay:
    """An answer to be passed on as it comes: a status, headers in lower case (no hop-by-hop ones), and bytes."""

    status: int
    chunks: AsyncIterator[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """Loaded once, asked by as many at once as the model has slots, closed once."""

    async def load(self, tell: Tell) -> None:
        """Return when a request can be served. Raises `LoadFailed`. Cancelled: the worker ends, `close` follows."""

    def infer(self, asked: InferenceRequest) -> AsyncGenerator[str | Stop, None]:
        """The text of each token, whole characters each, then one `Stop`. Raises `FleetError`.

        An empty text is no token: it says that the engine is at work, where a long prompt is read.
        """

    def chat(self, raw: bytes, headers: Mapping[str, str], beat: Beat) -> AbstractAsyncContextManager[Relay]:
        """OpenAI's chat completion: `raw` is the request's body as it came, `headers` in lower case.

        The status may be an error of the engine: it is passed on. Raises `FleetError`, on entering or in the chunks.
        """

    async def died(self) -> str:
        """Return when the engine cannot serve any more though it was loaded, and why; else wait for ever."""

    async def close(self) -> None:
        """End it with all that it started; idempotent."""
