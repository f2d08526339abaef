#!/usr/bin/env bash
# Make .venv with everything mec-transfer needs. A second call finds it complete and returns at once.
#
#   bash tools/setup_env.sh             what running needs
#   bash tools/setup_env.sh --dev       what the checks need as well
#   bash tools/setup_env.sh --active    install into the environment that is active now (also: MEC_TRANSFER_ENV=active)
#
# PYTHON=/path/to/python3 chooses the interpreter. The last line of standard output is the environment's bin folder.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
extra="" active=${MEC_TRANSFER_ENV:-}

fail() { echo "setup_env.sh: error: $*" >&2; exit 2; }
for argument in "$@"; do
  case $argument in
    --dev) extra="[dev]" ;;
    --active) active=active ;;
    *) fail "unknown option '$argument'; there are --dev and --active" ;;
  esac
done

python=${PYTHON:-python3}
if [ "$active" = active ]; then
  environment=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
  [ -n "$environment" ] || fail "--active: no virtual or conda environment is active; activate one, or leave --active out"
  python=$environment/bin/python
else
  environment=$root/.venv
fi

# The stamp says what the environment was made from; an interrupted install leaves none.
# It names the root because an editable install points at one checkout.
stamp=$environment/.mec-transfer
want="$(cat "$root/pyproject.toml" "$root/constraints.txt" | sha256sum | cut -c1-64) $root"
if [ -f "$stamp" ] && have=$(cat "$stamp") && { [ "$have" = "[dev] $want" ] || [ "$have" = "$extra $want" ]; }; then
  echo "$environment/bin"
  exit 0
fi

command -v "$python" >/dev/null || fail "'$python' is not there; install Python 3.11 or later, or set PYTHON"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$("$python" --version 2>&1) is too old; mec-transfer needs 3.11 or later (set PYTHON=/path/to/python3.11)"

usable() { grep -qsF "$environment/bin/python" "$environment/bin/pip" && "$environment/bin/python" -m pip --version >/dev/null 2>&1; }
if [ "$active" != active ] && ! usable; then
  # Absent, half made, moved or copied with its checkout (scripts name the old place), or its Python is gone.
  echo "Making $environment" >&2
  "$python" -m venv --clear "$environment" >&2 ||
    fail "python's venv module is not usable (on Debian: apt install python3-venv)"
fi
[ "$active" = active ] || python=$environment/bin/python

echo "Installing torch, torchvision and the rest (about 5 GB; a minute or several)" >&2
rm -f "$stamp"
"$python" -m pip install --quiet --disable-pip-version-check -c "$root/constraints.txt" -e "$root$extra" >&2 ||
  fail "pip could not install the packages above; mend what it says and run this again, it goes on from here"
# Detection needs Detectron2, which no index has as a wheel; all else works without it.
"$python" -m mec_transfer.cli.main engines install detectron2 >&2 ||
  echo "setup_env.sh: warning: no Detectron2, so no detection; later: mec-transfer engines install detectron2" >&2
echo "$extra $want" >"$stamp"
echo "$environment/bin"
