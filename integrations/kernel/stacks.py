"""Call traces of every arch: which functions, in which order, how sure.

A report holds one or more stacks (the dying CPU's, other CPUs', KASAN's allocation and free). Each has a
label line, perhaps a program counter, and frames in the order printed, innermost first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from integrations.kernel.crash import Frame
from integrations.kernel.rules import plain_name

_SYMBOL = r"[.A-Za-z_$][\w.$]{0,200}"
_OFFSETS = r"\+(?P<off>0x[0-9a-f]{1,16})/(?P<size>0x[0-9a-f]{1,16})"
_MODULE = r"(?: \[(?P<mod>[\w.-]{1,64})(?:\([A-Z]*\))?(?: [0-9a-f]{8,64})?\])?"
_FRAME = re.compile(
    r"\s{0,64}(?P<marks>(?:</?[A-Z# 0-9]{2,12}>\s{0,8}){0,4})"
    r"\(?(?:\[[^\]\[+]{0,64}\]\)?\s{0,8}){0,3}(?P<q>\? {0,4})?\(?"
    rf"(?::?(?P<oldmod>\w{{1,64}}):)?(?P<func>{_SYMBOL}){_OFFSETS}{_MODULE}(?P<rest>.{{0,160}})"
)
_ARM_FROM = re.compile(
    rf"\s*(?:\[<[0-9a-f]{{8,16}}>\] )?\(?(?P<callee>{_SYMBOL})(?:\+0x[0-9a-f]+/0x[0-9a-f]+)?(?: \[[\w.-]+\])?\)? from "
    rf"(?:\[<[0-9a-f]{{8,16}}>\] )?\(?(?P<func>{_SYMBOL}){_OFFSETS}{_MODULE}\)?"
)
_MARK = re.compile(r"\s*</?(?:IRQ|NMI|TASK|EOI|SOFTIRQ|HARDIRQ|#?[A-Z]{2,8}\d?)>\s*\Z")
_PC = re.compile(
    r"\s*(?P<reg>RIP|EIP is at|EIP|IP is at|ip is at|IP|PC is at|PC|pc|TPC|NIP|epc|ERA|era|Krnl PSW|LR is at|LR|lr"
    r"|ra|RA|Call Trace)"
    r" {0,4}:? {0,4}(?P<seg>[0-9a-f]{4}:)? {0,4}(?P<body>.{0,300})"
)
_PC_SYMBOL = re.compile(
    r"[\s(\[<]{0,16}(?:(?:0x)?[0-9a-fA-F]{8,16}\b[\s>\])\[<(]{0,24}){0,3}"
    rf"(?P<func>{_SYMBOL}){_OFFSETS}{_MODULE}"
)
_NULL_PC = re.compile(r"(?:0x0\b|\s*\(null\)|0{8,16}\b|\[<0+>\])")
_PC_REGISTERS = frozenset({"RIP", "EIP", "IP", "pc", "epc", "NIP"})
_USER_SEGMENTS = frozenset({"0033:", "002b:", "0023:", "0073:", "e033:"})

_TRACE_START = re.compile(
    r"\s*(?:\(?(?P<call>Call [Tt]race|Backtrace|Stack backtrace|stack backtrace|backtrace|Trace|Call Backtrace)\)?:?)"
)
_LABEL = re.compile(
    r"\s*(?:rcu: )?(?P<label>NMI backtrace for cpu \d+|Task dump for CPU \d+|CPU: \d+ (?:UID: \d+ )?PID: |"
    r"Pid: \d+, comm|task:\S.{0,24} state:|(?:Allocated|Freed|allocated|freed) (?:by|in)|"
    r"(?:Last potentially|Second to last) related|Allocated|Freed|PID =|Uninit was|Local variable|Bytes \d|"
    r"Sending NMI from CPU|Modules linked in:|RCU grace-period kthread stack dump|\w{1,16} kthread starved|"
    r"Showing all locks|-> #\d|the existing dependency|stack backtrace|"
    r"(?:read|write|read-write|race at|value changed).{0,80} by |Kernel panic - not syncing|page (?:last|has been)|"
    r"the (?:first|second) lock|hardirqs last|The buggy address|kfence-#\d|Workqueue: |Stack traceback for pid|"
    r".{1,16} [RSDTtXZPI] {1,3}(?:running task|[0-9a-f]{8,16}|\(null\)|stack:|\d{1,6}) .{0,60}|"
    r"INFO: (?:Allocated|Freed) in|Sched Debug|Exception stack|Registers:|Disabling lock)"
)


@dataclass(slots=True)
class Stack:
    """`frames` innermost first; `pc` the program counter's frame when the report names it; `link` the link
    register's; `interrupts` indexes of `frames` right after a register dump or an interrupt mark."""

    label: str = ""
    pc: Frame | None = None
    link: Frame | None = None
    frames: list[Frame] = field(default_factory=list)
    doubtful: list[Frame] = field(default_factory=list)
    interrupts: list[int] = field(default_factory=list)
    started: bool = False
    user: bool = False
    null_pc: bool = False

    def ordered(self) -> list[Frame]:
        """The program counter, then the trace without repeating it."""
        frames = self.frames
        if self.pc is None:
            return list(frames)
        if frames and plain_name(frames[0].function) == plain_name(self.pc.function):
            return [self.pc, *frames[1:]]
        return [self.pc, *frames]


def _number(text: str) -> int:
    return int(text, 16)


def _frame(match: re.Match[str], reliable: bool) -> Frame:
    groups = match.groupdict()
    return Frame(
        function=plain_name(match["func"]),
        offset=_number(match["off"]),
        size=_number(match["size"]),
        module=groups.get("mod") or groups.get("oldmod"),
        reliable=reliable,
    )


def read_frame(text: str) -> Frame | None:
    """The frame of one trace line, None if it is none; `reliable` is False for `?`, `(unreliable)` and
    s390's parenthesised first line."""
    if "+0x" not in text:
        return None
    if " from " in text and (arm := _ARM_FROM.match(text)):
        return _frame(arm, True)
    match = _FRAME.match(text)
    if not match:
        return None
    rest = match["rest"]
    doubtful = bool(match["q"]) or "(unreliable)" in rest
    return _frame(match, not doubtful)


class StackReader:
    """Fed the texts of a report's lines one by one, keeps its stacks in order."""

    def __init__(self) -> None:
        self.stacks: list[Stack] = [Stack()]
        self._pending_label = ""
        self._first_arm = True

    @property
    def _current(self) -> Stack:
        return self.stacks[-1]

    def _open(self, label: str) -> Stack:
        current = self._current
        if current.started or current.frames or (current.pc and label):
            current = Stack(label)
            self.stacks.append(current)
            self._first_arm = True
        elif label:
            current.label = label
        return current

    def feed(self, text: str) -> None:
        if "+0x" in text:
            if self._program_counter(text):
                return
            if " from " in text and (arm := _ARM_FROM.match(text)):
                self._arm(arm)
                return
            if "Code:" in text[:8]:
                return
            match = _FRAME.match(text)
            if match:
                self._trace_frame(match, text)
                return
        start = _TRACE_START.match(text)
        if start:
            stack = self._current
            if stack.started and (stack.frames or stack.doubtful):
                stack = Stack(self._pending_label)
                self.stacks.append(stack)
            stack.started = True
            self._first_arm = True
            self._pending_label = ""
            if "<" in text or "[" in text:
                self.feed(text[start.end() :])
            return
        if "IRQ>" in text or "NMI>" in text or "EOI>" in text:
            if _MARK.match(text):
                self._current.interrupts.append(len(self._current.frames))
            return
        if self._program_counter(text):
            return
        label = _LABEL.match(text)
        if label:
            self._pending_label = label["label"]
            stack = self._current
            if stack.started and (stack.frames or stack.doubtful):
                self.stacks.append(Stack(self._pending_label))
                self._first_arm = True
            elif not stack.started:
                stack.label = self._pending_label

    def _program_counter(self, text: str) -> bool:
        match = _PC.match(text)
        if not match:
            return False
        register, segment, body = match["reg"], match["seg"], match["body"]
        stack = self._current
        if segment in _USER_SEGMENTS:
            stack.user = True
            return True
        symbol = _PC_SYMBOL.match(body)
        if not symbol:
            if register in _PC_REGISTERS and _NULL_PC.match(body):
                stack.null_pc = True
            return False
        frame = _frame(symbol, True)
        if register in ("lr", "LR", "LR is at", "ra", "RA"):
            if stack.link is None:
                stack.link = frame
            return True
        if (
            stack.pc is not None
            and plain_name(stack.pc.function) == frame.function
            and stack.pc.offset == frame.offset
        ):
            return True
        if stack.started and (stack.frames or stack.doubtful):
            stack.interrupts.append(len(stack.frames))
            if not any(f.function == frame.function and f.offset == frame.offset for f in stack.frames):
                stack.frames.append(frame)
            return True
        if stack.pc is None:
            stack.pc = frame
        return True

    def _trace_frame(self, match: re.Match[str], text: str) -> None:
        stack = self._current
        if match["marks"]:
            stack.interrupts.append(len(stack.frames))
        doubtful = bool(match["q"]) or "(unreliable)" in match["rest"]
        frame = _frame(match, not doubtful)
        if (
            not stack.started
            and not text[:1].isspace()
            and not text.startswith(("[<", "([<", "[c0", "[<c", "<", "? "))
            and match["rest"].strip()
        ):
            return
        if doubtful:
            stack.doubtful.append(frame)
        else:
            stack.frames.append(frame)

    def _arm(self, match: re.Match[str]) -> None:
        stack = self._current
        if self._first_arm:
            self._first_arm = False
            callee = plain_name(match["callee"])
            if not stack.frames:
                stack.frames.append(Frame(callee))
        stack.frames.append(_frame(match, True))


def read_stacks(texts: list[str]) -> list[Stack]:
    """All stacks of a report that hold anything, in order."""
    reader = StackReader()
    for text in texts:
        reader.feed(text)
    return [s for s in reader.stacks if s.pc or s.frames or s.doubtful or s.link]
