"""Several processes for one task: `python -m mec_transfer.launchers.together N MODULE ARGUMENTS`.

They are torch.distributed.run's, but its own words are not: what a task says last is what it came to, and where it
failed, this process ends as the process did that failed first.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence

from mec_transfer.common.interrupt import STOP_SIGNALS
from mec_transfer.common.processes import end_process


def main(arguments: Sequence[str]) -> int:
    """Run a module in N processes to their end; return 0, or the exit status of the first that failed.

    128 + a signal's number where that signal stopped them: it is passed on, and they have half a minute to save.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    processes, *module = arguments
    logging.disable(logging.ERROR)  # a report of forty lines on a failure of which the process itself has said why
    heeded = f"--signals-to-handle={','.join(signal.Signals(number).name for number in STOP_SIGNALS)}"
    try:
        run.run(run.parse_args(["--standalone", f"--nproc-per-node={processes}", heeded, "-m", *module]))
    except SignalException as error:
        return 128 + error.sigval
    except ChildFailedError as error:
        return _end_alike(error.get_first_failure()[1].exitcode)
    return 0


def _end_alike(status: int) -> int:
    """Return an exit status; where it is -signal, end by that signal."""
    if status < 0:
        if -status not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    end_process(main(sys.argv[1:]))
