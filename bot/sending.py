"""`panicroom report`: sends one signed report by hand, as a host would."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from integrations.inbound import signed_headers
from integrations.kernel import read_crash

_TIMEOUT = aiohttp.ClientTimeout(total=30)


class NotTaken(Exception):
    """The report was not taken. `permanent` is false when sending it again may help."""

    def __init__(self, message: str, *, permanent: bool) -> None:
        self.permanent = permanent
        super().__init__(message)


@dataclass(frozen=True)
class Taken:
    """The bot's answer: `R-12`, and accepted, duplicate or quarantined."""

    report_id: str
    status: str


def make_report(host: str, text: str, *, report_id: str | None = None, **facts: str | None) -> dict[str, Any]:
    """The body. Without an id of its own, the same text of the same host is the same report."""
    own = hashlib.sha256(f"{host}\0{text}".encode("utf-8", "replace")).hexdigest()[:32]
    report = {"id": report_id or f"by-hand-{own}", "host": host, "text": text}
    return report | {key: value for key, value in facts.items() if value is not None}


def holds_crash(text: bytes) -> bool:
    return read_crash(text).crash


def send_report(url: str, secret: str, report: dict[str, Any]) -> Taken:
    """Raises NotTaken. A stale time is signed again once with the server's time."""
    return asyncio.run(_send(url.rstrip("/") + "/v1/panics", secret, report))


async def _send(url: str, secret: str, report: dict[str, Any]) -> Taken:
    body = json.dumps(report).encode()
    timestamp = int(time.time())
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        for last in (False, True):
            headers = signed_headers(secret, timestamp, body, host=str(report["host"]))
            try:
                async with session.post(url, data=body, headers=headers) as response:
                    status, answer = response.status, _object(await response.read())
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                reason = str(error) or type(error).__name__
                raise NotTaken(f"{url} cannot be reached: {reason}", permanent=False) from error
            if status in (200, 202) and "report_id" in answer:
                return Taken(str(answer["report_id"]), str(answer.get("status", "")))
            if answer.get("error") == "stale_timestamp" and "server_time" in answer and not last:
                timestamp = int(answer["server_time"])
                continue
            field = f" ({answer['field']})" if answer.get("field") else ""
            told = answer.get("message") or "the answer is none of Panicroom's; check --url"
            raise NotTaken(
                f"{url} answered {status}{field}: {told}", permanent=status < 500 and status != 429
            )
    raise AssertionError("unreachable")


def _object(raw: bytes) -> dict[str, Any]:
    try:
        data = json.loads(raw)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
