#!/usr/bin/env python3
"""Drop-in for MoCo's convert-pretrain-to-detectron2.py: python tools/convert_to_d2.py INPUT OUTPUT [--encoder NAME].

The same as `mec-transfer convert INPUT --to detectron2 --out OUTPUT --overwrite`, which also proves the result.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mec_transfer.cli.main import main
from mec_transfer.common.processes import end_process

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", metavar="INPUT", help="the pretrained checkpoint")
    parser.add_argument("output", metavar="OUTPUT", help="the .pkl to write; replaced if it exists")
    parser.add_argument("--encoder", default="auto", help="see mec-transfer convert --help (default: auto)")
    args = parser.parse_args()
    options = ["--to", "detectron2", "--out", args.output, "--overwrite", "--encoder", args.encoder]
    end_process(main(["convert", args.input, *options]))
