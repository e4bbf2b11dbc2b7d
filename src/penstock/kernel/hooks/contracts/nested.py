"""How Claude Code and Codex are answered: `hookSpecificOutput` for a tool, `decision: block` for the rest.

Every refusal is said twice, as JSON and as exit status 2 with the reason on stderr: whichever of them a version reads,
it reads a refusal. An empty answer leaves the agent's own permission rules in force: a gate that is content with an
edit does not approve it in the user's place.
"""

from __future__ import annotations

from penstock.kernel.hooks.contracts.call import Answer, GateCall, Said

NOT_VERIFIED = "penstock: this turn ends unverified"


def refusal(call: GateCall, reason: str) -> Said:
    """A tool that does not run."""
    told = {"hookEventName": call.event, "permissionDecision": "deny", "permissionDecisionReason": reason}
    return Said(2, {"hookSpecificOutput": told}, reason)


def block(reason: str) -> Said:
    """What is blocked, or told the model as wrong, after the fact."""
    return Said(2, {"decision": "block", "reason": reason}, reason)


def context(call: GateCall, reason: str) -> Said:
    """Something for the model to read; nothing is refused."""
    if not reason:
        return Said()
    return Said(0, {"hookSpecificOutput": {"hookEventName": call.event, "additionalContext": reason}})


def said_of_stop(call: GateCall, answer: Answer) -> Said:
    """A turn may not end; but one that was held already is not held for a gate that is not there."""
    if answer.allow:
        return Said()
    if call.again and not answer.reached:
        return Said(0, {"systemMessage": f"{NOT_VERIFIED}: {answer.reason}"})
    return block(answer.reason)
