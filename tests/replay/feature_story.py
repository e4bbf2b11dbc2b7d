"""Features, each written as its author says, under its own test."""

from __future__ import annotations

import random
from typing import Any

from penstock.core.redgreen.verdicts import RED
from tests.replay.features import Edit, Feature
from tests.replay.player import Player


class FeatureStory:
    """A small program under the hands of one player."""

    def __init__(self, player: Player, chance: random.Random) -> None:
        self.player, self.chance = player, chance
        self._final: dict[str, str | None] = {}

    async def play(self, feature: Feature) -> bool:
        """One commit."""
        player = self.player
        before = len(player.score.false) + len(player.score.deserved)
        name = feature.test.partition("def test_")[2].partition("(")[0]
        owner = feature.test.partition("class ")[2].partition(":")[0]
        test = "::".join(filter(None, (feature.path, owner, f"test_{name}")))
        player.commit = f"{feature.name}"
        player.score.kinds["feature"] += 1
        for edit in feature.free:
            await self._make(edit, None)
        await player.write_freely({feature.path: (player.now(feature.path) or "") + feature.test})
        reds = [found for found, verdict in await player.run([test]) if verdict in RED]
        if not reds:
            player.refused("run_tests", f"{test} is not red")
        self._foresee(feature)
        await self._edits(feature, test, reds[0] if reds else test)
        await player.end_turn(reds)
        player.count_edits()
        await self._refactor(feature)
        is_good = len(player.score.false) + len(player.score.deserved) == before
        if not is_good:
            player.repair(self._final)
        return is_good

    def _foresee(self, feature: Feature) -> None:
        """The files as they are to become."""
        final: dict[str, str | None] = {}
        self._final = final
        for kind, path, *rest in (*feature.edits, *feature.refactor):
            text = final.get(path, self.player.now(path)) or ""
            match kind:
                case "move":
                    final[path], final[rest[0]] = None, text
                case "delete":
                    final[path] = None
                case "replace":
                    final[path] = text.replace(rest[0], rest[1])
                case _:
                    final[path] = (text if kind == "append" else "") + rest[0]

    async def _edits(self, feature: Feature, test: str, red: Any) -> None:
        """Each edit once; what was refused is tried again after the others, as the refusal says."""
        name = self.chance.choice([None, test, red])
        refused: list[Edit] = []
        for edit in feature.edits:
            is_free = edit[1].startswith("tests/")
            if not await self._make(edit, None if is_free else name):
                refused.append(edit)
        for edit in refused:
            await self._make(edit, red)
        if any(edit[1].startswith("tests/") for edit in feature.edits) and self.chance.random() < 0.5:
            await self.player.run([test])

    async def _refactor(self, feature: Feature) -> None:
        if feature.refactor:
            await self.player.must("enter_refactor")
            for edit in feature.refactor:
                await self._make(edit, None)
            await self.player.must("leave_refactor")

    async def _make(self, edit: Edit, name: Any) -> bool:
        """One edit, named or not."""
        named = {} if name is None else {"test": name}
        tool, arguments = self._call(edit)
        done = await self.player.must(tool, **arguments, **named)
        if done and not edit[1].startswith("tests/"):
            self.player.edited()
        return done

    def _call(self, edit: Edit) -> tuple[str, dict[str, Any]]:
        kind, path, *rest = edit
        match kind:
            case "new":
                return "write_file", {"path": path, "content": rest[0]}
            case "append":
                return "write_file", {"path": path, "content": (self.player.now(path) or "") + rest[0]}
            case "replace":
                return "edit_file", {"path": path, "old": rest[0], "new": rest[1]}
            case "move":
                return "move_file", {"source": path, "target": rest[0]}
            case "delete":
                return "delete_file", {"path": path}
            case _:
                raise AssertionError(kind)
