"""Events for a pager, in the shape of PagerDuty's Events API v2.

One event a call: trigger, acknowledge or resolve, tied together by the dedup key. Sending one twice is
harmless, so an event whose answer was lost is simply sent again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp

from integrations.pager.config import PagerConfig
from integrations.pager.errors import PagerBusy, PagerRefused, PagerUnreachable

Severity = Literal["critical", "error", "warning", "info"]
_SEVERITIES = ("critical", "error", "warning", "info")

# PagerDuty: an event of at most 512 KB, a summary of 1,024 characters, a dedup key of 255.
_SUMMARY, _KEY, _SOURCE, _DETAIL, _DETAILS = 1024, 255, 255, 2000, 30
_RETRYABLE = frozenset({408, 425, 429})


class PagerClient:
    """Posts events. No retries here: who pages decides about those, by `PagerError.permanent`."""

    def __init__(self, config: PagerConfig, *, client_url: str | None = None) -> None:
        if config.url is None:
            raise ValueError("[pager] url is not set")
        self.config = config
        self._url = config.url
        self._client_url = client_url
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def trigger(
        self,
        dedup_key: str,
        summary: str,
        *,
        source: str,
        severity: str = "critical",
        details: Mapping[str, str] | None = None,
        link: str | None = None,
    ) -> None:
        """Opens an alert, or adds to the open one with this key.

        `severity`: critical, error, warning or info (anything else counts as error). `source`: the host.
        `link`: the thread. Raises a PagerError; texts that are too long are cut.
        """
        event: dict[str, Any] = {
            "payload": {
                "summary": _cut(summary, _SUMMARY) or "a kernel panicked",
                "source": _cut(source, _SOURCE) or "panicroom",
                "severity": severity if severity in _SEVERITIES else "error",
                "component": "kernel",
                "class": "kernel panic",
                "custom_details": {
                    _cut(k, 100): _cut(v, _DETAIL) for k, v in list((details or {}).items())[:_DETAILS]
                },
            },
            "client": "Panicroom",
        }
        if self._client_url:
            event["client_url"] = self._client_url
        if link:
            event["links"] = [{"href": link, "text": "The incident's thread"}]
        await self._send("trigger", dedup_key, event)

    async def acknowledge(self, dedup_key: str) -> None:
        """Somebody looks at it."""
        await self._send("acknowledge", dedup_key, {})

    async def resolve(self, dedup_key: str) -> None:
        """It is over. Resolving what is not open is no error."""
        await self._send("resolve", dedup_key, {})

    async def _send(self, action: str, dedup_key: str, event: Mapping[str, Any]) -> None:
        body = {
            "routing_key": self.config.routing_key.get_secret_value(),
            "event_action": action,
            "dedup_key": dedup_key[:_KEY],
            **event,
        }
        if self._session is None:
            self._session = aiohttp.ClientSession()
        try:
            async with self._session.post(
                self._url,
                data=json.dumps(body).encode(),
                headers={"Content-Type": "application/json", "Accept": "application/json"},
                timeout=aiohttp.ClientTimeout(total=self.config.timeout),
                allow_redirects=False,
            ) as answer:
                said = _told((await answer.content.read(2000)).decode("utf-8", "replace"))
                self._judge(action, answer, said)
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            reason = str(error) or f"no answer within {self.config.timeout:g} s"
            raise PagerUnreachable(
                f"the pager at {self._where} cannot be reached for {action}: {reason}"
            ) from error

    def _judge(self, action: str, answer: aiohttp.ClientResponse, said: str) -> None:
        status = answer.status
        if 200 <= status < 300:
            return
        told = f"the pager at {self._where} answered {status} to {action}{f': {said}' if said else ''}"
        if status == 429:
            raise PagerBusy(told, _seconds(answer.headers.get("Retry-After")))
        if status >= 500 or status in _RETRYABLE:
            raise PagerUnreachable(told)
        raise PagerRefused(f"{told}. {PagerRefused.__doc__}")

    @property
    def _where(self) -> str:
        """The host alone: a webhook's path is often its secret."""
        return urlsplit(self._url).hostname or "?"


def _cut(text: str, limit: int) -> str:
    clean = text.encode("utf-8", "replace").decode().strip()
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def _seconds(header: str | None) -> float:
    """Retry-After in seconds; a date or nothing counts as half a minute."""
    return (
        min(float(header), 3600.0) if header is not None and header.isascii() and header.isdigit() else 30.0
    )


def _told(body: str) -> str:
    """What PagerDuty says in `message` and `errors`, else the start of the body."""
    try:
        data = json.loads(body)
    except ValueError:
        return body.strip()[:200]
    if not isinstance(data, dict):
        return body.strip()[:200]
    errors = data.get("errors")
    more = f" ({'; '.join(map(str, errors))})" if isinstance(errors, list) and errors else ""
    return f"{data.get('message') or data.get('status') or ''}{more}"[:300]
