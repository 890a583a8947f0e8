from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import delete
from sqlmodel import col, select

from commands.inventory import Inventory
from storage import Database, Report
from tests.host_side.support import SECRET, SHELLS, Host
from tests.support_http import RunningRoutes


@pytest.fixture(params=["dash", "busybox"])
def shell(request: pytest.FixtureRequest) -> str:
    """dash with coreutils and curl; busybox with nothing but its own tools."""
    return str(request.param)


def _needed(shell: str) -> None:
    if shell not in SHELLS:
        hint = f"needs {shell}: apt-get install {shell}"
        if os.environ.get("CI"):
            pytest.fail(hint)
        pytest.skip(hint)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    _needed("dash")
    return Host(tmp_path / "host")


@pytest.fixture
def shell_host(tmp_path: Path, shell: str) -> Host:
    _needed(shell)
    return Host(tmp_path / "host", shell)


class Bot:
    """The bot's real routes; `reports` are the rows it stored."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._running = RunningRoutes(folder / "bot.db", (SecretStr(SECRET),), Inventory())
        self._thread = threading.Thread(target=self._running.run, daemon=True)

    @contextmanager
    def up(self) -> Iterator[Bot]:
        self._thread.start()
        assert self._running.up.wait(30)
        try:
            yield self
        finally:
            self._running.stop()
            self._thread.join(30)

    @property
    def url(self) -> str:
        return self._running.url

    @property
    def reports(self) -> list[Report]:
        db = Database(self._running.database_url)
        try:
            return db.read_now(lambda s: list(s.exec(select(Report).order_by(col(Report.id))).all()))
        finally:
            db.close()

    def forget(self) -> None:
        db = Database(self._running.database_url)
        try:
            db.write_now(lambda s: s.execute(delete(Report)))
        finally:
            db.close()


@pytest.fixture(scope="module")
def running_bot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bot]:
    with Bot(tmp_path_factory.mktemp("bot")).up() as running:
        yield running


@pytest.fixture
def bot(running_bot: Bot) -> Bot:
    """With no reports: the next one is R-1."""
    running_bot.forget()
    return running_bot


Answer = tuple[int, dict[str, str], bytes]


class Wall:
    """An HTTP server that gives the answers it was told, one after the other, the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.hold = threading.Event()
        wall, waiting = self, list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                wall.seen.append(({k.lower(): v for k, v in self.headers.items()}, body))
                if not waiting:
                    wall.hold.wait(30)
                    self.close_connection = True
                    return
                status, headers, content = waiting.pop(0) if len(waiting) > 1 else waiting[0]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.02), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@pytest.fixture
def wall() -> Iterator[Callable[..., Wall]]:
    """Starts servers; with no answers, one that takes a request and never answers."""
    walls: list[Wall] = []

    def start(*answers: Answer) -> Wall:
        walls.append(Wall(*answers))
        return walls[-1]

    yield start
    for built in walls:
        built.close()
