"""`read_crash`: any text a kernel leaves behind -> `Crash`. `read_stream`: the same in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from integrations.kernel import framing, interleaving, netconsole, pstore
from integrations.kernel.crash import Crash, Kind
from integrations.kernel.excerpt import Excerpt
from integrations.kernel.reports import Report, find_heads, gather, group
from integrations.kernel.telling import tell

_MAX_OTHERS = 32
_WHOLE = 4 * 1024 * 1024
_MEMORY_KINDS = frozenset({Kind.KASAN, Kind.KFENCE, Kind.KMSAN})
_CAUSE_SECONDS = 10.0
_BUFFERED_SECONDS = 60.0  # a report that was printed from a buffer bears later times than it stands at


def plain_text(text: str) -> str:
    """Logger JSON, pstore parts and extended netconsole datagrams -> console lines in the order logged."""
    if framing.looks_like_json(text):
        text = framing.from_json_lines(text)
    if pstore.looks_like_parts(text):
        text = pstore.join_parts(text)
    if netconsole.looks_like_netconsole(text):
        return netconsole.from_lines(text)
    return netconsole.by_time(text)


def _decode(text: str | bytes) -> str:
    if isinstance(text, str):
        return text
    if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return text.decode("utf-16", "replace")
    return text.decode("utf-8", "replace")


def _led_to(first: Report, then: Report) -> bool:
    """Whether a memory-error report was followed so soon by a death that it is the death's cause."""
    if first.head.rule.kind not in _MEMORY_KINDS:
        return False
    a, b = first.head.line.stamp, then.head.line.stamp
    if a is not None and b is not None:
        return -_BUFFERED_SECONDS <= b - a <= _CAUSE_SECONDS
    return then.head.start - first.head.start < 64 * 1024


def _primary(reports: list[Report]) -> int:
    """The report to name: the first crash, or the memory error that led to it; else the first warning or
    debug report; else the first note."""
    for index, report in enumerate(reports):
        if report.crash:
            for cause in range(index - 1, -1, -1):
                if _led_to(reports[cause], report):
                    reports[cause].crash = True
                    return cause
            return index
    for index, report in enumerate(reports):
        if report.head.rule.rank == 2:
            return index
    return 0


def _told_again(reports: list[Report]) -> None:
    """Marks reports that repeat an earlier one: same head, same printk time (console replay, two loggers)."""
    seen: set[tuple[str, float]] = set()
    for report in reports:
        line = report.head.line
        if line.stamp is None:
            continue
        mark = (line.text.strip(), line.stamp)
        report.dropped = mark in seen
        seen.add(mark)


def read_crash(text: str | bytes) -> Crash:
    """Names what killed the kernel that left this text.

    The first crash is told, later ones (up to 32) stand in `others`; with none, a warning or debug report,
    else a note; with nothing, the empty `Crash` of kind unknown. Never raises; linear in the input.
    """
    whole = _decode(text)
    if len(whole) > _WHOLE:
        excerpt = Excerpt()
        excerpt.add(whole)
        whole = excerpt.text()
    plain = plain_text(whole)
    if "\r" in plain:
        plain = plain.replace("\r\n", "\n").replace("\n\r", "\n")
    heads = find_heads(plain)
    parted = interleaving.part(plain, heads)
    if parted:
        plain, heads = parted.text, find_heads(parted.text)
    reports = group(plain, heads, parted.unsure if parted else None)
    _told_again(reports)
    reports = [r for r in reports if not r.dropped]
    if not reports:
        return Crash()
    first = _primary(reports)
    chosen = [first, *(i for i in range(len(reports)) if i != first)][: _MAX_OTHERS + 1]
    told: dict[int, Crash] = {}
    for index in sorted(chosen):
        gather(plain, reports, index)
        told[index] = tell(plain, reports[index])
    others = tuple(told[i] for i in sorted(chosen) if i != first)
    explain = told[first].explain
    if len(reports) > len(chosen):
        explain += (f"{len(reports) - len(chosen)} further reports are not listed",)
    return replace(told[first], others=others, explain=explain)


def read_stream(chunks: Iterable[str | bytes]) -> Crash:
    """`read_crash` for input of any length: keeps the neighbourhood of what may be a head, at most a few MiB."""
    excerpt = Excerpt()
    rest: str = ""
    for chunk in chunks:
        piece = rest + _decode(chunk)
        cut = piece.rfind("\n") + 1
        if cut == 0 and len(piece) < 1024 * 1024:
            rest = piece
            continue
        cut = cut or len(piece)
        excerpt.add(piece[:cut])
        rest = piece[cut:]
    excerpt.add(rest)
    return read_crash(excerpt.text())
