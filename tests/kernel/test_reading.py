"""What `read_crash` tells of reports of all arches and ages."""

from __future__ import annotations

import pytest

from integrations.kernel import Kind, read_crash
from tests.kernel import samples


@pytest.mark.parametrize(
    ("text", "kind", "function", "module", "arch", "process", "cpu", "kernel"),
    [
        (
            samples.X86_64,
            "null_deref",
            "labcrash_read_cookie",
            "labcrash",
            "x86_64",
            "sh",
            0,
            "6.1.0-56-cloud-amd64",
        ),
        (
            samples.X86_64_OLD,
            "null_deref",
            "frob_release",
            "frob",
            "x86_64",
            "quipper",
            3,
            "2.6.32-431.el6.x86_64",
        ),
        (samples.RHEL5, "page_fault", "frob_scan", "frob", "x86_64", "frobd", 5, "2.6.18-194.el5"),
        (samples.I386, "kernel_bug", "ieee80211_sta_restart", "mac80211", "i386", "suspendd", 3, "2.6.38.3+"),
        (samples.ARM, "null_deref", "gpio_frob_irq", "gpio_frob", "arm", "frobd", 1, "4.9.30-rt20-armv7l"),
        (samples.ARM_NEW, "page_fault", "frob_poll", None, "arm", "frobd", 1, "6.1.30"),
        (samples.ARM64, "page_fault", "frob_unlink", "frob", "arm64", "kworker/12:1", 12, "6.12.9-aarch64"),
        (samples.PPC64LE, "null_deref", "frob_read", "frob", "ppc64le", "frobd", 40, "5.14.0-70.el9.ppc64le"),
        (samples.S390X, "null_deref", "frob_open", "frob", "s390x", "frobd", 1, "5.14.0-70.el9.s390x"),
        (samples.RISCV64, "null_deref", "frob_write", "frob", "riscv64", "frobd", 3, "6.6.20-riscv64"),
        (samples.MIPS, "null_deref", "frob_xmit", None, "mips", "frobd", 0, "5.4.158"),
        (
            samples.LOONGARCH64,
            "page_fault",
            "frob_start",
            None,
            "loongarch64",
            "frobd",
            2,
            "6.6.0-loongarch64",
        ),
    ],
    ids=[
        "x86_64",
        "x86_64-2.6",
        "rhel5",
        "i386",
        "arm",
        "arm-5.17",
        "arm64",
        "ppc64le",
        "s390x",
        "riscv64",
        "mips",
        "loongarch",
    ],
)
def test_every_arch(
    text: str, kind: str, function: str, module: str | None, arch: str, process: str, cpu: int, kernel: str
) -> None:
    crash = read_crash(text)
    assert crash.crash
    assert (crash.kind, crash.function, crash.module) == (kind, function, module)
    assert (crash.arch, crash.process, crash.cpu, crash.kernel) == (arch, process, cpu, kernel)
    assert crash.signature.key == "|".join(filter(None, (kind, function, module)))
    assert not crash.head_lost
    assert not crash.deliberate


def test_all_facts_of_one_report() -> None:
    crash = read_crash(samples.X86_64)
    assert crash.title == "NULL pointer dereference in labcrash_read_cookie"
    assert [f.function for f in crash.frames][:3] == [
        "labcrash_read_cookie",
        "labcrash_do_null",
        "labcrash_set",
    ]
    assert [f.function for f in crash.doubtful] == ["do_dup2"]
    assert all(f.reliable for f in crash.frames)
    assert not any(f.reliable for f in crash.doubtful)
    assert (crash.frames[0].offset, crash.frames[0].size, crash.frames[0].module) == (5, 16, "labcrash")
    assert (crash.pid, crash.taint_flags, crash.taint) == (366, "GOE", ("OOT_MODULE", "UNSIGNED_MODULE"))
    assert crash.modules == ("labcrash", "netconsole", "crc32c_intel")
    assert crash.hardware == "QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.16.2-debian-1.16.2-1 04/01/2014"
    assert crash.kernel_build == "#1 Debian 6.1.192-2"
    assert crash.uptime == pytest.approx(152.164910)
    assert crash.lines == tuple(samples.X86_64.splitlines()[1:])
    assert any("head rule" in reason for reason in crash.explain)
    assert any("labcrash_read_cookie" in reason for reason in crash.explain)


def test_release_and_command_line_come_from_the_boot_that_died() -> None:
    boot = (
        "[    0.000000] Linux version 5.10.0-9-amd64 (builder@host) (gcc 10) #1 SMP Debian 5.10.70-1 (2021-09-30)\n"
        "[    0.000000] Command line: BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet\n"
        "[   50.000000] Kernel panic - not syncing: frob is on fire 0x1234\n"
    )
    crash = read_crash(boot)
    assert (crash.kernel, crash.arch) == ("5.10.0-9-amd64", "x86_64")
    assert crash.command_line == "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet"
    assert crash.title == "panic: frob is on fire N"
    assert crash.signature.key == "panic|frob is on fire N"


def test_sysrq_is_deliberate() -> None:
    crash = read_crash(samples.SYSRQ)
    assert crash.crash
    assert (crash.kind, crash.title, crash.deliberate) == (Kind.PANIC, "sysrq triggered crash", True)
    assert crash.function == "sysrq_handle_crash"


@pytest.mark.parametrize(
    "text",
    [
        "[ 1.000001] lkdtm: Performing direct entry BUG\n" + samples.X86_64,
        samples.X86_64.replace("labcrash_read_cookie.isra.0", "lkdtm_READ").replace("labcrash_", "lkdtm_"),
        "[ 0.000000] Command line: ro kdump_test_id=1700000000-test\n" + samples.X86_64,
    ],
    ids=["lkdtm line", "lkdtm frame", "kdumpctl test"],
)
def test_other_deliberate_crashes(text: str) -> None:
    if "Performing" in text:
        text = text.replace("[ 1.000001]", "[  152.164000]").replace(
            samples.X86_64.splitlines()[0] + "\n", ""
        )
    assert read_crash(text).deliberate


def test_hard_lockup_names_who_held_the_cpu() -> None:
    crash = read_crash(samples.HARD_LOCKUP)
    assert (crash.kind, crash.function, crash.module) == ("hard_lockup", "frob_ioctl", "frob")
    assert not crash.others


def test_machine_check() -> None:
    crash = read_crash(samples.MACHINE_CHECK)
    assert crash.crash
    assert (crash.kind, crash.signature.key) == ("mce", "mce|machine_check")


@pytest.mark.parametrize("message", samples.NOT_SYNCING)
def test_explicit_panics(message: str) -> None:
    kind, key = samples.NOT_SYNCING[message]
    crash = read_crash(f"[   12.345678] Kernel panic - not syncing: {message}\n")
    assert crash.crash
    assert (crash.kind, crash.signature.key) == (kind, f"{kind}|{key}")


@pytest.mark.parametrize("kind", samples.NAMED_BUT_NO_CRASH)
def test_named_but_no_crash(kind: str) -> None:
    crash = read_crash(samples.NAMED_BUT_NO_CRASH[kind])
    assert (crash.crash, crash.kind) == (False, kind)


@pytest.mark.parametrize("text", samples.CALM)
def test_calm(text: str) -> None:
    crash = read_crash(text)
    assert (crash.crash, crash.kind, crash.title) == (False, "unknown", "cause unknown: no crash text")
    assert crash.signature.key == "unknown"


def test_warning_under_panic_on_warn_is_a_crash() -> None:
    text = samples.NAMED_BUT_NO_CRASH["warning"] + (
        "\n[ 10.100001] Kernel panic - not syncing: kernel: panic_on_warn set ...\n"
    )
    crash = read_crash(text)
    assert (crash.crash, crash.kind, crash.function, crash.module) == (True, "warning", "frob_get", "frob")


def test_two_crashes_the_first_is_named() -> None:
    later = samples.ARM64.replace("[   99.", "[  999.")
    crash = read_crash(samples.X86_64 + later)
    assert crash.function == "labcrash_read_cookie"
    assert [o.function for o in crash.others] == ["frob_unlink"]
    assert not any("frob_unlink" in line for line in crash.lines)


def test_the_same_report_told_twice_is_one() -> None:
    assert read_crash(samples.X86_64 + samples.X86_64).others == ()


def test_a_crash_is_named_before_an_earlier_warning() -> None:
    crash = read_crash(samples.NAMED_BUT_NO_CRASH["warning"] + "\n" + samples.X86_64)
    assert crash.kind is Kind.NULL_DEREF
    assert [o.kind for o in crash.others] == ["warning"]


def test_kasan_that_led_to_the_death_is_the_cause() -> None:
    kasan = (
        "[  152.000001] BUG: KASAN: slab-use-after-free in frob_put+0x30/0x60 [frob]\n"
        "[  152.000002] Read of size 8 at addr ffff88810a0b1c08 by task frobd/366\n"
        "[  152.000003] Call Trace:\n[  152.000004]  frob_put+0x30/0x60 [frob]\n"
    )
    crash = read_crash(kasan + samples.X86_64)
    assert (crash.crash, crash.kind, crash.function) == (True, "kasan", "frob_put")
    assert [o.kind for o in crash.others] == ["null_deref"]


def test_interleaved_contexts_are_told_apart() -> None:
    ours = samples.ARM64.replace("] ", "][ T4242] ", 1)
    lines = []
    for number, line in enumerate(samples.ARM64.splitlines()):
        stamp, words = line.split("] ", 1)
        lines.append(f"{stamp}][ T4242] {words}")
        lines.append(f"{stamp}][  T77]  other_task_fn{number}+0x10/0x20")
    crash = read_crash("\n".join(lines))
    assert ours
    assert crash.function == "frob_unlink"
    assert not any(f.function.startswith("other_task") for f in crash.frames)
    assert not any("other_task" in line for line in crash.lines)


def test_lost_heads_are_told_by_what_is_left() -> None:
    body = "\n".join(samples.X86_64.splitlines()[3:])
    crash = read_crash(body)
    assert crash.head_lost
    assert (crash.kind, crash.function) == ("null_deref", "labcrash_read_cookie")
    tail = read_crash("[ 616.344091] Kernel panic - not syncing: Fatal exception in interrupt\n")
    assert (tail.crash, tail.head_lost, tail.kind) == (True, True, "panic")


def test_a_bug_without_its_line_is_still_a_bug() -> None:
    lines = [line for line in samples.I386.splitlines() if "kernel BUG at" not in line]
    crash = read_crash("\n".join(lines))
    assert (crash.kind, crash.head_lost) == (Kind.KERNEL_BUG, True)


@pytest.mark.parametrize("cut", range(0, len(samples.X86_64), 97))
def test_cut_anywhere(cut: int) -> None:
    crash = read_crash(samples.X86_64[:cut])
    if "RIP: 0010:labcrash_read_cookie.isra.0+0x5/0x10 [labcrash]" in samples.X86_64[:cut]:
        assert crash.signature.key == "null_deref|labcrash_read_cookie|labcrash"


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("__x64_sys_futex", "sys_futex"),
        ("compat_SyS_mount", "sys_mount"),
        ("ksys_read", "sys_read"),
        ("system_fn", "system_fn"),
    ],
)
def test_one_name_for_a_system_call(name: str, plain: str) -> None:
    text = samples.X86_64.replace("labcrash_read_cookie.isra.0+0x5/0x10 [labcrash]", f"{name}+0x5/0x10")
    assert read_crash(text).signature.key == f"null_deref|{plain}"


@pytest.mark.parametrize(
    "text",
    [
        "Internal error: the frobnicator is missing",
        "Oops: something went wrong: try again",
        "Unhandled fault: user code",
        "frob: Kernel panic is a band",
        "Kernel panic handler registered",
    ],
)
def test_words_of_programs_without_a_tag(text: str) -> None:
    assert not read_crash(f"2026-11-23 05:32:11 {text}\n").crash


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[ 10.100000] BUG: unable to handle kernel NULL poin", "page_fault"),
        ("[ 10.100000] BUG: kernel NULL", "null_deref"),
        ("[ 10.100000] Kernel panic - not syn", "panic"),
        ("[ 10.100000] general protection fault, probably for non-cano", "gpf"),
        ("[ 10.100000] watchdog: BUG: soft lockup - CPU#1 stuck", "soft_lockup"),
    ],
)
def test_a_head_cut_short(text: str, kind: str) -> None:
    crash = read_crash(text)
    assert (crash.crash, crash.kind) == (True, kind)


def test_the_old_sysrq_names_its_function() -> None:
    text = samples.X86_64_OLD.replace("frob_release", "sysrq_handle_crash").replace(" [frob]", "")
    crash = read_crash(text)
    assert (crash.function, crash.deliberate) == ("sysrq_handle_crash", True)


def test_hung_tasks_and_who_holds_them() -> None:
    text = (
        "[  300.000001] INFO: task frobd:77 blocked for more than 120 seconds.\n"
        "[  300.000002]       Not tainted 6.16.0 #1 PREEMPT(voluntary)\n"
        '[  300.000003] "echo 0 > /proc/sys/kernel/hung_task_timeout_secs" disables this message.\n'
        "[  300.000004] task:frobd           state:D stack:0     pid:77    tgid:77    ppid:1\n"
        "[  300.000005] Call Trace:\n[  300.000006]  __schedule+0x10/0x20\n[  300.000007]  mutex_lock+0x10/0x20\n"
        "[  300.000008]  frob_read+0x10/0x20 [frob]\n"
        "[  300.000009] INFO: task frobd:77 is blocked on a mutex likely owned by task frobd:78.\n"
    )
    crash = read_crash(text)
    assert (crash.kind, crash.function, crash.process, crash.pid) == ("hung_task", "frob_read", "frobd", 77)
    assert (crash.kernel, crash.kernel_build) == ("6.16.0", "#1 PREEMPT(voluntary)")
    assert crash.others == ()


def test_the_compiler_tells_the_arch() -> None:
    text = (
        "[    0.000000] Linux version 6.1.9 (b@h) (aarch64-linux-gnu-gcc 12) #1 SMP\n"
        "[   50.000000] Kernel panic - not syncing: frob\n"
    )
    assert read_crash(text).arch == "arm64"
