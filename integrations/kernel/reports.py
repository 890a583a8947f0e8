"""A log cut into reports: which head lines stand in it, which lines belong to which head."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

from integrations.kernel.framing import Line, split_stamps, undress
from integrations.kernel.rules import HeadRule, head_rules, needles

_SPOT = re.compile(r"kernel: +|\]: +|: +|\] +|login: *|> +")
_MAX_LINES = 1500
_MAX_SPAN = 256 * 1024
_LEAD_LINES = 6
_QUIET_LINES = 40


@dataclass(slots=True)
class Head:
    """A head rule that matched: where its line starts in the text, and what was matched."""

    rule: HeadRule
    match: re.Match[str]
    start: int
    line: Line
    number: int = 0


@dataclass(slots=True)
class Report:
    """A head, the heads that only continue it, and its lines (of the head's printk context only). `unsure` is
    None for a report that stands alone, else how many lines of its trace may be of one it was parted from."""

    head: Head
    tails: list[Head] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    end: int = 0
    crash: bool = False
    head_lost: bool = False
    dropped: bool = False
    unsure: int | None = None


def candidate_lines(text: str) -> list[int]:
    """Start offsets of all lines that hold a needle, ascending."""
    starts: set[int] = set()
    find, rfind = text.find, text.rfind
    for needle in needles():
        at = find(needle)
        while at >= 0:
            starts.add(rfind("\n", 0, at) + 1)
            line_end = find("\n", at)
            if line_end < 0:
                break
            at = find(needle, line_end)
    return sorted(starts)


def match_head(line: Line) -> tuple[HeadRule, re.Match[str]] | None:
    """The first rule that matches at the start of the message, or after a tag inside its first 160 bytes."""
    text = line.text
    rules = [rule for rule in head_rules() if rule.needle in text]
    if not rules:
        return None
    body = text.lstrip()
    for rule in rules:
        if line.foreign and rule.kind != "user_fault":
            continue
        if match := rule.match.match(body):
            return rule, match
    if line.foreign:
        return None
    for spot in _SPOT.finditer(text, 0, 160):
        for rule in rules:
            if rule.rank == 3 and (match := rule.match.match(text, spot.end())):
                return rule, match
    return None


def find_heads(text: str) -> list[Head]:
    heads: list[Head] = []
    for start in candidate_lines(text):
        end = text.find("\n", start)
        raw = text[start : min(end if end >= 0 else len(text), start + 8192)]
        for part in split_stamps(raw):
            line = undress(part)
            found = match_head(line)
            if found:
                heads.append(Head(found[0], found[1], start, line))
    return heads


def _seconds_apart(a: Head, b: Head) -> float | None:
    if a.line.stamp is None or b.line.stamp is None:
        return None
    return b.line.stamp - a.line.stamp


def _same_context(a: Head, b: Head) -> bool:
    return a.line.context is None or b.line.context is None or a.line.context == b.line.context


_TRACE = re.compile(r"[Cc]all [Tt]race|Backtrace")


def _near(text: str, a: Head, b: Head, lines: int) -> bool:
    return b.start - a.start < 16 * 1024 and text.count("\n", a.start, b.start) <= lines


def _continues(text: str, report: Report, head: Head) -> bool:
    """Whether the head belongs to the report before it rather than opening its own."""
    first = report.head
    apart = _seconds_apart(first, head)
    if apart is not None and not -1.0 <= apart <= 90.0:
        return False
    last = report.tails[-1] if report.tails else first
    if text.find("Linux version ", last.start, head.start) >= 0:
        return False
    if head.rule.weight == "tail":
        if first.rule.weight == "note":
            return False
        if first.rule.weight in ("warn", "debug") and "panic" not in head.line.text:
            return _near(text, last, head, 12) and not _TRACE.search(text, last.start, head.start)
        return head.start - last.start < 4 * _MAX_SPAN
    if head.rule.weight == "panic" and first.rule.rank == 3:
        return head.start - last.start < _MAX_SPAN and (apart is None or apart < 30.0)
    if head.rule.weight == "panic" and first.rule.kind == "mce":
        return True
    if head.rule.rank > first.rule.rank or not _same_context(first, head):
        return False
    if first.rule.weight == "note":
        return head.rule.kind == first.rule.kind and head.start - last.start < 64 * 1024
    if head.rule.weight == "note":
        return head.start - last.start < 16 * 1024
    return _near(text, last, head, 12) and not _TRACE.search(text, last.start, head.start)


def _owner(reports: list[Report], head: Head) -> Report | None:
    """The report the head may continue: the latest of its own printk context, else the latest; a note only
    for a note."""
    fit = [r for r in reports[-6:] if r.head.rule.weight != "note" or head.rule.weight == "note"]
    if head.line.context is not None:
        own = [r for r in fit if r.head.line.context == head.line.context]
        if own:
            return own[-1]
    return fit[-1] if fit else None


_BESIDE = 80


def _beside(text: str, heads: list[Head], weak: Head) -> bool:
    """Whether a head stands so near a weak line that the weak line is part of its report."""
    at = bisect_left(heads, weak.start, key=lambda head: head.start)
    for head in (*heads[max(0, at - 2) : at], *heads[at : at + 2]):
        low, high = sorted((head.start, weak.start))
        near = high - low < 12 * 1024 and text.count("\n", low, high) <= (
            _BESIDE if head.start <= weak.start else 8
        )
        if near and head.rule.weight != "note":
            return True
    return False


def group(text: str, heads: list[Head], parted: Mapping[int, int] | None = None) -> list[Report]:
    """Reports in the order of the log. A note never swallows what follows it. `parted`: start of a head that
    opens a report in any case -> its `unsure`."""
    reports: list[Report] = []
    strong = [head for head in heads if head.rule.weight != "weak"]
    for head in heads:
        if parted and head.start in parted:
            reports.append(Report(head, crash=head.rule.rank == 3, unsure=parted[head.start]))
            continue
        latest = [report.head for report in reports[-1:]]
        if head.rule.weight == "weak" and (_beside(text, strong, head) or _beside(text, latest, head)):
            continue
        owner = _owner(reports, head)
        if owner and _continues(text, owner, head):
            owner.tails.append(head)
            if head.rule.weight in ("tail", "panic") and "panic" in head.line.text:
                owner.crash = True
            continue
        lost = head.rule.weight in ("tail", "weak")
        report = Report(head, crash=head.rule.rank == 3, head_lost=lost)
        reports.append(report)
    return reports


LEAD = re.compile(
    r"-+\[ cut here|8<--- cut here|={10,}|refcount_t: |list_(?:add|del) corruption|skbuff: skb_|usercopy: |"
    r"kasan: |Uhhuh\. NMI|sysrq: |SysRq : |lkdtm: |detected buffer overflow|kernel tried to|ODEBUG: |"
    r"VFS: Busy|BUG: |traps: PANIC|Mem abort|page:|pc:|\*\* replaying|VM_BUG|BUG_ON|\S+: assertion|Dazed"
)
_END = re.compile(r"---\[ end (?:trace|Kernel panic)|Rebooting in \d+ seconds|={40,}\Z|Kernel Offset: ")
_BODY_LINES = 120
_BODY = re.compile(
    r"\s*(?:\[<|\[c0|\? ?\w|\w\S{0,99}\+0x|</?[A-Z]{3,4}>|R[A-Z0-9]{1,2}: |E[A-Z]{2}: |[A-Z]{2,3}: |CR\d: |DR\d: |"
    r"Code: |CPU: |Call [Tt]race|Modules linked|Hardware name|x\d+ ?: |pc : |lr : |sp : |pstate|Oops|#PF|PGD|"
    r"---\[ end|Stack:|[0-9a-f]{8,16} |Process |task: |Workqueue|RIP|EIP|NIP|GPR|Krnl|epc|-+\[ cut|"
    r"invalid opcode|last sysfs|Dumping ftrace|Failing address|Fault in |AS:[0-9a-f]|\()"
)
BOOT = re.compile(
    r"(?:Linux version \d|Booting Linux on|Decompressing Linux|Command line: |BIOS-provided physical)"
)
REPORTISH = re.compile(
    r"\s|\S*\+0x|R[A-Z0-9]{1,2}: |[A-Z]{2,3}: |CR\d: |Code: |CPU: |Call |Modules linked|Hardware name|x\d+ ?: |"
    r"pc : |lr : |sp : |pstate|Krnl|NIP|GPR|epc|ra :|gp :|t\d |s\d |a\d |\[<|\[c0|Kernel panic|---\[|Kdump|Tainted|"
    r"NMI backtrace|rcu|Task dump|task:|INFO: |Sending NMI|Showing all|Process |Stack:|Workqueue|Oops|"
    r"Internal error|#PF|PGD|Mem abort|Data abort|user pgtable|\(detected|Exception|irq event|hardirqs|softirqs|"
    r"Allocated by|Freed by|The buggy|Memory state|>?ffff|Read of|Write of|page|flags|raw|head|which belongs|"
    r"Object|Bytes|-> #|other info|Chain exists|Possible|stack backtrace|DR\d|FS:|BUG|WARNING|SMP|PHYS|Last |pid:|"
    r"\d+ locks? held|(?:PC|LR) is at|EIP|Failing|Fault |\$ ?\d|Hi |Lo |Status|Cause|BadVA|BADV|PrId|ERA|CRMD|ESTAT"
)


def gather(text: str, reports: list[Report], number: int) -> None:
    """Fills `lines` and `end` of one report: from its lead lines to its end mark, to the next report of its
    context, to a new boot, or to where the kernel speaks of other things."""
    report = reports[number]
    head = report.head
    last_tail = max([head.start, *(tail.start for tail in report.tails)])
    stops = {r.head.start: r.head for r in reports[number + 1 : number + 9] if not r.head.rule.one_line}
    context = head.line.context
    floor = reports[number - 1].end if number else 0
    lines = _body_before(text, report, floor) if report.head_lost else _lead(text, report, floor)
    at, quiet, ended, kept = head.start, 0, False, len(lines)
    limit = min(len(text), max(head.start + _MAX_SPAN, last_tail + 16 * 1024))
    while at < limit and len(lines) < _MAX_LINES:
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        stop = stops.get(at)
        if stop is not None and at > last_tail and _same_context(head, stop):
            break
        for part in split_stamps(text[at : min(end, at + 8192)]):
            line = undress(part)
            if context is not None and line.context is not None and line.context != context:
                continue
            if line.foreign and at != head.start:
                continue
            if "L" in line.text and at > last_tail and BOOT.match(line.text):
                limit = 0
                break
            lines.append(line)
            if not line.text or REPORTISH.match(line.text):
                quiet = 0
                kept = len(lines)
            else:
                quiet += 1
            ended = ended or bool(at > head.start and at >= last_tail and _END.match(line.text))
        at = end + 1
        if at > last_tail and (quiet > _QUIET_LINES or (ended and quiet > 0)):
            break
    del lines[kept:]
    report.lines = lines
    report.end = at


def _lead(text: str, report: Report, floor: int) -> list[Line]:
    """Up to six lines before the head that belong to it: cut marks, what a check said, who asked for it."""
    at = report.head.start
    found: list[Line] = []
    for _ in range(_LEAD_LINES):
        if at <= floor:
            break
        start = text.rfind("\n", 0, at - 1) + 1
        line = undress(text[start : min(at - 1, start + 8192)])
        same = report.head.line.context in (None, line.context)
        if same and LEAD.match(line.text.lstrip()):
            found.append(line)
            at = start
        elif (found and not same) or (not found and line.text.strip() and not same):
            at = start
        else:
            break
    return found[::-1]


def _body_before(text: str, report: Report, floor: int) -> list[Line]:
    """Where the head is lost: the unbroken run of report lines before the line that is left of it."""
    at = report.head.start
    context = report.head.line.context
    found: list[Line] = []
    while at > floor and len(found) < _BODY_LINES:
        start = text.rfind("\n", 0, at - 1) + 1
        line = undress(text[start : min(at - 1, start + 8192)])
        if context is None or line.context in (None, context):
            if not _BODY.match(line.text):
                break
            found.append(line)
        at = start
    return found[::-1]
