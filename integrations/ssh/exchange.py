"""One command in a channel of its own, with a time-out and a cap. Blocking: runs in the client's threads."""

from __future__ import annotations

import contextlib
import shlex
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import paramiko

from integrations.ssh.errors import BROKEN, ConnectionLost

Keep = Literal["start", "end"]
CHUNK = 64 * 1024
STDERR_CAP = 64 * 1024
WINDOW = 1024 * 1024
LOOK = 0.25  # seconds between looks at whether we are to stop; what comes from the host wakes us at once
# How long output may still come after the exit status, e.g. from a child that keeps the pipe open.
_GRACE = 1.0


@dataclass(frozen=True)
class Request:
    """A command for a host: `timeout` in seconds, `cap` in bytes of standard output, of which the `keep` end stays."""

    argv: tuple[str, ...]
    timeout: float
    cap: int
    keep: Keep = "start"


@dataclass(frozen=True)
class CommandResult:
    """What a command answered. `exit_status` is None when it never ended (time-out, cap, killed by a signal)."""

    argv: tuple[str, ...]
    exit_status: int | None
    stdout: bytes
    stderr: bytes
    truncated: bool  # more came than the cap allows; what is here is the `kept` end of it
    timed_out: bool
    started_at: datetime  # UTC, by our clock
    seconds: float
    kept: Keep = "start"
    total: int | None = None  # bytes that came, where more came than was kept and the command ended by itself

    @property
    def ok(self) -> bool:
        return self.exit_status == 0 and not self.timed_out and not self.truncated

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "replace")

    @property
    def outcome(self) -> str:
        """In words: `exit 0`, `timed out after 30 s`, `stopped at 4194304 bytes`, `exit 0, its last 10 of 90 bytes`."""
        if self.timed_out:
            return f"timed out after {self.seconds:.0f} s"
        if self.truncated and self.kept == "start":
            return f"stopped at {len(self.stdout)} bytes"
        told = "ended without an exit status" if self.exit_status is None else f"exit {self.exit_status}"
        return f"{told}, its last {len(self.stdout)} of {self.total} bytes" if self.truncated else told


class Kept:
    """The first or the last `cap` bytes of a stream. `full`: no more is wanted of it."""

    def __init__(self, cap: int, keep: Keep = "start") -> None:
        self.cap = cap
        self.keep = keep
        self.total = 0
        self._parts: deque[bytes] = deque()
        self._held = 0

    def add(self, chunk: bytes) -> bool:
        self.total += len(chunk)
        if self.keep == "start":
            chunk = chunk[: self.cap - self._held]
        if chunk:
            self._parts.append(bytes(chunk))
            self._held += len(chunk)
        while self.keep == "end" and self._parts and self._held - len(self._parts[0]) >= self.cap:
            self._held -= len(self._parts.popleft())
        return bool(chunk)

    @property
    def truncated(self) -> bool:
        return self.total > self.cap

    @property
    def full(self) -> bool:
        return self.keep == "start" and self.truncated

    def data(self) -> bytes:
        whole = b"".join(self._parts)
        return whole[-self.cap :] if self.keep == "end" else whole


def result(
    request: Request,
    out: Kept,
    err: bytes,
    *,
    status: int | None,
    timed_out: bool,
    started_at: datetime,
    seconds: float,
) -> CommandResult:
    return CommandResult(
        argv=request.argv,
        exit_status=status,
        stdout=out.data(),
        stderr=err,
        truncated=out.truncated,
        timed_out=timed_out,
        started_at=started_at,
        seconds=seconds,
        kept=request.keep,
        total=out.total if out.truncated and not out.full else None,
    )


def run_command(
    transport: paramiko.Transport,
    request: Request,
    stop: threading.Event | None = None,
    given: bytes | None = None,
) -> CommandResult:
    """Raises ConnectionLost when the connection goes away before the command has ended, or `stop` is set.

    `given`: what the command reads on its standard input, which ends with it.
    """
    started_at, started = datetime.now(UTC), time.monotonic()
    deadline = started + request.timeout
    stop = stop or threading.Event()
    ready = threading.Event()
    channel = open_channel(transport, request.timeout)
    out, err = Kept(request.cap, request.keep), Kept(STDERR_CAP)
    timed_out = False
    try:
        channel.settimeout(max(deadline - time.monotonic(), 0.1))
        channel.in_buffer.set_event(ready)
        channel.in_stderr_buffer.set_event(ready)
        if not begin(channel, shlex.join(request.argv), deadline):
            seconds = time.monotonic() - started
            return result(
                request, out, b"", status=None, timed_out=True, started_at=started_at, seconds=seconds
            )
        if given is not None:
            # A command may end without having read it: what became of it is told below.
            with contextlib.suppress(*BROKEN):
                channel.sendall(given)
                channel.shutdown_write()
        ended: float | None = None
        while True:
            ready.clear()
            moved = out.add(channel.recv(CHUNK)) if channel.recv_ready() else False
            moved = (err.add(channel.recv_stderr(CHUNK)) if channel.recv_stderr_ready() else False) or moved
            now = time.monotonic()
            if stop.is_set():
                kill(channel)
                raise ConnectionLost("nobody waits for the command any more.")
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
            ready.wait(min(0.05 if ended else LOOK, deadline - now))
        if (out.full or timed_out) and not channel.status_event.is_set():
            kill(channel)
        if not transport.is_active() and not channel.status_event.is_set():
            raise ConnectionLost
        known = channel.status_event.is_set() and not timed_out
        status = channel.exit_status if known else -1
    except BROKEN as error:
        raise ConnectionLost(
            f"the host ended the command's channel ({error or type(error).__name__})."
        ) from error
    finally:
        close_channel(channel)
    if status == -1 and not transport.is_active() and not out.full and not timed_out:
        raise ConnectionLost
    return result(
        request, out, err.data(),
        status=status if status >= 0 else None, timed_out=timed_out,
        started_at=started_at, seconds=time.monotonic() - started,
    )  # fmt: skip


def open_channel(transport: paramiko.Transport, timeout: float) -> paramiko.Channel:
    """Raises ConnectionLost."""
    try:
        return transport.open_session(window_size=WINDOW, timeout=timeout)
    except BROKEN as error:
        if transport.is_active():
            # An open connection that opens no channel: a hostile or overloaded sshd.
            raise ConnectionLost(f"the host opens no session for a command ({error}).") from error
        raise ConnectionLost(f"the connection is gone ({error}).") from error


def begin(channel: paramiko.Channel, command: str, deadline: float) -> bool:
    """Ask for the command; False when the host says neither yes nor no before the deadline.

    paramiko waits for that answer for ever, so a timer closes the channel under it.
    """
    expired = threading.Event()

    def give_up() -> None:
        expired.set()
        close_channel(channel)

    timer = threading.Timer(max(deadline - time.monotonic(), 0.1), give_up)
    timer.daemon = True
    timer.start()
    try:
        channel.exec_command(command)
    except BROKEN:
        if expired.is_set():
            return False
        raise
    finally:
        timer.cancel()
    return True


def close_channel(channel: paramiko.Channel) -> None:
    """Also one whose connection is gone, at which paramiko fails now and then: it is closed then."""
    with contextlib.suppress(*BROKEN):
        channel.close()


def kill(channel: paramiko.Channel) -> None:
    """Ask for a SIGKILL (RFC 4254, 6.9): closing a channel without a terminal leaves the command running.

    OpenSSH obeys since 7.9, but not for root; a server that does not know the request ignores it. paramiko has no
    public call.
    """
    message = paramiko.Message()
    message.add_byte(bytes([98]))  # SSH_MSG_CHANNEL_REQUEST
    message.add_int(channel.remote_chanid)
    message.add_string("signal")
    message.add_boolean(False)
    message.add_string("KILL")
    with contextlib.suppress(*BROKEN):  # the connection is gone, and its command with it
        channel.transport._send_user_message(message)
