"""Kernel texts for tests: small, and read as the kernel's own are."""

from __future__ import annotations


def oops(function: str = "nvme_irq", *, uptime: float = 5000.25, kernel: str = "6.1.0-31-amd64") -> str:
    """A null-pointer oops in `function`, `uptime` seconds after boot."""
    lines = [
        "BUG: kernel NULL pointer dereference, address: 0000000000000010",
        "#PF: supervisor read access in kernel mode",
        "#PF: error_code(0x0000) - not-present page",
        "Oops: 0000 [#1] PREEMPT SMP NOPTI",
        f"CPU: 3 PID: 812 Comm: kworker/3:1 Not tainted {kernel} #1  Debian 6.1.153-1",
        "Hardware name: Dell Inc. PowerEdge R640/0H28RR, BIOS 2.19.1 06/14/2023",
        f"RIP: 0010:{function}+0x1a/0x80",
        "Call Trace:",
        " <TASK>",
        f" {function}_caller+0x2f/0x90",
        " worker_thread+0x52/0x3b0",
        " kthread+0xda/0x100",
        " ret_from_fork+0x22/0x30",
        " </TASK>",
        "---[ end trace 0000000000000000 ]---",
        "Kernel panic - not syncing: Fatal exception",
    ]
    return "\n".join(f"[{uptime + i / 1000:12.6f}] {line}" for i, line in enumerate(lines))


def deliberate(*, uptime: float = 700.5) -> str:
    """`echo c > /proc/sysrq-trigger`."""
    lines = [
        "sysrq: Trigger a crash",
        "Kernel panic - not syncing: sysrq triggered crash",
        "CPU: 1 PID: 901 Comm: bash Kdump: loaded Not tainted 6.1.0-31-amd64 #1  Debian 6.1.153-1",
        "Hardware name: Dell Inc. PowerEdge R640/0H28RR, BIOS 2.19.1 06/14/2023",
        "Call Trace:",
        " <TASK>",
        " dump_stack_lvl+0x44/0x5c",
        " panic+0x118/0x2f7",
        " sysrq_handle_crash+0x16/0x20",
        " __handle_sysrq.cold+0x7d/0x10c",
        " write_sysrq_trigger+0x24/0x40",
        " </TASK>",
    ]
    return "\n".join(f"[{uptime + i / 1000:12.6f}] {line}" for i, line in enumerate(lines))
