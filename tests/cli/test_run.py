from __future__ import annotations

import asyncio
import json
import signal
import socket
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from bot.demo.workspace.testing import running_workspace
from storage import migrations
from tests import forks
from tests.forks import Forked

SETTINGS = """
server.port = {port}
server.shared_secrets = ["0123456789abcdef"]
slack.bot_token = "xoxb-x"
slack.signing_secret = "s"
routing.channel = "C0INCIDENTS"
"""
NO_SLACK = 'slack.api_url = "http://127.0.0.1:1/api/"'


def start(directory: Path, port: int, setting: str = "") -> Forked:
    slack = "" if "api_url" in setting else NO_SLACK
    (directory / "panicroom.toml").write_text(f"{SETTINGS.format(port=port)}{slack}\n{setting}\n")
    return forks.start("run", "--config", str(directory / "panicroom.toml"), cwd=directory)


def test_it_runs_takes_reports_while_slack_is_down_and_stops_when_told(tmp_path: Path) -> None:
    bot = start(tmp_path, 0)
    try:
        line = bot.line()
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
        sent = ["report", "dmesg", "--host", "web-9", "--url", address]
        done = forks.panicroom(*sent, cwd=tmp_path, PANICROOM_SECRET="0123456789abcdef")
        assert done.stdout == "R-1 accepted\n"
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


def test_a_second_bot_touches_nothing_before_it_finds_the_port_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bot = start(tmp_path, taken.getsockname()[1])
        bot.communicate(timeout=60)
    assert bot.returncode == 1
    assert not (tmp_path / "panicroom.db").exists()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('database.url = "sqlite:///bad.db"', "bad.db: file is not a database"),
        ('database.url = "sqlite:////proc/no/such/place.db"', "Give the bot's user a place it may write"),
        ('database.url = "postgresql://u:hidden-word@127.0.0.1:1/x"', "Connection refused"),
        (
            'server.listen = "no.such.invalid"',
            "server.listen = 'no.such.invalid' is no address of this machine",
        ),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(tmp_path: Path, setting: str, said: str) -> None:
    (tmp_path / "bad.db").write_text("this is no database at all " * 100)
    bot = start(tmp_path, 0, setting)
    _, log = bot.communicate(timeout=60)
    assert bot.returncode == 1, log
    (line,) = [line for line in log.splitlines() if line.startswith("panicroom: ")]
    assert said in line
    assert "Traceback" not in log
    assert "hidden-word" not in log


def test_a_locked_database_is_said_without_a_traceback(tmp_path: Path) -> None:
    migrations.upgrade(f"sqlite:///{tmp_path}/panicroom.db")
    with closing(sqlite3.connect(tmp_path / "panicroom.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        bot = start(tmp_path, 0)
        _, log = bot.communicate(timeout=90)
    assert bot.returncode == 1
    assert "database is locked. Another program holds it: end that one first." in log
    assert "Traceback" not in log


async def test_a_wrong_token_is_told_and_reports_are_taken_all_the_same(tmp_path: Path) -> None:
    async with running_workspace() as ws:
        bot = await asyncio.to_thread(start, tmp_path, 0, f'slack.api_url = "{ws.api_url}"')
        try:
            line = await asyncio.to_thread(bot.line)
            async with aiohttp.ClientSession() as http, http.get(f"{line.split()[-1]}/readyz") as answer:
                assert answer.status == 503
                told = (await answer.json())["checks"]["slack"]
        finally:
            bot.send_signal(signal.SIGTERM)
            _, log = await asyncio.to_thread(bot.communicate, timeout=30)
    assert told == "Slack refused auth.test: invalid_auth. Check [slack] bot_token."
    assert told in log
    assert bot.returncode == 0
