"""Hosts that panic and leave no dump: no memory kept for the capture kernel, and a disk with no room for it."""

from __future__ import annotations

import pytest

from bot.demo.workspace.testing import running_workspace
from tests.vm.bot import running_bot
from tests.vm.crashes import FILL_DISK, SYSRQ
from tests.vm.guest import NAME, Guest
from tests.vm.host import examine, install, install_netconsole
from tests.vm.phases import Phases
from tests.vm.story import REPORTED, reported, told_while_dying, triaged
from tests.vm.waiting import until

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]


async def test_no_crashkernel_is_told_as_a_reboot_without_a_dump(guest: Guest, phases: Phases) -> None:
    """Nothing but the boot itself tells of the crash; and a clean shutdown afterwards is no crash."""
    guest.start(crashkernel=None)
    async with running_workspace() as slack, running_bot(guest.folder / "bot", slack, guest) as bot:
        crashed = await guest.until_up()
        await install(guest, bot.port)
        phases.mark("host set up")
        status, told = await examine(bot)
        assert status == 1, told
        assert "no memory is reserved for the capture kernel (crashkernel=)" in told
        begin = await guest.panic(SYSRQ)
        await guest.until_console("Kernel panic - not syncing: sysrq triggered crash", begin)
        phases.mark("panic on the console")
        back = await guest.until_up(after=crashed)
        phases.mark("guest is back")
        parent = await slack.message(NAME, timeout=REPORTED)
        phases.mark("report is a thread")
        assert bot.reports() == ["no-dump"]
        ((boot,),) = bot.rows("select boot_id from panic")
        ((external,),) = bot.rows("select external_id from report")
        assert boot.replace("-", "") == crashed.replace("-", "")
        assert external == f"boot:{crashed.replace('-', '')}"
        told = await triaged(slack, parent)
        phases.mark("triage done")
        assert "crashkernel" in told, told

        await guest.power_off()
        guest.start(crashkernel=None)
        await guest.until_up(after=back)
        phases.mark("shut down and started again")
        await until(
            lambda: _examined(guest), "panicroom-report has run", seconds=REPORTED, told=guest.last_words
        )
        assert bot.reports() == ["no-dump"], "a clean shutdown is no crash"


async def test_a_full_disk_keeps_no_dump_and_netconsole_has_the_text(guest: Guest, phases: Phases) -> None:
    guest.start()
    async with running_workspace() as slack, running_bot(guest.folder / "bot", slack, guest) as bot:
        crashed = await guest.until_up()
        await install(guest, bot.port)
        await guest.until_armed()
        await install_netconsole(guest, bot.netconsole_port)
        await guest.run(FILL_DISK)
        phases.mark("host set up, disk full")
        begin = await guest.panic(SYSRQ)
        parent = await told_while_dying(slack)
        phases.mark("thread open: netconsole")
        await guest.until_console("No space left on device", begin)
        phases.mark("kdump has failed")
        await guest.until_up(after=crashed)
        phases.mark("guest is back")
        parent = await reported(slack, parent)
        phases.mark("host's own report is in the thread")
        assert bot.rows("select count(*), min(deliberate) from panic") == [(1, 1)]
        told = await triaged(slack, parent)
        phases.mark("triage done")
        assert "local: complete" not in told
        assert "incomplete" in told or "empty" in told or "there is no dump" in told, told


async def _examined(guest: Guest) -> bool:
    """Whether `panicroom-report` has run in this boot; a oneshot is never "active", it only ends."""
    ended = await guest.run(
        "systemctl show -p InactiveEnterTimestampMonotonic --value panicroom-report", check=False
    )
    return ended.text.strip() not in ("", "0")
