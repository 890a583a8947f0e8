"""What a reader sees of a copy: one message, edited as it goes."""

from __future__ import annotations

from sqlmodel import Session

from commands.hosts.crashdump import size_words
from commands.incident.rendering import Rendered, renderer
from commands.incident.wording import redacted, share, span
from integrations.slack import blocks
from integrations.slack.text import code, date, escape, shorten, user
from storage import CopyState, DumpCopy, DumpState, Panic, panic_ref
from storage.copies import UNDER_WAY

_BOT = "panicroom"


@renderer("dump_copy")
def draw_copy(session: Session, copy_id: int) -> Rendered | None:
    copy = session.get(DumpCopy, copy_id)
    panic = session.get(Panic, copy.panic_id) if copy is not None else None
    if copy is None or panic is None:
        return None
    return copy_message(copy, panic)


def copy_message(copy: DumpCopy, panic: Panic) -> Rendered:
    """The message as it is now, within Slack's limits; the same rows give the same message."""
    ref = panic_ref(panic.id)
    title = f"vmcore of {escape(shorten(panic.host, 80))} ({ref}) to the central store"
    state = state_words(copy)
    made = [blocks.section(f"*{title}*\n{state}")]
    asked = f"asked by {_name(copy.asked_by)} {date(copy.asked_at)}"
    if copy.also_asked:
        asked += f", and by {', '.join(_name(u) for u in copy.also_asked)}"
    made.append(blocks.context(asked))
    buttons = _buttons(copy, ref)
    if buttons:
        made.append(blocks.actions(buttons))
    return Rendered(f"{title}: {state}", made)


def state_words(copy: DumpCopy) -> str:
    """Where the copy stands, as mrkdwn."""
    if copy.state is CopyState.VERIFIED:
        return _verified(copy)
    if copy.state is CopyState.REMOVED:
        return f":wastebasket: removed from central{_why_not(copy)}\nIt was {code(copy.place or '')}"
    if copy.state is CopyState.DAMAGED:
        return f":warning: the copy in {code(copy.place or '')} is damaged{_why_not(copy)}"
    if copy.state is CopyState.CANCELLED:
        by = f" by {_name(copy.cancelled_by)}" if copy.cancelled_by else ""
        left = f"\n_{escape(redacted(copy.note, copy.host))}_" if copy.note else ""
        return f":no_entry_sign: cancelled{by}{left}"
    if copy.state is CopyState.FAILED:
        return (
            f":x: not copied: {escape(shorten(redacted(copy.error or 'no reason is known', copy.host), 900))}"
        )
    if copy.paused:
        by = f" by {_name(copy.paused_by)}" if copy.paused_by else ""
        return (
            f":double_vertical_bar: paused{by} at {_far(copy)}"
            if copy.size
            else f":double_vertical_bar: paused{by}"
        )
    if copy.state is CopyState.WAITING:
        return _waiting(copy)
    verb = (
        "copying"
        if copy.state is CopyState.COPYING
        else "checking: read back from the store, hashed on the host"
    )
    line = f":hourglass_flowing_sand: {verb}: {_far(copy)}"
    if copy.rate:
        line += f" · {size_words(copy.rate)}/s"
        if copy.rate >= 1:
            line += f" · {span(max(((copy.size or 0) - copy.bytes_done) / copy.rate, 1.0))} left"
    return f"{line}\n_{escape(shorten(redacted(copy.note, copy.host), 400))}_" if copy.note else line


def _waiting(copy: DumpCopy) -> str:
    if not copy.note:
        return ":hourglass_flowing_sand: looking for the dump on the host…"
    line = f":hourglass_flowing_sand: {escape(shorten(redacted(copy.note, copy.host), 600))}"
    if copy.size and copy.bytes_done:
        line += f"\n{_far(copy)} is in the store"
    if copy.next_try_at is not None:
        line += f"\nnext try {date(copy.next_try_at, '{time_secs}')}"
        if copy.give_up_at is not None:
            line += f", giving up {date(copy.give_up_at, '{date_short_pretty} {time}')}"
    return line


def _verified(copy: DumpCopy) -> str:
    took = ""
    if copy.started_at is not None and copy.finished_at is not None:
        seconds = (copy.finished_at - copy.started_at).total_seconds()
        took = f" in {span(max(seconds, 1.0))}"
    whole = copy.dump_state is DumpState.COMPLETE
    mark = ":white_check_mark:" if whole else ":warning:"
    word = copy.dump_state.value if copy.dump_state is not None else "unverified"
    note = escape(shorten(redacted(copy.note, copy.host), 500))
    return (
        f"{mark} verified in central: {size_words(copy.size or 0)}{took}, dump {word}\n"
        f"{code(copy.place or '')}\nsha256 {code(copy.sha256 or '')}\n"
        f"_{note}_"
    )


def _why_not(copy: DumpCopy) -> str:
    """`: REASON` of a copy that no longer counts."""
    return f": {escape(shorten(redacted(copy.error, copy.host), 500))}" if copy.error else ""


def _far(copy: DumpCopy) -> str:
    return (
        f"{share(copy.bytes_done, copy.size)} ({size_words(copy.bytes_done)} of {size_words(copy.size or 0)})"
    )


def _buttons(copy: DumpCopy, ref: str) -> list[blocks.Block]:
    if copy.state in UNDER_WAY:
        first = (
            blocks.button("Resume", "copies.resume", ref, style="primary")
            if copy.paused
            else blocks.button("Pause", "copies.pause", ref)
        )
        return [first, blocks.button("Cancel", "copies.cancel", ref, style="danger")]
    if copy.state is not CopyState.VERIFIED:
        return [blocks.button("Copy again", "copies.begin", ref)]
    return [blocks.button("Analyze", "analysis.run", ref), blocks.button("Pin", "retention.pin", ref)]


def _name(who: str | None) -> str:
    return "Panicroom, because the host is critical" if who == _BOT else user(who or "")
