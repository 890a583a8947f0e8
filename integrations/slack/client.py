"""The few things the bot does in Slack, with errors that say whether a call may have landed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from slack_sdk.errors import SlackApiError, SlackRequestError
from slack_sdk.web.async_client import AsyncWebClient

from integrations.slack.errors import SlackDown, SlackError, SlackRateLimited, SlackRefused, SlackUnclear

T = TypeVar("T")

METADATA_EVENT = "panicroom_message"
_PAGES = 5  # of 200 messages: how far back a lost message is looked for


class SlackConfig(BaseModel):
    """`[slack]`: how the workspace is reached."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: str = Field(default="http", pattern="^(http|socket)$")
    api_url: str = Field(default="https://slack.com/api/", pattern="^https?://")
    bot_token: SecretStr = SecretStr("")
    app_token: SecretStr = SecretStr("")
    signing_secret: SecretStr = SecretStr("")
    command: str = Field(default="/panic", pattern="^/[a-z0-9_-]{1,31}$")
    admin_channel: str | None = None
    timeout: float = Field(default=10.0, gt=0, le=60)


@dataclass(frozen=True)
class Found:
    """One message as it stands in Slack. `key` is ours, or None; `files` are (file id, name)."""

    ts: str
    key: str | None
    files: tuple[tuple[str, str], ...] = ()


class SlackClient:
    """A thin face over slack_sdk's AsyncWebClient. No retries here: the outbox decides about those."""

    def __init__(self, config: SlackConfig) -> None:
        self.config = config
        url = config.api_url if config.api_url.endswith("/") else config.api_url + "/"
        self.web = AsyncWebClient(
            token=config.bot_token.get_secret_value(),
            base_url=url,
            timeout=max(1, int(config.timeout)),
            retry_handlers=[],
        )
        self._session: aiohttp.ClientSession | None = None
        self._permalinks: dict[tuple[str, str], str] = {}
        self.bot_user_id: str | None = None
        self.on_call: Callable[[str, str], None] = lambda _method, _outcome: None
        self.before_call: Callable[[], None] = lambda: None  # whether this process may still speak

    async def start(self) -> None:
        """One keep-alive session for all calls. slack_sdk would otherwise open a connection a call."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self.config.timeout))
        self.web.session = self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(self, method: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Any Web API method with JSON arguments. Raises a SlackError; never returns ok=false."""
        return await self._counted(method, self._call(method, fields))

    async def _counted(self, method: str, work: Awaitable[T]) -> T:
        """Tells `on_call` the method and what came of it: ok, refused, rate_limited, down, unclear."""
        self.before_call()
        try:
            done = await work
        except SlackError as error:
            self.on_call(method, error.outcome)
            raise
        self.on_call(method, "ok")
        return done

    async def _call(self, method: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        try:
            answer = await self.web.api_call(method, json=dict(fields))
        except SlackApiError as error:
            raise _from_answer(method, error) from error
        except (aiohttp.ClientConnectorError, ConnectionRefusedError) as error:
            raise SlackDown(f"Slack cannot be reached for {method}: {error}") from error
        except (TimeoutError, aiohttp.ClientError, SlackRequestError, OSError) as error:
            raise SlackUnclear(f"the answer to {method} was lost: {type(error).__name__} {error}") from error
        except ValueError as error:  # a body that is no JSON, from a proxy or a failing front end
            raise SlackUnclear(f"the answer to {method} was unreadable: {error}") from error
        data = answer.data
        if not isinstance(data, dict):
            raise SlackUnclear(f"the answer to {method} was no JSON object")
        return data

    async def who_am_i(self) -> str:
        """The bot's user id, from auth.test; also the check that the token works."""
        self.bot_user_id = str((await self.call("auth.test", {}))["user_id"])
        return self.bot_user_id

    # -- messages -------------------------------------------------------------------------------------

    async def post(
        self,
        channel: str,
        text: str,
        blocks: Sequence[Mapping[str, Any]],
        *,
        key: str,
        thread_ts: str | None = None,
    ) -> str:
        """Posts once; returns the message's ts. `key` goes into the metadata so that it can be found again."""
        fields: dict[str, Any] = {
            "channel": channel,
            "text": text,
            "blocks": list(blocks),
            "metadata": _metadata(key),
            "unfurl_links": False,
            "unfurl_media": False,
            "parse": "none",  # a URL in a host's text becomes no link
        }
        if thread_ts is not None:
            fields["thread_ts"] = thread_ts
        return str((await self.call("chat.postMessage", fields))["ts"])

    async def update(
        self, channel: str, ts: str, text: str, blocks: Sequence[Mapping[str, Any]], *, key: str
    ) -> None:
        await self.call(
            "chat.update",
            {
                "channel": channel,
                "ts": ts,
                "text": text,
                "blocks": list(blocks),
                "metadata": _metadata(key),
                "parse": "none",
            },
        )

    async def delete(self, channel: str, ts: str) -> None:
        """Deletes one of our messages; one that is gone already is no error."""
        try:
            await self.call("chat.delete", {"channel": channel, "ts": ts})
        except SlackRefused as error:
            if error.code != "message_not_found":
                raise

    async def find(self, channel: str, *, thread_ts: str | None, oldest: float) -> list[Found]:
        """Messages since `oldest` (seconds since the epoch), oldest first: of the channel, or of one thread."""
        method = "conversations.replies" if thread_ts else "conversations.history"
        found: list[Found] = []
        cursor = ""
        for _ in range(_PAGES):
            fields: dict[str, Any] = {
                "channel": channel,
                "include_all_metadata": True,
                "limit": 200,
                "oldest": f"{max(oldest, 0):.6f}",
                "inclusive": True,
            }
            if thread_ts:
                fields["ts"] = thread_ts
            if cursor:
                fields["cursor"] = cursor
            answer = await self.call(method, fields)
            for message in answer.get("messages", []):
                metadata = message.get("metadata") or {}
                payload = metadata.get("event_payload") or {}
                key = payload.get("key") if metadata.get("event_type") == METADATA_EVENT else None
                files = tuple(
                    (str(f.get("id", "")), str(f.get("name", ""))) for f in message.get("files") or ()
                )
                found.append(Found(str(message["ts"]), key, files))
            cursor = (answer.get("response_metadata") or {}).get("next_cursor") or ""
            if not cursor:
                break
        return sorted(found, key=lambda f: float(f.ts))

    async def permalink(self, channel: str, ts: str) -> str:
        """The link to a message, remembered once known."""
        known = self._permalinks.get((channel, ts))
        if known is None:
            answer = await self.call("chat.getPermalink", {"channel": channel, "message_ts": ts})
            known = self._permalinks[(channel, ts)] = str(answer["permalink"])
        return known

    async def ephemeral(
        self,
        channel: str,
        user: str,
        text: str,
        blocks: Sequence[Mapping[str, Any]] = (),
        *,
        thread_ts: str | None = None,
    ) -> None:
        fields: dict[str, Any] = {"channel": channel, "user": user, "text": text, "blocks": list(blocks)}
        if thread_ts:
            fields["thread_ts"] = thread_ts
        await self.call("chat.postEphemeral", fields)

    async def upload(
        self, channel: str, thread_ts: str | None, path: Path, *, name: str, comment: str, alt: str = ""
    ) -> str:
        """A file by Slack's external flow (three calls); returns the file's id. `alt`: a picture in words.

        The bytes are sent under the name given; nothing shows in the channel before the last call.
        """
        size = (await asyncio.to_thread(path.stat)).st_size
        told = {"filename": name, "length": str(size)} | ({"alt_txt": alt[:1000]} if alt else {})
        ticket = await self.call_form("files.getUploadURLExternal", told)
        if self._session is None:
            raise SlackError("the Slack client was not started")
        try:
            with path.open("rb") as body:
                async with self._session.post(
                    ticket["upload_url"],
                    data=body,
                    timeout=aiohttp.ClientTimeout(total=max(60.0, self.config.timeout)),
                ) as sent:
                    if sent.status == 429:
                        raise SlackRateLimited("file upload", _seconds(sent.headers.get("Retry-After")))
                    if sent.status >= 400:
                        raise SlackDown(f"uploading {name} was answered with HTTP {sent.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            # Without files.completeUploadExternal the upload is in no channel: it surely did not land.
            raise SlackDown(f"uploading {name} broke off: {type(error).__name__} {error}") from error
        fields: dict[str, Any] = {
            "files": [{"id": ticket["file_id"], "title": name}],
            "channel_id": channel,
            "initial_comment": comment,
        }
        if thread_ts:
            fields["thread_ts"] = thread_ts
        await self.call("files.completeUploadExternal", fields)
        return str(ticket["file_id"])

    async def delete_file(self, file_id: str) -> None:
        """Deletes one of our files, in every channel. Raises SlackRefused `file_not_found` for one that is gone."""
        await self.call_form("files.delete", {"file": file_id})

    async def call_form(self, method: str, fields: Mapping[str, str]) -> dict[str, Any]:
        """For the few methods that take no JSON body (files.getUploadURLExternal)."""
        return await self._counted(method, self._call_form(method, fields))

    async def _call_form(self, method: str, fields: Mapping[str, str]) -> dict[str, Any]:
        try:
            answer = await self.web.api_call(method, data=dict(fields))
        except SlackApiError as error:
            raise _from_answer(method, error) from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise SlackDown(f"{method} failed: {type(error).__name__} {error}") from error
        if not isinstance(answer.data, dict):
            raise SlackDown(f"the answer to {method} was no JSON object")
        return answer.data

    # -- people and views -----------------------------------------------------------------------------

    async def open_view(self, trigger_id: str, view: Mapping[str, Any]) -> str:
        # A trigger lives for three seconds: a longer pause is the person's to take, by pressing again.
        fields = {"trigger_id": trigger_id, "view": dict(view)}
        answer = await patiently(lambda: self.call("views.open", fields), within=2.0)
        return str(answer["view"]["id"])

    async def update_view(self, view_id: str, view: Mapping[str, Any]) -> None:
        await self.call("views.update", {"view_id": view_id, "view": dict(view)})

    async def publish_home(self, user: str, view: Mapping[str, Any]) -> None:
        await self.call("views.publish", {"user_id": user, "view": dict(view)})

    async def members_of(self, group: str) -> list[str]:
        """The user ids in a user group (`S…`)."""
        return [
            str(u)
            for u in (await self.call_form("usergroups.users.list", {"usergroup": group})).get("users", [])
        ]

    async def respond(self, response_url: str, body: Mapping[str, Any]) -> None:
        """Answers through a response_url (five uses within 30 minutes)."""
        if self._session is None:
            raise SlackError("the Slack client was not started")
        self.before_call()
        try:
            async with self._session.post(response_url, json=dict(body)) as answer:
                if answer.status == 429:
                    raise SlackRateLimited("response_url", _seconds(answer.headers.get("Retry-After")))
                if answer.status >= 500:
                    raise SlackDown(f"response_url was answered with HTTP {answer.status}")
                if answer.status >= 400:
                    raise SlackRefused("response_url", (await answer.text())[:100] or str(answer.status))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SlackUnclear(f"answering through response_url: {type(error).__name__} {error}") from error


def _metadata(key: str) -> dict[str, Any]:
    return {"event_type": METADATA_EVENT, "event_payload": {"key": key}}


def _from_answer(method: str, error: SlackApiError) -> SlackError:
    response = error.response
    status = int(getattr(response, "status_code", 0) or 0)
    headers = {str(k).lower(): v for k, v in dict(getattr(response, "headers", {}) or {}).items()}
    data = response.data if isinstance(getattr(response, "data", None), dict) else {}
    code = str(data.get("error", "")) if isinstance(data, dict) else ""
    if status == 429 or code in {"ratelimited", "rate_limited"}:
        raw = headers.get("retry-after")
        return SlackRateLimited(method, _seconds(raw[0] if isinstance(raw, list) and raw else raw))
    if (
        status >= 500
        or code in {"internal_error", "fatal_error", "service_unavailable", "request_timeout"}
        or not code
    ):
        return SlackUnclear(f"{method} was answered with HTTP {status} {code}".strip())
    details = (data.get("response_metadata") or {}).get("messages") or []
    return SlackRefused(method, code, tuple(str(d) for d in details[:5]))


def _seconds(header: object) -> float:
    """Retry-After in seconds, between 0 and an hour; 1 when it is missing or a date (Slack sends whole seconds)."""
    try:
        return min(max(float(str(header)), 0.0), 3600.0)
    except ValueError:
        return 1.0


async def patiently(call: Callable[[], Awaitable[T]], *, within: float = 20.0) -> T:
    """Makes a call that answers a person, again after each 429, as long as the pauses fit into `within` seconds."""
    left = within
    while True:
        try:
            return await call()
        except SlackRateLimited as error:
            left -= max(error.retry_after, 0.1)
            if left < 0:
                raise
            await asyncio.sleep(error.retry_after)
