"""Hooks of agent programs: thin clients of the gate daemon. A hook that cannot ask the gate refuses."""
