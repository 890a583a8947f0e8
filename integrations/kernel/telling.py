"""From a report to a `Crash`: kind, title, function, signature and the facts beside them."""

from __future__ import annotations

import re

from integrations.kernel import culprit
from integrations.kernel.crash import Crash, Frame, Kind, Signature
from integrations.kernel.culprit import Verdict
from integrations.kernel.identity import arch_of_release, identify, read_command_line, read_version
from integrations.kernel.reports import Report
from integrations.kernel.rules import common_name, plain_name
from integrations.kernel.stacks import Stack, read_frame, read_stacks

_ADDRESS = re.compile(r"(?:address:?|\bat) *(?:virtual address )?(?:0x)?([0-9a-fA-F]{3,16})\b|\(null\)")
_FAILING = re.compile(r"(?:Failing address: |badaddr: |BadVA : |BADV: )([0-9a-f]{8,16})")
_X86_FAULT = re.compile(r"Oops: 00[0-9a-f]{2} \[#")
_CR2 = re.compile(r"\s*CR2: ([0-9a-f]{8,16})\b")
_NUMBERS = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,16}\b|\d+")
_PICK_LOCK = re.compile(
    r"(?:at: |, at: )(?:\[<[0-9a-f]+>\]\s*)?(?P<f>[\w.$]+)\+0x[0-9a-f/x]+(?: \[(?P<mod>[\w.-]{1,64})[\] ])?"
)
_HEAD_MODULE = re.compile(r"\+0x[0-9a-f]+/0x[0-9a-f]+ \[(?P<mod>[\w-]{1,64})\]")
_IRQ_SAFE = re.compile(r"became \S+-safe at:")
_TRACE_BEGINS = re.compile(r"\s*Call [Tt]race|stack backtrace|the existing dependency")
_WORKQUEUE = re.compile(r"\s*Workqueue: {1,4}\S{1,64} (?P<f>[A-Za-z_][\w.$]*)(?: [\[(]|\s*\Z)")
_WORK = re.compile(r"last function: (?P<f>[\w.$]+)")
_DELIBERATE_FRAMES = frozenset({"sysrq_handle_crash", "sysrq_do_crash"})
_DELIBERATE_TEXT = re.compile(
    r"sysrq: (?:SysRq : )?Trigger a crash|SysRq : Trigger a crash|sysrq triggered crash|lkdtm: Performing direct entry"
    r"|lkdtm: Crash point|SysRq : Trigger a crashdump"
)
_KDUMP_TEST = re.compile(r"\bkdump_test_id=")
_LKDTM_FRAME = re.compile(r"lkdtm_[A-Za-z_]+")
_CUT_TITLE = 120
_FIRST_PAGE = 4096
_COMPLAINTS = frozenset({Kind.WARNING, Kind.KERNEL_BUG, Kind.ODEBUG, Kind.ATOMIC_SLEEP, Kind.BAD_STATE})


def _refine_kind(report: Report, texts: list[str]) -> tuple[Kind, str | None]:
    """The kind of the head, sharpened by the lines that continue it."""
    rule = report.head.rule
    kind = rule.kind
    if kind in (Kind.PAGE_FAULT, Kind.NULL_DEREF) and (address := _fault_address(texts, kind)) is not None:
        if kind is Kind.PAGE_FAULT and address < _FIRST_PAGE:
            return Kind.NULL_DEREF, "the address lies in the first page"
        if kind is Kind.NULL_DEREF and address >= _FIRST_PAGE and "kernel pointer" in report.head.line.text:
            return Kind.PAGE_FAULT, "the failing address lies beyond the first page"
    if kind is Kind.WARNING:
        if any(t.rule.kind is Kind.ODEBUG for t in report.tails):
            return Kind.ODEBUG, "an ODEBUG line belongs to the warning"
        if "where" in rule.match.groupindex and (report.head.match["where"] or "").endswith(
            "/debugobjects.c"
        ):
            return Kind.ODEBUG, "the warning is of lib/debugobjects.c"
        if "where" in rule.match.groupindex and "kernel/locking/lockdep.c" in (
            report.head.match["where"] or ""
        ):
            return Kind.LOCKDEP, "the warning is of kernel/locking/lockdep.c"
    if kind is Kind.UNDEFINED_INSTRUCTION and any("[ cut here ]" in text for text in texts[:4]):
        return Kind.KERNEL_BUG, "a cut mark stands before the invalid opcode: BUG()"
    if kind is Kind.OOPS and any(text.lstrip().startswith("Failing address: ") for text in texts):
        near = (_fault_address(texts, kind) or 0) < _FIRST_PAGE
        return (
            Kind.NULL_DEREF if near else Kind.PAGE_FAULT
        ), "s390: the failing address stands before the Oops"
    if kind is Kind.OOPS and _X86_FAULT.search(report.head.line.text):
        return _faulted_at(texts)
    return kind, None


def _fault_address(texts: list[str], kind: Kind) -> int | None:
    """The address on the head line, else the one the registers tell (s390, riscv, mips, loongarch)."""
    for text in texts[:40]:
        match = _FAILING.search(text)
        if not match and kind is Kind.PAGE_FAULT and "andle" in text:
            match = _ADDRESS.search(text)
        if match:
            return int(match[1], 16) if match.lastindex and match[1] else 0
    return None


def _faulted_at(texts: list[str]) -> tuple[Kind, str | None]:
    """x86: `Oops:` and an error code is a page fault; CR2 says where."""
    for text in texts:
        if match := _CR2.match(text):
            near = int(match[1], 16) < _FIRST_PAGE
            where = "in the first page" if near else "beyond the first page"
            why = f"the head is lost; an x86 Oops with an error code is a page fault, CR2 is {where}"
            return (Kind.NULL_DEREF if near else Kind.PAGE_FAULT), why
    return Kind.OOPS, None


def _head_frame(report: Report) -> Frame | None:
    """The function the head line itself names, with its module when that stands there, too."""
    match = report.head.match
    name = match.groupdict().get("f")
    if not name or not re.match(r"[A-Za-z_.]", name) or re.fullmatch(r"[0-9a-f]{8,16}", name):
        return None
    module = _HEAD_MODULE.match(match.string, match.end("f"))
    return Frame(plain_name(name), module=module["mod"] if module else None)


def _choose(report: Report, texts: list[str], stacks: list[Stack], kind: Kind) -> Verdict:
    pick = report.head.rule.pick
    work = next(
        (plain_name(m["f"]) for text in texts if "Workq" in text and (m := _WORKQUEUE.match(text))), None
    )
    if pick == "anchor":
        if report.unsure and any(s.pc for s in stacks):
            verdict = culprit.pick_pc(stacks, work=work)
            verdict.why.append("the trace may hold another report's frames: no way outwards through it")
            return verdict
        return culprit.pick_anchor(stacks, work)
    if pick == "leak":
        return culprit.pick_leak(stacks)
    if pick == "wait":
        return culprit.pick_wait(stacks)
    if pick in ("caller", "fixed"):
        return culprit.pick_caller(stacks) if stacks else Verdict()
    if pick == "lock":
        return _choose_lock(texts, stacks)
    complaint = kind in _COMPLAINTS
    if pick == "head":
        return culprit.pick_pc(stacks, _head_frame(report), work=work, complaint=complaint)
    if "workqueue leaked" in report.head.line.text:
        for text in texts[:6]:
            if match := _WORK.search(text):
                return Verdict(Frame(plain_name(match["f"])), (), (), ["the line 'last function:' names it"])
    return culprit.pick_pc(stacks, work=work, complaint=complaint)


def _choose_lock(texts: list[str], stacks: list[Stack]) -> Verdict:
    """Lock reports. Where an irq-safe lock depends on an unsafe one: who took it in the interrupt. Else the
    first lock line (`at: f+0x`) whose function is no lock primitive; else the trace."""
    verdict = culprit.pick_pc([s for s in stacks if s.frames][-1:])
    safe_at = next((i for i, text in enumerate(texts) if _IRQ_SAFE.search(text)), None)
    if safe_at is not None and "lock order" in "".join(texts[:6]):
        frames = [frame for text in texts[safe_at + 1 : safe_at + 30] if (frame := read_frame(text))]
        if frame := culprit.first_to_blame(frames, []):
            why = [f"{frame.function} took the lock in interrupt context"]
            return Verdict(frame, verdict.frames, verdict.doubtful, why)
    for index, text in enumerate(texts[:60]):
        if _TRACE_BEGINS.match(text):
            break
        match = _PICK_LOCK.search(text)
        below = (
            read_frame(texts[index + 1])
            if not match and text.endswith(" at:") and index + 1 < len(texts)
            else None
        )
        held = Frame(plain_name(match["f"]), module=match["mod"]) if match else below
        if held and not culprit.is_generic(held):
            return Verdict(held, verdict.frames, verdict.doubtful, [f"the lock line names {held.function}"])
    if verdict.frame is None or culprit.is_generic(verdict.frame):
        at = next((i for i, text in enumerate(texts) if text.lstrip().startswith("-> #0 ")), len(texts))
        why = ["the trace is all generic; dependency #0 is of the same attempt"]
        newest: list[Frame] = []
        for text in texts[at + 1 : at + 30]:
            if (below := read_frame(text)) is None:
                break
            newest.append(below)
        if frame := culprit.first_to_blame(newest, why):
            return Verdict(frame, verdict.frames, verdict.doubtful, why)
    return verdict


def _quiet(text: str) -> str:
    """A panic message without its numbers and addresses, for titles and keys."""
    return " ".join(_NUMBERS.sub("N", text).split())[:_CUT_TITLE].rstrip(" .-:")


_SHARPENED_NAMES = {
    Kind.NULL_DEREF: "NULL pointer dereference",
    Kind.PAGE_FAULT: "page fault",
    Kind.KERNEL_BUG: "kernel BUG",
    Kind.ODEBUG: "ODEBUG",
    Kind.LOCKDEP: "locking bug",
}


def _what(report: Report, kind: Kind) -> str:
    """How the title begins."""
    rule = report.head.rule
    if kind is not rule.kind and kind in _SHARPENED_NAMES:
        return _SHARPENED_NAMES[kind]
    if "{m}" not in rule.name:
        return rule.name
    said = (report.head.match.groupdict().get("m") or "").strip()
    return rule.name.replace("{m}", _quiet(said) if rule.pick in ("caller", "fixed") else said).rstrip(" :")


def _deliberate(texts: list[str], verdict: Verdict, command_line: str | None) -> bool:
    if command_line and _KDUMP_TEST.search(command_line):
        return True
    if any(f.function in _DELIBERATE_FRAMES or _LKDTM_FRAME.match(f.function) for f in verdict.frames):
        return True
    return any(_DELIBERATE_TEXT.search(text) for text in texts if "rigger" in text or "lkdtm" in text)


def _signature(report: Report, kind: Kind, verdict: Verdict, title: str) -> Signature:
    rule, frame = report.head.rule, verdict.frame
    if rule.key is not None and (rule.pick == "fixed" or frame is None):
        key = f"{kind}|{rule.key}"
    elif frame is not None:
        key = f"{kind}|{common_name(frame.function)}" + (f"|{frame.module}" if frame.module else "")
    elif rule.pick == "caller" and report.head.match.groupdict().get("m"):
        key = f"{kind}|{_quiet(report.head.match['m'])}"
    else:
        key = f"{kind}|"
    return Signature(key, title, culprit.detail_of(verdict))


def tell(text: str, report: Report) -> Crash:
    """The `Crash` of one gathered report."""
    texts = [line.text for line in report.lines]
    stacks = read_stacks(texts)
    kind, sharpened = _refine_kind(report, texts)
    verdict = _choose(report, texts, stacks, kind)
    identity = identify(texts)
    rule, head = report.head.rule, report.head
    explain = [f"head rule {rule.number} ({rule.kind}, {rule.weight}): {head.line.text.strip()[:160]}"]
    for tail in report.tails[:8]:
        of = f"rule {tail.rule.number} ({tail.rule.kind}, {tail.rule.weight})"
        explain.append(f"continued by {of}: {tail.line.text.strip()[:160]}")
    if report.unsure is not None:
        unsure = (
            f"{report.unsure} lines of its trace could be the other's" if report.unsure else "no doubt left"
        )
        explain.append(f"two CPUs wrote at once: parted by the order of a report's lines; {unsure}")
    if sharpened:
        explain.append(f"kind {kind}: {sharpened}")
    explain += verdict.why
    command_line = None
    version_at = text.rfind("Linux version ", 0, head.start)
    if version_at >= 0:
        if identity.kernel is None and (version := read_version(text[version_at : version_at + 1024])):
            identity.kernel, identity.kernel_build = version
            explain.append("release: from the boot's 'Linux version' line")
        version_line = text[version_at : version_at + 400].split("\n", 1)[0]
        identity.arch = identity.arch or arch_of_release(version_line)
    line_at = max(text.rfind("ommand line: ", 0, head.start), -1)
    if line_at >= 0 and line_at > version_at - 65536:
        command_line = read_command_line(text[max(0, line_at - 16) : line_at + 4200].split("\n", 1)[0])
    frame = verdict.frame
    function = frame.function if frame else None
    what = _what(report, kind)
    named = frame is not None and rule.pick not in ("fixed",) and rule.pick != "caller"
    title = f"{what} in {common_name(function)}" if named and function else what
    if frame and frame.module is None and function:
        module = next((f.module for f in verdict.frames if f.function == function), None)
    else:
        module = frame.module if frame else None
    stamps = (line.stamp for line in report.lines if line.stamp is not None)
    return Crash(
        crash=report.crash,
        kind=kind,
        title=title,
        function=function,
        module=module,
        frames=verdict.frames,
        doubtful=verdict.doubtful,
        process=identity.process,
        pid=identity.pid,
        cpu=identity.cpu,
        taint=identity.taint,
        taint_flags=identity.taint_flags,
        modules=identity.modules,
        kernel=identity.kernel,
        kernel_build=identity.kernel_build,
        arch=identity.arch,
        hardware=identity.hardware,
        command_line=command_line,
        uptime=head.line.stamp if head.line.stamp is not None else next(stamps, None),
        deliberate=_deliberate(texts, verdict, command_line),
        head_lost=report.head_lost,
        lines=tuple(line.raw for line in report.lines),
        explain=tuple(explain),
        signature=_signature(report, kind, verdict, title),
    )
