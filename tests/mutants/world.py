"""Defects of the log, of the sandbox and of processes."""

from __future__ import annotations

from tests.mutants.defect import Planted

LOG = "tests/contract/test_log.py::"
DAMAGE = "tests/integration/test_log_damage.py::"
PROCESSES = "tests/contract/test_processes.py::"
SANDBOX = "tests/contract/test_sandbox.py::"

PLANTED = (
    Planted(
        "fence-log",
        "a writer that was taken over appends",
        "adapters/log_sqlite.py",
        "where epoch = ? and seq = ?",
        "where epoch >= ? and seq = ?",
        (f"{LOG}test_a_writer_that_was_taken_over_appends_nothing_more",),
    ),
    Planted(
        "fence-epoch",
        "a writer takes over with an old epoch",
        "adapters/log_sqlite.py",
        '            if not connection.changes():\n                raise Fenced(f"{self._path}: epoch',
        '            if False:\n                raise Fenced(f"{self._path}: epoch',
        (f"{LOG}test_a_writer_must_come_after_every_earlier_one",),
    ),
    Planted(
        "chain",
        "the chain of the log is not checked",
        "core/chain.py",
        "if raw_head != stored_head:",
        "if False:",
        (f"{DAMAGE}test_damage_is_seen_and_the_valid_prefix_named",),
    ),
    Planted(
        "cut-tail",
        "a log that was cut off is not seen",
        "core/chain.py",
        '    if last < end[0]:\n        raise broken(last, f"record {last + 1} is missing, and all after it")\n'
        "    if raw_head.hex() != end[1]:\n",
        "    if False:\n",
        (f"{DAMAGE}test_damage_is_seen_and_the_valid_prefix_named",),
    ),
    Planted(
        "write-on-damage",
        "a damaged log is written on",
        "adapters/log_sqlite.py",
        "if last_row != seq or self._head_at(seq) != head:",
        "if False:",
        (f"{DAMAGE}test_nobody_writes_on_where_the_end_is_damaged",),
    ),
    Planted(
        "snapshot-of-another",
        "a snapshot of another log is believed",
        "adapters/log_sqlite.py",
        "is_ours = snapshot.code == code and snapshot.head == self._head_at(snapshot.seq)",
        "is_ours = True",
        (f"{DAMAGE}test_a_snapshot_of_another_log_or_a_damaged_one_is_none",),
    ),
    Planted(
        "network",
        "the sandbox has the network of the host",
        "adapters/sandbox_bwrap/bubblewrap.py",
        '"--unshare-all", "--unshare-user"',
        '"--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-user"',
        (f"{SANDBOX}test_a_loopback_server_cannot_be_reached",),
    ),
    Planted(
        "home",
        "the sandbox shows the operator's HOME",
        "adapters/sandbox_bwrap/bubblewrap.py",
        'words += ["--bind", confinement.home, HOME_INSIDE, "--bind", checkout.path, checkout.at]',
        'words += ["--bind", self._environ["HOME"], self._environ["HOME"], "--bind", confinement.home, HOME_INSIDE]\n'
        '        words += ["--bind", checkout.path, checkout.at]',
        (f"{SANDBOX}test_secrets_in_the_operators_home_cannot_be_read",),
    ),
    Planted(
        "environment",
        "the operator's environment goes into the sandbox",
        "adapters/sandbox_bwrap/bubblewrap.py",
        "env={**self._env, **confinement.env}",
        "env={**self._environ, **self._env, **confinement.env}",
        (f"{SANDBOX}test_the_environment_is_clean",),
    ),
    Planted(
        "linked-mount",
        "mount points are made through links of the checkout",
        "adapters/sandbox_bwrap/bubblewrap.py",
        'if part == ".." or os.path.islink(place):',
        "if False:",
        (f"{SANDBOX}test_no_mount_point_is_made_through_a_link_of_the_checkout",),
    ),
    Planted(
        "survivors",
        "descendants outlive their command",
        "adapters/keeper.py",
        "    status = wait_for(child)\n    kill_children()\n",
        "    status = wait_for(child)\n",
        (f"{PROCESSES}test_nobody_survives_the_end_of_the_command[setsid]",),
    ),
    Planted(
        "deadline",
        "a command may run for ever",
        "adapters/processes.py",
        "if self._order.wall_ms and now - self._begun > self._order.wall_ms / 1_000:",
        "if False:",
        (f"{PROCESSES}test_a_deadline_ends_the_tree",),
    ),
    Planted(
        "flood",
        "a command may write without end",
        "adapters/processes.py",
        "return output > self._order.output_bytes_max or len(self._pipe)",
        "return len(self._pipe)",
        (f"{PROCESSES}test_a_flood_that_ended_by_itself_is_one_too",),
    ),
    Planted(
        "swept-stranger",
        "a process that only has the number of ours is killed",
        "adapters/processes.py",
        "found.start_ticks != identity.start_ticks",
        "False",
        (f"{PROCESSES}test_somebody_else_is_never_swept",),
    ),
)
