"""The way to a host: through which machines, as whom, with which keys, and by which names they are believed.

An inventory entry comes first, then the ssh_config file, then `[ssh]`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from integrations.ssh.config import SshConfig, SshHost, check_address, parse_jump, spoken
from integrations.ssh.errors import SshConfigRefused
from integrations.ssh.ssh_config import HostSettings, SshConfigFile

_MOST_HOPS = 8


@dataclass(frozen=True)
class Hop:
    """One machine on the way; the last one is the host itself."""

    name: str
    address: str
    port: int
    user: str
    key_files: tuple[Path, ...]
    certificate: Path | None
    agent: bool
    known_hosts: tuple[Path, ...]
    alias: str | None = None

    @property
    def spoken(self) -> str:
        return spoken(self.name, self.address, self.port)

    @property
    def trusted_as(self) -> tuple[tuple[str, ...], int]:
        """The names, and the port, that known_hosts is asked for. A HostKeyAlias stands alone, without a port."""
        if self.alias:
            return (self.alias.lower(),), 22
        return tuple(dict.fromkeys(n.lower() for n in (self.name, self.address))), self.port


def route_to(host: SshHost, config: SshConfig) -> tuple[Hop, ...]:
    """The machines to go through, in order. Raises BadAddress, SshConfigRefused."""
    file = SshConfigFile.read(config.config_file) if config.config_file is not None else None
    check_address(host.name)
    return _route(host, config, file, ())


def _route(
    host: SshHost, config: SshConfig, file: SshConfigFile | None, above: tuple[str, ...]
) -> tuple[Hop, ...]:
    if host.name in above or len(above) > _MOST_HOPS:
        raise SshConfigRefused(f"the jump hosts lead in a circle: {' <- '.join((*above, host.name))}.")
    told = file.of(host.name) if file is not None else HostSettings()
    jump = host.jump if host.jump is not None else told.jump if told.jump is not None else config.jump
    # A jump host is reached directly, unless the file says how: `[ssh] jump` is not for the bastion itself.
    if above and host.jump is None:
        jump = told.jump
    before: tuple[Hop, ...] = ()
    for number, hop in enumerate(parse_jump(jump or "")):
        if number == 0:
            before = _route(replace(hop, jump=None), config, file, (*above, host.name))
        else:
            before = (*before, _hop(hop, config, file.of(hop.name) if file is not None else HostSettings()))
    if len(before) >= _MOST_HOPS:
        raise SshConfigRefused(f"{host.name} is behind more than {_MOST_HOPS} jump hosts.")
    return (*before, _hop(host, config, told))


def _hop(host: SshHost, config: SshConfig, told: HostSettings) -> Hop:
    own = (config.key_file.expanduser(),) if config.key_file is not None else ()
    return Hop(
        name=host.name,
        address=check_address(host.address or told.hostname or host.name),
        port=host.port or told.port or 22,
        user=host.user or told.user or config.user,
        key_files=told.key_files or own,
        certificate=told.certificate if told.key_files else told.certificate or config.certificate,
        agent=config.agent and not told.keys_only,
        known_hosts=told.known_hosts if told.known_hosts is not None else (config.known_hosts,),
        alias=told.alias,
    )
