from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh
import paramiko
import pytest

from bot.demo.hosts import (
    DEMO_HOSTS,
    Fleet,
    FleetError,
    HostNotUp,
    ReportRefused,
    UnknownCase,
    UnknownHost,
    client_key,
)
from bot.demo.hosts.inventory import HostSpec
from bot.demo.hosts.sshd import reserve

from .conftest import SECRET, Inbox

HELPER = "sudo -n /usr/local/sbin/panicroom-host"
SMALL = tuple(spec for spec in DEMO_HOSTS if spec.name in {"web-17", "db-3", "edge-1"})


def place(fleet: Fleet, name: str) -> tuple[str, int]:
    host = next(h for h in fleet.inventory() if h["name"] == name)
    return host["address"], host["port"]


def connect(fleet: Fleet, name: str, key: Path, known: Path, user: str = "triage") -> paramiko.SSHClient:
    known.write_text(fleet.known_hosts())
    client = paramiko.SSHClient()
    client.load_host_keys(str(known))
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    address, port = place(fleet, name)
    try:
        client.connect(
            address,
            port=port,
            username=user,
            key_filename=str(key),
            allow_agent=False,
            look_for_keys=False,
            timeout=10,
        )
    except BaseException:
        client.close()
        raise
    return client


def run(client: paramiko.SSHClient, command: str) -> tuple[int, bytes, bytes]:
    _, out, err = client.exec_command(command, timeout=10)
    stdout, stderr = out.read(), err.read()
    return out.channel.recv_exit_status(), stdout, stderr


async def test_paramiko_runs_commands_on_a_host_that_panicked(
    fleets: Callable[..., Fleet], tmp_path: Path, inbox: Inbox
) -> None:
    fleet = fleets(specs=SMALL, report_url=inbox.url, secret=SECRET)
    await fleet.start()
    told = await fleet.panic("web-17")
    assert told["state"] == "rebooting"
    assert (await fleet.reported("web-17")) == {"report_id": "R-1", "status": "accepted"}
    body = inbox.accepted[0]
    assert body["occurred_at"] == told["crashed_at"]

    def session() -> None:
        with connect(fleet, "web-17", tmp_path / "client_key", tmp_path / "known_hosts") as client:
            status, out, err = run(client, "uname -a")
            assert (status, out[:13], err) == (0, b"Linux web-17 ", b"")
            status, out, _ = run(client, f"{HELPER} list")
            stamp = body["crash_dir"].rsplit("/")[-1]
            assert f"{stamp}/dmesg.{stamp}\tf\t".encode() in out
            status, out, _ = run(client, f"{HELPER} read {stamp}/dmesg.{stamp}")
            assert (status, out.decode()) == (0, body["text"])
            assert len(out) > 35_000
            assert run(client, "cat /proc/sys/kernel/random/boot_id")[1].decode().strip() == body["boot_id"]
            assert run(client, "vi")[0] == 127

    await asyncio.to_thread(session)


async def test_only_triage_with_its_key_and_only_exec(fleets: Callable[..., Fleet], tmp_path: Path) -> None:
    fleet = fleets(specs=SMALL)
    await fleet.start()
    client_key(tmp_path / "other_key")

    def attempts() -> None:
        key, known = tmp_path / "client_key", tmp_path / "known_hosts"
        for wrong_key, user in ((tmp_path / "other_key", "triage"), (key, "root")):
            with pytest.raises(paramiko.AuthenticationException):
                connect(fleet, "web-17", wrong_key, known, user)
        with connect(fleet, "web-17", key, known) as client:
            with pytest.raises(paramiko.SSHException):
                client.invoke_shell()
            with pytest.raises((paramiko.SSHException, EOFError)):
                client.open_sftp()
            transport = client.get_transport()
            assert transport is not None
            with pytest.raises(paramiko.ChannelException):
                transport.open_channel("direct-tcpip", ("127.0.0.1", 9), ("127.0.0.1", 9))

    await asyncio.to_thread(attempts)


async def test_a_down_host_refuses_connections_keeps_its_port_and_drops_open_ones(
    fleets: Callable[..., Fleet], tmp_path: Path
) -> None:
    comes_back = asyncio.Event()

    async def until_told(seconds: float) -> None:
        await comes_back.wait()

    states: list[list[str]] = []
    fleet = fleets(
        specs=SMALL, sleep=until_told, on_change=lambda hosts: states.append([h["state"] for h in hosts])
    )
    await fleet.start()
    address, port = place(fleet, "web-17")
    client = await asyncio.to_thread(
        connect, fleet, "web-17", tmp_path / "client_key", tmp_path / "known_hosts"
    )
    await fleet.panic("web-17")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(address, port)
    with socket.socket() as taker, pytest.raises(OSError, match="in use"):
        taker.bind((address, port))
    with pytest.raises((paramiko.SSHException, EOFError, OSError)):
        await asyncio.to_thread(run, client, "uname -a")
    client.close()
    with pytest.raises(HostNotUp, match="rebooting"):
        await fleet.panic("web-17")
    comes_back.set()
    await fleet.reported("web-17")
    assert place(fleet, "web-17") == (address, port)
    again = await asyncio.to_thread(
        connect, fleet, "web-17", tmp_path / "client_key", tmp_path / "known_hosts"
    )
    again.close()
    assert [row[0] for row in states] == ["up", "rebooting", "up"]


async def test_a_wrong_clock_is_corrected_by_the_servers_time(
    fleets: Callable[..., Fleet], inbox: Inbox
) -> None:
    inbox.ahead = 7200
    fleet = fleets(specs=SMALL, report_url=inbox.url, secret=SECRET)
    await fleet.start()
    await fleet.panic("db-3")
    assert (await fleet.reported("db-3"))["status"] == "accepted"
    assert inbox.calls == 2


async def test_a_report_is_repeated_until_it_is_accepted(fleets: Callable[..., Fleet], inbox: Inbox) -> None:
    waits: list[float] = []

    async def count(seconds: float) -> None:
        waits.append(seconds)

    inbox.answers = [(500, {}), (503, {}), (429, {}), (401, {"error": "bad_signature"})]
    fleet = fleets(specs=SMALL, report_url=inbox.url, secret=SECRET, sleep=count)
    await fleet.start()
    await fleet.panic("db-3")
    assert (await fleet.reported("db-3"))["report_id"] == "R-1"
    assert waits == [0.05, 0.5, 1.0, 2.0, 4.0]


async def test_a_refusal_for_good_is_told_and_not_repeated(
    fleets: Callable[..., Fleet], inbox: Inbox
) -> None:
    inbox.answers = [(422, {"error": "bad", "field": "host", "message": "host is unknown"})]
    fleet = fleets(specs=SMALL, report_url=inbox.url, secret=SECRET)
    await fleet.start()
    await fleet.panic("db-3")
    with pytest.raises(ReportRefused, match="host is unknown"):
        await fleet.reported("db-3")
    assert inbox.calls == 1


async def test_a_host_with_its_own_secret_says_who_it_is(fleets: Callable[..., Fleet], inbox: Inbox) -> None:
    inbox.secrets = {"edge-1": "its own"}
    fleet = fleets(specs=SMALL, report_url=inbox.url, secret="not this", host_secrets={"edge-1": "its own"})
    await fleet.start()
    await fleet.panic("edge-1")
    assert (await fleet.reported("edge-1"))["status"] == "accepted"
    assert inbox.accepted[0]["source"] == "pstore"


async def test_a_second_start_knows_its_past_and_sends_what_was_not_told(
    fleets: Callable[..., Fleet], inbox: Inbox
) -> None:
    dead = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    nowhere = f"http://127.0.0.1:{dead.sockets[0].getsockname()[1]}/v1/panics"
    first = fleets(specs=SMALL, report_url=nowhere, secret=SECRET)
    await first.start()
    await first.panic("web-17", "oom")
    while first.instance("web-17").crashed_at is None:
        await asyncio.sleep(0)
    crashed, keys = first.instance("web-17"), [line.split()[2] for line in first.known_hosts().splitlines()]
    await first.panic("db-3")
    await first.stop()
    dead.close()
    second = fleets(specs=SMALL, report_url=inbox.url, secret=SECRET)
    await second.start()
    await asyncio.gather(second.reported("web-17"), second.reported("db-3"))
    assert second.instance("web-17") == crashed
    assert {body["host"] for body in inbox.accepted} == {"web-17", "db-3"}
    assert [line.split()[2] for line in second.known_hosts().splitlines()] == keys
    assert {h["name"]: (h["panics"], h["case"]) for h in second.hosts()}["web-17"] == (1, "oom")
    third = fleets(specs=SMALL, report_url=inbox.url, secret=SECRET)
    await second.stop()
    await third.start()
    await third.reported("web-17")
    assert len(inbox.accepted) == 2


async def test_any_host_means_one_that_is_up(fleets: Callable[..., Fleet]) -> None:
    never = asyncio.Event()

    async def forever(seconds: float) -> None:
        await never.wait()

    fleet = fleets(specs=SMALL, sleep=forever)
    await fleet.start()
    assert {(await fleet.panic())["host"] for _ in SMALL} == {spec.name for spec in SMALL}
    with pytest.raises(HostNotUp):
        await fleet.panic()
    with pytest.raises(UnknownHost):
        await fleet.panic("no-such")
    with pytest.raises(UnknownCase):
        await fleet.panic("web-17", "no-such")


async def test_a_host_taken_off_the_network_comes_back_as_the_same_boot(fleets: Callable[..., Fleet]) -> None:
    fleet = fleets(specs=SMALL)
    await fleet.start()
    boot = fleet.instance("db-3").boot_id()
    await fleet.power_off("db-3")
    assert next(h["state"] for h in fleet.hosts() if h["name"] == "db-3") == "down"
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*place(fleet, "db-3"))
    await fleet.power_on("db-3")
    _, writer = await asyncio.open_connection(*place(fleet, "db-3"))
    writer.close()
    assert fleet.instance("db-3").boot_id() == boot


async def test_a_taken_port_is_passed_over(fleets: Callable[..., Fleet]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        base = taken.getsockname()[1]
        fleet = fleets(specs=SMALL, port_base=base)
        await fleet.start()
        ports = [host["port"] for host in fleet.inventory()]
        assert base not in ports
        assert len(set(ports)) == len(SMALL)


async def test_the_whole_demo_fleet_starts_and_asyncssh_reads_its_known_hosts(
    fleets: Callable[..., Fleet], tmp_path: Path
) -> None:
    fleet = fleets()
    await fleet.start()
    assert len(fleet.inventory()) >= 12
    assert {h["ring"] for h in fleet.inventory()} == {"prod-1", "prod-2", "canary"}
    assert len({h["case"] for h in fleet.hosts()}) == 7
    known = tmp_path / "known"
    known.write_text(fleet.known_hosts())
    for name in ("web-17", "canary-2"):
        address, port = place(fleet, name)
        async with asyncssh.connect(
            address,
            port,
            username="triage",
            client_keys=[str(tmp_path / "client_key")],
            known_hosts=str(known),
        ) as connection:
            done: Any = await connection.run("journalctl --list-boots --no-pager")
            assert done.exit_status == 0
            assert done.stdout.count("\n") == 2


def test_ports_that_can_not_be_had_are_said() -> None:
    def never(port: int) -> Any:
        raise OSError(98, "Address already in use")

    with pytest.raises(Exception, match=r"ssh-port-base.*tried 5000 to 5199"):
        reserve(never, 5000)


def test_inventory_names_are_unique() -> None:
    assert len({spec.name for spec in DEMO_HOSTS}) == len(DEMO_HOSTS)
    assert all(isinstance(spec, HostSpec) and spec.owner for spec in DEMO_HOSTS)


async def test_a_panic_before_the_last_one_was_told_loses_neither(
    fleets: Callable[..., Fleet], inbox: Inbox
) -> None:
    may_go_on = asyncio.Event()

    async def pause(seconds: float) -> None:
        if seconds > 0.1:
            await may_go_on.wait()

    inbox.answers = [(503, {})]
    fleet = fleets(specs=SMALL, report_url=inbox.url, secret=SECRET, sleep=pause)
    await fleet.start()
    await fleet.panic("db-3")
    while not inbox.calls:
        await asyncio.sleep(0)
    await fleet.panic("db-3", "nmi")
    may_go_on.set()
    await fleet.reported("db-3")
    assert len({body["id"] for body in inbox.accepted}) == 2
    assert inbox.accepted[0]["occurred_at"] < inbox.accepted[1]["occurred_at"]


async def test_a_history_that_cannot_be_read_says_what_to_do(
    fleets: Callable[..., Fleet], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "hosts.json").write_text('{"since": 1')
    with pytest.raises(FleetError, match=r"remove the file.*hosts\.json"):
        await fleets(specs=SMALL).start()


async def test_work_that_fails_is_told_to_who_waits(fleets: Callable[..., Fleet]) -> None:
    async def broken(seconds: float) -> None:
        raise RuntimeError("no clock")

    fleet = fleets(specs=SMALL, sleep=broken)
    await fleet.start()
    await fleet.panic("db-3")
    with pytest.raises(FleetError, match="no clock"):
        await fleet.reported("db-3")
