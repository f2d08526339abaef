"""What all command lines of the project share: options, and errors as one line with an exit status."""

from __future__ import annotations

import argparse
import atexit
import io
import os
import sys
from collections.abc import Callable

from mec_transfer.common.errors import RunError, UserError, tell
from mec_transfer.common.exhaustion import what_ran_out
from mec_transfer.common.extras import explain
from mec_transfer.common.interrupt import interruption_behind, leave_at_once, raised_signals, signal_of
from mec_transfer.common.processes import tie_to_launcher
from mec_transfer.common.progress import print_to_stderr
from mec_transfer.common.runtime import limit_threads, usable_cores


def exit_status(program: str, command: Callable[[], int]) -> int:
    """Run `command`; return its status.

    That is 2 for a mistake of the user's, 1 for a failed run, 128 + the number of the signal that stopped it (Ctrl-C:
    130), and 141 if nobody reads the output any more.
    """
    tie_to_launcher()
    limit_threads()
    if isinstance(sys.stdout, io.TextIOWrapper):  # the encoding may be unable to write the name of a file
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with raised_signals():
            return _status(program, command)
    except BrokenPipeError:  # `mec-transfer ls | head` is no failure
        for stream in filter(None, (sys.stdout, sys.stderr)):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 141
    finally:  # from here on the interpreter only shuts down
        atexit.unregister(leave_at_once)
        atexit.register(leave_at_once)


def _status(program: str, command: Callable[[], int]) -> int:
    try:
        return _explained(command)
    except UserError as error:
        print_to_stderr(f"{program}: error: {error}")
        return 2
    except RunError as error:
        print_to_stderr(f"{program}: failed: {error}")
        return 1
    except KeyboardInterrupt as error:
        leave_at_once()  # a second signal does not wait for what is left to do
        number = signal_of(error)
        print_to_stderr(f"{program}: interrupted ({number.name}); the same command goes on from here")
        return 128 + number


def _explained(command: Callable[[], int]) -> int:
    """Run `command`; a missing optional library is a UserError, a failing disk or machine a RunError."""
    try:
        status = command()
        if sys.stdout:
            sys.stdout.flush()
        return status
    except ImportError as error:
        if missing := explain(error):
            raise missing from error
        raise
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RunError(tell(error)) from error
    except (MemoryError, RuntimeError) as error:  # torch's errors of a GPU are RuntimeErrors
        if interruption := interruption_behind(error):
            raise interruption from None
        if line := what_ran_out(error):
            raise RunError(line) from error
        raise


def add_compute(parser: argparse.ArgumentParser, workers_on_cpu: bool = True) -> None:
    """Add --device, --workers and --seed. Without `workers_on_cpu`, --workers defaults to None."""
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="where to compute (default: auto)")
    most = default_workers()
    parser.add_argument(
        "--workers",
        type=int,
        default=most if workers_on_cpu else None,
        help=f"processes that load data (default: {most if workers_on_cpu else f'{most} beside a GPU, 0 on a CPU'})",
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything random in the run (default: 0)")


def default_workers() -> int:
    """Return one loading process for each core, at most 16."""
    return min(16, usable_cores())


def check_compute(args: argparse.Namespace) -> None:
    """Raise UserError for a negative --workers or --seed."""
    if (args.workers or 0) < 0 or args.seed < 0:
        raise UserError(f"--workers {args.workers}, --seed {args.seed}: neither can be negative")


def add_overrides(parser: argparse.ArgumentParser, note: str = "") -> None:
    """Add --set; `note` says what else an override does."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="a.b=VALUE",
        help=f"override a key of the config{note}",
    )
