#!/usr/bin/env bash
# Make .venv with everything mec-transfer needs. A second call finds it complete and returns at once.
#
#   bash tools/setup_env.sh             what running needs
#   bash tools/setup_env.sh --dev       what the checks need as well
#   bash tools/setup_env.sh --active    install into the environment that is active now (also: MEC_TRANSFER_ENV=active)
#   bash tools/setup_env.sh --without detection    leave Detectron2 out (also: MEC_TRANSFER_WITHOUT=detection)
#   bash tools/setup_env.sh --without mmtracking   leave MMTracking out; both may be left out
#
# Nothing but Python 3.11 with venv and pip is needed: no compiler and no library of the system's. Whatever cannot be
# installed, or does not work afterwards, is an error. PYTHON=/path/to/python3 chooses the interpreter. The last line
# of standard output is the environment's bin folder.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dev="" active=${MEC_TRANSFER_ENV:-} without=${MEC_TRANSFER_WITHOUT:-}

fail() { echo "setup_env.sh: error: $*" >&2; exit 2; }
while [ $# -gt 0 ]; do
  case $1 in
    --dev) dev=dev ;;
    --active) active=active ;;
    --without) [ $# -gt 1 ] || fail "--without needs a part: detection or mmtracking"; without+=" $2"; shift ;;
    *) fail "unknown option '$1'; there are --dev, --active and --without detection, --without mmtracking" ;;
  esac
  shift
done
for part in $without; do
  [ "$part" = detection ] || [ "$part" = mmtracking ] || fail "--without '$part': only detection and mmtracking can be left out"
done
has() { [[ " $without " != *" $1 "* ]]; }

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
want="$(cat "$root/pyproject.toml" "$root/setup.py" "$root/constraints.txt" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-64) $root"
# An environment that has more than is asked for serves too.
if IFS='|' read -r made_dev made_without made_want 2>/dev/null <"$stamp" && [ "$made_want" = "$want" ]; then
  serves=1
  [ -z "$dev" ] || [ -n "$made_dev" ] || serves=
  for part in $made_without; do ! has "$part" || serves=; done
  if [ -n "$serves" ]; then
    echo "$environment/bin"
    exit 0
  fi
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

pip() { "$python" -m pip --disable-pip-version-check "$@" >&2; }
mend="mend what it says and run this again, it goes on from here"
echo "Installing torch, torchvision and the rest (about 5 GB; a minute or several)" >&2
rm -f "$stamp"
# The OpenCV of older environments wants libGL; it and the headless one share their files, so the old one goes first.
if [ "$active" != active ] && pip show --quiet opencv-python 2>/dev/null; then
  pip uninstall --quiet --yes opencv-python opencv-python-headless
fi
extras=tracking,plot${dev:+,dev}
for part in detection mmtracking; do ! has "$part" || extras=$part,$extras; done
# pip compiles what it installs on one core; all of them do it while the rest is made.
pip install --quiet --no-compile -c "$root/constraints.txt" -e "$root[$extras]" || fail "pip could not install the packages above; $mend"
"$python" -m compileall -q -j 0 "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" >/dev/null 2>&1 &
# TrackEval's metadata asks for that OpenCV although its code runs with the headless one: its other needs are ours.
pip install --quiet -c "$root/constraints.txt" --no-deps "trackeval>=1.3" || fail "pip could not install TrackEval; $mend"
leave_out=()
for part in detection mmtracking; do # no index has what pip could install of their engines
  engine=${part/detection/detectron2}
  if ! has "$part"; then
    leave_out+=(--without "$part")
  elif ! "$python" -m mec_transfer.cli.main engines install "$engine" >&2; then
    fail "no $engine; $mend, or do without it: --without $part"
  fi
done
if ! report=$("$python" -m mec_transfer.cli.main doctor --out "$root" "${leave_out[@]}" 2>&1); then
  grep -v '^ok' <<<"$report" >&2
  fail "what was installed does not work on this machine (above); mend that and run this again"
fi
wait # for the compiling, of which no word matters: some packages hold templates that are no Python
echo "$dev|$without|$want" >"$stamp"
echo "$environment/bin"
