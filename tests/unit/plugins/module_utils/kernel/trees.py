# SPDX-License-Identifier: GPL-3.0-or-later
"""Directory trees of hosts with each boot loader, and doubles for the tools that change them.

The doubles stand for grub-mkconfig, which needs the disk below the root, and for grubby, which Debian does not have. They do what those
do to the files: a menu made from the settings, and options added to and removed from every entry. ``broken`` makes them fail,
``deaf`` do nothing.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

GRUB_DEFAULTS = """# If you change this file, run 'update-grub' afterwards.
GRUB_DEFAULT=0
GRUB_CMDLINE_LINUX_DEFAULT="quiet  splash"
GRUB_CMDLINE_LINUX='console=ttyS0'
"""
MENU = """### BEGIN /etc/grub.d/10_linux ###
menuentry 'Debian' {{
\tlinux\t/boot/vmlinuz-6.1.0-40-amd64 root=UUID=abc ro {always} {default}
\tinitrd\t/boot/initrd.img-6.1.0-40-amd64
}}
menuentry 'Debian (recovery mode)' {{
\tlinux\t/boot/vmlinuz-6.1.0-40-amd64 root=UUID=abc ro single {always}
}}
menuentry 'Memory test' {{
\tlinux16 /boot/memtest86+x64.bin console=ttyS0
}}
"""
ENTRY = """title Fedora Linux ({version})
version {version}
linux /vmlinuz-{version}
initrd /initramfs-{version}.img
options {options}
grub_users $grub_users
"""


class Tools:
    """What runs the commands. ``calls`` are the command lines it was given."""

    def __init__(self, root: Path, broken: bool = False, deaf: bool = False) -> None:
        self.root, self.broken, self.deaf = root, broken, deaf
        self.calls: list[list[str]] = []

    def __call__(self, command: list[str]) -> None:
        from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError

        self.calls.append(command)
        if command[0].endswith("grubby") and not self.deaf:
            self._grubby(command)
        elif not self.deaf:
            make_menu(self.root, Path(command[-1]) if "-o" in command else Path("/boot/grub/grub.cfg"))
        if self.broken:
            raise KjouleError(f"{command[0]} failed", seen="No space left on device")

    def _grubby(self, command: list[str]) -> None:
        values = dict(part[2:].split("=", 1) for part in command[1:])
        files = [*(self.root / "boot/loader/entries").glob("*.conf"), self.root / "etc/kernel/cmdline"]
        for path in files:
            if path.is_file():
                path.write_text(
                    re.sub(
                        r"(?m)^(options )?(?=root=|\$kernelopts)(.*)$",
                        lambda match: (match[1] or "") + self._edited(match[2], values),
                        path.read_text(),
                    )
                )

    @staticmethod
    def _edited(line: str, values: dict[str, str]) -> str:
        words = [word for word in line.split(" ") if word not in values.get("remove-args", "").split()]
        return " ".join(words + [word for word in values.get("args", "").split() if word not in words])


def put(root: Path, path: str, text: str, mode: int = 0o644) -> Path:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    target.chmod(mode)
    return target


def make_menu(root: Path, path: Path) -> None:
    """As grub-mkconfig does it: the settings are read by a shell, here the real one."""
    import subprocess

    script = ". etc/default/grub; for x in etc/default/grub.d/*.cfg; do [ -e $x ] && . ./$x; done; "
    out = subprocess.run(
        ["sh", "-c", script + 'printf "%s\\n%s\\n" "$GRUB_CMDLINE_LINUX" "$GRUB_CMDLINE_LINUX_DEFAULT"'],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    put(root, str(path), MENU.format(always=out[0].strip(), default=out[1].strip()))


def grub(root: Path, defaults: str = GRUB_DEFAULTS, drop_ins: bool = True) -> Path:
    put(root, "/etc/default/grub", defaults)
    put(root, "/usr/sbin/update-grub", '#!/bin/sh\nexec grub-mkconfig -o /boot/grub/grub.cfg "$@"\n', 0o755)
    put(
        root,
        "/usr/sbin/grub-mkconfig",
        "#!/bin/sh\n" + ("for x in ${sysconfdir}/default/grub.d/*.cfg ; do . $x; done\n" if drop_ins else ""),
        0o755,
    )
    make_menu(root, Path("/boot/grub/grub.cfg"))
    put(root, "/proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz root=UUID=abc ro console=ttyS0 quiet splash\n")
    return root


def red_hat(root: Path, options: str = "root=UUID=abc ro crashkernel=1G") -> Path:
    for version in ("5.14.0-503.el9.x86_64", "5.14.0-427.el9.x86_64"):
        put(root, f"/boot/loader/entries/0a1b-{version}.conf", ENTRY.format(version=version, options=options))
    put(root, "/boot/loader/entries/0a1b-0-rescue.conf", ENTRY.format(version="0-rescue", options=options))
    put(root, "/boot/grub2/grub.cfg", "blscfg\n")
    put(root, "/boot/grub2/grubenv", f"# GRUB Environment Block\nkernelopts={shlex.quote('root=UUID=abc ro').strip(chr(39))}\n####")
    put(root, "/etc/kernel/cmdline", "root=UUID=abc ro crashkernel=1G\n")
    put(root, "/usr/sbin/grubby", "#!/bin/bash\n", 0o755)
    put(root, "/proc/cmdline", "root=UUID=abc ro crashkernel=1G\n")
    return root


def systemd_boot(root: Path, top: str = "/efi") -> Path:
    put(root, f"{top}/loader/loader.conf", "timeout 3\n")
    put(root, f"{top}/loader/entries/arch.conf", "title   Arch\nlinux   /vmlinuz-linux\noptions root=UUID=abc rw  quiet \n")
    put(root, f"{top}/loader/entries/lts.conf", "title   Arch LTS\nlinux   /vmlinuz-linux-lts\n")
    put(root, f"{top}/loader/entries/windows.conf", "title   Windows\nefi     /EFI/Microsoft/Boot/bootmgfw.efi\n")
    put(root, "/etc/kernel/cmdline", "root=UUID=abc\nrw quiet")
    put(root, "/proc/cmdline", "root=UUID=abc rw quiet\n")
    return root


def extlinux(root: Path) -> Path:
    put(
        root,
        "/boot/extlinux/extlinux.conf",
        "default l0\nlabel l0\n\tlinux /boot/vmlinuz\n\tappend root=/dev/mmcblk0p1  ro quiet\n\n"
        "label l0r\n\tlinux /boot/vmlinuz\n\tappend root=/dev/mmcblk0p1 ro single\n",
    )
    put(root, "/etc/default/u-boot", '#U_BOOT_PARAMETERS="x"\nU_BOOT_PARAMETERS="ro quiet"\n')
    put(root, "/proc/cmdline", "root=/dev/mmcblk0p1 ro quiet\n")
    return root


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below the root: bytes and mode."""
    return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mode) for path in sorted(root.rglob("*")) if path.is_file()}
