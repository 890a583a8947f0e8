"""Who of several CPUs that wrote into each other wrote which line, where printk gave no caller ids.

What tells the writers apart is how a kernel prints: each report's parts come once and in one order (head, CPU
line, program counter, registers, trace, end), heads tell the CPU or the function that a later line repeats, and
the fault's address stands in CR2 again. The README beside the rules tells the algorithm in words.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter

from integrations.kernel.framing import Line
from integrations.kernel.reports import LEAD, Head
from integrations.kernel.rules import name_list, part_rank, plain_name
from integrations.kernel.stacks import read_frame
from integrations.kernel.tracks import CODE, CPU, END, FRAME, GOES_ON, MODULES, PC, RESUMED, TRACE, Track

_MOST_TRACKS = 4


_CPU_LINE = re.compile(
    r"\s*(?:CPU: (?P<cpu>\d{1,5}) (?:UID: \d{1,10} )?PID: (?P<pid>\d{1,10}) |Pid: (?P<oldpid>\d{1,10}),? comm)"
)
_TOLD_CPU = re.compile(r"(?:CPU[#:] ?|on cpu |on CPU )(\d{1,5})\b")
_TOLD_PID = re.compile(r"PID: (\d{1,10})|\[[^\[\]]{1,64}:(\d{1,10})\]|task \S{1,64}:(\d{1,10}) blocked")
_PC_LINE = re.compile(
    r"\s*(?:RIP|EIP is at|EIP|PC is at|pc :|NIP \[|epc {1,3}: {0,3}(?=[A-Za-z_]|[0-9a-f]+ \w+\+)|Krnl PSW|ERA)"
)
_USER_PC = re.compile(r"\s*RIP: 00(?:33|23)|\s*RIP: e033")
_SYMBOL = re.compile(r"([A-Za-z_.$][\w.$]{0,200})\+(0x[0-9a-f]{1,16})/")
_PATH = re.compile(r"\bat ([\w.+/-]{3,160})\.[chS]:\d")
_WORDS = re.compile(r"[a-z0-9]+")
_ADDRESS = re.compile(r"(?:address:?|\bat) *(?:virtual address )?(?:0x)?([0-9a-f]{3,16})\b")
_BY_TASK = re.compile(r" by task \S{1,32}/(\d{1,10})")
_CR2 = re.compile(r"\s*CR2: ([0-9a-f]{8,16})\b")
_MARK = re.compile(r"\s{0,8}<(?P<close>/)?(?P<name>TASK|IRQ|NMI|SOFTIRQ|EOI|#DF|ENTRY_TRAMPOLINE)>")
_LAST_FRAME = re.compile(
    r"entry_\w+|ret_from_fork\w*|secondary_startup\w*|system_call\w*|el0t?_\w+|start_secondary"
)
_NEXT_STACK = re.compile(
    r"\s*(?:rcu: )?(?:NMI backtrace for cpu (?P<cpu>\d+)|Sending NMI|Task dump for|RCU grace-period|"
    r"Stack dump where|(?P<memory>Allocated by|Freed by|Last potentially|The buggy address))"
)
CUT = re.compile(r"\s*(?:-+\[ cut here|8<--- cut here)")
OPENERS = frozenset({"die", "hang", "warn", "debug"})
_FAULTS = frozenset(
    {"null_deref", "page_fault", "gpf", "oops", "arm_fault", "stack_overflow", "double_fault"}
)
_WITHOUT_PC = frozenset({"hung_task", "kasan", "kfence", "kmsan", "lockdep", "kmemleak", "ubsan"})
_MEMORY = frozenset({"kasan", "kfence", "kmsan"})
_PANIC_OF = (
    ("Fatal exception", ("die",)),
    ("panic_on_warn", ("warn", "debug")),
    ("softlockup", ("hang",)),
    ("hung_task", ("hang",)),
    ("LOCKUP", ("hang",)),
    ("RCU", ("hang",)),
)


Chosen = tuple[Track, float | None, bool]
"""A writer, the rank the line has in its report (if any), and whether no other could have written it."""


class Weaver:
    """Gives the lines of one stretch of log to its writers, one after another."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self.lines: list[Line] = []
        self._owner: Track | None = None
        self._lead: list[int] = []
        self._runs: Counter[int] = Counter()  # how many lines came at a stretch, where both ends are sure
        self._run = 0
        self._sure_start = False
        self._guesses: list[tuple[float, int]] = []  # how doubtful, which line

    # ---- whose line is it ----
    def _prefer(self, tied: list[Track]) -> Track:
        """Of those who could have written the line: the one before, or the other, as long as turns lasted so far."""
        others = [track for track in tied if track is not self._owner]
        over = self._runs[self._run]
        longer = sum(count for run, count in self._runs.items() if run > self._run)
        doubt = min(over, longer) / (over + longer) if over + longer else 0.5
        self._guesses.append((doubt, len(self.lines) - 1))
        if self._owner is None or not others or len(others) == len(tied) or not self._runs:
            return tied[0]
        return self._owner if longer >= over and longer else others[0]

    def _give(self, track: Track, number: int, rank: float | None = None, *, sure: bool = False) -> None:
        track.lines.append(number)
        if rank is not None:
            track.given.append((number, rank))
        if track is self._owner:
            self._run += 1
        else:
            if sure and self._sure_start:
                self._runs[self._run] += 1
            self._run, self._sure_start = 1, sure
        self._owner = track

    def _nearest(self, rank: float, among: list[Track]) -> tuple[Track | None, bool]:
        gaps = [(gap, track) for track in among if (gap := track.gap(rank)) is not None]
        if not gaps:
            return None, False
        least = min(gap for gap, _ in gaps)
        tied = [track for gap, track in gaps if gap == least]
        return (tied[0], True) if len(tied) == 1 else (self._prefer(tied), False)

    # ---- heads ----
    def head(self, head: Head, line: Line) -> None:
        number = len(self.lines)
        self.lines.append(line)
        weight, text = head.rule.weight, line.text
        if weight in OPENERS and not self._goes_on(head, text) and len(self.tracks) < _MOST_TRACKS:
            self._open(head, text, number)
            return
        if weight == "weak" and CUT.match(text):
            self._lead.append(number)
            return
        if "panic" in text:
            self._give(self._panicking(text), number)
            return
        if weight == "tail":
            bug = "invalid opcode" in text or "illegal op" in text
            fit = [t for t in self.tracks if (t.rule.kind == "kernel_bug" if bug else t.rule.kind in _FAULTS)]
            track, sure = self._nearest(4.0, [t for t in fit if t.last < CPU])
            if track is not None:
                track.step(4.0)
                self._give(track, number, 4.0, sure=sure)
                return
        self._other(number, line.text)

    def _goes_on(self, head: Head, text: str) -> bool:
        """Whether the head is one more line of a report just begun, not another report."""
        kind, fresh = head.rule.kind, [t for t in self.tracks if t.last < CPU and not t.told]
        if kind == "kmemleak" or head.rule.one_line:
            return True
        if kind == "kasan" and text.lstrip().startswith("KASAN"):
            return True
        pairs = {(str(t.rule.kind), str(kind)) for t in fresh}
        return bool(pairs & GOES_ON)

    def _open(self, head: Head, text: str, number: int) -> None:
        last = 4.0 if "[#" in text else 9.0 if head.rule.weight in ("hang", "warn") else 0.0
        groups = head.match.groupdict()
        track = Track(head.rule, number, last, names=plain_name(groups["f"]) if groups.get("f") else None)
        if found := _PATH.search(text):
            track.path = frozenset(found[1].rsplit("/", 3)[-3:])
        if found := _TOLD_CPU.search(text):
            track.cpu = found[1]
        if found := _TOLD_PID.search(text):
            track.pid = found[1] or found[2] or found[3]
        if head.rule.kind in _FAULTS and (found := _ADDRESS.search(text)):
            track.address = int(found[1], 16)
        if head.rule.weight == "warn" or head.rule.kind == "kernel_bug" or self._owner is None:
            track.lines, self._lead = self._lead, []
        self.tracks.append(track)
        self._give(track, number, sure=True)

    def _panicking(self, text: str) -> Track:
        weights = next((w for said, w in _PANIC_OF if said in text), None)
        fit = [t for t in self.tracks if weights is None or t.rule.weight in weights] or self.tracks
        done = [t for t in fit if t.ended] or [t for t in fit if t.left] or fit
        track = self._owner if self._owner in done and self._owner is not None else done[0]
        track.last = END
        return track

    # ---- the other lines ----
    def other(self, line: Line) -> None:
        number = len(self.lines)
        self.lines.append(line)
        self._other(number, line.text)

    def _other(self, number: int, text: str) -> None:
        if not self.tracks or (self._lead and LEAD.match(text.lstrip())):
            self._lead.append(number)
            return
        chosen = self._writer(number, text)
        if chosen is None:
            self._give(self._owner or self.tracks[0], number)
        else:
            track, rank, sure = chosen
            self._give(track, number, rank, sure=sure)

    def _writer(self, number: int, text: str) -> Chosen | None:
        if found := _CPU_LINE.match(text):
            return self._of_cpu(found["cpu"], found["pid"] or found["oldpid"])
        if "+0x" in text and not _PC_LINE.match(text) and read_frame(text):
            return self._of_frame(text, number)
        if (found := _NEXT_STACK.match(text)) and (chosen := self._of_next_stack(found)):
            return chosen
        if found := _MARK.match(text):
            return self._of_mark(found)
        if _USER_PC.match(text):
            return self._resumed()
        if _PC_LINE.match(text):
            return self._of_pc(text, number)
        if text.lstrip().startswith("Code: "):
            return self._of_code()
        if text.startswith("Modules linked in"):
            return self._of_modules()
        return self._of_rank(text, number)

    def _of_cpu(self, cpu: str | None, pid: str) -> Chosen | None:
        known = [t for t in self.tracks if t.pid == pid and (cpu is None or t.cpu in (None, cpu))]
        track, sure = (known[0], True) if known else (None, False)
        if track is None:
            free = [t for t in self.tracks if not t.own_cpu and t.pid is None and t.cpu in (None, cpu)]
            free = [t for t in free if t.rule.kind != "hung_task"] or free
            named = [t for t in free if t.cpu is not None]
            track, sure = self._nearest(CPU, named or free)
        if track is None:
            return None
        track.cpu, track.pid = cpu or track.cpu, pid
        if track.own_cpu and not track.traced:
            track.doubled = True
        sure = sure and not track.own_cpu
        track.own_cpu = True
        track.who = track.who or (track.cpu, pid)
        if track.last < CPU:
            track.step(CPU)
            return track, CPU, sure
        return track, None, sure

    def _of_next_stack(self, found: re.Match[str]) -> Chosen | None:
        """The next stack of a stall (another CPU's, RCU's thread) or of KASAN: its parts come once more."""
        memory = bool(found["memory"])
        fit = [t for t in self.tracks if not t.ended]
        fit = [t for t in fit if (t.rule.kind in _MEMORY if memory else t.rule.weight == "hang")]
        if not fit:
            return None
        track = fit[0] if len(fit) == 1 else self._prefer(fit)
        track.begin_again(found["cpu"])
        return track, None, len(fit) == 1

    def _of_pc(self, text: str, number: int) -> Chosen | None:
        found = _SYMBOL.search(text, 0, 300)
        where = (plain_name(found[1]), found[2]) if found else None
        again = [t for t in self.tracks if t.pc == where and (t.ended or t.last < 23)] if where else []
        if again:
            return again[0], None, False
        if where is None and not text.lstrip().startswith(("EIP", "RIP", "Krnl", "ERA")):
            return self._of_rank(text, number)
        owner = self._owner
        if owner is not None and owner.paused and not owner.ended:
            owner.paused = False
            owner.last = RESUMED + PC / 100.0
            return owner, None, False
        free = [t for t in self.tracks if t.pc is None and not t.traced]
        free = [t for t in free if t.rule.kind not in _WITHOUT_PC] or free
        named = [t for t in free if where and t.names == where[0]]
        if not named:
            words = frozenset(_WORDS.findall(text[found.start() :] if found else ""))
            named = [t for t in free if not t.names and t.path & words]
        track, sure = self._nearest(PC, named or [t for t in free if not t.names] or free)
        if track is None:
            return self._resumed()
        track.step(PC)
        if where:
            track.pc = where
        return track, PC, sure

    def _resumed(self) -> Chosen | None:
        """Registers of what was running before the trace began: user space, or the interrupted code."""
        fit = [t for t in self.tracks if t.traced and not t.ended]
        fit = [t for t in fit if t.left] or [t for t in fit if t is self._owner] or fit
        if not fit:
            return None
        track = fit[0] if len(fit) == 1 else self._prefer(fit)
        track.last = RESUMED + PC / 100.0
        return track, None, False

    def _of_code(self) -> Chosen | None:
        at_pc = [t for t in self.tracks if t.last == PC or t.last == RESUMED + PC / 100.0]
        if at_pc:
            track = at_pc[0] if len(at_pc) == 1 else self._prefer(at_pc)
            track.step(CODE)
            return track, CODE, len(at_pc) == 1
        return None

    def _of_modules(self) -> Chosen | None:
        free = [t for t in self.tracks if MODULES not in t.seen]
        fit = [t for t in free if t.left or t.last >= MODULES] or [t for t in free if t.last < CPU] or free
        if not fit:
            return None
        track = fit[0] if len(fit) == 1 else self._prefer(fit)
        track.seen.add(MODULES)
        if track.traced and not track.ended:
            track.last, track.left = MODULES, True
        return track, None, False

    def _of_rank(self, text: str, number: int) -> Chosen | None:
        rank = part_rank(text)
        if rank is None:
            return None
        fit = self.tracks
        if rank == END:
            fit = [t for t in fit if t.left and not t.ended] or [t for t in fit if not t.ended]
        if rank == TRACE:
            fit = [t for t in fit if t.pc is not None or t.rule.weight != "die"] or fit
        elif PC < rank < TRACE:
            fit = [t for t in fit if t.pc is not None] or fit
        if rank > TRACE:
            fit = [t for t in fit if t.traced or t.pc]
        track, sure = self._nearest(rank, fit)
        if track is None:
            return None
        if found := _BY_TASK.search(text):
            track.pid = track.pid or found[1]
        if track.cr2 is None and (found := _CR2.match(text)):
            track.cr2, track.cr2_at = int(found[1], 16), number
        if rank == TRACE:
            track.traced, track.left = True, False
            track.trace_at = number if track.trace_at < 0 else track.trace_at
        again = track.ended or RESUMED <= track.last < RESUMED + 1
        track.step(rank)
        return track, None if again else rank, sure

    def _open_traces(self) -> list[Track]:
        traced = [t for t in self.tracks if not t.ended and t.last < MODULES]
        traced = [t for t in traced if t.traced or (t.last >= 26 and t.pc is not None)]
        return [t for t in traced if not t.left] or traced

    def _of_frame(self, text: str, number: int) -> Chosen | None:
        frame = read_frame(text)
        fit = self._open_traces()
        if not fit or frame is None:
            return None
        if len(fit) == 1:
            track = fit[0]
        else:
            track = self._prefer(fit)
            for each in fit:
                each.unsure += 1
        track.traced = True
        track.trace_at = number if track.trace_at < 0 else track.trace_at
        track.last = FRAME
        track.left = bool(_LAST_FRAME.fullmatch(frame.function))
        track.paused = frame.reliable and bool(name_list("interrupt").match(frame.function))
        return track, FRAME, len(fit) == 1

    def _of_mark(self, found: re.Match[str]) -> Chosen | None:
        name, fit = found["name"], self._open_traces()
        if found["close"]:
            inside = [t for t in self.tracks if name in t.marks and not t.ended]
            over = [t for t in inside if t.left] or inside
            if not over:
                return None
            track = over[0] if len(over) == 1 else self._prefer(over)
            track.marks.remove(name)
            track.left, track.paused = name == "TASK", name != "TASK"
            return track, None, len(inside) == 1
        fit = [t for t in fit if name not in t.marks]
        if not fit:
            return None
        bare = [t for t in fit if t.last == TRACE] or fit
        track = bare[0] if len(bare) == 1 else self._prefer(bare)
        track.marks.append(name)
        track.last = FRAME
        return track, None, len(fit) == 1

    # ---- the whole ----
    def straighten(self) -> None:
        """Where a fault's address stands in the other's CR2, the two changed places at the least sure line
        before: from there on, each has the other's lines."""
        for index, a in enumerate(self.tracks):
            for b in self.tracks[index + 1 :]:
                latest = min(a.cr2_at, b.cr2_at)
                guesses = [guess for guess in self._guesses if guess[1] <= latest]
                if not a.crossed(b) or not guesses:
                    continue
                from_here = max(guesses, key=lambda guess: (guess[0], -guess[1]))[1]
                at_a, at_b = bisect_left(a.lines, from_here), bisect_left(b.lines, from_here)
                a.lines, b.lines = a.lines[:at_a] + b.lines[at_b:], b.lines[:at_b] + a.lines[at_a:]
                a.cr2, b.cr2 = b.cr2, a.cr2

    def finish(self) -> None:
        """Lines that waited for a head which did not come go to the last writer."""
        if self.tracks:
            track = self._owner or self.tracks[-1]
            track.lines = sorted([*track.lines, *self._lead])

    def interleaved(self) -> bool:
        """Whether it is proven that a report went on after another one's head."""
        told = [t for t in self.tracks if t.told]
        if len(told) < 2:
            return False
        who = [t.who for t in told if t.who]
        if len(set(who)) < len(who) or any(t.doubled for t in told):
            return False
        return any(a.went_on(b) for i, a in enumerate(told) for b in told[i + 1 :])
