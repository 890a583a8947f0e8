"""What reading a dying kernel's text yields: `Crash`, its `Signature` and its `Frame`s."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What killed, stopped or disturbed a kernel; the value is what `--json` prints."""

    NULL_DEREF = "null_deref"
    PAGE_FAULT = "page_fault"
    GPF = "gpf"
    DOUBLE_FAULT = "double_fault"
    KERNEL_BUG = "kernel_bug"
    STACK_OVERFLOW = "stack_overflow"
    SOFT_LOCKUP = "soft_lockup"
    HARD_LOCKUP = "hard_lockup"
    RCU_STALL = "rcu_stall"
    HUNG_TASK = "hung_task"
    MCE = "mce"
    NMI = "nmi"
    OOM_PANIC = "oom_panic"
    PANIC = "panic"
    DIVIDE_ERROR = "divide_error"
    UNDEFINED_INSTRUCTION = "undefined_instruction"
    ALIGNMENT = "alignment"
    ARM_FAULT = "arm_fault"
    TRAP = "trap"
    WATCHDOG = "watchdog"
    OOPS = "oops"
    WARNING = "warning"
    ATOMIC_SLEEP = "atomic_sleep"
    BAD_STATE = "bad_state"
    KASAN = "kasan"
    KFENCE = "kfence"
    KMSAN = "kmsan"
    KCSAN = "kcsan"
    UBSAN = "ubsan"
    KMEMLEAK = "kmemleak"
    LOCKDEP = "lockdep"
    ODEBUG = "odebug"
    OOM = "oom"
    CORRECTED_ERROR = "corrected_error"
    USER_FAULT = "user_fault"
    FIRMWARE = "firmware"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a call trace. `offset` and `size` are bytes, None where the kernel printed none."""

    function: str
    offset: int | None = None
    size: int | None = None
    module: str | None = None
    reliable: bool = True


@dataclass(frozen=True, slots=True)
class Signature:
    """What two occurrences of one bug have in common.

    `key` is `kind|function` or `kind|function|module`; it holds no address, offset, CPU, PID, host or
    release. `detail` names the next frames, for telling apart what shares a key.
    """

    key: str
    title: str
    detail: tuple[str, ...] = ()


UNKNOWN_TITLE = "cause unknown: no crash text"


@dataclass(frozen=True, slots=True)
class Crash:
    """One report of a kernel, or the statement that there is none (`kind` is then `Kind.UNKNOWN`).

    `crash` says whether a kernel context was killed or stopped, or a lockup, stall or hang detector
    spoke; `uptime` is in seconds since boot; `lines` are the report's lines as they stood in the input.
    """

    crash: bool = False
    kind: Kind = Kind.UNKNOWN
    title: str = UNKNOWN_TITLE
    function: str | None = None
    module: str | None = None
    frames: tuple[Frame, ...] = ()
    doubtful: tuple[Frame, ...] = ()
    process: str | None = None
    pid: int | None = None
    cpu: int | None = None
    taint: tuple[str, ...] = ()
    taint_flags: str = ""
    modules: tuple[str, ...] = ()
    kernel: str | None = None
    kernel_build: str | None = None
    arch: str | None = None
    hardware: str | None = None
    command_line: str | None = None
    uptime: float | None = None
    deliberate: bool = False
    head_lost: bool = False
    lines: tuple[str, ...] = ()
    others: tuple[Crash, ...] = ()
    explain: tuple[str, ...] = ()
    signature: Signature = field(default_factory=lambda: Signature("unknown", UNKNOWN_TITLE))
