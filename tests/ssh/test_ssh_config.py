"""An ssh_config file: what it says is followed, what it would run is refused, and each way is taken for real."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.ssh import (
    BadAddress,
    HostKeyUnknown,
    SshClient,
    SshConfig,
    SshConfigRefused,
    SshError,
    SshHost,
    route_to,
)
from integrations.ssh.ssh_config import SshConfigFile
from tests.ssh.conftest import Sshd, public

Clients = Callable[[SshConfig], SshClient]

FLEET = """
# as on an admin's desk
Host web
    HostName 10.0.0.17
    Port 2222
    User ops
    IdentityFile /keys/web
    CertificateFile /keys/web-cert.pub
    UserKnownHostsFile /keys/known /keys/known2
    HostKeyAlias web-farm
Host db-*
    HostName %h.example.org
    ProxyJump edge
Host edge
    HostName edge.example.org
    Port 2200
    ProxyJump relay@outer:2022
Host six
    HostName 2001:db8::6
Host direct
    ProxyJump none
Match host 2001:db8::6
    User six
Host *
    User anybody
"""


def config(tmp_path: Path, text: str, **values: object) -> SshConfig:
    path = tmp_path / "ssh_config"
    path.write_text(text)
    return SshConfig(config_file=path, **values)  # type: ignore[arg-type]


def test_an_alias_has_its_address_port_user_keys_and_names(tmp_path: Path) -> None:
    (hop,) = route_to(SshHost("web"), config(tmp_path, FLEET))
    assert (hop.address, hop.port, hop.user) == ("10.0.0.17", 2222, "ops")
    assert [str(p) for p in hop.key_files] == ["/keys/web"]
    assert str(hop.certificate) == "/keys/web-cert.pub"
    assert [str(p) for p in hop.known_hosts] == ["/keys/known", "/keys/known2"]
    assert hop.trusted_as == (("web-farm",), 22)


def test_jump_hosts_are_looked_up_too(tmp_path: Path) -> None:
    way = route_to(SshHost("db-3"), config(tmp_path, FLEET))
    assert [(h.user, h.address, h.port) for h in way] == [
        ("relay", "outer", 2022),
        ("anybody", "edge.example.org", 2200),
        ("anybody", "db-3.example.org", 22),
    ]
    assert route_to(SshHost("six"), config(tmp_path, FLEET))[-1].user == "six"


def test_the_inventory_comes_first_then_the_file_then_the_section(tmp_path: Path) -> None:
    given = config(tmp_path, FLEET, user="triage", jump="bastion", key_file=tmp_path / "key")
    (hop,) = route_to(SshHost("web", "192.0.2.1", 22, "root", ""), given)
    assert (hop.address, hop.port, hop.user) == ("192.0.2.1", 22, "root")
    assert [h.name for h in route_to(SshHost("web"), given)] == ["bastion", "web"]
    assert [h.name for h in route_to(SshHost("direct"), given)] == ["direct"]
    assert [h.name for h in route_to(SshHost("db-1"), given)] == ["outer", "edge", "db-1"]
    (_, other) = route_to(SshHost("other"), given)
    assert (other.user, other.key_files) == ("anybody", (tmp_path / "key",))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Match exec \"touch {0}\"\n  User x\n", "`Match exec` runs a command"),
        ("Match host web exec \"touch {0}\"\n", "`Match exec` runs a command"),
        ("match !exec=touch\n", "`Match exec` runs a command"),
        ("Host *\n  ProxyCommand touch {0}; nc %h %p\n", "use ProxyJump"),
        ("Include ~/.ssh/more\n", "line 1: Include is not followed"),
        ("Host *\n KnownHostsCommand /bin/anything %H\n", "line 2: KnownHostsCommand is not followed"),
        ("RevokedHostKeys=/etc/ssh/revoked\n", "@revoked"),
        ("Host web\n  ProxyJump web\n", "circle"),
        ("Host web\n  ProxyJump a\nHost a\n  ProxyJump web\n", "circle"),
        ("Host web\n  Port 99999\n", "does not exist"),
        ("Host web\n  User -oProxyCommand=id\n", "cannot be a user"),
        ("Host web\n  UserKnownHostsFile ~/.ssh/%h\n", "plain paths"),
        ("nonsense\n", "cannot be read"),
    ],
)  # fmt: skip
def test_what_would_run_or_change_whom_we_trust_is_refused_and_nothing_runs(
    tmp_path: Path, text: str, complaint: str
) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(SshConfigRefused, match=complaint) as refused:
        route_to(SshHost("web"), config(tmp_path, text.replace("{0}", str(mark))))
    assert refused.value.permanent
    assert not mark.exists()


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SshConfigRefused, match="No such file"):
        route_to(SshHost("web"), SshConfig(config_file=tmp_path / "missing"))
    with pytest.raises(BadAddress):
        route_to(SshHost("web"), config(tmp_path, "Host web\n  HostName -oProxyCommand=id\n"))


@settings(max_examples=50, deadline=None)
@given(
    st.text(alphabet="Host Match exec Proxy Jump=\"'\n\t %h!,*web-1[]:@", max_size=120), st.text(max_size=20)
)
def test_no_file_and_no_name_breaks_out(text: str, name: str) -> None:
    """Whatever stands there: an answer, or a refusal that is an SshError."""
    try:
        found = SshConfigFile(Path("f"), text).of(name or "x")
    except SshError:
        return
    assert found.port is None or 0 < found.port < 65536


@pytest.mark.parametrize(
    "address", ["::1", "2001:db8::", "fe80::1%eth0", "10.0.0.1", "web-17", "2001:db8::17", "a_b.example.org"]
)
def test_addresses_of_both_families_are_addresses(address: str) -> None:
    assert route_to(SshHost("x", address), SshConfig())[-1].address == address
    assert SshHost("x", "2001:db8::17", 2222).spoken == "x ([2001:db8::17]:2222)"


async def test_an_alias_leads_through_a_jump_host_and_is_believed_by_its_alias(
    start_sshd: Callable[..., Sshd], clients: Clients, tmp_path: Path
) -> None:
    bastion, inner = start_sshd(name="bastion"), start_sshd(name="inner")
    (bastion.folder / "authorized_keys").write_text(public(inner.folder / "client_key") + "\n")
    known = tmp_path / "known"
    known.write_text(f"edge {bastion.host_key}\n")
    user = inner.config().user
    text = f"""
Host edge
    HostName 127.0.0.1
    Port {bastion.port}
    HostKeyAlias edge
Host app
    HostName 127.0.0.1
    Port {inner.port}
    HostKeyAlias app-farm
    ProxyJump edge
Host *
    User {user}
    IdentityFile {inner.folder}/client_key
    UserKnownHostsFile {known}
"""
    given = config(tmp_path, text, user="nobody-else", known_hosts=tmp_path / "unused")
    with pytest.raises(HostKeyUnknown) as refused:
        await clients(given).open(SshHost("app"))
    command = str(refused.value).split("on the bot's machine: ")[1].split(" . ")[0]
    subprocess.run(["sh", "-c", command], check=True)
    assert f"app-farm {inner.host_key}" in known.read_text()
    async with clients(given).connect(SshHost("app")) as session:
        done = await session.run(["sh", "-c", "echo $SSH_CONNECTION"])
    assert done.text.split()[3] == str(inner.port)


async def test_a_host_is_reached_over_ipv6(start_sshd: Callable[..., Sshd], clients: Clients) -> None:
    there = start_sshd("ListenAddress [::1]:{port}", name="six")
    given = there.config()
    with pytest.raises(HostKeyUnknown, match=rf"six \(\[::1\]:{there.port}\)"):
        await clients(given).open(SshHost("six", "::1", there.port))
    with given.known_hosts.open("a") as known:
        known.write(f"[::1]:{there.port} {there.host_key}\n")
    async with clients(given).connect(SshHost("six", "::1", there.port)) as session:
        done = await session.run(["sh", "-c", "echo $SSH_CONNECTION"])
    assert done.text.split()[2] == "::1"
    # and an IPv6 machine as a jump host
    jumping = given.model_copy(update={"jump": f"{given.user}@[::1]:{there.port}"})
    async with clients(jumping).connect(there.host) as session:
        assert (await session.run(["true"])).ok
