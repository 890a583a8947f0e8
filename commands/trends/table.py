"""Panics as CSV, for a spreadsheet: no cell of a stranger's is ever a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from commands.incident.wording import redacted
from integrations.slack.text import clean
from storage import incident_ref, panic_ref
from storage.queries import PanicRow

COLUMNS = (
    "panic", "occurred_at", "host", "kernel", "ring", "hardware", "kind", "title", "signature", "deliberate", "dump",
    "dump_bytes", "incident", "state",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@")


def csv_of(rows: Iterable[PanicRow]) -> str:
    """A heading and a line a panic (RFC 4180), in the order given. Times as ISO 8601 in UTC."""
    made = io.StringIO()
    writer = csv.writer(made)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([cell(value) for value in _values(row)])
    return made.getvalue()


def cell(text: str) -> str:
    """One line. What a spreadsheet would take for a formula gets an apostrophe before it, which makes it text."""
    line = " ".join(clean(text).split())
    return f"'{line}" if line.startswith(_FORMULA) else line


def _values(row: PanicRow) -> tuple[str, ...]:
    return (
        panic_ref(row.id),
        row.occurred_at.isoformat(),
        row.host,
        row.kernel or "",
        row.ring or "",
        redacted(row.hardware or "", row.host),
        row.kind,
        redacted(row.title, row.host),
        row.signature_key,
        "yes" if row.deliberate else "no",
        row.dump_state.value,
        str(row.dump_size) if row.dump_size is not None else "",
        incident_ref(row.incident_id) if row.incident_id is not None else "",
        row.state.value if row.state is not None else "",
    )
