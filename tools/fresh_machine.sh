#!/usr/bin/env bash
# Run both README commands on a bare Debian: python3, venv and pip, and no compiler, libGL, libxcb or font.
#
#   sudo bash tools/fresh_machine.sh                       Debian 12 with Python 3.11
#   sudo SUITE=trixie bash tools/fresh_machine.sh          Debian 13 with Python 3.13
#   sudo bash tools/fresh_machine.sh 'bash tools/setup_env.sh && .venv/bin/mec-transfer doctor'
#
# It unpacks Debian into a folder (ROOT, default /tmp/mec_transfer_machine; about 8 GB with the environment), clones
# this checkout's last commit into it and runs the command there under chroot. KEEP=1 keeps the folder afterwards.
# With Docker at hand, tools/Dockerfile does the same. Needs root and debootstrap.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=${ROOT:-/tmp/mec_transfer_machine}
command=${*:-bash tools/run_all_transfer.sh && bash tools/test.sh}

fail() { echo "fresh_machine.sh: error: $*" >&2; exit 2; }
[ "$(id -u)" = 0 ] || fail "unpacking a system needs root; try sudo"
command -v debootstrap >/dev/null || fail "debootstrap is not installed (on Debian: apt install debootstrap)"
[ ! -e "$root" ] || fail "$root: is there already; remove it, or set ROOT"

leave() {
  umount "$root/proc" "$root/dev" 2>/dev/null || true
  # A file system that is still mounted in there is not entered.
  [ -n "${KEEP:-}" ] || rm -rf --one-file-system "$root"
}
trap leave EXIT
debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates,git \
  "${SUITE:-bookworm}" "$root" ${MIRROR:+"$MIRROR"} >/dev/null || fail "debootstrap could not unpack Debian (set MIRROR?)"

# The host's way to the package index: its resolver, its certificates, its pip settings.
for path in /etc/resolv.conf /etc/hosts /etc/ssl /usr/share/ca-certificates /usr/local/share/ca-certificates /etc/pip.conf \
  /etc/xdg/pip; do
  if [ -e "$path" ]; then
    mkdir -p "$root$(dirname "$path")" && rm -rf "${root:?}$path" && cp -aH "$path" "$root$path"
  fi
done
settings=$(compgen -e | grep -E '^(PIP_.*|SSL_CERT_.*|.*_proxy)$' | while read -r name; do printf '%q ' "$name=${!name}"; done)
mount --bind /proc "$root/proc"
mount --bind /dev "$root/dev"
git clone --quiet "$here" "$root/root/mec-transfer"
clean="env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 $settings"
chroot "$root" bash -c "cd /root/mec-transfer && $clean bash -ec $(printf '%q' "$command")"
