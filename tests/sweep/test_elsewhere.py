"""A dump that kdump wrote to a central directory: triage, evidence and copies know that none is missing on the host."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commands.copies import rows
from commands.copies import slack as copies
from commands.copies.config import CentralConfig
from commands.copies.desk import CopyDesk
from commands.copies.rows import InCentralDirectory
from commands.evidence.workflow import EvidenceDesk
from commands.hosts.crashdump import in_central_directory
from commands.router import Router
from commands.sweep.config import CentralDirectory
from commands.triage.workflow import TriageDesk
from integrations.stores import CentralStore, LocalStore
from storage import DumpState, Panic, Report, RunState
from storage.copies import CopyState
from tests.copies.conftest import PATIENCE, no_sftp
from tests.evidence.test_bundle import QUICK as QUICK_EVIDENCE
from tests.evidence.test_bundle import bundles, unpack
from tests.hosts.world import until
from tests.sweep.stage import SPECS, Stage, stage
from tests.sweep.test_central import only, saved
from tests.triage.test_runs import QUICK

names = (f"elsewhere-{n}" for n in itertools.count())


async def swept(here: Stage, root: Path) -> Panic:
    """The panic of web-17, whose dump is in the central directory alone."""
    died = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    saved(root, f"web-17-{died + timedelta(seconds=40):%Y-%m-%d-%H:%M:%S}", died=died)
    await here.sweep("directories")
    panic: Panic = await only(here)
    assert panic.dump_state is DumpState.COMPLETE
    return panic


async def test_triage_and_evidence_say_where_it_is_and_miss_none(tmp_path: Path) -> None:
    root = tmp_path / "kdump"
    async with stage(tmp_path / "bot", specs=SPECS[:1], directories=(CentralDirectory(path=root),)) as here:
        world = here.world
        panic = await swept(here, root)
        triage = TriageDesk(world.context, world.visits, QUICK, central="file:///srv", name=next(names))
        store = LocalStore(world.context.store_dir)
        evidence = EvidenceDesk(world.context, world.visits, store, QUICK_EVIDENCE, name=next(names))
        world.workflows.start()
        run = await triage.begin(panic.id or 0, "U0ONCALL", "triage")
        assert (await world.ended(run.id or 0)).state is RunState.DONE
        step = (await world.steps(run.id or 0))["dump"]
        assert "gone" not in step.summary
        assert step.summary.splitlines()[:3] == [
            "local: none, and none is missing: kdump writes to the central directory",
            f"central directory: complete, {panic.dump_path}, {step.summary.splitlines()[1].rsplit(', ', 1)[1]}",
            "central: it needs no copy from the host, it is in the central directory already",
        ]
        assert step.state == "ok"
        after = await only(here)
        assert (after.dump_state, after.dump_path, after.dump_size, after.dump_note) == (
            DumpState.COMPLETE, panic.dump_path, panic.dump_size,
            "kdump wrote it to the central directory; none is missing on the host",
        )  # fmt: skip

        run = await evidence.begin(panic.id or 0, "U0ONCALL", "evidence")
        assert (await world.ended(run.id or 0)).state is RunState.DONE
        files, manifest = unpack(world.context.store_dir / (await bundles(world, run.id or 0))["bundle"].path)
        assert manifest["vmcore"]["path"] == panic.dump_path
        assert manifest["vmcore"]["central_directory"] == str(root)
        (entry,) = [e for e in manifest["files"] if e["file"] == "dmesg-crash.txt"]
        assert (entry["error"], entry["sha256"]) == (None, None)
        assert panic.dump_path in entry["note"]
        assert b"Out of memory" in files["panic-text.txt"]
        assert "it stays in kdump's central directory" in (await world.steps(run.id or 0))["crash"].summary


async def test_a_copy_from_the_host_is_refused_and_a_critical_host_gets_its_bundle(tmp_path: Path) -> None:
    root, collected = tmp_path / "kdump", []

    async def collect(panic_id: int, asked_by: str, key: str) -> None:
        collected.append((panic_id, asked_by, key))

    async with stage(tmp_path / "bot", specs=SPECS[:1], directories=(CentralDirectory(path=root),)) as here:
        world = here.world
        panic = await swept(here, root)
        url = (tmp_path / "store").as_uri()
        (tmp_path / "store").mkdir()
        desk = CopyDesk(
            world.context, world.visits, CentralStore(url, sftp=no_sftp), CentralConfig(url=url, patience=PATIENCE),
            collect=collect, name=next(names),
        )  # fmt: skip
        world.workflows.start()
        router = Router(world.db, world.context.access)
        copies.register(router, desk)
        with pytest.raises(InCentralDirectory, match="it is in the central directory already: /") as refused:
            await desk.begin(panic.id or 0, "U0ONCALL", "r1")
        assert refused.value.path == panic.dump_path
        await router.command_line(world.ask(text=f"copy P-{panic.id}"))
        assert f"it is in the central directory already: `{panic.dump_path}`" in world.replies[-1][0]
        assert await world.db.read(lambda s: s.get_one(Panic, panic.id).dump_state) is DumpState.COMPLETE
        here.world.context.on_panic.clear()
        await desk.on_panic(panic.id or 0)
        for task in tuple(desk._background):
            await task
        assert collected == [(panic.id, "panicroom", f"critical:{panic.id}")]
        await desk.close()


async def test_a_copy_that_began_before_the_sweep_ends_with_the_place(tmp_path: Path) -> None:
    root = tmp_path / "kdump"
    async with stage(tmp_path / "bot", specs=SPECS[:1], directories=(CentralDirectory(path=root),)) as here:
        world = here.world
        panic = await swept(here, root)
        report = (await here.found())[0]
        url = (tmp_path / "store").as_uri()
        (tmp_path / "store").mkdir()
        desk = CopyDesk(
            world.context, world.visits, CentralStore(url, sftp=no_sftp), CentralConfig(url=url, patience=PATIENCE),
            name=next(names),
        )  # fmt: skip

        def mine(wanted: bool) -> None:
            def write(session: object) -> None:
                session.get_one(Report, report.id).panic_id = panic.id if wanted else None  # type: ignore[attr-defined]

            world.db.write_now(write)

        def unknown(session: object) -> None:
            row = session.get_one(Panic, panic.id)  # type: ignore[attr-defined]
            row.dump_path, row.dump_state = None, DumpState.UNKNOWN

        await world.db.write(unknown)
        mine(False)
        copy, _ = await world.db.write(
            lambda s: rows.begin(
                s, panic=s.get_one(Panic, panic.id), asked_by="U0ONCALL", request_key="r1", patience=PATIENCE,
                now=here.clock(),
            )
        )  # fmt: skip
        mine(True)
        world.workflows.start()
        await desk.resume()

        async def over() -> object:
            found = await world.db.read(lambda s: rows.latest(s, panic.id or 0))
            return found if found is not None and found.state in rows.ENDED else None

        ended = await until(over)
        assert ended.state is CopyState.FAILED
        assert ended.id == copy.id
        assert "it is in the central directory already: " in (ended.error or "")
        await desk.close()


@pytest.mark.parametrize("local", [None, "/var/crash/202611230532/dump.202611230532"])
async def test_only_a_sweeps_word_counts_and_a_host_with_a_dump_of_its_own_has_one(
    tmp_path: Path, local: str | None
) -> None:
    async with stage(tmp_path, specs=None) as here:
        panic_id, _ = await here.world.panic("web-17")
        body = {"central": "/srv/kdump", "dump": {"path": "/srv/kdump/web-17-2026/vmcore", "size": 5}}

        def add(source: str, body: Mapping[str, object]) -> None:
            row = Report(external_id=source, host="web-17", source=source, body=dict(body), panic_id=panic_id)
            here.world.db.write_now(lambda s: s.add(row))

        def place() -> object:
            return here.world.db.read_now(lambda s: in_central_directory(s, s.get_one(Panic, panic_id)))

        add("report", body)
        assert place() is None
        add("sweep", body)
        found = place()
        assert found is not None
        assert (found.path, found.state) == ("/srv/kdump/web-17-2026/vmcore", DumpState.UNVERIFIED)  # type: ignore[attr-defined]
        if local is not None:
            add("pstore", {"dump": {"path": local, "size": 5}})
            assert place() is None
