"""A PromQL endpoint: one range query a measure, whose points are the hour before the panic and that of seven days."""

from __future__ import annotations

import asyncio
import json
import math
import re
from datetime import datetime, timedelta
from typing import Any

import aiohttp

from integrations.workload.config import WorkloadConfig
from integrations.workload.errors import WorkloadError, WorkloadRefused, WorkloadSilent
from integrations.workload.load import MEASURES, Load

DAYS = 7
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
_LARGEST = 1024 * 1024


class PrometheusLoad:
    """Makes a connection for each look: there are few."""

    def __init__(self, config: WorkloadConfig) -> None:
        if config.prometheus_url is None:
            raise ValueError("[workload] prometheus_url is not set")
        self._config = config
        self._url = f"{config.prometheus_url}/api/v1/query_range"

    async def loads(self, host: str, at: datetime) -> list[Load]:
        """What the endpoint knows of the host at that time, and at the same time of the days before.

        A measure without a point at `at` is left out; none at all means that the endpoint does not know the host.
        `WorkloadRefused`, `WorkloadSilent`.
        """
        name = host.lower()
        if _HOST.fullmatch(name) is None:
            raise WorkloadRefused(f"{host[:60]!r} is no host name to put into a query")
        token = self._config.bearer_token.get_secret_value()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        limit = aiohttp.ClientTimeout(total=self._config.timeout)
        async with aiohttp.ClientSession(headers=headers, timeout=limit) as http:
            asked = [self._one(http, measure, q, name, at) for measure, q in self._config.queries.items()]
            found = await asyncio.gather(*asked)
        return [load for load in found if load is not None]

    async def _one(
        self, http: aiohttp.ClientSession, measure: str, query: str, host: str, at: datetime
    ) -> Load | None:
        form = {
            "query": query.replace("$host", host.replace(".", r"\\.")),
            "start": f"{(at - timedelta(days=DAYS)).timestamp():.3f}",
            "end": f"{at.timestamp():.3f}",
            "step": "86400",
        }
        try:
            async with http.post(self._url, data=form, allow_redirects=False) as answer:
                body = await answer.content.read(_LARGEST + 1)
                while len(body) <= _LARGEST and not answer.content.at_eof():
                    body += await answer.content.read(_LARGEST + 1 - len(body))
                status = answer.status
        except TimeoutError as error:
            raise WorkloadSilent(f"{measure}: no answer in {self._config.timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise WorkloadSilent(f"{measure}: {type(error).__name__}") from error
        points = read_points(status, body)
        return read_load(measure, points, at)


def read_points(status: int, body: bytes) -> dict[float, float]:
    """{unix seconds: value} of a range query's answer, the first series. `WorkloadRefused`, `WorkloadSilent`."""
    if len(body) > _LARGEST:
        raise WorkloadSilent(f"an answer of more than {_LARGEST} bytes")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _failure(status, "the answer is no JSON") from error
    if not isinstance(answer, dict) or answer.get("status") != "success":
        said = " ".join(str(answer.get("error") or "").split())[:200] if isinstance(answer, dict) else ""
        raise _failure(status, said or "the answer is not Prometheus'")
    try:
        result = answer["data"]["result"]
        values: Any = result[0]["values"] if result else []
        pairs = [(float(at), float(value)) for at, value in values]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise WorkloadSilent("the answer is not that of a range query") from error
    return {at: value for at, value in pairs if math.isfinite(at) and math.isfinite(value)}


def read_load(measure: str, points: dict[float, float], at: datetime) -> Load | None:
    """The points as the hour before `at` and those of the days before; None without the first."""
    moment = at.timestamp()
    hour = next((value for when, value in points.items() if abs(when - moment) < 60), None)
    if hour is None:
        return None
    before = tuple(value for when, value in sorted(points.items()) if when < moment - 3600)
    return Load(MEASURES[measure], hour, before[-DAYS:])


def _failure(status: int, said: str) -> WorkloadError:
    facts = f"HTTP {status}: {said}"
    if 400 <= status < 500 and status not in (408, 425, 429):
        return WorkloadRefused(facts)
    return WorkloadSilent(facts)
