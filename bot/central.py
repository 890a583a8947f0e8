"""The central store as the settings describe it: made for the bot, and tried by `panicroom doctor`."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import paramiko

from bot.machine import Finding
from bot.settings import Settings
from commands.context import Context
from commands.copies.config import CentralConfig
from commands.copies.desk import CopyDesk
from commands.hosts.crashdump import size_words
from commands.hosts.visits import Visits
from integrations.ssh import SshConfig, SshError, SshHost
from integrations.ssh.connection import Connection, open_connection
from integrations.stores import (
    CentralStore,
    S3Access,
    SftpAddress,
    SftpLink,
    StoreError,
    StoreRefused,
    StoreUnreachable,
)

_LOW = 10  # a store should hold this many times `keep_free`


@dataclass(frozen=True)
class _Link:
    """A session of SFTP over a connection of our own, whose host key was verified as any host's is."""

    connection: Connection
    client: paramiko.SFTPClient

    def close(self) -> None:
        self.client.close()
        self.connection.close()


def make_store(config: CentralConfig, ssh: SshConfig) -> CentralStore | None:
    """None where no store is set."""
    if config.url is None:
        return None
    secret = config.secret_key.get_secret_value() if config.secret_key is not None else None
    access = S3Access(config.endpoint, config.region, config.access_key, secret)
    return CentralStore(config.url, sftp=lambda address: _connect(address, ssh), s3=access)


def make_copies(
    context: Context,
    visits: Visits,
    settings: Settings,
    collect: Callable[[int, str, str], Awaitable[Any]] | None = None,
) -> CopyDesk:
    store = make_store(settings.central, settings.ssh)
    return CopyDesk(context, visits, store, settings.central, collect=collect)


def _connect(address: SftpAddress, ssh: SshConfig) -> SftpLink:
    host = SshHost(address.host, address.host, address.port, address.user)
    try:
        connection = open_connection(host, ssh)
    except SshError as error:
        kind = StoreRefused if error.permanent else StoreUnreachable
        raise kind(f"{host.spoken}: {error}") from error
    try:
        client = paramiko.SFTPClient.from_transport(connection.transport)
    except (paramiko.SSHException, EOFError, OSError) as error:
        connection.close()
        raise StoreRefused(f"{host.spoken} gives no SFTP ({error}).") from error
    if client is None:
        connection.close()
        raise StoreRefused(f"{host.spoken} gives no SFTP.")
    return _Link(connection, client)


async def central_findings(settings: Settings) -> list[Finding]:
    """What a copy needs of the store, tried: reached, written, read back, replaced, removed; room and who may look."""
    config = settings.central
    store = make_store(config, settings.ssh)
    if store is None:
        return [Finding("central store", "ok", "none is set: no dump is copied")]
    try:
        found = await asyncio.to_thread(store.probe)
    except StoreError as error:
        return [Finding("central store", "fail", str(error)[:400], _REMEDIES[store.kind])]
    said = f"{config.url} can be written and read"
    findings = [Finding("central store", "ok", f"{said}; {_trust(store.kind, config)}")]
    if found.mode is not None and found.mode & (stat.S_IROTH | stat.S_IXOTH | stat.S_IWOTH):
        findings.append(
            Finding(
                "central store",
                "fail" if found.mode & stat.S_IWOTH else "warn",
                f"the directory's mode is {found.mode:04o}: everybody on this machine can look into it",
                "chmod 0750 it: dumps hold the memory of hosts, with all that was in it.",
            )
        )
    if not found.removes:
        findings.append(
            Finding(
                "central store",
                "warn",
                "what the bot wrote there it could not remove: a small panicroom-doctor-… stays",
                "Fine for a write-once store; then its own lifecycle must end what was cancelled and is past its term.",
            )
        )
    findings += _room(found.free, config)
    return findings


def _room(free: int | None, config: CentralConfig) -> list[Finding]:
    if free is None:
        return [Finding("central room", "ok", "the store does not say how much room it has")]
    said = f"{size_words(free)} free, {size_words(config.keep_free)} of them are kept so"
    if free <= config.keep_free:
        return [Finding("central room", "fail", said, "No dump fits: make room, or lower central.keep_free.")]
    if free < _LOW * config.keep_free:
        return [Finding("central room", "warn", said, "Make room: dumps are as big as the memory in use.")]
    return [Finding("central room", "ok", said)]


def _trust(kind: str, config: CentralConfig) -> str:
    if kind == "sftp":
        return "its host key is known"
    if kind == "s3" and (config.endpoint or "").startswith("http://"):
        return "over plain HTTP, so dumps are read by whoever sees the network"
    return "over TLS" if kind == "s3" else "on this machine or a mount"


_REMEDIES = {
    "file": "Make the directory (or mount it), owned by the bot's user, mode 0750: central.url.",
    "sftp": "Put the server's host key into ssh.known_hosts and the bot's key on the server, with SFTP allowed.",
    "s3": "Check central.endpoint, region, access_key, and that they may put, get and list there.",
}
