"""One command on an open connection, with a time-out and a cap. Blocking: runs in the client's threads."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import paramiko

from integrations.ssh.errors import ConnectionLost

_CHUNK = 64 * 1024
_STDERR_CAP = 64 * 1024
_WINDOW = 1024 * 1024
# How long output may still come after the exit status, e.g. from a child that keeps the pipe open.
_GRACE = 1.0


@dataclass(frozen=True)
class CommandResult:
    """What a command answered. `exit_status` is None when it never ended (time-out, cap, killed by a signal)."""

    argv: tuple[str, ...]
    exit_status: int | None
    stdout: bytes
    stderr: bytes
    truncated: bool  # more came than the cap allows; what is here is the beginning
    timed_out: bool
    started_at: datetime  # UTC, by our clock
    seconds: float

    @property
    def ok(self) -> bool:
        return self.exit_status == 0 and not self.timed_out and not self.truncated

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "replace")

    @property
    def outcome(self) -> str:
        """In words: `exit 0`, `timed out after 30 s`, `stopped at 4194304 bytes`."""
        if self.timed_out:
            return f"timed out after {self.seconds:.0f} s"
        if self.truncated:
            return f"stopped at {len(self.stdout)} bytes"
        return "ended without an exit status" if self.exit_status is None else f"exit {self.exit_status}"


def run_command(
    transport: paramiko.Transport, argv: Sequence[str], *, timeout: float, cap: int
) -> CommandResult:
    """Raises ConnectionLost when the connection goes away before the command has ended."""
    started_at, started = datetime.now(UTC), time.monotonic()
    deadline = started + timeout
    ready = threading.Event()
    try:
        channel = transport.open_session(window_size=_WINDOW, timeout=timeout)
    except (paramiko.SSHException, EOFError, OSError) as error:
        if transport.is_active():
            # An open connection that opens no channel: a hostile or overloaded sshd.
            raise ConnectionLost(f"the host opens no session for a command ({error}).") from error
        raise ConnectionLost(f"the connection is gone ({error}).") from error
    out, err = _Stream(cap), _Stream(_STDERR_CAP)
    timed_out = False
    try:
        channel.settimeout(max(deadline - time.monotonic(), 0.1))
        channel.in_buffer.set_event(ready)
        channel.in_stderr_buffer.set_event(ready)
        if not _begin(channel, argv, deadline):
            return CommandResult(
                tuple(argv), None, b"", b"", False, True, started_at, time.monotonic() - started
            )
        ended: float | None = None
        while True:
            ready.clear()
            moved = out.add(channel.recv(_CHUNK)) if channel.recv_ready() else False
            moved = (err.add(channel.recv_stderr(_CHUNK)) if channel.recv_stderr_ready() else False) or moved
            now = time.monotonic()
            if out.full:
                break
            if now >= deadline:
                timed_out = True
                break
            if moved:
                continue
            if channel.status_event.is_set():
                if channel.eof_received or channel.closed:
                    break
                ended = ended or now
                if now - ended > _GRACE:
                    break
            elif not transport.is_active():
                raise ConnectionLost
            ready.wait(min(0.05, deadline - now))
        if (out.full or timed_out) and not channel.status_event.is_set():
            _kill(channel)
        if not transport.is_active() and not channel.status_event.is_set():
            raise ConnectionLost
        known = channel.status_event.is_set() and not timed_out
        status = channel.exit_status if known else -1
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise ConnectionLost(
            f"the host ended the command's channel ({error or type(error).__name__})."
        ) from error
    finally:
        channel.close()
    if status == -1 and not transport.is_active() and not out.full and not timed_out:
        raise ConnectionLost
    return CommandResult(
        argv=tuple(argv),
        exit_status=status if status >= 0 else None,
        stdout=bytes(out.data),
        stderr=bytes(err.data),
        truncated=out.full,
        timed_out=timed_out,
        started_at=started_at,
        seconds=time.monotonic() - started,
    )


def _begin(channel: paramiko.Channel, argv: Sequence[str], deadline: float) -> bool:
    """Ask for the command; False when the host says neither yes nor no before the deadline.

    paramiko waits for that answer for ever, so a timer closes the channel under it.
    """
    expired = threading.Event()

    def give_up() -> None:
        expired.set()
        channel.close()

    timer = threading.Timer(max(deadline - time.monotonic(), 0.1), give_up)
    timer.daemon = True
    timer.start()
    try:
        channel.exec_command(shlex.join(argv))
    except (paramiko.SSHException, EOFError, OSError):
        if expired.is_set():
            return False
        raise
    finally:
        timer.cancel()
    return True


class _Stream:
    """The first `cap` bytes of a stream; `full` once there was more."""

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.data = bytearray()
        self.full = False

    def add(self, chunk: bytes) -> bool:
        room = self.cap - len(self.data)
        self.data += chunk[:room]
        self.full = self.full or len(chunk) > room
        return bool(chunk)


def _kill(channel: paramiko.Channel) -> None:
    """Ask for a SIGKILL (RFC 4254, 6.9): closing a channel without a terminal leaves the command running.

    OpenSSH obeys since 7.9; a server that does not know the request ignores it. paramiko has no public call.
    """
    message = paramiko.Message()
    message.add_byte(bytes([98]))  # SSH_MSG_CHANNEL_REQUEST
    message.add_int(channel.remote_chanid)
    message.add_string("signal")
    message.add_boolean(False)
    message.add_string("KILL")
    channel.transport._send_user_message(message)
