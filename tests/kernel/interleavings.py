"""Two reports written into each other by two CPUs, without caller ids: the material and the random merges.

The reports are one host's: written whole, as x86_64 and arm64 kernels of the 6.x kind print them, without
printk times; the merge gives each line its time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from hypothesis import strategies as st

from integrations.kernel import read_crash
from tests.kernel.perturbations import said


class Written(NamedTuple):
    """One report: kind and function it is named by when it stands alone, and its lines."""

    kind: str
    function: str
    lines: tuple[str, ...]


def _registers(seed: int, cr2: str) -> list[str]:
    rng = random.Random(seed)
    words = [f"{rng.getrandbits(48) | 0xFFFF << 48:016x}" for _ in range(15)]
    return [
        f"RSP: 0018:{words[0]} EFLAGS: 00010246",
        f"RAX: {words[1]} RBX: {words[2]} RCX: 0000000000000000",
        f"RDX: {words[3]} RSI: {words[4]} RDI: {words[5]}",
        f"RBP: {words[6]} R08: {words[7]} R09: {words[8]}",
        f"R10: {words[9]} R11: {words[10]} R12: {words[11]}",
        f"R13: {words[12]} R14: {words[13]} R15: {words[14]}",
        f"FS:  00007f{seed:02x}d146c740(0000) GS:{words[2]}(0000) knlGS:0000000000000000",
        "CS:  0010 DS: 0000 ES: 0000 CR0: 0000000080050033",
        f"CR2: {cr2} CR3: 0000000005c3{seed:02x}00 CR4: 00000000000006b0",
    ]


def _x86(
    kind: str,
    heads: list[str],
    cpu: int,
    comm: str,
    pc: str,
    trace: list[str],
    *,
    cr2: str,
    modules_first: bool,
) -> Written:
    modules = ["Modules linked in: frob(OE) quux(OE) netconsole crc32c_intel virtio_net"]
    name = pc.split("+")[0].split(".")[0]
    return Written(
        kind,
        name,
        (
            *heads,
            *(modules if modules_first else []),
            f"CPU: {cpu} PID: {366 + cpu * 7} Comm: {comm} Tainted: G           OE      6.1.0-56-cloud-amd64 #1",
            "Hardware name: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.16.2-debian-1.16.2-1 04/01/2014",
            f"RIP: 0010:{pc}",
            f"Code: c0 e8 af d0 c0 ea 31 c0 c3 cc cc cc cc 0f 1f 84 00 <48> 8b 07 e9 83 ce ff {cpu:02x}",
            *_registers(cpu, cr2),
            "Call Trace:",
            " <TASK>",
            *(f" {frame}" for frame in trace),
            " do_syscall_64+0x5d/0x90",
            " ? exit_to_user_mode_prepare+0x44/0x240",
            " entry_SYSCALL_64_after_hwframe+0x6e/0xd8",
            f"RIP: 0033:0x7fe9d15673{cpu:02x}",
            f"RSP: 002b:00007ffdf5c4de{cpu:02x} EFLAGS: 00000202 ORIG_RAX: 0000000000000001",
            f"RAX: ffffffffffffffda RBX: 00000000000000{cpu:02x} RCX: 00007fe9d1567350",
            " </TASK>",
            *([] if modules_first else modules),
            *([f"CR2: {cr2}"] if kind in ("null_deref", "page_fault") else []),
            "---[ end trace 0000000000000000 ]---",
        ),
    )


X86_64 = {
    "null": _x86(
        "null_deref",
        [
            "BUG: kernel NULL pointer dereference, address: 0000000000000018",
            "#PF: supervisor read access in kernel mode",
            "#PF: error_code(0x0000) - not-present page",
            "PGD 0 P4D 0",
            "Oops: 0000 [#1] PREEMPT SMP PTI",
        ],
        0,
        "sh",
        "frob_read_cookie.isra.0+0x5/0x10 [frob]",
        ["frob_do_null+0xc/0x20 [frob]", "frob_set+0x19b/0x2e7 [frob]", "vfs_write+0x235/0x3f0"],
        cr2="0000000000000018",
        modules_first=False,
    ),
    "page fault": _x86(
        "page_fault",
        [
            "BUG: unable to handle page fault for address: ffffdead00000108",
            "#PF: supervisor write access in kernel mode",
            "#PF: error_code(0x0002) - not-present page",
            "PGD 100000067 P4D 100000067 PUD 0",
            "Oops: 0002 [#2] PREEMPT SMP PTI",
        ],
        3,
        "quuxd",
        "quux_unlink+0x40/0x88 [quux]",
        ["quux_release+0x60/0xb8 [quux]", "__fput+0x91/0x250", "task_work_run+0x59/0x90"],
        cr2="ffffdead00000108",
        modules_first=False,
    ),
    "gpf": _x86(
        "gpf",
        [
            "general protection fault, probably for non-canonical address 0xdead000000000122: 0000 [#1] SMP PTI"
        ],
        1,
        "mount",
        "ext4_mb_load_buddy+0x1c/0x4d0 [ext4]",
        ["ext4_mb_regular_allocator+0x5a0/0xf30 [ext4]", "ext4_map_blocks+0x1aa/0x5c0 [ext4]"],
        cr2="00007f0012345678",
        modules_first=False,
    ),
    "bug": _x86(
        "kernel_bug",
        [
            "------------[ cut here ]------------",
            "kernel BUG at fs/jbd2/commit.c:534!",
            "invalid opcode: 0000 [#1] PREEMPT SMP PTI",
        ],
        2,
        "jbd2/vda1-8",
        "jbd2_journal_commit_transaction+0x4a3/0x1a70 [jbd2]",
        ["kjournald2+0xa9/0x280 [jbd2]"],
        cr2="000055c812345678",
        modules_first=False,
    ),
    "warning": _x86(
        "warning",
        [
            "------------[ cut here ]------------",
            "WARNING: CPU: 5 PID: 401 at net/sched/sch_frob.c:77 frob_dequeue+0x91/0x120 [sch_frob]",
        ],
        5,
        "ksoftirqd/5",
        "frob_dequeue+0x91/0x120 [sch_frob]",
        ["__qdisc_run+0x8e/0x5b0", "net_tx_action+0x1b4/0x2a0"],
        cr2="00007f5512345678",
        modules_first=True,
    ),
    "lockup": _x86(
        "soft_lockup",
        ["watchdog: BUG: soft lockup - CPU#6 stuck for 26s! [spinner:408]"],
        6,
        "spinner",
        "quux_spin+0x12/0x40 [quux]",
        ["__x64_sys_ioctl+0x92/0xd0"],
        cr2="00007f6612345678",
        modules_first=True,
    ),
}


def _arm64(kind: str, heads: list[str], cpu: int, pc: str, trace: list[str]) -> Written:
    rng = random.Random(cpu)
    word = [f"ffff{rng.getrandbits(48):012x}" for _ in range(9)]
    return Written(
        kind,
        pc.split("+")[0],
        (
            *heads,
            "Modules linked in: frob quux qeth",
            f"CPU: {cpu} UID: 0 PID: {4242 + cpu} Comm: worker{cpu} Not tainted 6.12.9-aarch64 #1",
            "Hardware name: GIGABYTE R272-P30-JG/MP32-AR0-JG, BIOS F31n 09/30/2022",
            "pstate: 60400009 (nZCv daif +PAN -UAO -TCO -DIT -SSBS BTYPE=--)",
            f"pc : {pc}",
            f"lr : {trace[0]}",
            f"sp : {word[0]}",
            f"x29: {word[1]} x28: {word[2]} x27: {word[3]}",
            f"x26: {word[4]} x25: {word[5]} x24: {word[6]}",
            f"x23: {word[7]} x22: {word[8]} x21: 0000000000000000",
            "Call trace:",
            f" {pc} (P)",
            *(f" {frame}" for frame in trace),
            " el0_svc+0x34/0xf8",
            " el0t_64_sync+0x1b0/0x1b8",
            f"Code: aa1303e0 97fffff0 f94002{cpu:02x}",
            "---[ end trace 0000000000000000 ]---",
        ),
    )


ARM64 = {
    "page fault": _arm64(
        "page_fault",
        [
            "Unable to handle kernel paging request at virtual address dead000000000108",
            "Mem abort info:",
            "  ESR = 0x0000000096000004",
            "Internal error: Oops: 0000000096000004 [#1] SMP",
        ],
        12,
        "frob_unlink+0x40/0x88 [frob]",
        ["frob_work+0x60/0xb8 [frob]", "vfs_write+0xcc/0x2a0"],
    ),
    "null": _arm64(
        "null_deref",
        [
            "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000010",
            "Mem abort info:",
            "  ESR = 0x0000000096000006",
            "Internal error: Oops: 0000000096000006 [#2] SMP",
        ],
        40,
        "quux_open+0x1c/0x90 [quux]",
        ["chrdev_open+0xc4/0x250", "do_dentry_open+0x12c/0x3d0"],
    ),
    "lockup": _arm64(
        "soft_lockup",
        ["watchdog: BUG: soft lockup - CPU#7 stuck for 23s! [worker7:4249]"],
        7,
        "quux_spin+0x20/0x60 [quux]",
        ["__arm64_sys_ioctl+0xb0/0x108"],
    ),
}

PAIRS = tuple((family[a], family[b]) for family in (X86_64, ARM64) for a in family for b in family if a != b)


def with_times(lines: list[str], *, first: float = 152.0, step: float = 0.000401) -> str:
    return "\n".join(f"[{first + i * step:12.6f}] {line}" for i, line in enumerate(lines)) + "\n"


def alone(report: Written) -> str:
    return with_times(list(report.lines))


def runs_of(sizes: Iterator[int], first: tuple[str, ...], second: tuple[str, ...]) -> list[str]:
    """Lines of both in turns, each turn as long as the next size says; `first` begins with a line at least."""
    rest = [list(first), list(second)]
    merged: list[str] = []
    turn = 0
    while rest[0] or rest[1]:
        size = next(sizes)
        merged += rest[turn][:size]
        del rest[turn][:size]
        turn = 1 - turn
    return merged


def merged(first: Written, second: Written, rng: random.Random, longest: int = 6) -> str:
    """A random merge in turns of 1 to `longest` lines."""
    return with_times(runs_of(iter(lambda: rng.randint(1, longest), 0), first.lines, second.lines))


def by_turns(first: Written, second: Written, size: int) -> str:
    """A strict alternation of `size` lines each."""
    return with_times(runs_of(iter(lambda: size, 0), first.lines, second.lines))


def _sizes_merged(first: Written, second: Written, sizes: list[int]) -> str:
    def turns() -> Iterator[int]:
        while True:
            yield from sizes

    return with_times(runs_of(turns(), first.lines, second.lines))


@st.composite
def interleavings(draw: st.DrawFn) -> tuple[Written, Written, str]:
    """Two reports and a merge of them that keeps the order of each, in runs of 1 to 6 lines."""
    first, second = draw(st.sampled_from(PAIRS))
    sizes = draw(st.lists(st.integers(1, 6), min_size=8, max_size=40))
    return first, second, _sizes_merged(first, second, sizes)


def from_log(log: str, kind: str, function: str, head: str, last: str) -> Written:
    """A report cut out of a captured log: from the line with `head` to the last line that holds `last`."""
    lines = [s.text for s in said(log)]
    start = next(i for i, line in enumerate(lines) if head in line)
    end = max(i for i, line in enumerate(lines) if last in line)
    return Written(kind, function, tuple(lines[start : end + 1]))


def of_corpus(rows: list[dict[str, Any]], arch: str = "x86_64") -> list[Written]:
    """The corpus' crashes of one arch as one report each, without times and caller ids, named as read alone."""
    found = []
    for row in rows:
        if row["tier"] != "fatal":
            continue
        lines = tuple(s.text for s in said("\n".join(read_crash(row["log"]).lines)))
        crash = read_crash(with_times(list(lines)))
        if 12 <= len(lines) <= 150 and crash.arch == arch and crash.crash and not crash.others:
            found.append(Written(str(crash.kind), crash.function or "", lines))
    return found


class Outcome(NamedTuple):
    """What was read of an interleaving of `first` and `second`: both kinds told, the first one's function as
    when alone, the second one's, too."""

    kinds: bool
    function: bool
    both_functions: bool


def outcome(text: str, first: Written, second: Written) -> Outcome:
    told = read_crash(text)
    every = [told, *told.others]
    one = [c for c in every if c.kind == first.kind]
    two = [c for c in every if c.kind == second.kind and c is not one[0]] if one else []
    named = bool(one) and (one[0].function or "") == first.function
    return Outcome(
        bool(one and two), named, named and bool(two) and (two[0].function or "") == second.function
    )
