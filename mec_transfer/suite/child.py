"""One job of a run in a process of its own: `python -m mec_transfer.suite.child TASK.json`.

The task file is written by the run; the job's outcome is the record in its folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mec_transfer.benchmark import Job
from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.files import read_json
from mec_transfer.common.interrupt import raised_signals, signal_of
from mec_transfer.results.record import DatasetInfo
from mec_transfer.suite.execute import execute_job
from mec_transfer.suite.registry import load_benchmark
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
        return 128 + signal_of(error)
    return 0


def _run(task_file: Path) -> None:
    from mec_transfer.backbone.source import resolve_backbone

    task = read_json(task_file)
    benchmark = load_benchmark(Path(task["benchmark"]), task["overrides"])
    job = Job(
        model_name=task["model_name"],
        backbone=resolve_backbone(task["checkpoint"], task["encoder"]),
        data=Path(task["data"]),
        dataset=DatasetInfo.model_validate(task["dataset"]),
        workdir=Path(task["workdir"]),
        cache=Path(task["cache"]),
        trial=task["trial"],
        seed=task["seed"],
        device=task["device"],
        workers=task["workers"],
        options=task["options"],
    )
    if job.key(benchmark.config) != task["key"]:
        raise UserError(f"{task['checkpoint']} or {task['benchmark']} changed since the run began; start it again")
    adopt_training(benchmark, job)
    execute_job(benchmark, job)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
