"""The commented `penstock.toml` that `penstock init` writes."""

from __future__ import annotations

import json

from penstock.settings.detect import Findings, ProposedEnv, ProposedGate

HEAD = """\
# Settings of Penstock. `penstock run --explain` prints every value in force and where it came from.

[agent]
# The program that does the work: any command line. It gets the prompt on stdin, and its own clone of the repository
# as its working directory; what it changed there is judged, what it says is not.
command = ""
# wall_s = 1800      # longest turn
# stall_s = 300      # longest time without any sign of life
# pass_env = []      # names of the environment variables that it gets
"""

NETWORK_OF_AGENT = """\

[sandbox]
# The agent has no network unless you say so. Most agents need it to reach their model.
# agent_network = "host"
"""

NO_GATE = """\

# A gate decides what may land. Nothing here looked like a test suite, and without a gate nothing can be proven:
# write the command that tells whether this repository works, and remove the `#`.
# [gates.tests]
# command = "make test"
# timeout_s = 600
"""

TAIL = """\

[budget]
# What one run may spend; what is not written is not bounded.
# dollars = 20       # a turn that does not report its use is charged 0.25 (assumed_dollars_per_turn)
# agent_minutes = 240

# Held to red-green, production code changes only when a failing test asks for it: see `penstock gate --help`.
# [redgreen]
# mode = "strict"    # default: "warn" records it, and tickets that name tests are strict with kind = "kernel"
# exempt_files = ["docs/**", "*.md"]    # what no test can ask for

[landing]
# target = "main"    # default: the branch that is checked out
mode = "squash"      # or "merge"
"""


def propose(findings: Findings) -> str:
    """The text of a `penstock.toml` for what was found. It names no agent, and may name no gate: see `Findings`."""
    parts = [HEAD, sandbox(findings), *map(env_section, findings.envs)]
    if any(not gate.doubt for gate in findings.gates):
        parts.append("\n# A gate decides what may land: a command that exits 0 on a clean checkout.\n")
    elif not findings.gates:
        parts.append(NO_GATE)
    parts += map(gate_section, findings.gates)
    return "".join([*parts, TAIL])


def sandbox(findings: Findings) -> str:
    if not findings.readable:
        return NETWORK_OF_AGENT
    comment = "# Tools of this machine that lie outside the system's own directories.\n"
    return f"{NETWORK_OF_AGENT}{comment}readable = {listed(findings.readable)}\n"


def env_section(env: ProposedEnv) -> str:
    scratch = f"scratch = {listed(env.scratch)}\n" if env.scratch else ""
    return (
        f"\n[env.{env.name}]\n# {env.why} Made again when one of its inputs changes.\n"
        f"setup = {quoted(env.setup)}\ninputs = {listed(env.inputs)}\npaths = {listed(env.paths)}\n{scratch}"
        'network = "host"     # the set-up downloads packages; gates and their tests have no network\n'
    )


def gate_section(gate: ProposedGate) -> str:
    env = f"env = {quoted(gate.env)}\n" if gate.env else ""
    text = f"[gates.{gate.name}]\ncommand = {quoted(gate.command)}\n{env}timeout_s = 600\n"
    if not gate.doubt:
        return f"\n{text}"
    commented = "".join(f"# {line}\n" for line in text.splitlines())
    return f"\n# Not in force: {gate.doubt}. Remove the `#` when it is green.\n{commented}"


def listed(items: tuple[str, ...]) -> str:
    return f"[{', '.join(map(quoted, items))}]"


def quoted(text: str) -> str:
    """A TOML string: literal where that is possible, for readability."""
    if '"' in text and "'" not in text:
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False)
