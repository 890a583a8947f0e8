from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from storage import migrations

SETTINGS = """
server.port = {port}
server.shared_secrets = ["0123456789abcdef"]
slack.api_url = "http://127.0.0.1:1/api/"
slack.bot_token = "xoxb-x"
slack.signing_secret = "s"
routing.channel = "C0INCIDENTS"
"""


def start(directory: Path, port: int) -> subprocess.Popen[str]:
    (directory / "panicroom.toml").write_text(SETTINGS.format(port=port))
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PANICROOM_")}
    return subprocess.Popen(
        [sys.executable, "-m", "bot.cli", "run", "--config", str(directory / "panicroom.toml")],
        cwd=directory,
        env=clean,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_runs_takes_reports_while_slack_is_down_and_stops_when_told(tmp_path: Path) -> None:
    bot = start(tmp_path, 0)
    try:
        assert bot.stdout is not None
        line = bot.stdout.readline()
        assert line.startswith("panicroom is up at http://127.0.0.1:"), bot.communicate()
        address = line.split()[-1]
        with urllib.request.urlopen(f"{address}/healthz", timeout=10) as answer:
            assert json.load(answer)["alive"] is True
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"{address}/readyz", timeout=10)
        assert error.value.code == 503
        checks = json.load(error.value)["checks"]
        assert checks["database"] == "ok"
        assert checks["slack"] != "ok"
        (tmp_path / "dmesg").write_text("Kernel panic - not syncing: Fatal exception")
        sent = [sys.executable, "-m", "bot.cli", "report", "dmesg", "--host", "web-9", "--url", address]
        environ = {**os.environ, "PANICROOM_SECRET": "0123456789abcdef"}
        assert (
            subprocess.check_output(sent, cwd=tmp_path, env=environ, text=True, timeout=60)
            == "R-1 accepted\n"
        )
        assert migrations.current(f"sqlite:///{tmp_path}/panicroom.db") == migrations.head()
    finally:
        bot.send_signal(signal.SIGTERM)
        _, log = bot.communicate(timeout=60)
    assert bot.returncode == 0, log
    assert "xoxb-x" not in log
    for written in log.splitlines():
        json.loads(written)


def test_a_port_that_is_taken_is_said_without_a_traceback(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bot = start(tmp_path, taken.getsockname()[1])
        _, log = bot.communicate(timeout=60)
    assert bot.returncode == 1
    assert "Address already in use. Is the bot running already?" in log
    assert "Traceback" not in log
