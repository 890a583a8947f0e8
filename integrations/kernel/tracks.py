"""One of several reports that stand in each other: which lines it has been given, how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, field

from integrations.kernel.rules import HeadRule

CPU, PC, CODE, TRACE, FRAME, RESUMED, MODULES, END = 10, 20, 20.5, 40, 42, 43, 60, 62
"""Ranks of `data/parts.txt`. From RESUMED on to RESUMED + 1: the registers of what the trace interrupted."""
_EQUALLY_READY = ((3.5, 9.0), (11.0, 19.0), (27.0, 39.0))  # whoever stands in one may print what comes next
_FEWEST_PROOFS = 2
GOES_ON = frozenset(
    {
        ("odebug", "warning"),
        ("warning", "odebug"),
        ("bad_state", "warning"),
        ("stack_overflow", "stack_overflow"),
        ("stack_overflow", "double_fault"),
        ("page_fault", "double_fault"),
        ("double_fault", "page_fault"),
        ("arm_fault", "arm_fault"),
    }
)
"""(kind begun, kind of the next head) of one report with two heads."""


@dataclass(slots=True)
class Track:
    """One writer: the lines given to it, and how far its report has come."""

    rule: HeadRule
    head: int
    last: float
    cpu: str | None = None
    pid: str | None = None
    names: str | None = None
    path: frozenset[str] = frozenset()
    address: int | None = None
    cr2: int | None = None
    cr2_at: int = -1
    pc: tuple[str, str] | None = None
    seen: set[float] = field(default_factory=set)
    marks: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    given: list[tuple[int, float]] = field(default_factory=list)  # number and rank of the lines with a rank
    traced: bool = False
    trace_at: int = -1
    left: bool = False  # the trace has reached the entry of the kernel
    paused: bool = False  # the trace has come to where an interrupt came in: registers may follow
    own_cpu: bool = False
    doubled: bool = False  # its CPU line came twice before its trace: two heads of one writer
    who: tuple[str | None, str] | None = None  # CPU and process of its first CPU line
    unsure: int = 0

    @property
    def ended(self) -> bool:
        return self.last >= END

    @property
    def told(self) -> bool:
        """Whether a report stands here, not a lone line."""
        return self.who is not None or self.pc is not None or self.trace_at >= 0

    def gap(self, rank: float) -> float | None:
        """How far the line would be from what was printed last; None if it cannot come now."""
        last = self.last
        if last >= END:
            last -= 100.0  # after the end mark x86 prints the registers once more
        elif last >= RESUMED and last < RESUMED + 1:
            last = (last - RESUMED) * 100.0  # registers of what the trace interrupted
        elif rank in self.seen:
            return None
        for low, high in _EQUALLY_READY:
            if low <= last <= high < rank:
                last = high
        return rank - last if rank > last else None

    def step(self, rank: float) -> None:
        self.seen.add(rank)
        if RESUMED <= self.last < RESUMED + 1 and rank < TRACE:
            self.last = RESUMED + rank / 100.0
        elif not self.ended or rank >= END:
            self.last = rank

    def begin_again(self, cpu: str | None) -> None:
        """Another stack of the same report begins."""
        self.seen.clear()
        self.last, self.cpu, self.pid = 9.0, cpu, None
        self.own_cpu = self.traced = self.left = self.paused = False
        self.marks.clear()

    def crossed(self, other: Track) -> bool:
        """Whether a fault's address stands in the other's registers and not in its own."""
        return (self.address is not None and self.cr2 != self.address and other.cr2 == self.address) or (
            other.address is not None and other.cr2 != other.address and self.cr2 == other.address
        )

    def went_on(self, other: Track) -> bool:
        """Whether it printed parts after the other's head that the other printed, too, or frames before the
        other's trace began."""
        after = {rank for number, rank in self.given if number > other.head and rank != FRAME}
        common = after & {rank for _, rank in other.given}
        frames = sum(other.head < number < other.trace_at for number, rank in self.given if rank == FRAME)
        return len(common) >= _FEWEST_PROOFS or frames >= _FEWEST_PROOFS
