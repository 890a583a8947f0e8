"""Ways to make a kernel fail, and to keep its dump from being saved."""

from __future__ import annotations

# An oops in a module of ours (Debian's kernels have no CONFIG_LKDTM). kdump-tools sets panic_on_oops=1, and with the
# capture kernel loaded the crash prints neither "Kernel panic" nor "end trace".
NULL_POINTER = "modprobe labcrash; echo null > /sys/module/labcrash/parameters/trigger"
SYSRQ = "echo c > /proc/sysrq-trigger"

# Not by what df says is available: root may use the blocks that are reserved for it, so a filesystem that is "100 %
# full" can still take a dump. What is left holds a directory and the beginning of a dmesg.
FILL_DISK = """
set -eu
fallocate -l 32K /var/spared
number=0
for size in 256M 16M 1M 64K 4K; do
    while fallocate -l $size /var/ballast.$number 2>/dev/null; do number=$((number + 1)); done
done
sync
rm /var/spared
sync
df /
"""
