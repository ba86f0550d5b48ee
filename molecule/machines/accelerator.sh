#!/usr/bin/env bash
# accelerator.sh: print the -accel that qemu can really use here. A /dev/kvm that opens is no proof: nested, it may fail at the first CPU.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -w /dev/kvm ] && qemu-system-x86_64 -accel kvm -machine q35 -cpu max -m 64 -nodefaults -display none -S -daemonize -pidfile "$folder/pid" > /dev/null 2>&1; then
  kill "$(cat "$folder/pid")"
  echo kvm
else
  echo tcg,thread=multi
fi
