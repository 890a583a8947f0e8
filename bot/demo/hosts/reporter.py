"""How a replayed host that is back tells the bot of its panic: one signed POST, repeated until it is accepted."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import aiohttp
import structlog

from bot.demo.hosts.errors import ReportRefused
from bot.demo.hosts.instance import Instance
from bot.demo.hosts.timeline import utc

_log = structlog.get_logger(__name__)
_FOR_GOOD = {400, 403, 404, 405, 413, 415, 422}
_ANSWER_SECONDS = 15.0


def report(instance: Instance) -> dict[str, Any]:
    """The report's body. Nothing in it depends on when it is sent, so that a repeat is the same report."""
    capture = instance.capture
    uname = (instance.file("uname") or "").split()
    dmi = dict(line.split(": ", 1) for line in capture.files["dmi"].splitlines() if ": " in line)
    body: dict[str, Any] = {
        "id": f"{instance.host}:{instance.crashed_boot_id}",
        "host": instance.host,
        "text": instance.crash_text(),
        "source": "pstore" if capture.pstore is not None else "report",
        "occurred_at": _iso(instance.crash_time),
        "reported_at": _iso(utc(instance.back_at)),
        "boot_id": instance.boot_id(),
        "crashed_boot_id": instance.crashed_boot_id,
        "kernel": uname[2] if len(uname) > 2 else None,
        "down_since": _iso(instance.crash_time),
        "back_at": _iso(utc(instance.back_at)),
        "hardware": f"{dmi.get('sys_vendor', '')} {dmi.get('product_name', '')}".strip() or None,
    }
    if instance.stamp is not None:
        body["crash_dir"] = f"/var/crash/{instance.stamp}"
        body["dump"] = _dump(instance)
    return {key: value for key, value in body.items() if value is not None}


def _dump(instance: Instance) -> dict[str, Any] | None:
    """The dump as the host sees it: `complete` by the flattened format's end mark, None where that is not kept."""
    for entry in instance.listing:
        if entry.type == "f" and entry.path.rsplit("/", 1)[-1].startswith("dump."):
            ends = instance.dumps.get(entry.path)
            complete = (
                None if entry.size and ends is None else bool(ends and ends.tail.endswith(b"\xff" * 16))
            )
            return {"path": f"/var/crash/{entry.path}", "size": entry.size, "complete": complete}
    return None


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """The signature header's value for a body sent at `timestamp` (unix seconds)."""
    digest = hmac.new(secret.encode(), b"v1:%d:%s" % (timestamp, body), hashlib.sha256)
    return f"v1={digest.hexdigest()}"


class Reporter:
    """Posts reports to `url`, with the host's own secret where it has one.

    After a refusal for stale time the answer's `server_time` corrects the clock for what is sent next, as a host does
    whose clock is wrong after the reboot.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        host_secrets: Mapping[str, str] | None = None,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        first_wait: float = 0.5,
        longest_wait: float = 30.0,
    ) -> None:
        self._url = url
        self._secret = secret
        self._host_secrets = dict(host_secrets or {})
        self._clock = clock
        self._sleep = sleep
        self._first_wait = first_wait
        self._longest_wait = longest_wait
        self._offset = 0.0

    async def deliver(self, instance: Instance) -> dict[str, Any]:
        """Send until it is accepted or known as a duplicate; the bot's answer. `ReportRefused` when it never will."""
        told = report(instance)
        body = json.dumps(told).encode()
        wait = self._first_wait
        corrected = False
        timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                try:
                    status, answer = await self._post(session, instance.host, body)
                except (aiohttp.ClientError, TimeoutError) as unreachable:
                    status, answer = 0, {"message": str(unreachable) or type(unreachable).__name__}
                if status in {200, 202}:
                    return answer
                server_time = answer.get("server_time")
                if status == 401 and isinstance(server_time, int | float) and not corrected:
                    self._offset = float(server_time) - self._clock()
                    corrected = True
                    continue
                corrected = False
                if status in _FOR_GOOD:
                    raise ReportRefused(f"{instance.host}: {status} {answer.get('message', '')}")
                _log.warning(
                    "report_not_accepted", host=instance.host, status=status, retry_in=wait, answer=answer
                )
                await self._sleep(wait)
                wait = min(wait * 2, self._longest_wait)

    async def _post(
        self, session: aiohttp.ClientSession, host: str, body: bytes
    ) -> tuple[int, dict[str, Any]]:
        timestamp = int(self._clock() + self._offset)
        headers = {"Content-Type": "application/json", "X-Panicroom-Timestamp": str(timestamp)}
        secret = self._secret
        if host in self._host_secrets:
            secret = self._host_secrets[host]
            headers["X-Panicroom-Host"] = host
        headers["X-Panicroom-Signature"] = sign(secret, timestamp, body)
        async with session.post(self._url, data=body, headers=headers) as response:
            try:
                answer = await response.json(content_type=None)
            except ValueError:  # a proxy's page instead of the bot's JSON
                answer = {}
            return response.status, answer if isinstance(answer, dict) else {}
