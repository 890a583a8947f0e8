"""Archives of every layout become panics, once."""

from __future__ import annotations

import os
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlmodel import select

from bot.demo.hosts.captures import load
from commands.home import known_panics
from commands.intake.archive import FILE_TIME, SAVED_AT
from commands.inventory import HostEntry
from commands.panics.blocks import Page, list_message, show_message
from storage import AuditEntry, DumpState, Host, Incident, Panic, Report, ReportState, Signature, SlackMessage
from storage.queries import Filters, count_panics, list_rows
from storage.records import record, show_json
from storage.recurrence import recurrence_line
from tests.importing.conftest import Archive, dmesg_of, put, put_dump

STAMP = "202611230532"


def panics(archive: Archive) -> dict[str, Panic]:
    """By host; fails when a host has two."""
    rows = archive.db.read_now(lambda s: s.exec(select(Panic).order_by(Panic.id)).all())  # type: ignore[arg-type]
    found = {panic.host: panic for panic in rows}
    assert len(found) == len(rows)
    return found


def count(archive: Archive, table: type) -> int:
    return len(archive.db.read_now(lambda s: s.exec(select(table)).all()))


def three_families(root: Path) -> None:
    oom, sysrq = load("oom"), load("sysrq-c")
    deb = root / f"deb-1-{STAMP}"
    put(deb / f"dmesg.{STAMP}", dmesg_of("oom"), 1795411920.0)
    put_dump(deb / f"dump.{STAMP}", oom, 1795411925.0)
    put(root / "kdump_lock")
    put(root / "_usr_bin_frob.0.crash", "ProblemType: Crash\n")
    rhel = root / "rhel-1.example.org-2026-11-23-05:25:10"
    put(rhel / "vmcore-dmesg.txt", dmesg_of("sysrq-c"), 1795411510.0)
    put_dump(rhel / "vmcore.flat", sysrq, 1795411515.0)
    put(rhel / "kexec-dmesg.log", "[    0.000000] Linux version 6.1\n", 1795411516.0)
    cut = root / "10.0.0.5-2026-11-23-05:32:10"
    put(cut / "vmcore-dmesg-incomplete.txt", dmesg_of("null-deref"), 1795411930.0)
    put(cut / "vmcore-incomplete", next(iter(oom.dumps.values())).head, 1795411935.0)
    test = root / "kdump-test-17"
    put(test / "vmcore", b"KDUMP   " + bytes(9000))
    put(test / "vmcore-creation.status", "success kdump_test_id=17")
    suse = root / "suse-1" / "2026-11-23-05-35"
    put(suse / "dmesg", dmesg_of("nmi"), 1795412110.0)
    put(suse / "vmcore", b"", 1795412111.0)
    put(suse / "README.txt", "vmcore status: error while saving\n", 1795412112.0)
    pstore = root / "pst-1" / "var/lib/systemd/pstore" / "7711233241570"
    text = load("no-kdump-pstore").pstore
    assert text is not None
    put(pstore / "dmesg.txt", text, 1795411470.0)
    put(pstore / "dmesg-erst-7711233241570607105", text[len(text) // 2 :], 1795411470.0)


def test_the_layouts_of_three_families_and_pstore(archive: Archive) -> None:
    three_families(archive.root)
    tally = archive.bring()
    assert tally.status == 0
    assert tally.counts == {"new": 5}
    assert {item.path.name: item.why for item in tally.passed} == {
        "_usr_bin_frob.0.crash": "a report of Apport's, no crash directory",
        "kdump-test-17": "a test of kdump, no panic",
    }
    found = panics(archive)
    assert set(found) == {"deb-1", "rhel-1.example.org", "10.0.0.5", "suse-1", "pst-1"}

    deb = found["deb-1"]
    assert (deb.kind, deb.dump_state, deb.deliberate) == ("oom_panic", DumpState.COMPLETE, False)
    assert deb.occurred_at == datetime.fromtimestamp(load("oom").crash, UTC)  # CRASHTIME, not the stamp
    assert deb.boot_started_at is not None
    assert deb.dump_path == str(archive.root.resolve() / f"deb-1-{STAMP}/dump.{STAMP}")
    assert deb.dump_size == 19410172
    assert deb.kernel == "6.1.0-56-cloud-amd64" or deb.kernel
    assert deb.incident_id is None

    rhel = found["rhel-1.example.org"]
    assert (rhel.deliberate, rhel.dump_state) == (True, DumpState.COMPLETE)
    assert rhel.occurred_at == datetime.fromtimestamp(load("sysrq-c").crash, UTC)

    cut = found["10.0.0.5"]
    assert (cut.kind, cut.dump_state) == ("null_deref", DumpState.INCOMPLETE)

    suse = found["suse-1"]
    assert (suse.kind, suse.dump_state, suse.dump_size) == ("nmi", DumpState.EMPTY, 0)
    assert suse.occurred_at == datetime(2026, 11, 23, 5, 35, tzinfo=UTC)
    assert suse.boot_started_at is None
    assert (suse.dump_note or "").endswith(SAVED_AT)

    pst = found["pst-1"]
    assert (pst.deliberate, pst.dump_state, pst.dump_note) == (True, DumpState.UNKNOWN, FILE_TIME)


def test_again_nothing_new(archive: Archive) -> None:
    three_families(archive.root)
    archive.bring()
    before = {host: panic.model_dump() for host, panic in panics(archive).items()}
    for _ in range(2):
        archive.later(hours=3)
        tally = archive.bring()
        assert (tally.status, tally.counts) == (0, {"known": 5})
    moved = archive.root.with_name("moved")
    archive.root.rename(moved)
    assert archive.bring(moved).counts == {"known": 5}
    assert {host: panic.model_dump() for host, panic in panics(archive).items()} == before
    assert count(archive, Report) == 5


def test_no_thread_no_mention_and_all_the_readers_cope(archive: Archive) -> None:
    three_families(archive.root)
    for host in ("deb-2", "deb-3"):
        put(archive.root / f"{host}-{STAMP}" / f"dmesg.{STAMP}", dmesg_of("null-deref"))
    archive.bring()
    for table in (Incident, SlackMessage, AuditEntry):
        assert count(archive, table) == 0
    assert count(archive, Host) == 7
    reports = archive.db.read_now(lambda s: s.exec(select(Report)).all())
    assert {(r.source, r.state) for r in reports} == {("import", ReportState.DONE)}
    assert all(r.panic_id for r in reports)

    def look(session) -> None:  # type: ignore[no-untyped-def]
        assert count_panics(session, Filters()) == count_panics(session, Filters(states=("none",))) == 7
        assert count_panics(session, Filters(states=("open",))) == 0
        rows = list_rows(session, Filters())
        _, drawn = list_message(Page(rows, 7, 0, "", 0.0, 99), {})
        assert "no thread" in str(drawn)
        null = next(r for r in rows if r.host == "deb-3")
        found = record(session, null.id)
        assert found is not None
        assert "with this signature" in recurrence_line(found.recurrence)
        assert found.recurrence.signature_total == 3
        assert found.recurrence.signature_hosts == 3
        assert found.recurrence.previous_incident is None
        _, shown = show_message(found, None)
        assert "no thread" in str(shown)
        assert "Told by import" in str(shown)
        as_json = show_json(session, null.id)
        assert as_json is not None
        assert as_json["incident_id"] is None
        assert known_panics(session, archive.now)[0] == 7
        signature = session.get_one(Signature, null.signature_key)
        assert signature.first_seen <= signature.last_seen

    archive.db.read_now(look)


def test_a_directory_that_names_no_host_needs_one(archive: Archive) -> None:
    put(archive.root / STAMP / f"dmesg.{STAMP}", dmesg_of("null-deref"))
    put(archive.root / "127.0.0.1-2026-11-23-05:37:50" / "vmcore-dmesg.txt", dmesg_of("nmi"))
    put(archive.root / f"db-1-{STAMP}" / f"dmesg.{STAMP}", dmesg_of("oom"))
    tally = archive.bring()
    assert tally.status == 2
    assert set(panics(archive)) == {"db-1"}  # the others are not held up
    assert [item.path.name for item in tally.failed] == ["127.0.0.1-2026-11-23-05:37:50", STAMP]
    assert all("--host NAME" in item.why for item in tally.failed)
    assert archive.bring(host="web-17").counts == {"new": 2, "known": 1}
    rows = archive.db.read_now(lambda s: s.exec(select(Panic.host)).all())
    assert sorted(rows) == ["db-1", "web-17", "web-17"]


def test_whose_crash_it_is(archive: Archive) -> None:
    hosts = (HostEntry(name="Cache-9", address="10.9.9.9", ring="prod-2", owner="caches"),)
    put(archive.root / f"10.9.9.9-{STAMP}" / f"dmesg.{STAMP}", dmesg_of("null-deref"))
    put(archive.root / "web-1/var/crash" / STAMP / f"dmesg.{STAMP}", dmesg_of("null-deref"))
    put(archive.root / "cache-9/crash" / "202611230632" / "dmesg.202611230632", dmesg_of("oom"))
    archive.bring(hosts=hosts, host="given")
    rows = archive.db.read_now(lambda s: s.exec(select(Panic).order_by(Panic.id)).all())  # type: ignore[arg-type]
    assert sorted((p.host, p.ring, p.owner) for p in rows) == [
        ("cache-9", "prod-2", "caches"),
        ("cache-9", "prod-2", "caches"),
        ("given", None, None),  # a directory that no inventory knows does not overrule what was said
    ]
    assert archive.bring(hosts=hosts).counts == {"known": 2, "new": 1}  # web-1, when nothing was said


def test_one_crash_directory_one_file_and_nothing(archive: Archive) -> None:
    path = put(archive.root / f"web-3-{STAMP}" / f"dmesg.{STAMP}", dmesg_of("null-deref")).parent
    assert archive.bring(path).counts == {"new": 1}
    text = put(archive.root / "logs" / "panic.txt", dmesg_of("nmi"))
    assert archive.bring(text, host="web-4").counts == {"new": 1}
    quiet = put(archive.root / "logs" / "dmesg", "[    0.000000] Linux version 6.1\n")
    tally = archive.bring(quiet, host="web-4")
    assert (tally.status, [item.why for item in tally.passed]) == (1, ["no kernel crash in it"])
    assert archive.bring(archive.root / "nowhere").status == 2
    (archive.root / "empty").mkdir()
    assert archive.bring(archive.root / "empty").status == 1
    assert set(panics(archive)) == {"web-3", "web-4"}


def test_files_without_a_directory_of_their_own(archive: Archive) -> None:
    put(archive.root / f"dmesg.{STAMP}", dmesg_of("null-deref"))
    put(archive.root / f"dump.{STAMP}.xz", b"\xfd7zXZ\x00" + bytes(600) + b"YZ")
    assert archive.bring(host="ftp-1").counts == {"new": 1}
    panic = panics(archive)["ftp-1"]
    assert panic.dump_state is DumpState.UNVERIFIED
    assert archive.bring(host="ftp-1").counts == {"known": 1}


def test_the_same_crash_told_by_pstore_and_by_its_dump_is_one(archive: Archive) -> None:
    text = dmesg_of("null-deref")
    put(archive.root / f"web-5-{STAMP}" / f"dmesg.{STAMP}", text)
    levels = "".join(f"<4>{line}\n" for line in text.splitlines()[-120:])
    put(
        archive.root / "web-5" / "pstore/1795411897/001/dmesg-efi-179541189700100", "Panic#1 Part1\n" + levels
    )
    tally = archive.bring()
    assert sorted(tally.counts.items()) == [("new", 1), ("told", 1)]
    assert panics(archive)["web-5"].kind == "null_deref"
    assert archive.bring().counts == {"known": 2}


def test_a_second_crash_of_the_same_kind_is_another(archive: Archive) -> None:
    text = dmesg_of("null-deref")
    put(archive.root / "web-6-202611230532" / "dmesg.202611230532", text)
    put(
        archive.root / "web-6-202611230533" / "dmesg.202611230533",
        text.replace("[  152.", "[  153.").replace("[  151.", "[  154."),
    )
    assert archive.bring().counts == {"new": 2}
    assert archive.bring().counts == {"known": 2}


def test_a_dump_that_became_whole_is_renewed(archive: Archive) -> None:
    folder = archive.root / f"web-7-{STAMP}"
    put(folder / f"dmesg.{STAMP}", dmesg_of("oom"))
    put(folder / "dump-incomplete", next(iter(load("oom").dumps.values())).head)
    archive.bring()
    assert panics(archive)["web-7"].dump_state is DumpState.INCOMPLETE
    (folder / "dump-incomplete").unlink()
    put_dump(folder / f"dump.{STAMP}", load("oom"))
    assert archive.bring().counts == {"updated": 1}
    assert panics(archive)["web-7"].dump_state is DumpState.COMPLETE
    assert archive.bring().counts == {"known": 1}


def test_a_rehearsal_changes_nothing(archive: Archive) -> None:
    three_families(archive.root)
    tally = archive.bring(dry_run=True, batch=2)
    assert (tally.status, tally.counts) == (0, {"new": 5})
    for table in (Panic, Report, Host, Signature):
        assert count(archive, table) == 0


def test_hostile_trees(archive: Archive, tmp_path: Path) -> None:
    put(archive.root / f"web-8-{STAMP}" / f"dmesg.{STAMP}", dmesg_of("null-deref"))
    os.symlink(archive.root, archive.root / "loop")
    outside = put(tmp_path / "outside" / STAMP / f"dmesg.{STAMP}", dmesg_of("oom")).parent
    os.symlink(outside, archive.root / "web-9-202611230545")
    os.symlink(outside / f"dmesg.{STAMP}", archive.root / "dmesg.txt")
    os.mkfifo(archive.root / "dmesg.log")
    pipe = archive.root / "web-10-202611230546"
    pipe.mkdir()
    os.mkfifo(pipe / "dmesg.202611230546")
    put(archive.root / "a\nweb-11-202611230547\td\t0\t0" / "dmesg", dmesg_of("nmi"))
    put(
        Path(os.fsdecode(os.fsencode(archive.root) + b"/\xff\xfe")) / f"web-12-{STAMP}" / f"dmesg.{STAMP}",
        "x\x00y",
    )
    put(archive.root / f"pg-{STAMP}" / "dump", b"PGDMP" + bytes(9000))
    tally = archive.bring()
    assert set(panics(archive)) == {"web-8", "web-12"}
    assert panics(archive)["web-12"].text == "x\ufffdy"
    why = {item.path.name: item.why for item in tally.passed}
    assert why["web-9-202611230545"] == why["dmesg.txt"] == "a symbolic link: not followed"
    assert why["web-10-202611230546"] == "holds neither a dump nor a dmesg"
    assert why[f"pg-{STAMP}"] == "its dump is in no known format, and there is no dmesg"
    assert "--host" in why["dmesg"]
    assert archive.bring().counts == {"known": 2}


def test_a_huge_dmesg_is_read_from_its_end(archive: Archive) -> None:
    path = archive.root / f"web-13-{STAMP}" / f"dmesg.{STAMP}"
    text = dmesg_of("null-deref").encode()
    put(path)
    with path.open("r+b") as file:
        file.seek((1 << 36) - len(text))  # a hole of 64 GiB before it
        file.write(b"\n" + text)
    archive.bring()
    panic = panics(archive)["web-13"]
    assert panic.kind == "null_deref"
    assert len(panic.text) <= 1_000_000


def test_times_that_cannot_be(archive: Archive) -> None:
    def head(crash_time: int) -> bytes:
        info = b"\nOSRELEASE=6.1.0-9-amd64\nCRASHTIME=%d\n\x00" % crash_time
        return b"makedumpfile\x00" + bytes(4083) + struct.pack(">qq", 0, len(info)) + info + b"\xff" * 16

    put(archive.root / "a-209911230532" / "dump.209911230532", head(4098400000), 1795411920.0)
    put(archive.root / "b-202611230532" / "dump.202611230532", head(99), 1795411920.0)
    put(archive.root / "c-000000000000" / "dump.000000000000", head(99999999999), 1795411920.0)
    put(archive.root / "d-202611230532" / "dmesg", "[99999999999999.000000] Kernel panic - not syncing: x\n")
    tally = archive.bring()
    assert tally.failed == []
    found = panics(archive)
    assert {p.occurred_at.date().isoformat() for p in found.values()} == {"2026-11-23"}
    assert found["b"].kernel == "6.1.0-9-amd64"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_may_not_be_read_is_told_and_the_rest_goes_on(archive: Archive) -> None:
    closed = put(archive.root / f"web-1-{STAMP}" / f"dmesg.{STAMP}", dmesg_of("oom"))
    closed.chmod(0)
    put(archive.root / f"web-2-{STAMP}" / f"dmesg.{STAMP}", dmesg_of("oom"))
    tally = archive.bring()
    assert tally.status == 2
    assert [item.path for item in tally.failed] == [closed.resolve()]
    assert set(panics(archive)) == {"web-2"}
