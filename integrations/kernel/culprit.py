"""Which function to name: the README beside the lists in `data/` tells the algorithm in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from integrations.kernel.crash import Frame
from integrations.kernel.rules import common_name, name_list
from integrations.kernel.stacks import Stack


@dataclass(slots=True)
class Verdict:
    """`frame` is the one to name, `frames` the stack it stands in, `why` the rules that led there."""

    frame: Frame | None = None
    frames: tuple[Frame, ...] = ()
    doubtful: tuple[Frame, ...] = ()
    why: list[str] = field(default_factory=list)


def is_generic(frame: Frame, *, complaint: bool = False) -> bool:
    """Whether the frame only reports or is called by everybody; never so for a module's frame. In a
    `complaint` (a check's WARN or BUG, not a fault) interfaces that blame their caller are generic, too."""
    if frame.module:
        return False
    if _is("generic", frame) or _is("report", frame):
        return True
    return complaint and _is("interface", frame)


@lru_cache(maxsize=8192)
def _listed(name: str, function: str) -> bool:
    return bool(name_list(name).match(function))


def _is(name: str, frame: Frame) -> bool:
    return _listed(name, frame.function)


def _trace(stack: Stack) -> list[Frame]:
    """The program counter and the sure frames. Where the unwinder trusted none (kernels without frame pointers
    and ORC write `?` before each), yet the trace reaches an entry of the kernel, the doubtful ones instead."""
    if stack.frames or not any(_is("anchor", frame) for frame in stack.doubtful):
        return stack.ordered()
    return [*stack.ordered(), *(frame for frame in stack.doubtful if _inside(frame))]


def _inside(frame: Frame) -> bool:
    """Whether the address lies inside the function: a return address is neither its start nor its end."""
    return frame.offset is None or frame.size is None or 0 < frame.offset < frame.size


def first_to_blame(frames: list[Frame], why: list[str], *, complaint: bool = False) -> Frame | None:
    """The innermost frame that is not generic; None when all are."""
    for frame in frames:
        if is_generic(frame, complaint=complaint):
            why.append(f"skip {frame.function}: generic")
            continue
        return frame
    return None


def _verdict(stack: Stack | None, frame: Frame | None, why: list[str]) -> Verdict:
    if stack is None:
        return Verdict(frame, (), (), why)
    return Verdict(frame, tuple(stack.ordered()), tuple(stack.doubtful), why)


def _named(head: Frame, stack: Stack | None) -> Frame:
    if stack:
        for frame in stack.ordered():
            if frame.function == head.function:
                return frame
    return head


def pick_pc(
    stacks: list[Stack], head: Frame | None = None, *, work: str | None = None, complaint: bool = False
) -> Verdict:
    """Faults: program counter, then the trace; generic frames passed over. `head` is the head line's own
    function, `work` that of the `Workqueue:` line: the outermost one known, should the trace be cut."""
    why: list[str] = []
    stack = next((s for s in stacks if s.pc or _trace(s)), stacks[0] if stacks else None)
    function = head.function if head else None
    if head and function:
        named = _named(head, stack)
        if not is_generic(named if named is not head else Frame(function), complaint=complaint):
            why.append(f"the head line names {function}")
            return _verdict(stack, named, why)
        why.append(f"skip {function} of the head line: generic")
    if stack is None:
        return _verdict(None, head, why)
    frames = _trace(stack)
    if not frames and stack.link:
        frames = [stack.link]
    if function:
        inside = next((i for i, f in enumerate(frames) if f.function == function), -1)
        frames = frames[inside + 1 :]
    frame = first_to_blame(frames, why, complaint=complaint)
    if frame is None and stack.null_pc and stack.link:
        frame = stack.link
    if frame is None:
        for other in stacks:
            if other is not stack and (frame := first_to_blame(other.ordered(), [], complaint=complaint)):
                why.append(f"the first stack is all generic; {frame.function} is from the next")
                break
    if frame is None and work and not (head and complaint):
        frame = Frame(work)
        why.append(f"all frames are generic; {work} of the 'Workqueue:' line is below them")
    elif frame is None and head:
        frame = head
        why.append(f"nothing else is left; {function} of the head line stands")
    elif frame is None and frames:
        frame = next((f for f in frames if not _is("report", f)), None)
        why.append("all frames are generic; the innermost that does not only report stands")
    elif frame is not None:
        why.append(f"first frame to blame: {frame.function}")
    return _verdict(stack, frame, why)


_PANIC_PATH = frozenset({"panic", "vpanic", "nmi_panic", "__panic", "nmi_panic_self_stop"})


def pick_leak(stacks: list[Stack]) -> Verdict:
    """Memory leaks: the first frame of the allocation's trace that is no allocator."""
    for stack in stacks:
        frames = _trace(stack)
        why: list[str] = []
        rest = [f for f in frames if not _is("leak", f)]
        if rest:
            return _verdict(stack, first_to_blame(rest, why) or rest[0], why)
    return pick_pc(stacks)


def pick_caller(stacks: list[Stack]) -> Verdict:
    """Explicit panics: the first frame after `panic` that is not of the reporting path."""
    why: list[str] = []
    for stack in stacks:
        frames = _trace(stack)
        at = next((i for i, f in enumerate(frames) if f.function in _PANIC_PATH), None)
        if at is not None:
            called = [f for f in frames[at + 1 :] if f.function not in _PANIC_PATH]
            why.append("the caller of panic")
            return _verdict(stack, called[0] if called else None, why)
    return pick_pc(stacks)


_ENTRY_SPAN = 8


def _interrupted(stack: Stack) -> list[Frame]:
    """The frames of the code that was running when the watchdog's interrupt came.

    Where the watchdog's own frames stand above an interrupt entry, what lies below that entry; else the
    whole stack (a soft lockup prints the registers of the stuck code first).
    """
    frames = _trace(stack)
    first = next((i for i, f in enumerate(frames) if _is("interrupt", f)), None)
    if first is None or not any(_is("watchdog", f) for f in frames[: first + 1]):
        return frames
    last = first
    for index in range(first + 1, min(len(frames), first + _ENTRY_SPAN)):
        if _is("interrupt", frames[index]):
            last = index
        elif not is_generic(frames[index]) and not _is("watchdog", frames[index]):
            break
    return frames[last + 1 :] or frames


_GRACE_PERIOD = frozenset({"rcu_gp_kthread", "rcu_gp_fqs_loop"})


def _is_reporter(stack: Stack) -> bool:
    """Stacks that tell of RCU's own thread, not of the stuck code."""
    return "kthread" in stack.label or any(f.function in _GRACE_PERIOD for f in stack.frames)


def _anchored(frames: list[Frame], work: str | None, why: list[str]) -> Frame | None:
    before: Frame | None = None
    dispatcher: Frame | None = None
    for frame in frames:
        if _is("crosscall", frame):
            why.append(f"{frame.function} waits for other CPUs")
            return frame
        if _is("anchor", frame) and not frame.module:
            if before is not None:
                why.append(f"{before.function} is what {frame.function} called")
                return before
            dispatcher = dispatcher or frame
            continue
        if frame.module or not (is_generic(frame) or _is("interrupt", frame) or _is("wait", frame)):
            before = frame
    if work and dispatcher is None:
        why.append(f"no dispatcher; {work} of the 'Workqueue:' line is what it called")
        return next((f for f in frames if f.function == work), Frame(work))
    if before is not None:
        why.append(f"no dispatcher; the outermost frame is {before.function}")
    elif dispatcher is not None:
        why.append(f"nothing but dispatchers; the innermost is {dispatcher.function}")
    return before or dispatcher


def pick_anchor(stacks: list[Stack], work: str | None = None) -> Verdict:
    """Stalls and lockups: below the interrupt, the callee of the innermost dispatcher; where the trace ends
    before one is met, `work` of the `Workqueue:` line."""
    why: list[str] = []
    for stack in stacks:
        if _is_reporter(stack) or not (stack.pc or _trace(stack)):
            continue
        frame = _anchored(_interrupted(stack), work, why)
        if frame is not None:
            return _verdict(stack, frame, why)
    return pick_pc([s for s in stacks if not _is_reporter(s)], work=work)


def pick_wait(stacks: list[Stack]) -> Verdict:
    """Hung tasks: past the scheduler and the primitive waited in; a lock everybody shares names the hang."""
    why: list[str] = []
    for stack in stacks:
        frames = _trace(stack)
        if not frames:
            continue
        for frame in frames:
            if _is("bucket", frame):
                why.append(f"{frame.function} is a lock or wait everybody shares")
                return _verdict(stack, frame, why)
        for frame in frames:
            passed = _is("wait", frame) or (not frame.reliable and is_generic(frame))
            if passed and not frame.module:
                why.append(f"skip {frame.function}: scheduler or wait")
                continue
            why.append(f"first frame that waits: {frame.function}")
            return _verdict(stack, frame, why)
        return _verdict(stack, None, why)
    return _verdict(None, None, why)


def detail_of(verdict: Verdict) -> tuple[str, ...]:
    """Up to four names that go on from the one named, outwards."""
    frames = list(verdict.frames)
    start = frames.index(verdict.frame) + 1 if verdict.frame in frames else 0
    names = [common_name(f.function) for f in frames[start:] if not is_generic(f)]
    return tuple(dict.fromkeys(names))[:4]
