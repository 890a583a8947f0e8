"""OpenSSH's client configuration, as far as it says where a host is and who may be believed.

paramiko reads the file. What it would run, or silently leave out although it changes who is trusted, is refused here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko

from integrations.ssh.config import is_user
from integrations.ssh.errors import SshConfigRefused

_LINE = re.compile(r"^\s*(?P<key>[A-Za-z]+)(?:\s*=\s*|\s+)(?P<value>.*?)\s*$")
# `Match exec` runs a command for each host that is looked up. The others decide who is trusted, or what else is read.
_REFUSED = {
    "include": "other files are not read: put all into one",
    "knownhostscommand": "no command is run to ask whom to trust: write the keys into a known_hosts file",
    "revokedhostkeys": "revoked keys are marked `@revoked` in the known_hosts file",
}
_EXEC = re.compile(r"(?:^|[\s,!\"])exec(?=[\s=\"]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class HostSettings:
    """What the file says of one host; None and empty where it says nothing."""

    hostname: str | None = None
    port: int | None = None
    user: str | None = None
    key_files: tuple[Path, ...] = ()
    certificate: Path | None = None
    jump: str | None = None  # "" for `ProxyJump none`
    known_hosts: tuple[Path, ...] | None = None
    alias: str | None = None
    keys_only: bool = False


class SshConfigFile:
    """An ssh_config file, read and found to be one that we can follow."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        _refuse_what_runs(path, text)
        try:
            self._parsed = paramiko.SSHConfig.from_text(text)
        except (paramiko.ssh_exception.ConfigParseError, ValueError, KeyError, IndexError) as error:
            raise SshConfigRefused(f"{path} cannot be read: {error}.") from error

    @classmethod
    def read(cls, path: Path) -> SshConfigFile:
        """Raises SshConfigRefused."""
        path = path.expanduser()
        try:
            text = path.read_text("utf-8")
        except (OSError, ValueError) as error:
            raise SshConfigRefused(f"{path} cannot be read: {error}.") from error
        return cls(path, text)

    def of(self, name: str) -> HostSettings:
        """What holds for a host by the name that people use. Raises SshConfigRefused."""
        try:
            found: Mapping[str, Any] = self._parsed.lookup(name)
        except (paramiko.SSHException, ValueError, KeyError, OSError) as error:
            raise SshConfigRefused(f"{self._path} cannot be followed for {name[:80]!r}: {error}.") from error
        command = found.get("proxycommand")
        if command is not None:
            raise SshConfigRefused(
                f"{self._path} has a ProxyCommand for {name[:80]!r}, and commands from it are never run: "
                "use ProxyJump."
            )
        hostname = str(found.get("hostname", name))
        return HostSettings(
            hostname=None if hostname == name else hostname,
            port=self._port(found.get("port")),
            user=self._user(found.get("user")),
            key_files=tuple(
                Path(p).expanduser() for p in found.get("identityfile", ()) if p.lower() != "none"
            ),
            certificate=_path(found.get("certificatefile")),
            jump=_jump(found.get("proxyjump")),
            known_hosts=self._known_hosts(found.get("userknownhostsfile")),
            alias=found.get("hostkeyalias"),
            keys_only=str(found.get("identitiesonly", "no")).lower() == "yes"
            or str(found.get("identityagent", "")).lower() == "none",
        )

    def _port(self, text: str | None) -> int | None:
        if text is None:
            return None
        if not re.fullmatch(r"\d{1,5}", text) or not 0 < int(text) < 65536:
            raise SshConfigRefused(f"{self._path}: Port {text[:20]!r} does not exist.")
        return int(text)

    def _user(self, name: str | None) -> str | None:
        if name is not None and not is_user(name):
            raise SshConfigRefused(f"{self._path}: User {name[:40]!r} cannot be a user.")
        return name

    def _known_hosts(self, text: str | None) -> tuple[Path, ...] | None:
        if text is None:
            return None
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise SshConfigRefused(f"{self._path}: UserKnownHostsFile cannot be read: {error}.") from error
        if any("%" in word or "$" in word for word in words):
            raise SshConfigRefused(f"{self._path}: UserKnownHostsFile takes plain paths here, no tokens.")
        return tuple(Path(word).expanduser() for word in words if word.lower() != "none")


def _refuse_what_runs(path: Path, text: str) -> None:
    for number, line in enumerate(text.splitlines(), start=1):
        match = _LINE.match(line)
        if match is None:
            continue
        key = match["key"].lower()
        if key == "match" and _EXEC.search(match["value"]):
            raise SshConfigRefused(
                f"{path}, line {number}: `Match exec` runs a command, and commands from it are never run."
            )
        if key in _REFUSED:
            raise SshConfigRefused(f"{path}, line {number}: {match['key']} is not followed; {_REFUSED[key]}.")


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text and text.lower() != "none" else None


def _jump(text: str | None) -> str | None:
    return "" if text is not None and text.lower() == "none" else text
