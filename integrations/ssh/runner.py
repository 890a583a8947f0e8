"""The client's side of `batch`: a session in which commands run one after the other. Blocking: runs in threads."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from integrations.ssh import batch
from integrations.ssh.connection import Connection
from integrations.ssh.errors import BROKEN, ConnectionLost
from integrations.ssh.exchange import (
    CHUNK,
    LOOK,
    STDERR_CAP,
    CommandResult,
    Kept,
    Request,
    begin,
    close_channel,
    kill,
    open_channel,
    result,
)

_SESSIONS = 4  # of a connection; sshd allows ten
_NOISE = 64 * 1024  # bytes that an account's start-up files may say before us
# `timeout -k` ends a command on the host. One that outlives it (stuck in the kernel) is left behind after this long.
_OVERTIME = batch.KILL_AFTER + 3.0
_PING = 3.0


class BatchRefused(Exception):
    """The account runs no `sh` of ours: commands go one by one."""


class Runner:
    """One session with the program in it. Not for two threads at once."""

    def __init__(self, connection: Connection, timeout: float, stop: threading.Event) -> None:
        """Raises BatchRefused, ConnectionLost, TimeoutError."""
        self._transport = connection.transport
        self._number = secrets.token_hex(16)
        self._position = 0
        self._out, self._err = b"", b""  # what came already of the next answer
        deadline = time.monotonic() + timeout
        self._channel = open_channel(self._transport, timeout)
        self._ready = threading.Event()
        try:
            self._channel.settimeout(timeout)
            self._channel.in_buffer.set_event(self._ready)
            self._channel.in_stderr_buffer.set_event(self._ready)
            if not begin(self._channel, batch.COMMAND, deadline):
                raise TimeoutError
            self._channel.sendall(self._number.encode() + b"\n")
            self._greet(deadline, stop)
        except BROKEN as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise
            if not self._transport.is_active():
                raise ConnectionLost(f"the connection is gone ({error or type(error).__name__}).") from error
            # An exec request that is refused, or a channel closed at once.
            raise BatchRefused from error
        except BaseException:
            self.close()
            raise

    @property
    def is_open(self) -> bool:
        return not self._channel.closed and not self._channel.eof_received and self._transport.is_active()

    def close(self) -> None:
        close_channel(self._channel)

    def _greet(self, deadline: float, stop: threading.Event) -> None:
        said, wanted = b"", batch.greeting(self._number)
        while wanted not in said:
            if stop.is_set():
                raise ConnectionLost("nobody waits for the command any more.")
            self._ready.clear()
            gone = self._gone()  # asked first: what came before the end is still read
            if self._channel.recv_stderr_ready():
                self._channel.recv_stderr(CHUNK)  # the start-up files'
            if self._channel.recv_ready():
                said += self._channel.recv(CHUNK)
                if len(said) > _NOISE:
                    raise BatchRefused
                continue
            if gone:
                raise BatchRefused if self._transport.is_active() else ConnectionLost
            if time.monotonic() >= deadline:
                raise TimeoutError
            self._wait(deadline)
        self._out = said.partition(wanted)[2]

    def is_alive(self) -> bool:
        """Whether the host answers now. One that died said no goodbye, and its connection looks open."""
        try:
            self._channel.sendall(batch.PING)
            nothing = Request(("true",), _PING - _OVERTIME, 0)
            return self._answer(nothing, threading.Event(), time.monotonic() + _PING).exit_status == 0
        except (ConnectionLost, *BROKEN):
            return False

    def run(self, requests: Sequence[Request], stop: threading.Event, until: float) -> list[CommandResult]:
        """As many answers as came; fewer than requests when one had to be left behind, which is the last one then.

        `until` (monotonic) is when the time of all of them is over. Raises ConnectionLost.
        """
        done: list[CommandResult] = []
        try:
            self._channel.sendall(b"".join(batch.encode(r) for r in requests))
            for request in requests:
                done.append(self._answer(request, stop, until))
                if not self.is_open or done[-1].exit_status is None:
                    break
        except BROKEN as error:
            raise ConnectionLost(
                f"the host ended the commands' session ({error or type(error).__name__})."
            ) from error
        return done

    def _answer(self, request: Request, stop: threading.Event, until: float) -> CommandResult:
        """The next command's answer. Closes the session when the command does not end."""
        self._position += 1
        started_at, started = datetime.now(UTC), time.monotonic()
        deadline = min(started + request.timeout + _OVERTIME, until)
        out = batch.Answered(self._number, self._position, Kept(request.cap, request.keep))
        err = batch.Answered(self._number, self._position, Kept(STDERR_CAP))
        rest_out, rest_err = out.feed(self._out), err.feed(self._err)
        while (rest_out is None or rest_err is None) and not out.kept.full:
            if stop.is_set():
                self._end()
                raise ConnectionLost("nobody waits for the command any more.")
            self._ready.clear()
            gone, moved = self._gone(), False
            if rest_out is None and self._channel.recv_ready():
                rest_out, moved = out.feed(self._channel.recv(CHUNK)), True
            if rest_err is None and self._channel.recv_stderr_ready():
                rest_err, moved = err.feed(self._channel.recv_stderr(CHUNK)), True
            if moved:
                continue
            if gone:
                self.close()
                raise ConnectionLost("the host ended the commands' session.")
            if time.monotonic() >= deadline:
                break
            self._wait(deadline)
        seconds = time.monotonic() - started
        ended = rest_out is not None and rest_err is not None
        self._out, self._err = rest_out or b"", rest_err or b""
        if not ended:
            self._end()
            out.flush()
            err.flush()
        # 124 is what `timeout` says when it had to send a SIGTERM, 137 after its SIGKILL.
        late = ended and seconds >= request.timeout - 0.5 and out.status in (124, 137)
        return result(
            request, out.kept, err.kept.data(),
            status=out.status if ended and not late else None,
            timed_out=late or (not ended and not out.kept.full),
            started_at=started_at, seconds=seconds,
        )  # fmt: skip

    def _end(self) -> None:
        """Leave the session: its command's next write fails, and its `timeout` ends it if it never writes."""
        if self._transport.is_active() and not self._channel.closed:
            kill(self._channel)
        self.close()

    def _gone(self) -> bool:
        return self._channel.eof_received or self._channel.closed or not self._transport.is_active()

    def _wait(self, deadline: float) -> None:
        self._ready.wait(max(min(LOOK, deadline - time.monotonic()), 0.001))


class Runners:
    """A connection's sessions, opened when they are needed. For many threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._free: list[Runner] = []
        self._open = 0
        self._change = threading.Condition()
        self._most = _SESSIONS
        self.refused = False

    def run(
        self, requests: Sequence[Request], stop: threading.Event, until: float, patience: float
    ) -> list[CommandResult]:
        """An answer for each request. `patience`: seconds for the account's shell to begin.

        Raises BatchRefused before anything has run, or ConnectionLost.
        """
        done: list[CommandResult] = []
        while len(done) < len(requests):
            left = requests[len(done) :]
            if time.monotonic() >= until:
                done += [_too_late(r) for r in left]
                break
            try:
                runner = self._take(patience, stop)
            except TimeoutError:
                done += [_too_late(left[0], patience)]
                continue
            try:
                done += runner.run(left, stop, until)
            finally:
                self._give_back(runner)
        return done

    def is_alive(self) -> bool:
        """Whether the host answers now; blocking, up to three seconds."""
        with self._change:
            runner = self._free.pop() if self._free else None
        if runner is None:
            return False
        alive = runner.is_alive()
        if not alive:
            runner.close()
        self._give_back(runner)
        return alive

    def _take(self, patience: float, stop: threading.Event) -> Runner:
        with self._change:
            while True:
                if self.refused:
                    raise BatchRefused
                while self._free:
                    runner = self._free.pop()
                    if runner.is_open:
                        return runner
                    self._open -= 1
                if self._open < self._most:
                    self._open += 1
                    break
                if stop.is_set():
                    raise ConnectionLost("nobody waits for the command any more.")
                self._change.wait(LOOK)
        try:
            return Runner(self._connection, patience, stop)
        except BaseException as error:
            with self._change:
                self._open -= 1
                self.refused = self.refused or isinstance(error, BatchRefused)
                # sshd's MaxSessions: those that are open have to do.
                again = isinstance(error, ConnectionLost) and self._open > 0 and self._connection.is_open
                self._most = max(1, self._open) if again else self._most
                self._change.notify()
            if not again:
                raise
        return self._take(patience, stop)

    def _give_back(self, runner: Runner) -> None:
        with self._change:
            if runner.is_open:
                self._free.append(runner)
            else:
                self._open -= 1
            self._change.notify()


def _too_late(request: Request, seconds: float = 0.0) -> CommandResult:
    return CommandResult(request.argv, None, b"", b"", False, True, datetime.now(UTC), seconds)
