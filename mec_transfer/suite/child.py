"""One job of a run in a process of its own: `python -m mec_transfer.suite.child JOB.json`.

The file is a `JobSpec`, written by the run; the outcome is the record beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mec_transfer.common import distributed
from mec_transfer.common.errors import RunError, UserError, tell
from mec_transfer.common.interrupt import leave_at_once, raised_signals, signal_of
from mec_transfer.common.processes import end_process, tie_to_launcher
from mec_transfer.common.progress import print_to_stderr
from mec_transfer.results.record import Record
from mec_transfer.suite.execute import execute_job
from mec_transfer.suite.spec import JobSpec
from mec_transfer.suite.takeover import adopt_training


def main(arguments: Sequence[str]) -> int:
    """Run the job whose file is the one argument; return 0 when its record holds a number.

    Returns 128 + the number of a signal that stopped it; otherwise 1, and the last line of the output says what went
    wrong.
    """
    tie_to_launcher()
    try:
        with raised_signals():
            run_job_file(Path(arguments[0]))
    except (UserError, RunError, OSError) as error:
        print_to_stderr(f"error: {tell(error)}")
        return 1
    except KeyboardInterrupt as error:
        leave_at_once()
        return 128 + signal_of(error)
    return 0


def run_job_file(job_file: Path) -> Record:
    """Run the job of a job.json unless it is done; return its record. Raises what `JobSpec` and `execute_job` raise."""
    spec = JobSpec.read(job_file)
    benchmark, job = spec.load()
    if distributed.rank() == 0:  # the other ranks wait for it when they join the process group
        adopt_training(benchmark, job)
    return execute_job(spec, benchmark, job)


if __name__ == "__main__":
    end_process(main(sys.argv[1:]))
