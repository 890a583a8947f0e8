"""`panicroom doctor`: asks each neighbour whether it is there, and says what to do when it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.central import central_findings
from bot.doctor_analysis import analysis_findings
from bot.doctor_backup import backup_findings, inventory_findings, kept_findings
from bot.doctor_changes import feed_findings, workload_findings
from bot.doctor_intake import alertmanager_findings, netconsole_findings
from bot.doctor_replicas import replicas_findings
from bot.machine import (
    Finding,
    database_findings,
    pager_findings,
    port_findings,
    reports_findings,
    runbook_findings,
    settings_findings,
    ssh_findings,
    store_findings,
)
from bot.manifest import BOT_SCOPES
from bot.settings import Settings
from bot.sweeping import sweep_findings
from integrations.changes import ChangeError, JiraTracker
from integrations.slack.client import SlackClient
from integrations.slack.errors import SlackError

_CHECK_SECONDS = 30.0
_CLOCK_SECONDS = 60.0  # signatures fail at five minutes


async def examine(
    settings: Settings, config: Path | None, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> AsyncIterator[Finding]:
    """All checks, one after the other. A check never raises: what it cannot find out is a failure that says so."""
    slack = SlackClient(settings.slack)
    await slack.start()
    checks: list[tuple[str, Callable[[], Awaitable[list[Finding]]]]] = [
        ("settings", lambda: _in_thread(lambda: settings_findings(settings, config))),
        ("database", lambda: _in_thread(lambda: database_findings(settings))),
        ("replicas", lambda: _in_thread(lambda: replicas_findings(settings))),
        ("reports", lambda: _in_thread(lambda: reports_findings(settings))),
        ("store", lambda: _in_thread(lambda: store_findings(settings.store.dir))),
        ("store files", lambda: _in_thread(lambda: kept_findings(settings))),
        ("backups", lambda: _in_thread(lambda: backup_findings(settings, clock()))),
        ("inventory", lambda: inventory_findings(settings, clock())),
        ("port", lambda: _in_thread(lambda: port_findings(settings))),
        ("netconsole", lambda: netconsole_findings(settings)),
        ("alertmanager", lambda: _in_thread(lambda: alertmanager_findings(settings))),
        ("slack", lambda: _slack(slack, clock)),
        ("channels", lambda: _channels(settings, slack)),
        ("groups", lambda: _groups(settings, slack)),
        ("ssh", lambda: _in_thread(lambda: ssh_findings(settings))),
        ("runbook", lambda: _in_thread(lambda: runbook_findings(settings))),
        ("central store", lambda: central_findings(settings)),
        ("sweep", lambda: _in_thread(lambda: sweep_findings(settings))),
        ("analysis", lambda: analysis_findings(settings)),
        ("jira", lambda: _jira(settings, clock)),
        ("feed", lambda: _in_thread(lambda: feed_findings(settings, clock()))),
        ("workload", lambda: workload_findings(settings, clock())),
        ("pager", lambda: _in_thread(lambda: pager_findings(settings))),
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
    entries = [
        *access.viewers,
        *access.responders,
        *access.admins,
        *access.dump_readers,
        settings.routing.mention_group or "",
    ]
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
