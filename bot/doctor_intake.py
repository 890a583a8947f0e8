"""What `panicroom doctor` finds of the two ways in beside the reports: netconsole's UDP port, and Alertmanager."""

from __future__ import annotations

import asyncio
import errno
import socket
from ipaddress import ip_address, ip_network
from pathlib import Path

from bot.machine import Finding
from bot.settings import Settings
from commands.hosts.crashdump import size_words
from commands.intake.config import NetconsoleConfig
from commands.intake.senders import Senders
from integrations.inbound.alertmanager import AlertmanagerConfig

_LOOK_UP_SECONDS = 10.0
_LOOK_UPS = 16  # at a time
_NAMED = 5
_SHORT = 32  # characters of a secret that nobody is told to make longer
_DISTINCT = 10
_TCP_LISTEN, _UDP_UNCONNECTED = "0A", "07"  # states in /proc/net/tcp and /proc/net/udp


# -- netconsole -------------------------------------------------------------------------------------------


async def netconsole_findings(settings: Settings) -> list[Finding]:
    """Port, receive buffer and senders; nothing is received here."""
    config = settings.netconsole
    if not config.enabled:
        said = "is off: a crash is known once its host has booted and reports it, or is swept"
        return [Finding("netconsole", "ok", said)]
    findings = [
        await asyncio.to_thread(_port, settings),
        await asyncio.to_thread(_buffer, config),
    ]
    return findings + await _senders(settings)


def _port(settings: Settings) -> Finding:
    config = settings.netconsole
    shown = f"{config.listen}:{config.port}/udp"
    try:
        family, _, _, _, address = socket.getaddrinfo(
            config.listen, config.port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _taken(settings, shown)
        remedy = "Set netconsole.listen to an address of this machine and netconsole.port to a free port."
        if error.errno == errno.EACCES:
            remedy = "Ports below 1024 need CAP_NET_BIND_SERVICE: set netconsole.port to a higher one."
        return Finding("netconsole", "fail", f"{shown} cannot be opened: {error.strerror or error}", remedy)
    return Finding("netconsole", "ok", f"{shown} can be opened")


def _taken(settings: Settings, shown: str) -> Finding:
    """By the bot, which has the HTTP port as well, or by somebody else."""
    holders = _holders("udp", settings.netconsole.port, _UDP_UNCONNECTED)
    ours = holders & _holders("tcp", settings.server.port, _TCP_LISTEN)
    if ours:
        return Finding("netconsole", "ok", f"{shown} is open: the running bot has it (pid {min(ours)})")
    remedy = "Set netconsole.port to a free one, there and in the hosts' netconsole= parameter."
    if holders:
        pid = min(holders)
        said = f"{shown} is taken by {_program(pid)} (pid {pid}): no line of a dying kernel comes to the bot"
        return Finding("netconsole", "fail", said, f"End that program, or: {remedy}")
    said = f"{shown} is taken, and whose it is cannot be seen by this user"
    return Finding("netconsole", "warn", said, f"Fine when the bot is running; else: {remedy}")


def _holders(protocol: str, port: int, state: str) -> set[int]:
    """Processes that hold a socket on that port, as far as this user may see them."""
    inodes = set()
    for table in (protocol, f"{protocol}6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text("ascii", "replace").splitlines()[1:]
        except OSError:
            continue  # a machine without IPv6, or without /proc
        for line in lines:
            cells = line.split()
            if len(cells) > 9 and cells[3] == state and int(cells[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{cells[9]}]")
    return {pid for pid in _processes() if inodes & _sockets(pid)} if inodes else set()


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _sockets(pid: int) -> set[str]:
    found = set()
    try:
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            found.add(str(handle.readlink()))
    except OSError:
        return found  # another user's, or one that has just ended
    return found


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip() or "a program"
    except OSError:
        return "a program"


def _buffer(config: NetconsoleConfig) -> Finding:
    """What the kernel grants a socket like the bot's. It doubles what it is asked, for its own books."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, config.receive_buffer)
        granted = probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    asked = config.receive_buffer
    if granted >= asked:
        return Finding("netconsole buffer", "ok", f"{size_words(asked)} of receive buffer are granted")
    return Finding(
        "netconsole buffer",
        "warn",
        f"the kernel grants {size_words(granted)} of receive buffer, netconsole.receive_buffer asks "
        f"{size_words(asked)}: when many hosts die at once, lines are dropped before the bot can read them",
        f"sysctl -w net.core.rmem_max={asked}, and the same into /etc/sysctl.d/; then restart the bot.",
    )


async def _senders(settings: Settings) -> list[Finding]:
    config, inventory = settings.netconsole, settings.make_inventory()
    senders = Senders(inventory, config.sources)
    hosts = [entry for entry in inventory.entries if not entry.is_pattern]
    findings = _wide(config) + _strangers(settings)
    if not config.sources and not hosts:
        if config.allow_unknown:
            said = "every address is taken as a host of that name: netconsole.allow_unknown"
            return [*findings, Finding("netconsole senders", "ok", said)]
        patterns = " (patterns name no address)" if inventory.entries else ""
        return [
            *findings,
            Finding(
                "netconsole senders",
                "fail",
                f"no host has an address{patterns}: every line is counted as a stranger's and dropped",
                "Give [[hosts]] entries with `address`, or netconsole.sources, or set netconsole.allow_unknown.",
            ),
        ]
    missing = await _not_found(senders.names) if config.resolve else sorted(senders.names)
    if missing:
        names = ", ".join(missing[:_NAMED]) + (f" and {len(missing) - _NAMED} more" * (len(missing) > _NAMED))
        why = (
            "DNS does not know" if config.resolve else "netconsole.resolve is off and no address is given for"
        )
        findings.append(
            Finding(
                "netconsole senders",
                "warn",
                f"{why} {names}: their lines are a stranger's",
                "Give them an `address` in [[hosts]], or name them in netconsole.sources.",
            )
        )
        return findings
    counted = f"{len(hosts)} hosts of the inventory, {len(config.sources)} netconsole.sources"
    return [*findings, Finding("netconsole senders", "ok", f"{counted}: all have an address")]


def _wide(config: NetconsoleConfig) -> list[Finding]:
    """A network is one host: right for a host of many addresses, and hardly meant for a whole rack."""
    return [
        Finding(
            "netconsole senders",
            "warn",
            f"netconsole.sources takes {ip_network(written).num_addresses} addresses ({written}) for one host, {host}",
            "Name each sender by its own address, or give the hosts an `address` in [[hosts]].",
        )
        for written, host in config.sources.items()
        if ip_network(written).num_addresses > 1 and not _small(written)
    ]


def _small(written: str) -> bool:
    """Few enough addresses to be one machine's or one lab's: /24, and for IPv6 the /64 that a machine picks from."""
    network = ip_network(written)
    return network.prefixlen >= (24 if network.version == 4 else 64)


def _strangers(settings: Settings) -> list[Finding]:
    inventory = settings.make_inventory()
    named = dict.fromkeys(settings.netconsole.sources.values())
    unknown = [host for host in named if not inventory.knows(host)] if inventory.entries else []
    if not unknown:
        return []
    end = "their crashes are quarantined" if inventory.closed else "their crashes have no ring and no owner"
    return [
        Finding(
            "netconsole senders",
            "warn",
            f"netconsole.sources names {', '.join(unknown[:_NAMED])}, which the inventory does not know: {end}",
            "Correct the name, or add the host to [[hosts]].",
        )
    ]


async def _not_found(names: dict[str, str]) -> list[str]:
    """The hosts whose names cannot be looked up in time."""
    gate, loop = asyncio.Semaphore(_LOOK_UPS), asyncio.get_running_loop()
    missing = set(names)

    async def one(host: str, name: str) -> None:
        async with gate:
            try:
                await loop.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
            except (OSError, UnicodeError):
                return
        missing.discard(host)

    try:
        async with asyncio.timeout(_LOOK_UP_SECONDS):
            await asyncio.gather(*(one(host, name) for host, name in names.items()))
    except TimeoutError:
        return sorted(missing)
    return sorted(missing)


# -- Alertmanager -----------------------------------------------------------------------------------------


def alertmanager_findings(settings: Settings) -> list[Finding]:
    config = settings.alertmanager
    credentials = {"bearer_token", "basic_password"}
    if not config.enabled:
        written = sorted(config.model_fields_set - credentials)
        if not written:
            said = "no credentials are set: POST /v1/alertmanager answers 404"
            return [Finding("alertmanager", "ok", said)]
        said = f"alertmanager.{written[0]} is set and no credentials are: POST /v1/alertmanager answers 404"
        remedy = "Set alertmanager.bearer_token_file (`openssl rand -hex 32`) or basic_password_file."
        return [Finding("alertmanager", "fail", said, remedy)]
    ways = [
        name
        for name, secret in (
            ("a bearer token", config.bearer_token),
            (f"the password of {config.basic_user}", config.basic_password),
        )
        if secret.get_secret_value()
    ]
    findings = [Finding("alertmanager", "ok", f"POST /v1/alertmanager takes {' or '.join(ways)}")]
    return findings + _weak(config) + _in_the_clear(settings)


def _weak(config: AlertmanagerConfig) -> list[Finding]:
    findings = []
    for key, secret in (("bearer_token", config.bearer_token), ("basic_password", config.basic_password)):
        given = secret.get_secret_value()
        if given and (len(given) < _SHORT or len(set(given)) < _DISTINCT):
            said = f"alertmanager.{key} has {len(given)} characters, {len(set(given))} different ones"
            findings.append(
                Finding(
                    "alertmanager",
                    "warn",
                    f"{said}: who guesses it opens incidents and pages people",
                    "Make it by `openssl rand -hex 32`, here and in alertmanager.yml.",
                )
            )
    return findings


def _in_the_clear(settings: Settings) -> list[Finding]:
    """The bot speaks plain HTTP: TLS is a proxy's, which is on this machine or announced by an https address."""
    server, url = settings.server, settings.server.public_url or ""
    remedy = (
        "Put a proxy with TLS before it: server.listen = 127.0.0.1 and an https:// server.public_url, and that "
        "address into alertmanager.yml."
    )
    if url.startswith("http://") and not _is_local(url.removeprefix("http://").partition("/")[0]):
        said = f"server.public_url is {url}: the credentials go over the network in the clear"
        return [Finding("alertmanager", "warn", said, remedy)]
    if _is_local(server.listen):
        return []
    said = f"{server.listen}:{server.port} takes plain HTTP from the network"
    if url.startswith("https://"):
        said += ": whoever posts there and not at the https:// address sends the credentials in the clear"
        remedy = (
            "Set server.listen to 127.0.0.1 where the proxy is on this machine; else let only the proxy in."
        )
    else:
        said += ", and no https:// server.public_url is set: the credentials go there in the clear"
    return [Finding("alertmanager", "warn", said, remedy)]


def _is_local(address: str) -> bool:
    """`127.0.0.1`, `[::1]:8080`, `localhost`: with or without a port."""
    name = address.partition("]")[0].lstrip("[") if address.startswith("[") else address
    if name.count(":") == 1:
        name = name.partition(":")[0]
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"
