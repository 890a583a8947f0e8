"""The evidence bundle end to end over SSH, on replayed hosts."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from commands.evidence.contents import EvidenceConfig
from commands.evidence.workflow import EvidenceDesk
from commands.hosts.patience import Patience
from integrations.stores import LocalStore
from storage import Artefact, ChangeLink, Panic, RunState, SlackMessage
from tests.hosts.world import World

names = (f"evidence-{n}" for n in itertools.count())
QUICK = EvidenceConfig(patience=Patience(first=0.1, longest=0.2, give_up_after=20))


def started(world: World, config: EvidenceConfig = QUICK) -> EvidenceDesk:
    desk = EvidenceDesk(
        world.context, world.visits, LocalStore(world.context.store_dir), config, name=next(names)
    )
    world.workflows.start()
    return desk


def unpack(path: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        assert all(m.isfile() and m.uid == 0 and ".." not in m.name for m in members)
        files = {m.name.split("/", 1)[1]: archive.extractfile(m).read() for m in members}  # type: ignore[union-attr]
    return files, json.loads(files["manifest.json"])


async def bundles(world: World, run_id: int) -> dict[str, Artefact]:
    rows = await world.db.read(lambda s: list(s.exec(select(Artefact).where(Artefact.run_id == run_id))))
    return {r.kind: r for r in rows}


async def test_the_bundle_holds_what_the_host_had(world: World) -> None:
    desk = started(world)
    host = world.fleet.hosts()[0]["name"]  # type: ignore[union-attr]
    panic_id, incident_id = await world.crash(host, "oom", text="[ 1.0] Kernel panic\n")

    def link(s: Any) -> None:
        s.add(
            ChangeLink(
                panic_id=panic_id, key="OPS-1182", linked_by="U0ONCALL", state="linked", summary="roll it"
            )
        )
        s.add(ChangeLink(panic_id=panic_id, key="OPS-9", linked_by="U0ONCALL", state="removed"))

    await world.db.write(link)
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    ended = await world.ended(run.id or 0)
    steps = await world.steps(run.id or 0)
    assert ended.state is RunState.DONE, ended.note
    assert {s.state for s in steps.values()} <= {"ok", "warn"}, {n: s.summary for n, s in steps.items()}

    kept = await bundles(world, run.id or 0)
    store = world.context.store_dir
    for row in kept.values():
        assert hashlib.sha256((store / row.path).read_bytes()).hexdigest() == row.sha256
        assert (store / row.path).stat().st_size == row.size
    files, manifest = unpack(store / kept["bundle"].path)
    for entry in manifest["files"]:
        if entry["sha256"]:
            assert hashlib.sha256(files[entry["file"]]).hexdigest() == entry["sha256"]
            assert len(files[entry["file"]]) == entry["size"]
    listed = {e["file"] for e in manifest["files"] if e["sha256"]}
    assert listed == set(files) - {"manifest.json"}
    assert b"Out of memory" in files["dmesg-crash.txt"]
    assert manifest["boots"]["crashed"] == -2
    assert manifest["boots"]["capture"] == -1
    assert b"crashkernel=192M" in files["journal-boot-2-crashed.txt"]
    assert b"kdump-tools-dump.service" in files["journal-boot-1-capture.txt"]
    assert files["uname.txt"].startswith(b"Linux ")
    assert b"linux-image" in files["package-history.txt"]
    assert manifest["vmcore"]["state"] == "complete"
    assert manifest["vmcore"]["in_bundle"] is False
    assert manifest["asked_by"] == "U0ONCALL"
    assert not any("dump." in name for name in files)
    assert [t["key"] for t in json.loads(files["change-tickets.json"])] == ["OPS-1182"]

    def said(s: Any) -> SlackMessage:
        return s.exec(select(SlackMessage).where(SlackMessage.key == f"evidence-file:{run.id}")).one()

    message = await world.db.read(said)
    assert message.file_path == kept["bundle-redacted"].path
    assert message.file_name == f"P-{panic_id}-evidence.tar.gz"
    assert message.incident_id == incident_id
    assert not (store / f"P-{panic_id}" / f"evidence-{run.id}").exists()
    commands = await world.audit()
    assert len(commands) == len({c.id for c in commands})
    asked = [e["command"] for e in manifest["files"] if e["command"]]
    for command in asked:
        assert sum(c.subject == f"{host}: {command}" for c in commands) >= 1, command


@pytest.mark.parametrize(
    ("case", "crashed", "capture"),
    [
        ("no-kdump-pstore", -1, None),
        ("dump-fails-disk-full", -1, None),
        ("null-deref", -2, -1),
        ("nmi", -2, -1),
    ],
)
async def test_the_boot_that_crashed_is_chosen_by_looking(
    world: World, case: str, crashed: int, capture: int | None
) -> None:
    desk = started(world)
    host = world.fleet.hosts()[0]["name"]  # type: ignore[union-attr]
    panic_id, _ = await world.crash(host, case)
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    ended = await world.ended(run.id or 0)
    assert ended.state is RunState.DONE, ended.note
    _, manifest = unpack(world.context.store_dir / (await bundles(world, run.id or 0))["bundle"].path)
    assert manifest["boots"]["crashed"] == crashed, manifest["boots"]
    assert manifest["boots"]["capture"] == capture


async def test_a_command_that_fails_is_in_the_manifest_and_the_rest_comes(world: World) -> None:
    """A capture without kdump: no dump directory of this panic, some commands exit otherwise."""
    desk = started(world)
    host = world.fleet.hosts()[0]["name"]  # type: ignore[union-attr]
    panic_id, _ = await world.crash(host, "no-kdump-pstore")
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    await world.ended(run.id or 0)
    files, manifest = unpack(
        world.context.store_dir / (await bundles(world, run.id or 0))["bundle-redacted"].path
    )
    errors = {e["file"]: e["error"] for e in manifest["files"] if e["error"]}
    assert "no dmesg of this panic" in errors["dmesg-crash.txt"]
    assert "dmesg-crash.txt" not in files
    assert "uname.txt" in files
    panic = await world.db.read(lambda s: s.get_one(Panic, panic_id))
    assert panic.dump_state.value == "none"


async def test_the_same_run_packs_the_same_bytes(world: World) -> None:
    """After a crash between packing and recording it, the bundle is made again and must be the same."""
    from commands.evidence.contents import make_archive

    files = {"b.txt": b"two", "a.txt": b"one"}
    first = make_archive("P-1-evidence", files, 1_700_000_000)
    second = make_archive("P-1-evidence", dict(reversed(files.items())), 1_700_000_000)
    assert first == second
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        assert archive.getnames() == ["P-1-evidence/a.txt", "P-1-evidence/b.txt"]


async def test_the_redacted_copy_says_what_was_taken_out(world: World) -> None:
    desk = started(world)
    host = world.fleet.hosts()[0]["name"]  # type: ignore[union-attr]
    text = "eth0: 52:54:00:12:34:56\nKernel command line: root=/dev/vda db.password=hunter2-hunter2\n"
    panic_id, _ = await world.crash(host, "null-deref", text=text)
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    await world.ended(run.id or 0)
    kept = await bundles(world, run.id or 0)
    whole, original = unpack(world.context.store_dir / kept["bundle"].path)
    cut, manifest = unpack(world.context.store_dir / kept["bundle-redacted"].path)
    assert whole["panic-text.txt"] == text.encode()
    assert original["redacted"] is False
    everything = b"".join(cut.values())
    assert b"52:54:00:12:34:56" not in everything
    assert b"hunter2" not in everything
    assert manifest["redactions"]["mac"] >= 1
    assert manifest["redactions"]["secret"] >= 1
    assert manifest["original_bundle"]["sha256"] == kept["bundle"].sha256
    for entry in manifest["files"]:
        if entry["file"] in cut:
            assert hashlib.sha256(cut[entry["file"]]).hexdigest() == entry["sha256"]
            assert hashlib.sha256(whole[entry["file"]]).hexdigest() == entry["original_sha256"]
