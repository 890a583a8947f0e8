"""Modals (a stack for each user) and App Homes."""

from __future__ import annotations

import json
from typing import Any

from bot.demo.workspace.directory import TEAM_ID
from bot.demo.workspace.errors import ApiError
from bot.demo.workspace.feed import Feed
from bot.demo.workspace.identity import Ids
from bot.demo.workspace.journal import Journal
from bot.demo.workspace.slackapp import SlackApp

Json = dict[str, Any]

MAX_STACK = 3
MAX_VIEW_BYTES = 250_000

_OPTIONAL = ("title", "submit", "close")


class ViewBook:
    """Open modals and published homes. A second start keeps homes; open modals are gone, as after a reload."""

    def __init__(self, *, app: SlackApp, ids: Ids, journal: Journal, feed: Feed) -> None:
        self._app = app
        self._ids = ids
        self._journal = journal
        self._feed = feed
        self._stacks: dict[str, list[Json]] = {}
        self.homes: dict[str, Json] = {}

    def load(self) -> None:
        self.homes.update(self._journal.load("home"))

    def stack(self, user: str) -> list[Json]:
        """The modals of `user`, the visible one last."""
        return self._stacks.setdefault(user, [])

    def find(self, view_id: str | None, external_id: str | None = None) -> tuple[str, Json] | None:
        """(user, view) of an open modal or a home."""
        for user, stack in self._stacks.items():
            for view in stack:
                if view["id"] == view_id or (external_id and view["external_id"] == external_id):
                    return user, view
        for user, view in self.homes.items():
            if view["id"] == view_id or (external_id and view["external_id"] == external_id):
                return user, view
        return None

    def open(self, user: str, given: Json, blocks: list[Json]) -> Json:
        """A new modal for `user`; what was open before is closed."""
        self._check(given, external_of=None)
        for old in self.stack(user):
            self._feed.tell({"type": "modal_closed", "user": user, "view_id": old["id"]}, only=user)
        view = self._made(given, blocks)
        view["root_view_id"] = view["id"]
        self._stacks[user] = [view]
        self._show(user, view)
        return view

    def push(self, user: str, given: Json, blocks: list[Json]) -> Json:
        """A modal on top of the stack of `user`, three deep at most."""
        stack = self.stack(user)
        if not stack:
            raise ApiError("not_found")
        if len(stack) >= MAX_STACK:
            raise ApiError("push_limit_reached")
        self._check(given, external_of=None)
        view = self._made(given, blocks)
        view["previous_view_id"] = stack[-1]["id"]
        view["root_view_id"] = stack[0]["id"]
        stack.append(view)
        self._show(user, view)
        return view

    def update(self, user: str, view: Json, given: Json, blocks: list[Json], *, hash_: str | None) -> Json:
        """Replace what `view` shows. What the user typed stays where block and action ids stay."""
        if hash_ is not None and hash_ != view["hash"]:
            raise ApiError("hash_conflict")
        self._check(given, external_of=view)
        kept = {field: view[field] for field in ("id", "previous_view_id", "root_view_id", "state")}
        view.clear()
        view.update(self._made(given, blocks), **kept)
        if self.homes.get(user) is view:
            self._publish(user, view)
        else:
            self._show(user, view)
        return view

    def publish(self, user: str, given: Json, blocks: list[Json], *, hash_: str | None) -> Json:
        """The App Home of `user`."""
        old = self.homes.get(user)
        if old is not None and hash_ is not None and hash_ != old["hash"]:
            raise ApiError("hash_conflict")
        self._check(given, external_of=old)
        view = self._made(given, blocks)
        view["id"] = old["id"] if old is not None else view["id"]
        view["root_view_id"] = view["id"]
        self._publish(user, view)
        return view

    def close(self, user: str, view_id: str) -> Json | None:
        """Close the visible modal; the one below is shown again. Gives the closed view."""
        stack = self.stack(user)
        if not stack or stack[-1]["id"] != view_id:
            return None
        view = stack.pop()
        self._feed.tell({"type": "modal_closed", "user": user, "view_id": view_id}, only=user)
        if stack:
            self._show(user, stack[-1])
        return view

    def clear(self, user: str) -> list[Json]:
        """Close all modals of `user`; gives them, the visible one first."""
        closed = list(reversed(self.stack(user)))
        self._stacks[user] = []
        for view in closed:
            self._feed.tell({"type": "modal_closed", "user": user, "view_id": view["id"]}, only=user)
        return closed

    def _check(self, given: Json, *, external_of: Json | None) -> None:
        if len(json.dumps(given)) > MAX_VIEW_BYTES:
            raise ApiError("view_too_large")
        if external := given.get("external_id"):
            found = self.find(None, external)
            if found is not None and found[1] is not external_of:
                raise ApiError("duplicate_external_id")

    def _made(self, given: Json, blocks: list[Json]) -> Json:
        view: Json = {
            "id": self._ids.id("V"),
            "team_id": TEAM_ID,
            "type": given["type"],
            "blocks": blocks,
            "private_metadata": given.get("private_metadata", ""),
            "callback_id": given.get("callback_id", ""),
            "external_id": given.get("external_id", ""),
            "state": {"values": {}},
            "hash": f"{self._ids.ts()}.{self._ids.token(8)}",
            "clear_on_close": bool(given.get("clear_on_close", False)),
            "notify_on_close": bool(given.get("notify_on_close", False)),
            "previous_view_id": None,
            "root_view_id": None,
            "app_id": self._app.app_id,
            "app_installed_team_id": TEAM_ID,
            "bot_id": self._app.bot_id,
        }
        for field in _OPTIONAL:
            view[field] = given.get(field)
        if "submit_disabled" in given:
            view["submit_disabled"] = given["submit_disabled"]
        return view

    def _show(self, user: str, view: Json) -> None:
        self._feed.tell({"type": "modal", "user": user, "view": view}, only=user)

    def _publish(self, user: str, view: Json) -> None:
        self.homes[user] = view
        self._journal.put("home", user, view)
        self._feed.tell({"type": "home", "user": user, "view": view}, only=user)
