"""Formats that kernels print and the labelled corpus does not hold: short reports written for these tests."""

from __future__ import annotations

import pytest

from integrations.kernel import Kind, read_crash

EIP_IS_AT = """\
kernel BUG at mm/frob.c:893!
invalid opcode: 0000 [#1] SMP
Pid: 1176, comm: frobd Not tainted 2.6.38.2-smp #1 ACME
EIP: 0060:[<c108b0e7>] EFLAGS: 00010202 CPU: 0
EIP is at frob_map+0xe1/0x342
EAX: 00000009 EBX: f4a153bf ECX: 00021000 EDX: 00020000
"""

PHONE = """\
<1>[  861.101007]  (4)[1377:frobd:411_2]Unable to handle kernel NULL pointer dereference at virtual address 00000008
<0>[  861.102014]  (4)[1377:frobd:411_2]Internal error: Oops: 96000005 [#1] PREEMPT SMP
<4>[  861.103021]  (4)[1377:frobd:411_2]pc : frob_suspend+0x48/0xc0 [frob]
<4>[  861.104028]  (4)[1377:frobd:411_2]Call trace:
<4>[  861.105035]  (4)[1377:frobd:411_2] frob_suspend+0x44/0xb0 [frob]
"""

PHONE_LETTER = """\
[   62.106042]I[0:  kworker/u8:1:  207] Kernel panic - not syncing: Asynchronous SError Interrupt
[   62.107049]I[0:  kworker/u8:1:  207] Call trace:
[   62.108056]I[0:  kworker/u8:1:  207]  panic+0x1a8/0x45c
[   62.109063]I[0:  kworker/u8:1:  207]  arm64_serror_panic+0x84/0xd0
[   62.110070]I[0:  kworker/u8:1:  207]  do_serror+0x134/0x168
[   62.111077]I[0:  kworker/u8:1:  207]  el1_error+0x94/0x13c
[   62.112084]I[0:  kworker/u8:1:  207]  frob_phy_config+0xed8/0x5150 [frob_pcie]
"""

CORTEX_M = """\
[   68.113091] Unhandled exception: IPSR = 00000005 LR = fff7c370
[   68.114098] CPU: 0 PID: 49 Comm: sh Not tainted 5.13.0 #9
[   68.115105] PC is at frob_is_enabled+0xc/0x48
[   68.116112] LR is at frob_set_rate+0x17/0x78
"""

MICROBLAZE = """\
[   21.117119] Oops: kernel access of bad area, sig: 11
[   21.118126] CPU: 0 PID: 0 Comm: swapper Not tainted 5.3.0 #101
"""

S390_BEYOND = """\
Unable to handle kernel pointer dereference in virtual kernel address space
Failing address: 000003ff80a31000 TEID: 000003ff80a31407
Oops: 0004 ilc:3 [#1] SMP
Krnl PSW : 0704e001806d85c5 0000000071c2a4d6 (frob_rela+0x2be/0x510)
"""

S390_HEAD_LOST = """\
Failing address: 200000cb7d24e440 TEID: 200000cb7d066559
Fault in home space mode while using kernel ASCE.
AS:00000001b20a4007 R3:00000002e10c8007 S:00000001a2b1c000 P:00000001c0d0e13d
Oops: 0038 ilc:3 [#1] PREEMPT SMP
Krnl PSW : 0704e001806d85c5 00000131a02c5e1a (frob_parse+0x116/0x238)
"""

MIPS_WRAPPED = """\
CPU 0 Unable to handle kernel paging request at virtual address
00000070, epc == c04a6656, ra == c04c90bd
Oops[#1]:
Cpu 0
$ 0   : 00000000 00000001 00000000 00000007
$ 4   : a7b5482a 00000000 00000000 00000000
$ 8   : 00000008 00000002 8c090a29 0000000f
$12   : ffffffff 00000008 70000000 fffb9fa5
$16   : 00000000 00000001 a7bff518 40000000
$20   : 20000000 00000000 8730bc0d 873bc0e1
$28   : 87268000 8725637e 87bbb8e3 c04c90bd
Hi    : 00000178
Lo    : 00000000
epc   : c04a6656 frob_work+0x648/0xce4 [frob_hcd]
BadVA : 00000070
"""

FIRMWARE_WATCHDOG = """\
[  305.119133] Kernel panic - not syncing: An NMI occurred. Depending on your system the reason is logged in
[  305.120140] CPU: 0 PID: 0 Comm: swapper/0 Not tainted 3.10.0 #1
"""

NMI_WATCHDOG_26 = """\
Kernel panic - not syncing: nmi watchdog
Pid: 0, comm: swapper Not tainted 2.6.18 #1
"""

ALL_DOUBTFUL = """\
INFO: task frobd/vdx-3:390 blocked for more than 120 seconds.
frobd/vdx-3      D   0   390      2 0x00000000
Call Trace:
 [<ffffffff8db91d26>] ? __schedule+0x241/0x730
 [<ffffffff8dab4a82>] ? bit_wait+0x64/0x64
 [<ffffffff8d9a9524>] ? schedule+0x3a/0xb0
 [<ffffffff8d9f512c>] ? ktime_end+0x52/0x52
 [<ffffffff8d17b8ed>] ? __wait_on_bit+0x59/0xc0
 [<ffffffffc0411fa6>] ? frob_commit+0xf5d/0x17f0 [frob]
 [<ffffffff8d44d35d>] ? kthread+0xe1/0x120
 [<ffffffff8db41d94>] ? ret_from_fork+0x5f/0xa0
"""

BARE_TRACE = """\
NMI watchdog: Watchdog detected hard LOCKUP on cpu 1

? hrtimer_run_softirq+0x154/0x154
hrtimer_cancel+0x1d/0x70
frob_disable_vblank+0x1d/0x60 [frob]
"""


@pytest.mark.parametrize(
    ("text", "kind", "function", "module"),
    [
        (EIP_IS_AT, Kind.KERNEL_BUG, "frob_map", None),
        (PHONE, Kind.NULL_DEREF, "frob_suspend", "frob"),
        (PHONE_LETTER, Kind.ARM_FAULT, "frob_phy_config", "frob_pcie"),
        (CORTEX_M, Kind.ARM_FAULT, "frob_is_enabled", None),
        (MICROBLAZE, Kind.PAGE_FAULT, None, None),
        (S390_BEYOND, Kind.PAGE_FAULT, "frob_rela", None),
        (S390_HEAD_LOST, Kind.PAGE_FAULT, "frob_parse", None),
        (MIPS_WRAPPED, Kind.NULL_DEREF, "frob_work", "frob_hcd"),
        (FIRMWARE_WATCHDOG, Kind.WATCHDOG, None, None),
        (NMI_WATCHDOG_26, Kind.HARD_LOCKUP, None, None),
        (ALL_DOUBTFUL, Kind.HUNG_TASK, "frob_commit", "frob"),
        (BARE_TRACE, Kind.HARD_LOCKUP, "frob_disable_vblank", "frob"),
    ],
    ids=[
        "EIP is at", "MediaTek", "Samsung", "Cortex-M", "microblaze", "s390 address", "s390 head lost",
        "mips wrapped", "firmware watchdog", "NMI watchdog of 2.6", "all doubtful", "bare trace",
    ],
)  # fmt: skip
def test_formats(text: str, kind: Kind, function: str | None, module: str | None) -> None:
    crash = read_crash(text)
    assert crash.crash
    assert (crash.kind, crash.function, crash.module) == (kind, function, module)


def test_only_s390s_lost_head_is_told() -> None:
    lost = {text: read_crash(text).head_lost for text in (MICROBLAZE, S390_BEYOND, S390_HEAD_LOST)}
    assert lost == {MICROBLAZE: False, S390_BEYOND: False, S390_HEAD_LOST: True}


STALL_IN_WORK = """\
watchdog: BUG: soft lockup - CPU#3 stuck for 26s! [kworker/3:2:2211]
CPU: 3 PID: 2211 Comm: kworker/3:2 Not tainted 6.5.5 #1
Workqueue: events frob_drain_work [frob]
RIP: 0010:frob_wait_ring+0x26/0x80 [frob]
Call Trace:
 <TASK>
 frob_flush_ring+0x2c/0x80 [frob]
 frob_drain_work+0x76/0x1b0 [frob]
 process_one_work+0x1e5/0x420
 worker_thread+0x59/0x3c0
"""


@pytest.mark.parametrize("kept", [7, 8, 9, 10])
def test_a_stall_in_a_work_is_named_alike_wherever_the_trace_is_cut(kept: int) -> None:
    cut = "\n".join(STALL_IN_WORK.split("\n")[:kept])
    assert read_crash(cut).function == "frob_drain_work"


def test_a_generic_fault_in_a_work_is_named_after_the_work() -> None:
    text = """\
BUG: unable to handle page fault for address: ffffffff91e5efaf
Oops: 0002 [#1] PREEMPT SMP
Workqueue: frob_gp frob_process
RIP: 0010:do_raw_spin_lock+0x93/0x3b0
Call Trace:
 <TASK>
 _raw_spin_lock_irqsave+0xe5/0x160
"""
    assert read_crash(text).function == "frob_process"


def test_a_trace_that_only_reports_names_nobody() -> None:
    """Two unrelated warnings cut that early must not both be told as `dump_stack`."""
    text = """\
BUG: using __this_cpu_read() in preemptible [00000000] code: frobd/411
CPU: 1 PID: 411 Comm: frobd Not tainted 4.15.0 #122
Call Trace:
 dump_stack+0x198/0x277
"""
    assert read_crash(text).signature.key == "atomic_sleep|"


@pytest.mark.parametrize(
    "head", ["WARNING: CPU: 0 PID: 9 at drivers/frob.c:9", "BUG: KASAN: use-after-free in"]
)
def test_a_heads_own_module_is_kept_when_the_trace_is_lost(head: str) -> None:
    text = f"{head} frob_attach+0x68/0xc0 [frob]\n"
    crash = read_crash(text)
    assert (crash.function, crash.module) == ("frob_attach", "frob")


def test_a_copy_of_a_primitive_in_a_module_is_no_culprit() -> None:
    text = """\
BUG: KASAN: slab-out-of-bounds in memcpy+0xb4/0x103 [frob]
Call Trace:
 kasan_report+0x16/0x60
 frob_parse+0x48/0xb0 [frob]
"""
    assert read_crash(text).function == "frob_parse"


LOCKDEP_CUT = """\
WARNING: possible circular locking dependency detected
5.4.0 #1 Not tainted
------------------------------------------------------
frobd/4896 is trying to acquire lock:
 (a_mutex){+.+.}, at: mutex_lock_nested+0x58/0xab0
-> #1 (b_mutex){+.+.}:
       lock_acquire+0x1d5/0x580
       other_subsystem_read+0xb9/0x970

-> #0 (a_mutex){+.+.}:
       lock_acquire+0x1d5/0x580
       mutex_lock_nested+0x16/0x20
       frob_attach+0x58/0xab0

stack backtrace:
CPU: 0 PID: 4896 Comm: frobd Not tainted 5.4.0 #1
Call Trace:
 dump_stack+0x194/0x257
 print_circular_bug+0x42d/0x610
 __lock_acquire+0x3498/0x47f0
"""


def test_lockdep_cut_before_anyone_to_blame_is_named_by_its_newest_dependency() -> None:
    whole = LOCKDEP_CUT + " lock_acquire+0x1d5/0x580\n mutex_lock_nested+0x16/0x20\n frob_attach+0x58/0xab0\n"
    assert read_crash(LOCKDEP_CUT).signature.key == read_crash(whole).signature.key == "lockdep|frob_attach"
