#!/usr/bin/env bash
# Make .venv with everything mec-transfer needs. A second call finds it complete and returns at once.
#
#   bash tools/setup_env.sh                        what running needs
#   bash tools/setup_env.sh --dev                  what the checks need as well
#   bash tools/setup_env.sh --cpu                  torch without CUDA, a quarter of the size
#   bash tools/setup_env.sh --active               install into the environment that is active (also: MEC_TRANSFER_ENV=active)
#   bash tools/setup_env.sh --without detection    leave Detectron2 out (also: MEC_TRANSFER_WITHOUT=detection)
#   bash tools/setup_env.sh --without mmtracking   leave MMTracking out; both may be left out
#   bash tools/setup_env.sh --download DIR         install nothing: put all that would be installed into DIR
#   bash tools/setup_env.sh --wheels DIR           install from such a folder, without a network (docs/offline.md)
#
# Nothing but Python 3.11 with venv and pip is needed: no compiler and no library of the system's. Whatever cannot be
# installed, or does not work afterwards, is an error. PYTHON=/path/to/python3 chooses the interpreter. The last line
# of standard output is the environment's bin folder.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dev="" cpu="" wheels="" download="" active=${MEC_TRANSFER_ENV:-} without=${MEC_TRANSFER_WITHOUT:-}

fail() { echo "setup_env.sh: error: $*" >&2; exit 2; }
while [ $# -gt 0 ]; do
  case $1 in
    --dev) dev=dev ;;
    --cpu) cpu=cpu ;;
    --active) active=active ;;
    --without) [ $# -gt 1 ] || fail "--without needs a part: detection or mmtracking"; without+=" $2"; shift ;;
    --wheels) [ -n "${2:-}" ] || fail "--wheels needs the folder that --download made"; wheels=$2; shift ;;
    --download) [ -n "${2:-}" ] || fail "--download needs a folder to put the files into"; download=$2; shift ;;
    *) fail "unknown option '$1'; there are --dev, --cpu, --active, --wheels DIR, --download DIR, --without detection" \
      "and --without mmtracking" ;;
  esac
  shift
done
[ -z "$wheels" ] || [ -z "$download" ] || fail "--download makes a folder and --wheels installs from one; give one of them"
for part in $without; do
  [ "$part" = detection ] || [ "$part" = mmtracking ] || fail "--without '$part': only detection and mmtracking can be left out"
done
has() { [[ " $without " != *" $1 "* ]]; }

case $(uname -s)-$(uname -m) in
  Linux-*) ;;
  Darwin-arm64) [ -z "$cpu" ] || fail "--cpu: torch for macOS has no CUDA in the first place; leave --cpu out" ;;
  Darwin-*) fail "torch is no longer made for Macs with an Intel processor; use Linux, or a Mac with Apple silicon" ;;
  *) fail "$(uname -s) is not supported; on Windows run this within WSL 2" ;;
esac

python=${PYTHON:-python3}
if [ "$active" = active ] && [ -z "$download" ]; then
  environment=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
  [ -n "$environment" ] || fail "--active: no virtual or conda environment is active; activate one, or leave --active out"
  python=$environment/bin/python
else
  environment=$root/.venv
fi

keep_build() { # $1: cpu where torch is there without CUDA
  [ "$1" = "$cpu" ] || echo "$environment: keeps its torch ${1:+without CUDA, for CPUs alone}${cpu:+with CUDA, which runs on CPUs too};" \
    "for the other one, remove that folder and run this again" >&2
  cpu=$1
}

# The stamp says what the environment was made from; an interrupted install leaves none.
# It names the root because an editable install points at one checkout.
stamp=$environment/.mec-transfer
sources=("$root/pyproject.toml" "$root/setup.py" "$root/constraints.txt" "${BASH_SOURCE[0]}" "$root/tools/packages.py")
want="$(cat "${sources[@]}" | { sha256sum 2>/dev/null || shasum -a 256; } | cut -c1-64) $root"
# An environment that has more than is asked for serves too; so does one whose torch is the other build.
if [ -z "$download" ] && IFS='|' read -r made_dev made_without made_want made_cpu 2>/dev/null <"$stamp" &&
  [ "$made_want" = "$want" ]; then
  serves=1
  [ -z "$dev" ] || [ -n "$made_dev" ] || serves=
  for part in $made_without; do ! has "$part" || serves=; done
  if [ -n "$serves" ]; then
    keep_build "$made_cpu"
    echo "$environment/bin"
    exit 0
  fi
fi

command -v "$python" >/dev/null || fail "'$python' is not there; install Python 3.11 or later, or set PYTHON"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$("$python" --version 2>&1) is too old; mec-transfer needs 3.11 or later (set PYTHON=/path/to/python3.11)"

extras=tracking,plot,svm,transfer${dev:+,dev}
for part in mmtracking detection; do ! has "$part" || extras=$part,$extras; done
packages() { "$python" "$root/tools/packages.py" "$@" --extras "$extras" ${cpu:+--cpu} >&2 || exit 2; }
if [ -n "$download" ]; then
  packages download "$download"
  exit 0
fi
build() { # cpu where torch is there without CUDA, gpu where it is with it
  [ "$(uname -s)" != Linux ] || "$environment/bin/python" -c \
    'import torch; print("gpu" if torch.version.cuda or torch.version.hip else "cpu")' 2>/dev/null || true
}
there=$(build)
[ -z "$there" ] || keep_build "${there#gpu}"
packages check "$environment" ${wheels:+--wheels "$wheels"}

usable() { grep -qsF "$environment/bin/python" "$environment/bin/pip" && "$environment/bin/python" -m pip --version >/dev/null 2>&1; }
if [ "$active" != active ] && ! usable; then
  # Absent, half made, moved or copied with its checkout (scripts name the old place), or its Python is gone.
  echo "Making $environment" >&2
  "$python" -m venv --clear "$environment" >&2 ||
    fail "python's venv module is not usable (on Debian: apt install python3-venv)"
fi
[ "$active" = active ] || python=$environment/bin/python

mend="mend what it says and run this again, it goes on from here"
if [ -n "$wheels" ]; then # as a URL, since pip takes a blank for the end of a name
  export PIP_NO_INDEX=1
  PIP_FIND_LINKS=$("$python" -c 'import pathlib, sys; print(pathlib.Path(sys.argv[1]).resolve().as_uri())' "$wheels")
  export PIP_FIND_LINKS
fi
rm -f "$stamp"
# The OpenCV of older environments wants libGL; it and the headless one share their files, so the old one goes first.
if [ "$active" != active ] && "$python" -m pip show --quiet opencv-python 2>/dev/null; then
  "$python" -m pip uninstall --quiet --yes opencv-python opencv-python-headless >&2
fi
packages install "$environment" ${wheels:+--wheels "$wheels"}
# pip compiles what it installs on one core, and is told not to; all of them do it while the rest is made.
"$python" -m compileall -q -j 0 "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" >/dev/null 2>&1 &
leave_out=()
for part in detection mmtracking; do # no index has what pip could install of their engines
  engine=${part/detection/detectron2}
  if ! has "$part"; then
    leave_out+=(--without "$part")
    continue
  fi
  archives=()
  [ -z "$wheels" ] || archives=(--from "$wheels")
  "$python" -m mec_transfer.cli.main engines install "$engine" ${archives[@]+"${archives[@]}"} >&2 ||
    fail "no $engine; $mend, or do without it: --without $part"
done
report=$("$python" -m mec_transfer.cli.main doctor --out "$root" ${leave_out[@]+"${leave_out[@]}"} 2>&1) || {
  grep -v '^ok' <<<"$report" >&2
  fail "what was installed does not work on this machine (above); mend that and run this again"
}
wait # for the compiling, of which no word matters: some packages hold templates that are no Python
sed -n 's/^ok    \(without .*\)/\1/p' <<<"$report" >&2
there=$(build)
echo "$dev|$without|$want|${there#gpu}" >"$stamp"
echo "$environment/bin"
