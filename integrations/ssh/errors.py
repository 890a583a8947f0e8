"""What can go wrong between us and a host.

SshError
├── HostUnreachable        transient: down, still booting, or its sshd is not up yet
│   └── ConnectionLost     transient: the connection broke while it was in use
├── HostKeyRefused
│   ├── HostKeyUnknown     nobody vouched for this key
│   ├── HostKeyChanged     another key than the one that was vouched for
│   └── HostKeyRevoked     marked @revoked
├── AuthRefused            the host does not take our key
├── KeyUnusable            our own key, certificate or agent cannot be used
├── NoCommonAlgorithm      the two sides share no cipher, key exchange or key type
├── SshConfigRefused       the ssh_config file cannot be read, or asks for what we do not do
└── BadAddress             the address or jump host cannot be an address
"""

from __future__ import annotations

import paramiko

# What paramiko lets through when a connection breaks under a call: its own errors, the socket's, and EOFError
# from a write that finds the socket closed before paramiko's reading thread does. Catch all three, always.
BROKEN = (paramiko.SSHException, EOFError, OSError)


class SshError(Exception):
    """SSH to the host failed. See the log for the reason."""

    permanent: bool = True  # whether trying again without a change is of no use

    def __init__(self, facts: str = "") -> None:
        default = " ".join((type(self).__doc__ or "").split())
        super().__init__(f"{facts} {default}".strip() if facts else default)


class HostUnreachable(SshError):
    """It may still be booting: try again in a minute, or look at its console."""

    permanent = False


class ConnectionLost(HostUnreachable):
    """The connection broke in mid-command; the host may have gone down again. Try again in a minute."""


class HostKeyRefused(SshError):
    """The host's key was refused, so nothing was sent to it."""


class HostKeyUnknown(HostKeyRefused):
    """Nothing was sent to the host. First compare the fingerprint on the host's own console:
    `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there."""


class HostKeyChanged(HostKeyRefused):
    """Nothing was sent to the host. Either it was reinstalled or somebody is in between: first compare the
    fingerprint on the host's own console, `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there."""


class HostKeyRevoked(HostKeyRefused):
    """The key is marked @revoked in the known_hosts file. Nothing was sent to the host; give it a new key."""


class AuthRefused(SshError):
    """Put our public key (or its CA) on the host for that user, and see `journalctl -u ssh` there."""


class KeyUnusable(SshError):
    """Check `key_file`, `certificate` and `agent` under [ssh]; keys with a passphrase belong in an agent."""


class NoCommonAlgorithm(SshError):
    """The host's sshd is too old or too strict for this client; see its `KexAlgorithms`, `HostKeyAlgorithms`."""


class SshConfigRefused(SshError):
    """Mend the file that [ssh] config_file names, or say the same in `[[hosts]]` and `[ssh]`; see docs/runbook.md."""


class BadAddress(SshError):
    """Addresses are host names or IP addresses; jump hosts are written `user@host:port`."""
