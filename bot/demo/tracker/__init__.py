"""A small Jira stand-in: what a REST client of Cloud or Data Center needs to read, find and annotate tickets."""

from __future__ import annotations

from bot.demo.tracker.server import make_app
from bot.demo.tracker.tickets import Comment, Link, Ticket, Tracker, seed

__all__ = ["Comment", "Link", "Ticket", "Tracker", "make_app", "seed"]
