"""Which signature a person means, and what is known of it: written and taken back in the caller's transaction."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session

from commands.errors import BadArguments, Impossible, NotFound
from commands.incident.causes import known_words, tell_open
from commands.incident.lookup import panic_meant
from commands.incident.wording import redacted
from commands.known.line import EXAMPLE, Said
from commands.router import Ask
from integrations.slack.text import code, escape, shorten, user
from storage import KnownCause, Panic, Signature, panic_ref, parse_ref
from storage.known import known_cause, signatures_from
from storage.recurrence import is_readable

_NAMED = 5  # signatures that begin alike, of which one may be meant


def signature_meant(session: Session, ask: Ask, word: str | None) -> Signature:
    """The signature named: by a panic or an incident, by itself or its beginning, or by the thread.

    Raises BadArguments, NotFound, or Impossible for panics whose cause nobody could read.
    """
    if word is None or parse_ref(word, "P") or parse_ref(word, "I"):
        return _of_panic(session, panic_meant(session, ask, word))
    if not is_readable("", word):
        raise Impossible(_UNREADABLE)
    keys = signatures_from(session, word, limit=_NAMED + 1)
    if len(keys) > 1:
        shown = ", ".join(code(shorten(k, 100)) for k in keys[:_NAMED])
        shown += " and others" if len(keys) > _NAMED else ""
        raise BadArguments(
            f"{code(shorten(word, 60))} begins several signatures: {shown}.",
            example="/panic known P-41",
        )
    if not keys:
        raise NotFound(
            f"there is no signature {code(shorten(word, 100))}; name a panic that has it. `/panic list` shows what "
            "there is."
        )
    return session.get_one(Signature, keys[0])


_UNREADABLE = (
    "nobody could read its cause, and such panics have nothing in common. Once the cause is read, or told by "
    "`/panic reclassify`, it has a signature."
)


def _of_panic(session: Session, panic: Panic) -> Signature:
    if not is_readable(panic.kind, panic.signature_key):
        raise Impossible(f"of {panic_ref(panic.id)}, {_UNREADABLE}")
    found = session.get(Signature, panic.signature_key)
    if found is None:  # a person has reclassified it, and no report was read with this signature since
        found = Signature(
            key=panic.signature_key,
            kind=panic.kind,
            title=panic.title,
            first_seen=panic.occurred_at,
            last_seen=panic.occurred_at,
        )
        session.add(found)
        session.flush()
    return found


def mark(
    session: Session, signature: Signature, said: Said, actor: str, now: datetime
) -> tuple[KnownCause, list[str]]:
    """Keeps what was said, beside what was known. Returns it, and the open incidents whose threads were told.

    Raises BadArguments when nothing would be left, Impossible when nothing is new.
    """
    known = known_cause(session, signature.key) or KnownCause(signature_key=signature.key, by=actor)
    before = (known.cause, known.ticket, known.fixed_in, known.note)
    for name in ("cause", "ticket", "fixed_in", "note"):
        value = getattr(said, name)
        if value is not None:
            setattr(known, name, value or None)
    after = (known.cause, known.ticket, known.fixed_in, known.note)
    if not any(after):
        raise BadArguments(
            "say a cause, a ticket, the kernel with the fix, or a note; `/panic unknown` takes all of it back.",
            example=EXAMPLE,
        )
    if after == before:
        raise Impossible(f"that is what is known of {code(shorten(signature.key, 200))} already.")
    if known.fixed_in != before[2]:
        known.marked_at = now if known.fixed_in else None
    known.by, known.at = actor, now
    session.add(known)
    session.flush()
    told = tell_open(
        session, signature.key, _key(now), f":bulb: {known_words(known)}", actor, now
    )  # fmt: skip
    return known, told


def forget(session: Session, signature: Signature, actor: str, now: datetime) -> list[str]:
    """Takes back what was known. Returns the open incidents whose threads were told. Raises NotFound."""
    known = known_cause(session, signature.key)
    if known is None:
        raise NotFound(
            f"nothing is known of {code(shorten(signature.key, 200))}. `/panic known` shows what is."
        )
    said = known.cause or known.ticket or known.fixed_in or known.note or ""
    had = escape(shorten(redacted(" ".join(said.split())), 200))
    session.delete(known)
    session.flush()
    words = f":bulb: {user(actor)} took back what was known of this signature (“{had}”)."
    return tell_open(session, signature.key, _key(now), words, actor, now)


def _key(now: datetime) -> str:
    return str(int(now.timestamp() * 1_000_000))
