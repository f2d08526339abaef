#!/usr/bin/env bash
# One command: set up if needed, then a whole suite to its leaderboard. Without arguments: the demo suite.
#
#   bash tools/run_all_transfer.sh
#   bash tools/run_all_transfer.sh --model mec=CKPT --suite configs/suites/paper.yaml --data-root DIR --out DIR
#
# All options are those of `mec-transfer run --help`. Run it again after an interruption: it goes on from there.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=$(bash "$root/tools/setup_env.sh" | tail -n 1)
[ $# -gt 0 ] || set -- --suite "$root/configs/suites/demo.yaml" --out "$root/runs/demo" --jobs 2
exec "$bin/mec-transfer" run "$@"
