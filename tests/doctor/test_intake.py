"""What `panicroom doctor` finds of netconsole's port and of Alertmanager's route."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.doctor_intake import alertmanager_findings, netconsole_findings
from bot.machine import Finding
from bot.settings import InventoryConfig, ServerConfig, Settings
from commands.intake.config import NetconsoleConfig
from commands.inventory import HostEntry
from integrations.inbound.alertmanager import AlertmanagerConfig

GOOD = "0123456789abcdef0123456789abcdef"
WEB = HostEntry(name="web-17", address="10.0.0.17")


def settings(*hosts: HostEntry, port: int = 0, server: int = 0, **netconsole: Any) -> Settings:
    values: dict[str, Any] = {"enabled": True, "listen": "127.0.0.1", "port": port, "receive_buffer": 65536}
    return Settings(
        netconsole=NetconsoleConfig(**{**values, **netconsole}),
        server=ServerConfig(port=server),
        hosts=hosts or (WEB,),
    )


def bad(findings: list[Finding]) -> list[Finding]:
    """All that is not in order; each says what to do."""
    wrong = [f for f in findings if f.verdict != "ok"]
    assert all(f.remedy for f in wrong), wrong
    return wrong


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder


# -- netconsole -------------------------------------------------------------------------------------------


async def test_netconsole_is_off_by_default() -> None:
    (found,) = await netconsole_findings(Settings())
    assert (found.verdict, "is off" in found.said) == ("ok", True)


async def test_a_port_that_can_be_opened_and_senders_that_are_known() -> None:
    port, buffer, senders = await netconsole_findings(settings())
    assert [f.verdict for f in (port, buffer, senders)] == ["ok"] * 3
    assert "127.0.0.1:0/udp can be opened" in port.said
    assert "1 hosts of the inventory" in senders.said


async def test_a_port_that_another_program_has(udp: socket.socket) -> None:
    found = bad(await netconsole_findings(settings(port=udp.getsockname()[1])))
    (port,) = [f for f in found if f.name == "netconsole"]
    assert port.verdict == "fail"
    assert "is taken by" in port.said
    assert "netconsole.port" in port.remedy


async def test_a_port_that_the_running_bot_has(udp: socket.socket) -> None:
    """The same process listens on the HTTP port as well."""
    with closing(socket.create_server(("127.0.0.1", 0))) as http:
        made = settings(port=udp.getsockname()[1], server=http.getsockname()[1])
        port = (await netconsole_findings(made))[0]
    assert (port.verdict, "the running bot has it" in port.said) == ("ok", True)


@pytest.mark.parametrize("listen", ["192.0.2.1", "no-such-host.invalid"])
async def test_an_address_that_is_not_this_machines(listen: str) -> None:
    found = bad(await netconsole_findings(settings(listen=listen)))
    (port,) = [f for f in found if f.name == "netconsole"]
    assert (port.verdict, "cannot be opened" in port.said) == ("fail", True)


async def test_a_receive_buffer_that_the_kernel_does_not_grant() -> None:
    most = int(Path("/proc/sys/net/core/rmem_max").read_text())
    asked = most + 65536
    if asked > 1024**3:
        pytest.skip(f"net.core.rmem_max is {most}: as much as can be asked is granted here")
    (buffer,) = bad(await netconsole_findings(settings(receive_buffer=asked)))
    assert (buffer.name, buffer.verdict) == ("netconsole buffer", "warn")
    assert f"sysctl -w net.core.rmem_max={asked}" in buffer.remedy


async def test_nobody_has_an_address() -> None:
    (senders,) = bad(await netconsole_findings(settings(HostEntry(name="web-*"))))
    assert senders.verdict == "fail"
    assert "patterns name no address" in senders.said
    assert bad(await netconsole_findings(settings(HostEntry(name="web-*"), allow_unknown=True))) == []


async def test_names_that_cannot_be_looked_up() -> None:
    hosts = (WEB, HostEntry(name="db-1", address="db-1.invalid"), HostEntry(name="here", address="localhost"))
    (senders,) = bad(await netconsole_findings(settings(*hosts)))
    assert (senders.verdict, "DNS does not know db-1:" in senders.said) == ("warn", True)
    (off,) = bad(await netconsole_findings(settings(*hosts, resolve=False)))
    assert "netconsole.resolve is off and no address is given for db-1, here" in off.said


async def test_a_network_that_stands_for_one_host_and_a_host_that_nobody_knows() -> None:
    wide, unknown = bad(await netconsole_findings(settings(sources={"10.1.0.0/16": "web-71"})))
    assert "takes 65536 addresses (10.1.0.0/16) for one host, web-71" in wide.said
    assert "names web-71, which the inventory does not know" in unknown.said
    assert (
        bad(await netconsole_findings(settings(sources={"10.1.0.0/24": "web-17", "2001:db8::/64": "web-17"})))
        == []
    )
    closed = settings(sources={"10.1.0.1": "web-71"}).model_copy(
        update={"inventory": InventoryConfig(closed=True)}
    )
    (unknown,) = bad(await netconsole_findings(closed))
    assert "quarantined" in unknown.said


# -- Alertmanager -----------------------------------------------------------------------------------------


def alertmanager(listen: str = "127.0.0.1", url: str | None = None, **config: Any) -> list[Finding]:
    server = ServerConfig(listen=listen, public_url=url)
    return alertmanager_findings(Settings(alertmanager=AlertmanagerConfig(**config), server=server))


def test_no_credentials_shut_the_route() -> None:
    (found,) = alertmanager()
    assert (found.verdict, "answers 404" in found.said) == ("ok", True)
    (found,) = bad(alertmanager(lag_minutes=20))
    assert found.verdict == "fail"
    assert "alertmanager.lag_minutes is set and no credentials are" in found.said


def test_a_token_on_this_machine_is_well() -> None:
    (found,) = alertmanager(bearer_token=SecretStr(GOOD))
    assert (found.verdict, found.said) == ("ok", "POST /v1/alertmanager takes a bearer token")


@pytest.mark.parametrize("weak", ["0123456789abcdef", "a" * 64])
def test_a_secret_that_can_be_guessed(weak: str) -> None:
    (found,) = bad(alertmanager(basic_password=SecretStr(weak)))
    assert f"alertmanager.basic_password has {len(weak)} characters" in found.said
    assert weak not in found.said


@pytest.mark.parametrize(
    ("listen", "url", "said"),
    [
        ("0.0.0.0", None, "no https:// server.public_url is set"),
        ("0.0.0.0", "https://panicroom.example.org", "whoever posts there and not at the https:// address"),
        ("127.0.0.1", "http://panicroom.example.org", "server.public_url is http://panicroom.example.org"),
        ("127.0.0.1", "https://panicroom.example.org", ""),
        ("::1", None, ""),
        ("localhost", "http://127.0.0.1:8080", ""),
        ("127.0.0.1", "http://[::1]:8080/x", ""),
    ],
)
def test_credentials_in_the_clear(listen: str, url: str | None, said: str) -> None:
    found = bad(alertmanager(listen, url, bearer_token=SecretStr(GOOD)))
    assert len(found) == (1 if said else 0), found
    assert not said or said in found[0].said
