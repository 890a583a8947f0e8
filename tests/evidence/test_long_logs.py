"""Long logs: the bundle has the crash and a journal's end, the store has all of it, and everybody is told where."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncssh
from sqlmodel import select

from commands.evidence.workflow import EvidenceDesk
from commands.hosts.patience import Patience
from commands.incident.rendering import draw
from commands.inventory import HostEntry
from commands.triage import slack as _slack  # noqa: F401 - registers how a run is drawn
from commands.triage.runbook import TriageConfig
from commands.triage.workflow import TriageDesk
from integrations.kernel import read_crash
from integrations.stores import LocalStore
from storage import Artefact, RunState, SlackMessage
from tests.evidence.test_bundle import QUICK, bundles, unpack
from tests.hosts.test_cutting import OOPS, chatter, check, stamped
from tests.hosts.world import World, close_world, make_world
from tests.ssh.conftest import Stage, stage

__all__ = ["stage"]

MIB = 1024 * 1024
names = (f"long-{n}" for n in itertools.count())
JOURNAL = "2026-11-23T09:14:{:02d}+00:00 web-17 kernel: eth0: link is up, number {}\n"


def talkative(world: World, host: str) -> tuple[str, bytes, str]:
    """The host's logs are as long as those of a machine that was up for a year: (dmesg's path, dmesg, journal)."""
    assert world.fleet is not None
    instance = world.fleet.instance(host)
    path = next(p for p in instance.crash_files if "/dmesg." in p)
    dmesg = chatter(60_000, 0.0) + instance.crash_files[path]
    instance.crash_files[path] = dmesg
    instance.__dict__.pop("listing", None)
    journal = "".join(JOURNAL.format(n % 60, n) for n in range(30_000))
    files = {**instance.capture.files}
    files["journal-2"] = str(files["journal-2"]) + journal
    object.__setattr__(instance, "capture", dataclasses.replace(instance.capture, files=files))
    return path, dmesg, instance.file("journal-2") or ""


async def test_the_bundle_has_the_crash_and_says_where_the_rest_is(world: World) -> None:
    desk = EvidenceDesk(
        world.context, world.visits, LocalStore(world.context.store_dir), QUICK, name=next(names)
    )
    world.workflows.start()
    host = str(world.fleet.hosts()[0]["name"])  # type: ignore[union-attr]
    panic_id, _ = await world.crash(host, "null-deref")
    path, dmesg, journal = talkative(world, host)
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    ended = await world.ended(run.id or 0)
    assert ended.state is RunState.DONE, ended.note
    kept = await bundles(world, run.id or 0)
    store = world.context.store_dir
    files, manifest = unpack(store / kept["bundle"].path)
    told, clean = unpack(store / kept["bundle-redacted"].path)
    entries = {e["file"]: e for e in manifest["files"]}
    redacted = {e["file"]: e for e in clean["files"]}

    crash = files["dmesg-crash.txt"]
    assert len(dmesg) > 3 * MIB > MIB >= len(crash)
    check(dmesg, crash)
    assert read_crash(crash).lines == read_crash(dmesg).lines
    end = files["journal-boot-2-crashed.txt"]
    assert len(journal) > MIB >= len(end)
    assert journal.encode().endswith(end[100:])
    for name, whole in (("dmesg-crash.txt", dmesg), ("journal-boot-2-crashed.txt", journal.encode())):
        entry = entries[name]
        assert entry["error"] is None
        assert (store / entry["whole"]).read_bytes() == whole
        assert (entry["whole_sha256"], entry["whole_size"]) == (hashlib.sha256(whole).hexdigest(), len(whole))
        assert f"the whole is {entry['whole']} in the store" in entry["note"]
        assert f"of {len(whole)} bytes" in entry["note"]
        assert (redacted[name]["whole"], redacted[name]["note"]) == (entry["whole"], entry["note"])
        assert b"left out]" in told[name]
    assert path in entries["dmesg-crash.txt"]["note"]
    assert entries["uname.txt"]["whole"] is None
    steps = await world.steps(run.id or 0)
    assert (
        f"dmesg-crash.txt: from {path}; the crash and the 200 lines before are kept" in steps["crash"].summary
    )
    assert entries["dmesg-crash.txt"]["whole"] in steps["crash"].summary
    rows = await world.db.read(lambda s: list(s.exec(select(Artefact).where(Artefact.kind == "output"))))
    assert {r.path for r in rows} == {e["whole"] for e in entries.values() if e["whole"]}

    def said(s: Any) -> SlackMessage:
        return s.exec(select(SlackMessage).where(SlackMessage.key == f"evidence-file:{run.id}")).one()

    message = str((await world.db.read(said)).payload)
    assert "2 long logs are in it in part, and the whole is in the store: " in message
    assert entries["dmesg-crash.txt"]["whole"] in message


async def test_what_is_discarded_leaves_none_of_the_whole_logs(world: World) -> None:
    """As after a cancelled run."""
    desk = EvidenceDesk(
        world.context, world.visits, LocalStore(world.context.store_dir), QUICK, name=next(names)
    )
    world.workflows.start()
    host = str(world.fleet.hosts()[0]["name"])  # type: ignore[union-attr]
    panic_id, _ = await world.crash(host, "null-deref")
    talkative(world, host)
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    await world.ended(run.id or 0)
    whole = world.context.store_dir / f"P-{panic_id}" / f"evidence-{run.id}-whole"
    assert {p.name for p in whole.iterdir()} == {"dmesg-crash.txt", "journal-boot-2-crashed.txt"}
    await desk.discard(run.id or 0)
    assert not whole.exists()
    assert set(await bundles(world, run.id or 0)) == {"bundle", "bundle-redacted"}


async def test_triage_reads_the_last_words_out_of_a_long_dmesg(world: World) -> None:
    desk = TriageDesk(
        world.context, world.visits, TriageConfig(patience=Patience(first=0.1)), name=next(names)
    )
    world.workflows.start()
    host = str(world.fleet.hosts()[0]["name"])  # type: ignore[union-attr]
    panic_id, _ = await world.crash(host, "null-deref", kind="unknown")
    path, dmesg, _ = talkative(world, host)
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    assert (await world.ended(run.id or 0)).state is RunState.DONE
    step = (await world.steps(run.id or 0))["dump"]
    (output,) = [o for o in step.outputs if o.get("cut")]
    assert path in output["command"]
    crash = read_crash(dmesg)
    assert "\n".join(crash.lines) in output["stdout"]
    assert len(output["stdout"]) <= 256 * 1024
    assert (world.context.store_dir / output["original"]).read_bytes() == dmesg
    kept = f"the crash and the 200 lines before are kept, {len(output['stdout'])} of {len(dmesg)} bytes"
    assert f"dmesg-crash: {kept}; the whole is {output['original']} in the store" in step.summary
    assert step.summary.count(f"read from {path}: {crash.title}") == 1
    drawn = await world.db.read(lambda s: draw("triage_run", s, run.id or 0))
    assert output["original"] in str(drawn.blocks)  # type: ignore[union-attr]


TEAM = """
[[step]]
name = "logs"
title = "Our logs"

[[step.command]]
key = "ring"
argv = ["dmesg"]
check = "contains"
expect = "Kernel panic"

[[step.command]]
key = "journal"
argv = ["journalctl", "-b", "-1"]
check = "contains"
expect = "number 29999"
"""


async def test_a_teams_own_dmesg_and_journal_are_cut_by_what_is_in_them(
    stage: Callable[..., Awaitable[Stage]], tmp_path: Path
) -> None:
    own = tmp_path / "own.toml"
    own.write_text(TEAM)
    dmesg = chatter(20_000, 0.0) + stamped(OOPS, 5000.0) + chatter(20_000, 6000.0)
    journal = "".join(JOURNAL.format(n % 60, n) for n in range(30_000)).encode()
    said = {"dmesg": dmesg, "journalctl -b -1": journal}

    async def answer(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.stdout.write(said.get(process.command or "", b""))
        await process.stdout.drain()
        process.exit(0)

    there = await stage(answer)
    host = HostEntry(name="stage", address="127.0.0.1", port=there.port)
    world = await make_world(tmp_path / "bot", None, hosts=(host,), ssh=there.config)
    desk = TriageDesk(
        world.context, world.visits, TriageConfig(runbook=own, patience=Patience(first=0.1)), name=next(names)
    )
    world.workflows.start()
    try:
        panic_id, _ = await world.panic("stage")
        run = await desk.begin(panic_id, "U0ONCALL", "request")
        assert (await world.ended(run.id or 0)).state is RunState.DONE
        step = (await world.steps(run.id or 0))["logs"]
        assert step.state == "ok", step.summary
        kept = {o["command"]: o for o in step.outputs}
        assert stamped(OOPS, 5000.0).decode() in kept["dmesg"]["stdout"]
        assert len(kept["dmesg"]["stdout"]) < 256 * 1024
        assert len(kept["journalctl -b -1"]["stdout"]) <= MIB
        assert "number 29999\n" in kept["journalctl -b -1"]["stdout"]
        for command, whole in said.items():
            assert (world.context.store_dir / kept[command]["original"]).read_bytes() == whole
            assert kept[command]["original"] in step.summary
        assert "logs-journal: its last " in step.summary
    finally:
        await close_world(world)
