"""`panicroom …`, or a script of the tests, as a process of its own, without loading every library anew each time.

A server of one process loads the command line's libraries once and forks a process for each command: the
child has its own directory, environment, standard streams and signals, as a fresh one has, and ends as a fresh one
does. Only what is loaded already differs, so what is said about loading is tested on `python -m bot.cli` itself.
"""

from __future__ import annotations

import array
import asyncio
import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from io import FileIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOADED = (
    "bot.cli", "bot.app", "bot.doctor", "bot.memory", "bot.importing", "bot.parse", "bot.sending", "bot.demo.hosts",
    "bot.demo.workspace", "jira", "jsonschema", "sqlite3",
)  # fmt: skip
_LONGEST = 1024 * 1024


class Forked:
    """One command under way; spoken to as `subprocess.Popen` is."""

    def __init__(
        self,
        arguments: tuple[str, ...],
        cwd: Path,
        env: Mapping[str, str],
        stderr: int,
        program: Path | None = None,
    ) -> None:
        self.args = (str(program or "panicroom"), *arguments)
        stdin, self._stdin = os.pipe()
        out, stdout = os.pipe()
        self.stdout = open(out, "rb", buffering=0)  # noqa: SIM115 - read until the process has ended
        self.stderr: FileIO | None = None
        if stderr == subprocess.PIPE:
            err, stderr = os.pipe()
            self.stderr = open(err, "rb", buffering=0)  # noqa: SIM115
        else:
            stderr = os.dup(stderr)
        self._status, status = os.pipe()
        asked = json.dumps(
            {"arguments": arguments, "cwd": str(cwd), "env": dict(env), "program": str(program or "")}
        ).encode()
        server = _server()
        socket.send_fds(server, [struct.pack("!I", len(asked))], [stdin, stdout, stderr, status])
        server.sendall(asked)
        (self.pid,) = struct.unpack("!I", server.recv(4, socket.MSG_WAITALL))
        for fd in (stdin, stdout, stderr, status):
            os.close(fd)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self.wait(0)

    def wait(self, timeout: float | None = None) -> int | None:
        """None only where `timeout` is 0; otherwise a time-out is subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                if timeout == 0:
                    return None
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            (self.returncode,) = struct.unpack("!i", os.read(self._status, 4))
            os.close(self._status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Its streams, where `communicate` did not."""
        os.close(self._stdin)
        self.stdout.close()

    def line(self) -> str:
        """The next line of its standard output; "" when it has ended."""
        return self.stdout.readline().decode()

    def communicate(self, text: bytes | None = None, timeout: float = 60) -> tuple[str, str]:
        if text:
            with contextlib.suppress(BrokenPipeError), open(self._stdin, "wb", closefd=False) as stdin:
                stdin.write(text)
        os.close(self._stdin)
        pipes = [p for p in (self.stdout, self.stderr) if p is not None]
        got: dict[FileIO, bytes] = dict.fromkeys(pipes, b"")
        while pipes:
            ready = select.select(pipes, [], [], timeout)[0]
            if not ready:
                self.kill()
                raise subprocess.TimeoutExpired(self.args, timeout, got.get(self.stdout))
            for pipe in ready:
                piece = os.read(pipe.fileno(), 65536)
                got[pipe] += piece
                if not piece:
                    pipes.remove(pipe)
        self.wait(timeout)
        self.stdout.close()
        if self.stderr is None:
            return got[self.stdout].decode(), ""
        self.stderr.close()
        return got[self.stdout].decode(), got[self.stderr].decode()


def start(*arguments: str, cwd: Path, stderr: int = subprocess.PIPE, **environ: str) -> Forked:
    """`panicroom ARGUMENTS`, with no PANICROOM_* variables but those given."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PANICROOM_")}
    return Forked(arguments, cwd, clean | environ, stderr)


def panicroom(
    *arguments: str, cwd: Path, text: str | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Runs it to its end, with `text` on its standard input."""
    process = start(*arguments, cwd=cwd, **environ)
    out, err = process.communicate(text.encode() if text else None)
    assert process.returncode is not None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


class Script:
    """A Python file as a process of its own, for those who wait for it in an event loop."""

    def __init__(self, process: Forked) -> None:
        self._process = process
        self.pid = process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    async def line(self) -> str:
        """The next line of its standard output; "" when it has ended."""
        return await asyncio.wait_for(asyncio.to_thread(self._process.line), 60)

    def kill(self) -> None:
        self._process.kill()

    async def wait(self) -> None:
        await asyncio.to_thread(self._process.wait, 60)
        self._process.close()


def run_file(program: Path, *arguments: str) -> Script:
    """Its standard input stays open until it was waited for; what it says in error goes to pytest's."""
    return Script(Forked(arguments, ROOT, os.environ, sys.__stderr__.fileno(), program))


@cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.forks", str(theirs.fileno())],
        cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    theirs.close()

    @atexit.register
    def end() -> None:
        ours.close()
        process.wait(10)

    return ours


def _serve(fd: int) -> None:
    """Forks for each request until the other side is gone; returns only in the children."""
    for name in LOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    door = socket.socket(fileno=fd)
    children: dict[int, tuple[int, int]] = {}  # pidfd -> pid, where its status goes
    while True:
        for ready in select.select([door, *children], [], [])[0]:
            if ready is door:
                request = _request(door)
                if request is None:
                    os._exit(0)
                asked, fds = request
                pid = os.fork()
                if pid == 0:
                    door.close()
                    for other, (_, status) in children.items():
                        os.close(other)
                        os.close(status)
                    _become(asked, fds)
                    return
                for used in fds[:3]:
                    os.close(used)
                children[os.pidfd_open(pid)] = (pid, fds[3])
                door.sendall(struct.pack("!I", pid))
            else:
                pid, status = children.pop(ready)
                os.close(ready)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
                    os.write(status, struct.pack("!i", code))
                os.close(status)


def _request(door: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    head, ancillary, _, _ = door.recvmsg(4, socket.CMSG_SPACE(4 * 4), socket.MSG_WAITALL)
    if not head:
        return None
    fds = array.array("i")
    for _level, _kind, data in ancillary:
        fds.frombytes(data)
    (length,) = struct.unpack("!I", head)
    assert length <= _LONGEST
    return json.loads(door.recv(length, socket.MSG_WAITALL)), list(fds)


def _become(asked: dict[str, Any], fds: list[int]) -> None:
    """Makes this process what was asked for: streams, directory, environment, arguments."""
    for number, used in enumerate(fds[:3]):
        os.dup2(used, number)
    for used in fds:
        os.close(used)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = [asked["program"] or "panicroom", *asked["arguments"]]


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
    if seed := os.environ.get("JITTER"):
        from tests import jitter

        jitter.install(seed, " ".join(sys.argv))
    if sys.argv[0] != "panicroom":
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        from bot.cli import main

        main()
