"""`panicroom demo`: the surroundings and the bot as two child processes, one address to open, Ctrl-C for all."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import IO, Any

from bot.demo.hosts import DEMO_HOSTS, client_key
from bot.demo.ports import NoFreePort, free_port

_START_WITHIN = 60.0
_STOP_WITHIN = 10.0
_PR_SET_PDEATHSIG = 1


class DemoError(Exception):
    """The demo could not start."""


class Demo:
    """Owns the data directory, the two children and their logs (`world.log`, `bot.log` in it)."""

    def __init__(self, data: Path, *, port: int, socket_mode: bool = False) -> None:
        self.data = data
        self.port = port
        self.socket_mode = socket_mode
        self.world: subprocess.Popen[str] | None = None
        self.bot: subprocess.Popen[str] | None = None
        self.stopping = False
        self._logs: list[IO[str]] = []

    def start(self) -> str:
        """Starts both and returns the page's address. Raises DemoError or NoFreePort, with nothing left running."""
        self.data.mkdir(parents=True, exist_ok=True)
        self._claim()
        ports = self._ports()
        bot_url = f"http://127.0.0.1:{ports['bot']}"
        secret = _kept_secret(self.data / "report_secret")
        public_key = self.data / "triage_key.pub"
        public_key.write_text(client_key(self.data / "triage_key"))
        manifest = self.data / "manifest.json"
        manifest.write_text(_manifest(self.socket_mode, bot_url))
        try:
            told = self._start_world(ports, bot_url, public_key, manifest)
            config = self._write_config(told, ports, secret)
            self._start_bot(config)
            self._await_ready(f"{bot_url}/readyz")
        except BaseException:
            self.stop()
            raise
        return str(told["page"])

    def _claim(self) -> None:
        """One demo a directory: the lock is the operating system's, so a crash leaves none behind."""
        self._logs.append(_lock(self.data))

    def _ports(self) -> dict[str, int]:
        """The ports of the last start when they are free, so that links and known hosts stay good."""
        file = self.data / "ports.json"
        known: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
        taken: set[int] = set()
        ports: dict[str, int] = {}
        wanted = {"page": self.port, "bot": self.port + 1, "tracker": self.port + 2, "ssh": self.port + 10}
        for name, first in wanted.items():
            count = len(DEMO_HOSTS) if name == "ssh" else 1
            ports[name] = free_port(
                known.get(name, first) if name != "page" else first, count=count, taken=taken
            )
            taken.update(range(ports[name], ports[name] + count))
        if ports["page"] != self.port:
            print(f"Port {self.port} is taken; the demo uses {ports['page']} instead.", flush=True)
        file.write_text(json.dumps(ports))
        return ports

    def _start_world(
        self, ports: dict[str, int], bot_url: str, public_key: Path, manifest: Path
    ) -> dict[str, Any]:
        argv = [
            sys.executable,
            "-m",
            "bot.demo.world",
            "--data",
            str(self.data),
            "--bot-url",
            bot_url,
            "--page-port",
            str(ports["page"]),
            "--tracker-port",
            str(ports["tracker"]),
            "--ssh-port-base",
            str(ports["ssh"]),
            "--secret-file",
            str(self.data / "report_secret"),
            "--client-key",
            str(public_key),
            "--manifest",
            str(manifest),
        ]
        if self.socket_mode:
            argv.append("--socket-mode")
        log = self._log("world.log")
        self.world = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=log, text=True, preexec_fn=_die_with_parent
        )
        assert self.world.stdout is not None
        line = _first_line(self.world, _START_WITHIN)
        if not line:
            raise DemoError(f"the demo's surroundings did not start:\n{_tail(self.data / 'world.log')}")
        told: dict[str, Any] = json.loads(line)
        return told

    def _write_config(self, told: dict[str, Any], ports: dict[str, int], secret: str) -> Path:
        """panicroom.toml as a person would write it: the bot is given addresses and knows of no demo."""
        (self.data / "known_hosts").write_text(told["known_hosts"])
        (self.data / "central").mkdir(mode=0o700, exist_ok=True)
        config = self.data / "panicroom.toml"
        config.write_text(_config(self.data, told, ports, secret, socket_mode=self.socket_mode))
        config.chmod(0o600)
        return config

    def _start_bot(self, config: Path) -> None:
        log = self._log("bot.log")
        self.bot = subprocess.Popen(
            [sys.executable, "-m", "bot.cli", "run", "--config", str(config)],
            stdout=log,
            stderr=log,
            text=True,
            preexec_fn=_die_with_parent,
            env={k: v for k, v in os.environ.items() if not k.startswith("PANICROOM_")},
        )

    def _await_ready(self, url: str) -> None:
        deadline = time.monotonic() + _START_WITHIN
        while time.monotonic() < deadline:
            if self.bot is not None and self.bot.poll() is not None:
                raise DemoError(f"the bot did not start:\n{_tail(self.data / 'bot.log')}")
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own loopback address
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.1)
        raise DemoError(f"the bot is not ready after {_START_WITHIN:.0f} s:\n{_tail(self.data / 'bot.log')}")

    def watch(self) -> int:
        """Until told to stop. A bot that dies (kill it, and see that nothing is lost) is started again."""
        while not self.stopping:
            time.sleep(0.2)
            if self.world is not None and self.world.poll() is not None and not self.stopping:
                print(f"The demo's surroundings ended:\n{_tail(self.data / 'world.log')}", file=sys.stderr)
                return 1
            if self.bot is not None and self.bot.poll() is not None and not self.stopping:
                print(f"The bot ended (status {self.bot.returncode}); it is started again.", flush=True)
                self._start_bot(self.data / "panicroom.toml")
                time.sleep(1.0)
        return 0

    def stop(self) -> None:
        """Asks both to stop, then makes them."""
        self.stopping = True
        children = [c for c in (self.bot, self.world) if c is not None]
        for child in children:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_WITHIN
        for child in children:
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for log in self._logs:
            log.close()

    def _log(self, name: str) -> IO[str]:
        file = (self.data / name).open("a")
        self._logs.append(file)
        return file


def main(data: Path, *, port: int = 8420, reset: bool = False, socket_mode: bool = False) -> int:
    """Exit status 0 after Ctrl-C, 1 when something did not start."""
    data = data.absolute()
    if reset:
        forget(data)
    demo = Demo(data, port=port, socket_mode=socket_mode)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        demo.stopping = True

    try:
        address = demo.start()
    except (DemoError, NoFreePort) as error:
        print(f"panicroom demo: {error}", file=sys.stderr)
        demo.stop()
        return 1
    except KeyboardInterrupt:
        demo.stop()
        return 130
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    print(
        f"\n  Panicroom's demo is at  {address}\n\n  Ctrl-C stops it; its data stays in {data}\n", flush=True
    )
    try:
        return demo.watch()
    finally:
        demo.stop()


def forget(data: Path) -> None:
    """Removes a demo's data. Refuses a directory that does not look like one, or whose demo is running."""
    if not data.exists():
        return
    if any(data.iterdir()) and not (data / "ports.json").exists() and not (data / "lock").exists():
        raise DemoError(f"{data} does not look like a demo's data; nothing was removed")
    with _lock(data):
        shutil.rmtree(data)


def _lock(data: Path) -> IO[str]:
    """Holds the directory until the file is closed. Raises DemoError when a demo holds it."""
    lock = (data / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise DemoError(
            f"a demo is running already with its data in {data}. Stop it, or use another directory: --data DIR"
        ) from error
    return lock


def _die_with_parent() -> None:
    """In the child, before exec: SIGTERM when the demo's own process is gone, so that none is left behind.

    prctl(PR_SET_PDEATHSIG) is Linux's; elsewhere a killed demo leaves its children running.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _kept_secret(file: Path) -> str:
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(32))
    return file.read_text().strip()


def _manifest(socket_mode: bool, bot_url: str) -> str:
    from bot.manifest import app_manifest

    return json.dumps(app_manifest(socket_mode=socket_mode, public_url=bot_url))


def _config(
    data: Path, told: dict[str, Any], ports: dict[str, int], secret: str, *, socket_mode: bool
) -> str:
    def text(value: object) -> str:
        return json.dumps(str(value))  # a JSON string is a TOML basic string

    slack = told["slack"]
    lines = [
        "# Written at each start of the demo.",
        "[server]",
        f"port = {ports['bot']}",
        f"shared_secrets = [{text(secret)}]",
        "[database]",
        f"url = {text('sqlite:///' + str(data / 'panicroom.db'))}",
        "[store]",
        f"dir = {text(data / 'store')}",
        "[slack]",
        f"mode = {text('socket' if socket_mode else 'http')}",
        f"api_url = {text(told['page'] + '/api/')}",
        f"bot_token = {text(slack['bot_token'])}",
        f"app_token = {text(slack['app_token'])}",
        f"signing_secret = {text(slack['signing_secret'])}",
        'admin_channel = "C0ADMINS"',
        "[routing]",
        'channel = "C0INCIDENTS"',
        'mention_group = "S0SREONCALL"',
        "[access]",
        'everyone = "viewer"',
        'responders = ["S0SREONCALL"]',
        'admins = ["S0ADMINS"]',
        "[ssh]",
        'user = "triage"',
        f"key_file = {text(data / 'triage_key')}",
        "agent = false",
        f"known_hosts = {text(data / 'known_hosts')}",
        "[central]",
        f"url = {text((data / 'central').absolute().as_uri())}",
        'bandwidth = "10MB"',  # slow enough to be seen
        "critical = false",  # the visitor is to ask for it
        "[jira]",
        f"url = {text(told['tracker'])}",
        'flavour = "cloud"',
        f"email = {text(told['tracker_email'])}",
        f"token = {text(told['tracker_token'])}",
        'projects = ["OPS"]',
        "[inventory]",
        "closed = true",
    ]
    for host in told["inventory"]:
        lines.append("[[hosts]]")
        lines += [
            f"{key} = {value if isinstance(value, int) else text(value)}" for key, value in host.items()
        ]
    return "\n".join(lines) + "\n"


def _first_line(process: subprocess.Popen[str], within: float) -> str:
    """The first line that the child prints; "" when it ends or takes too long."""
    found: list[str] = []
    assert process.stdout is not None
    stream = process.stdout
    reader = threading.Thread(target=lambda: found.append(stream.readline()), daemon=True)
    reader.start()
    reader.join(within)
    return found[0].strip() if found else ""


def _tail(file: Path, lines: int = 15) -> str:
    try:
        return "\n".join(file.read_text("utf-8", "replace").splitlines()[-lines:])
    except OSError as error:
        return f"({file}: {error})"


__all__ = ["Demo", "DemoError", "forget", "main"]
