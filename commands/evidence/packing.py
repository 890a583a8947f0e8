"""The bundle as two archives: whole for the store, redacted for Slack; and again with where the vmcore's copy is."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select

from commands.evidence.contents import Entry, make_archive, manifest_bytes
from integrations.redaction import Redactor
from integrations.stores import LocalStore, Stored
from storage import Artefact, CopyState, DumpCopy, Panic, RunbookRun, StepResult, panic_ref

MANIFEST = "manifest.json"
_MOST = 512 * 1024**2  # bytes of one file in a bundle of ours
# What a redacted manifest says as it is: names that are ours, and sums.
_PLAIN = frozenset(
    {
        "file", "sha256", "size", "exit_status", "started_at", "seconds", "truncated",
        "whole", "whole_sha256", "whole_size",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Packed:
    """`whole` and `told` are the same where nothing is redacted."""

    whole: Stored
    told: Stored
    counts: Mapping[str, int]


def pack(
    store: LocalStore,
    ref: str,
    name: str,
    base: Mapping[str, Any],
    entries: Sequence[Entry],
    files: Mapping[str, bytes],
    *,
    host: str,
    stamp: int,
    redact: bool,
) -> Packed:
    """Both archives, kept as `ref/NAME.tar.gz` and `ref/NAME-redacted.tar.gz`. Blocking. Raises a StoreError.

    The same files and `stamp` (seconds) give the same bytes.
    """

    def put(suffix: str, content: Mapping[str, bytes]) -> Stored:
        archive = make_archive(f"{ref}-evidence", content, stamp)
        return store.put((ref, f"{name}{suffix}.tar.gz"), archive)

    manifest = {**base, "redacted": False, "files": [e.model_dump() for e in entries]}
    whole = put("", {**files, MANIFEST: manifest_bytes(manifest)})
    if not redact:
        return Packed(whole, whole, {})
    redactor = Redactor(keep=(host,))
    cleaned = {name: redactor.redact_bytes(files[name]) for name in sorted(files)}
    told = []
    for entry in entries:
        record = entry.model_dump()
        if entry.file in cleaned:
            data = cleaned[entry.file]
            record |= {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            record |= {"original_sha256": entry.sha256, "original_size": entry.size}
        told.append({k: v if k in _PLAIN else _redacted(redactor, v) for k, v in record.items()})
    clean = {
        k: _redacted(redactor, v) if k in ("vmcore", "boots", "title", "host") else v for k, v in base.items()
    }
    counts = dict(sorted(redactor.counts.items()))
    manifest = {
        **clean,
        "redacted": True,
        "redactions": counts,
        "original_bundle": {"sha256": whole.sha256, "size": whole.size},
        "files": told,
    }
    return Packed(whole, put("-redacted", {**cleaned, MANIFEST: manifest_bytes(manifest)}), counts)


def _redacted(redactor: Redactor, value: Any) -> Any:
    """Every text in it, however deep; what the bot itself says of a central copy stays, it is how it is found."""
    if isinstance(value, str):
        return redactor.redact(value)
    if isinstance(value, list):
        return [_redacted(redactor, v) for v in value]
    if isinstance(value, dict):
        return {k: v if k == "central" else _redacted(redactor, v) for k, v in value.items()}
    return value


def unpack(archive: bytes) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of a bundle of ours and its manifest. Raises ValueError for one that is not ours or is damaged."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
            for member in opened:
                found = opened.extractfile(member) if member.isfile() and member.size <= _MOST else None
                if found is None:
                    raise ValueError(f"{member.name[:80]!r} is not of a bundle")
                files[member.name.rpartition("/")[2]] = found.read()
        manifest = json.loads(files.pop(MANIFEST))
    except (tarfile.TarError, OSError, EOFError, KeyError) as error:
        raise ValueError(f"the bundle cannot be read again: {type(error).__name__} {error}") from error
    if not isinstance(manifest, dict):
        raise ValueError("the bundle's manifest is no object")  # noqa: TRY004 - a damaged bundle, not a caller's error
    return files, manifest


def manifest_of(run: RunbookRun, panic: Panic, host: str, steps: Sequence[StepResult]) -> dict[str, Any]:
    """What both manifests say. No time of packing: the same files make the same bundle, also after a crash."""
    facts: dict[str, Any] = {}
    for step in steps:
        facts |= {k: v for k, v in (step.facts or {}).items() if k in ("vmcore", "boots")}
    last = max((s.finished_at for s in steps if s.finished_at is not None), default=None)
    return {
        "panic": panic_ref(panic.id),
        "title": panic.title,
        "host": host,
        "asked_by": run.asked_by,
        "asked_at": run.asked_at.isoformat(),
        "collected_at": last.isoformat() if last is not None else None,
        "run": run.workflow_id,
        "vmcore": facts.get("vmcore"),
        "boots": facts.get("boots"),
        "format": 1,
    }


def central_of(copy: DumpCopy) -> dict[str, Any]:
    """A verified copy as a manifest tells of it."""
    return {
        "place": copy.place,
        "sha256": copy.sha256,
        "size": copy.size,
        "state": copy.dump_state.value if copy.dump_state is not None else None,
        "verified_at": copy.verified_at.isoformat() if copy.verified_at is not None else None,
    }


def verified_copy(session: Session, panic_id: int) -> DumpCopy | None:
    """The newest verified copy of a panic's dump."""
    return session.exec(
        select(DumpCopy)
        .where(DumpCopy.panic_id == panic_id, DumpCopy.state == CopyState.VERIFIED)
        .order_by(col(DumpCopy.id).desc())
        .limit(1)
    ).first()


def keep_artefact(session: Session, panic: Panic, run_id: int, kind: str, made: Stored) -> None:
    """The artefact's row; packing again gives no second one."""
    name = made.path.rpartition("/")[2]
    row = session.exec(select(Artefact).where(Artefact.run_id == run_id, Artefact.name == name)).first()
    row = row or Artefact(
        panic_id=panic.id or 0, run_id=run_id, kind=kind, name=name, sha256="", size=0, path=""
    )
    row.sha256, row.size, row.path = made.sha256, made.size, made.path
    session.add(row)


def keep_both(session: Session, panic: Panic, run_id: int, made: Packed) -> None:
    keep_artefact(session, panic, run_id, "bundle", made.whole)
    if made.told is not made.whole:
        keep_artefact(session, panic, run_id, "bundle-redacted", made.told)


def redaction_words(counts: Mapping[str, int]) -> str:
    names = {
        "mac": "hardware addresses",
        "ip": "network addresses",
        "email": "e-mail addresses",
        "serial": "serial numbers",
        "uuid": "UUIDs",
    }
    told = ", ".join(f"{n} {names.get(sort, sort + 's')}" for sort, n in counts.items() if n)
    return f"redacted for Slack: {told}" if told else "redacted for Slack: nothing had to be"
