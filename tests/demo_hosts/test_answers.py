from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.demo.hosts.answers import answer
from bot.demo.hosts.captures import CASES, load
from bot.demo.hosts.errors import UnknownCase
from bot.demo.hosts.instance import Instance
from bot.demo.hosts.reporter import report
from bot.demo.hosts.timeline import captured_times

CRASHED = datetime(2027, 3, 5, 9, 14, 7, 250000, tzinfo=UTC).timestamp()
BACK = CRASHED + 8
NOW = BACK + 100
DMI = [
    f"/sys/class/dmi/id/{name}"
    for name in (
        "sys_vendor",
        "product_name",
        "product_version",
        "bios_vendor",
        "bios_version",
        "bios_date",
        "board_name",
    )
]
HELPER = "sudo -n /usr/local/sbin/panicroom-host"
RUNBOOK = [
    "uname -a",
    "cat /proc/cmdline",
    "cat /etc/os-release",
    "cat /proc/uptime",
    "cat /proc/sys/kernel/random/boot_id",
    "uptime -s",
    "journalctl --list-boots --no-pager -o json",
    "journalctl --list-boots --no-pager",
    "journalctl -b 0 -k -o short-iso --no-pager",
    "journalctl -b -1 -k -o short-iso --no-pager",
    "dmesg",
    "lsmod",
    "cat /proc/meminfo",
    "cat /proc/sys/kernel/tainted",
    "last -x -F -n 20",
    "df -hT",
    "df -i",
    "lscpu",
    "cat /sys/kernel/kexec_crash_loaded",
    "cat /sys/kernel/kexec_crash_size",
    "systemctl status kdump-tools --no-pager -l",
    "kdump-config show",
    "cat /etc/default/kdump-tools",
    "tail -n 200 /var/log/apt/history.log",
    "dpkg -l 'linux-image*' kdump-tools makedumpfile kexec-tools",
    "sysctl kernel.panic kernel.panic_on_oops kernel.panic_on_warn kernel.hung_task_panic"
    " kernel.softlockup_panic kernel.sysrq",
    f"{HELPER} list",
]


def crashed(case: str = "null-deref", host: str = "web-17") -> Instance:
    return Instance(host, load(case), CRASHED, BACK)


def ask(instance: Instance, command: str) -> tuple[str, int]:
    told = answer(instance, command, NOW)
    return (told.stdout or told.stderr).decode(), told.status


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("command", RUNBOOK)
def test_each_case_answers_the_runbook_with_its_own_name_and_time(case: str, command: str) -> None:
    said, status = ask(crashed(case), command)
    assert status == 0
    assert said
    assert "crash-lab" not in said
    assert not list(captured_times(said)), "a time of the capture was left in the answer"
    assert not re.search(r"2026-11-23|Nov 23 |20261123", said)


@pytest.mark.parametrize("case", CASES)
def test_no_captured_boot_or_machine_id_is_told(case: str) -> None:
    instance = crashed(case)
    said = "".join(ask(instance, command)[0] for command in RUNBOOK)
    assert instance.capture.machine_id not in said
    for boot in instance.capture.boots:
        assert boot.boot_id not in said
    assert json.loads(ask(instance, "journalctl --list-boots --no-pager -o json")[0])[-1]["boot_id"] == ask(
        instance, "cat /proc/sys/kernel/random/boot_id"
    )[0].strip().replace("-", "")


@pytest.mark.parametrize("case", CASES)
def test_the_listing_tells_the_size_that_reading_gives(case: str) -> None:
    instance = crashed(case, host="a-host-with-a-longer-name")
    for line in ask(instance, f"{HELPER} list")[0].splitlines():
        path, kind, size, mtime = line.split("\t")
        assert CRASHED <= float(mtime) <= BACK
        if kind == "f" and path.rsplit("/")[-1] != f"dump.{instance.stamp}":
            told = answer(instance, f"{HELPER} read {path}", NOW)
            assert (told.status, len(told.stdout)) == (0, int(size))


def test_times_in_the_answers_fit_together() -> None:
    instance = crashed()
    boots = json.loads(ask(instance, "journalctl --list-boots --no-pager -o json")[0])
    assert [boot["index"] for boot in boots] == [-2, -1, 0]
    assert boots[0]["last_entry"] / 1e6 <= CRASHED < boots[1]["first_entry"] / 1e6
    since = datetime.fromisoformat(ask(instance, "uptime -s")[0].strip() + "+00:00").timestamp()
    up = float(ask(instance, "cat /proc/uptime")[0].split()[0])
    assert CRASHED < since < BACK
    assert abs(since + up - NOW) < 1.01
    assert instance.stamp == "202703050914"
    assert "1min " in ask(instance, "systemctl status kdump-tools --no-pager -l")[0]
    assert "uncleanly shut down" in ask(instance, "journalctl -b -1 -k -o short-iso --no-pager")[0]


def test_a_host_that_never_panicked_knows_of_one_boot_and_no_dump() -> None:
    instance = Instance("db-3", load("nmi"), None, NOW - 864000)
    assert [
        b["index"] for b in json.loads(ask(instance, "journalctl --list-boots --no-pager -o json")[0])
    ] == [0]
    said, status = ask(instance, "journalctl -b -1 -k -o short-iso --no-pager")
    assert status == 1
    assert "No such boot ID" in said
    listed = ask(instance, f"{HELPER} list")[0].splitlines()
    assert [line.split("\t")[0] for line in listed] == ["kdump_lock", "kexec_cmd"]
    assert ask(instance, "last -x -F -n 20")[0].count("reboot ") == 1
    assert 863900 < float(ask(instance, "cat /proc/uptime")[0].split()[0]) < 865000


def test_dmi_comes_as_grep_prints_it_and_a_missing_file_is_grep_status_two() -> None:
    said, status = ask(crashed(), shlex.join(["grep", "-s", "", *DMI]))
    assert status == 2
    assert said.splitlines()[0] == "/sys/class/dmi/id/sys_vendor:QEMU"
    assert "board_name" not in said
    assert ask(crashed(), shlex.join(["grep", "-s", "", *DMI[:-1]]))[1] == 0


def test_what_no_capture_holds_is_said() -> None:
    assert ask(crashed(), "systemctl status kdump --no-pager -l") == (
        "Unit kdump.service could not be found.\n",
        4,
    )
    assert ask(crashed(), "cat /etc/shadow") == ("cat: /etc/shadow: No such file or directory\n", 1)
    assert ask(crashed("sysrq-c"), "journalctl -b -2 -k -o short-iso --no-pager")[1] == 1
    for command in ("rm -rf /", "uname -a; id", "sh -c 'uname -a'", "cat", "$(id)", "df -h"):
        said, status = ask(crashed(), command)
        assert (status, "uid=" in said) in ((127, False), (0, False)), command
    assert ask(crashed(), "uname -a; id")[1] == 127
    assert ask(crashed(), "sudo -n cat /etc/shadow") == ("sudo: a password is required\n", 1)


@pytest.mark.parametrize("case", ["sysrq-c", "oom"])
def test_dump_ends_are_answered_with_this_crash_in_them(case: str) -> None:
    instance = crashed(case)
    dump = f"{instance.stamp}/dump.{instance.stamp}"
    size = next(e.size for e in instance.listing if e.path == dump)
    head = answer(instance, f"{HELPER} head {dump} 65536", NOW).stdout
    assert head.startswith(b"makedumpfile\0")
    assert b"KDUMP   " in head
    assert b"\nCRASHTIME=%d\n" % int(CRASHED) in head
    assert b"web-17\0" in head
    assert b"crash-lab" not in head
    assert len(head) == len(
        instance.capture.dumps[f"{instance.capture.stamp}/dump.{instance.capture.stamp}"].head
    )
    assert answer(instance, f"{HELPER} tail {dump} 16", NOW).stdout == b"\xff" * 16
    assert answer(instance, f"{HELPER} bytes {dump} {size - 16} 16", NOW).stdout == b"\xff" * 16
    assert answer(instance, f"{HELPER} bytes {dump} 4096 8", NOW).stdout == head[4096:4104]
    middle = answer(instance, f"{HELPER} bytes {dump} 1000000 16", NOW)
    assert (middle.status, middle.stdout) == (1, b"")
    assert middle.stderr.startswith(f"panicroom-host: this capture holds no bytes of {dump}".encode())


def test_a_dump_that_was_not_kept_is_not_invented_and_an_empty_one_is_empty() -> None:
    kept = crashed("null-deref")
    refused = answer(kept, f"{HELPER} head {kept.stamp}/dump.{kept.stamp} 64", NOW)
    assert (refused.status, b"this capture holds no bytes of" in refused.stderr) == (1, True)
    empty = crashed("dump-fails-disk-full")
    told = answer(empty, f"{HELPER} head {empty.stamp}/dump.{empty.stamp} 64", NOW)
    assert (told.status, told.stdout) == (0, b"")


@pytest.mark.parametrize(
    "call",
    ["read ../../etc/shadow", "read /etc/shadow", "read", "head x", "head x -1", "dump x", "", "bytes x 1 ²"],
)
def test_the_helper_refuses_what_is_no_call_of_it(call: str) -> None:
    assert ask(crashed(), f"{HELPER} {call}")[1] == 64


@pytest.mark.parametrize("case", CASES)
def test_the_report_says_what_the_host_knows(case: str) -> None:
    instance = crashed(case)
    body = report(instance)
    assert body == report(instance)
    assert body["occurred_at"] == "2027-03-05T09:14:07.250000+00:00"
    assert body["kernel"] == "6.1.0-56-cloud-amd64"
    assert body["hardware"] == "QEMU Standard PC (Q35 + ICH9, 2009)"
    assert body["crashed_boot_id"] != body["boot_id"]
    assert len(body["id"]) <= 200
    assert body["source"] == ("pstore" if case == "no-kdump-pstore" else "report")
    assert ("crash_dir" in body) == (case != "no-kdump-pstore")
    complete = {"sysrq-c": True, "oom": True, "dump-fails-disk-full": False}
    if "dump" in body:
        assert body["dump"]["complete"] is complete.get(case)
        assert body["dump"]["path"].startswith(body["crash_dir"])
    assert ("Call Trace" in body["text"]) == (case != "dump-fails-disk-full")
    crashed_boot = [b for b in instance.boots if b.boot_id == body["crashed_boot_id"].replace("-", "")]
    assert crashed_boot[0].last_entry / 1e6 <= CRASHED


def test_two_panics_share_no_boot_id() -> None:
    seen: set[str] = set()
    for case in CASES:
        for host in ("a", "b"):
            for moment in (CRASHED, CRASHED + 1):
                ids = {boot.boot_id for boot in Instance(host, load(case), moment, moment + 8).boots}
                assert not ids & seen
                seen |= ids


def test_an_unknown_case_names_the_remedy() -> None:
    with pytest.raises(UnknownCase, match=r"CASES lists.*no-such"):
        load("no-such")


@given(st.text(max_size=80))
def test_no_command_line_breaks_the_replay(command: str) -> None:
    for line in (
        command,
        f"{HELPER} {command}",
        f"cat {command}",
        f"journalctl -b {command} -k -o short-iso --no-pager",
    ):
        told = answer(crashed(), line, NOW)
        assert 0 <= told.status <= 255


def test_the_packaged_captures_are_small_and_all_there() -> None:
    packed = [f for f in resources.files("bot.demo.hosts.captures").iterdir() if f.name.endswith(".json.gz")]
    assert {f.name.removesuffix(".json.gz") for f in packed} == set(CASES)
    assert sum(len(f.read_bytes()) for f in packed) < 1_000_000
