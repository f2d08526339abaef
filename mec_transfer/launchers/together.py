"""Several processes for one task: `python -m mec_transfer.launchers.together N MODULE ARGUMENTS`.

torch.distributed.run starts them, but its own messages are suppressed: the last line of the log is the task's own. If
the task fails, this process ends in the same way as the process that failed first.
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

    Returns 128 + the number of a signal that stopped them: it is passed on, and they have half a minute to save.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    processes, *module = arguments
    logging.disable(logging.ERROR)  # a report of forty lines on a failure that the process itself has explained
    handled = f"--signals-to-handle={','.join(signal.Signals(number).name for number in STOP_SIGNALS)}"
    try:
        run.run(run.parse_args(["--standalone", f"--nproc-per-node={processes}", handled, "-m", *module]))
    except SignalException as error:
        return 128 + error.sigval
    except ChildFailedError as error:
        return _end_alike(error.get_first_failure()[1].exitcode)
    return 0


def _end_alike(status: int) -> int:
    """Return an exit status; if it is -signal, end this process by that signal."""
    if status < 0:
        if -status not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    end_process(main(sys.argv[1:]))
