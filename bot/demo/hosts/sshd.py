"""The SSH server of one replayed host: one user, one client key, exec only."""

from __future__ import annotations

import asyncio
import errno
import shlex
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import asyncssh

from bot.demo.hosts.answers import Answer
from bot.demo.hosts.errors import NoFreePort
from integrations.ssh import batch

USER = "triage"


class HostPort:
    """A TCP port kept for one host for the fleet's life: listening while the host is up, refusing while it is down.

    While down, the port stays bound to a socket that does not listen: the kernel answers connections with a reset, and
    nobody else can take it.
    """

    def __init__(
        self,
        address: str,
        port: int,
        *,
        host_key: asyncssh.SSHKey,
        client_keys: str,
        answer: Callable[[str], Answer],
        answer_seconds: float = 0.0,
        answer_input: Callable[[str, bytes], Answer] | None = None,
        reads_input: Callable[[str], bool] = lambda _command: False,
    ) -> None:
        """`answer_input(command, all of its standard input)`, when that has ended, for what `reads_input` names."""
        self._placeholder: socket.socket | None = _bound(address, port)
        self.address = address
        self.port: int = self._placeholder.getsockname()[1]
        self._host_key = host_key
        self._client_keys = [
            asyncssh.import_public_key(line) for line in client_keys.splitlines() if line.strip()
        ]
        self._answer = answer
        self._answer_seconds = answer_seconds
        self._answer_input = answer_input
        self._reads_input = reads_input
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._connections: set[asyncssh.SSHServerConnection] = set()

    async def open(self) -> None:
        """Begin to answer. No effect when it already does."""
        if self._acceptor is not None:
            return
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None
        self._acceptor = await asyncssh.listen(
            sock=_bound(self.address, self.port),
            server_factory=lambda: _Server(self._connections, self._client_keys, self._session),
            server_host_keys=[self._host_key],
            encoding=None,
            password_auth=False,
            kbdint_auth=False,
            gss_host=None,
            allow_scp=False,
            agent_forwarding=False,
            x11_forwarding=False,
            login_timeout=30,
            server_version="panicroom-replay",
        )

    async def close(self) -> None:
        """Refuse new connections and drop those that are open, as a host does that goes down."""
        if self._acceptor is None:
            return
        acceptor, self._acceptor = self._acceptor, None
        acceptor.close()
        for connection in list(self._connections):
            connection.abort()
        self._placeholder = _bound(self.address, self.port)
        await acceptor.wait_closed()

    def release(self) -> None:
        """Give the port back. Only after `close`."""
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None

    def _session(self) -> _ExecSession:
        return _ExecSession(self._answer, self._answer_seconds, self._answer_input, self._reads_input)


class _Server(asyncssh.SSHServer):
    def __init__(
        self,
        connections: set[asyncssh.SSHServerConnection],
        client_keys: Sequence[asyncssh.SSHKey],
        session: Callable[[], _ExecSession],
    ) -> None:
        self._connections = connections
        self._client_keys = client_keys
        self._session = session
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == USER and key in self._client_keys

    def session_requested(self) -> _ExecSession:
        return self._session()


class _ExecSession(asyncssh.SSHServerSession[bytes]):
    """Answers one exec request; a shell, a subsystem and a terminal are refused (the base class refuses them).

    The bot's batch program is not told from the capture: this stands in for the shell that would run it, and answers
    each command that comes on its input.
    """

    def __init__(
        self,
        answer: Callable[[str], Answer],
        seconds: float,
        answer_input: Callable[[str, bytes], Answer] | None = None,
        reads_input: Callable[[str], bool] = lambda _command: False,
    ) -> None:
        self._answer = answer
        self._answer_input = answer_input
        self._reads_input = reads_input
        self._seconds = seconds
        self._command = ""
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None
        self._pending: asyncio.TimerHandle | None = None
        self._input = b""
        self._number = ""
        self._position = 0

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def connection_lost(self, exc: Exception | None) -> None:
        if self._pending is not None:
            self._pending.cancel()

    def exec_requested(self, command: str) -> bool:
        self._command = command
        return True

    def session_started(self) -> None:
        if self._command != batch.COMMAND and not self._waits_for_input:
            self._later(self._reply)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._input += data
        if self._command == batch.COMMAND:
            self._next()

    def eof_received(self) -> bool:
        if self._command != batch.COMMAND and self._waits_for_input:
            self._later(self._reply)
        return True  # the client has nothing more to say; it still wants the answer

    @property
    def _waits_for_input(self) -> bool:
        return self._answer_input is not None and self._reads_input(self._command)

    def _later(self, act: Callable[[], None]) -> None:
        self._pending = asyncio.get_running_loop().call_later(self._seconds, act)

    def _next(self) -> None:
        """Take up the next command of a batch, when all of it is there and none is under way."""
        if self._pending is not None or self._channel is None:
            return
        if not self._number:
            number, end, self._input = self._input.partition(b"\n")
            if not end:
                self._input = number
                return
            self._number = number.decode("ascii")
            self._channel.write(batch.greeting(self._number))
        lines = self._input.split(b"\n")
        if len(lines) < 3 or len(lines) < 3 + int(lines[1]):
            return
        taken = 2 + int(lines[1])
        self._input = b"\n".join(lines[taken:])
        ((_, argv),) = batch.decode(iter(lines[:taken]))
        self._later(lambda: self._reply_in_batch(argv))

    def _reply_in_batch(self, argv: tuple[str, ...]) -> None:
        self._pending = None
        channel = self._channel
        if channel is None or channel.is_closing():
            return
        told = self._told(shlex.join(argv)) if argv else Answer()
        self._position += 1
        end = batch.mark(self._number, self._position, told.status)
        channel.write(told.stdout + end)
        channel.write_stderr(told.stderr + end)
        self._next()

    def _reply(self) -> None:
        channel = self._channel
        if channel is None or channel.is_closing():
            return
        told = self._told(self._command)
        if told.stdout:
            channel.write(told.stdout)
        if told.stderr:
            channel.write_stderr(told.stderr)
        channel.exit(told.status)

    def _told(self, command: str) -> Answer:
        try:
            if self._waits_for_input and self._answer_input is not None:
                return self._answer_input(command, self._input)
            return self._answer(command)
        except Exception:
            if self._channel is not None:
                self._channel.write_stderr(b"the replay of this command failed\n")
                self._channel.exit(70)
            raise


def _bound(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


def reserve(make: Callable[[int], HostPort], first: int, attempts: int = 200) -> HostPort:
    """The port at `first` or the next free one; with `first` 0 any free one. `NoFreePort` when there is none."""
    for port in [0] if first == 0 else range(first, min(first + attempts, 65536)):
        try:
            return make(port)
        except OSError as taken:
            if taken.errno not in {errno.EADDRINUSE, errno.EACCES}:
                raise
    raise NoFreePort(f"tried {first} to {min(first + attempts, 65536) - 1}")


def host_key(path: Path) -> asyncssh.SSHKey:
    """The Ed25519 key kept in `path`, made there (mode 0600) when there is none."""
    if path.exists():
        return asyncssh.read_private_key(path)
    key = asyncssh.generate_private_key("ssh-ed25519")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(key.export_private_key())
    return key
