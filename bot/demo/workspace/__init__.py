"""A small Slack: one workspace, one installed app, a page for people. See `make_app` and `testing`."""

from __future__ import annotations

from bot.demo.workspace.blockkit import check_message, check_view
from bot.demo.workspace.directory import Channel, Directory, User, Usergroup, demo_directory
from bot.demo.workspace.page import HostHooks
from bot.demo.workspace.server import make_app
from bot.demo.workspace.slackapp import Command, Shortcut, SlackApp
from bot.demo.workspace.workspace import Workspace

__all__ = [
    "Channel",
    "Command",
    "Directory",
    "HostHooks",
    "Shortcut",
    "SlackApp",
    "User",
    "Usergroup",
    "Workspace",
    "check_message",
    "check_view",
    "demo_directory",
    "make_app",
]
