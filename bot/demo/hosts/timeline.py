"""Moving a capture to another moment: every time in it, in every way in which the tools write times.

A replayed panic happens when the fleet says so, and the captured minutes between the crash and the host's
return are squeezed into the seconds that the replayed reboot takes. So times before the crash are shifted, times
after it are shifted and scaled, and their order never changes. printk times (`[  152.167119]`) count from the
boot and stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_DAYS = "Mon|Tue|Wed|Thu|Fri|Sat|Sun"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_YEAR = 2026  # of the captures: syslog times name none
_TIME = re.compile(
    rf"(?:(?P<day>{_DAYS}) )?"
    r"(?P<date>\d{4}-\d\d-\d\d)(?P<sep>T| {1,2})(?P<clock>\d\d:\d\d:\d\d)(?P<part>\.\d+)?"
    rf"|\b(?:(?P<sday>{_DAYS}) )?"
    rf"(?P<month>{'|'.join(_MONTHS)}) (?P<mday>[ \d]\d) (?P<sclock>\d\d:\d\d:\d\d)(?P<year> \d{{4}}\b)?"
    r"|\b(?P<epoch>1[5-9]\d{8})(?P<micro>\d{6})?(?P<epart>\.\d+)?\b"
)
# what the captures were taken in; a time outside it (a kernel's build date, a BIOS date) is nobody's business
_WINDOW = (
    datetime(2026, 11, 23, 4, 45, tzinfo=UTC).timestamp(),
    datetime(2026, 11, 23, 6, 0, tzinfo=UTC).timestamp(),
)


def captured_times(text: str) -> Iterator[float]:
    """Each captured time in `text`, as seconds since the epoch."""
    for match in _TIME.finditer(text):
        moment = _moment(match)
        if moment is not None:
            yield moment


@dataclass(frozen=True)
class Timeline:
    """From the captured clock to the replayed one, both in seconds since the epoch.

    `pivot` (captured) happens at `moved` (replayed); what comes after it goes `pace` times as slowly as it did.
    """

    pivot: float
    moved: float
    pace: float = 1.0

    @classmethod
    def of_crash(cls, *, crash: float, end: float, crashed_at: float, back_at: float) -> Timeline:
        """The crash at `crashed_at`, the capture's last moment (`end`) no later than `back_at`."""
        return cls(crash, crashed_at, max(back_at - crashed_at, 0.001) / max(end - crash, 0.001))

    def at(self, captured: float) -> float:
        """The replayed time of a captured one."""
        if captured <= self.pivot:
            return self.moved + (captured - self.pivot)
        return self.moved + (captured - self.pivot) * self.pace

    def rewrite(self, text: str) -> str:
        """`text` with every captured time in it moved; the way each is written stays."""
        return _TIME.sub(self._replacement, text)

    def _replacement(self, match: re.Match[str]) -> str:
        moment = _moment(match)
        return match[0] if moment is None else _written(match, self.at(moment))


def _moment(match: re.Match[str]) -> float | None:
    if match["epoch"]:
        seconds = float(match["epoch"])
        seconds += float(match["micro"]) / 1e6 if match["micro"] else float(match["epart"] or 0)
    else:
        try:
            if match["date"]:
                whole = datetime.fromisoformat(f"{match['date']}T{match['clock']}+00:00")
            else:
                month = _MONTHS.index(match["month"]) + 1
                date = f"{int(match['year'] or _YEAR):04d}-{month:02d}-{int(match['mday']):02d}"
                whole = datetime.fromisoformat(f"{date}T{match['sclock']}+00:00")
        except ValueError:  # looks like a time and is none: 99:99:99
            return None
        seconds = whole.timestamp() + float(match["part"] or 0)
    return seconds if _WINDOW[0] <= seconds < _WINDOW[1] else None


def _written(match: re.Match[str], seconds: float) -> str:
    moment = utc(seconds)
    if match["epoch"]:
        if match["micro"]:
            return str(int(seconds * 1e6))
        return _with_part(str(int(seconds)), seconds, match["epart"])
    if match["date"]:
        day = f"{moment:%a} " if match["day"] else ""
        whole = f"{day}{moment:%Y-%m-%d}{match['sep']}{moment:%H:%M:%S}"
        return _with_part(whole, seconds, match["part"])
    day = f"{moment:%a} " if match["sday"] else ""
    year = f" {moment:%Y}" if match["year"] else ""
    return f"{day}{_MONTHS[moment.month - 1]} {moment.day:2d} {moment:%H:%M:%S}{year}"


def _with_part(whole: str, seconds: float, part: str | None) -> str:
    if not part:
        return whole
    digits = len(part) - 1
    scaled = int((seconds - int(seconds)) * 10 ** min(digits, 6))
    return f"{whole}.{str(scaled).zfill(min(digits, 6)).ljust(digits, '0')}"


def utc(seconds: float) -> datetime:
    """An aware UTC datetime of seconds since the epoch (whole microseconds, never rounded up)."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(seconds * 1e6))


def span(seconds: float) -> str:
    """A time span as systemd writes one: "47s", "1min 44s", "2h 5min", "3 days"."""
    left = max(int(seconds), 0)
    parts = []
    for unit, size in (("day", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} day{'s' if count > 1 else ''}" if unit == "day" else f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"
