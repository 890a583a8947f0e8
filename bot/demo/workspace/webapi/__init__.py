"""Slack's Web API, as far as the bot uses it: one module a family of methods."""

from __future__ import annotations

from bot.demo.workspace.webapi.endpoint import WebApi

__all__ = ["WebApi"]
