"""The fleet of the demo: a queen, a hive, and a worker that the hive starts when the first agent asks."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from penstock.fleet.catalogue.catalogue import Catalogue
from penstock.fleet.client import QueenClient
from penstock.fleet.orders import Model
from penstock.ports import BadInput, Problem
from penstock.wire.fleet_chain import NotStarted, started_chain, until_listed

MODEL = "tally"
HIVE = "demo"
SLOTS = 2


@contextmanager
def serve_demo_fleet(script: Path) -> Iterator[str]:
    """The queen's address while the block runs. The fleet ends with the block and with this process. `BadInput`.

    The loop that keeps it stands still meanwhile: a run in the block has one of its own.
    """
    with tempfile.TemporaryDirectory(prefix="penstock-demo-fleet-") as home, asyncio.Runner() as runner:
        Catalogue(Path(home)).add(Model(name=MODEL, backend="scripted", path=str(script), slots=SLOTS))
        stack = AsyncExitStack()
        try:
            yield runner.run(_started(stack, home))
        except NotStarted as error:
            raise BadInput([Problem(file="fleet", line=0, field="", message=str(error), fix="see above")]) from None
        finally:
            runner.run(stack.aclose())


async def _started(stack: AsyncExitStack, home: str) -> str:
    chain = await stack.enter_async_context(started_chain(home, "", HIVE))
    async with QueenClient(chain.url) as client:
        if not await until_listed(client, HIVE):
            raise NotStarted("the hive did not register with the queen")
    return chain.url
