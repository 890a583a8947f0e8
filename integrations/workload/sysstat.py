"""sysstat's records as `sadf -j` and `sar` print them, read to samples, and samples to what an hour was like. Pure."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import Any

from integrations.workload.load import MEASURES, Load

DAYS = 7
DIRECTORIES = ("/var/log/sysstat", "/var/log/sa")  # Debian's; RHEL's and SUSE's
LIST = ("ls", "-1", *DIRECTORIES)
_WANTED = ("-u", "-q", "-r", "-b", "-n", "DEV")
_HOUR = timedelta(hours=1)
_FILE = re.compile(r"sa(\d{2}|\d{8})")
_NOT_REAL = re.compile(r"(lo|veth|docker|br-|virbr|cali|cni|flannel|tap|tun|ifb|dummy)")
_SAR_DATE = re.compile(r"\s(\d{4})-(\d\d)-(\d\d)\s|\s(\d\d)/(\d\d)/(\d{2}|\d{4})\s")
_SAR_TIME = re.compile(r"(\d\d):(\d\d):(\d\d)(?: ([AP])M)?\s+(.*)")


@dataclass(frozen=True)
class Sample:
    """What was measured up to `at` (UTC), by the measure's name."""

    at: datetime
    values: Mapping[str, float]


def files_for(listing: str, at: datetime, zone_offset: int) -> list[str]:
    """The files that hold the hour before `at` and that of the seven days before, by the output of `LIST`.

    A day's file is saDD or saYYYYMMDD, by the host's own calendar; only such names become part of a command.
    """
    there: dict[str, str] = {}
    directory = ""
    for line in listing.splitlines():
        line = line.strip()
        if line.rstrip(":") in DIRECTORIES:
            directory = line.rstrip(":")
        elif directory and _FILE.fullmatch(line):
            there.setdefault(line, f"{directory}/{line}")
    wanted = []
    for day in range(DAYS + 1):
        for moment in (at - _HOUR, at):
            try:
                local = moment - timedelta(days=day) + timedelta(seconds=zone_offset)
            except OverflowError:
                continue
            name = next((n for n in (f"sa{local:%Y%m%d}", f"sa{local:%d}") if n in there), None)
            if name is not None and there[name] not in wanted:
                wanted.append(there[name])
    return wanted


def sadf(file: str) -> tuple[str, ...]:
    return ("sadf", "-j", file, "--", *_WANTED)


def sar(file: str) -> tuple[str, ...]:
    """For a sysstat whose sadf makes no JSON (before 9.1) or does not know the file."""
    return ("env", "LC_ALL=C", "S_TIME_FORMAT=ISO", "sar", *_WANTED, "-f", file)


def read_sadf(text: str, zone_offset: int = 0) -> list[Sample]:
    """The output of `sadf -j`; nothing of what is no such thing. Its times are UTC unless it says otherwise."""
    try:
        hosts = json.loads(text)["sysstat"]["hosts"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return []
    samples = []
    for host in hosts if isinstance(hosts, list) else ():
        rows = host.get("statistics") if isinstance(host, dict) else None
        for row in rows if isinstance(rows, list) else ():
            sample = _sadf_row(row, zone_offset) if isinstance(row, dict) else None
            if sample is not None:
                samples.append(sample)
    return samples


def _sadf_row(row: dict[str, Any], zone_offset: int) -> Sample | None:
    stamp = row.get("timestamp")
    if not isinstance(stamp, dict):
        return None
    try:
        at = datetime.strptime(f"{stamp['date']} {stamp['time']}", "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        at -= timedelta(seconds=0 if stamp.get("utc", 1) in (1, True, "1") else zone_offset)
    except (KeyError, ValueError, OverflowError):
        return None
    values: dict[str, float] = {}
    for cpu in _rows(row, "cpu-load") or _rows(row, "cpu-load-all"):
        if cpu.get("cpu") == "all" and (idle := _number(cpu, "idle")) is not None:
            values["cpu"] = 100.0 - idle
    _put(values, "load", _number(row.get("queue"), "ldavg-5"))
    _put(values, "memory", _number(row.get("memory"), "memused-percent"))
    _put(values, "disk", _number(row.get("io"), "tps"))
    network = row.get("network")
    cards = _rows(network, "net-dev") if isinstance(network, dict) else []
    packets = [
        (_number(c, "rxpck") or 0.0) + (_number(c, "txpck") or 0.0)
        for c in cards
        if not _NOT_REAL.match(str(c.get("iface", "")))
    ]
    if packets:
        values["network"] = math.fsum(packets)
    return Sample(at, values) if values else None


def read_sar(text: str, zone_offset: int = 0) -> list[Sample]:
    """The output of `LC_ALL=C sar …`: tables one after the other, in the host's own time of one day."""
    day: datetime | None = None
    columns: list[str] = []
    found: dict[datetime, dict[str, float]] = defaultdict(dict)
    last: datetime | None = None
    for line in text.splitlines():
        if line.startswith("Linux "):
            day, columns, last = _sar_day(line), [], None
            continue
        match = _SAR_TIME.fullmatch(line.rstrip())
        if match is None or day is None:
            columns, last = ([], None) if not line.strip() else (columns, last)
            continue
        words = match[5].split()
        if not _is_number(words[-1]) and words[-1:] != ["RESTART"]:
            columns, last = words, None
            continue
        at = _sar_at(day, match, last)
        if at is None or len(words) != len(columns):
            continue
        last = at
        _sar_values(found[at], dict(zip(columns, words, strict=True)))
    offset = timedelta(seconds=zone_offset)
    return [Sample(at - offset, values) for at, values in sorted(found.items()) if values]


def _sar_values(values: dict[str, float], row: dict[str, str]) -> None:
    def number(column: str) -> float | None:
        return float(row[column]) if column in row and _is_number(row[column]) else None

    if row.get("CPU") == "all" and (idle := number("%idle")) is not None:
        values["cpu"] = 100.0 - idle
    _put(values, "load", number("ldavg-5"))
    _put(values, "memory", number("%memused"))
    _put(values, "disk", number("tps"))
    if "IFACE" in row and not _NOT_REAL.match(row["IFACE"]):
        packets = (number("rxpck/s") or 0.0) + (number("txpck/s") or 0.0)
        values["network"] = values.get("network", 0.0) + packets


def _sar_day(line: str) -> datetime | None:
    match = _SAR_DATE.search(line)
    if match is None:
        return None
    try:
        if match[1]:
            return datetime(int(match[1]), int(match[2]), int(match[3]), tzinfo=UTC)
        year = int(match[6])
        return datetime(year + 2000 if year < 100 else year, int(match[4]), int(match[5]), tzinfo=UTC)
    except ValueError:
        return None


def _sar_at(day: datetime, match: re.Match[str], last: datetime | None) -> datetime | None:
    hour = int(match[1]) % 12 + (12 if match[4] == "P" else 0) if match[4] else int(match[1])
    if hour > 23 or int(match[2]) > 59 or int(match[3]) > 60:
        return None
    try:
        at = day + timedelta(hours=hour, minutes=int(match[2]), seconds=int(match[3]))
        # The last row of a day's file is written just after midnight.
        return at + timedelta(days=1) if last is not None and at < last - timedelta(hours=12) else at
    except OverflowError:
        return None


def read_loads(samples: Iterable[Sample], at: datetime) -> list[Load]:
    """The means of the hour before `at` and of the same hour of the seven days before, by measure."""
    hours: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        for day in range(DAYS + 1):
            end = at - timedelta(days=day)
            if end - _HOUR <= sample.at <= end:
                for name, value in sample.values.items():
                    hours[name][day].append(value)
    return [
        Load(
            measure,
            fmean(days[0]),
            tuple(fmean(days[day]) for day in range(DAYS, 0, -1) if days.get(day)),
        )
        for name, measure in MEASURES.items()
        if (days := hours.get(name)) and days.get(0)
    ]


def _rows(holder: Mapping[str, Any], key: str) -> Sequence[dict[str, Any]]:
    rows = holder.get(key)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _number(holder: object, key: str) -> float | None:
    value = holder.get(key) if isinstance(holder, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _put(values: dict[str, float], name: str, value: float | None) -> None:
    if value is not None:
        values[name] = value


def _is_number(word: str) -> bool:
    return re.fullmatch(r"-?\d{1,18}(\.\d{1,9})?", word) is not None
