"""The runbook end to end over SSH, on replayed hosts."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from sqlmodel import select

from commands.access import Role
from commands.errors import NotFound
from commands.hosts.patience import Patience
from commands.hosts.runs import AlreadyRunning
from commands.incident.rendering import draw
from commands.inventory import HostEntry
from commands.router import Router
from commands.triage.runbook import TriageConfig, shipped
from commands.triage.slack import register
from commands.triage.workflow import TriageDesk
from integrations.slack.text import escape
from storage import ChangeLink, DumpState, Incident, Panic, RunState, SlackMessage, SlackRequest
from tests.hosts.world import World, close_world, make_fleet, make_world, until
from tests.ssh.conftest import Stage, stage

__all__ = ["stage"]

names = (f"triage-{n}" for n in itertools.count())
QUICK = TriageConfig(patience=Patience(first=0.1, longest=0.2, give_up_after=120))


def started(world: World, config: TriageConfig = QUICK) -> TriageDesk:
    desk = TriageDesk(world.context, world.visits, config, name=next(names))
    world.workflows.start()
    return desk


def any_host(world: World) -> str:
    assert world.fleet is not None
    return str(world.fleet.hosts()[0]["name"])


async def drawn(world: World, run_id: int) -> str:
    rendered = await world.db.read(lambda s: draw("triage_run", s, run_id))
    assert rendered is not None
    return rendered.text + "\n" + str(rendered.blocks)


@pytest.mark.parametrize(
    ("case", "state", "ready"),
    [
        ("sysrq-c", DumpState.COMPLETE, "ok"),
        ("oom", DumpState.COMPLETE, "ok"),
        ("dump-fails-disk-full", DumpState.EMPTY, "warn"),
        ("no-kdump-pstore", DumpState.NONE, "failed"),
    ],
)
async def test_the_runbook_says_what_is_there(world: World, case: str, state: DumpState, ready: str) -> None:
    desk = started(world)
    panic_id, incident_id = await world.crash(any_host(world), case)
    run = await desk.begin(panic_id, "U0ONCALL", "request-1")
    ended = await world.ended(run.id or 0)
    steps = await world.steps(run.id or 0)
    assert ended.state is RunState.DONE, ended.note
    assert list(steps) == [s.name for s in shipped().step]
    panic, incident = await world.db.read(
        lambda s: (s.get_one(Panic, panic_id), s.get_one(Incident, incident_id))
    )
    assert panic.dump_state is state
    assert panic.running_kernel == "6.1.0-56-cloud-amd64"
    assert panic.back_at is not None
    assert incident.runbook_done_at is not None
    assert "no central store configured" in steps["dump"].summary
    assert "workload: not checked" in steps["recent"].summary
    assert "linux-image-6.1.0-56-cloud-amd64-dbg" in steps["offline"].summary
    assert steps["ready"].state == ready
    if case == "no-kdump-pstore":
        assert "active (exited), which proves nothing: no kernel is loaded" in steps["ready"].summary
    if state is DumpState.COMPLETE:
        assert "(VMCOREINFO)" in steps["dump"].summary
        assert steps["dump"].facts["build_id"]
    # one audit row a command, no more and no less
    commands = sorted(a.subject for a in await world.audit())
    outputs = sorted(f"{panic.host}: {o['command']}" for s in steps.values() for o in s.outputs)
    assert commands == outputs
    assert all(a.actor == "U0ONCALL" for a in await world.audit())
    told = await drawn(world, run.id or 0)
    assert ":checkered_flag: done" in told
    assert "Show raw output" in told


async def test_a_host_that_still_reboots_is_waited_for_and_the_thread_says_so(world: World) -> None:
    desk = started(world)
    assert world.fleet is not None
    host = any_host(world)
    panic_id, _ = await world.crash(host, "null-deref")
    await world.fleet.power_off(host)
    run = await desk.begin(panic_id, "U0ONCALL", "request")

    async def waited() -> bool:
        return (await world.run(run.id or 0)).attempts >= 2

    await until(waited)
    told = await drawn(world, run.id or 0)
    assert "host does not answer yet (attempt " in told
    assert "next try <!date^" in told
    assert "giving up at <!date^" in told
    await world.fleet.power_on(host)
    assert (await world.ended(run.id or 0)).state is RunState.DONE


async def test_a_host_that_never_answers_is_given_up_at_the_limit(world: World) -> None:
    patience = Patience(first=0.05, longest=0.1, give_up_after=0.6)
    desk = started(world, TriageConfig(patience=patience))
    assert world.fleet is not None
    host = any_host(world)
    panic_id, incident_id = await world.crash(host, "null-deref")
    await world.fleet.power_off(host)
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    ended = await world.ended(run.id or 0)
    assert ended.state is RunState.FAILED
    assert "gave up after" in ended.note
    assert ended.finished_at is not None
    assert ended.give_up_at is not None
    assert ended.finished_at >= ended.give_up_at
    incident = await world.db.read(lambda s: s.get_one(Incident, incident_id))
    assert incident.runbook_done_at is None


async def test_an_unknown_host_key_is_no_reason_to_wait(world: World) -> None:
    desk = started(world)
    panic_id, _ = await world.crash(any_host(world), "null-deref")
    (world.folder / "known_hosts").write_text("")
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    ended = await world.ended(run.id or 0)
    assert ended.state is RunState.FAILED
    assert "SHA256:" in ended.note
    assert ended.attempts == 0
    refused = await world.audit("host.connect")
    assert [a.outcome for a in refused] == ["refused"]
    told = await drawn(world, run.id or 0)
    assert "SHA256:" in told
    # What an admin copies from the thread is whole: redaction leaves it alone.
    command = ended.note.split("on the bot's machine: ")[1].split(" . ")[0]
    assert escape(command) in (await world.db.read(lambda s: draw("triage_run", s, run.id or 0))).text  # type: ignore[union-attr]


async def test_a_host_that_goes_down_in_mid_run_is_waited_for_again(world: World) -> None:
    desk = started(world)
    assert world.fleet is not None
    host = any_host(world)
    panic_id, _ = await world.crash(host, "null-deref")
    run = await desk.begin(panic_id, "U0ONCALL", "request")

    async def begun() -> bool:
        return any(s.state not in ("waiting", "running") for s in (await world.steps(run.id or 0)).values())

    await until(begun)
    if (await world.run(run.id or 0)).finished_at is None:
        await world.fleet.power_off(host)
        await asyncio.sleep(0)
        await world.fleet.power_on(host)
    ended = await world.ended(run.id or 0)
    assert ended.state is RunState.DONE, ended.note
    assert all(s.state != "skipped" for s in (await world.steps(run.id or 0)).values())


async def test_a_waiting_run_is_cancelled_and_another_may_begin(world: World) -> None:
    desk = started(world)
    assert world.fleet is not None
    host = any_host(world)
    panic_id, _ = await world.crash(host, "null-deref")
    await world.fleet.power_off(host)
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    with pytest.raises(AlreadyRunning) as running:
        await desk.begin(panic_id, "U0KERNEL", "another request")
    assert running.value.run_id == run.id
    same = await desk.begin(panic_id, "U0ONCALL", "request")
    assert same.id == run.id, "the same request worked on again finds its run"
    cancelled = await desk.cancel(panic_id, "U0KERNEL")
    assert [r.id for r in cancelled] == [run.id]
    assert (await world.run(run.id or 0)).state is RunState.CANCELLED
    assert "cancelled by <@U0KERNEL>" in await drawn(world, run.id or 0)
    with pytest.raises(NotFound):
        await desk.cancel(panic_id, "U0KERNEL")
    await world.fleet.power_on(host)
    again = await desk.begin(panic_id, "U0KERNEL", "a third request")
    assert (await world.ended(again.id or 0)).state is RunState.DONE
    assert (await world.run(run.id or 0)).state is RunState.CANCELLED


async def test_a_running_command_ends_when_the_run_is_cancelled(world: World) -> None:
    fleet = await make_fleet(world.folder / "slow", answer_seconds=120)  # longer than anything here waits
    slow = await make_world(world.folder / "slow", fleet)
    try:
        desk = started(slow)
        panic_id, _ = await slow.crash(any_host(slow), "null-deref")
        run = await desk.begin(panic_id, "U0ONCALL", "request")

        async def at_work() -> bool:
            return (await slow.steps(run.id or 0))["dump"].state == "running"

        await until(at_work)
        await desk.cancel(panic_id, "U0ONCALL")

        async def let_go() -> bool:
            return (run.id or 0) not in slow.visits._open

        await until(let_go)
        assert (await slow.run(run.id or 0)).state is RunState.CANCELLED
    finally:
        await close_world(slow)
        await fleet.stop()


async def test_people_ask_by_word_by_button_and_in_the_thread(world: World) -> None:
    desk = started(world)
    router = Router(world.db, world.context.access)
    register(router, desk)
    host = any_host(world)
    panic_id, _ = await world.crash(host, "null-deref")
    assert world.fleet is not None
    await world.fleet.power_off(host)  # the run waits until it was asked for twice
    await router.command_line(world.ask(text=f"triage P-{panic_id}"))
    assert "is under way" in world.replies[-1][0]
    await router.click("triage.run", world.ask(value=f"P-{panic_id}"))
    assert "under way already" in world.replies[-1][0]
    assert f"cancel P-{panic_id}" in world.replies[-1][0]
    await world.fleet.power_on(host)
    await world.ended(1)
    thread_ask = world.ask(text="triage", thread_ts="1.000001")
    await router.command_line(thread_ask, spoken="@panicroom")
    await world.ended(2)
    await router.click("triage.raw", world.ask(value=f"P-{panic_id}/2"))
    text = str(world.replies[-1][1])
    assert "uname -a" in text
    assert "6.1.0-56-cloud-amd64" in text
    assert len(world.replies[-1][1]) <= 50
    for block in world.replies[-1][1]:
        assert len(block.get("text", {}).get("text", "")) <= 3000
    await router.click("triage.raw", world.ask(value="nonsense"))
    assert "lost its run" in world.replies[-1][0]
    await router.command_line(world.ask(text=f"cancel P-{panic_id}"))
    assert "nothing is under way" in world.replies[-1][0]
    assert router.verbs["triage"].role is Role.RESPONDER


async def test_the_message_is_one_and_is_redrawn(world: World) -> None:
    desk = started(world)
    panic_id, incident_id = await world.crash(any_host(world), "null-deref")
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    await world.ended(run.id or 0)

    def ours(s: Any) -> list[SlackMessage]:
        return list(s.exec(select(SlackMessage).where(SlackMessage.renderer == "triage_run")))

    (message,) = await world.db.read(ours)
    assert message.incident_id == incident_id
    assert message.subject_id == run.id
    assert message.wanted > 6
    assert world.woken > 6


async def test_a_host_whose_name_is_an_attack_is_never_connected_to(world: World) -> None:
    desk = started(world)
    panic_id, _ = await world.panic("-oProxyCommand=touch${IFS}x <!channel>")
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    ended = await world.ended(run.id or 0)
    assert ended.state is RunState.FAILED
    assert "cannot be the address" in ended.note
    assert "<!channel>" not in await drawn(world, run.id or 0)


async def test_a_pattern_of_the_inventory_says_how_a_host_is_reached(world: World) -> None:
    pattern = HostEntry(name="app-*", user="ops", jump="bastion:2222", port=2022)
    other = await make_world(world.folder / "other", None, hosts=(pattern,))
    try:
        host = other.visits.host_of(Panic(host="app-3", occurred_at=None, title="", signature_key=""))
        assert (host.target, host.port, host.user, host.jump) == ("app-3", 2022, "ops", "bastion:2222")
    finally:
        await other.visits.close()
        other.db.close()


@pytest.mark.parametrize(
    ("os_id", "asked", "not_asked"),
    [
        (
            "rocky",
            [
                "rpm -qa",
                "dnf -q -C history list",
                "systemctl status kdump --",
                "kdumpctl showmem",
                "kernel*debuginfo*",
            ],
            ["dpkg", "apt"],
        ),
        (
            "sles",
            ["rpm -qa", "rpm -q -a", "/var/log/zypp/history", "systemctl status kdump --"],
            ["dpkg", "dnf", "kdump-config"],
        ),
        ("ubuntu", ["dpkg -l", "/var/log/apt/history.log", "status kdump-tools"], ["rpm", "dnf", "zypp"]),
        ("arch", ["uname -a"], ["rpm", "dnf", "zypp", "dpkg", "apt"]),
    ],
)
async def test_each_family_is_asked_in_its_own_words(
    stage: Callable[..., Awaitable[Stage]], tmp_path: Path, os_id: str, asked: list[str], not_asked: list[str]
) -> None:
    heard: list[str] = []

    async def answer(process: asyncssh.SSHServerProcess[bytes]) -> None:
        heard.append(process.command or "")
        process.stdout.write(f"ID={os_id}\nPRETTY_NAME=x\n".encode() if "os-release" in heard[-1] else b"")
        process.exit(0)

    there = await stage(answer)
    host = HostEntry(name="stage", address="127.0.0.1", port=there.port)
    world = await make_world(tmp_path / "bot", None, hosts=(host,), ssh=there.config)
    try:
        desk = started(world)
        panic_id, _ = await world.panic("stage")
        run = await desk.begin(panic_id, "U0ONCALL", "request")
        assert (await world.ended(run.id or 0)).state is RunState.DONE
        everything = "\n".join(heard)
        for word in asked:
            assert word in everything
        for word in not_asked:
            assert word not in everything
    finally:
        await close_world(world)


async def test_a_refused_key_is_waited_for_while_the_host_may_still_boot(
    stage: Callable[..., Awaitable[Stage]], tmp_path: Path
) -> None:
    """pam_nologin refuses everyone but root until the boot is over; after a few tries it is a refusal."""
    stranger = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    there = await stage(None, authorized_client_keys=asyncssh.import_authorized_keys(stranger))
    host = HostEntry(name="stage", address="127.0.0.1", port=there.port)
    world = await make_world(tmp_path / "bot", None, hosts=(host,), ssh=there.config)
    try:
        patience = Patience(first=0.02, longest=0.05, give_up_after=30, refusals=4)
        desk = started(world, TriageConfig(patience=patience))
        panic_id, _ = await world.panic("stage")
        run = await desk.begin(panic_id, "U0ONCALL", "request")
        ended = await world.ended(run.id or 0)
        assert ended.state is RunState.FAILED
        assert ended.attempts == 3
        assert "refused" in ended.note
    finally:
        await close_world(world)


@pytest.mark.parametrize("there", [True, False])
async def test_ethtool_is_asked_about_real_interfaces_only_and_its_absence_is_told(
    stage: Callable[..., Awaitable[Stage]], tmp_path: Path, there: bool
) -> None:
    heard: list[str] = []

    async def answer(process: asyncssh.SSHServerProcess[bytes]) -> None:
        command = process.command or ""
        heard.append(command)
        if "ethtool" in command and not there:
            process.exit(127)
            return
        answers = {
            "cat /etc/os-release": "ID=rocky\nPRETTY_NAME=x\n",
            "ls /sys/class/net": "br-1\ndocker0\neth0\neth1\n;reboot\n$(id)\nlo\nvethab\n",
            "lsmod": "Module Size Used by\nixgbe 1 0\n",
            "/usr/sbin/ethtool -i eth0": "driver: ixgbe\nversion: 5.14.0\nfirmware-version: 0x800009fa\nbus-info: x\n",
            "/usr/sbin/ethtool -i eth1": "driver: tg3\nversion: \nfirmware-version: FFV20.2\n",
        }
        process.stdout.write(answers.get(command, "").encode())
        process.exit(0)

    host_there = await stage(answer)
    host = HostEntry(name="stage", address="127.0.0.1", port=host_there.port)
    world = await make_world(tmp_path / "bot", None, hosts=(host,), ssh=host_there.config)
    try:
        desk = started(world)
        panic_id, _ = await world.panic("stage")
        run = await desk.begin(panic_id, "U0ONCALL", "request")
        assert (await world.ended(run.id or 0)).state is RunState.DONE
        said = (await world.steps(run.id or 0))["recent"].summary
        asked = sorted(h for h in heard if "ethtool" in h)
        assert asked == ["/usr/sbin/ethtool -i eth0", "/usr/sbin/ethtool -i eth1"]
        if there:
            assert "ixgbe 5.14.0, firmware 0x800009fa (eth0); tg3, firmware FFV20.2 (eth1)" in said
        else:
            assert "NIC driver ixgbe (version and firmware unknown: there is no ethtool on the host)" in said
    finally:
        await close_world(world)


async def test_a_cancel_that_is_worked_on_again_cancels_no_later_run(world: World) -> None:
    """The process died between the cancel and its answer; meanwhile somebody began anew."""
    desk = started(world)
    assert world.fleet is not None
    host = any_host(world)
    panic_id, _ = await world.crash(host, "null-deref")
    await world.fleet.power_off(host)
    await world.db.write(lambda s: s.add(SlackRequest(dedupe="cancel-1", kind="command", body="{}")))
    first = await desk.begin(panic_id, "U0ONCALL", "one")
    assert [r.id for r in await desk.cancel(panic_id, "U0ONCALL", request_id="cancel-1")] == [first.id]
    second = await desk.begin(panic_id, "U0ONCALL", "two")
    assert [r.id for r in await desk.cancel(panic_id, "U0ONCALL", request_id="cancel-1")] == [first.id]
    assert (await world.run(second.id or 0)).state is not RunState.CANCELLED
    await desk.cancel(panic_id, "U0ONCALL")


async def test_tickets_of_the_whole_incident_are_told(world: World) -> None:
    desk = started(world)
    host = any_host(world)
    panic_id, incident_id = await world.crash(host, "oom")
    other, _ = await world.panic("db-3", incident_id=incident_id)
    elsewhere, _ = await world.panic("db-4")

    def link(s: Any) -> None:
        for panic, key in ((other, "OPS-7"), (panic_id, "OPS-7"), (other, "OPS-8"), (elsewhere, "OPS-9")):
            s.add(ChangeLink(panic_id=panic, key=key, linked_by="U0ONCALL", state="linked"))

    await world.db.write(link)
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    await world.ended(run.id or 0)
    assert "panic: OPS-7, OPS-8" in (await world.steps(run.id or 0))["recent"].summary
