"""The rest still comes: a host that is lost, a run that is cancelled, a store that does not tidy."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from sqlmodel import select

from commands.evidence.contents import EvidenceConfig
from commands.evidence.workflow import EvidenceDesk
from commands.hosts.patience import Patience
from commands.incident.rendering import draw
from commands.inventory import HostEntry
from integrations.stores import LocalStore
from storage import ChangeLink, RunState, SlackMessage
from tests.evidence.test_bundle import bundles, unpack
from tests.hosts.world import World, close_world, make_world, until
from tests.ssh.conftest import Stage, stage

__all__ = ["stage"]
names = (f"evidence-rest-{n}" for n in itertools.count())
SHORT = EvidenceConfig(patience=Patience(first=0.05, longest=0.1, give_up_after=0.5, breaks=1))
LONG = EvidenceConfig(patience=Patience(first=0.05, longest=0.1, give_up_after=60))


def started(world: World, config: EvidenceConfig, store: LocalStore | None = None) -> EvidenceDesk:
    store = store or LocalStore(world.context.store_dir)
    desk = EvidenceDesk(world.context, world.visits, store, config, name=next(names))
    world.workflows.start()
    return desk


async def uploads(world: World, run_id: int) -> list[SlackMessage]:
    key = f"evidence-file:{run_id}"
    return await world.db.read(lambda s: list(s.exec(select(SlackMessage).where(SlackMessage.key == key))))


async def test_a_host_that_never_comes_back_leaves_a_bundle_of_what_the_bot_knows(world: World) -> None:
    desk = started(world, SHORT)
    assert world.fleet is not None
    host = world.fleet.hosts()[0]["name"]
    panic_id, _ = await world.crash(host, "oom", text="[ 1.0] Kernel panic\n")
    await world.db.write(
        lambda s: s.add(ChangeLink(panic_id=panic_id, key="OPS-1182", linked_by="U0ONCALL", state="linked"))
    )
    await world.fleet.power_off(host)
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    ended = await world.ended(run.id or 0)
    assert ended.state is RunState.FAILED
    assert "gave up after" in ended.note
    files, manifest = unpack(
        world.context.store_dir / (await bundles(world, run.id or 0))["bundle-redacted"].path
    )
    assert files["panic-text.txt"] == b"[ 1.0] Kernel panic\n"
    assert [t["key"] for t in json.loads(files["change-tickets.json"])] == ["OPS-1182"]
    errors = {e["file"]: e["error"] for e in manifest["files"] if e["error"]}
    assert set(errors) == {"dmesg-crash.txt", "journal-crashed.txt", "system"}
    assert all("gave up after" in e for e in errors.values())
    (message,) = await uploads(world, run.id or 0)
    assert message.file_path
    assert "3 could not be collected whole" in (message.payload or {})["text"]
    assert not (world.context.store_dir / f"P-{panic_id}" / f"evidence-{run.id}").exists()
    drawn = await world.db.read(lambda s: draw("evidence_run", s, run.id or 0))
    assert drawn is not None
    assert ":x: stopped: gave up after" in drawn.text
    assert "the host was not reached" in str(drawn.blocks)


async def test_a_host_that_is_refused_for_good_leaves_one_as_well(world: World) -> None:
    desk = started(world, LONG)
    panic_id, _ = await world.crash(world.fleet.hosts()[0]["name"], "oom", text="x")  # type: ignore[union-attr]
    (world.folder / "known_hosts").write_text("")
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    ended = await world.ended(run.id or 0)
    assert ended.state is RunState.FAILED
    assert "SHA256:" in ended.note
    assert (
        "panic-text.txt"
        in unpack(world.context.store_dir / (await bundles(world, run.id or 0))["bundle"].path)[0]
    )
    assert await uploads(world, run.id or 0)


async def test_a_host_that_is_lost_in_mid_run_leaves_what_came_before(
    stage: Callable[..., Awaitable[Stage]], tmp_path: Path
) -> None:
    async def answer(process: asyncssh.SSHServerProcess[bytes]) -> None:
        if "list-boots" in (process.command or ""):
            there.server.close()
            process.channel.get_connection().abort()
            return
        process.stdout.write(b"kexec_cmd\tf\t1\t1.0\n")
        process.exit(0)

    there = await stage(answer)
    host = HostEntry(name="stage", address="127.0.0.1", port=there.port)
    world = await make_world(tmp_path / "bot", None, hosts=(host,), ssh=there.config)
    try:
        desk = started(world, EvidenceConfig(patience=Patience(first=0.05, longest=0.1, give_up_after=3)))
        panic_id, _ = await world.panic("stage", text="its words", kind="oops")
        run = await desk.begin(panic_id, "U0ONCALL", "request")
        ended = await world.ended(run.id or 0)
        assert ended.state is RunState.FAILED
        assert "gave up after" in ended.note
        files, manifest = unpack(world.context.store_dir / (await bundles(world, run.id or 0))["bundle"].path)
        assert files["crash-directory.txt"].startswith(b"kexec_cmd")
        assert files["panic-text.txt"] == b"its words"
        errors = {e["file"]: e["error"] for e in manifest["files"] if e["error"]}
        assert "gave up after" in errors["journal-crashed.txt"]
        assert "gave up after" in errors["system"]
        assert await uploads(world, run.id or 0)
    finally:
        await close_world(world)


async def test_a_cancelled_run_leaves_no_loose_files_and_no_bundle(
    stage: Callable[..., Awaitable[Stage]], tmp_path: Path
) -> None:
    async def answer(process: asyncssh.SSHServerProcess[bytes]) -> None:
        if process.command == "lsmod":
            await asyncio.sleep(60)
        process.stdout.write(b"x\n")
        process.exit(0)

    there = await stage(answer)
    host = HostEntry(name="stage", address="127.0.0.1", port=there.port)
    world = await make_world(tmp_path / "bot", None, hosts=(host,), ssh=there.config)
    try:
        desk = started(world, LONG)
        panic_id, _ = await world.panic("stage")
        run = await desk.begin(panic_id, "U0ONCALL", "request")
        folder = world.context.store_dir / f"P-{panic_id}" / f"evidence-{run.id}"

        async def at_work() -> bool:
            return (folder / "uname.txt").exists()

        await until(at_work)
        await desk.cancel(panic_id, "U0ONCALL")

        async def gone() -> bool:
            return not folder.exists()

        await until(gone)
        assert (await world.run(run.id or 0)).state is RunState.CANCELLED
        assert await bundles(world, run.id or 0) == {}
        assert await uploads(world, run.id or 0) == []
    finally:
        await close_world(world)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_folder_that_cannot_be_removed_fails_no_run(world: World, cancelled: bool) -> None:
    desk = started(world, LONG)
    assert world.fleet is not None
    host = world.fleet.hosts()[0]["name"]
    panic_id, _ = await world.crash(host, "oom")
    # a folder in the folder: the store removes files only
    stuck = world.context.store_dir / f"P-{panic_id}" / "evidence-1" / "stuck"
    stuck.mkdir(parents=True)
    if cancelled:
        await world.fleet.power_off(host)
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    assert run.id == 1
    if cancelled:
        await desk.cancel(panic_id, "U0ONCALL")
    ended = await world.ended(1)
    handle: Any = await desk._start(ended)
    assert await handle.get_result() == ended.state.value
    assert (await world.run(1)).state is (RunState.CANCELLED if cancelled else RunState.DONE)
    assert bool(await uploads(world, 1)) is not cancelled
    assert stuck.exists()


async def test_the_change_record_is_the_incidents(world: World) -> None:
    desk = started(world, LONG)
    panic_id, incident_id = await world.crash(world.fleet.hosts()[0]["name"], "oom")  # type: ignore[union-attr]
    other, _ = await world.panic("db-3", incident_id=incident_id)
    elsewhere, _ = await world.panic("db-4")

    def link(s: Any) -> None:
        for panic, key, state in (
            (other, "OPS-7", "linked"),
            (other, "OPS-8", "removed"),
            (elsewhere, "OPS-9", "linked"),
        ):
            s.add(ChangeLink(panic_id=panic, key=key, linked_by="U0ONCALL", state=state))

    await world.db.write(link)
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    await world.ended(run.id or 0)
    files, _ = unpack(world.context.store_dir / (await bundles(world, run.id or 0))["bundle"].path)
    rows = json.loads(files["change-tickets.json"])
    assert [(r["key"], r["panic"]) for r in rows] == [("OPS-7", f"P-{other}")]
    assert "change tickets: OPS-7" in (await world.steps(run.id or 0))["record"].summary


async def test_the_whole_journal_of_the_crashed_boot_is_there_beside_the_kernels(world: World) -> None:
    desk = started(world, LONG)
    panic_id, _ = await world.crash(world.fleet.hosts()[0]["name"], "null-deref")  # type: ignore[union-attr]
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    await world.ended(run.id or 0)
    files, manifest = unpack(world.context.store_dir / (await bundles(world, run.id or 0))["bundle"].path)
    whole = files["journal-boot-2-crashed-all.txt"].decode()
    assert "sshd[" in whole
    assert "sshd[" not in files["journal-boot-2-crashed.txt"].decode()
    entry = next(e for e in manifest["files"] if e["file"] == "journal-boot-2-crashed-all.txt")
    assert entry["command"] == "journalctl -b -2 -o short-iso --no-pager -n 5000"
    assert "this capture keeps the last 60 lines" in entry["note"]
    assert "journal-boot-1-capture-all.txt" not in files
