"""Evidence over a real sshd with the real helper, and from a host that hangs."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import asyncssh
import pytest

from commands.evidence.collection import Collector
from commands.evidence.contents import BundleFile, EvidenceConfig
from commands.evidence.workflow import EvidenceDesk
from commands.hosts.patience import Patience
from commands.hosts.visits import Visit
from commands.inventory import HostEntry
from integrations.stores import LocalStore
from storage import DumpState, Panic, RunState
from tests.evidence.test_bundle import bundles, unpack
from tests.hosts.world import close_world, make_world
from tests.ssh.conftest import Sshd, Stage, clients, sshd, stage, start_sshd

__all__ = ["clients", "sshd", "stage", "start_sshd"]
HELPER = Path(__file__).parents[2] / "deploy" / "host" / "panicroom-host"
names = (f"evidence-real-{n}" for n in itertools.count())


async def test_evidence_from_this_machine_over_openssh(sshd: Sshd, tmp_path: Path) -> None:
    """Whatever this machine lacks (a journal, kdump) is in the manifest as an error; the rest comes."""
    died = datetime.now(UTC)
    crash = tmp_path / "crash" / f"{died:%Y%m%d%H%M}"
    crash.mkdir(parents=True)
    (crash / f"dmesg.{died:%Y%m%d%H%M}").write_text(
        "[    1.0] Kernel panic - not syncing: sysrq triggered crash\n"
    )
    (crash / f"dump.{died:%Y%m%d%H%M}").write_bytes(b"")
    (tmp_path / "kdump-tools").write_text(f"KDUMP_COREDIR={tmp_path / 'crash'}\n")
    helper = tmp_path / "panicroom-host"
    helper.write_text(HELPER.read_text().replace("/etc/default/kdump-tools", str(tmp_path / "kdump-tools")))
    world = await make_world(
        tmp_path / "bot",
        None,
        hosts=(HostEntry(name="db-3", address="127.0.0.1", port=sshd.port),),
        ssh=sshd.config(helper=("sh", str(helper))),
    )
    try:
        store = LocalStore(world.context.store_dir)
        config = EvidenceConfig(patience=Patience(first=0.1, give_up_after=20))
        desk = EvidenceDesk(world.context, world.visits, store, config, name=next(names))
        world.workflows.start()
        panic_id, _ = await world.panic("db-3", occurred_at=died)
        run = await desk.begin(panic_id, "U0ONCALL", "request")
        ended = await world.ended(run.id or 0, 90)
        assert ended.state is RunState.DONE, ended.note
        files, manifest = unpack(world.context.store_dir / (await bundles(world, run.id or 0))["bundle"].path)
        assert b"sysrq triggered crash" in files["dmesg-crash.txt"]
        assert files["uname.txt"].decode().split()[2] == os.uname().release
        assert manifest["vmcore"]["state"] == "empty"
        assert (await world.db.read(lambda s: s.get_one(Panic, panic_id))).dump_state is DumpState.EMPTY
        for entry in manifest["files"]:
            assert entry["error"] is not None or entry["sha256"] is not None
    finally:
        await close_world(world)


async def test_a_command_that_hangs_does_not_cost_the_others(
    stage: Callable[..., Awaitable[Stage]], tmp_path: Path
) -> None:
    async def answer(process: asyncssh.SSHServerProcess[bytes]) -> None:
        if process.command == "lsmod":
            process.stdout.write(b"half of it\n")
            await asyncio.sleep(60)
        elif process.command == "df -hT":
            process.stderr.write(b"df: <!channel> Input/output error\n")
            process.exit(1)
        else:
            process.stdout.write(b"fine\n")
            process.exit(0)

    there = await stage(answer)
    host = HostEntry(name="stage", address="127.0.0.1", port=there.port)
    world = await make_world(tmp_path / "bot", None, hosts=(host,), ssh=there.config)
    try:
        panic_id, _ = await world.panic("stage")
        session = await world.visits.ssh.open(there.host)
        visit = Visit(1, panic_id, "evidence", "U0ONCALL", there.host, session, world.visits)
        collector = Collector(LocalStore(tmp_path / "store"), ("P-1", "evidence-1"), visit, EvidenceConfig())
        await collector.all(
            [
                BundleFile(name="modules.txt", argv=("lsmod",), timeout=3),
                BundleFile(name="df.txt", argv=("df", "-hT")),
                BundleFile(name="uname.txt", argv=("uname", "-a")),
            ]
        )
        await world.visits.audited(1)
        session.close()
        entries = {e.file: e for e in collector.entries}
        assert "timed out" in (entries["modules.txt"].error or "")
        assert collector.store.read("P-1/evidence-1/modules.txt") == b"half of it\n"
        assert entries["df.txt"].exit_status == 1
        assert "Input/output error" in (entries["df.txt"].error or "")
        assert entries["uname.txt"].error is None
        outcomes = {a.subject: a.outcome for a in await world.audit()}
        assert outcomes == {"stage: lsmod": "failed", "stage: df -hT": "failed", "stage: uname -a": "done"}
    finally:
        await close_world(world)


@pytest.mark.parametrize("name", ["../x", "A", "", "x/y", "-x"])
def test_a_bundles_file_has_a_plain_name(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        BundleFile(name=name, argv=("true",))
