#!/usr/bin/env bash
# accelerator.sh: print the -accel that qemu can really use here. A /dev/kvm that opens is no proof, nor is a guest that can be made: nested, it
# may fail at its first instruction, or run ten times slower than emulation. So a guest has to run, a boot sector that ends qemu with the exit
# status 33, and in no more than three times what emulation takes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# mov dx, 0xf4; mov al, 0x10; out dx, al; hlt; and the mark of a boot sector
{ printf '\xba\xf4\x00\xb0\x10\xee\xf4'; head -c 503 /dev/zero; printf '\x55\xaa'; } > "$folder/boot"
milliseconds() { # accelerator, most seconds
  local before=${EPOCHREALTIME//[.,]/} status=0
  timeout "$2" qemu-system-x86_64 -accel "$1" -machine pc -cpu max -m 64 -nodefaults -display none -device isa-debug-exit,iobase=0xf4,iosize=1 \
    -drive "file=$folder/boot,format=raw" > /dev/null 2>&1 || status=$?
  [ "$status" = 33 ] && echo $(((${EPOCHREALTIME//[.,]/} - before) / 1000))
}
if [ -w /dev/kvm ] && kvm=$(milliseconds kvm 20) && emulation=$(milliseconds tcg 60) && [ "$kvm" -le $((3 * emulation)) ]; then
  echo kvm
else
  echo tcg,thread=multi
fi
