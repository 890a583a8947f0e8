"""`python tests/bench/kernel_speed.py`: reading speed beside `grep -c 'Kernel panic'` on the same files."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from integrations.kernel import read_crash, read_stream  # noqa: E402
from tests.kernel.places import labelled  # noqa: E402

SIZE = 48 * 1024 * 1024


def ordinary(rng: random.Random) -> str:
    """Kernel and daemon messages of an uneventful host, syslog and printk prefixed."""
    said = (
        "usb 1-{a}: new high-speed USB device number {b} using xhci_hcd",
        "EXT4-fs (dm-{a}): mounted filesystem with ordered data mode. Quota mode: none.",
        'audit: type=1400 audit(16444{b}.{a}:88): apparmor="STATUS" operation="profile_load" name="snap.lxd"',
        "eth0: renamed from veth{b:x}",
        "br-{b:08x}: port {a}(veth{b:x}) entered forwarding state",
        "systemd[1]: Started Session {b} of user root.",
        "sshd[{b}]: Accepted publickey for root from 10.0.0.{a} port {b} ssh2: RSA SHA256:abcdef",
        "nvme nvme{a}: I/O {b} QID {a} timeout, completion polled",
        "IPv6: ADDRCONF(NETDEV_CHANGE): cali{b:08x}: link is up",
        "perf: interrupt took too long ({b} > {b}), lowering kernel.perf_event_max_sample_rate to 2000",
    )
    out, size, stamp = [], 0, 5.0
    while size < SIZE:
        stamp += rng.random()
        text = rng.choice(said).format(a=rng.randrange(8), b=rng.randrange(100_000))
        line = f"Feb 11 18:58:{int(stamp) % 60:02d} node-17 kernel: [{stamp:12.6f}] {text}\n"
        out.append(line)
        size += len(line)
    return "".join(out)


OOPS = """\
[{t:12.6f}] BUG: kernel NULL pointer dereference, address: 0000000000000{n:03x}
[{t:12.6f}] #PF: supervisor read access in kernel mode
[{t:12.6f}] #PF: error_code(0x0000) - not-present page
[{t:12.6f}] PGD 0 P4D 0
[{t:12.6f}] Oops: 0000 [#1] PREEMPT SMP PTI
[{t:12.6f}] CPU: {c} PID: {p} Comm: worker-{c} Tainted: G           OE      6.1.0-31-amd64 #1  Debian 6.1.128-1
[{t:12.6f}] Hardware name: Dell Inc. PowerEdge R640/0X45NX, BIOS 2.19.1 06/04/2023
[{t:12.6f}] RIP: 0010:fn_{f}_irq+0x1{c:x}/0x90 [drv{f}]
[{t:12.6f}] Code: c0 e8 af d0 c0 ea 31 c0 c3 cc cc cc cc 0f 1f 84 00 00 00 00 00 0f 1f 44 00 00 eb fe 66 0f 1f 84
[{t:12.6f}] RSP: 0018:ffffcefac0653aa0 EFLAGS: 00000246
[{t:12.6f}] RAX: 000000000000002e RBX: ffff8a9e436ef428 RCX: 0000000000000000
[{t:12.6f}] RDX: 0000000000000000 RSI: ffff8a9e7f820260 RDI: 0000000000000000
[{t:12.6f}] CR2: 0000000000000{n:03x} CR3: 0000000005c36000 CR4: 00000000000006b0
[{t:12.6f}] Call Trace:
[{t:12.6f}]  <TASK>
[{t:12.6f}]  handle_irq_event_percpu+0x44/0x1a0
[{t:12.6f}]  ? update_load_avg+0x7e/0x780
[{t:12.6f}]  vfs_write+0x235/0x3f0
[{t:12.6f}]  ksys_write+0x6b/0xf0
[{t:12.6f}]  do_syscall_64+0x5d/0x90
[{t:12.6f}]  ? exit_to_user_mode_prepare+0x44/0x240
[{t:12.6f}]  entry_SYSCALL_64_after_hwframe+0x6e/0xd8
[{t:12.6f}]  </TASK>
[{t:12.6f}] Modules linked in: drv{f}(OE) netconsole crc32c_intel virtio_net net_failover failover evdev fuse
[{t:12.6f}] ---[ end trace 0000000000000000 ]---
"""


def oopses(rng: random.Random, size: int = SIZE // 2) -> str:
    out, done, stamp = [], 0, 5.0
    while done < size:
        stamp += 100 + rng.random()
        text = OOPS.format(
            t=stamp,
            n=rng.randrange(0x1000) & 0xFF8,
            c=rng.randrange(16),
            p=rng.randrange(9999),
            f=rng.randrange(40),
        )
        out.append(text)
        done += len(text)
    return "".join(out)


def busy() -> float:
    """CPU seconds of this process and of its ended children: the machine may be shared."""
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


def best(run: Callable[[], object], times: int = 3) -> float:
    """The least CPU seconds of some runs, each long enough for the clock's 10 ms."""
    spent = []
    for _ in range(times):
        start, count = busy(), 0
        while busy() - start < 0.4:
            run()
            count += 1
        spent.append((busy() - start) / count)
    return min(spent)


def compare(name: str, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".log", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        data = Path(file.name).read_bytes()
        ours = best(lambda: read_crash(data))
        grep = best(
            lambda: subprocess.run(
                ["grep", "-c", "Kernel panic", file.name], capture_output=True, check=False
            )
        )
    size = len(data) / 1e6
    print(
        f"{name:34} {size:7.1f} MB  {size / ours:8.1f} MB/s  grep {size / grep:8.1f} MB/s  ratio {ours / grep:6.1f}"
    )


def stream(chunk: bytes, total: int) -> Iterator[bytes]:
    for _ in range(total // len(chunk)):
        yield chunk


def main() -> int:
    rng = random.Random(17)
    calm = ordinary(rng)
    compare("ordinary log, no crash", calm)
    full = oopses(rng)
    compare("log full of oopses", full)
    one = calm[: 60 * 1024] + OOPS.format(t=99.5, n=0, c=1, p=1, f=1)
    print(f"{'one panic of 64 KiB':34} {best(lambda: read_crash(one), 9) * 1000:7.2f} ms")
    logs = [row["log"] for row in labelled()]
    if logs:
        size = sum(len(log) for log in logs) / 1e6
        spent = best(lambda: [read_crash(log) for log in logs])
        print(f"{'labelled corpus, log by log':34} {size:7.1f} MB  {size / spent:8.1f} MB/s")
    if "--gib" in sys.argv:
        for name, text in (("1 GiB stream, ordinary", calm), ("1 GiB stream, oopses", full)):
            data = text.encode()[: 4 * 1024 * 1024]
            tracemalloc.start()
            start = time.perf_counter()
            crash = read_stream(stream(data, 1 << 30))
            spent = time.perf_counter() - start
            peak = tracemalloc.get_traced_memory()[1] / 1e6
            tracemalloc.stop()
            print(f"{name:34} {1073.7 / spent:8.1f} MB/s  peak {peak:6.1f} MB  {crash.title}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
