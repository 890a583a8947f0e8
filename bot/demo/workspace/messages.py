"""The messages of all channels: threads, edits, tombstones, ephemeral messages."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any

from bot.demo.workspace.directory import SLACKBOT
from bot.demo.workspace.feed import Feed
from bot.demo.workspace.identity import Ids
from bot.demo.workspace.journal import Journal

Json = dict[str, Any]

#: Ephemeral messages that are kept for one user in one channel.
EPHEMERALS_KEPT = 50


class ChannelLog:
    """One channel's messages by ts; `top` and each thread are ascending lists of ts."""

    def __init__(self) -> None:
        self.messages: dict[str, Json] = {}
        self.top: list[str] = []
        self.threads: dict[str, list[str]] = {}

    def add(self, message: Json) -> None:
        ts = message["ts"]
        parent = message.get("thread_ts")
        self.messages[ts] = message
        if parent is not None and parent != ts:
            self.threads.setdefault(parent, []).append(ts)
        if parent is None or parent == ts or message.get("subtype") == "thread_broadcast":
            self.top.append(ts)

    def remove(self, ts: str) -> None:
        message = self.messages.pop(ts)
        parent = message.get("thread_ts")
        if ts in self.top:
            self.top.remove(ts)
        if parent is not None and parent != ts and ts in self.threads.get(parent, ()):
            self.threads[parent].remove(ts)


def window(stamps: list[str], *, oldest: str | None, latest: str | None, inclusive: bool) -> tuple[int, int]:
    """The slice [start, end) of ascending `stamps` between `oldest` and `latest`, ends excluded unless told."""
    start, end = 0, len(stamps)
    if oldest is not None:
        start = (bisect_left if inclusive else bisect_right)(stamps, oldest)
    if latest is not None:
        end = (bisect_right if inclusive else bisect_left)(stamps, latest)
    return start, max(start, end)


class MessageBook:
    """All channels' messages; each change is journalled and told to the feed."""

    def __init__(self, *, ids: Ids, journal: Journal, feed: Feed) -> None:
        self._ids = ids
        self._journal = journal
        self._feed = feed
        self._logs: dict[str, ChannelLog] = {}
        self._ephemerals: dict[str, Json] = {}

    def load(self) -> None:
        """Take up what the journal holds."""
        for key, message in self._journal.load("message"):
            self.log(key.partition(":")[0]).add(message)
            ids = (message["ts"], message.get("latest_reply", "0"))
            self._ids.seen(max(ids))
        for ts, entry in self._journal.load("ephemeral"):
            self._ephemerals[ts] = entry
            self._ids.seen(ts)

    def log(self, channel: str) -> ChannelLog:
        return self._logs.setdefault(channel, ChannelLog())

    def find(self, channel: str, ts: str) -> Json | None:
        return self.log(channel).messages.get(ts)

    def replies(self, channel: str, parent: str) -> list[Json]:
        """The replies of a thread, oldest first, without the parent."""
        log = self.log(channel)
        return [log.messages[ts] for ts in log.threads.get(parent, ())]

    def post(self, channel: str, message: Json, *, thread_ts: str | None, broadcast: bool = False) -> Json:
        """Give `message` a ts and put it in the channel or its thread.

        A `thread_ts` that names no message posts to the channel, as Slack does; one that names a reply
        goes to that reply's thread.
        """
        log = self.log(channel)
        parent = log.messages.get(thread_ts) if thread_ts is not None else None
        if parent is not None and parent.get("thread_ts") not in (None, parent["ts"]):
            parent = log.messages.get(parent["thread_ts"])
        message["ts"] = self._ids.ts()
        if parent is not None:
            message["thread_ts"] = parent["ts"]
            message["parent_user_id"] = parent.get("user", SLACKBOT)
            if broadcast:
                message["subtype"] = "thread_broadcast"
        log.add(message)
        self._keep(channel, message)
        self._feed.tell({"type": "message", "channel": channel, "message": message})
        if parent is not None:
            self._count_replies(channel, parent)
        return message

    def change(self, channel: str, message: Json) -> None:
        """`message` (already in the channel) was changed: keep and tell it."""
        self._keep(channel, message)
        self._feed.tell({"type": "message_changed", "channel": channel, "message": message})

    def delete(self, channel: str, ts: str) -> None:
        """Delete; a parent with replies leaves a tombstone, as in Slack."""
        log = self.log(channel)
        message = log.messages[ts]
        if log.threads.get(ts):
            for field in ("blocks", "attachments", "files", "metadata", "bot_id", "app_id", "reactions"):
                message.pop(field, None)
            message.update(subtype="tombstone", user=SLACKBOT, hidden=True, text="This message was deleted.")
            self.change(channel, message)
            return
        log.remove(ts)
        self._journal.delete("message", f"{channel}:{ts}")
        self._feed.tell({"type": "message_deleted", "channel": channel, "message": message})
        parent = log.messages.get(message.get("thread_ts", ""))
        if parent is not None and parent["ts"] != ts:
            self._count_replies(channel, parent)

    def _count_replies(self, channel: str, parent: Json) -> None:
        replies = self.replies(channel, parent["ts"])
        if replies:
            users = list(dict.fromkeys(reply.get("user", SLACKBOT) for reply in replies))
            parent.update(
                thread_ts=parent["ts"],
                reply_count=len(replies),
                reply_users=users,
                reply_users_count=len(users),
                latest_reply=replies[-1]["ts"],
                is_locked=False,
                subscribed=False,
            )
        else:
            for field in ("thread_ts", "reply_count", "reply_users", "reply_users_count", "latest_reply"):
                parent.pop(field, None)
        self.change(channel, parent)

    def _keep(self, channel: str, message: Json) -> None:
        self._journal.put("message", f"{channel}:{message['ts']}", message)

    # Ephemeral messages: seen by one user, never part of the history.

    def whisper(self, channel: str, user: str, message: Json, *, thread_ts: str | None = None) -> Json:
        """Show `message` to `user` only."""
        message["ts"] = self._ids.ts()
        message["is_ephemeral"] = True
        if thread_ts is not None and self.find(channel, thread_ts) is not None:
            message["thread_ts"] = thread_ts
        self._ephemerals[message["ts"]] = {"channel": channel, "user": user, "message": message}
        self._prune(channel, user)
        self._tell_ephemeral(message["ts"])
        return message

    def ephemerals(self, channel: str, user: str) -> Iterator[Json]:
        """What `user` was told privately in `channel`, oldest first."""
        for entry in self._ephemerals.values():
            if entry["channel"] == channel and entry["user"] == user:
                yield entry["message"]

    def find_ephemeral(self, ts: str, user: str) -> Json | None:
        entry = self._ephemerals.get(ts)
        return entry["message"] if entry is not None and entry["user"] == user else None

    def change_ephemeral(self, ts: str) -> None:
        """The ephemeral message `ts` was changed in place: keep and tell it."""
        self._tell_ephemeral(ts)

    def drop_ephemeral(self, ts: str) -> None:
        entry = self._ephemerals.pop(ts, None)
        if entry is not None:
            self._journal.delete("ephemeral", ts)
            self._feed.tell({"type": "ephemeral_deleted", **entry}, only=entry["user"])

    def _tell_ephemeral(self, ts: str) -> None:
        entry = self._ephemerals[ts]
        self._journal.put("ephemeral", ts, entry)
        event: Json = {"type": "ephemeral", **entry}
        if thread_ts := entry["message"].get("thread_ts"):
            event["thread_ts"] = thread_ts
        self._feed.tell(event, only=entry["user"])

    def _prune(self, channel: str, user: str) -> None:
        mine = [m["ts"] for m in self.ephemerals(channel, user)]
        for ts in mine[:-EPHEMERALS_KEPT]:
            del self._ephemerals[ts]
            self._journal.delete("ephemeral", ts)
