from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.app import Bot
from bot.demo.workspace import SlackApp
from bot.manifest import BOT_SCOPES, app_manifest
from bot.sending import make_report
from bot.settings import DatabaseConfig, Settings, StoreConfig
from commands.inventory import HostEntry, Inventory
from integrations.slack.client import SlackConfig
from storage import migrations
from tests.forks import panicroom
from tests.support_http import RunningRoutes

SECRET = "0123456789abcdef0123456789abcdef"
LEAST = f"""
server.shared_secrets = ["{SECRET}"]
slack.bot_token = "xoxb-x"
slack.signing_secret = "s"
routing.channel = "C0INCIDENTS"
"""


def test_the_version_and_the_help(tmp_path: Path) -> None:
    done = panicroom("--version", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("panicroom ")
    done = panicroom("--help", cwd=tmp_path)
    assert done.returncode == 0
    for command in ("run", "demo", "doctor", "import", "list", "show", "parse", "report", "manifest", "db"):
        assert f" {command} " in done.stdout


@pytest.mark.parametrize("command", [["--version"], ["parse", "-"]])
def test_a_small_command_loads_no_more_than_it_needs(tmp_path: Path, command: list[str]) -> None:
    """Loading the ORM, the HTTP client, Slack's SDK and paramiko takes about a second."""
    code = (
        "import atexit, sys; from bot.cli import main; "
        "atexit.register(lambda: print(*sorted(sys.modules), sep='\\n', file=sys.stderr)); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        input="",
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "typer" in loaded
    heavy = {"sqlalchemy", "sqlmodel", "aiohttp", "slack_sdk", "paramiko", "jira", "dbos", "asyncio"}
    assert loaded & heavy == set()


@pytest.mark.parametrize("command", [["run"], ["doctor"], ["db", "upgrade"], ["db", "current"]])
def test_wrong_settings_are_told_without_a_traceback(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "panicroom.toml").write_text(LEAST + "[slack]\n")
    done = panicroom(*command, cwd=tmp_path)
    assert done.returncode == 2
    assert "panicroom.toml: is not valid TOML" in done.stderr
    (tmp_path / "panicroom.toml").write_text(LEAST + '[log]\nlevel = "loud"\n')
    done = panicroom(*command, "--config", "panicroom.toml", cwd=tmp_path, PANICROOM_SERVER__PORT="many")
    assert done.returncode == 2
    assert "log.level (panicroom.toml): must be 'debug'" in done.stderr
    assert "server.port (PANICROOM_SERVER__PORT): must be a valid integer" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_database_is_upgraded_and_its_version_shown(tmp_path: Path) -> None:
    (tmp_path / "panicroom.toml").write_text(LEAST)
    head = migrations.head()
    assert panicroom("db", "current", cwd=tmp_path).stdout == f"database empty, this version {head}\n"
    assert not (tmp_path / "panicroom.db").exists()
    assert panicroom("db", "upgrade", cwd=tmp_path).stdout == f"empty -> {head}\n"
    assert panicroom("db", "upgrade", cwd=tmp_path).stdout == f"{head}: nothing to do\n"
    assert panicroom("db", "current", cwd=tmp_path).stdout == f"database {head}, this version {head}\n"
    with sqlite3.connect(tmp_path / "panicroom.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    for command in (["db", "upgrade"], ["run"]):
        done = panicroom(*command, cwd=tmp_path)
        assert done.returncode == 1
        assert "newer version of Panicroom" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_config_may_come_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.toml").write_text(LEAST)
    done = panicroom("db", "current", cwd=tmp_path, PANICROOM_CONFIG=str(tmp_path / "elsewhere.toml"))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_manifest_is_json_and_works_without_tokens(tmp_path: Path) -> None:
    done = panicroom("manifest", "--url", "https://bot.example/", cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout) == app_manifest(socket_mode=False, public_url="https://bot.example")
    done = panicroom("manifest", cwd=tmp_path)
    assert done.returncode == 2
    assert "server.public_url" in done.stderr
    (tmp_path / "panicroom.toml").write_text("slack.mode = 'socket'\nslack.command = '/oops'\n")
    made = json.loads(panicroom("manifest", cwd=tmp_path).stdout)
    assert made["settings"]["socket_mode_enabled"] is True
    assert made["features"]["slash_commands"][0]["command"] == "/oops"


def test_the_manifest_of_each_mode() -> None:
    by_http = app_manifest(socket_mode=False, public_url="https://bot.example/")
    address = "https://bot.example/slack/events"
    assert by_http["features"]["slash_commands"][0]["url"] == address
    assert by_http["settings"]["event_subscriptions"]["request_url"] == address
    assert by_http["settings"]["interactivity"]["request_url"] == address
    assert by_http["settings"]["interactivity"]["message_menu_options_url"] == address
    by_socket = app_manifest(socket_mode=True, public_url=None)
    assert "http" not in json.dumps(by_socket)
    assert set(by_http["oauth_config"]["scopes"]["bot"]) == set(BOT_SCOPES)
    with pytest.raises(ValueError, match="public address"):
        app_manifest(socket_mode=False, public_url=None)
    installed = SlackApp.from_manifest(by_http)
    assert installed.commands[0].command == "/panic"
    assert installed.events == {"app_mention", "app_home_opened"}


def test_the_manifest_has_the_shortcuts_that_the_bot_answers(tmp_path: Path) -> None:
    settings = Settings(
        database=DatabaseConfig(url=f"sqlite:///{tmp_path}/x.db"),
        store=StoreConfig(dir=tmp_path),
        slack=SlackConfig(bot_token=SecretStr("xoxb-x")),
    )
    bot = Bot(settings)
    installed = SlackApp.from_manifest(app_manifest(socket_mode=True, public_url=None))
    assert {shortcut.callback_id for shortcut in installed.shortcuts} == set(bot.router.shortcuts)
    bot.db.close()


def test_the_manifest_keeps_slacks_limits() -> None:
    made = app_manifest(socket_mode=False, public_url="https://bot.example")
    assert len(made["display_information"]["name"]) <= 35
    assert len(made["display_information"]["description"]) <= 140
    for command in made["features"]["slash_commands"]:
        assert len(command["description"]) <= 2000
        assert len(command["usage_hint"]) <= 1000


@pytest.fixture
def routes(tmp_path: Path) -> Iterator[RunningRoutes]:
    own = HostEntry.model_validate({"name": "web-17", "secret": "web-17-own-0123456789"})
    running = RunningRoutes(tmp_path / "bot.db", (SecretStr(SECRET),), Inventory((own,)))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    assert running.up.wait(30)
    yield running
    running.stop()
    thread.join(30)


def test_a_report_by_hand(tmp_path: Path, routes: RunningRoutes) -> None:
    (tmp_path / "dmesg").write_bytes(b"BUG: kernel NULL pointer dereference \xff\x00\n")
    (tmp_path / "secret").write_text(SECRET + "\n")
    sent = ["report", "dmesg", "--host", "web-9", "--url", routes.url, "--secret-file", "secret"]
    done = panicroom(*sent, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("R-1 accepted\n", "")
    assert panicroom(*sent, cwd=tmp_path).stdout == "R-1 duplicate\n"
    assert panicroom(*sent, "--id", "other", cwd=tmp_path).stdout == "R-2 accepted\n"
    own = ["report", "-", "--host", "web-17", "--url", routes.url + "/", "--kernel", "6.1.0"]
    done = panicroom(*own, cwd=tmp_path, text="eth0: link up", PANICROOM_SECRET="web-17-own-0123456789")
    assert done.stdout == "R-3 accepted\n"
    assert done.stderr == 'note: - holds no crash text, so its panic reads "cause unknown".\n'


def test_a_report_that_is_not_taken_says_why(tmp_path: Path, routes: RunningRoutes) -> None:
    sent = ["report", "-", "--url", routes.url, "--host"]
    done = panicroom(*sent, "web-9", cwd=tmp_path, text="Oops", PANICROOM_SECRET="wrong")
    assert done.returncode == 1
    assert "401 (X-Panicroom-Signature)" in done.stderr
    done = panicroom(*sent, "no host", cwd=tmp_path, text="Oops", PANICROOM_SECRET=SECRET)
    assert done.returncode == 1
    assert "422 (host)" in done.stderr or "401 (X-Panicroom-Host)" in done.stderr
    done = panicroom(*sent, "web-9", cwd=tmp_path, text="Oops")
    assert (done.returncode, "--secret-file" in done.stderr) == (2, True)
    done = panicroom("report", "absent", "--host", "h", cwd=tmp_path, PANICROOM_SECRET=SECRET)
    assert (done.returncode, done.stderr) == (2, "panicroom: absent: No such file or directory\n")
    done = panicroom(
        "report",
        "-",
        "--host",
        "h",
        "--url",
        "http://127.0.0.1:1",
        cwd=tmp_path,
        text="",
        PANICROOM_SECRET=SECRET,
    )
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_same_text_of_the_same_host_is_the_same_report() -> None:
    one, same, other = make_report("h", "t"), make_report("h", "t"), make_report("h2", "t")
    assert one == same
    assert one["id"] != other["id"]
    assert make_report("h", "\ud800")["id"]
    assert "kernel" not in make_report("h", "t", kernel=None)
