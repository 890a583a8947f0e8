"""Short-lived rights that the workspace hands to the app: trigger ids and response URLs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bot.demo.workspace.errors import ApiError
from bot.demo.workspace.identity import Ids
from bot.demo.workspace.journal import Journal

Json = dict[str, Any]

TRIGGER_SECONDS = 3.0
RESPONSE_URL_SECONDS = 30 * 60.0
RESPONSE_URL_USES = 5


class Tickets:
    """Issues and redeems trigger ids (3 s, once) and response URLs (30 min, five times)."""

    def __init__(self, *, clock: Callable[[], float], ids: Ids, journal: Journal) -> None:
        self._clock = clock
        self._ids = ids
        self._journal = journal
        self._triggers: dict[str, Json] = {}
        self._responses: dict[str, Json] = {}

    def load(self) -> None:
        self._responses.update(self._journal.load("response_url"))

    def trigger(self, user: str, *, view_id: str | None = None) -> str:
        """A trigger for a modal of `user`; `view_id` is the modal that it was pulled in, if any."""
        now = self._clock()
        for old in [key for key, entry in self._triggers.items() if entry["expires"] < now - 60]:
            del self._triggers[old]
        trigger = self._ids.trigger()
        self._triggers[trigger] = {
            "user": user,
            "view_id": view_id,
            "expires": now + TRIGGER_SECONDS,
            "used": False,
        }
        return trigger

    def pull(self, trigger: str) -> Json:
        """Spend a trigger: {user, view_id}. Raises Slack's errors for a bad, late or spent one."""
        entry = self._triggers.get(trigger)
        if entry is None:
            raise ApiError("invalid_trigger_id" if trigger.count(".") != 2 else "expired_trigger_id")
        if entry["used"]:
            raise ApiError("exchanged_trigger_id")
        if entry["expires"] < self._clock():
            raise ApiError("expired_trigger_id")
        entry["used"] = True
        return entry

    def response_url(
        self, kind: str, *, base: str, channel: str, user: str, message_ts: str | None, thread_ts: str | None
    ) -> str:
        """A URL to answer a command (`commands`) or an action (`actions`); `message_ts` is what was clicked."""
        token = self._ids.token()
        self._responses[token] = {
            "channel": channel,
            "user": user,
            "message_ts": message_ts,
            "thread_ts": thread_ts,
            "expires": self._clock() + RESPONSE_URL_SECONDS,
            "uses": 0,
        }
        self._journal.put("response_url", token, self._responses[token])
        return f"{base}/{kind}/T0PANICROOM/{token}"

    def respond(self, token: str) -> Json:
        """Spend one use of a response URL."""
        entry = self._responses.get(token)
        if entry is None or entry["expires"] < self._clock():
            raise ApiError("expired_url", status=404)
        if entry["uses"] >= RESPONSE_URL_USES:
            raise ApiError("used_url", status=404)
        entry["uses"] += 1
        self._journal.put("response_url", token, entry)
        return entry
