"""A panic that was reported without readable text is read from its host, and told of by its right name."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from commands.evidence.workflow import EvidenceDesk
from commands.hosts.desk import HostDesk
from commands.hosts.lastwords import is_unread, report_row
from commands.incident.config import IncidentConfig, RoutingConfig
from commands.intake.config import IntakeConfig
from commands.intake.desk import IntakeDesk
from commands.triage.workflow import TriageDesk
from integrations.inbound.report import PanicReport
from integrations.stores import LocalStore
from storage import Panic, Report, ReportState, RunState, SlackMessage
from tests.evidence.test_bundle import QUICK as QUICK_EVIDENCE
from tests.evidence.test_bundle import bundles, unpack
from tests.hosts.world import World, close_world, make_fleet, make_world
from tests.triage.test_runs import QUICK

names = (f"lastwords-{n}" for n in itertools.count())
HELPER = Path(__file__).parents[2] / "deploy" / "host" / "panicroom-host"
TITLES = {
    "null-deref": "NULL pointer dereference in labcrash_read_cookie",
    "oom": "out of memory",
    "no-kdump-pstore": None,  # whatever pstore's text says; it is compared with what is read from it
}


def intake_of(world: World) -> IntakeDesk:
    desk = IntakeDesk(
        world.context,
        IntakeConfig(),
        IncidentConfig(),
        RoutingConfig(channel="C0INCIDENTS"),
        admin_channel=None,
    )
    world.context.read_reports = desk.wake
    return desk


def desk_of(world: World, kind: str) -> HostDesk:
    desk: HostDesk
    if kind == "triage":
        desk = TriageDesk(world.context, world.visits, QUICK, name=next(names))
    else:
        store = LocalStore(world.context.store_dir)
        desk = EvidenceDesk(world.context, world.visits, store, QUICK_EVIDENCE, name=next(names))
    world.workflows.start()
    return desk


async def told(world: World, intake: IntakeDesk, host: str, **body: Any) -> Panic:
    """A report comes in and is read."""
    row = Report(external_id="r1", host=host, body={"id": "r1", "host": host, "source": "report", **body})
    await world.db.write(lambda s: s.add(row))
    while await intake.drain():
        pass
    return await world.db.read(lambda s: s.exec(select(Panic)).one())


async def panics(world: World) -> list[Panic]:
    return await world.db.read(lambda s: list(s.exec(select(Panic))))


@pytest.mark.parametrize("kind", ["triage", "evidence"])
@pytest.mark.parametrize("case", ["null-deref", "oom", "no-kdump-pstore"])
@pytest.mark.parametrize("known", ["boot", "time", "nothing"])
async def test_a_report_with_empty_text_gets_its_title_from_the_host(
    tmp_path: Path, case: str, known: str, kind: str
) -> None:
    fleet = await make_fleet(tmp_path)
    world = await make_world(tmp_path, fleet)
    try:
        intake = intake_of(world)
        desk = desk_of(world, kind)
        host = str(fleet.hosts()[0]["name"])
        crashed = await fleet.panic(host, case)
        await fleet.reported(host)
        body: dict[str, Any] = {"text": ""}
        if known != "nothing":
            body["occurred_at"] = crashed["crashed_at"]
        if known == "boot":
            body["crashed_boot_id"] = "90d11ae2-d28d-4e72-a0d6-5fe522a6c433"
        before = await told(world, intake, host, **body)
        assert before.kind == "unknown"
        run = await desk.begin(before.id or 0, "U0ONCALL", "request")
        ended = await world.ended(run.id or 0)
        assert ended.state is RunState.DONE, ended.note
        step = (await world.steps(run.id or 0))["dump" if kind == "triage" else "crash"]
        assert ": " in step.summary
        assert intake._event.is_set()  # it was woken
        assert await intake.drain() == 1
        (after,) = await panics(world)
        assert after.kind != "unknown", step.summary
        assert TITLES[case] in (None, after.title)
        assert f": {after.title}" in step.summary
        assert "read from " in step.summary
        assert after.text
        if known == "boot":
            assert after.boot_id == "90d11ae2d28d4e72a0d65fe522a6c433"
        if case == "oom" and known == "nothing":  # its dump says when
            assert abs(after.occurred_at - datetime.fromisoformat(crashed["crashed_at"])) < timedelta(
                seconds=2
            )
        reports = await world.db.read(lambda s: list(s.exec(select(Report).order_by(Report.id))))  # type: ignore[arg-type]
        assert [r.source for r in reports] == ["report", "pstore" if case == "no-kdump-pstore" else "dump"]
        assert {r.panic_id for r in reports} == {after.id}
        assert PanicReport.model_validate(reports[1].body).as_body()["text"] == reports[1].body["text"]
        said = await world.db.read(lambda s: [m.key for m in s.exec(select(SlackMessage))])
        assert f"text:{after.id}:{after.incident_id}" in said
        if kind == "evidence":
            files, _ = unpack(world.context.store_dir / (await bundles(world, run.id or 0))["bundle"].path)
            assert ("pstore-dmesg.txt" in files) == (case == "no-kdump-pstore")
        # asked again, nothing is told twice, and a panic that is read is not read again
        again = await desk.begin(after.id or 0, "U0ONCALL", "again")
        assert (await world.ended(again.id or 0)).state is RunState.DONE
        assert await intake.drain() == 0
        step = (await world.steps(again.id or 0))["dump" if kind == "triage" else "crash"]
        assert "read from " not in step.summary
    finally:
        await close_world(world)
        await fleet.stop()


async def test_the_same_text_found_twice_is_one_report(tmp_path: Path) -> None:
    """Triage and evidence both find it before the intake has read it."""
    fleet = await make_fleet(tmp_path)
    world = await make_world(tmp_path, fleet)
    try:
        intake = intake_of(world)
        host = str(fleet.hosts()[0]["name"])
        crashed = await fleet.panic(host, "oom")
        await fleet.reported(host)
        panic = await told(world, intake, host, text="", occurred_at=crashed["crashed_at"])
        for kind in ("triage", "evidence"):
            run = await desk_of(world, kind).begin(panic.id or 0, "U0ONCALL", kind)
            await world.ended(run.id or 0)
        found = await world.db.read(
            lambda s: [r.state for r in s.exec(select(Report).where(Report.source == "dump"))]
        )
        assert found == [ReportState.NEW]
    finally:
        await close_world(world)
        await fleet.stop()


async def test_a_text_without_a_crash_is_kept_beside_the_panic_and_told_as_what_it_is(tmp_path: Path) -> None:
    fleet = await make_fleet(tmp_path)
    world = await make_world(tmp_path, fleet)
    try:
        intake = intake_of(world)
        host = str(fleet.hosts()[0]["name"])
        crashed = await fleet.panic(host, "dump-fails-disk-full")
        await fleet.reported(host)
        panic = await told(world, intake, host, text="", occurred_at=crashed["crashed_at"])
        run = await desk_of(world, "triage").begin(panic.id or 0, "U0ONCALL", "r")
        assert (await world.ended(run.id or 0)).state is RunState.DONE
        said = (await world.steps(run.id or 0))["dump"].summary
        assert "pstore: systemd-pstore has archived nothing on this host" in said
        assert "holds no text of a crash" in said
        assert await intake.drain() == 1
        (after,) = await panics(world)
        assert (after.kind, bool(after.text)) == ("unknown", True)
    finally:
        await close_world(world)
        await fleet.stop()


def test_what_is_unread() -> None:
    at = datetime(2026, 11, 23, tzinfo=UTC)
    base: dict[str, Any] = {"host": "h", "occurred_at": at, "title": "t", "signature_key": "k"}
    assert is_unread(Panic(**base))
    assert is_unread(Panic(**base, kind="oops", head_lost=True))
    assert not is_unread(Panic(**base, kind="oops"))
    row = report_row(Panic(id=41, **base), "dump", "text", at, at)
    assert row["external_id"].startswith("P-41:")
    assert row["body"] == PanicReport.model_validate(row["body"]).as_body() | {"occurred_at": at.isoformat()}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "pstore"
    (folder / "1697743234" / "001").mkdir(parents=True)
    (folder / "1697743234" / "001" / "dmesg.txt").write_text("Panic#1 Part1\n")
    (folder / "1697743234" / "001" / "dmesg-efi-1").write_text("part")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "dmesg.txt").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "dmesg.txt").symlink_to(tmp_path / "secret" / "dmesg.txt")
    script = tmp_path / "panicroom-host"
    script.write_text(HELPER.read_text().replace("/var/lib/systemd/pstore\n", f"{folder}\n"))
    return script


def ask(script: Path, *words: str) -> subprocess.CompletedProcess[str]:
    shell = shutil.which("sh") or "sh"
    return subprocess.run([shell, script, *words], capture_output=True, text=True, timeout=20, check=False)


def test_the_helper_reads_what_pstore_archived_and_nothing_beside_it(archive: Path) -> None:
    listed = ask(archive, "pstore-list")
    assert listed.returncode == 0, listed.stderr
    rows = [line.split("\t") for line in listed.stdout.splitlines()]
    assert sorted((r[0], r[1]) for r in rows) == [("1697743234/001/dmesg.txt", "f"), ("dmesg.txt", "l")]
    assert ask(archive, "pstore-read", "1697743234/001/dmesg.txt").stdout == "Panic#1 Part1\n"
    for path in ("link/dmesg.txt", "dmesg.txt", "../secret/dmesg.txt", "1697743234/001/dmesg-efi-1", "",
                 "a/b/c/d/dmesg.txt", "/etc/passwd", "1697743234/../link/dmesg.txt"):  # fmt: skip
        done = ask(archive, "pstore-read", path)
        assert done.returncode in (1, 64), path
        assert "secret" not in done.stdout
    assert ask(archive, "pstore-list", "x").returncode == 64


def test_the_helper_says_when_pstore_archived_nothing(archive: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "pstore")
    assert ask(archive, "pstore-list").returncode == 69
