"""Commits of a package's history, each in one of the ways in which people write code for a test."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from penstock.core.redgreen.verdicts import RED
from tests.replay.history import History, Step
from tests.replay.needs import Piece
from tests.replay.player import Player, Refused, Texts
from tests.replay.tracing import Traced

WAYS = ("whole", "pieces", "wrong first", "wrong for a turn", "broken first", "with a comment", "with a constant")


class Story:
    """One package under the hands of one player."""

    def __init__(self, history: History, player: Player, chance: random.Random) -> None:
        self.history, self.player, self.chance = history, player, chance
        self.present: set[Piece] = set(history.begun)
        self.number = 0

    def files(self) -> dict[str, str]:
        """The skeleton."""
        texts = {path: self.history.text(path, self.present) for path in self.history.modules}
        return {path: text for path, text in texts.items() if text is not None}

    async def play(self, step: Step) -> bool | None:
        """One commit; None: its tests were green at once."""
        self.number += 1
        player = self.player
        player.commit = f"{self.number} {'::'.join(step.tests[0].chain)}"
        await player.write_freely(self._texts(step.of_tests, step.of_tests))
        tests = [_spelled(test) for test in step.tests]
        runs = await player.run(tests)
        reds = [test for test, verdict in runs if verdict in RED]
        if not reds:
            self.present |= step.of_tests
            return None
        wanted = {(path, key) for path, keys in step.wanted.items() for key in keys} - self.present
        if not wanted:
            found = Refused(player.commit, "plan", "red, and nothing is left to add")
            (player.score.false if player.plainly(tests) is None else player.score.deserved).append(found)
            self.present |= step.of_tests
            player.repair({})
            return False
        return await self._answer(step, tests, reds, wanted)

    async def _answer(self, step: Step, tests: list[str], reds: list[Any], wanted: set[Piece]) -> bool:
        player, way = self.player, self.chance.choice(WAYS)
        failed_before = len(player.score.false) + len(player.score.deserved)
        name = self._name(step.tests[0], reds)
        if name is not None and self.chance.random() < 0.2:
            await player.must("claim", test=reds[0], paths=sorted({path for path, _ in wanted}))
        player.commit += f" ({way}, {'named' if name else 'inferred'})"
        player.score.kinds[way] += 1
        await self._edit(way, tests, reds, wanted, name, step.of_tests)
        await player.end_turn(reds[:1] if way == "broken first" else reds, way)
        player.count_edits()
        self.present |= step.of_tests | wanted
        is_good = len(player.score.false) + len(player.score.deserved) == failed_before
        final = self._texts(wanted, set())
        if not is_good or any(player.now(path) != text for path, text in final.items()):
            player.repair(final)
        return is_good

    async def _edit(
        self, way: str, tests: list[str], reds: list[Any], wanted: set[Piece], name: Any, extra: set[Piece]
    ) -> None:
        player, test = self.player, reds[0]
        final = self._texts(wanted, wanted | extra)
        match way:
            case "pieces":
                there: set[Piece] = set()
                for piece in self._in_order(wanted):
                    there.add(piece)
                    await player.edit(self._texts({piece}, there | extra), test, name)
            case "wrong first" | "wrong for a turn":
                first = self._wrong(wanted, extra)
                if first and await player.edit(first, test, name):
                    runs = {repr(t): v for t, v in await player.run(tests, is_wrong=True)}
                    if way == "wrong for a turn" and runs.get(repr(test)) in RED:
                        await player.end_turn([], way)
                    waiting = [red for red in reds if runs.get(repr(red)) != "green"]
                    if test not in waiting:  # what was wrong is nothing that it runs: go on for another, or be done
                        test = name = next(iter(waiting), None)
                if test is not None:
                    await player.edit(final, test, name)
            case "broken first":
                path = sorted(final)[-1]
                await player.edit({path: f"{final[path]}\n\nnot_written_yet()\n"}, test, name)
                await player.call("run_tests", tests=tests)
                await player.edit(final, test, name)
            case "with a comment" | "with a constant":
                path = sorted(final)[0]
                more = "# A word on it.\n" if way == "with a comment" else f"\n\nREPLAY_{self.number} = {self.number}\n"
                await player.edit(final, test, name)
                await player.edit({path: f"{final[path]}{more}"}, test, name)
                await player.edit({path: final[path]}, test, name)
            case _:
                await player.edit(final, test, name)

    # --- texts ------------------------------------------------------------------------------------------------------

    def _texts(self, pieces: Iterable[Piece], more: set[Piece]) -> Texts:
        """Files of these pieces, with all that is there and `more`."""
        there = self.present | more
        return {path: self.history.text(path, there) for path in sorted({path for path, _ in pieces})}

    def _wrong(self, wanted: set[Piece], extra: set[Piece]) -> Texts:
        for path, key in self._in_order(wanted):
            module = self.history.modules[path]
            if key and module.may_be_wrong(key):
                texts = dict(self._texts(wanted, wanted | extra))
                keys = {k for p, k in self.present | wanted | extra if p == path}
                return {**texts, path: module.text(keys, wrong=key)}
        return {}

    def _in_order(self, wanted: set[Piece]) -> list[Piece]:
        order = {(path, key): n for path, m in self.history.modules.items() for n, key in enumerate(m.keys)}
        return sorted(wanted, key=lambda piece: order[piece])

    def _name(self, test: Traced, reds: list[Any]) -> Any:
        """How the edits name their test: not at all where there is but one red test."""
        is_one = len({(red[1], tuple(red[2])) for red in reds}) == 1
        is_one = is_one and len({red.base for red in self.player.gate.session.ledger.red}) == 1
        ways = [reds[0], _spelled(test)] if is_one else [reds[0]]
        return None if is_one and self.chance.random() < 0.5 else self.chance.choice(ways)


def _spelled(test: Traced) -> str:
    return "::".join((test.path, *test.chain))
