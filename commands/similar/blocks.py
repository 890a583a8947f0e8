"""What `/panic similar` shows."""

from __future__ import annotations

from collections.abc import Sequence

from commands.fitting import cut, linked, sections
from commands.incident.causes import known_words
from commands.incident.wording import redacted
from commands.similar.nearness import Near, why
from integrations.slack import blocks as b
from integrations.slack.text import code, date, escape, shorten
from storage import panic_ref
from storage.similarity import Beside, Candidate, Lookalikes

_LINE = 900  # with at most eleven of them a message stays within Slack's limit


def similar_message(found: Lookalikes, near: Sequence[Near], beside: Beside) -> tuple[str, list[b.Block]]:
    """The same signature first, then the near ones, each with its reasons."""
    panic = found.panic
    ref = panic_ref(panic.id)
    made: list[b.Block] = [
        b.section(
            f"*What is like {ref}* ({escape(panic.host)}: {_title(panic)})\n{_signature(found, beside)}"
        )
    ]
    same = [f"• {_one(p, beside)}" for p in found.same]
    if found.same_total > len(same):
        more = found.same_total - len(same)
        same.append(f"… and {more} more: `/panic list sig:{ref}`")
    made += sections(f"The same signature ({found.same_total})", same)
    made += sections("Near", [_near(n, beside) for n in near])
    if not same and not near:
        made.append(b.section(f"No panic that is known is like {ref}."))
    counted = f"{found.same_total} with its signature, {len(near)} near"
    return f"What is like {ref}: {counted}", made


def _signature(found: Lookalikes, beside: Beside) -> str:
    if not found.readable:
        return "Nobody could read its cause, so no other panic has its signature."
    known = beside.known.get(found.panic.signature_key)
    told = f"\n:bulb: {known_words(known, limit=600)}" if known is not None else ""
    return f"Signature {code(shorten(found.panic.signature_key, 200))}{told}"


def _one(panic: Candidate, beside: Beside) -> str:
    ref = linked(panic_ref(panic.id), beside.threads.get(panic.id))
    return f"{ref} {escape(panic.host)} {date(panic.occurred_at, '{date_short_pretty} {time}')}"


def _near(near: Near, beside: Beside) -> str:
    panic = near.panic
    count = beside.counts.get(panic.signature_key, 1)
    many = f" (the nearest of {count} with its signature)" if count > 1 else ""
    line = f"• {_one(panic, beside)}: {_title(panic)}{many}\n_Why:_ {escape('; '.join(why(near.nearness)))}"
    known = beside.known.get(panic.signature_key)
    if known is not None:
        line += f"\n:bulb: {known_words(known, limit=300)}"
    return cut(line, _LINE)


def _title(panic: Candidate) -> str:
    return escape(shorten(redacted(panic.title, panic.host), 150))
