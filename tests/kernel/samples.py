"""Reports as kernels of several ages and arches print them, written for these tests."""

from __future__ import annotations

# ruff: noqa: E501
X86_64 = """\
[  152.113556] labcrash: loading out-of-tree module taints kernel.
[  152.164910] BUG: kernel NULL pointer dereference, address: 0000000000000000
[  152.165940] #PF: supervisor read access in kernel mode
[  152.166457] #PF: error_code(0x0000) - not-present page
[  152.167119] PGD 0 P4D 0
[  152.168300] Oops: 0000 [#1] PREEMPT SMP PTI
[  152.168927] CPU: 0 PID: 366 Comm: sh Kdump: loaded Tainted: G           OE      6.1.0-56-cloud-amd64 #1  Debian 6.1.192-2
[  152.169837] Hardware name: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.16.2-debian-1.16.2-1 04/01/2014
[  152.170603] RIP: 0010:labcrash_read_cookie.isra.0+0x5/0x10 [labcrash]
[  152.171977] Code: c0 e8 af d0 c0 ea 31 c0 c3 cc cc cc cc 0f 1f 84 00 <48> 8b 07 e9 83 ce ff ea
[  152.173328] RSP: 0018:ffffcefac0653aa0 EFLAGS: 00000246
[  152.175974] CR2: 0000000000000000 CR3: 0000000005c36000 CR4: 00000000000006b0
[  152.176551] Call Trace:
[  152.178114]  <TASK>
[  152.179246]  labcrash_do_null+0xc/0x20 [labcrash]
[  152.179895]  labcrash_set+0x19b/0x2e7 [labcrash]
[  152.180636]  param_attr_store+0x94/0xe0
[  152.183340]  ksys_write+0x6b/0xf0
[  152.183716]  do_syscall_64+0x5d/0x90
[  152.184171]  ? do_dup2+0x86/0xd0
[  152.191595]  entry_SYSCALL_64_after_hwframe+0x6e/0xd8
[  152.192214] RIP: 0033:0x7fe9d1567350
[  152.200197]  </TASK>
[  152.200954] Modules linked in: labcrash(OE) netconsole crc32c_intel
[  152.203927] CR2: 0000000000000000
"""

X86_64_OLD = """\
BUG: unable to handle kernel NULL pointer dereference at 0000000000000028
IP: [<ffffffffa01d1234>] frob_release+0x24/0x80 [frob]
PGD 0
Oops: 0002 [#1] SMP
last sysfs file: /sys/devices/system/cpu/cpu7/cache/index2/shared_cpu_map
CPU 3
Modules linked in: frob(U) ext4 jbd2 [last unloaded: scsi_wait_scan]

Pid: 2663, comm: quipper Tainted: P        W  2.6.32-431.el6.x86_64 #1 Dell Inc. PowerEdge R610/0F0XJ6
RIP: 0010:[<ffffffffa01d1234>]  [<ffffffffa01d1234>] frob_release+0x24/0x80 [frob]
RSP: 0018:ffff880171789dd8  EFLAGS: 00010293
Process quipper (pid: 2663, threadinfo ffff880171788000, task ffff8801715e6b40)
Call Trace:
 [<ffffffff8119d0a5>] __fput+0xf5/0x210
 [<ffffffff8119d1e5>] fput+0x25/0x30
 [<ffffffff8100b072>] system_call_fastpath+0x16/0x1b
Code: 48 8b 47 28 48 85 c0
RIP  [<ffffffffa01d1234>] frob_release+0x24/0x80 [frob]
 RSP <ffff880171789dd8>
CR2: 0000000000000028
---[ end trace 2a6b72965e1b1523 ]---
Kernel panic - not syncing: Fatal exception
"""

RHEL5 = """\
Unable to handle kernel paging request at ffff8101f3a00000 RIP:
 [<ffffffff8858b0c4>] :frob:frob_scan+0x54/0x1c0
PGD 8063 PUD 0
Oops: 0000 [1] SMP
CPU 5
Pid: 3141, comm: frobd Tainted: GF     2.6.18-194.el5 #1
RIP: 0010:[<ffffffff8858b0c4>]  [<ffffffff8858b0c4>] :frob:frob_scan+0x54/0x1c0
Call Trace:
 [<ffffffff8858b2aa>] :frob:frob_ioctl+0x7a/0xe0
 [<ffffffff80042160>] do_ioctl+0x55/0x6b
 [<ffffffff8005d28d>] tracesys+0xd5/0xe0
"""

I386 = """\
<0>[56279.689669] ------------[ cut here ]------------
<2>[56279.689677] kernel BUG at kernel/timer.c:844!
<0>[56279.689683] invalid opcode: 0000 [#1] SMP
<5>[56279.689738] Pid: 24607, comm: suspendd Tainted: G        WC  2.6.38.3+ #1 ACME CO., LTD. Alex/G100
<5>[56279.689748] EIP: 0060:[<8103e3ea>] EFLAGS: 00210286 CPU: 3
<5>[56279.689758] EIP is at add_timer+0xd/0x1b
<5>[56279.689762] EAX: f5e00684 EBX: f5e003c0 ECX: 00000002 EDX: 00200246
<0>[56279.689778] Process suspendd (pid: 24607, ti=d2be4000 task=f5dc9b60 task.ti=d2be4000)
<0>[56279.689821] Call Trace:
<5>[56279.689840]  [<f8dccced>] ieee80211_sta_restart+0x25/0x8c [mac80211]
<5>[56279.689854]  [<f8ddc752>] ieee80211_reconfig+0x2e9/0x339 [mac80211]
"""

ARM = """\
[   42.100000] Unable to handle kernel NULL pointer dereference at virtual address 00000010
[   42.100001] pgd = c0004000
[   42.100002] [00000010] *pgd=00000000
[   42.100003] Internal error: Oops: 5 [#1] PREEMPT SMP ARM
[   42.100004] Modules linked in: gpio_frob
[   42.100005] CPU: 1 PID: 77 Comm: frobd Not tainted 4.9.30-rt20-armv7l #3
[   42.100006] Hardware name: Generic AM33XX (Flattened Device Tree)
[   42.100007] PC is at gpio_frob_irq+0x18/0x5c [gpio_frob]
[   42.100008] LR is at __handle_irq_event_percpu+0x6c/0x13c
[   42.100009] [<bf00018c>] (gpio_frob_irq [gpio_frob]) from [<c0171234>] (__handle_irq_event_percpu+0x6c/0x13c)
[   42.100010] [<c0171234>] (__handle_irq_event_percpu) from [<c0171330>] (handle_irq_event_percpu+0x2c/0x68)
"""

ARM_NEW = """\
[   42.100000] 8<--- cut here ---
[   42.100001] Unable to handle kernel paging request at virtual address 6b6b6b7b when read
[   42.100002] [6b6b6b7b] *pgd=00000000
[   42.100003] Internal error: Oops: 5 [#1] SMP ARM
[   42.100005] CPU: 1 PID: 77 Comm: frobd Not tainted 6.1.30 #3
[   42.100007] PC is at frob_poll+0x18/0x5c
[   42.100008] LR is at frob_work+0x6c/0x13c
[   42.100009]  frob_poll from frob_work+0x6c/0x13c
[   42.100010]  frob_work from process_one_work+0x1f0/0x4b0
"""

ARM64 = """\
[   99.000001] Unable to handle kernel paging request at virtual address dead000000000108
[   99.000002] Mem abort info:
[   99.000003]   ESR = 0x0000000096000004
[   99.000004] Internal error: Oops: 0000000096000004 [#1] SMP
[   99.000005] CPU: 12 UID: 0 PID: 4242 Comm: kworker/12:1 Kdump: loaded Tainted: G        W  O       6.12.9-aarch64 #1
[   99.000006] Tainted: [W]=WARN, [O]=OOT_MODULE
[   99.000007] Hardware name: GIGABYTE R272-P30-JG/MP32-AR0-JG, BIOS F31n 09/30/2022
[   99.000008] pstate: 60400009 (nZCv daif +PAN -UAO -TCO -DIT -SSBS BTYPE=--)
[   99.000009] pc : frob_unlink+0x40/0x88 [frob]
[   99.000010] lr : frob_unlink+0x34/0x88 [frob]
[   99.000011] sp : ffff80008a3fbc90
[   99.000012] x29: ffff80008a3fbc90 x28: 0000000000000000 x27: ffff0000c0a5f1c0
[   99.000013] Call trace:
[   99.000014]  frob_unlink+0x40/0x88 [frob] (P)
[   99.000015]  frob_work+0x60/0xb8 [frob]
[   99.000016]  process_one_work+0x174/0x3c8
[   99.000017]  kthread+0x114/0x120
[   99.000018] Code: aa1303e0 97fffff0 f9400260
[   99.000019] ---[ end trace 0000000000000000 ]---
"""

PPC64LE = """\
[ 1234.567890] BUG: Kernel NULL pointer dereference on read at 0x00000008
[ 1234.567891] Faulting instruction address: 0xc0080000012a0c44
[ 1234.567892] Oops: Kernel access of bad area, sig: 11 [#1]
[ 1234.567893] LE PAGE_SIZE=64K MMU=Radix SMP NR_CPUS=2048 NUMA PowerNV
[ 1234.567894] CPU: 40 PID: 9000 Comm: frobd Tainted: G           OE     5.14.0-70.el9.ppc64le #1
[ 1234.567895] NIP:  c0080000012a0c44 LR: c0080000012a0c20 CTR: c0000000000a1230
[ 1234.567896] NIP [c0080000012a0c44] frob_read+0x44/0xa0 [frob]
[ 1234.567897] LR [c0080000012a0c20] frob_read+0x20/0xa0 [frob]
[ 1234.567898] Call Trace:
[ 1234.567899] [c00000003ae5b860] [c0080000012a0c20] frob_read+0x20/0xa0 [frob] (unreliable)
[ 1234.567900] [c00000003ae5b890] [c0000000004b9a5c] vfs_read+0xdc/0x390
[ 1234.567901] [c00000003ae5b8e0] [c0000000004ba1f4] ksys_read+0x84/0x140
[ 1234.567902] --- interrupt: c00 at 0x7fff8f2a1234
"""

S390X = """\
[   17.300001] Unable to handle kernel pointer dereference in virtual kernel address space
[   17.300002] Failing address: 0000000000000000 TEID: 0000000000000483
[   17.300003] Fault in home space mode while using kernel ASCE.
[   17.300004] Oops: 0004 ilc:3 [#1] SMP
[   17.300005] Modules linked in: frob(OE) qeth
[   17.300006] CPU: 1 PID: 812 Comm: frobd Kdump: loaded Not tainted 5.14.0-70.el9.s390x #1
[   17.300007] Hardware name: IBM 8561 T01 703 (z/VM 7.2.0)
[   17.300008] Krnl PSW : 0704c00180000000 000003ff80312a0c (frob_open+0x2c/0x60 [frob])
[   17.300009]            R:0 T:1 IO:1 EX:1 Key:0 M:1 W:0 P:0 AS:3 CC:0 PM:0 RI:0 EA:3
[   17.300010] Call Trace:
[   17.300011]  [<000003ff80312a0c>] frob_open+0x2c/0x60 [frob]
[   17.300012] ([<0000000000000000>] 0x0)
[   17.300013]  [<00000000002c1a9e>] chrdev_open+0xbe/0x260
[   17.300014]  [<00000000002b6e7a>] do_dentry_open+0x21a/0x3d0
"""

RISCV64 = """\
[   64.440001] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000018
[   64.440002] Oops [#1]
[   64.440003] Modules linked in: frob
[   64.440004] CPU: 3 PID: 231 Comm: frobd Not tainted 6.6.20-riscv64 #1
[   64.440005] Hardware name: StarFive VisionFive 2 v1.3B (DT)
[   64.440006] epc : frob_write+0x1c/0x40 [frob]
[   64.440007]  ra : vfs_write+0xae/0x2f0
[   64.440008] epc : ffffffff01532032 ra : ffffffff801b1a56 sp : ffffffc80101bd90
[   64.440009] status: 0000000200000120 badaddr: 0000000000000018 cause: 000000000000000d
[   64.440010] [<ffffffff01532032>] frob_write+0x1c/0x40 [frob]
[   64.440011] [<ffffffff801b1a56>] vfs_write+0xae/0x2f0
[   64.440012] [<ffffffff801b1e3c>] ksys_write+0x68/0xe8
[   64.440013] ---[ end trace 0000000000000000 ]---
"""

MIPS = """\
[   33.100001] CPU 0 Unable to handle kernel paging request at virtual address 00000004, epc == 8032a0c4, ra == 8032a0a0
[   33.100002] Oops[#1]:
[   33.100003] CPU: 0 PID: 1021 Comm: frobd Not tainted 5.4.158 #0
[   33.100004] $ 0   : 00000000 00000001 00000000 00000000
[   33.100005] epc   : 8032a0c4 frob_xmit+0x24/0x1a0
[   33.100006] ra    : 8032a0a0 frob_queue+0x20/0x80
[   33.100007] Status: 1100fc03\tKERNEL EXL IE
[   33.100008] Cause : 00800008 (ExcCode 02)
[   33.100009] BadVA : 00000004
[   33.100010] PrId  : 0001992f (MIPS 1004Kc)
[   33.100011] Call Trace:
[   33.100012] [<8032a0c4>] frob_xmit+0x24/0x1a0
[   33.100013] [<80361000>] dev_hard_start_xmit+0x98/0x1e0
"""

LOONGARCH64 = """\
[   21.500001] CPU 2 Unable to handle kernel paging request at virtual address 8000000000000020, era == 9000000000a1b2c4, ra == 9000000000a1b2a0
[   21.500002] Oops[#1]:
[   21.500003] CPU: 2 PID: 512 Comm: frobd Not tainted 6.6.0-loongarch64 #1
[   21.500004] Hardware name: Loongson Loongson-3A5000-7A1000-1w-A2101/Loongson-LS3A5000-7A1000-1w-A2101, BIOS vUDK2018
[   21.500005] pc 9000000000a1b2c4 ra 9000000000a1b2a0 tp 9000000101234000 sp 9000000101237c80
[   21.500006]    ra: 9000000000a1b2a0 frob_start+0x20/0x80
[   21.500007]   ERA: 9000000000a1b2c4 frob_start+0x44/0x80
[   21.500008]  CRMD: 000000b0 (PLV0 -IE -DA +PG DACF=CC DACM=CC -WE)
[   21.500009] Call Trace:
[   21.500010] [<9000000000a1b2c4>] frob_start+0x44/0x80
[   21.500011] [<9000000000a1c000>] frob_probe+0x100/0x280
"""

SYSRQ = """\
[  260.685880] sysrq: Trigger a crash
[  260.694021] Kernel panic - not syncing: sysrq triggered crash
[  260.695779] CPU: 1 PID: 370 Comm: sh Kdump: loaded Not tainted 6.1.0-56-cloud-amd64 #1  Debian 6.1.192-2
[  260.708957]  <TASK>
[  260.698429] Call Trace:
[  260.717891]  dump_stack_lvl+0x44/0x5c
[  260.720825]  panic+0x118/0x2f4
[  260.722354]  sysrq_handle_crash+0x16/0x20
[  260.722784]  __handle_sysrq.cold+0x44/0x11c
[  260.723095]  write_sysrq_trigger+0x24/0x40
"""

HARD_LOCKUP = """\
[ 8123.000001] NMI watchdog: Watchdog detected hard LOCKUP on cpu 7
[ 8123.000002] Modules linked in: frob
[ 8123.000003] CPU: 7 PID: 991 Comm: frobd Tainted: G             L    5.15.0-91-generic #101-Ubuntu
[ 8123.000004] RIP: 0010:native_queued_spin_lock_slowpath+0x64/0x1d0
[ 8123.000005] Call Trace:
[ 8123.000006]  _raw_spin_lock_irqsave+0x3d/0x50
[ 8123.000007]  frob_submit+0x2b/0x110 [frob]
[ 8123.000008]  frob_ioctl+0xc8/0x180 [frob]
[ 8123.000009]  __x64_sys_ioctl+0x92/0xd0
[ 8123.000010]  do_syscall_64+0x5c/0xc0
[ 8123.000011] Kernel panic - not syncing: Hard LOCKUP
"""

MACHINE_CHECK = """\
[77777.100001] mce: [Hardware Error]: CPU 3: Machine Check Exception: 5 Bank 7: be00000000800400
[77777.100002] mce: [Hardware Error]: RIP !INEXACT! 10:<ffffffff8101a1b2> {mwait_idle+0x72/0xb0}
[77777.100003] mce: [Hardware Error]: TSC 0 ADDR 3fff81a2c0b40 MISC 3880000086
[77777.100004] mce: [Hardware Error]: Machine check: Processor context corrupt
[77777.100005] Kernel panic - not syncing: Fatal machine check
[77777.100006] Kernel Offset: 0x1c000000 from 0xffffffff81000000
"""

NOT_SYNCING = {
    "VFS: Unable to mount root fs on unknown-block(0,0)": ("panic", "mount_root"),
    "Attempted to kill init! exitcode=0x0000000b": ("panic", "init_killed"),
    "No working init found.  Try passing init= option to kernel.": ("panic", "no_init"),
    "Out of memory and no killable processes...": ("oom_panic", "out_of_memory"),
    "System is deadlocked on memory": ("oom_panic", "out_of_memory"),
    "NMI: Not continuing": ("nmi", "nmi"),
    "hpwdt: 00000001: An NMI occurred.": ("watchdog", "watchdog"),
    "IPMI Watchdog pre-timeout": ("watchdog", "watchdog"),
    "watchdog pretimeout event": ("watchdog", "watchdog"),
    "Fatal hardware error!": ("mce", "machine_check"),
}

NAMED_BUT_NO_CRASH = {
    "oom": "[ 10.100000] Out of memory: Killed process 1234 (java) total-vm:1kB, anon-rss:1kB, UID:0",
    "user_fault": "[ 10.100000] traps: frobd[1234] general protection fault ip:7f0000001000 sp:7ffc00000000 error:0",
    "corrected_error": "[ 10.100000] mce: [Hardware Error]: Machine check events logged",
    "firmware": "[ 10.100000] ACPI: [Firmware Bug]: BIOS _OSI(Linux) query ignored",
    "warning": "[ 10.100000] WARNING: CPU: 3 PID: 77 at drivers/frob/core.c:12 frob_get+0x20/0x40 [frob]",
}

CALM = (
    "[    1.000000] Speculative Return Stack Overflow: WARNING: See https://kernel.org/doc for options.\n",
    "[    1.000000] Command line: ro panic=10 oops=panic panic_on_warn=1 softlockup_panic=1\n",
    "[    1.000000] perf: interrupt took too long (2503 > 2500)\n",
    "Nov 23 05:32:11 web-17 sshd[991]: BUG: kernel NULL pointer dereference, address: 0\n",
    "Nov 23 05:32:11 web-17 collectd[12]: note: Kernel panic - not syncing: seen in the manual\n",
    "[   51.146852] kdump-tools[195]: Kernel panic - not syncing: what we wait for\n",
    "[    0.000000] kernel BUGs are reported at bugzilla\n",
)
