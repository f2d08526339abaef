"""One job of a run in a process of its own: `python -m mec_transfer.suite.child TASK.json`.

The task file is written by the run; the job's outcome is the record in its folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.interrupt import leave_at_once, raised_signals, signal_of
from mec_transfer.suite.execute import execute_job
from mec_transfer.suite.spec import JobSpec
from mec_transfer.suite.takeover import adopt_training


def main(task_file: str) -> int:
    """Run the task; return 0 when its record holds a number, 128 + its number where a signal stopped it.

    Else 1, and the last line of the output says what went wrong.
    """
    try:
        with raised_signals():
            _run(Path(task_file))
    except (UserError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        leave_at_once()
        return 128 + signal_of(error)
    return 0


def _run(task_file: Path) -> None:
    benchmark, job = JobSpec.read(task_file).load()
    adopt_training(benchmark, job)
    execute_job(benchmark, job)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
