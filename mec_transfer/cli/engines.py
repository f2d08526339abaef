"""Install an engine, or prove that the installed one works.

mec-transfer engines install detectron2                 keep what is there, else build it, else the wheel without C++
mec-transfer engines install detectron2 --from WHAT     a wheel, source archive or checkout of your own, or a folder of
                                                        archives, without a network
mec-transfer engines install mmtracking                 keep what is there, else the pinned versions, without C++
mec-transfer engines install mmtracking --from DIR      from a folder that holds their archives, without a network
mec-transfer engines check [mmtracking]                 exit status 1 when a proof fails
"""

from __future__ import annotations

import argparse

from mec_transfer.common.errors import UserError
from mec_transfer.engines.engine import DEFAULT, ENGINES, find_engine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("action", choices=("install", "check"))
    parser.add_argument("engine", nargs="?", choices=tuple(ENGINES), default=DEFAULT)
    what = "a wheel, archive, checkout or URL to install (mmtracking: a folder of archives)"
    parser.add_argument("--from", dest="source", metavar="WHAT", help=what)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    engine = find_engine(args.engine)
    if args.action == "install":
        print(engine.install(args.source))
        return 0
    if args.source:
        raise UserError("--from: goes with `engines install`")
    engine.load()
    for version in engine.versions():
        print(f"ok    {engine.describe(version)}")
    broken = 0
    for name, prove in engine.proofs().items():
        try:
            print(f"ok    {name}: {prove()}")
        except Exception as error:  # whatever a broken installation raises is what this command is there to tell
            broken += 1
            print(f"BAD   {name}: {' '.join(str(error).split()) or type(error).__name__}")
    return 1 if broken else 0
