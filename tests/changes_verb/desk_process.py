"""A change desk as a process of its own, to be killed: DATABASE_URL SLACK_API_URL SLACK_TOKEN JIRA_URL EMAIL TOKEN."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from commands.access import Access, AccessConfig
from commands.changes import blocks as _cards  # noqa: F401 - registers the card
from commands.changes.config import ChangesConfig
from commands.changes.desk import ChangeDesk
from commands.context import Context
from commands.inventory import Inventory
from integrations.changes import JiraConfig, JiraTracker
from integrations.slack.client import SlackClient, SlackConfig
from storage import Database


async def main(
    database: str, slack_url: str, slack_token: str, jira_url: str, email: str, token: str
) -> None:
    slack = SlackClient(SlackConfig(api_url=slack_url, bot_token=SecretStr(slack_token)))
    await slack.start()
    access = Access(AccessConfig(), slack.members_of)
    ctx = Context(
        db=Database(database),
        slack=slack,
        inventory=Inventory(),
        access=access,
        store_dir=Path(),
        wake=lambda: None,
    )
    config = JiraConfig(url=jira_url, email=email, token=SecretStr(token), projects=("OPS",), timeout=5)
    quick = ChangesConfig(
        automatic=False, retry_first=timedelta(milliseconds=30), retry_longest=timedelta(milliseconds=120)
    )
    await ChangeDesk(ctx, JiraTracker(config), quick).run()


asyncio.run(main(*sys.argv[1:]))
