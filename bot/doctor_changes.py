"""What `panicroom doctor` finds of the sources of changes beside Jira: feed files, and the PromQL endpoint."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bot.changes_feed import read_file
from bot.machine import Finding
from bot.settings import Settings
from commands.durations import write_duration
from integrations.changes import BadFeed
from integrations.workload.config import WorkloadConfig
from integrations.workload.errors import WorkloadError
from integrations.workload.prometheus import PrometheusLoad

_AHEAD = timedelta(minutes=5)
_ASK_SECONDS = 8.0


def feed_findings(settings: Settings, now: datetime) -> list[Finding]:
    """Each file read as the bot reads it; nothing is kept."""
    if not settings.feed.files:
        return [Finding("feed", "ok", "no files are set; POST /v1/changes takes what a pipeline tells")]
    return [_file(file, now) for file in settings.feed.files]


def _file(file: Path, now: datetime) -> Finding:
    try:
        changed = datetime.fromtimestamp(file.stat().st_mtime, UTC)
        changes = read_file(file)
    except OSError as error:
        said = f"{file}: {error.strerror or error}: its changes are not known"
        remedy = "Make it, or give the bot's user access, or take it out of feed.files."
        return Finding("feed", "fail", said, remedy)
    except BadFeed as error:
        remedy = "Correct it as docs/changes-feed.md shows; until then its changes are not known."
        return Finding("feed", "fail", f"{file}: {error}"[:400], remedy)
    age = now - changed
    when = f"last changed {changed:%Y-%m-%d %H:%M}Z"
    if age < -_AHEAD:
        said = f"{file}: {when}, which is in the future"
        return Finding(
            "feed", "warn", said, "Set the clock of who writes it: changes are weighed by their time."
        )
    when += f", {_words(age)} ago"
    if not changes:
        said = f"{file} holds no change; {when}"
        return Finding(
            "feed", "warn", said, "Write `[[change]]` tables into it, or take it out of feed.files."
        )
    sources = Counter(change.source for change in changes)
    told = ", ".join(f"{count} of {source}" for source, count in sources.most_common(3))
    return Finding("feed", "ok", f"{file}: {len(changes)} changes ({told}); {when}")


def _words(age: timedelta) -> str:
    """`40s`, `3h12m`, `5d7h`: what is too fine to matter is left out."""
    seconds = max(0.0, age.total_seconds())
    step = 1 if seconds < 3600 else 60 if seconds < 86400 else 3600
    return write_duration(timedelta(seconds=seconds // step * step))


async def workload_findings(settings: Settings, now: datetime) -> list[Finding]:
    """The queries of the settings, asked for the first host of the inventory; for a name of our own without one."""
    config = settings.workload
    if config.prometheus_url is None:
        said = "sysstat's records are read on the host" if config.sysstat else _NEITHER
        return [Finding("workload", "ok", f"no prometheus_url is set: {said}")]
    hosts = [entry.name for entry in settings.hosts if not entry.is_pattern]
    host = hosts[0] if hosts else "panicroom-doctor"
    asked = config.model_copy(update={"timeout": min(config.timeout, _ASK_SECONDS)})
    try:
        loads = await PrometheusLoad(asked).loads(host, now)
    except WorkloadError as error:
        remedy = (
            "Check workload.prometheus_url (without /api/v1), bearer_token and queries, and the way there."
        )
        return [Finding("workload", "fail", f"{config.prometheus_url}: {error}"[:400], remedy)]
    answers = f"{config.prometheus_url} answers"
    if not hosts:
        return [Finding("workload", "ok", f"{answers}; no host of the inventory is there to ask for")]
    return [_known(config, answers, host, {load.measure.name for load in loads})]


_NEITHER = 'workload is "not checked" in every thread'


def _known(config: WorkloadConfig, answers: str, host: str, known: set[str]) -> Finding:
    remedy = (
        "Compare `instance` in its series with the host's name, and set workload.queries to what you have."
    )
    if not known:
        said = f"{answers}, and knows nothing of {host}: its workload will not be checked"
        return Finding("workload", "warn", said, remedy)
    missing = [name for name in config.queries if name not in known]
    if missing:
        said = f"{answers}, and has no {', '.join(missing)} of {host}"
        return Finding("workload", "warn", said, remedy)
    return Finding("workload", "ok", f"{answers}, and knows {', '.join(config.queries)} of {host}")
