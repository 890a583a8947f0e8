"""Outputs of hosts by the keys of readiness.toml: Debian's from the captures, the others' not captured."""

from __future__ import annotations

from bot.demo.hosts import captures
from integrations.readiness import Output


def captured(case: str) -> dict[str, Output]:
    """Captured on Debian 12, but for what the capture did not ask (`space`, modes, the reporter, the clock), which is
    as the captured listing and df have it."""
    files = captures.load(case).files
    kexec = dict(line.split(":", 1) for line in files["kexec"].splitlines())
    texts = {
        "release": files["uname"].split()[2] + "\n",
        "arch": "x86_64\n",
        "cmdline": files["cmdline"],
        "crash_size": kexec["/sys/kernel/kexec_crash_size"] + "\n",
        "crash_loaded": kexec["/sys/kernel/kexec_crash_loaded"] + "\n",
        "meminfo": files["meminfo"],
        "lsmod": files["lsmod"],
        "sysctl": files["sysctl"],
        "kdump_show": files["kdump-show"],
        "config": files.get("kdump-defaults") or 'USE_KDUMP=1\nKDUMP_COREDIR="/var/crash"\n',
        "space": "4096 749000 620000 580000\n",
        "dir_mode": "755\n",
        "dump_modes": "600 202611230525/dump.202611230525\n",
        "journal": "/var/log/journal\n",
        "pstore": "erst\n",
        "initrd_file": "24000000 1763875600\n",
        "reporter": "secret=valid\n",
        "clock": "1000\n",
    }
    return {key: Output(text) for key, text in texts.items()}


_COMMON = {
    "arch": "x86_64\n",
    "crash_loaded": "1\n",
    "sysctl": "kernel.panic = 10\nkernel.panic_on_oops = 1\nkernel.sysrq = 16\n",
    "lsmod": "Module                  Size  Used by\n"
    "netconsole             28672  0\nnvme                   57344  3\n",
    "space": "4096 26214400 20971520 19660800\n",
    "dir_mode": "755\n",
    "dump_modes": "600 127.0.0.1-2026-11-01-02:03:04/vmcore\n",
    "journal": "/var/log/journal\n",
    "pstore": "(null)\n",
    "initrd_file": "40000000 1763875600\n",
    "reporter": "secret=valid\n",
    "clock": "1000\n",
}

# NOT CAPTURED: made from the formats that kdump-utils documents (kdump.conf(5), kdumpctl(8)).
RHEL = {
    key: Output(text)
    for key, text in {
        **_COMMON,
        "release": "5.14.0-570.el9.x86_64\n",
        "cmdline": "BOOT_IMAGE=(hd0,gpt2)/vmlinuz-5.14.0-570.el9.x86_64 root=/dev/mapper/rhel-root ro "
        "crashkernel=1G-4G:192M,4G-64G:256M,64G-:512M\n",
        "crash_size": "268435456\n",
        "meminfo": "MemTotal:       32514048 kB\nMemFree:        20000000 kB\n",
        "config": "# kdump.conf\npath /var/crash\ncore_collector makedumpfile -l --message-level 7 -d 31\n",
        "boot": "vmlinuz-5.14.0-570.el9.x86_64\ninitramfs-5.14.0-570.el9.x86_64.img\n"
        "initramfs-5.14.0-570.el9.x86_64kdump.img\n",
    }.items()
}

# NOT CAPTURED: made from the formats that openSUSE's kdump documents (kdump(5), kdumptool(8)).
SUSE = {
    key: Output(text)
    for key, text in {
        **_COMMON,
        "release": "6.4.0-150600.23-default\n",
        "cmdline": "BOOT_IMAGE=/boot/vmlinuz-6.4.0-150600.23-default root=UUID=0 "
        "crashkernel=152M,high crashkernel=72M,low\n",
        "crash_size": "234881024\n",
        "meminfo": "MemTotal:       65793240 kB\nMemFree:        50000000 kB\n",
        "config": 'KDUMP_SAVEDIR="/var/crash"\nKDUMP_DUMPLEVEL="31"\nKDUMP_DUMPFORMAT="lzo"\n',
        "calibrate": "Total: 65536\nLow: 72\nHigh: 152\nMinLow: 72\nMaxLow: 2048\nMinHigh: 0\nMaxHigh: 63488\n",
        "boot": "vmlinuz-6.4.0-150600.23-default\ninitrd-6.4.0-150600.23-default\n"
        "initrd-6.4.0-150600.23-default-kdump\n",
    }.items()
}
