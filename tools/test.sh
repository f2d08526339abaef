#!/usr/bin/env bash
# Every check there is: format, lint, types, layers, tests, and a short suite on real files.
#
#   bash tools/test.sh              all of it (set-up included: about ten minutes on two cores)
#   bash tools/test.sh --fast       the checks, then the tests that neither train, start processes nor need an engine
#                                   (under two minutes)
#   bash tools/test.sh tests/suite  the checks, then only these tests (arguments go to pytest)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
without=()
for word in "$@"; do
  [ "$word" != --fast ] || without=(--without detection --without mmtracking)
done
bin=$(bash tools/setup_env.sh --dev "${without[@]}" | tail -n 1)

step() {
  local began=$SECONDS
  echo "== $1"
  shift
  "$@"
  echo "   ($((SECONDS - began)) s)"
}
step "format" "$bin/ruff" format --check .
step "lint" "$bin/ruff" check .
step "types" "$bin/mypy"
step "layers" "$bin/lint-imports" --no-logo
# One thread a process: the tests run side by side, one more than there are cores, since some of them wait.
OMP_NUM_THREADS=1 step "tests" "$bin/python" -m pytest -n "$(($(nproc) + 1))" --dist loadfile --no-loadscope-reorder --durations=10 "$@"
