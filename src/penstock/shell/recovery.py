"""Going on with a run whose writer died: what was in flight is found, ended, and either begun again or counted lost."""

from __future__ import annotations

from pathlib import Path

from penstock import ports
from penstock.core import events as e
from penstock.core.state import State
from penstock.shell.job_directory import was_begun
from penstock.shell.perform import Performer


async def lost_jobs(state: State, jobs: Path, processes: ports.Processes, performer: Performer) -> list[e.Input]:
    """Inputs for the jobs of a dead writer, after what they left was killed, kept and cleared away.

    A job whose directory was never made never started: its key starts again, free of charge. Git operations are
    repeatable and are looked at again under their own key. A process that was begun is never adopted: it is lost.
    """
    found: list[e.Input] = []
    for key, job in state.jobs.items():
        if job.kind not in e.PROCESS_KINDS or not was_begun(jobs, key):
            continue
        if job.pid:
            processes.sweep(ports.ProcessIdentity(pid=job.pid, start_ticks=job.start_ticks, boot=job.boot))
        await performer.clear_away(key, job.order)
        found.append(e.JobLost(key=key, reason="the harness died while it ran"))
    return found
