"""panicroom-report over a host's files, against the bot's real routes."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.demo.hosts.captures import CASES
from integrations.kernel import read_crash
from tests.host_side.conftest import Bot, Wall
from tests.host_side.support import BOOT_NOW, SECRET, Host, captured, iso

CRASHED, CAPTURE, OLDER = "c" * 32, "d" * 32, "a" * 32
SAVED = 1_795_412_000.0  # when the crash was saved; 2026-11-23
OOPS = "[   10.000000] Linux version 6.1.0-56-amd64\n[   99.000000] Kernel panic - not syncing: Fatal exception\n"
STAMP = "202611230532"


def crash(host: Host, directory: str = STAMP, at: float = SAVED, text: str | bytes = OOPS) -> Path:
    return host.crashed(directory, {f"dmesg.{STAMP}": text}, at=at)


def boots(host: Host, *, capture: bool = False, lines: str = "last words\n") -> None:
    """The boot that crashed at SAVED, perhaps kdump's after it, and the one that runs now."""
    host.boot(-2 if capture else -1, CRASHED, SAVED - 9000, SAVED - 60, lines)
    if capture:
        host.boot(-1, CAPTURE, SAVED - 30, SAVED, "kdump-tools: saved vmcore\n", capture=True)
    host.now(booted=SAVED + 30)


# -- what real hosts left --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shell", "case"),
    [*(("dash", case) for case in sorted(CASES)), ("busybox", "sysrq-c"), ("busybox", "no-kdump-pstore")],
)
def test_a_real_crash_is_told_whole_and_once(shell_host: Host, bot: Bot, case: str) -> None:
    capture = captured(shell_host, case)
    done = shell_host.run(url=bot.url)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    (row,) = bot.reports
    body = row.body
    crashed = next(b for b in capture.boots if b.index == capture.crashed_boot)
    assert body["crashed_boot_id"] == crashed.boot_id
    assert body["down_since"] == iso(crashed.last_entry / 1e6)
    assert body["boot_id"] == BOOT_NOW
    assert body["back_at"] == iso(capture.booted)
    assert body["hardware"] == "QEMU Standard PC (Q35 + ICH9, 2009)"
    assert body["crashed_kernel"] == "6.1.0-56-cloud-amd64"
    original = capture.pstore or next(iter(capture.crash_files.values()))
    assert body["text"].endswith(original)
    told, meant = read_crash(body["text"]), read_crash(original)
    assert (told.title, told.signature.key, told.uptime) == (meant.title, meant.signature.key, meant.uptime)
    assert "sshd[350]: Accepted publickey" in body["text"].split("\n")[0]  # the crashed boot's last lines
    if case == "no-kdump-pstore":
        assert row.source == "pstore"
        assert body["occurred_at"] == iso(capture.crash)
        assert "dump" not in body
    else:
        assert row.source == "report"
        assert body["id"] == f"dump:{capture.stamp}"
        assert body["crash_dir"] == f"{shell_host.crash}/{capture.stamp}"
        dump = next(e for e in capture.listing if "/dump." in e.path)
        assert body["dump"]["path"] == f"{shell_host.crash}/{dump.path}"
        if dump.size == 0:
            assert body["dump"] == {**body["dump"], "size": 0, "complete": False}
        elif dump.path in capture.dumps:
            assert body["dump"]["complete"] is True
            assert abs(row_time(body["occurred_at"]) - capture.crash) < 2
    if case != "sysrq-c":
        return
    again = shell_host.run()
    assert (again.returncode, again.stderr) == (0, b"")
    assert len(bot.reports) == 1
    assert oct(shell_host.spool.stat().st_mode & 0o777) == "0o700"


def row_time(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


# -- layouts ------------------------------------------------------------------------------------------------------

FLAT = b"makedumpfile\0" + bytes(100)
END = b"\xff" * 16
KDUMP = b"KDUMP   " + bytes(416)


@pytest.mark.parametrize(
    ("directory", "files", "dump", "complete", "text"),
    [
        (STAMP, {f"dump.{STAMP}": FLAT + END, f"dmesg.{STAMP}": OOPS}, f"dump.{STAMP}", True, OOPS),
        (STAMP, {f"dump.{STAMP}": FLAT, f"dmesg.{STAMP}": OOPS}, f"dump.{STAMP}", False, OOPS),
        (STAMP, {f"dump.{STAMP}": b"", f"dmesg.{STAMP}": OOPS}, f"dump.{STAMP}", False, OOPS),
        (STAMP, {"dump-incomplete": FLAT + END, "vmcore-incomplete": b""}, "dump-incomplete", False, ""),
        (STAMP, {f"dump.{STAMP}.gz": b"\x1f\x8b00"}, f"dump.{STAMP}.gz", None, ""),
        (STAMP, {"dump-incomplete": FLAT * 9, f"vmcore.{STAMP}": FLAT + END}, f"vmcore.{STAMP}", True, ""),
        (f"192.0.2.17-{STAMP}", {f"dmesg.{STAMP}": OOPS}, None, None, OOPS),
        ("127.0.0.1-2026-11-23-05:32:44", {"vmcore": KDUMP + b"\0", "vmcore-dmesg.txt": OOPS}, "vmcore", True, OOPS),
        ("127.0.0.1-2026-11-23-05:32:44", {"vmcore": KDUMP + b"\x08"}, "vmcore", False, ""),
        ("127.0.0.1-2026-11-23-05:32:44", {"vmcore-incomplete": KDUMP, "vmcore-dmesg-incomplete.txt": OOPS},
         "vmcore-incomplete", False, OOPS),
        ("web-17-2026-11-23-05:32:44", {"vmcore.flat": FLAT + END}, "vmcore.flat", True, ""),
        ("127.0.0.1-2026-11-23-05:32:44", {}, None, None, ""),
        ("2026-11-23-05-32", {"vmcore": FLAT + END, "dmesg.txt": OOPS, "README.txt": "ok"}, "vmcore", True, OOPS),
        ("2026-11-23-05:32", {"vmcore": b"\x7fELF" + bytes(60), "dmesg": OOPS}, "vmcore", None, OOPS),
        ("2026-11-23-05-32", {"README.txt": "vmcore status: error while saving\n"}, None, None,
         "vmcore status: error while saving\n"),
    ],
)  # fmt: skip
def test_each_family_s_layout(
    host: Host, directory: str, files: dict[str, Any], dump: str | None, complete: bool | None, text: str
) -> None:
    host.crashed(directory, files, at=SAVED)
    (body,) = host.bodies()
    assert (body["id"], body["source"], body["text"]) == (f"dump:{directory}", "report", text)
    assert body["crash_dir"] == f"{host.crash}/{directory}"
    assert body["down_since"] == iso(SAVED)  # no journal: when the log was saved
    if dump is None:
        assert "dump" not in body
    else:
        path = host.crash / directory / dump
        assert body["dump"] == {"path": str(path), "size": path.stat().st_size, "complete": complete}


def test_what_is_no_crash_of_this_host_is_passed_over(host: Host, tmp_path: Path) -> None:
    for name in (
        "kdump-test-5", "192.0.2.99-2026-11-23-05:32:44", f"db-1-{STAMP}", "lost+found", "2026", "x" * 12,
        f"$(touch {tmp_path}/mark)-{STAMP}", f"a\nb-{STAMP}", f"*-{STAMP}", f" {STAMP}", f"-{STAMP}",
    ):  # fmt: skip
        host.crashed(name.replace("/", "_"), {"vmcore": FLAT, "dmesg": OOPS}, at=SAVED)
    (host.crash / "202611230533").symlink_to(crash(host, "elsewhere"))
    host.write("crash/kexec_cmd", "kexec -p\n")
    host.write("crash/_usr_bin_top.0.crash", "ProblemType: Crash\n")
    assert host.bodies() == []
    assert not (tmp_path / "mark").exists()


def test_links_and_strange_names_inside_a_crash_are_not_read(host: Host, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret of somebody else")
    directory = host.crashed(STAMP, {"dmesg.x;id": "no", "vmcore-dmesg.txt\n": "no"}, at=SAVED)
    (directory / f"dmesg.{STAMP}").symlink_to(tmp_path / "secret")
    (directory / f"dump.{STAMP}").symlink_to("/dev/zero")
    (body,) = host.bodies()
    assert body["text"] == ""
    assert "dump" not in body


def test_the_directory_is_the_one_that_kdump_is_configured_with(host: Host) -> None:
    elsewhere = host.root / "data/dumps"
    shutil.move(crash(host), elsewhere / STAMP) if elsewhere.mkdir(parents=True) is None else None
    del host.settings["crash_dir"]
    for name, line in (
        ("etc/default/kdump-tools", 'KDUMP_COREDIR="/data/dumps"\n'),
        ("etc/kdump.conf", "# path /nowhere\npath /data/dumps\n"),
        ("etc/sysconfig/kdump", 'KDUMP_SAVEDIR="file:///data/dumps"\n'),
    ):
        file = host.write(name, line)
        assert [b["id"] for b in host.bodies()] == [f"dump:{STAMP}"], name
        file.unlink()


# -- which boot it was ---------------------------------------------------------------------------------------------


def test_the_capture_kernel_s_boot_is_not_the_one_that_crashed(host: Host) -> None:
    boots(host, capture=True, lines="one\ntwo\nthree\n")
    host.settings["journal_lines"] = "2"
    crash(host)
    (body,) = host.bodies()
    assert body["crashed_boot_id"] == CRASHED
    assert body["text"] == "two\nthree\n" + OOPS


def test_a_crash_older_than_the_journal_gets_nobody_else_s_boot(host: Host) -> None:
    boots(host)
    crash(host, at=SAVED - 100_000)
    bodies = {b["id"]: b for b in host.bodies()}
    assert "crashed_boot_id" not in bodies[f"dump:{STAMP}"]
    assert bodies[f"boot:{CRASHED}"]["source"] == "no-dump"


def test_an_earlier_crash_belongs_to_an_earlier_boot(host: Host) -> None:
    host.boot(-2, OLDER, SAVED - 90_000, SAVED - 50_000, "older\n")
    boots(host)
    crash(host, "202611221532", SAVED - 49_900)
    crash(host)
    assert {b["id"]: b["crashed_boot_id"] for b in host.bodies()} == {
        "dump:202611221532": OLDER, f"dump:{STAMP}": CRASHED,
    }  # fmt: skip


# -- nothing left behind -------------------------------------------------------------------------------------------

CLEAN = "Nov 23 05:31:00 h systemd-journald[1]: Received SIGTERM from PID 1 (systemd-shutdow).\n"
BEGUN = "Nov 23 05:31:00 h systemd-logind[1]: System is rebooting.\n"
BOOT = "reboot   system boot  6.1.0-56-cloud-a Mon Nov 23 05:38:24 2026   still running\n"
DOWN = "shutdown system down  6.1.0-56-cloud-a Mon Nov 23 05:37:24 2026 - Mon Nov 23 05:38:24 2026\n"


@pytest.mark.parametrize(
    ("lines", "wtmp", "told"),
    [
        ("working\n", "", True),
        (CLEAN, "", False),
        ("h systemd[1]: Reached target reboot.target - System Reboot.\n", "", False),
        (BEGUN, BOOT + DOWN + BOOT, False),
        (BEGUN, BOOT + BOOT, True),
        (BEGUN, "", True),
    ],
)
@pytest.mark.parametrize("capture", [False, True])
def test_a_boot_that_ended_without_a_shutdown_is_told(
    host: Host, lines: str, wtmp: str, told: bool, capture: bool
) -> None:
    boots(host, lines=lines, capture=capture)
    host.write("wtmp", wtmp)
    found = [(b["source"], b["id"], b["crashed_boot_id"], b["text"], b["down_since"]) for b in host.bodies()]
    assert found == ([("no-dump", f"boot:{CRASHED}", CRASHED, lines, iso(SAVED - 60))] if told else [])


def test_it_is_told_once(shell_host: Host, bot: Bot) -> None:
    boots(shell_host, capture=True)
    for _ in range(2):
        assert shell_host.run(url=bot.url).returncode == 0
    assert [(r.source, r.body["text"], "occurred_at" in r.body) for r in bot.reports] == [
        ("no-dump", "last words\n", False)
    ]


@pytest.mark.parametrize(
    ("wtmp", "told"), [(BOOT + BOOT, True), (BOOT + DOWN + BOOT, False), (BOOT, False), ("", False)]
)
def test_without_a_journal_wtmp_says_how_it_ended(host: Host, wtmp: str, told: bool) -> None:
    host.now(booted=SAVED)
    host.write("wtmp", wtmp)
    ids = [b["id"] for b in host.bodies()]
    assert ids == ([f"boot:before-{BOOT_NOW.replace('-', '')}"] if told else [])


def test_a_crash_that_left_something_is_not_told_twice(host: Host) -> None:
    boots(host, capture=True)
    crash(host)
    assert [b["source"] for b in host.bodies()] == ["report"]


def test_the_next_boot_tells_of_its_own_predecessor(host: Host, bot: Bot) -> None:
    boots(host)
    host.run(url=bot.url)
    host.write("journal/boots", "")
    host.boot(-2, CRASHED, SAVED - 9000, SAVED - 60, "x\n")
    host.boot(-1, OLDER, SAVED, SAVED + 900, CLEAN)
    host.now(booted=SAVED + 960, boot_id="0" * 32)
    host.run()
    assert [r.body["id"] for r in bot.reports] == [f"boot:{CRASHED}"]


# -- pstore --------------------------------------------------------------------------------------------------------


def test_records_that_nobody_took_are_put_together(shell_host: Host) -> None:
    boots(shell_host)
    records = {
        "dmesg-erst-7711": "Panic#2 Part1\nend of the first\n",
        "dmesg-erst-7712": "Panic#2 Part2\nbeginning of the first\n",
        "dmesg-erst-9901": "Panic#2 Part1\nanother crash\n",
        "dmesg-erst-9902": "Shutdown#1 Part1\nno crash\n",
        "dmesg-erst-9903.enc.z": "Panic#3 Part1\n\0\0",
        "console-ramoops-0": "not of a crash",
    }
    for name, text in records.items():
        shell_host.write(f"sys/fs/pstore/{name}", text, at=SAVED - (30 if "77" in name else 9000))
    texts = {b["text"].removeprefix("last words\n"): b for b in shell_host.bodies()}
    assert set(texts) == {
        "Panic#2 Part2\nbeginning of the first\nPanic#2 Part1\nend of the first\n",
        "Panic#2 Part1\nanother crash\n",
    }
    assert all(b["source"] == "pstore" and b["id"].startswith("pstore:") for b in texts.values())
    assert sorted(b["occurred_at"] for b in texts.values()) == [iso(SAVED - 9000), iso(SAVED - 30)]


def test_an_archive_without_a_text_is_read_from_its_parts(host: Host) -> None:
    for number, text in ((1, "end\n"), (2, "middle\n"), (3, "beginning\n")):
        host.write(f"var/lib/systemd/pstore/1700/00{number}/dmesg-efi-17000{number}", text, at=SAVED)
    host.write("var/lib/systemd/pstore/771/dmesg-erst-1", "Panic#1 Part1\nend\n", at=SAVED)
    host.write("var/lib/systemd/pstore/771/dmesg-erst-2", "Panic#1 Part2\nbegin\n", at=SAVED)
    texts = [b["text"] for b in host.bodies()]
    assert "Panic#1 Part2\nbegin\nPanic#1 Part1\nend\n" in texts


# -- delivery -----------------------------------------------------------------------------------------------------


def test_what_cannot_be_sent_waits_across_reboots(shell_host: Host, bot: Bot) -> None:
    directory = crash(shell_host)
    boots(shell_host)
    first = shell_host.run()
    assert first.returncode == 1
    assert b"waits" in first.stderr
    assert shell_host.spooled() == [f"dump:{STAMP}.json"]
    waiting = (shell_host.spool / f"out/dump:{STAMP}.json").read_bytes()
    shutil.rmtree(directory)  # kdump's own tidying
    shutil.rmtree(shell_host.root / "run/panicroom")  # the reboot
    shell_host.now(booted=SAVED + 900, boot_id="0" * 32)
    shell_host.write("journal/boots", "")
    second = shell_host.run(url=bot.url)
    assert second.returncode == 0, second.stderr
    (row,) = bot.reports
    assert row.body["boot_id"] == json.loads(waiting)["boot_id"] == BOOT_NOW
    assert shell_host.spooled() == []
    assert (shell_host.spool / "last").read_text().endswith(f" sent dump:{STAMP}: R-1\n")


def test_a_wrong_clock_is_set_right_by_the_bot_s(shell_host: Host, bot: Bot) -> None:
    date = "/usr/bin/date" if Path("/usr/bin/date").exists() else "/bin/date"
    shell_host.program(
        "date",
        f'#!/bin/sh\nif [ "$*" = +%s ]; then echo $(($({date} +%s) - 7200)); else exec {date} "$@"; fi\n',
    )
    crash(shell_host)
    done = shell_host.run(url=bot.url)
    assert done.returncode == 0, done.stderr
    assert b"the clocks differ by 7" in done.stderr
    assert len(bot.reports) == 1


def test_a_refusal_is_set_aside_until_the_secret_is_mended(shell_host: Host, bot: Bot) -> None:
    shell_host.secret("another-secret-0123456789")
    crash(shell_host)
    done = shell_host.run(url=bot.url)
    assert done.returncode == 2
    assert b"refused for good (HTTP 401" in done.stderr
    assert shell_host.spooled("refused") == [f"dump:{STAMP}.json"]
    answer = (shell_host.spool / f"refused/dump:{STAMP}.answer").read_text()
    assert answer.startswith("401 ")
    if shell_host.shell != "busybox":  # its wget drops the body of a refusal
        assert "bad_signature" in answer
    quiet = shell_host.run()
    assert (quiet.returncode, quiet.stderr) == (2, b"")  # not tried again, and not forgotten
    shell_host.secret(SECRET)
    later = time.time() + 2
    os.utime(shell_host.root / "etc/secret", (later, later))
    assert shell_host.run().returncode == 0
    assert len(bot.reports) == 1
    assert shell_host.spooled("refused") == []


def test_again_sends_what_was_refused(host: Host, wall: Callable[..., Wall]) -> None:
    crash(host)
    refusing = wall((403, {}, b'{"error": "wrong_host", "message": "this secret may report for db-1 only"}'))
    assert host.run(url=refusing.url).returncode == 2
    assert (
        b"this secret may report for db-1 only" in (host.spool / f"refused/dump:{STAMP}.answer").read_bytes()
    )
    taking = wall((202, {}, b'{"report_id": "R-7", "status": "accepted"}'))
    host.settings["url"] = taking.url
    os.utime(host.config, (1, 1))
    assert host.run().returncode == 2
    assert taking.seen == []
    assert host.run("--again").returncode == 0
    assert len(taking.seen) == 1


@pytest.mark.parametrize(
    ("answer", "status", "tries"),
    [
        ((503, {"Retry-After": "0"}, b"{}"), 1, 3),
        ((429, {}, b"{}"), 1, 3),
        ((429, {"Retry-After": "3600"}, b"{}"), 1, 1),  # not in this run
        ((502, {}, b"<html>"), 1, 3),
        ((200, {}, b"<html>welcome to the hotel's network</html>"), 1, 3),
        ((404, {}, b"nothing here"), 2, 1),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), 2, 1),
        ((422, {}, b'{"error": "invalid_report", "field": "host", "message": "host is \\"odd\\""}'), 2, 1),
    ],
)
def test_what_comes_of_each_answer(
    host: Host, wall: Callable[..., Wall], answer: tuple[int, dict[str, str], bytes], status: int, tries: int
) -> None:
    crash(host)
    server = wall(answer)
    host.settings["attempts"] = "3"
    done = host.run(url=server.url)
    assert (done.returncode, len(server.seen)) == (status, tries), done.stderr
    assert len({body for _, body in server.seen}) == 1
    assert len(host.spooled("refused" if status == 2 else "out")) == 1


def test_it_recovers_within_a_run(shell_host: Host, wall: Callable[..., Wall]) -> None:
    crash(shell_host)
    shell_host.settings["attempts"] = "3"
    taken = (202, {}, b'{"report_id": "R-7", "status": "accepted"}')
    server = wall((500, {}, b"{}"), (503, {}, b"{}"), taken)
    assert shell_host.run(url=server.url).returncode == 0
    assert len(server.seen) == 3
    headers, body = server.seen[-1]
    stamp = headers["x-panicroom-timestamp"]
    digest = hmac.new(SECRET.encode(), f"v1:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    assert headers["x-panicroom-signature"] == f"v1={digest}"
    assert headers["x-panicroom-host"] == "web-17"


def test_wget_does_where_there_is_no_curl(host: Host, bot: Bot) -> None:
    if shutil.which("wget") is None:
        pytest.skip("needs wget: apt-get install wget")
    tools = host.root / "tools"
    tools.mkdir()
    for directory in ("/bin", "/usr/bin"):
        for program in Path(directory).iterdir():
            if program.name != "curl" and not (tools / program.name).exists():
                (tools / program.name).symlink_to(program)
    host.settings["path"] = f"{host.root}/bin:{tools}"
    host.secret("another-secret-0123456789")
    crash(host)
    assert host.run(url=bot.url).returncode == 2
    host.secret(SECRET)
    done = host.run("--again")
    assert done.returncode == 0, done.stderr
    assert len(bot.reports) == 1


def test_killed_while_it_sends_it_goes_on_and_tells_it_once(
    host: Host, bot: Bot, wall: Callable[..., Wall]
) -> None:
    crash(host)
    silent = wall()
    host.settings["url"] = silent.url
    process = host.start()
    deadline = time.monotonic() + 45
    while not silent.seen:
        assert time.monotonic() < deadline
        time.sleep(0.01)  # waits for a condition with a deadline
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert (host.root / "run/panicroom/lock").is_symlink()
    assert host.run(url=bot.url).returncode == 0
    assert host.run().returncode == 0
    assert len(bot.reports) == 1
    assert json.loads(silent.seen[0][1]) == json.loads(silent.seen[0][1]) | bot.reports[0].body
    assert not list((host.root / "run/panicroom").glob("work.*"))


def test_sent_but_not_noted_is_a_duplicate_to_the_bot(host: Host, bot: Bot) -> None:
    crash(host)
    host.run(url=bot.url)
    shutil.rmtree(host.spool)
    assert host.run().returncode == 0
    assert len(bot.reports) == 1
    assert "R-1" in (host.spool / f"done/dump:{STAMP}").read_text()


def test_two_runs_at_once(host: Host, wall: Callable[..., Wall]) -> None:
    crash(host)
    silent = wall()
    host.settings["url"] = silent.url
    process = host.start()
    deadline = time.monotonic() + 45
    while not silent.seen:
        assert time.monotonic() < deadline
        time.sleep(0.01)  # waits for a condition with a deadline
    assert host.run().returncode == 75
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(20) in (143, -signal.SIGTERM)
    process.communicate()
    assert not (host.root / "run/panicroom/lock").is_symlink()


def test_a_disk_that_takes_nothing_stops_no_report(host: Host, bot: Bot) -> None:
    host.write("full", "a file is no directory")
    host.settings["spool"] = str(host.root / "full/panicroom")
    crash(host)
    assert host.run().returncode == 1
    done = host.run(url=bot.url)
    assert done.returncode == 0, done.stderr
    assert host.run().returncode == 0
    assert len(bot.reports) == 1


# -- what it does not do -------------------------------------------------------------------------------------------


def test_a_dry_run_shows_what_a_run_sends_and_changes_nothing(
    shell_host: Host, wall: Callable[..., Wall]
) -> None:
    boots(shell_host)
    crash(shell_host)
    server = wall((202, {}, b'{"report_id": "R-1", "status": "accepted"}'))
    shell_host.settings["url"] = server.url
    assert shell_host.config
    before = shell_host.tree()
    (shown,) = shell_host.bodies()
    assert shell_host.tree() == before
    assert server.seen == []
    shell_host.run()
    sent = json.loads(server.seen[0][1])
    assert shown | {"reported_at": ""} == sent | {"reported_at": ""}
    assert shell_host.bodies() == []


def test_the_first_run_takes_what_is_old_for_known(host: Host, bot: Bot) -> None:
    host.settings["first_run_days"] = "2"
    now = time.time()
    crash(host, "202601010101", now - 30 * 86400)
    crash(host, STAMP, now - 86400)
    host.run(url=bot.url)
    assert [r.body["id"] for r in bot.reports] == [f"dump:{STAMP}"]
    crash(host, "202601020101", now - 20 * 86400)  # restored from somewhere, later: new
    host.run()
    assert len(bot.reports) == 2


def test_mark_known_sends_nothing_of_what_is_there(host: Host, bot: Bot) -> None:
    boots(host)
    crash(host)
    assert host.run("--mark-known", url=bot.url).returncode == 0
    assert host.run().returncode == 0
    assert bot.reports == []
    crash(host, "202611240101", SAVED + 86400)
    host.run()
    assert [r.body["id"] for r in bot.reports] == ["dump:202611240101"]


def test_nothing_is_done_in_the_capture_kernel(host: Host) -> None:
    crash(host)
    host.write("proc/cmdline", "root=/dev/vda elfcorehdr=0x35000000\n")
    assert host.bodies() == []
    host.write("proc/cmdline", "root=/dev/vda\n")
    host.write("proc/vmcore", "")
    assert host.run().returncode == 0
    assert host.spooled() == []


def test_the_secret_stands_on_no_command_line_and_in_no_environment(host: Host, bot: Bot) -> None:
    log = host.root / "calls"
    path = host.root / "watched"
    path.mkdir()
    for directory in ("/usr/bin", "/bin"):
        for program in Path(directory).iterdir():
            if re.fullmatch(r"[a-z0-9]+", program.name) and not (path / program.name).exists():
                (path / program.name).write_text(
                    f'#!/bin/sh\n{{ echo "$0 $*"; /usr/bin/env; }} >>{log}\nexec {program} "$@"\n'
                )
                (path / program.name).chmod(0o755)
    host.settings["path"] = f"{host.root}/bin:{path}"
    crash(host)
    done = host.run(url=bot.url)
    assert done.returncode == 0, done.stderr
    calls = log.read_text()
    assert "sha256sum" in calls
    assert "curl" in calls
    padded = SECRET.encode()
    pads = [bytes(b ^ mask for b in padded).hex() for mask in (0, 0x36, 0x5C)]
    assert not [w for w in (SECRET, *pads) if w in calls]


def test_a_dump_that_is_still_being_written_is_waited_for_not_for_ever(host: Host) -> None:
    crash(host, at=time.time())
    host.write(f"crash/{STAMP}/dump-incomplete", FLAT)
    host.settings["wait"] = "4"
    # Whenever the reporter waits, somebody writes.
    host.program("sleep", f"#!/bin/sh\necho more >>{host.crash}/{STAMP}/dump-incomplete\n")
    assert b"still being written after 4 s" in host.run().stderr
    body = json.loads((host.spool / f"out/dump:{STAMP}.json").read_bytes())
    assert body["dump"]["complete"] is None
    # One that has stopped is not waited for, and is not whole.
    host.program("sleep", "#!/bin/sh\n")
    crash(host, "202611240101", time.time())
    host.write("crash/202611240101/dump-incomplete", FLAT)
    assert b"still being written" not in host.run().stderr
    body = json.loads((host.spool / "out/dump:202611240101.json").read_bytes())
    assert body["dump"]["complete"] is False


def test_kdump_s_lock_is_looked_at_and_never_taken(host: Host) -> None:
    crash(host)
    lock = host.write("crash/kdump_lock", "")
    host.settings["wait"] = "2"
    locks = f"1: FLOCK  ADVISORY  WRITE 221 fe:01:{lock.stat().st_ino} 0 EOF\n"
    host.write("proc/locks", locks)
    assert b"still being written after 2 s" in host.run().stderr
    crash(host, "202611240101")
    host.write("proc/locks", locks.replace("1: FLOCK", "1: POSIX"))
    assert b"still being written" not in host.run().stderr


# -- bounds ---------------------------------------------------------------------------------------------------------


def _long_log(*, after: str, lines: int) -> str:
    ordinary = "".join(f'[{i:5}.000001] eth0: "link" up\\ {"x" * 60}\n' for i in range(3_000))
    oops = (
        "[ 3001.000000] BUG: kernel NULL pointer dereference, address: 0000000000000010\n"
        "[ 3001.000001] Oops: 0002 [#1] PREEMPT SMP\n"
        "[ 3001.000002] CPU: 1 PID: 77 Comm: labcrash Not tainted 6.1.0-56-amd64 #1\n"
        "[ 3001.000003] RIP: 0010:labcrash_read_cookie+0x5/0x10 [labcrash]\n"
        "[ 3001.000004] Call Trace:\n[ 3001.000005]  <TASK>\n[ 3001.000006]  vfs_read+0x1/0x2\n"
        "[ 3001.000007]  </TASK>\n[ 3001.000008] ---[ end trace 0000000000000000 ]---\n"
    )
    tail = "".join(f"[ 3002.{i:06}] {after} {i}\n" for i in range(lines))
    end = "[ 3003.000000] Kernel panic - not syncing: Fatal exception\n"
    return f"[    0.000000] Linux version 6.1.0-56-amd64\n{ordinary}{oops}{tail}{end}"


@pytest.mark.parametrize(
    ("shell", "after"),
    [
        ("dash", "NMI backtrace for cpu"),
        ("dash", "INFO: task dd blocked for more than 120 seconds"),
        ("dash", "quiet"),
        ("busybox", "NMI backtrace for cpu"),
    ],
)
def test_the_crash_is_never_what_is_left_out(shell_host: Host, after: str) -> None:
    text = _long_log(after=after, lines=10 if after == "quiet" else 3_000)
    crash(shell_host, text=text)
    shell_host.settings["body_limit"] = "40000"
    done = shell_host.run("--dry-run")
    body = json.loads(done.stdout)
    assert 30_000 < len(done.stdout) <= 40_001
    kept = body["text"]
    assert kept.startswith("[    0.000000] Linux version 6.1.0-56-amd64\n")
    assert kept.endswith("Kernel panic - not syncing: Fatal exception\n")
    assert "bytes left out here]" in kept
    told, meant = read_crash(kept), read_crash(text)
    assert meant.function == "labcrash_read_cookie"
    assert (told.title, told.signature.key) == (meant.title, meant.signature.key)


@pytest.mark.parametrize("limit", [4096, 5000, 20_000])
def test_no_text_exceeds_the_limit(host: Host, limit: int) -> None:
    crash(host, text=bytes(range(256)) * 2000)
    host.settings["body_limit"] = str(limit)
    done = host.run("--dry-run")
    assert len(done.stdout) <= limit + 1
    assert json.loads(done.stdout)["id"] == f"dump:{STAMP}"


def test_an_endless_log_is_not_read_to_its_end(host: Host) -> None:
    directory = crash(host)
    with (directory / f"dmesg.{STAMP}").open("r+b") as log:
        log.seek(3 * 1024**3)
        log.write(OOPS.encode())
    began = time.monotonic()
    (body,) = host.bodies()
    assert body["text"].endswith(OOPS)
    assert time.monotonic() - began < 60


# -- configuration --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": "panicroom.example.org"}, b"url is the bot's address"),
        ({"attempts": "many"}, b"attempts is a whole number"),
        ({"body_limit": "100"}, b"body_limit is at least"),
        ({"secret_file": "/nowhere/secret"}, b"cannot be read"),
        ({"sekret": "x"}, b"there is no setting 'sekret'"),
        ({"secret": "$(id)"}, b"there is no setting 'secret'"),
    ],
)
def test_wrong_settings_are_told(host: Host, settings: dict[str, str], words: bytes) -> None:
    host.settings |= settings
    done = host.run()
    assert done.returncode == 78
    assert words in done.stderr
    assert b"uid=" not in done.stderr


def test_the_secret_is_root_s_alone_and_long_enough(host: Host) -> None:
    (host.root / "etc/secret").chmod(0o644)
    done = host.run()
    assert (done.returncode, b"chmod 0600" in done.stderr) == (78, True)
    host.secret("short")
    assert host.run().returncode == 78


@pytest.mark.parametrize("words", [("--help",), ("--dry-run", "--again"), ("--config",), ("x",)])
def test_a_bad_call(host: Host, words: tuple[str, ...]) -> None:
    assert host.run(*words).returncode == 64


def test_check_asks_the_bot_whether_the_secret_is_its_own(shell_host: Host, bot: Bot) -> None:
    done = shell_host.run("--check", url=bot.url)
    assert (done.returncode, done.stdout) == (0, b"secret=valid\n")
    assert bot.reports == []
    shell_host.secret("another-secret-0123456789")
    done = shell_host.run("--check")
    assert done.returncode == 2
    assert done.stdout.startswith(b"secret=refused (HTTP 401")
    done = shell_host.run("--check", url="http://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stdout.startswith(b"secret=unknown")


def test_the_example_configuration_names_every_setting_it_has(host: Host) -> None:
    example = (Path(__file__).parents[2] / "deploy/host/report.conf").read_text()
    named = dict(re.findall(r"^#?([a-z_]+) = (.*)$", example, re.MULTILINE))
    host.settings |= {**named, "secret_file": host.settings["secret_file"], "spool": host.settings["spool"]}
    host.settings.pop("ca_file")
    host.settings["crash_dir"] = str(host.crash)
    assert host.run("--dry-run").returncode == 0


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    folder = Path(__file__).parents[2] / "deploy/host"
    for unit in folder.glob("panicroom-report.*"):
        text = unit.read_text().replace("/usr/local/sbin/panicroom-report", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    units = [str(p) for p in tmp_path.iterdir()]
    done = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=30, check=False
    )
    mine = [line for line in done.stderr.splitlines() if "panicroom" in line]
    assert (done.returncode, mine) == (0, []), done.stderr
    service = (folder / "panicroom-report.service").read_text()
    assert "[Install]" not in service.replace("# No [Install]", "")
    assert not re.search(r"^(Wants|Requires|Before)=", service, re.MULTILINE)
