"""A raw report, read: what the kernel said, and what its host says about the boot. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from integrations.kernel import Crash, read_crash
from storage import DumpState

_STORED_TEXT = 1_000_000  # characters of the whole log that are kept beside the panic
_SLACK = timedelta(minutes=5)  # a host's clock may run ahead of ours by so much before it is disbelieved
_OLDEST = timedelta(days=365)  # a clock without a battery starts in 1970 or 2000: nobody reports so late


@dataclass(frozen=True)
class LiveTold:
    """What netconsole says beside the text: see `LiveSighting`."""

    final: bool
    panic: bool
    ended: bool
    lost: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class Reading:
    """What one report says, in our terms. None means "it does not say"."""

    host: str
    crash: Crash
    text: str
    occurred_at: datetime
    occurred_at_certain: bool
    boot_id: str | None
    boot_started_at: datetime | None
    kernel: str | None
    hardware: str | None
    running_kernel: str | None
    down_since: datetime | None
    back_at: datetime | None
    dump_state: DumpState
    dump_path: str | None
    dump_size: int | None
    source: str = "report"
    crash_dir: str | None = None
    not_before: datetime | None = None  # an alert fires late: the crash lies between this and `occurred_at`
    continues: str | None = None  # the id of the report whose panic this one goes on about
    closes: bool = False  # only adds to a panic that is known
    live: LiveTold | None = None
    running_boot_id: str | None = None
    ring: str | None = None  # as a person said it; the inventory knows better


def read_report(body: Mapping[str, Any], *, host: str, received_at: datetime) -> Reading:
    """Reads a report's body (as accepted by the inbound model). Never raises on the kernel's text.

    When the host does not say when it died: when it went down, else when the report came. A clock that was ahead
    when the report was sent is set right by how far it was ahead; another moment that cannot be is not believed,
    and the report's arrival counts instead. (A report "sent" long ago is no sign of a slow clock: it may have
    waited for us.)
    """
    text = str(body.get("text") or "")
    source = _word(body.get("source"), 40) or "report"
    crash = read_crash(text)
    ahead = _ahead(body, received_at)
    down_since, back_at = (_believable(body.get(k), received_at, ahead) for k in ("down_since", "back_at"))
    occurred = _believable(body.get("occurred_at"), received_at, ahead) or down_since
    certain = occurred is not None
    occurred_at = occurred or received_at
    uptime = crash.uptime if crash.crash else None
    dump = body.get("dump")
    dump = dump if isinstance(dump, Mapping) else None
    return Reading(
        host=host,
        crash=crash,
        text=text[-_STORED_TEXT:],
        occurred_at=occurred_at,
        occurred_at_certain=certain,
        boot_id=_boot_id(body.get("crashed_boot_id")),
        boot_started_at=occurred_at - timedelta(seconds=uptime) if certain and uptime is not None else None,
        kernel=crash.kernel or _booted(text) or _word(body.get("crashed_kernel")),
        hardware=_word(body.get("hardware")),
        running_kernel=_word(body.get("kernel")),
        down_since=down_since,
        back_at=back_at,
        dump_state=DumpState.NONE if source == "no-dump" and dump is None else _dump_state(dump),
        dump_path=_word(dump.get("path")) if dump else None,
        dump_size=_size(dump.get("size")) if dump else None,
        source=source,
        crash_dir=_word(body.get("crash_dir"), 1000),
        not_before=_believable(body.get("not_before"), received_at, ahead),
        continues=_word(body.get("continues")),
        closes=body.get("closes") is True,
        live=_live(body.get("live")) if source == "netconsole" else None,
        running_boot_id=_boot_id(body.get("boot_id")),
        ring=_word(body.get("ring"), 60),
    )


def _live(value: Any) -> LiveTold | None:
    if not isinstance(value, Mapping):
        return None
    final, panic, ended = (value.get(key) is True for key in ("final", "panic", "ended"))
    return LiveTold(final, panic, ended, _size(value.get("lost")) or 0, _size(value.get("dropped")) or 0)


def _ahead(body: Mapping[str, Any], received_at: datetime) -> timedelta:
    """How far the host's clock was ahead of ours when it sent the report; zero for what may be the network."""
    sent = _moment(body.get("reported_at"))
    ahead = sent - received_at if sent is not None else timedelta(0)
    return ahead if ahead > _SLACK else timedelta(0)


def _believable(value: Any, received_at: datetime, ahead: timedelta) -> datetime | None:
    moment = _moment(value)
    if moment is None or moment - ahead > received_at + _SLACK or moment - ahead < received_at - _OLDEST:
        return None
    return moment - ahead


def _booted(text: str) -> str | None:
    """The release in the last `Linux version …` line: a log without a crash in it still names its kernel."""
    at = text.rfind("Linux version ")
    return text[at + 14 : at + 200].split(" ", 1)[0][:128] or None if at >= 0 else None


def _dump_state(dump: Mapping[str, Any] | None) -> DumpState:
    if dump is None:
        return DumpState.UNKNOWN
    if _size(dump.get("size")) == 0:
        return DumpState.EMPTY
    complete = dump.get("complete")
    if complete is True:
        return DumpState.COMPLETE
    return DumpState.INCOMPLETE if complete is False else DumpState.UNVERIFIED


def _moment(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else None


def _boot_id(value: Any) -> str | None:
    """journald writes boot ids without dashes, /proc with: one spelling."""
    if not isinstance(value, str):
        return None
    return value.replace("-", "").strip().lower()[:64] or None


def _word(value: Any, limit: int = 200) -> str | None:
    return " ".join(value.split())[:limit] or None if isinstance(value, str) else None


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62 else None
