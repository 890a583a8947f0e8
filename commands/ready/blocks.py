"""The readiness of hosts as its reader sees it: a table by the worst, a host with what mends it."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence

from commands.fitting import cut
from commands.ready.desk import Board
from integrations.readiness import State
from integrations.slack import blocks as b
from integrations.slack.text import code, date, escape, shorten
from storage import HostReadiness

PAGE = 10
ICONS = {
    "ready": ":white_check_mark:",
    "at risk": ":warning:",
    "not ready": ":no_entry:",
    "unknown": ":question:",
}
_ORDER = (State.NOT_READY, State.UNKNOWN, State.AT_RISK, State.READY)
_RINGS = 12


def head_line(board: Board) -> str:
    """`3 of 16 hosts are not ready for the next panic · 2 at risk · 11 ready`."""
    counted = Counter(row.state for row in board.rows)
    parts = [f"{counted[s.value]} {s.value}" for s in _ORDER if counted[s.value]]
    never = board.hosts - len(board.rows)
    parts += [f"{never} never asked"] if never else []
    told = f"*Readiness for the next panic*: {board.hosts} host{'' if board.hosts == 1 else 's'}"
    told += f" · {' · '.join(parts)}" if parts else ""
    if board.waiting:
        told = f":hourglass_flowing_sand: {told} · {board.waiting} being asked"
    return told


def draw_board(board: Board, words: str, page: int = 0) -> list[b.Block]:
    """One page of the table, worst first, and buttons to the others."""
    pages = max(1, -(-len(board.rows) // PAGE))
    page = min(max(page, 0), pages - 1)
    blocks = [b.section(cut(head_line(board)))]
    rings = ring_lines(board.rows)
    if len(rings) > 1 and page == 0:
        blocks.append(b.context("\n".join(rings[:_RINGS])))
    for row in board.rows[page * PAGE : (page + 1) * PAGE]:
        blocks.append(b.section(cut(host_line(row))))
    buttons = [b.button("Refresh", "ready.page", f"{page} {words}")]
    if page > 0:
        buttons.append(b.button("Previous", "ready.previous", f"{page - 1} {words}"))
    if page < pages - 1:
        buttons.append(b.button("Next", "ready.next", f"{page + 1} {words}"))
    blocks.append(b.actions(buttons))
    if pages > 1:
        blocks.append(b.context(f"page {page + 1} of {pages}"))
    return b.within_limit(blocks, "There is more than one message holds.", foot=1)


def ring_lines(rows: Sequence[HostReadiness]) -> list[str]:
    """`prod-2: 3 not ready, 1 ready`, the worst ring first."""
    rings: dict[str, Counter[str]] = {}
    for row in rows:
        rings.setdefault(row.ring, Counter())[row.state] += 1
    worst = sorted(rings.items(), key=lambda item: (*(-item[1][s.value] for s in _ORDER[:3]), item[0]))
    return [
        f"{escape(ring) or 'no ring'}: " + ", ".join(f"{n[s.value]} {s.value}" for s in _ORDER if n[s.value])
        for ring, n in worst
    ]


def host_line(row: HostReadiness) -> str:
    """A host with its worst findings, each with why it matters and the first command that mends it."""
    ring = f" · ring {escape(row.ring)}" if row.ring else ""
    lines = [f"{ICONS.get(row.state, '')} {code(row.host)}{ring} · *{row.state}* since {date(row.since)}"]
    if row.note:
        last = f"; last answered {date(row.answered_at)}" if row.answered_at else ""
        lines.append(f"could not be asked: {escape(shorten(row.note, 300))}{last}")
        return "\n".join(lines)
    order = {s.value: n for n, s in enumerate(_ORDER)}
    bad = sorted((f for f in row.findings if f["state"] != "ready"), key=lambda f: order.get(f["state"], 9))
    for finding in bad[:3]:
        lines.append(f"• {finding['check']}: {escape(shorten(finding['told'], 200))}")
    if len(bad) > 3:
        lines.append(f"• and {len(bad) - 3} more: `/panic ready show {escape(row.host)}`")
    return "\n".join(lines)


def draw_host(row: HostReadiness) -> list[b.Block]:
    """All findings of one host: those that are not well with their commands, which are shown and never run."""
    ring = f" · ring {escape(row.ring)}" if row.ring else ""
    head = f"{ICONS.get(row.state, '')} {code(row.host)}{ring} · *{row.state}* since {date(row.since)}"
    asked = f"asked {date(row.asked_at)}" if row.asked_at else "never asked"
    blocks = [
        b.section(head),
        b.context(asked + (f" · {escape(shorten(row.note, 300))}" if row.note else "")),
    ]
    for finding in (f for f in row.findings if f["state"] != "ready"):
        icon = ICONS.get(finding["state"], "")
        lines = [f"{icon} *{finding['check']}*: {escape(finding['told'])}"]
        lines += [f"_{escape(finding['why'])}_"] if finding["why"] else []
        lines += [f"```{escape(chr(10).join(finding['mend']))}```"] if finding["mend"] else []
        lines += [f"See {code(finding['link'])}"] if finding["link"] else []
        blocks.append(b.section(cut("\n".join(lines))))
    good = [f"{f['check']}: {escape(shorten(f['told'], 120))}" for f in row.findings if f["state"] == "ready"]
    if good:
        blocks.append(b.section(cut(":white_check_mark: " + "\n".join(good))))
    return b.within_limit(blocks, "There is more than one message holds.")


def as_csv(rows: Sequence[HostReadiness]) -> str:
    """A line a host: host, ring, state, since, answered_at, what is wrong. A cell that a spreadsheet would take for a
    formula begins with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("host", "ring", "state", "since", "answered_at", "wrong"))
    for row in rows:
        wrong = "; ".join(f"{f['check']}: {f['told']}" for f in row.findings if f["state"] != "ready")
        cells = (
            row.host,
            row.ring,
            row.state,
            row.since.isoformat(),
            row.answered_at.isoformat() if row.answered_at else "",
            row.note or wrong,
        )
        writer.writerow([f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t") else cell for cell in cells])
    return out.getvalue()
