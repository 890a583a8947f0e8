"""A real workspace for a test: on a free port, with people who act and wait.

    async with running_workspace() as ws:                      # Socket Mode; request_url=… for HTTP mode
        ...                                                    # start the bot with ws.api_url, ws.bot_token, …
        await ws.until_connected()
        parent = await ws.message("web-17 panicked")
        on_call = ws.person("U0ONCALL")
        await on_call.click(parent, "Run triage")
        await ws.reply(parent, "Runbook 5/5", timeout=30)
        await on_call.click(parent, "Resolve")
        form = await on_call.modal("Resolve")
        assert await on_call.submit(form, {"Cause": "bad DIMM"}) == {}

`visiting(url)` gives the same for a workspace that runs as a process of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from bot.demo.workspace.page import HostHooks
from bot.demo.workspace.server import serving
from bot.demo.workspace.visible import element, elements, option, visible_text
from bot.demo.workspace.visitor import NotSeen, Person, Refused, WorkspaceClient, visiting
from bot.demo.workspace.workspace import Workspace

__all__ = [
    "NotSeen",
    "Person",
    "Refused",
    "RunningWorkspace",
    "WorkspaceClient",
    "element",
    "elements",
    "option",
    "running_workspace",
    "visible_text",
    "visiting",
]


class RunningWorkspace(WorkspaceClient):
    """A client whose workspace is in this process: `workspace` is the thing itself."""

    def __init__(self, url: str, session: aiohttp.ClientSession, workspace: Workspace) -> None:
        super().__init__(url, session)
        self.workspace = workspace
        self.bot_token = workspace.app.bot_token
        self.app_token = workspace.app.app_token
        self.signing_secret = workspace.app.signing_secret

    @property
    def request_url(self) -> str | None:
        """Where the bot wants commands, clicks and events (HTTP mode); may be set once its port is known."""
        return self.workspace.request_url

    @request_url.setter
    def request_url(self, url: str | None) -> None:
        self.workspace.request_url = url


@asynccontextmanager
async def running_workspace(
    *, port: int = 0, hosts: HostHooks | None = None, **options: Any
) -> AsyncIterator[RunningWorkspace]:
    """A workspace on a free port until the block ends; `options` as for `Workspace` (data_dir, app, …)."""
    workspace = Workspace(**options)
    async with (
        serving(workspace, port=port, hosts=hosts) as url,
        aiohttp.ClientSession() as session,
    ):
        client = RunningWorkspace(url, session, workspace)
        async with client.connected():
            yield client
