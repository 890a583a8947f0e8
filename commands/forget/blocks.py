"""What a reader sees of an erasure: what would go, who has to say so, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session

from commands.forget.extent import Extent
from commands.forget.ledger import RENDERER, summary_of
from commands.incident.rendering import Rendered, renderer
from integrations.slack import blocks as b
from integrations.slack.text import code, date, escape, sections, shorten, user
from storage import Erasure, ErasureState, panic_ref

_WORDS = (
    ("panics", "panic", "panics: each stays as a count of its signature on its day"),
    ("texts", "text of a panic", "texts of panics"),
    ("reports", "report as it came in", "reports as they came in"),
    ("outputs", "step's output", "steps' outputs"),
    ("bundles", "file in the store directory", "files in the store directory"),
    ("copies", "copy of a dump in central", "copies of dumps in central"),
    ("files", "file in Slack", "files in Slack"),
    (
        "messages",
        "message in Slack, which will say that it was erased",
        "messages in Slack, which will say so",
    ),
)


def count_lines(summary: Mapping[str, Any]) -> list[str]:
    made = []
    for key, one, many in _WORDS:
        count = int(summary.get(key, 0))
        if count:
            made.append(f"• {count} {one if count == 1 else many}")
    if summary.get("pinned"):
        made.append(f"• dumps of {summary['pinned']} panics are pinned, and go as well")
    return made or ["• what the bot knows of the host itself; it never panicked"]


def survey_message(found: Extent, obstacles: Sequence[str], beyond: Sequence[str]) -> Rendered:
    """The dry run. The button stands there only where nothing forbids it."""
    head = f":wastebasket: *{code(found.host)} would be forgotten.* Nothing was done yet. What would go for good:"
    lines = count_lines(summary_of(found))
    if found.pinned:
        lines.append(f"• pinned: {', '.join(panic_ref(i) for i in found.pinned[:20])}")
    made = [b.section(head), *(b.section(t) for t in sections(lines))]
    made += [b.section(t) for t in sections(["*Not within reach:*", *(f"• {escape(w)}" for w in beyond)])]
    if obstacles:
        told = [":no_entry: *It cannot be done now:*", *(f"• {escape(why)}" for why in obstacles)]
        made += [b.section(t) for t in sections(told)]
    else:
        value = json.dumps({"host": found.host, "mark": found.mark})
        said = "Another admin has to confirm it within 24 h. Then it cannot be taken back."
        made.append(
            b.actions(
                [
                    b.button(
                        "Ask for the erasure", "forget.ask", value, style="danger",
                        confirm=b.confirm("Ask for the erasure?", said, "Ask"),
                    )
                ]
            )
        )  # fmt: skip
    return Rendered(f"{found.host} would be forgotten", b.within_limit(made, "There is more.", foot=1))


@renderer(RENDERER)
def draw_erasure(session: Session, erasure_id: int) -> Rendered | None:
    row = session.get(Erasure, erasure_id)
    return erasure_message(row) if row is not None else None


def erasure_message(row: Erasure) -> Rendered:
    """One message, edited as it goes. Once the rows are erased it knows no name any more."""
    head = (
        f":wastebasket: *Erasure of {code(row.host)}*, asked for by {user(row.asked_by)} {date(row.asked_at)}"
    )
    lines = [state_line(row)]
    if row.state is ErasureState.ASKED:
        lines += ["What would go for good:", *count_lines(row.summary)]
    if row.note:
        lines.append(f"_{escape(shorten(row.note, 600))}_")
    made = [b.section(head), *(b.section(t) for t in sections(lines))]
    buttons = []
    if row.state is ErasureState.ASKED:
        said = "It cannot be taken back. What goes is listed in this message."
        sure = b.confirm("Forget this host for good?", said, "Forget it")
        buttons.append(b.button("Confirm", "forget.confirm", str(row.id), style="danger", confirm=sure))
    if row.state is ErasureState.ASKED:
        buttons.append(b.button("Cancel", "forget.cancel", str(row.id)))
    if buttons:
        made.append(b.actions(buttons))
    return Rendered(f"Erasure of {row.host}: {row.state.value}", made)


def state_line(row: Erasure) -> str:
    if row.state is ErasureState.ASKED:
        return f"Another admin has to confirm it until {date(row.until)}; {user(row.asked_by)} cannot."
    if row.state is ErasureState.CONFIRMED:
        by = user(row.confirmed_by or "")
        return f":hourglass_flowing_sand: confirmed by {by} and under way ({row.stage.value})"
    if row.state is ErasureState.DONE and row.finished_at is not None:
        return f":white_check_mark: done {date(row.finished_at)}, confirmed by {user(row.confirmed_by or '')}"
    if row.state is ErasureState.CANCELLED:
        return f":no_entry_sign: cancelled by {user(row.cancelled_by or '')}; nothing was erased"
    return ":hourglass: nobody confirmed it within 24 h; nothing was erased"


@renderer(f"{RENDERER}_done")
def draw_done(session: Session, erasure_id: int) -> Rendered | None:
    row = session.get(Erasure, erasure_id)
    return done_message(row) if row is not None else None


def done_message(row: Erasure) -> Rendered:
    """The record, to both."""
    both = f"{user(row.asked_by)} and {user(row.confirmed_by or '')}"
    head = f":wastebasket: {both}: the erasure is done. What is left of the host is called {code(row.host)}."
    lines = ["*It went:*", *count_lines(row.summary)]
    unreached = [str(w) for w in row.record.get("unreached", ())]
    if unreached:
        lines += ["*It could not be reached:*", *(f"• {escape(shorten(w, 300))}" for w in unreached[:20])]
        lines += [f"… and {len(unreached) - 20} more, in the audit"] if len(unreached) > 20 else []
    beyond = [str(w) for w in row.record.get("beyond", ())]
    lines += ["*Not within reach of the bot:*", *(f"• {escape(w)}" for w in beyond)]
    made = [b.section(head), *(b.section(t) for t in sections(lines))]
    return Rendered(f"The erasure of {row.host} is done", b.within_limit(made, "There is more.", foot=0))
