"""Who may speak for a hive's name. The higher epoch wins; who has been overtaken is told so, for good.

A queen that could not write for a while may remember less than a hive knows: then the hive is believed.
"""

from __future__ import annotations

from penstock.core.policy import Frozen


class Claim(Frozen):
    """The process that holds a name. `instance` is made anew at every start of a hive; `epoch` is the queen's."""

    name: str
    instance: str
    epoch: int


class Granted(Frozen):
    """It speaks for the name from now on, in this epoch."""

    claim: Claim
    is_new: bool


class NameTaken(Frozen):
    """Another process that is alive has the name."""

    holder: Claim


class FencedOff(Frozen):
    """It spoke for the name once, and was overtaken."""

    epoch: int


def register(
    held: Claim | None, instance: str, epoch: int, name: str, *, is_holder_alive: bool
) -> Granted | NameTaken | FencedOff:
    """A process asks for `name`. `epoch`: the one that it was given before, 0 for a new process."""
    if held is None:
        return Granted(claim=Claim(name=name, instance=instance, epoch=epoch + 1), is_new=True)
    if held.instance == instance:
        return Granted(claim=held, is_new=False)
    if epoch > held.epoch:
        return Granted(claim=Claim(name=name, instance=instance, epoch=epoch), is_new=True)
    if epoch:
        return FencedOff(epoch=held.epoch)
    if is_holder_alive:
        return NameTaken(holder=held)
    return Granted(claim=Claim(name=name, instance=instance, epoch=held.epoch + 1), is_new=True)
