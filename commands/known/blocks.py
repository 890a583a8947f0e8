"""What `/panic known` shows: the list, and the form."""

from __future__ import annotations

from collections.abc import Sequence

from commands.fitting import cut, sections
from commands.incident.causes import known_words
from commands.incident.wording import redacted
from integrations.slack import blocks as b
from integrations.slack.text import code, escape, shorten
from storage import KnownCause, Signature
from storage.known import KnownRow

MODAL = "known.mark"
SHOWN = 12  # each of at most 800 characters: they fit into a message
_LINE = 800


def list_message(total: int, rows: Sequence[KnownRow]) -> tuple[str, list[b.Block]]:
    """Newest first; those beyond the ones shown are counted."""
    if not rows:
        text = "Nothing is known of any signature yet. `/panic known P-41` says what is."
        return text, [b.section(text)]
    lines = []
    for row in rows[:SHOWN]:
        title = escape(shorten(redacted(row.title), 150))
        seen = f"{row.panics} panic{'s' if row.panics != 1 else ''}"
        head = f"{code(shorten(row.known.signature_key, 200))} {title} ({seen})"
        lines.append(cut(f"• {head}\n{known_words(row.known, limit=_LINE - 300)}", _LINE))
    made = sections(f"Known causes ({total})", lines)
    if total > len(lines):
        made.append(b.context(f"… and {total - len(lines)} more, said earlier."))
    return f"Known causes: {total}", made


def known_message(signature: Signature, known: KnownCause | None) -> tuple[str, list[b.Block]]:
    """What is known of one signature, for those who cannot be shown a form."""
    head = f"{code(shorten(signature.key, 200))} {escape(shorten(redacted(signature.title), 200))}"
    told = f":bulb: {known_words(known)}" if known is not None else "Nothing is known of it yet."
    return told, [b.section(f"{head}\n{told}")]


def known_form(signature: Signature, known: KnownCause | None, metadata: str) -> b.Block:
    """The form, with what is known already in its fields: an emptied field takes it away."""
    fields = [
        b.section(f"{code(shorten(signature.key, 200))} {escape(shorten(redacted(signature.title), 200))}"),
        b.text_input(
            "Cause",
            "cause",
            multiline=True,
            optional=True,
            max_length=2000,
            initial=(known and known.cause) or "",
            placeholder="What makes the kernel panic?",
            hint="Shown at once in the next thread of this signature.",
        ),
        b.text_input(
            "Ticket",
            "ticket",
            optional=True,
            max_length=300,
            initial=(known and known.ticket) or "",
            placeholder="OPS-1182, or the ticket's address",
        ),
        b.text_input(
            "Fixed in",
            "fixed_in",
            optional=True,
            max_length=100,
            initial=(known and known.fixed_in) or "",
            placeholder="6.1.0-40",
            hint="The first kernel with the fix. A later panic on it, or on a later one, is said to have come back.",
        ),
        b.text_input(
            "Note",
            "note",
            multiline=True,
            optional=True,
            max_length=1000,
            initial=(known and known.note) or "",
            placeholder="What to do until then",
        ),
    ]
    return b.modal(MODAL, "Known cause", fields, private_metadata=metadata)


def where(told: Sequence[str]) -> str:
    """In which threads it stands now, for the answer."""
    if not told:
        return "It stands in the next thread of this signature."
    named = ", ".join(told[:8]) + (f" and {len(told) - 8} more" if len(told) > 8 else "")
    return f"It stands in {named} now, and in the next thread of this signature."
