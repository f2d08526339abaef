"""Install an engine, or prove that the installed one works.

mec-transfer engines install detectron2                 keep what is there, else build it, else the wheel without C++
mec-transfer engines install detectron2 --from FILE     a wheel, source archive or checkout of your own
mec-transfer engines check                              exit status 1 when a proof fails
"""

from __future__ import annotations

import argparse

from mec_transfer.common.errors import UserError

ENGINES = ("detectron2",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("action", choices=("install", "check"))
    parser.add_argument("engine", nargs="?", choices=ENGINES, default=ENGINES[0])
    parser.add_argument("--from", dest="source", metavar="WHAT", help="a wheel, archive, checkout or URL to install")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.action == "install":
        from mec_transfer.detection.install import install_detectron2

        print(install_detectron2(args.source))
        return 0
    if args.source:
        raise UserError("--from: goes with `engines install`")
    from mec_transfer.detection import check, engine

    engine.load()
    for version in engine.versions():
        print(f"ok    {engine.describe(version)}")
    broken = 0
    for name, prove in check.PROOFS.items():
        try:
            print(f"ok    {name}: {prove()}")
        except Exception as error:  # whatever a broken installation raises is what this command is there to tell
            broken += 1
            print(f"BAD   {name}: {' '.join(str(error).split()) or type(error).__name__}")
    return 1 if broken else 0
