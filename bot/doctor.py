"""`panicroom doctor`: asks each neighbour whether it is there, and says what to do when it is not."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

import paramiko
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from bot.manifest import BOT_SCOPES
from bot.settings import Settings
from integrations.changes import ChangeError, JiraTracker
from integrations.slack.client import SlackClient
from integrations.slack.errors import SlackError
from storage.database import make_engine
from storage.migrations import SchemaError, current, head

Verdict = Literal["ok", "warn", "fail"]
_CHECK_SECONDS = 30.0
_CLOCK_SECONDS = 60.0  # signatures fail at five minutes


@dataclass(frozen=True)
class Finding:
    """One result. `remedy` says what to do, and is empty when nothing is to be done."""

    name: str
    verdict: Verdict
    said: str
    remedy: str = ""


async def examine(
    settings: Settings, config: Path | None, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> AsyncIterator[Finding]:
    """All checks, one after the other. A check never raises: what it cannot find out is a failure that says so."""
    slack = SlackClient(settings.slack)
    await slack.start()
    checks: list[tuple[str, Callable[[], Awaitable[list[Finding]]]]] = [
        ("settings", lambda: _in_thread(lambda: _settings(settings, config))),
        ("database", lambda: _in_thread(lambda: _database(settings))),
        ("store", lambda: _in_thread(lambda: _store(settings.store.dir))),
        ("port", lambda: _in_thread(lambda: _port(settings))),
        ("slack", lambda: _slack(slack, clock)),
        ("channels", lambda: _channels(settings, slack)),
        ("groups", lambda: _groups(settings, slack)),
        ("ssh", lambda: _in_thread(lambda: _ssh(settings))),
        ("jira", lambda: _jira(settings, clock)),
        ("pager", lambda: _in_thread(lambda: _pager(settings))),
    ]
    try:
        for name, check in checks:
            try:
                async with asyncio.timeout(_CHECK_SECONDS):
                    findings = await check()
            except TimeoutError:
                findings = [
                    Finding(name, "fail", f"no answer within {_CHECK_SECONDS:.0f} s", "Check the network.")
                ]
            except Exception as error:  # noqa: BLE001 - told as the result of this check
                findings = [Finding(name, "fail", f"{type(error).__name__}: {error}"[:300])]
            for finding in findings:
                yield finding
    finally:
        await slack.close()


async def _in_thread(check: Callable[[], list[Finding]]) -> list[Finding]:
    return await asyncio.to_thread(check)


# -- this machine -----------------------------------------------------------------------------------------


def _settings(settings: Settings, config: Path | None) -> list[Finding]:
    where = str(config) if config is not None else "the environment alone"
    findings = [Finding("settings", "ok", f"read from {where}; {len(settings.hosts)} hosts in the inventory")]
    if config is not None and stat.S_IMODE(config.stat().st_mode) & stat.S_IROTH:
        findings.append(
            Finding(
                "settings",
                "warn",
                f"{config} can be read by everybody on this machine",
                f"chmod 640 {config}, and keep tokens in files",
            )
        )
    if settings.inventory.closed and not settings.hosts:
        findings.append(
            Finding(
                "settings",
                "warn",
                "the inventory is closed and empty: every report is quarantined",
                "Add [[hosts]].",
            )
        )
    if not settings.access.admins:
        findings.append(
            Finding("settings", "warn", "nobody is an admin", "Set access.admins to user or group ids.")
        )
    return findings


def _database(settings: Settings) -> list[Finding]:
    shown = settings.database.shown
    remedy = "Check database.url, the server, and that the bot's user may write there."
    file = make_url(settings.database.url).database
    if settings.database.url.startswith("sqlite:") and file and not Path(file).exists():
        # Not made here: it would belong to whoever asked the doctor.
        store = _store(Path(file).parent)[0]
        if store.verdict == "fail":
            return [Finding("database", "fail", store.said, remedy)]
        return [Finding("database", "ok", f"{shown} is made at the first start")]
    try:
        revision = current(settings.database.url)
        engine = make_engine(settings.database.url)
        try:
            with (
                engine.connect().execution_options(panicroom_write=True) as connection,
                connection.begin() as work,
            ):
                connection.exec_driver_sql("CREATE TABLE panicroom_doctor (id INTEGER)")
                work.rollback()
        finally:
            engine.dispose()
    except (SQLAlchemyError, SchemaError, OSError) as error:
        return [Finding("database", "fail", f"{shown}: {str(error).splitlines()[0][:300]}", remedy)]
    findings = [Finding("database", "ok", f"{shown} can be written")]
    if revision is None:
        findings.append(Finding("schema", "ok", f"empty; the first start makes it (revision {head()})"))
    elif revision == head():
        findings.append(Finding("schema", "ok", f"revision {revision}, as this version needs"))
    else:
        said = f"revision {revision}, this version needs {head()}"
        findings.append(
            Finding("schema", "warn", said, "The next start upgrades it; make a backup first.")
            if revision < head()  # revisions are numbered: 0001, 0002
            else Finding("schema", "fail", said, "It was written by a newer version: start that one.")
        )
    return findings


def _store(directory: Path) -> list[Finding]:
    place = directory
    while not place.exists():
        place = place.parent
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".panicroom-doctor-"):
            pass
    except OSError as error:
        return [
            Finding(
                "store",
                "fail",
                f"{directory}: {error.strerror}",
                "Give the bot's user a directory it may write: store.dir.",
            )
        ]
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
    said = f"{directory} can be written, {free / 1024**3:.1f} GiB free"
    if free < 1024**3:
        return [Finding("store", "warn", said, "Make room: bundles are kept there.")]
    return [Finding("store", "ok", said)]


def _port(settings: Settings) -> list[Finding]:
    listen, port = settings.server.listen, settings.server.port
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen, port))
        except OSError as error:
            said = f"{listen}:{port} cannot be listened on: {error.strerror}"
            return [Finding("port", "warn", said, "Fine when the bot is running; else set server.port.")]
    return [Finding("port", "ok", f"{listen}:{port} is free")]


def _ssh(settings: Settings) -> list[Finding]:
    ssh = settings.ssh
    findings = []
    known_hosts = ssh.known_hosts.expanduser()
    try:
        lines = [line for line in known_hosts.read_text("utf-8", "replace").splitlines() if line.strip()]
        count = sum(not line.lstrip().startswith("#") for line in lines)
        findings.append(
            Finding("known hosts", "ok", f"{known_hosts}: {count} keys")
            if count
            else Finding(
                "known hosts", "warn", f"{known_hosts} is empty: every host is refused", _KNOWN_HOSTS
            )
        )
    except OSError as error:
        findings.append(Finding("known hosts", "fail", f"{known_hosts}: {error.strerror}", _KNOWN_HOSTS))
    if ssh.key_file is not None:
        findings.append(_ssh_key(ssh.key_file.expanduser()))
    elif ssh.agent:
        agent = os.environ.get("SSH_AUTH_SOCK", "")
        findings.append(
            Finding("ssh key", "ok", f"from the agent at {agent}")
            if agent and Path(agent).exists()
            else Finding(
                "ssh key",
                "fail",
                "ssh.agent is set, but there is no agent at SSH_AUTH_SOCK",
                "Start one, or set ssh.key_file.",
            )
        )
    else:
        findings.append(
            Finding(
                "ssh key",
                "fail",
                "there is neither ssh.key_file nor ssh.agent: triage cannot log in",
                "Set one of them.",
            )
        )
    return findings


_KNOWN_HOSTS = "Fill it from a source you trust, or with your host CA (`@cert-authority`): ssh.known_hosts."


def _ssh_key(file: Path) -> Finding:
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        key = paramiko.PKey.from_path(file)
    except (OSError, ValueError, TypeError, paramiko.SSHException) as error:
        return Finding(
            "ssh key",
            "fail",
            f"{file}: {error}"[:300],
            "ssh.key_file must be a private key without passphrase.",
        )
    if mode & 0o077:
        return Finding(
            "ssh key", "warn", f"{file} can be read by others (mode {mode:04o})", f"chmod 600 {file}"
        )
    return Finding("ssh key", "ok", f"{file} ({key.get_name()}, {key.fingerprint})")


def _pager(settings: Settings) -> list[Finding]:
    if not settings.pager.enabled:
        return [Finding("pager", "ok", "none is set")]
    return [Finding("pager", "ok", "is set; it is not called here, because that would page somebody")]


# -- the neighbours ---------------------------------------------------------------------------------------


async def _slack(slack: SlackClient, clock: Callable[[], datetime]) -> list[Finding]:
    try:
        await slack.who_am_i()
        answer = await slack.web.auth_test()
    except (SlackError, SlackApiError) as error:
        return [
            Finding("slack", "fail", str(error)[:300], "Check slack.bot_token and that Slack can be reached.")
        ]
    findings = [
        Finding("slack", "ok", f"{answer.get('user')} in {answer.get('team')} ({answer.get('team_id')})")
    ]
    headers = {str(k).lower(): v for k, v in (answer.headers or {}).items()}
    granted = {
        scope.strip() for scope in str(headers.get("x-oauth-scopes") or "").split(",") if scope.strip()
    }
    missing = [scope for scope in BOT_SCOPES if granted and scope not in granted]
    if missing:
        what = ", ".join(f"{scope} ({BOT_SCOPES[scope]})" for scope in missing)
        findings.append(
            Finding(
                "scopes",
                "fail",
                f"missing: {what}",
                "Update the app from `panicroom manifest`, install it again.",
            )
        )
    findings += _clock(headers.get("date"), clock())
    if slack.config.mode == "socket":
        findings.append(await _socket(slack))
    return findings


def _clock(date: object, now: datetime) -> list[Finding]:
    try:
        theirs = parsedate_to_datetime(str(date))
    except (ValueError, TypeError):
        return []
    off = (now - theirs).total_seconds()
    if abs(off) > _CLOCK_SECONDS:
        said = f"this machine's clock is {off:+.0f} s from Slack's"
        return [
            Finding("clock", "fail", said, "Synchronise it (NTP): signatures are refused at five minutes.")
        ]
    return [Finding("clock", "ok", f"within {max(1, abs(off)):.0f} s of Slack's")]


async def _socket(slack: SlackClient) -> Finding:
    token = slack.config.app_token.get_secret_value()
    web = AsyncWebClient(base_url=slack.web.base_url, timeout=10, retry_handlers=[])
    try:
        await web.apps_connections_open(app_token=token)
    except (SlackApiError, OSError, TimeoutError) as error:
        return Finding(
            "socket",
            "fail",
            str(error).splitlines()[0][:200],
            "slack.app_token needs the scope connections:write.",
        )
    return Finding("socket", "ok", "a Socket Mode connection may be opened")


async def _channels(settings: Settings, slack: SlackClient) -> list[Finding]:
    wanted = {settings.routing.channel: "routing.channel"}
    for rule in settings.routing.rules:
        wanted.setdefault(rule.channel, "routing.rules")
    if settings.slack.admin_channel:
        wanted.setdefault(settings.slack.admin_channel, "slack.admin_channel")
    findings = []
    for channel, key in wanted.items():
        try:
            found = (await slack.call_form("conversations.info", {"channel": channel})).get("channel") or {}
        except SlackError as error:
            findings.append(Finding("channel", "fail", f"{key} {channel}: {error}"[:300]))
            continue
        name = f"{key} #{found.get('name', channel)}"
        if found.get("is_archived"):
            findings.append(
                Finding("channel", "fail", f"{name} is archived", "Unarchive it, or route to another one.")
            )
        elif not found.get("is_member"):
            findings.append(
                Finding("channel", "fail", f"the bot is not in {name}", "There, say `/invite @panicroom`.")
            )
        else:
            findings.append(Finding("channel", "ok", name))
    return findings


async def _groups(settings: Settings, slack: SlackClient) -> list[Finding]:
    access = settings.access
    entries = [*access.viewers, *access.responders, *access.admins, settings.routing.mention_group or ""]
    findings = []
    for group in dict.fromkeys(entry for entry in entries if entry.startswith("S")):
        try:
            members = await slack.members_of(group)
        except SlackError as error:
            findings.append(
                Finding(
                    "group", "fail", f"{group}: {error}"[:300], "Check the id; groups need usergroups:read."
                )
            )
            continue
        findings.append(
            Finding("group", "ok", f"{group}: {len(members)} members")
            if members
            else Finding(
                "group", "warn", f"{group} has no members", "Nobody gets this role, nobody is mentioned."
            )
        )
    return findings


async def _jira(settings: Settings, clock: Callable[[], datetime]) -> list[Finding]:
    if settings.jira is None:
        return [Finding("jira", "ok", "none is set: changes cannot be linked")]
    tracker = JiraTracker(settings.jira, clock=clock)
    now = clock()
    try:
        await tracker.find("panicroom-doctor", since=now - timedelta(hours=1), until=now)
    except ChangeError as error:
        return [
            Finding(
                "jira",
                "fail",
                f"{settings.jira.url}: {error}"[:300],
                "Check [jira] url, email, token, projects, jql.",
            )
        ]
    finally:
        await tracker.close()
    return [
        Finding("jira", "ok", f"{settings.jira.url} takes the search in {', '.join(settings.jira.projects)}")
    ]
