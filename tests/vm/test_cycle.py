"""A host that really panics, from the kernel's last words to the verified copy of its memory."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from datetime import datetime
from pathlib import Path

import pytest

from bot.demo.workspace.testing import RunningWorkspace, running_workspace, visible_text
from tests.vm.bot import RunningBot, running_bot
from tests.vm.crashes import NULL_POINTER
from tests.vm.guest import NAME, Guest
from tests.vm.host import examine, install, install_netconsole
from tests.vm.phases import Phases
from tests.vm.story import VISIT, Json, reported, told_while_dying, triaged
from tests.vm.waiting import until

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]


async def test_one_panic_from_the_last_words_to_the_verified_copy(guest: Guest, phases: Phases) -> None:
    guest.start()
    async with running_workspace() as slack, running_bot(guest.folder / "bot", slack, guest) as bot:
        crashed = await guest.until_up()
        phases.mark("guest answers over SSH")
        await _prepare(guest, bot)
        phases.mark("host set up, kdump armed")
        assert await slack.history() == [], "the replay of the boot's log is no panic"

        begin = await guest.panic(NULL_POINTER)
        await guest.until_console("BUG: kernel NULL pointer dereference", begin)
        phases.mark("oops on the serial console")
        parent = await _told_while_dying(slack, bot, phases)
        assert "saved dmesg content in" not in guest.console(begin), "told only when there was a dump already"
        await guest.until_console("saved vmcore in", begin)
        phases.mark("kdump has saved dmesg and vmcore")
        await guest.until_up(after=crashed)
        phases.mark("guest is back")

        parent = await _reported(slack, bot, parent, crashed)
        phases.mark("host's own report is in the thread")
        told = await triaged(slack, parent)
        for fact in (
            "local: complete",
            guest.image.kernel_version,
            "out-of-tree module",
            "Ready for the next panic",
        ):
            assert fact in told, told
        phases.mark("triage done")
        await _bundled(slack, parent)
        phases.mark("evidence bundle in the thread")
        await _copied(slack, bot, parent, guest)
        phases.mark("vmcore copied and verified")
        assert bot.rows("select count(*) from panic") == [(1,)], bot.log()
        assert len(await slack.history()) == 1


async def _prepare(guest: Guest, bot: RunningBot) -> None:
    await install(guest, bot.port)
    await install_netconsole(guest, bot.netconsole_port)
    records = await guest.run("dd if=/dev/kmsg iflag=nonblock bs=8192 2>/dev/null | grep -c '^[0-9]'")
    said = int(records.text)
    assert said > 200, "the log of a boot"

    async def replayed() -> bool:
        taken = await bot.metric('panicroom_netconsole_datagrams_total{outcome="taken"}')
        return taken >= said * 0.8  # UDP may lose some

    await until(replayed, f"netconsole replays the boot's {said} records", seconds=60, told=bot.log)
    await guest.until_armed()
    status, told = await examine(bot)
    assert (status, told.splitlines()[-1]) == (0, "Nothing is missing."), told


async def _told_while_dying(slack: RunningWorkspace, bot: RunningBot, phases: Phases) -> Json:
    """The thread, opened by netconsole alone while kdump is at work."""
    parent = await told_while_dying(slack)
    phases.mark("thread open: netconsole")
    assert "NULL pointer dereference in labcrash_read_cookie" in visible_text(parent)
    assert bot.reports()[0] == "netconsole"
    ((arrived,),) = bot.rows("select seen_at from live_sighting")
    seconds = float(parent["ts"]) - datetime.fromisoformat(f"{arrived}+00:00").timestamp()
    phases.note("of it, from the oops' first datagram to the message", seconds)
    return parent


async def _reported(slack: RunningWorkspace, bot: RunningBot, parent: Json, crashed: str) -> Json:
    """The host's own report joins the panic that netconsole opened: the dump it names is in the same thread."""
    parent = await reported(slack, parent)
    seen = visible_text(parent)
    assert f"{NAME} panicked: NULL pointer dereference in labcrash_read_cookie" in seen
    assert set(bot.reports()) == {"netconsole", "report"}
    assert bot.rows("select distinct panic_id from report") == [(1,)]
    ((boot, dump),) = bot.rows("select boot_id, dump_path from panic")
    assert boot.replace("-", "") == crashed.replace("-", "")
    assert dump.startswith("/var/crash/2")
    return parent


async def _bundled(slack: RunningWorkspace, parent: Json) -> None:
    await slack.person().click(parent, "Collect evidence")
    bundle = await slack.reply(
        parent, lambda m: any(f["name"].endswith(".tar.gz") for f in m.get("files", [])), timeout=VISIT
    )
    content = await slack.download(bundle["files"][0])
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        files = {Path(m.name).name: archive.extractfile(m).read() for m in archive if m.isfile()}  # type: ignore[union-attr]
    dmesg = files["dmesg-crash.txt"].decode()
    assert "BUG: kernel NULL pointer dereference" in dmesg
    assert "RIP: 0010:labcrash_read_cookie" in dmesg
    assert "Linux version" in dmesg, "the whole log, not only its end"
    manifest = json.loads(files["manifest.json"])
    for entry in manifest["files"]:
        if entry.get("sha256") and entry["file"] in files:
            assert hashlib.sha256(files[entry["file"]]).hexdigest() == entry["sha256"], entry["file"]


async def _copied(slack: RunningWorkspace, bot: RunningBot, parent: Json, guest: Guest) -> None:
    """The parts in the store, put together, are what lies on the host."""
    await slack.person().command("/panic copy P-1")
    message = await slack.reply(parent, "to the central store", timeout=30)
    message = await slack.changed(
        message,
        lambda m: any(w in visible_text(m) for w in ("verified in central", "not copied")),
        timeout=VISIT,
    )
    assert "verified in central" in visible_text(message), visible_text(message)
    assert "dump complete" in visible_text(message)
    ((state, sha256),) = bot.rows("select state, sha256 from dump_copy")
    assert state == "verified"
    on_host = (await guest.run("sha256sum /var/crash/2*/dump.2*")).text.split()[0]
    (written,) = bot.central.rglob("manifest.json")
    manifest = json.loads(written.read_text())
    whole = hashlib.sha256(
        b"".join((written.parent / part["name"]).read_bytes() for part in manifest["parts"])
    )
    assert on_host == sha256 == manifest["sha256"] == whole.hexdigest()
