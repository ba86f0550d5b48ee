#!/usr/bin/env bash
# make_disk.sh <folder>: make <folder>/disk.qcow2, a Debian that boots by its own GRUB, and the key of its user (<folder>/key).
#
# No loop device, no mount of the disk: mke2fs fills the file system from a folder, and GRUB's two files are written to where the BIOS
# looks for them. The machine is what a rented server is: Linux, Python, sudo and an ssh key. One boot lets it write its own grub.cfg.
# Needs root (debootstrap), debootstrap, e2fsprogs, fdisk, qemu-utils, qemu-system-x86 and openssh-client.
set -euo pipefail
folder=$1
suite=${KJOULE_DISK_SUITE:-bookworm}
# The mirror of the machine this runs on; KJOULE_DISK_MIRROR where that is not a Debian.
mirror=${KJOULE_DISK_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1)}
megabytes=${KJOULE_DISK_MB:-10240}
packages=systemd-sysv,dbus,udev,linux-image-cloud-amd64,initramfs-tools,grub2-common,grub-pc-bin,openssh-server,python3,sudo,iproute2,ca-certificates,kmod,procps,libpam-systemd,systemd-timesyncd

[ "$(id -u)" = 0 ] || { echo "make_disk.sh needs root, because debootstrap does. Next: sudo $0 $*" >&2; exit 1; }
for command in debootstrap mke2fs sfdisk qemu-img qemu-system-x86_64 ssh-keygen grub-mkimage; do
  command -v "$command" > /dev/null || { echo "make_disk.sh: no $command. Next: apt install debootstrap e2fsprogs fdisk qemu-utils qemu-system-x86 openssh-client grub-common grub-pc-bin" >&2; exit 1; }
done
umask 022
mkdir -p "$folder"
work=$(mktemp -d "$folder/work.XXXXXX")
pid=
cleanup() { [ -z "$pid" ] || kill "$pid" 2> /dev/null || true; rm -rf "$work"; }
trap cleanup EXIT

root=$work/root
debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" > "$folder/debootstrap.log" 2>&1 || { tail -n 5 "$folder/debootstrap.log" >&2; exit 1; }
rm -f "$root"/var/cache/apt/archives/*.deb

[ -f "$folder/key" ] || ssh-keygen -q -t ed25519 -N '' -C kjoule-test -f "$folder/key"
echo machine > "$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 machine\n' > "$root/etc/hosts"
echo '/dev/vda1 / ext4 errors=remount-ro 0 1' > "$root/etc/fstab"
printf '[Match]\nName=en*\n[Network]\nDHCP=yes\n' > "$root/etc/systemd/network/20-wired.network"
# The resolver of qemu's user network.
echo 'nameserver 10.0.2.3' > "$root/etc/resolv.conf"
chroot "$root" systemctl -q enable systemd-networkd ssh
chroot "$root" useradd --create-home --home-dir /srv/admin --shell /bin/bash admin
install -d -m 0700 -o 1000 -g 1000 "$root/srv/admin/.ssh"
install -m 0600 -o 1000 -g 1000 "$folder/key.pub" "$root/srv/admin/.ssh/authorized_keys"
install -m 0440 /dev/stdin "$root/etc/sudoers.d/admin" <<< 'admin ALL=(ALL) NOPASSWD: ALL'

sed -e 's/^GRUB_TIMEOUT=.*/GRUB_TIMEOUT=0/' -e 's/^GRUB_CMDLINE_LINUX=.*/GRUB_CMDLINE_LINUX="console=ttyS0"/' "$root/usr/share/grub/default/grub" > "$root/etc/default/grub"
mkdir -p "$root/boot/grub"
cp -r "$root/usr/lib/grub/i386-pc" "$root/boot/grub/"
kernel=$(basename "$root"/boot/vmlinuz-*)
initrd=$(basename "$root"/boot/initrd.img-*)
cat > "$root/boot/grub/grub.cfg" <<CONFIG
linux /boot/$kernel root=/dev/vda1 ro console=ttyS0
initrd /boot/$initrd
boot
CONFIG
# The first boot writes grub.cfg as update-grub does, which needs the disk under the root, and turns the machine off.
cat > "$root/etc/systemd/system/first-boot.service" <<'UNIT'
[Unit]
After=local-fs.target
Before=ssh.service
ConditionPathExists=!/etc/first-boot-done
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'update-grub && touch /etc/first-boot-done && sync && systemctl poweroff'
[Install]
WantedBy=multi-user.target
UNIT
chroot "$root" systemctl -q enable first-boot.service

disk=$work/disk.raw
truncate -s "${megabytes}M" "$disk"
echo '2048,,L,*' | sfdisk -q --label dos "$disk"
mke2fs -q -t ext4 -L root -d "$root" -E offset=$((2048 * 512)) "$disk" $(((megabytes - 1) * 1024))k
# boot.img loads the sector after it, where the BIOS of a disk with an MBR has room for core.img: a megabyte before the partition.
grub-mkimage -O i386-pc -d "$root/usr/lib/grub/i386-pc" -p '(hd0,msdos1)/boot/grub' -o "$work/core.img" biosdisk part_msdos ext2
dd if="$root/usr/lib/grub/i386-pc/boot.img" of="$disk" bs=440 count=1 conv=notrunc status=none
dd if="$work/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
qemu-img convert -O qcow2 "$disk" "$work/disk.qcow2"

accel=$("$(dirname "$0")/accelerator.sh")
qemu-system-x86_64 -machine q35 -accel "$accel" -cpu max -smp 2 -m 1024 -display none -nodefaults -no-reboot \
  -serial "file:$folder/first-boot.log" -drive "file=$work/disk.qcow2,if=virtio,cache=unsafe" &
pid=$!
for _ in $(seq 900); do kill -0 "$pid" 2> /dev/null || break; sleep 1; done
if kill -0 "$pid" 2> /dev/null; then echo "the machine did not turn itself off within 900 s, see $folder/first-boot.log" >&2; exit 1; fi
wait "$pid"
pid=
mv "$work/disk.qcow2" "$folder/disk.qcow2"
