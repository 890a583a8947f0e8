"""The commands that mend what a check found, for each family, and the page that explains them. Shown, never run."""

from __future__ import annotations

from collections.abc import Mapping

SETUP = "docs/kdump-setup.md"
READINESS = "docs/readiness.md"

_GRUB_LINE = "echo 'GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT crashkernel={size}\"'"
_GRUB = "/etc/default/grub.d/kdump-tools.cfg"
# check -> family -> commands; "" is for every family that has none of its own.
_MEND: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "reservation": {
        "debian": (
            f"{_GRUB_LINE} | sudo tee {_GRUB}",
            "sudo update-grub",
            "sudo systemctl reboot",
        ),
        "rhel": ("sudo kdumpctl reset-crashkernel --kernel=ALL", "sudo systemctl reboot"),
        "suse": ("sudo kdumptool commandline -u", "sudo systemctl reboot"),
    },
    "enough": {
        "debian": (
            f"{_GRUB_LINE} | sudo tee {_GRUB}",
            "sudo update-grub",
            "sudo systemctl reboot",
        ),
        "rhel": (
            "sudo kdumpctl estimate",
            "sudo grubby --update-kernel=ALL --args=crashkernel={size}",
            "sudo systemctl reboot",
        ),
        "suse": ("sudo kdumptool calibrate", "sudo kdumptool commandline -u", "sudo systemctl reboot"),
    },
    "loaded": {
        "debian": (
            "sudo sed -i -E 's/^#?USE_KDUMP=.*/USE_KDUMP=1/' /etc/default/kdump-tools",
            "sudo systemctl enable kdump-tools",
            "sudo kdump-config load",
            "cat /sys/kernel/kexec_crash_loaded",
        ),
        "rhel": (
            "sudo systemctl enable --now kdump",
            "sudo kdumpctl restart",
            "cat /sys/kernel/kexec_crash_loaded",
        ),
        "suse": (
            "sudo systemctl enable --now kdump",
            "sudo systemctl restart kdump",
            "cat /sys/kernel/kexec_crash_loaded",
        ),
    },
    "initrd": {
        "debian": (
            "sudo /etc/kernel/postinst.d/kdump-tools $(uname -r)",
            "sudo kdump-config unload",
            "sudo kdump-config load",
        ),
        "rhel": ("sudo kdumpctl rebuild", "sudo kdumpctl restart"),
        "suse": ("sudo mkdumprd -f", "sudo systemctl restart kdump"),
    },
    "space": {"": ("sudo du -xsh {directory}/*", "df -h {directory}")},
    "sysctl": {
        "": (
            "printf '%s\\n' kernel.panic=10 kernel.panic_on_oops=1 | sudo tee /etc/sysctl.d/90-panic.conf",
            "sudo sysctl --system",
        )
    },
    "permissions": {"": ("sudo chmod 0700 {directory}", "sudo chmod -R go-rwx {directory}")},
    "journal": {"": ("sudo mkdir -p /var/log/journal", "sudo systemctl restart systemd-journald")},
    "reporter": {
        "": ("sudo /usr/local/sbin/panicroom-report --check", "systemctl status panicroom-report.timer")
    },
    "clock": {"": ("timedatectl", "sudo timedatectl set-ntp true")},
}
_LINKS: Mapping[str, str] = {
    "reservation": f"{SETUP}#reserve",
    "enough": f"{SETUP}#reserve",
    "loaded": f"{SETUP}#enable",
    "initrd": f"{SETUP}#enable",
    "space": f"{SETUP}#destination",
    "permissions": f"{SETUP}#destination",
    "reporter": "docs/host-setup.md",
    "console": "docs/netconsole.md",
    "central": "docs/central-store.md",
}


def mend(
    check: str, family: str | None, *, size: str = "SIZE", directory: str = "/var/crash"
) -> tuple[str, ...]:
    """The commands; none where the family is not known and the commands are not the same for all."""
    known = _MEND.get(check, {})
    lines = known.get(family or "", known.get("", ()))
    return tuple(line.replace("{size}", size).replace("{directory}", directory) for line in lines)


def link(check: str) -> str:
    return _LINKS.get(check, READINESS)
