"""What a backup or a restore did, in JSON and in words. Light: the process that takes a backup loads it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from storage.backup import Taken
from storage.backup_restore import Restored

_NOT_IN_IT = (
    "Not in it: the store ({files} files, {size}, that the database names), central copies, panicroom.toml."
)


def backup_name(at: datetime) -> str:
    return f"panicroom-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}.zip"


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def told_backup(taken: Taken) -> dict[str, Any]:
    manifest = taken.manifest
    lines = sum(part.bytes for part in manifest.parts)
    return {
        "file": str(taken.path),
        "bytes": taken.size,
        "taken_at": manifest.taken_at.isoformat(),
        "revision": manifest.revision,
        "rows": manifest.rows,
        "tables": {part.name.removesuffix(".jsonl"): part.rows for part in manifest.parts},
        "seconds": round(taken.seconds, 3),
        "snapshot_seconds": round(taken.held, 3),
        "rows_per_second": round(manifest.rows / max(taken.seconds, 1e-6)),
        "bytes_per_second": round(lines / max(taken.seconds, 1e-6)),
        "not_included": {"store_files": manifest.artefacts, "store_bytes": manifest.artefact_bytes},
    }


def shown_backup(taken: Taken) -> str:
    manifest, told = taken.manifest, told_backup(taken)
    workflows = "with" if manifest.workflows_revision is not None else "without"
    return (
        f"{taken.path}: {manifest.rows} rows of {len(manifest.parts)} tables, {workflows} workflows, "
        f"revision {manifest.revision}, {_mib(taken.size)}, in {taken.seconds:.1f} s "
        f"({told['rows_per_second']} rows/s, {_mib(told['bytes_per_second'])}/s).\n"
        + _NOT_IN_IT.format(files=manifest.artefacts, size=_mib(manifest.artefact_bytes))
    )


def told_restore(done: Restored) -> dict[str, Any]:
    return {
        "taken_at": done.manifest.taken_at.isoformat(),
        "taken_by": done.manifest.version,
        "source": done.manifest.source,
        "revision_before": done.before,
        "revision": done.after,
        "rows": done.manifest.rows,
        "seconds": round(done.seconds, 3),
        "rows_per_second": round(done.manifest.rows / max(done.seconds, 1e-6)),
        "kept": done.kept,
        "altered_texts": done.altered,
        "not_included": {"store_files": done.manifest.artefacts, "store_bytes": done.manifest.artefact_bytes},
    }


def shown_restore(done: Restored) -> str:
    told = told_restore(done)
    upgraded = f", upgraded from {done.before} to {done.after}" if done.before != done.after else ""
    lines = [
        f"Restored as of {done.manifest.taken_at:%Y-%m-%d %H:%M:%S}Z: {done.manifest.rows} rows in "
        f"{done.seconds:.1f} s ({told['rows_per_second']} rows/s){upgraded}.",
        *(f"What was there before is kept: {kept}" for kept in done.kept),
        _NOT_IN_IT.format(files=done.manifest.artefacts, size=_mib(done.manifest.artefact_bytes)),
        "Start the bot: it marks threads in Slack that were opened later. `panicroom doctor` tells of missing files.",
    ]
    if done.altered:
        lines.insert(
            1, f"{done.altered} texts held NUL characters, which PostgreSQL does not take: now U+FFFD."
        )
    return "\n".join(lines)
