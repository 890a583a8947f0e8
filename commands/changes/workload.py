"""Whether the host worked otherwise before it died: the hour before against that hour of the seven days before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

import structlog

from commands.hostrecord import Line, Run
from integrations.ssh import SshError
from integrations.workload import Load, WorkloadConfig, WorkloadError
from integrations.workload import sysstat as records
from integrations.workload.prometheus import PrometheusLoad

log = structlog.get_logger(__name__)

NOT_CHECKED = "workload: not checked"
_FEWEST = 3  # days to know what is usual
_TIMES = 1.5
_AT_ONCE = 3


@dataclass(frozen=True)
class Shift:
    """A measure that was not as usual; `usual` is the median of the days before."""

    load: Load
    usual: float

    def told(self) -> str:
        """`network 84,000 packets/s, where 27,000 is usual (3.1 times)`."""
        measure, hour = self.load.measure, self.load.hour
        unit = f" {measure.unit}" if measure.unit and measure.unit != "%" else measure.unit
        times = f" ({hour / self.usual:.1f} times)" if self.usual > 0 and unit != "%" else ""
        return f"{measure.name} {_number(hour)}{unit}, where {_number(self.usual)} is usual{times}"


def shifts(loads: Sequence[Load]) -> list[Shift]:
    """The measures that stand out: by three times their usual spread, by what counts at all, and by half as much again.

    A measure with records of fewer than three days before is not judged.
    """
    found = []
    for load in loads:
        if len(load.before) < _FEWEST:
            continue
        usual = median(load.before)
        spread = 1.4826 * median(abs(value - usual) for value in load.before)
        difference = abs(load.hour - usual)
        if difference <= max(3 * spread, load.measure.least):
            continue
        low, high = sorted((load.hour, usual))
        if load.measure.unit == "%" or low <= 0 or high / low >= _TIMES:
            found.append(Shift(load, usual))
    return found


def told(loads: Sequence[Load]) -> Line:
    """The runbook's line on what was measured."""
    judged = [load for load in loads if len(load.before) >= _FEWEST]
    if not judged:
        days = max((len(load.before) for load in loads), default=0)
        return "skipped", f"{NOT_CHECKED}, there are records of {days} of the 7 days before"
    found = shifts(judged)
    days = max(len(load.before) for load in judged)
    against = f"against the same hour of the {days} days before"
    if not found:
        names = ", ".join(load.measure.name for load in judged)
        return "ok", f"workload: the hour before was as usual, {against} ({names})"
    return "warn", f"workload: shifted in the hour before, {against}: {'; '.join(s.told() for s in found)}"


async def look(
    config: WorkloadConfig, host: str, at: datetime, *, run: Run | None = None, zone_offset: int = 0
) -> Line:
    """Asks the PromQL endpoint when one is set; else, or when that cannot tell, reads sysstat's records by `run`.

    Never raises. What could not be asked is said: "workload: not checked, …".
    """
    said: Line | None = None
    if config.prometheus_url is not None:
        said = await _metrics(config, host, at)
        if said[0] != "skipped":
            return said
    if not config.sysstat or run is None:
        return said or ("skipped", f"{NOT_CHECKED}, no source for it is configured")
    try:
        read = await _sysstat(run, at, zone_offset)
    except SshError as error:
        log.warning("workload.connection_lost", host=host, error=str(error))
        read = "skipped", f"{NOT_CHECKED}: {error}"
    return read if said is None or read[0] != "skipped" else said


async def _metrics(config: WorkloadConfig, host: str, at: datetime) -> Line:
    try:
        loads = await PrometheusLoad(config).loads(host, at)
    except WorkloadError as error:
        log.warning("workload.not_asked", host=host, error=str(error), permanent=error.permanent)
        return "skipped", f"{NOT_CHECKED}: {error}"
    return told(loads) if loads else ("skipped", f"{NOT_CHECKED}, the metrics endpoint has nothing of {host}")


async def _sysstat(run: Run, at: datetime, zone_offset: int) -> Line:
    listed = await run(records.LIST)
    files = records.files_for(listed.text, at, zone_offset)
    if not files:
        return "skipped", f"{NOT_CHECKED}, the host keeps no records of sysstat for that time"
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(file: str) -> list[records.Sample]:
        async with limit:
            done = await run(records.sadf(file))
            found = records.read_sadf(done.text, zone_offset)
            if found or done.exit_status == 0:
                return found
            return records.read_sar((await run(records.sar(file))).text, zone_offset)

    samples = [sample for found in await asyncio.gather(*(one(f) for f in files)) for sample in found]
    loads = records.read_loads(samples, at)
    if not loads:
        return "skipped", f"{NOT_CHECKED}, sysstat has no record of the hour before the panic"
    return told(loads)


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}".removesuffix(".0")
