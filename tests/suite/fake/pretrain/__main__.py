"""A pretraining of three short epochs that goes on where it was killed."""

import argparse
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("config")
for option in ("--data", "--out", "--resume", "--device", "--workers", "--seed", "--set"):
    parser.add_argument(option, action="append")
args = parser.parse_args()
out = Path(args.out[0])
out.mkdir(parents=True, exist_ok=True)
progress = out / "epochs.txt"
if "diverge=true" in (args.set or []):
    print("mec-pretrain: failed: the loss is nan at step 3")
    sys.exit(1)
if "colour=1" in (args.set or []):
    print("mec-pretrain: error: 'colour' is not an option")
    sys.exit(2)
if "broken=true" in (args.set or []):
    (out / "log.jsonl").touch()
    print("mec-pretrain: error: images/x.jpg: not a readable image")
    sys.exit(2)
while (done := len(progress.read_text()) if progress.exists() else 0) < 3:
    time.sleep(0.1)
    with progress.open("a") as file:
        file.write("x")
    print(f"epoch {done + 1}", flush=True)
weights = "no network" if "empty=true" in (args.set or []) else f"seed {args.seed[0]}"
(out / "checkpoint_last.pth").write_text(weights)
