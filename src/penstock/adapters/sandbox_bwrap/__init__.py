"""The sandbox of Linux: `bubblewrap` confines, `toolchains` finds what commands need to read, `etc` is its /etc."""

from penstock.adapters.sandbox_bwrap.bubblewrap import BubblewrapSandbox

__all__ = ["BubblewrapSandbox"]
